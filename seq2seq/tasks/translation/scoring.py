"""Translations that are given: what a model thinks of them."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch

from seq2seq.decoding.scoring import score_sequences
from seq2seq.errors import RunError, UsageError
from seq2seq.tasks.translation.search_batches import batches
from seq2seq.tasks.translation.searching import Machine
from seq2seq.tasks.translation.translations import EMPTY, Translation, trim
from seq2seq.text.sentencepiece import Tokenizer


def check_pairs(texts: Sequence[str], translations: Sequence[str]) -> None:
    """Raises UsageError unless there is one translation for each text."""
    if len(texts) != len(translations):
        raise UsageError(
            f"{len(texts)} texts and {len(translations)} translations; expected one for each"
        )


def score_pairs(
    machine: Machine,
    tokenizer: Tokenizer,
    sources: list[list[int]],
    translations: Sequence[str],
    batch_size: int,
    attention: bool,
) -> list[Translation]:
    """Each of ``translations``, of the subwords of its source, which ``tokenizer`` gave, with its
    log probability. Those of like length are computed together."""
    target = machine.target
    targets = target.encode_batch(translations)
    pairs = zip(translations, targets, strict=True)
    scored = [_of_blank(text, ids, target) for text, ids in pairs]
    for batch in batches([len(ids) for ids in sources], batch_size):
        given = [sources[i] for i in batch]
        try:
            begun = machine.begin(given, [[] for _ in given])
            found = score_sequences(
                begun.model,
                begun.state,
                [targets[i] for i in batch],
                bos=target.bos,
                eos=target.eos,
                device=machine.device,
                return_attention=attention,
            )
        except torch.OutOfMemoryError:
            raise RunError(
                f"{machine.device}: out of memory with {len(batch)} sentences of up to "
                f"{max(map(len, given))} subwords; use a smaller batch"
            ) from None
        for i, one in zip(batch, found, strict=True):
            scored[i] = Translation(
                text=translations[i],
                score=one.score,
                log_probability=one.log_probability,
                finished=True,
                tokens=target.pieces(one.tokens),
                source_tokens=tokenizer.pieces(sources[i]),
                attention=trim(one.attention, len(sources[i])),
                token_scores=one.token_scores,
            )
    return scored


def _of_blank(text: str, ids: list[int], target: Tokenizer) -> Translation:
    """A blank text has the empty translation, and no other."""
    if not ids:
        return EMPTY
    return Translation(text, -math.inf, -math.inf, True, target.pieces(ids), [])
