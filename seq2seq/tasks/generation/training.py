"""Text generation as the training loop sees it: windows of text, language model, bits."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from torch import nn

from seq2seq.errors import UsageError
from seq2seq.tasks.generation.cloze_model import ClozeModel, make_model
from seq2seq.tasks.generation.config import LanguageConfig
from seq2seq.tasks.generation.generator import TextGenerator
from seq2seq.tasks.generation.model import LanguageState
from seq2seq.tasks.generation.objectives import LanguageLoss
from seq2seq.tasks.generation.perplexity import TextScore, evaluate, evaluate_cloze
from seq2seq.tasks.generation.sampled_vocabulary import SampledVocabulary
from seq2seq.tasks.generation.text import Corpus, Text, encode_text, load_text, split_text
from seq2seq.tasks.generation.windows import Window, Windows
from seq2seq.text.vocabulary import Units
from seq2seq.training.log import say
from seq2seq.training.preparing import copy_weights, units_of_run
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
        main = accelerator.is_main_process
        say(f"reading {config.data.hub or config.data.train}", main)
        texts = load_texts(config)
        with accelerator.main_process_first():
            # the main process comes first and writes them, the others read what it wrote
            keep = resume or not accelerator.is_main_process
            before = None if first is None else first.units
            # of bytes, which need no training, there are none
            documents = (d for d in texts["train"].documents() if isinstance(d, str))
            self.units = units_of_run(config.units, folder / "tokenizer", documents, before, keep)
        self.corpora = _encode(config, texts, self.units, main)
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
        self.model = make_model(config.model, len(self.units)).to(accelerator.device)
        if first:
            copy_weights(first.model, self.model, options.start_from)
        self.objective: nn.Module = LanguageLoss(
            self.model,
            options.label_smoothing,
            options.activation_regularization,
            options.temporal_activation_regularization,
            self._sampled(options.sampled_softmax),
        )

    def _sampled(self, size: int) -> SampledVocabulary | None:
        if not size:
            return None
        counts = np.zeros(len(self.units), np.int64)
        for piece in self.corpora["train"].pieces:
            counts += np.bincount(piece, minlength=len(counts))
        return SampledVocabulary(torch.from_numpy(counts), size)

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
        options = self.config.training
        parts = {}
        if options.activation_regularization or options.temporal_activation_regularization:
            parts["regularisation"] = (loss - reported).detach()
        return Loss(loss, reported, _pack(state.detach()), parts)

    def rate_factor(self, batch: Window) -> float:
        """Shorter windows take smaller steps where lengths vary (Merity et al. 2018, section 5)."""
        if not self.config.training.variable_bptt:
            return 1.0
        return batch.inputs.shape[1] / self.config.data.bptt

    def validate(self) -> dict[str, float]:
        result = self._evaluate(self.corpora["validation"])
        self.objective.train()
        return {
            "validation_loss": result.nats,
            "bits_per_character": result.bits_per_character,
            "perplexity": result.perplexity,
        }

    def _evaluate(self, corpus: Corpus) -> TextScore:
        with self.accelerator.autocast():
            if isinstance(self.model, ClozeModel):
                return evaluate_cloze(self.model, corpus, VALIDATION_ROWS, WARM_UP)
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
        result = self._evaluate(self.corpora["test"])
        values: dict[str, Any] = {
            "nats": result.nats,
            "bits_per_character": result.bits_per_character,
            "perplexity": result.perplexity,
            "word_perplexity": result.word_perplexity,
            "tokens": result.tokens,
        }
        (run / "test.scores.json").write_text(json.dumps(values, indent=1), "utf-8")
        lines = [str(result)]
        notes = f"On the test text `{self.config.data.test}`: {result}."
        metrics = {name: values[name] for name in ("perplexity", "bits_per_character")}
        card = {"training": training, "notes": notes, "metrics": metrics}
        self.generator().save_pretrained(model, card={**card, "test_set": self.config.data.test})
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


def _encode(
    config: LanguageConfig, texts: dict[str, Text], units: Units, main: bool
) -> dict[str, Corpus]:
    """The texts as ids; UsageError for one with nothing to predict."""
    size = sum(len(document) for text in texts.values() for document in text.documents())
    say(f"encoding {size:,} {'bytes' if config.units.kind == 'bytes' else 'characters'}", main)
    documents = config.data.documents != "none"
    backward = config.model.direction == "backward"
    corpora = {
        split: encode_text(text, units, documents, backward) for split, text in texts.items()
    }
    for split, corpus in corpora.items():
        if corpus.tokens - len(corpus.pieces) < 1:
            raise UsageError(
                f"the {split} text has {corpus.tokens} unit(s) in {len(corpus.pieces)} piece(s): "
                "nothing to predict; give it more text, or set 'data.validation_share: 0'"
            )
    return corpora


def _pack(state: LanguageState) -> Carried:
    carried = {f"hidden.{n}": part for n, part in enumerate(state.hidden)}
    return carried | {f"cell.{n}": part for n, part in enumerate(state.cell)}


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
