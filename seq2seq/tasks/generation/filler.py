"""The missing word of a sentence, by language models that read from both sides."""

from __future__ import annotations

import logging
import math
import os
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from seq2seq.arguments import check_kind, check_whole, listed
from seq2seq.errors import RunError, UsageError
from seq2seq.precision import AutoPrecision
from seq2seq.tasks.generation.alternatives import Alternatives, alternatives, score_endings
from seq2seq.tasks.generation.blanks import Blanked, make_blanked, name_of
from seq2seq.tasks.generation.generator import TextGenerator
from seq2seq.text.vocabulary import END, UNK, Words

SHORTLIST = 200  # words that are tried in the whole sentence, where any word may fill the blank
_log = logging.getLogger("seq2seq")


@dataclass(frozen=True)
class Candidate:
    """``score``: the log probability of what stands from the blank on, in the direction in which
    the model reads, two models' added; of a model that reads from both sides, that of each unit of
    the text between all others, added. ``probability``: the candidate's share of the
    exponentials of all candidates' scores (of two models: of their mean)."""

    text: str
    score: float
    probability: float


@dataclass(frozen=True)
class Filling:
    """The best candidates for a blank, and the sentence with the best of them in it."""

    text: str
    candidates: list[Candidate]


class BlankFiller:
    """Ranks what may fill a blank: by a forward and a backward language model, by one of them, or
    by a model that reads from both sides.

        filler = BlankFiller.from_pretrained("runs/cloze/model", "runs/cloze_backward/model")
        filler.fill("Let us eat at the ___ .", ["bank", "restaurant"]).candidates[0].text

    A forward model scores the candidate after what stands before it, and all that follows after
    both; a backward model (``model.direction: backward``) does the same from the other end. The sum
    of both is what candidates are ranked by. A model with ``model.direction: both`` scores each
    unit of the filled sentence between all others, and needs no second model.

    A candidate with a word that the vocabulary lacks is scored as ``<unk>``, whose probability is
    shared out equally among as many such words as the vocabulary has words.
    """

    def __init__(self, model: TextGenerator, backward: TextGenerator | None = None) -> None:
        """Raises UsageError where two models are not one forward and one backward."""
        check_kind("model", model, TextGenerator)
        if backward is not None:
            check_kind("backward", backward, TextGenerator)
        directions = [m.config.model.direction for m in (model, backward) if m is not None]
        if len(directions) == 2 and directions != ["forward", "backward"]:
            raise UsageError(
                f"the first model's 'model.direction' is {directions[0]}, the second's "
                f"{directions[1]}; expected a forward model and a backward one"
            )
        self.models = [model] if backward is None else [model, backward]

    @classmethod
    def from_pretrained(
        cls,
        model: str | os.PathLike[str],
        backward: str | os.PathLike[str] | None = None,
        *,
        device: str = "auto",
    ) -> BlankFiller:
        """Load the models; see ``TextGenerator.from_pretrained``."""
        second = None
        if backward is not None:
            second = TextGenerator.from_pretrained(backward, device=device)
        return cls(TextGenerator.from_pretrained(model, device=device), second)

    def fill(
        self,
        text: str,
        candidates: Sequence[str | Sequence[str]] | None = None,
        *,
        top: int | None = None,
        precision: AutoPrecision = "fp32",
    ) -> Filling:
        """The candidates for the blank of ``text``, best first; ``top`` of them at most.

        The blank is ``___`` in the text, or ``[bank|river]``, which brings its candidates. Without
        candidates it may be any word of the vocabulary, marks left out: the models' likeliest at
        the blank itself (``SHORTLIST`` of them) are then ranked in the whole sentence.

        Raises UsageError for a text without blank, candidates that do not fit, and models without
        candidates whose units are no words.
        """
        return self.fill_batch([make_blanked(text, candidates, "the text")], top, precision)[0]

    def fill_batch(
        self,
        sentences: Sequence[Blanked],
        top: int | None = None,
        precision: AutoPrecision = "fp32",
    ) -> list[Filling]:
        """The same for many; a sentence's result does not depend on the others."""
        if top is not None:
            check_whole("top", top, 1)
        sentences = listed("sentences", sentences, "Blanked")
        for number, one in enumerate(sentences, start=1):
            check_kind(f"sentence {number}", one, Blanked)
        given = [
            one.candidates or tuple((word,) for word in self._likely_words(one, precision))
            for one in sentences
        ]
        texts = [
            [one.filled(candidate) for candidate in candidates]
            for one, candidates in zip(sentences, given, strict=True)
        ]
        totals = [[0.0] * len(group) for group in texts]
        for model in self.models:
            found = _scores(model, sentences, texts, precision)
            for n, scores in enumerate(found):
                unseen = [_unknown(model, candidate) for candidate in given[n]]
                penalty = math.log(len(model.units))
                totals[n] = [
                    total + score - penalty * count
                    for total, score, count in zip(totals[n], scores, unseen, strict=True)
                ]
        self._warn(sentences)
        fillings = zip(sentences, given, totals, strict=True)
        return [self._ranked(one, names, scores, top) for one, names, scores in fillings]

    def _ranked(
        self,
        sentence: Blanked,
        candidates: Sequence[tuple[str, ...]],
        scores: list[float],
        top: int | None,
    ) -> Filling:
        if any(math.isnan(score) for score in scores):
            raise RunError("a model gives no probabilities (NaN); the weights are damaged")
        mean = torch.tensor(scores, dtype=torch.float64) / len(self.models)
        shares = mean.softmax(0).tolist()
        order = sorted(range(len(scores)), key=lambda n: -scores[n])[:top]
        ranked = [Candidate(name_of(candidates[n]), scores[n], shares[n]) for n in order]
        return Filling(sentence.filled(candidates[order[0]]), ranked)

    def _likely_words(self, sentence: Blanked, precision: AutoPrecision) -> list[str]:
        """The words that the models find likeliest at the blank itself."""
        if len(sentence.parts) != 2:
            raise UsageError(
                f"{sentence.where}: {len(sentence.parts) - 1} blanks in one text need candidates"
            )
        kinds = [m.units.kind for m in self.models if not isinstance(m.units, Words)]
        if kinds:
            raise UsageError(
                f"{sentence.where}: no candidates, and a model of {kinds[0]} knows no words to "
                "choose from; give some"
            )
        log_p: dict[str, float] = {}
        for model in self.models:
            found = _at_blank(model, sentence, precision)
            # a word that one of the models lacks is left out
            log_p = {w: p + log_p.get(w, 0.0) for w, p in found.items() if w in log_p or not log_p}
        return sorted(log_p, key=lambda word: -log_p[word])[:SHORTLIST]

    def _warn(self, sentences: Sequence[Blanked]) -> None:
        """Say which candidates hold words that a model has never seen."""
        words = {w for one in sentences for c in one.candidates or () for w in c}
        unseen = sorted({u for m in self.models for word in words for u in m.units.unknown(word)})
        if unseen:
            names = ", ".join(map(repr, unseen[:10])) + (", ..." if len(unseen) > 10 else "")
            _log.warning("candidates hold what a model has never seen: %s", names)


