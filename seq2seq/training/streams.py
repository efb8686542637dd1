"""Data that are read as a stream, in blocks: a block is shuffled as a whole, as a shuffle buffer.

Where a run stands in the stream is the state of the stream at the beginning of its block, and how
many batches lie before that: a resumed run reads the block again and leaves out what was used, so
that it sees the very batches that it would have seen.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from datasets import IterableDataset

Row = dict[str, Any]
# the batches of a block: how many there are, and they after so many that are left out
Block = tuple[int, Callable[[int], Iterator[Any]]]


class Stream:
    """Rows of a streamed data set, epoch by epoch.

    ``open_rows`` opens it at its beginning; a block has at most ``rows`` rows, and ends, too, when
    the sizes of its rows (``size_of``) come to ``most``.
    """

    def __init__(
        self,
        open_rows: Callable[[], IterableDataset],
        rows: int,
        size_of: Callable[[Row], int],
        most: int,
    ) -> None:
        self._open, self._rows, self._size_of, self._most = open_rows, rows, size_of, most
        self._position: dict[str, Any] | None = None

    def state(self) -> dict[str, Any] | None:
        """Where the batches that were taken last are; what JSON can hold."""
        return self._position

    def load(self, state: dict[str, Any]) -> None:
        self._position = state

    def first(self, count: int) -> list[Row]:
        """The first so many rows, to learn a vocabulary from."""
        return list(self._open().take(count))

    def batches(
        self, epoch: int, skip: int, make: Callable[[list[Row], int], Block | None]
    ) -> Iterator[Any]:
        """The batches of an epoch after the first ``skip``. ``make`` turns rows into the batches of
        a block (None: there are none in it), at random by the number that it is given."""
        position = self._position
        if position is None or position["epoch"] != epoch or position["batches"] > skip:
            position = {"epoch": epoch, "block": 0, "batches": 0, "stream": None}
        dataset = self._open()
        if position["stream"] is not None:
            dataset.load_state_dict(position["stream"])
        rows = iter(dataset)
        while block := self._read(rows):
            after = dataset.state_dict()
            self._position = position
            made = make(block, epoch << 32 | position["block"])
            count = 0 if made is None else made[0]
            if made is not None and position["batches"] + count > skip:
                yield from made[1](max(0, skip - position["batches"]))
            position = {
                "epoch": epoch,
                "block": position["block"] + 1,
                "batches": position["batches"] + count,
                "stream": after,
            }

    def _read(self, rows: Iterator[Row]) -> list[Row]:
        block: list[Row] = []
        size = 0
        for row in rows:
            block.append(row)
            size += self._size_of(row)
            if len(block) == self._rows or size >= self._most:
                break
        return block
