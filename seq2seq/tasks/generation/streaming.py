"""Text as it is generated: whole characters only, cut before a stop text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from seq2seq.text.vocabulary import Decoder

Reason = Literal["end", "stop", "length"]


@dataclass(frozen=True)
class Generated:
    """What was written after one prompt, the prompt left out.

    ``reason``: the model came to the "end" of the document, to a "stop" text (left out), or to
    the maximum "length".
    """

    text: str
    reason: Reason
    units: int


class Writer:
    """Units in, text out; holds back what may be the beginning of a stop text.

    ``before`` is the unit that the text follows.
    """

    def __init__(self, decoder: Decoder, stops: Sequence[str], before: int) -> None:
        decoder.add(before)
        self._decoder, self._stops = decoder, tuple(stops)
        self._held = ""
        self.stopped = False

    def add(self, unit: int) -> str:
        """What can be shown now; after a stop text ``stopped`` is True and nothing more comes."""
        text = self._decoder.add(unit)
        if not self._stops:
            return text
        self._held += text
        ends = [at for stop in self._stops if (at := self._held.find(stop)) >= 0]
        if ends:
            text, self._held, self.stopped = self._held[: min(ends)], "", True
            return text
        keep = max(self._overlap(stop) for stop in self._stops)
        cut = len(self._held) - keep
        text, self._held = self._held[:cut], self._held[cut:]
        return text

    def finish(self) -> str:
        """What was held back and turned out to be text."""
        if self.stopped:
            return ""
        text, self._held = self._held + self._decoder.finish(), ""
        return text

    def _overlap(self, stop: str) -> int:
        """How many characters at the end of the held text begin ``stop``."""
        for size in range(min(len(stop) - 1, len(self._held)), 0, -1):
            if self._held.endswith(stop[:size]):
                return size
        return 0
