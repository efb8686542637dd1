"""Random segmentations of words into the subwords of a SentencePiece model.

SentencePiece samples too, but its generator cannot be relied on to give the same draws in
another process (from 0.2.3 on it mixes in a salt of the process), and a run that resumes has to
see the batches it would have seen. Here every draw comes from the generator that is passed in.

A word is a string of the model's normalised text, with U+2581 for the space before it.
"""

from __future__ import annotations

import bisect
import math
import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise

_UNKNOWN_PENALTY = 10.0  # below the worst subword: SentencePiece's choice for unknown characters
_LATTICES_KEPT = 50_000  # words, some 3 KB each; emptied when full, frequent ones soon return
_LONGEST_MERGED = 256  # characters; looking at all neighbours for each merge is quadratic


@dataclass
class Subwords:
    """What a model knows: ids and scores of its subwords."""

    ids: dict[str, int]  # without special, byte and unused ones
    scores: list[float]  # (V,) log probability (unigram) or priority of the merge (BPE)
    byte_ids: list[int]  # (256,) or empty without byte fallback
    unknown: int
    longest: int = field(init=False)  # characters

    def __post_init__(self) -> None:
        self.longest = max(map(len, self.ids), default=1)

    def spell(self, character: str) -> tuple[int, ...]:
        """Ids of one character: its own, or those of its UTF-8 bytes, or unknown."""
        if character in self.ids:
            return (self.ids[character],)
        if self.byte_ids:
            return tuple(self.byte_ids[byte] for byte in character.encode("utf-8"))
        return (self.unknown,)


class UnigramSampler:
    """Draws a segmentation x of a word from P(x)^strength / sum over all segmentations.

    Kudo 2018, Subword Regularization, eq. 8 with l = infinity, by forward filtering and backward
    sampling: weight(j) = sum over subwords w = [i, j) of weight(i) * P(w)^strength, then from the
    end of the word back, a subword [i, j) with probability weight(i) * P(w)^strength / weight(j).
    As P(x) is a product over the words of a sentence, words are drawn one by one.
    """

    def __init__(self, subwords: Subwords, strength: float) -> None:
        self._subwords = subwords
        self._strength = strength
        used = [subwords.scores[i] for i in subwords.ids.values()]
        self._unknown_score = min(used, default=0.0) - _UNKNOWN_PENALTY
        self._lattices: dict[str, list[_Ends]] = {}

    def draw(self, word: str, generator: random.Random) -> list[int]:
        lattice = self._lattices.get(word)
        if lattice is None:
            if len(self._lattices) >= _LATTICES_KEPT:
                self._lattices.clear()
            lattice = self._lattices[word] = self._lattice(word)
        found: list[tuple[int, ...]] = []
        end = len(word)
        while end > 0:
            bounds, starts, ids = lattice[end]
            choice = bisect.bisect(bounds, generator.random()) if bounds else 0
            found.append(ids[choice])
            end = starts[choice]
        return [i for part in reversed(found) for i in part]

    def _lattice(self, word: str) -> list[_Ends]:
        """For each position the subwords that end there, with cumulative probabilities."""
        known, scores = self._subwords.ids, self._subwords.scores
        logs = [0.0]  # log of the weight of each position
        ends: list[_Ends] = [((), (), ())]
        for end in range(1, len(word) + 1):
            weights, starts, ids = [], [], []
            parts: tuple[int, ...]
            for start in range(max(0, end - self._subwords.longest), end):
                found = known.get(word[start:end])
                if found is not None:
                    parts, score = (found,), scores[found]
                elif start == end - 1:
                    parts, score = self._subwords.spell(word[start]), self._unknown_score
                else:
                    continue
                weights.append(logs[start] + self._strength * score)
                starts.append(start)
                ids.append(parts)
            highest = max(weights)
            total, sums = 0.0, []
            for weight in weights:
                total += math.exp(weight - highest)
                sums.append(total)
            logs.append(highest + math.log(total))
            # The last bound is left out: whatever lies above the others is the last choice.
            bounds = tuple(part / total for part in sums[:-1])
            ends.append((bounds, tuple(starts), tuple(ids)))
        return ends


# Bounds between the choices, and for each choice where it starts and its ids.
_Ends = tuple[tuple[float, ...], tuple[int, ...], tuple[tuple[int, ...], ...]]


class DropoutSampler:
    """Merges neighbours of a word like BPE, leaving out merges at random.

    Provilkov et al. 2020, BPE-Dropout, algorithm 1: from single characters on, each possible merge
    is left out with probability ``strength``, the best of the others is done, and so on until
    all that are possible are left out.
    """

    def __init__(self, subwords: Subwords, strength: float) -> None:
        self._subwords = subwords
        self._strength = strength

    def draw(self, word: str, generator: random.Random) -> list[int]:
        known = self._subwords.ids
        ids: list[int] = []
        for start in range(0, len(word), _LONGEST_MERGED):
            for part in self._merge(word[start : start + _LONGEST_MERGED], generator):
                ids += (known[part],) if part in known else self._subwords.spell(part)
        return ids

    def _merge(self, characters: str, generator: random.Random) -> list[str]:
        known, scores = self._subwords.ids, self._subwords.scores
        parts = list(characters)
        while True:
            best, position = -math.inf, -1
            for i, (left, right) in enumerate(pairwise(parts)):
                merged = known.get(left + right)
                if merged is None or generator.random() < self._strength:
                    continue
                if scores[merged] > best:
                    best, position = scores[merged], i
            if position < 0:
                return parts
            parts[position : position + 2] = [parts[position] + parts[position + 1]]


def model_kind(model: bytes) -> str:
    """'unigram', 'bpe', 'word' or 'char', from the bytes of a .model file.

    A walk over the two protocol-buffer fields that say so (ModelProto.trainer_spec = 2,
    TrainerSpec.model_type = 3): the package that reads all of them is not always installed.
    """
    kinds = {1: "unigram", 2: "bpe", 3: "word", 4: "char"}
    trainer = next((v for n, v in _fields(model) if n == 2 and isinstance(v, bytes)), b"")
    kind = next((v for n, v in _fields(trainer) if n == 3 and isinstance(v, int)), 1)
    return kinds.get(kind, "unknown")


def _fields(message: bytes) -> Iterator[tuple[int, int | bytes]]:
    """Number and value (an integer or bytes) of each field of a protocol-buffer message."""
    position = 0

    def varint() -> int:
        nonlocal position
        value = shift = 0
        while True:
            byte = message[position]
            position += 1
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return value

    while position < len(message):
        key = varint()
        wire = key & 7
        if wire == 0:
            value: int | bytes = varint()
        else:
            size = varint() if wire == 2 else {1: 8, 5: 4}[wire]
            value = message[position : position + size]
            position += size
        yield key >> 3, value
