"""Text generation as the training loop sees it: windows of text, language model, bits."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from torch import nn

from seq2seq.errors import UsageError
from seq2seq.tasks.generation.config import LanguageConfig
from seq2seq.tasks.generation.generator import TextGenerator
from seq2seq.tasks.generation.model import LanguageModel, LanguageState
from seq2seq.tasks.generation.objectives import LanguageLoss
from seq2seq.tasks.generation.perplexity import TextScore, evaluate
from seq2seq.tasks.generation.text import Corpus, Text, encode_text, load_text, split_text
from seq2seq.tasks.generation.windows import Window, Windows
from seq2seq.text.vocabulary import UNITS_FILE, Units, load_units, save_units, train_units
from seq2seq.training import checkpoints
from seq2seq.training.task import Carried, Loss

VALIDATION_ROWS = 64  # read side by side, each after so many units that are not scored:
WARM_UP = 256


class LanguageTask:
    """See ``seq2seq.training.task``."""

    figures = ("validation_loss", "bits_per_character", "perplexity")

    @staticmethod
    def unread_parameters(config: LanguageConfig) -> bool:
        return False

    def __init__(
        self, config: LanguageConfig, folder: Path, accelerator: Accelerator, resume: bool
    ) -> None:
        options = config.training
        self.config, self.accelerator = config, accelerator
        asgd = options.optimizer == "asgd"
        self.average_patience = options.asgd_patience if asgd else None
        first = None
        if options.start_from and not resume:
            first = TextGenerator.from_pretrained(options.start_from, device="cpu")
        texts = load_texts(config)
        with accelerator.main_process_first():
            # the main process comes first and writes them, the others read what it wrote
            keep = resume or not accelerator.is_main_process
            self.units = _units(config, folder / "tokenizer", texts["train"], first, keep)
        self.corpora = {
            split: encode_text(text, self.units, config.data.documents != "none")
            for split, text in texts.items()
        }
        for split, corpus in self.corpora.items():
            if corpus.tokens - len(corpus.pieces) < 1:
                raise UsageError(
                    f"the {split} text has {corpus.tokens} unit(s) in {len(corpus.pieces)} "
                    "piece(s): nothing to predict; give it more text, or set "
                    "'data.validation_share: 0'"
                )
        self.has_validation = "validation" in self.corpora
        self.windows = Windows(
            self.corpora["train"],
            config.data.batch_size,
            config.data.bptt,
            config.seed,
            options.variable_bptt,
            accelerator.process_index,
            accelerator.num_processes,
        )
        self.model = LanguageModel(config.model, len(self.units)).to(accelerator.device)
        if first:
            weights = checkpoints.weights_of(first.model)
            checkpoints.load_weights(
                self.model, weights, f"training.start_from {options.start_from}"
            )
        self.objective: nn.Module = LanguageLoss(
            self.model,
            options.label_smoothing,
            options.activation_regularization,
            options.temporal_activation_regularization,
        )

    def describe(self) -> str:
        data, train = self.config.data, self.corpora["train"]
        sizes = ", ".join(f"{name} {corpus.tokens:,}" for name, corpus in self.corpora.items())
        streams = f"{self.windows.streams} streams"
        if self.windows.streams < data.batch_size:
            streams += f" (not {data.batch_size}: the text is short)"
        return (
            f"{self.units.kind}: {sizes}; vocabulary {len(self.units):,}; {streams}, windows of "
            f"{min(data.bptt, max(1, (train.tokens - 1) // self.windows.streams))}"
        )

    def len_epoch(self, epoch: int) -> int:
        return self.windows.len_epoch(epoch)

    def epoch(self, epoch: int, skip: int) -> Iterator[Window]:
        return self.windows.epoch(epoch, skip=skip)

    def loss(self, objective: nn.Module, batch: Window, carried: Carried) -> Loss:
        state = None
        if batch.number and carried:
            state = _unpack(carried)
            if rate := self.config.training.reset_rate:
                kept = torch.rand(batch.inputs.shape[0]) >= rate
                state = state.keep(kept.to(batch.inputs.device))
        loss, reported, state = objective(batch.inputs, batch.targets, state, batch.resets)
        return Loss(loss, reported, _pack(state.detach()))

    def rate_factor(self, batch: Window) -> float:
        """Shorter windows take smaller steps where lengths vary (Merity et al. 2018, section 5)."""
        if not self.config.training.variable_bptt:
            return 1.0
        return batch.inputs.shape[1] / self.config.data.bptt

    def validate(self) -> dict[str, float]:
        found = self._evaluate(self.corpora["validation"])
        self.objective.train()
        return {
            "validation_loss": found.nats,
            "bits_per_character": found.bits_per_character,
            "perplexity": found.perplexity,
        }

    def _evaluate(self, corpus: Corpus) -> TextScore:
        with self.accelerator.autocast():
            return evaluate(self.model, corpus, rows=VALIDATION_ROWS, warm_up=WARM_UP)

    def score(self, figures: dict[str, float]) -> float:
        return -figures["validation_loss"]

    def tell(self, score: float) -> str:
        return f"validation loss {-score:.4f}"

    def generator(self) -> TextGenerator:
        return TextGenerator(self.model, self.units, self.config)

    def save(self, folder: Path, training: str) -> None:
        self.generator().save_pretrained(folder, card={"training": training})

    def test(self, run: Path, model: Path, training: str) -> list[str]:
        """Score the test text, stateful; keep the scores in the run's folder."""
        if "test" not in self.corpora:
            return []
        found = self._evaluate(self.corpora["test"])
        values: dict[str, Any] = {
            "nats": found.nats,
            "bits_per_character": found.bits_per_character,
            "perplexity": found.perplexity,
            "word_perplexity": found.word_perplexity,
            "tokens": found.tokens,
        }
        (run / "test.scores.json").write_text(json.dumps(values, indent=1), "utf-8")
        lines = [str(found)]
        notes = f"On the test text `{self.config.data.test}`: {found}."
        self.generator().save_pretrained(model, card={"training": training, "notes": notes})
        return lines


