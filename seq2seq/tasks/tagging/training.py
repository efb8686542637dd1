"""Tagging as the training loop sees it: labelled sentences, their likelihood, F1 and accuracy."""

from __future__ import annotations

import dataclasses
import logging
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from torch import nn

from seq2seq.errors import UsageError
from seq2seq.json_files import to_json
from seq2seq.layers.evaluating import evaluating
from seq2seq.tasks.tagging.batches import (
    LabelIds,
    TaggingBatch,
    TaggingBatches,
    by_length,
    encode_words,
)
from seq2seq.tasks.tagging.columns import write_pairs
from seq2seq.tasks.tagging.committee import build_model, members_of
from seq2seq.tasks.tagging.config import TaggingConfig
from seq2seq.tasks.tagging.model import Head
from seq2seq.tasks.tagging.objectives import TaggingLoss
from seq2seq.tasks.tagging.schemes import OUTSIDE, are_spans
from seq2seq.tasks.tagging.scores import LabelScores, score_labels, score_sentences
from seq2seq.tasks.tagging.sentences import Sentence, load_sentences
from seq2seq.tasks.tagging.span_bonus import add_bonus, fit_bonus
from seq2seq.tasks.tagging.starting import vocabulary_of_start
from seq2seq.tasks.tagging.tagger import Tagger
from seq2seq.tasks.tagging.vocabulary import (
    UNKNOWN_WORD,
    VOCABULARY_FILE,
    Column,
    TaggingVocabulary,
    build_vocabulary,
)
from seq2seq.text.vectors import WordVectors, read_vectors, table_of
from seq2seq.training.log import say
from seq2seq.training.preparing import copy_weights
from seq2seq.training.task import Carried, Loss

_OF_LABELS = ("heads", "pooling", "sentence")  # what belongs to a model's labels
VALIDATION_SENTENCES = 64  # labelled at once
_log = logging.getLogger("seq2seq")


