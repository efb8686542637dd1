"""Classification as the training loop sees it: examples, encoder and output, accuracy."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from torch import Tensor, nn

from seq2seq.errors import UsageError
from seq2seq.json_files import to_json
from seq2seq.tasks.classification.answers import write_answers
from seq2seq.tasks.classification.batches import Batch, Batches
from seq2seq.tasks.classification.calibration import at_limit, fit_temperature
from seq2seq.tasks.classification.classifier import Classifier
from seq2seq.tasks.classification.committee import Network, build_network, members_of
from seq2seq.tasks.classification.config import ClassificationConfig
from seq2seq.tasks.classification.examples import load_splits, source_of
from seq2seq.tasks.classification.labelled import Labelled
from seq2seq.tasks.classification.model import Shape
from seq2seq.tasks.classification.objectives import ClassificationLoss, losses
from seq2seq.tasks.classification.scores import (
    NAMES,
    check_installed,
    confusion,
    figures_of,
    score,
    told,
)
from seq2seq.tasks.classification.sources import SeriesSource, Source
from seq2seq.tasks.classification.statistics import series_shape, set_scaling
from seq2seq.tasks.classification.targets import Targets, class_weights, learn_targets
from seq2seq.tasks.classification.teachers import taught
from seq2seq.tasks.classification.words import embed_vectors, units_with_vectors
from seq2seq.text.vectors import WordVectors
from seq2seq.text.vocabulary import Units
from seq2seq.training import checkpoints
from seq2seq.training.log import say
from seq2seq.training.preparing import copy_weights
from seq2seq.training.task import Carried, Loss

_MOST_SHOWN = 12  # labels of which a table of confusions can be read
_OF_LABELS = ("output", "temperature", "centre", "spread")  # what belongs to a model's labels
_DEFAULT_BEST = {"label": "accuracy", "labels": "macro_f1", "number": "loss"}


class ClassificationTask:
    """See ``seq2seq.training.task``."""

    average_patience = None
    counted = "examples"

    @staticmethod
    def unread_parameters(config: ClassificationConfig) -> bool:
        return config.model.image_encoder.frozen

    def __init__(
        self, config: ClassificationConfig, folder: Path, accelerator: Accelerator, resume: bool
    ) -> None:
        self.config, self.accelerator = config, accelerator
        first = None
        if config.training.start_from and not resume:
            first = Classifier.from_pretrained(config.training.start_from, device="cpu")
        check_installed()
        say(f"reading {config.data.train}", accelerator.is_main_process)
        splits = load_splits(config, None if first is None else first.columns)
        train = splits["train"]
        self.targets = learn_targets(config.data.target, train)
        if first:
            _check_start(first, self.targets, config)
        units, vectors, kept = self._words(train, folder, first, resume)
        letters = config.model.characters
        self.sources = {
            name: source_of(one.inputs, config.data, units, letters) for name, one in splits.items()
        }
        _tell_cut(self.sources.values(), config.data.max_length, accelerator.is_main_process)
        self.truth = {name: self.targets.encode(one) for name, one in splits.items()}
        self.splits = {name: one for name, one in splits.items() if name != "train"}
        self.aims = self._taught(train) if config.training.teachers else self.truth["train"]
        shape = self._shape(train, 0 if units is None else len(units) - kept, kept)
        self.model = self._network(shape, units, vectors, first, resume).to(accelerator.device)
        self.classifier = Classifier(self.model, units, self.targets, config, columns=train.columns)
        size, seed = config.data.batch_size, config.seed
        self.batches = Batches(self.sources["train"], self.aims, size, seed)
        self.objective: nn.Module = ClassificationLoss(
            self.model,
            config.data.target,
            self._weights(),
            config.training.label_smoothing,
            config.training.adversarial,
        ).to(accelerator.device)
        self.figures = ("validation_loss", *figures_of(self.targets))
        self.has_validation = "validation" in self.sources

    def _words(
        self, train: Labelled, folder: Path, first: Classifier | None, resume: bool
    ) -> tuple[Units | None, WordVectors | None, int]:
        """The vocabulary of text, the vectors of its words, and how many words at its end come from
        these alone; see ``units_with_vectors``."""
        units, vectors, kept = None, None, 0
        if self.config.data.kind == "text":
            # the main process comes first and writes them, the others read what it wrote
            before = None if first is None else first.units
            keep = resume or not self.accelerator.is_main_process
            units, vectors, kept = units_with_vectors(
                self.config, folder / "tokenizer", train.inputs, before, keep
            )
        if first:
            kept = first.model.shape.kept
        elif self.config.training.start_from and units is not None:
            kept = _kept_in(folder / "checkpoints" / "last")  # resumed: as the model it began with
        return units, vectors, kept

    def _taught(self, train: Labelled) -> np.ndarray:
        """What the training examples are compared with where teachers answer them, too."""
        teachers = len(self.config.training.teachers)
        what = f"{len(train):,} examples: teachers ({teachers}) answer"
        say(what, self.accelerator.is_main_process)
        same = (one for one in self.splits.values() if one.name == train.name)
        held = {place for one in same for place in one.places}
        truth, device = self.truth["train"], self.accelerator.device
        return taught(self.config, train, truth, self.targets, device, held)

    def _network(
        self,
        shape: Shape,
        units: Units | None,
        vectors: WordVectors | None,
        first: Classifier | None,
        resume: bool,
    ) -> Network:
        """The network as training begins: scaled, with its vectors, or the weights of ``first``."""
        config, options = self.config, self.config.training
        pretrained = config.model.image_encoder.pretrained and not (resume or first)
        network = build_network(
            config.model, shape, config.data.target, config.units.frozen, pretrained
        )
        set_scaling(network, self.sources["train"], config.data.clip)
        if vectors is not None:
            embed_vectors(network, units, vectors)
        if first:
            fresh = _OF_LABELS if options.new_labels else ()
            both = first.config.model, config.model
            copy_weights(first.model, network, options.start_from, fresh, both)
            network.temperature.fill_(1.0)  # that of other examples
        if config.data.target == "number":
            self._standardise(network)
        return network

    def _shape(self, train: Labelled, units: int, kept: int) -> Shape:
        source, outputs = self.sources["train"], self.targets.outputs
        if self.config.data.kind == "text":
            return Shape(outputs, units, kept)
        if isinstance(source, SeriesSource):
            return series_shape(source, outputs, self.config)
        image = self.config.data.image
        if image.steps == "grid":
            return Shape(outputs, grid=True)
        return Shape(outputs, features=image.size if image.steps == "rows" else 1)

    def _standardise(self, network: Network) -> None:
        """Numbers have mean 0 and deviation 1 for the network: also for one that has learnt from
        others, whose answers move with them."""
        truth = self.truth["train"]
        centre, spread = float(truth.mean()), float(truth.std()) or 1.0
        network.centre.fill_(centre)
        network.spread.fill_(spread)
        # what float32 lacks of the centre: 64 of 1.7e9, many times the spread of some times
        rest = (centre - float(network.centre)) / spread
        for member in members_of(network):
            member.output.bias.data += rest

    def _standardised(self, numbers: Tensor) -> Tensor:
        """(N,) float64 -> float32, by the model's centre and spread as they are now: a resumed run
        has those of its checkpoint."""
        return ((numbers - float(self.model.centre)) / float(self.model.spread)).float()

    def _weights(self) -> Tensor | None:
        if self.config.training.class_weights == "none":
            return None
        return torch.from_numpy(class_weights(self.truth["train"]))

    def describe(self) -> str:
        sizes = ", ".join(f"{name} {len(source):,}" for name, source in self.sources.items())
        steps = int(self.sources["train"].lengths.sum())
        units = self.classifier.units
        kind = self.config.data.kind if units is None else units.kind
        labels = f"{len(self.targets.names)} labels" if self.targets.names else "numbers"
        shape = self.model.shape
        words = f"; vocabulary {shape.units:,}" if units is not None else ""
        words += f" and {shape.kept:,} words of the vectors" if shape.kept else ""
        return f"{sizes}; {steps:,} steps of {kind}{words}; {labels}"

    def len_epoch(self, epoch: int) -> int:
        return self.batches.len_epoch(epoch)

    def epoch(self, epoch: int, skip: int, every: int = 1) -> Iterator[Batch]:
        for batch in self.batches.epoch(epoch, skip, every):
            if self.targets.kind == "number":
                batch.targets = self._standardised(batch.targets)
            yield batch

    def loss(self, objective: nn.Module, batch: Batch, carried: Carried) -> Loss:
        loss, reported = objective(batch.inputs, batch.targets)
        return Loss(loss, reported, carried)

    def rate_factor(self, batch: Batch) -> float:
        return 1.0

    def validate(self) -> dict[str, float]:
        loss, figures, _ = self._evaluate("validation")
        return {"validation_loss": loss, **figures}

    def _evaluate(self, split: str) -> tuple[float, dict[str, float], np.ndarray]:
        """Mean loss, figures, answers."""
        source, truth, kind = self.sources[split], self.truth[split], self.targets.kind
        logits = self._logits(source)
        targets = torch.from_numpy(truth)
        if kind == "number":
            targets = self._standardised(targets)
        loss = losses(logits, targets, kind, None, 0.0).double().mean()
        answers = self.classifier.answers_of(logits)
        threshold = self.config.decoding.threshold
        return float(loss), score(kind, answers, truth, threshold), answers

    def _logits(self, source: Source) -> Tensor:
        precision = "bf16" if self.accelerator.mixed_precision == "bf16" else "fp32"
        return self.classifier.logits(source, precision=precision)[0]

    def score(self, figures: dict[str, float]) -> float:
        best = self._best()
        if best == "loss":
            return -figures["validation_loss"]
        return -figures[best] if best == "mae" else figures[best]

    def _best(self) -> str:
        best = self.config.training.best_by or _DEFAULT_BEST[self.targets.kind]
        if best != "loss" and best not in figures_of(self.targets):
            raise UsageError(
                f"training.best_by is {best!r}: of {len(self.targets.names)} labels there is no "
                f"such figure; expected one of: loss, {', '.join(figures_of(self.targets))}"
            )
        return best

    def tell(self, score: float) -> str:
        best = self._best()
        value = -score if best in ("loss", "mae") else score
        return f"validation {NAMES[best]} {value:.4f}"

    def save(self, folder: Path, training: str) -> None:
        self._best()  # refused before the first step
        self.classifier.save_pretrained(folder, card={"training": training})

    def test(self, run: Path, model: Path, training: str) -> list[str]:
        """Temper the probabilities on the validation set, score the test set (where there is none:
        the validation set) and keep its answers and scores in the run's folder."""
        lines = []
        if self.has_validation and self.config.training.calibrate and self.targets.names:
            logits = self._logits(self.sources["validation"])
            truth = torch.from_numpy(self.truth["validation"])
            self.model.temperature.fill_(fit_temperature(logits, truth, self.targets.kind))
            lines.append(_told_temperature(float(self.model.temperature)))
        split = next((name for name in ("test", "validation") if name in self.sources), None)
        if split is None:
            return lines
        loss, figures, answers = self._evaluate(split)
        named = self.splits[split]
        path, spread = run / f"{split}.answers.tsv", float(self.model.spread)
        write_answers(path, answers, named, self.targets, spread)
        values = to_json(
            {"examples": len(named), "loss": loss, **figures}, indent=1, ascii_only=True
        )
        (run / f"{split}.scores.json").write_text(values, "utf-8")
        told_figures = f"{split}, {len(named):,} examples: {told(figures)}"
        card: dict[str, Any] = {"scores": [told_figures], "test_set": named.name}
        card["metrics"] = {name.replace("macro_", ""): value for name, value in figures.items()}
        if self.targets.kind == "label" and len(self.targets.names) <= _MOST_SHOWN:
            table = confusion(answers, self.truth[split], self.targets.names)
            card["notes"] = f"True labels (rows) and answers (columns):\n\n```\n{table}\n```"
        self.classifier.save_pretrained(model, card={**card, "training": training})
        return [*lines, told_figures]


