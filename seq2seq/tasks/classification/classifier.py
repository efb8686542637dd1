"""A trained classification model as its user holds it: text, series or images in, labels out."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from seq2seq.arguments import check_number, check_truth, check_whole, listed
from seq2seq.errors import RunError, UsageError
from seq2seq.layers.evaluating import evaluating
from seq2seq.precision import Precision, check_precision, products
from seq2seq.saved import directory as saved
from seq2seq.saved.building import build_to_fit
from seq2seq.saved.pretrained import Pretrained
from seq2seq.tasks.classification.batches import by_length
from seq2seq.tasks.classification.calibration import probabilities
from seq2seq.tasks.classification.card import classification_card
from seq2seq.tasks.classification.committee import Network, build_network
from seq2seq.tasks.classification.config import ClassificationConfig
from seq2seq.tasks.classification.examples import source_of
from seq2seq.tasks.classification.images import read_pixels, scaled
from seq2seq.tasks.classification.labelled import Columns
from seq2seq.tasks.classification.model import read_shape
from seq2seq.tasks.classification.series import (
    PARTS,
    Series,
    averaged,
    check_keys,
    make_series,
    uneven,
)
from seq2seq.tasks.classification.sources import Source, tokens_of
from seq2seq.tasks.classification.targets import Targets
from seq2seq.text.vocabulary import UNITS_FILE, Units, load_units, save_units
from seq2seq.training.log import say


@dataclass(frozen=True)
class Classified:
    """The answer for one input.

    ``label`` is the likeliest label and ``probability`` its own; of several labels ``label`` joins
    those that are at least as likely as the model's threshold (none: ""), and ``probability`` is
    the least of theirs. ``ranking`` has every label with its probability, likeliest first. Of a
    model of numbers ``value`` is the answer, and there are no labels.

    ``explanation``, where it was asked for: each word (of a series or image: the number of each
    step, from 1) with its share of the attention; the shares sum up to 1.
    """

    label: str
    probability: float
    ranking: list[tuple[str, float]]
    value: float | None = None
    explanation: list[tuple[str, float]] | None = None


class Classifier(Pretrained[Network, ClassificationConfig]):
    """A classification model together with its vocabulary, labels and configuration.

    classifier = Classifier.from_pretrained("runs/sst2/model")
    classifier.classify("a film that nobody needs").label
    """

    task = "classification"
    files = saved.UNIT_MODEL_FILES

    def __init__(
        self,
        model: Network,
        units: Units | None,
        targets: Targets,
        config: ClassificationConfig,
        readme: str | None = None,
        columns: Columns | None = None,
    ) -> None:
        """``columns``: names of the features that a model of series reads, in their order."""
        self.model, self.units, self.targets = model, units, targets
        self.config, self.readme, self.columns = config, readme, columns
        self._warned = False  # of uneven times

    @classmethod
    def _from_directory(cls, directory: Path) -> Classifier:
        values = saved.read_values(directory, cls.task, {"labels": list, "shape": dict}, cls.files)
        config = saved.run_config(values, directory, cls.task)
        saved.require(directory, saved.WEIGHTS_FILE, cls.files)
        shape = read_shape(values["shape"], directory / saved.CONFIG_FILE)
        units = None
        if config.data.kind == "text":
            saved.require(directory, UNITS_FILE, cls.files)
            units = load_units(directory)
            expected = shape.units + shape.kept
            saved.check_vocabulary(directory / UNITS_FILE, len(units), expected, "shape")
        targets = Targets(config.data.target, tuple(map(str, values["labels"])))
        weights, frozen = directory / saved.WEIGHTS_FILE, config.units.frozen
        kind = config.data.target
        model = build_to_fit(lambda: build_network(config.model, shape, kind, frozen), weights)
        saved.load_weights(model, weights)
        columns = None
        if "features" in values:  # models of before have no names
            columns = _columns(values, directory / saved.CONFIG_FILE)
        card = saved.read_card(directory)
        return cls(model.eval(), units, targets, config, card, columns)

    def _write_vocabulary(self, directory: Path) -> dict[str, Any]:
        if self.units is not None:
            save_units(self.units, directory)
        values: dict[str, Any] = {"labels": list(self.targets.names)}
        values["shape"] = dataclasses.asdict(self.model.shape)
        if self.columns is not None:
            values["features"] = list(self.columns.features)
            values["static_features"] = list(self.columns.static)
        return values

    def _card(self, parameters: int, card: dict[str, Any] | None) -> str:
        return classification_card(self.config, self.targets, parameters, card)

    # --- answers ---------------------------------------------------------------------------

    def classify(
        self,
        inputs: Any,
        *,
        explain: bool = False,
        threshold: float | None = None,
        batch_size: int | None = None,
        precision: Precision = "fp32",
    ) -> Any:
        """The answer for one input (``Classified``), or a list of them for a list of inputs.

        An input is a text; or a series: a ``Series`` (``averaged`` already), an array (steps,
        features) with NaN where nothing was measured, or a mapping with ``values``, ``times`` and
        ``static``; or an image: a file, a Pillow image or an array (P, P) of bytes, of a model that
        reads colours also (P, P, 3). A text without
        words is answered too: with what the model says of nothing.

        ``explain`` asks for the attention weights. ``threshold``: of several labels those at least
        as likely are given. Both that and ``batch_size`` are by default as in the configuration.

        Raises UsageError for an input of another kind or size, for ``explain`` where the model
        does not attend, and for settings out of range.
        """
        check_precision(precision)
        check_truth(explain=explain)
        if explain and "attention" not in self.config.model.pooling:
            raise UsageError(
                "explain: this model has no attention to show; train one whose 'model.pooling' "
                "holds attention"
            )
        threshold = self.config.decoding.threshold if threshold is None else threshold
        check_number("threshold", threshold, 0, 1)
        single = self._is_one(inputs)
        several = [inputs] if single else listed("inputs", inputs, "inputs")
        items = [self._read(one, n) for n, one in enumerate(several, 1)]
        if not items:
            return []
        source = self._source(items)
        logits, attention = self.logits(source, batch_size=batch_size, precision=precision)
        answers = self.answers_of(logits)
        results = [
            self._classified(answer, threshold, self._shown(item, weights) if explain else None)
            for answer, item, weights in zip(answers, items, attention, strict=True)
        ]
        return results[0] if single else results

    def read(self, inputs: Any) -> Source:
        """Inputs as numbers. Raises UsageError for one of another kind or size than the model's."""
        several = listed("inputs", inputs, "inputs")
        return self._source([self._read(one, number) for number, one in enumerate(several, 1)])

    def answers(
        self, source: Source, precision: Precision = "fp32", batch_size: int | None = None
    ) -> np.ndarray:
        """Probabilities (N, K), or numbers (N,), of inputs that are numbers already."""
        logits, _ = self.logits(source, batch_size=batch_size, precision=precision)
        return self.answers_of(logits)

    def logits(
        self, source: Source, *, batch_size: int | None = None, precision: str = "fp32"
    ) -> tuple[torch.Tensor, list[np.ndarray | None]]:
        """(N, K) float32, not tempered, and for each input its attention weights (S,), or None."""
        size = self.config.decoding.batch_size if batch_size is None else batch_size
        check_whole("batch_size", size, 1)
        device = next(self.model.parameters()).device
        logits = torch.zeros(len(source), self.targets.outputs)
        attention: list[np.ndarray | None] = [None] * len(source)
        with torch.inference_mode(), evaluating(self.model), products(device, precision):
            for rows in by_length(source, size):
                inputs = source.collate(rows).to(device)
                found, weights = self.model(inputs)
                logits[torch.from_numpy(rows)] = found.float().cpu()
                if weights is not None:
                    kept = weights.float().cpu().numpy()
                    for place, row in enumerate(rows):
                        steps = None if self.model.shape.grid else source.lengths[row]
                        attention[row] = kept[place, :steps]
        if not torch.isfinite(logits).all():
            raise RunError("the model gives no numbers (NaN); its weights are damaged")
        return logits, attention

    def answers_of(self, logits: torch.Tensor) -> np.ndarray:
        """Probabilities (N, K), or numbers (N,), from logits (N, K)."""
        if self.targets.kind == "number":
            return (self.model.centre + self.model.spread * logits[:, 0].double()).cpu().numpy()
        temperature = self.model.temperature.cpu()
        return probabilities(logits, temperature, self.targets.kind).numpy()

    def _classified(
        self, answer: Any, threshold: float, explanation: list[tuple[str, float]] | None
    ) -> Classified:
        if self.targets.kind == "number":
            return Classified("", 1.0, [], float(answer), explanation)
        order = np.argsort(-answer, kind="stable")
        ranking = [(self.targets.names[n], float(answer[n])) for n in order]
        if self.targets.kind == "label":
            return Classified(*ranking[0], ranking, None, explanation)
        given = [(name, p) for name, p in ranking if p >= threshold]
        least = given[-1][1] if given else 1 - ranking[0][1]
        names = self.config.data.separator.join(name for name, _ in given)
        return Classified(names, least, ranking, None, explanation)

    def _shown(self, item: Any, weights: np.ndarray | None) -> list[tuple[str, float]]:
        """What each step reads, in words, with its share of the attention."""
        assert weights is not None
        shares = weights.tolist()
        if self.units is None:
            return [(str(n), share) for n, share in enumerate(shares, 1)]
        if self.units.kind == "words":
            words = [token.text for token in tokens_of(item, self.config.data, self.units)]
        else:
            words = [
                self.units.piece(int(unit))
                for unit in self._source([item]).collate(np.array([0])).values[0]
            ]
        return list(zip(words, shares, strict=False))  # what was cut has no share

    # --- inputs ----------------------------------------------------------------------------

    def _is_one(self, inputs: Any) -> bool:
        if isinstance(inputs, (list, tuple)):
            return False
        if isinstance(inputs, np.ndarray):
            colour = inputs.ndim == 3 and inputs.shape[2] == 3 and self.config.data.kind == "image"
            return inputs.ndim == 2 or colour
        return isinstance(inputs, (str, bytes)) or not isinstance(inputs, Sequence)

    def _source(self, items: list[Any]) -> Source:
        inputs: Any = np.stack(items) if self.config.data.kind == "image" else items
        return source_of(inputs, self.config.data, self.units, self.config.model.characters)

    def _read(self, item: Any, number: int) -> Any:
        where, kind = f"input {number}", self.config.data.kind
        if kind == "text":
            if not isinstance(item, str):
                raise UsageError(f"{where} is {type(item).__name__}; this model reads text (str)")
            return item
        if kind == "series":
            return self._read_series(item, where)
        return self._read_image(item, where)

    def _read_series(self, item: Any, where: str) -> Series:
        if isinstance(item, Series):
            series = item
        else:
            parts = item if isinstance(item, dict) else {"values": item}
            check_keys(map(str, parts), PARTS, where)
            series = make_series(
                parts.get("values"), parts.get("times"), parts.get("static"), where
            )
            series = averaged(series, self.config.data.bin)
        shape, width = self.model.shape, series.values.shape[1]
        if width != shape.features or len(series.static) != shape.static:
            raise UsageError(
                f"{where}: {width} features and {len(series.static)} static ones; this model reads "
                f"{shape.features} and {shape.static}"
            )
        if not shape.irregular and np.isnan(series.values).any():
            raise UsageError(f"{where}: a value is missing (NaN); nothing was in training")
        if not (shape.irregular or self._warned) and uneven(series.times):
            say(
                f"warning: {where}: its times are not even; those of training were, so that this "
                "model does not read times"
            )
            self._warned = True
        return series

    def _read_image(self, item: Any, where: str) -> np.ndarray:
        config = self.config.data.image
        if isinstance(item, (str, os.PathLike)) or hasattr(item, "convert"):
            return read_pixels(item, config)  # a file or a Pillow image
        pixels = np.asarray(item)
        grid = config.steps == "grid"
        if grid and pixels.ndim == 2:
            pixels = np.repeat(pixels[..., None], 3, -1)
        shape = (config.size, config.size, 3) if grid else (*pixels.shape[:1], *pixels.shape[:1])
        if pixels.shape != shape or pixels.dtype != np.uint8:
            raise UsageError(
                f"{where}: an array {pixels.shape} of {pixels.dtype}; expected uint8 of shape "
                f"({config.size}, {config.size}{', 3' if grid else ''})"
            )
        return pixels if grid else scaled(pixels[None], config.size)[0]


def _columns(values: dict[str, Any], path: Path) -> Columns:
    """The names of the features in config.json, ``path``."""
    found = []
    for key in ("features", "static_features"):
        names = values.get(key, [])
        if not isinstance(names, list):
            raise RunError(f"{path}: '{key}' is {names!r}, expected a list of names; copy it again")
        found.append(tuple(map(str, names)))
    return Columns(*found)