class TaggingTask:
    """See ``seq2seq.training.task``."""

    average_patience = None

    @staticmethod
    def unread_parameters(config: TaggingConfig) -> bool:
        return False

    def __init__(
        self, config: TaggingConfig, folder: Path, accelerator: Accelerator, resume: bool
    ) -> None:
        options = config.training
        self.config, self.accelerator = config, accelerator
        self.main = accelerator.is_main_process
        say(f"reading {config.data.train}", self.main)
        self.sets = _load(config)
        self.has_validation = "validation" in self.sets
        first = None
        if options.start_from and not resume:
            first = Tagger.from_pretrained(options.start_from, device="cpu")
        elif config.model.frozen and not (config.model.vectors or resume):
            raise UsageError("'model.frozen' needs 'model.vectors' to begin with")
        vectors = _vectors(config)
        # the main process comes first and writes it, the others read what it wrote
        keep = resume or not self.main
        self.vocabulary = self._vocabulary(folder / "tokenizer", first, vectors, keep)
        _check_spans(config, self.vocabulary)
        self.batches = TaggingBatches(
            self.sets["train"],
            self.vocabulary,
            config,
            set(vectors.words) if vectors else set(),
        )
        self.model = build_model(config.model, self.vocabulary)
        if vectors and not first:
            table = table_of(vectors, [UNKNOWN_WORD, *self.vocabulary.words])
            for member in members_of(self.model):
                member.embedding.begin_with(table)
            say(f"{config.model.vectors}: {table}", self.main)
        self.model = self.model.to(accelerator.device)
        if first:
            fresh = _OF_LABELS if options.new_labels else ()
            both = first.config.model, config.model
            copy_weights(first.model, self.model, options.start_from, fresh, both)
        self.tagger = Tagger(self.model, self.vocabulary, config)
        self.objective: nn.Module = TaggingLoss(
            self.model, options.sentence_weight, options.adversarial
        )
        self.label_ids = LabelIds(self.vocabulary, config.model.scheme)
        self._warn()

    @property
    def figures(self) -> tuple[str, ...]:
        """Means over the columns of their kind."""
        kinds = {
            "span_f1" if column.spans else "label_accuracy": 0 for column in self.vocabulary.columns
        }
        whole = () if self.vocabulary.sentence_labels is None else ("sentence_accuracy",)
        return ("validation_loss", *sorted(kinds), *whole)

    def _vocabulary(
        self, folder: Path, first: Tagger | None, vectors: WordVectors | None, keep: bool
    ) -> TaggingVocabulary:
        """The run's vocabulary, read with ``keep``; else that of the first model, or a new one."""
        if keep and (folder / VOCABULARY_FILE).exists():
            return TaggingVocabulary.load(folder)
        built = build_vocabulary(self.sets["train"], self.config, vectors)
        if first is not None:
            built = vocabulary_of_start(first.vocabulary, first.config, built, self.config)
        built.save(folder)
        return built

    def _warn(self) -> None:
        """Say which labels cannot be learnt: one example alone, or none."""
        for number, column in enumerate(self.vocabulary.columns):
            counts = Counter(x for one in self.sets["train"] for x in one.labels[number])
            self._warn_of(column.name, counts, lambda one, number=number: one.labels[number])
            self._warn_of_stray(column, counts)
        if self.vocabulary.sentence_labels is not None:
            counts = Counter(str(one.sentence_label) for one in self.sets["train"])
            name = str(self.config.data.sentence_label)
            self._warn_of(name, counts, lambda one: [str(one.sentence_label)])

    def _warn_of(self, name: str, counts: Counter[str], labels: Any) -> None:
        single = sorted(label for label, count in counts.items() if count == 1)
        if single and self.main:
            _log.warning(
                "%s: %d labels of '%s' have a single example (%s): they will hardly be learnt",
                *(self.config.data.train, len(single), name, ", ".join(single[:5])),
            )
        for split in ("validation", "test"):
            unseen = [
                (label, one.line)
                for one in self.sets.get(split, ())
                for label in labels(one)
                if label not in counts
            ]
            if unseen and self.main:
                _log.warning(
                    "%s, line %d: the label '%s' of '%s' is not in the training data; labels that "
                    "are not, %d in this file, count as mistakes",
                    *(getattr(self.config.data, split), unseen[0][1], unseen[0][0], name),
                    len(unseen),
                )

    def _warn_of_stray(self, column: Column, counts: Counter[str]) -> None:
        """Say which labels keep a column from being one of spans, where most of them write some."""
        labels = [label for label in counts if label != OUTSIDE]
        stray = sorted(label for label in labels if not are_spans([label]))
        if OUTSIDE in counts and 0 < 2 * len(stray) < len(labels) and self.main:
            _log.warning(
                "%s: '%s' has labels of spans and others (%s): all are learnt as plain labels and "
                "scored by accuracy; mend these to get F1 of spans",
                *(self.config.data.train, column.name, ", ".join(stray[:5])),
            )

    def describe(self) -> str:
        sizes = ", ".join(
            f"{name} {len(found):,} sentences with {sum(len(s.words) for s in found):,} words"
            for name, found in self.sets.items()
        )
        labels = ", ".join(f"{len(c.labels)} of {c.name}" for c in self.vocabulary.columns)
        if self.vocabulary.sentence_labels is not None:
            labels += f", {len(self.vocabulary.sentence_labels)} of sentences"
        return f"{sizes}; {len(self.vocabulary.words):,} words known; labels: {labels}"

    def len_epoch(self, epoch: int) -> int:
        return self.batches.len_epoch(epoch)

    def epoch(self, epoch: int, skip: int, every: int = 1) -> Iterator[TaggingBatch]:
        return self.batches.epoch(epoch, skip, every)

    def loss(self, objective: nn.Module, batch: TaggingBatch, carried: Carried) -> Loss:
        loss, parts = objective(batch.words, batch.labels, batch.sentence_labels)
        return Loss(loss, loss.detach(), carried, parts)

    def rate_factor(self, batch: TaggingBatch) -> float:
        return 1.0

    def validate(self) -> dict[str, float]:
        """The loss per word, and the scores of the labels that the model gives."""
        scores, whole, loss, _ = self._evaluate(self.sets["validation"])
        figures = {"validation_loss": loss}
        for name in self.figures:
            chosen = [
                s.main for s in scores.values() if (s.spans is not None) == (name == "span_f1")
            ]
            if name in ("span_f1", "label_accuracy"):
                figures[name] = sum(chosen) / len(chosen)
        if whole is not None:
            figures["sentence_accuracy"] = whole
        return figures

    def _evaluate(
        self, sentences: Sequence[Sentence]
    ) -> tuple[dict[str, LabelScores], float | None, float, list[Any]]:
        """Scores of each column and of whole sentences, the loss per word, and the labels."""
        device = self.accelerator.device
        objective = self.objective
        assert isinstance(objective, TaggingLoss)
        order = sorted(range(len(sentences)), key=lambda n: len(sentences[n].words))
        found: list[Any] = [None] * len(sentences)
        total, words = 0.0, 0
        with torch.no_grad(), evaluating(objective), self.accelerator.autocast():
            sizes = [len(sentences[row].words) for row in order]
            for places in by_length(sizes, VALIDATION_SENTENCES):
                rows = [order[place] for place in places]
                chosen = [sentences[row] for row in rows]
                encoded = encode_words(
                    [one.words for one in chosen],
                    self.vocabulary,
                    [one.features for one in chosen],
                )
                batch = self.label_ids.batch(chosen, encoded).to(device)
                emissions = self.model(batch.words)
                loss, _ = objective.of_emissions(
                    emissions, batch.words.lengths, batch.labels, batch.sentence_labels
                )
                total, words = total + float(loss), words + batch.target_count
                labels, wholes = self.tagger.label(batch.words, emissions)
                for row, one, whole in zip(rows, labels, wholes, strict=True):
                    found[row] = (one, whole)
        scores = {}
        for number, column in enumerate(self.vocabulary.columns):
            gold = [one.labels[number] for one in sentences]
            answers = [one[0][column.name].labels for one in found]
            scores[column.name] = score_labels(gold, answers, column.spans)
        accuracy = None
        if self.vocabulary.sentence_labels is not None:
            gold_whole = [str(one.sentence_label) for one in sentences]
            accuracy = score_sentences(gold_whole, [one[1][0] for one in found])
        return scores, accuracy, total / words, found

    def score(self, figures: dict[str, float]) -> float:
        """The mean of all figures but the loss."""
        chosen = [value for name, value in figures.items() if name != "validation_loss"]
        return sum(chosen) / len(chosen)

    def tell(self, score: float) -> str:
        name = " and ".join(name.replace("_", " ") for name in self.figures[1:])
        return f"validation {name} {score:.2f}"

    def save(self, folder: Path, training: str) -> None:
        self.tagger.save_pretrained(folder, card={"training": training})

    def test(self, run: Path, model: Path, training: str) -> list[str]:
        """Give spans a bonus, or tune it on the validation set, where that is asked for; label the
        test sentences; keep labels and scores in the run's folder. Where there is no test set, the
        validation set takes its place."""
        tuned = self._tune_spans()
        split = next((name for name in ("test", "validation") if name in self.sets), None)
        if split is None:
            if tuned:
                self.save(model, training)
            return tuned
        sentences = self.sets[split]
        scores, whole, _, found = self._evaluate(sentences)
        told = [*tuned, *(f"{split}, {name}: {one}" for name, one in scores.items())]
        values: dict[str, Any] = {name: dataclasses.asdict(one) for name, one in scores.items()}
        if whole is not None:
            name = str(self.config.data.sentence_label)
            told.append(f"{split}, {name}: accuracy {whole:.2f} ({len(sentences):,} sentences)")
            values[name] = {"sentences": len(sentences), "accuracy": whole}
        (run / f"{split}.scores.json").write_text(
            to_json(values, indent=1, ascii_only=True), "utf-8"
        )
        columns = write_pairs(sentences, [[x.labels for x in one[0].values()] for one in found])
        (run / f"{split}.columns").write_text(columns, encoding="utf-8")
        location = getattr(self.config.data, split)
        card: dict[str, Any] = {"scores": told, "test_set": location, "training": training}
        card["metrics"] = next(iter(scores.values())).metrics() if scores else {}
        self.tagger.save_pretrained(model, card=card)
        return told

    def _tune_spans(self) -> list[str]:
        """Give each column of spans its bonus, if any; what was done."""
        options, told = self.config.training, []
        if not (options.tune_spans or options.span_bonus):
            return []
        every = zip(*(member.heads for member in members_of(self.model)), strict=True)
        for column, heads in zip(self.vocabulary.columns, every, strict=True):
            if column.spans and options.tune_spans:
                told.append(self._tune_column(column, heads))
            elif column.spans:
                add_bonus(heads, column.labels, options.span_bonus)
                told.append(f"{column.name}: bonus of a span {options.span_bonus:+g}, as told")
        return told

    def _tune_column(self, column: Column, heads: Sequence[Head]) -> str:
        def score() -> float:
            return self._evaluate(self.sets["validation"])[0][column.name].main

        before = score()
        bonus = fit_bonus(heads, column.labels, score)
        return (
            f"{column.name}: bonus of a span {bonus:+.1f}, validation F1 {before:.2f} -> "
            f"{score():.2f}"
        )


def _load(config: TaggingConfig) -> dict[str, list[Sentence]]:
    data = config.data
    if not data.train:
        raise UsageError("'data.train' is not set; expected a file of words with labels")
    splits = ("train", "validation", "test")
    return {s: load_sentences(getattr(data, s), data) for s in splits if getattr(data, s)}


def _check_spans(config: TaggingConfig, vocabulary: TaggingVocabulary) -> None:
    """Raises UsageError for what is done to spans where no column has any."""
    if any(column.spans for column in vocabulary.columns):
        return
    for key, value in (
        ("data.replaced_spans", config.data.replaced_spans),
        ("training.span_bonus", config.training.span_bonus),
    ):
        if value:
            raise UsageError(
                f"'{key}' is {value}, and no column of 'data.labels' "
                f"({', '.join(config.data.labels)}) has spans (O, B-X, I-X alone) in "
                f"{config.data.train}: leave it out"
            )


def _vectors(config: TaggingConfig) -> WordVectors | None:
    if config.model.vectors is None:
        return None
    return read_vectors(config.model.vectors, size=config.model.embedding_size)