def _check_start(first: Classifier, targets: Targets, config: ClassificationConfig) -> None:
    """Raises UsageError where the model to start from has other labels or members."""
    name = f"training.start_from {config.training.start_from}"
    if first.targets != targets and not config.training.new_labels:
        raise UsageError(
            f"{name}: its labels are others; expected the same, or 'training.new_labels: true', "
            "which begins with a new output layer"
        )
    keys = ("lowercase", *(("split",) if config.units.kind == "words" else ()))
    for key in keys if config.data.kind == "text" else ():
        before, here = getattr(first.config.data, key), getattr(config.data, key)
        if before != here:  # its words would not be found
            raise UsageError(
                f"{name}: its 'data.{key}' is {before}, here {here}; expected the same"
            )
    if first.config.model.members != config.model.members:
        raise UsageError(
            f"{name}: its 'model.members' is {first.config.model.members}, here "
            f"{config.model.members}; fine-tuning needs the same"
        )


def _tell_cut(sources: Iterable[Source], longest: int, main: bool) -> None:
    cut, every = (sum(counts) for counts in zip(*((s.cut, len(s)) for s in sources), strict=True))
    if cut:
        what = f"longer than 'data.max_length' ({longest:,} steps) and cut there"
        say(f"{cut:,} of {every:,} inputs are {what}", main)


def _kept_in(checkpoint: Path) -> int:
    """How many words have vectors that are not trained in a run's model."""
    tensors, _ = checkpoints.read(checkpoint)
    names = ("model.embedding.kept", "model.members.0.embedding.kept")
    return next((len(tensors[name]) for name in names if name in tensors), 0)


def _told_temperature(temperature: float) -> str:
    if not at_limit(temperature):
        return f"temperature {temperature:.3f}"
    why = (
        "the validation set is too easy or too small to say how sure the model may be"
        if temperature < 1
        else "on the validation set the model is hardly better than a guess"
    )
    return f"temperature {temperature:.3f}, its limit: {why}"
