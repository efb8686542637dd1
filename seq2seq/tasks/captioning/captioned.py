"""What was written of an image, as its reader holds it."""

from __future__ import annotations

from dataclasses import dataclass, field

from torch import Tensor

from seq2seq.images.files import ImageError


@dataclass(frozen=True)
class Caption:
    """One caption of one image.

    ``score`` is what the search maximised (log probability over length penalty),
    ``log_probability`` the sum over the units and the end. ``finished`` is False where the length
    limit cut the caption. ``attention`` (T, S), where it was asked for, has a row for each of
    ``tokens`` and one for the end if the search reached it, and a column for each place of the
    image, row by row of its grid; with a sentinel it sums up to less than 1, the rest went there.
    ``missing`` are the phrases that were required and are not in the text.
    """

    text: str
    score: float
    log_probability: float
    finished: bool
    tokens: list[str]
    attention: Tensor | None = None
    missing: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Captioned:
    """The result for one image: its captions, best first, or the error that says why not."""

    captions: list[Caption]
    error: ImageError | None = None

    @property
    def text(self) -> str:
        """The best caption; raises the error where there is one."""
        if self.error is not None:
            raise self.error
        return self.captions[0].text