def load_texts(config: LanguageConfig) -> dict[str, Text]:
    """Training text, and validation and test text where there are any."""
    data, raw = config.data, config.units.kind == "bytes"
    texts = {"train": load_text(data, "train", raw)}
    if data.validation:
        texts["validation"] = load_text(data, "validation", raw)
    elif data.validation_share and not data.hub:
        texts["train"], texts["validation"] = split_text(
            texts["train"], data.validation_share, data.validation_streams
        )
    if data.test:
        texts["test"] = load_text(data, "test", raw)
    return texts


def _units(
    config: LanguageConfig, folder: Path, text: Text, first: TextGenerator | None, keep: bool
) -> Units:
    """With ``keep`` those that the folder holds; else those of the model to start from, or else
    new ones; saved."""
    if keep and (folder / UNITS_FILE).exists():
        return load_units(folder)
    units = first.units if first else train_units(text.documents(), config.units)
    if units.kind != config.units.kind:
        raise UsageError(
            f"units.kind is {config.units.kind}; the model of training.start_from has {units.kind}"
        )
    save_units(units, folder)
    return units


def _pack(state: LanguageState) -> Carried:
    found = {f"hidden.{n}": part for n, part in enumerate(state.hidden)}
    return found | {f"cell.{n}": part for n, part in enumerate(state.cell)}


def _unpack(carried: Carried) -> LanguageState:
    parts = {
        name: tuple(
            carried[key]
            for key in sorted(carried, key=lambda key: int(key.split(".")[1]))
            if key.startswith(name)
        )
        for name in ("hidden", "cell")
    }
    return LanguageState(parts["hidden"], parts["cell"])
