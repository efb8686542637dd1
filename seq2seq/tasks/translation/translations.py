"""What a search found for a text, as its reader holds it."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import torch

from seq2seq.decoding import Hypothesis
from seq2seq.errors import UsageError
from seq2seq.tasks.translation.copying import with_copies
from seq2seq.text.phrases import missing
from seq2seq.text.sentencepiece import Tokenizer


@dataclass(frozen=True)
class Translation:
    """One translation of one text.

    ``score`` is what the search maximised (log probability over length penalty, plus coverage),
    ``log_probability`` the sum over the target tokens and the end. ``attention`` (T, S), where it
    was asked for, has a row for each target token, and one for the end if the search reached it,
    and a column for each source token. ``finished`` is False where the length limit cut the
    translation. ``token_scores`` are the log probabilities of the target tokens and, where
    ``finished``, of the end; their sum is ``log_probability``. ``missing`` are the phrases that
    were required and are not in the text.
    """

    text: str
    score: float
    log_probability: float
    finished: bool
    tokens: list[str]
    source_tokens: list[str]
    attention: torch.Tensor | None = None
    token_scores: list[float] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)


EMPTY = Translation("", 0.0, 0.0, True, [], [])


def empty(required: Sequence[str]) -> Translation:
    """The translation of a blank text, which holds nothing."""
    return dataclasses.replace(EMPTY, missing=list(required)) if required else EMPTY


def translations_of(
    ids: list[int],
    hypotheses: list[Hypothesis],
    source: Tokenizer,
    target: Tokenizer,
    *,
    required: Sequence[str] = (),
    copy_from: str | None = None,
    keep_attention: bool = True,
) -> list[Translation]:
    """The hypotheses that a search found for the subwords ``ids``, as their reader holds them.

    ``copy_from``: the source text whose words stand for unknown ones (``copying.py``).
    Raises UsageError where that needs attention and the model has none.
    """
    texts = target.decode_batch([hypothesis.tokens for hypothesis in hypotheses])
    pieces = source.pieces(ids)
    if copy_from is not None:
        words = source.same_text(copy_from).split(" ")
        for n, hypothesis in enumerate(hypotheses):
            if target.unk in hypothesis.tokens:
                if hypothesis.attention is None:
                    raise UsageError(
                        "copy_unknown needs attention, and this model has none "
                        "('model.decoder.attention'); leave it out"
                    )
                texts[n] = with_copies(
                    hypothesis.tokens, hypothesis.attention, target, pieces, words
                )
    lines = [one_line(text) for text in texts]
    return [
        Translation(
            text=line,
            score=hypothesis.score,
            log_probability=hypothesis.log_probability,
            finished=hypothesis.finished,
            tokens=target.pieces(hypothesis.tokens),
            source_tokens=pieces,
            attention=trim(hypothesis.attention, len(ids)) if keep_attention else None,
            token_scores=hypothesis.token_scores,
            missing=missing(line, required) if required else [],
        )
        for line, hypothesis in zip(lines, hypotheses, strict=True)
    ]


def all_translations(
    sources: list[list[int]],
    found: Iterable[tuple[int, list[Hypothesis]]],
    source: Tokenizer,
    target: Tokenizer,
    blank: list[list[Translation]],
    *,
    copy_from: Sequence[str] | None = None,
    keep_attention: bool = True,
) -> list[list[Translation]]:
    """The hypotheses ``found``, with the position of their source, as translations; ``blank`` where
    a source has none, whose ``missing`` are all phrases required."""
    results = list(blank)
    for i, hypotheses in found:
        results[i] = translations_of(
            sources[i],
            hypotheses,
            source,
            target,
            required=blank[i][0].missing,
            copy_from=None if copy_from is None else copy_from[i],
            keep_attention=keep_attention,
        )
    return results


def trim(attention: torch.Tensor | None, source_length: int) -> torch.Tensor | None:
    """The attention over real source tokens, on the CPU."""
    return None if attention is None else attention[:, :source_length].float().cpu()  # (T, S)


# Everything that some reader takes for the end of a line, or of a column.
_BREAKS = re.compile("[\t\n\r\v\f\x1c\x1d\x1e\x85\u2028\u2029]+")


def one_line(text: str) -> str:
    """Byte pieces can spell any character: a line break would shift all lines that follow."""
    return _BREAKS.sub(" ", text.replace("\0", "")).strip()