def _scores(
    model: TextGenerator,
    sentences: Sequence[Blanked],
    texts: Sequence[Sequence[str]],
    precision: AutoPrecision,
) -> list[list[float]]:
    """What a model says of each filled text of each sentence."""
    if _both(model):
        rows = [_whole(model, text) for group in texts for text in group]
        scores = iter(model.cloze_steps(precision).score(rows))
        return [[next(scores) for _ in group] for group in texts]
    groups = [_read(model, *pair) for pair in zip(sentences, texts, strict=True)]
    return score_endings(model.steps(precision), groups)


def _both(model: TextGenerator) -> bool:
    return model.config.model.direction == "both"


def _whole(model: TextGenerator, text: str) -> list[int]:
    """The units of a text between its ends, as a model that reads from both sides sees it."""
    (edge,) = model.prompt_units("")
    return [edge, *model.encode(text), edge]


def _read(model: TextGenerator, sentence: Blanked, texts: Sequence[str]) -> Alternatives:
    """The filled texts in units, in the order in which the model reads them, parted at the
    blank."""
    begin = model.prompt_units("")
    end = [END] if model.has_end else []
    before = len(begin) + len(model.encode(_before(model, sentence)))
    return alternatives([[*begin, *model.encode(text), *end] for text in texts], before)


def _before(model: TextGenerator, sentence: Blanked) -> str:
    """What the model reads before it comes to a blank."""
    return sentence.parts[-1 if model.backward else 0]


def _unknown(model: TextGenerator, candidate: Sequence[str]) -> int:
    return sum(int((model.units.encode(text) == UNK).sum()) for text in candidate)


def _at_blank(
    model: TextGenerator, sentence: Blanked, precision: AutoPrecision
) -> dict[str, float]:
    """log p of each word of the vocabulary after all that the model reads before the blank."""
    units = model.units
    assert isinstance(units, Words)
    if _both(model):
        before = _whole(model, sentence.parts[0])[:-1]
        after = _whole(model, sentence.parts[1])[1:]
        log_p = model.cloze_steps(precision).log_probabilities(before, after)
    else:
        ids = [*model.prompt_units(""), *model.encode(_before(model, sentence))]
        logits, _ = model.steps(precision).start([ids])
        log_p = logits[0].log_softmax(0)
    no_words = {UNK, END, units.line_end}
    words = ((units.piece(n), p) for n, p in enumerate(log_p.tolist()) if n not in no_words)
    return {word: p for word, p in words if any(map(str.isalnum, word))}  # marks are no words
