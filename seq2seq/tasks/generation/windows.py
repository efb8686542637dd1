"""A text as streams read side by side, window by window: truncated backpropagation through time.

The text is cut into B streams of equal length; a window is the next T steps of all of them, and
each window begins with the state that the one before left (Mikolov et al. 2010).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from seq2seq.errors import UsageError
from seq2seq.tasks.generation.text import Corpus
from seq2seq.text.vocabulary import END

_RELEASED = 64  # windows after which pages of a mapped text leave this process's memory


@dataclass(frozen=True)
class Window:
    """The next steps of B streams."""

    inputs: Tensor  # (B, T)
    targets: Tensor  # (B, T) the unit that follows each input
    resets: Tensor | None  # (B, T) bool: the state is empty before this step; None: nowhere
    number: int  # in the epoch; 0: every stream begins with an empty state

    @property
    def target_count(self) -> int:
        return self.targets.numel()

    def to(self, device: torch.device) -> Window:
        resets = None if self.resets is None else self.resets.to(device)
        return replace(
            self, inputs=self.inputs.to(device), targets=self.targets.to(device), resets=resets
        )


class Windows:
    """The windows of each epoch, for one of ``world`` processes, which share out the streams.

    Where the windows lie differs from epoch to epoch, by a random offset; with ``variable`` so
    does their length: bptt, at times half of it, give or take five (Merity et al. 2018, section
    5). All follows from ``seed``. A text too short for ``batch_size`` streams of one window each
    is read in fewer streams.
    """

    def __init__(
        self,
        corpus: Corpus,
        batch_size: int,
        bptt: int,
        seed: int,
        variable: bool = False,
        rank: int = 0,
        world: int = 1,
    ) -> None:
        self._corpus = corpus
        self._text = np.concatenate(corpus.pieces) if corpus.whole is None else corpus.whole
        firsts = np.cumsum([0, *(len(piece) for piece in corpus.pieces[:-1])])
        if len(self._text) < 2 * world:
            raise UsageError(
                f"the training text has {len(self._text)} units; at least {2 * world} are needed"
            )
        whole = max(1, (len(self._text) - 1) // bptt)  # windows that the text has
        self.streams = max(world, min(batch_size, whole) // world * world)
        if batch_size % world:
            raise UsageError(
                f"'data.batch_size' is {batch_size}; the {world} processes need a multiple"
            )
        self._bptt, self._seed, self._variable = bptt, seed, variable
        self._rows = range(rank * self.streams // world, (rank + 1) * self.streams // world)
        length = (len(self._text) - 1) // self.streams
        self._firsts = [divmod(int(first), length) for first in firsts]  # stream, step

    def cuts(self, epoch: int) -> np.ndarray:
        """Where the windows of an epoch begin, within a stream; last, where they end."""
        random = np.random.default_rng([self._seed, epoch])
        length = (len(self._text) - 1) // self.streams
        first = int(random.integers(0, min(self._bptt, max(1, length // 2))))
        cuts = [0, first] if first else [0]
        while cuts[-1] < length:
            steps = self._bptt
            if self._variable:
                mean = self._bptt if random.random() < 0.95 else self._bptt / 2
                steps = max(5, int(random.normal(mean, 5)))
            cuts.append(min(length, cuts[-1] + steps))
        return np.array(cuts)

    def len_epoch(self, epoch: int) -> int:
        return len(self.cuts(epoch)) - 1

    def epoch(self, epoch: int, skip: int = 0) -> Iterator[Window]:
        """The windows of one epoch; the first ``skip`` are left out at no cost."""
        cuts = self.cuts(epoch)
        length = int(cuts[-1])
        size = self.streams * length
        shape, mine = (self.streams, length), slice(self._rows.start, self._rows.stop)
        inputs = self._text[:size].reshape(shape)[mine]  # (B, L)
        targets = self._text[1 : size + 1].reshape(shape)[mine]
        for number in range(skip, len(cuts) - 1):
            first, last = int(cuts[number]), int(cuts[number + 1])
            starts = self._starts(inputs[:, first:last], first)
            # at the first step of all the state is empty as it is
            resets = starts[:, 1:] if number == 0 else starts
            yield Window(
                torch.from_numpy(inputs[:, first:last].astype(np.int64)),
                torch.from_numpy(targets[:, first:last].astype(np.int64)),
                torch.from_numpy(starts) if resets.any() else None,
                number,
            )
            if number % _RELEASED == 0:
                self._corpus.release()

    def _starts(self, inputs: np.ndarray, first: int) -> np.ndarray:
        """Where the state is empty before an input of the window (B, T) at step ``first``: at the
        beginning of a document or of a piece."""
        starts = inputs == END if self._corpus.documents else np.zeros(inputs.shape, dtype=bool)
        for stream, step in self._firsts:
            if stream in self._rows and first <= step < first + inputs.shape[1]:
                starts[stream - self._rows.start, step - first] = True
        return starts
