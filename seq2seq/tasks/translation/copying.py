"""Unknown words of a translation, replaced by the source words that they attended to.

Luong et al. 2015, "Addressing the rare word problem", section 3, with attention in place of an
aligner (Jean et al. 2015, section 3.3).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from seq2seq.text.letters import in_word
from seq2seq.text.sentencepiece import Tokenizer

_SPACE = "\u2581"


def with_copies(
    ids: Sequence[int],
    attention: torch.Tensor,
    target: Tokenizer,
    source_pieces: Sequence[str],
    source_words: Sequence[str],
) -> str:
    """The text of a hypothesis, each word with an unknown piece replaced by a source word.

    ids (T) target tokens, attention (T or T + 1, S), source_pieces (S), source_words: what spaces
    separate in the source. Punctuation at the ends of a word stays.
    """
    columns = _word_numbers(source_pieces)  # (S)
    parts: list[str] = []
    for word in _words(ids, target):
        if target.unk not in (ids[at] for at in word):
            parts.append(target.decode([ids[at] for at in word]))
            continue
        first, last = 0, len(word)
        while _is_mark(target, ids[word[first]]):
            first += 1
        while _is_mark(target, ids[word[last - 1]]):
            last -= 1
        weights = attention[[word[n] for n in range(first, last)]].float().mean(0)  # (S,)
        shares = torch.zeros(len(source_words))
        shares.index_add_(0, torch.tensor(columns), weights[: len(columns)])
        before = target.decode([ids[at] for at in word[:first]])
        after = target.decode([ids[at] for at in word[last:]])
        parts.append(before + _bare(source_words[int(shares.argmax())]) + after)
    return " ".join(part for part in parts if part)


def _words(ids: Sequence[int], target: Tokenizer) -> list[list[int]]:
    """Positions of the pieces of each word."""
    words: list[list[int]] = []
    for at, piece in enumerate(target.pieces(ids)):
        if not words or piece.startswith(_SPACE):
            words.append([])
        words[-1].append(at)
    return words


def _word_numbers(pieces: Sequence[str]) -> list[int]:
    numbers, number = [], -1
    for piece in pieces:
        number += piece.startswith(_SPACE) or number < 0
        numbers.append(number)
    return numbers


def _is_mark(target: Tokenizer, token: int) -> bool:
    """Whether a piece is punctuation, or a space alone."""
    return token != target.unk and not any(c.isalnum() for c in target.decode([token]))


def _bare(word: str) -> str:
    """A word without the punctuation around it, unless it is nothing else."""
    first, last = 0, len(word)
    while first < last and not in_word(word[first]):
        first += 1
    while last > first and not in_word(word[last - 1]):
        last -= 1
    return word[first:last] or word
