"""What a search found for a text, as its reader holds it."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

import torch

from seq2seq.decoding import Hypothesis
from seq2seq.text.sentencepiece import Tokenizer


@dataclass(frozen=True)
class Translation:
    """One translation of one text.

    ``score`` is what the search maximised (log probability over length penalty, plus coverage),
    ``log_probability`` the sum over the target tokens and the end. ``attention`` (T, S), where it
    was asked for, has a row for each target token, and one for the end if the search reached it,
    and a column for each source token. ``finished`` is False where the length limit cut the
    translation. ``token_scores`` are the log probabilities of the target tokens and, where
    ``finished``, of the end; their sum is ``log_probability``.
    """

    text: str
    score: float
    log_probability: float
    finished: bool
    tokens: list[str]
    source_tokens: list[str]
    attention: torch.Tensor | None = None
    token_scores: list[float] = field(default_factory=list)


EMPTY = Translation("", 0.0, 0.0, True, [], [])


def translations_of(
    ids: list[int], hypotheses: list[Hypothesis], source: Tokenizer, target: Tokenizer
) -> list[Translation]:
    """The hypotheses that a search found for the subwords ``ids``, as their reader holds them."""
    texts = target.decode_batch([hypothesis.tokens for hypothesis in hypotheses])
    pieces = source.pieces(ids)
    return [
        Translation(
            text=_one_line(text),
            score=hypothesis.score,
            log_probability=hypothesis.log_probability,
            finished=hypothesis.finished,
            tokens=target.pieces(hypothesis.tokens),
            source_tokens=pieces,
            attention=_trim(hypothesis.attention, len(ids)),
            token_scores=hypothesis.token_scores,
        )
        for text, hypothesis in zip(texts, hypotheses, strict=True)
    ]


def _trim(attention: torch.Tensor | None, source_length: int) -> torch.Tensor | None:
    """The attention over real source tokens, on the CPU."""
    return None if attention is None else attention[:, :source_length].float().cpu()  # (T, S)


# Everything that some reader takes for the end of a line, or of a column.
_BREAKS = re.compile("[\t\n\r\v\f\x1c\x1d\x1e\x85\u2028\u2029]+")


def _one_line(text: str) -> str:
    """Byte pieces can spell any character: a line break would shift all lines that follow."""
    return _BREAKS.sub(" ", text.replace("\0", "")).strip()
