"""Text generation as the training loop sees it: windows of text, language model, bits."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from torch import nn

from seq2seq.errors import UsageError
from seq2seq.json_files import to_json
from seq2seq.tasks.generation.cloze_model import ClozeModel, make_model
from seq2seq.tasks.generation.config import LanguageConfig
from seq2seq.tasks.generation.generator import TextGenerator
from seq2seq.tasks.generation.mapped import LargeText, cache_folder, encoded, split_large
from seq2seq.tasks.generation.model import LanguageState
from seq2seq.tasks.generation.objectives import LanguageLoss
from seq2seq.tasks.generation.perplexity import TextScore, evaluate, evaluate_cloze
from seq2seq.tasks.generation.sampled_vocabulary import SampledVocabulary
from seq2seq.tasks.generation.stream import StreamedWindows
from seq2seq.tasks.generation.text import (
    Corpus,
    Split,
    Text,
    large_files,
    load_text,
    split_text,
)
from seq2seq.tasks.generation.windows import Window, Windows
from seq2seq.text.vocabulary import Units
from seq2seq.training.log import say
from seq2seq.training.preparing import copy_weights, units_of_run
from seq2seq.training.processes import gathered
from seq2seq.training.task import Carried, Loss

VALIDATION_ROWS = 64  # read side by side, each after so many units that are not scored:
WARM_UP = 256


class LanguageTask:
    """See ``seq2seq.training.task``."""

    figures = ("validation_loss", "bits_per_character", "perplexity")
    shares_rows = True  # of streams, whose state is carried
    epochs_vary = True
    shares_evaluation = True

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
        place = accelerator.process_index, accelerator.num_processes
        stream = StreamedWindows(config, *place) if config.data.streaming else None
        # the main process comes first and writes them, the others read what it wrote
        keep = resume or not main
        before = None if first is None else first.units
        self.units = units_of_run(
            config.units, folder / "tokenizer", _learned_from(config, texts, stream), before, keep
        )
        self.corpora = _encode(config, texts, self.units, main)
        self.has_validation = "validation" in self.corpora
        if config.data.validation_share and not self.has_validation:
            say("no validation: 'data.validation_share' parts text from files alone; set "
                "'data.validation' to validate", main)  # fmt: skip
        self.windows = stream or self._windows(place)
        if stream is not None:
            stream.use(self.units)
        self.model = make_model(config.model, len(self.units)).to(accelerator.device)
        if first:
            _check_reads_alike(first.config, config)
            both = first.config.model, config.model
            copy_weights(first.model, self.model, options.start_from, configs=both)
        self.objective: nn.Module = LanguageLoss(
            self.model,
            options.label_smoothing,
            options.activation_regularization,
            options.temporal_activation_regularization,
            self._sampled(options.sampled_softmax),
        )

    def _windows(self, place: tuple[int, int]) -> Windows:
        data, variable = self.config.data, self.config.training.variable_bptt
        train, seed = self.corpora["train"], self.config.seed
        return Windows(train, data.batch_size, data.bptt, seed, variable, *place)

    def _sampled(self, size: int) -> SampledVocabulary | None:
        if not size:
            return None
        counts = np.zeros(len(self.units), np.int64)
        for piece in self.corpora["train"].pieces:
            for at in range(0, len(piece), 1 << 24):  # a piece may be larger than memory
                counts += np.bincount(piece[at : at + (1 << 24)], minlength=len(counts))
        return SampledVocabulary(torch.from_numpy(counts), size)

    def describe(self) -> str:
        data = self.config.data
        sizes = ", ".join(f"{name} {corpus.tokens:,}" for name, corpus in self.corpora.items())
        if isinstance(self.windows, StreamedWindows):
            stream = f"a stream, {data.shuffle_buffer:,} lines at a time"
            sizes = f"{stream}, {sizes}" if sizes else stream
            return f"{self.units.kind}: {sizes}; vocabulary {len(self.units):,}"
        train = self.corpora["train"]
        streams = f"{self.windows.streams} streams"
        if self.windows.streams < data.batch_size:
            streams += f" (not {data.batch_size}: the text is short)"
        return (
            f"{self.units.kind}: {sizes}; vocabulary {len(self.units):,}; {streams}, windows of "
            f"{min(data.bptt, max(1, (train.tokens - 1) // self.windows.streams))}"
        )

    def len_epoch(self, epoch: int) -> int | None:
        return self.windows.len_epoch(epoch)

    def epoch(self, epoch: int, skip: int) -> Iterator[Window]:
        return self.windows.epoch(epoch, skip=skip)

    def stream_state(self) -> dict[str, Any] | None:
        if isinstance(self.windows, StreamedWindows):
            return self.windows.stream.state()
        return None

    def load_stream_state(self, state: dict[str, Any]) -> None:
        if isinstance(self.windows, StreamedWindows):
            self.windows.stream.load(state)

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
        rank, world = self.accelerator.process_index, self.accelerator.num_processes
        with self.accelerator.autocast():
            if isinstance(self.model, ClozeModel):  # by each process
                return evaluate_cloze(self.model, corpus, VALIDATION_ROWS, WARM_UP)
            score = evaluate(
                self.model, corpus, rows=VALIDATION_ROWS, warm_up=WARM_UP, share=(rank, world)
            )
        corpus.release()
        parts = gathered(self.accelerator, [score.total, score.tokens])
        total, tokens = (sum(part[i] for part in parts) for i in range(2))
        return dataclasses.replace(score, total=total, tokens=tokens)

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
        if not self.accelerator.is_main_process:
            return []
        values: dict[str, Any] = {
            "nats": result.nats,
            "bits_per_character": result.bits_per_character,
            "perplexity": result.perplexity,
            "word_perplexity": result.word_perplexity,
            "tokens": result.tokens,
        }
        (run / "test.scores.json").write_text(to_json(values, indent=1, ascii_only=True), "utf-8")
        lines = [str(result)]
        notes = f"On the test text `{self.config.data.test}`: {result}."
        metrics = {name: values[name] for name in ("perplexity", "bits_per_character")}
        card = {"training": training, "notes": notes, "metrics": metrics}
        self.generator().save_pretrained(model, card={**card, "test_set": self.config.data.test})
        return lines


def load_texts(config: LanguageConfig) -> dict[str, Text | LargeText]:
    """Training text, and validation and test text where there are any."""
    data = config.data
    texts = {} if data.streaming else {"train": _load(config, "train")}
    if data.validation:
        texts["validation"] = _load(config, "validation")
    elif data.validation_share and not (data.hub or data.streaming):
        train, cut = texts["train"], (data.validation_share, data.validation_streams)
        if isinstance(train, LargeText):
            texts["train"], texts["validation"] = split_large(train, *cut)
        else:
            texts["train"], texts["validation"] = split_text(train, *cut)
    if data.test:
        texts["test"] = _load(config, "test")
    return texts


def _check_reads_alike(before: LanguageConfig, here: LanguageConfig) -> None:
    """Raises UsageError where the model to start from reads text in another way."""
    compared: list[tuple[str, str, str]] = [
        ("model.direction", before.model.direction, here.model.direction)
    ]
    kinds = before.data.documents, here.data.documents
    if "none" in kinds:  # else documents have ends in both, wherever these are
        compared.append(("data.documents", *kinds))
    for key, found, wanted in compared:
        if found != wanted:
            raise UsageError(
                f"training.start_from {here.training.start_from}: its '{key}' is {found}, here "
                f"{wanted}; expected the same"
            )


def _learned_from(
    config: LanguageConfig, texts: dict[str, Text | LargeText], stream: StreamedWindows | None
) -> Iterator[str]:
    """What a vocabulary is learned from; of bytes, which need no training, there is nothing."""
    if stream is not None:
        yield from stream.first_lines(config.units.sample_sentences)
    else:
        yield from (d for d in texts["train"].documents() if isinstance(d, str))


def _load(config: LanguageConfig, split: Split) -> Text | LargeText:
    """In memory, or as files where they are too large for it."""
    data, raw = config.data, config.units.kind == "bytes"
    paths = large_files(data, split)
    if paths is None:
        return load_text(data, split, raw)
    name = f"'data.{split}': {getattr(data, split)}"
    return LargeText(tuple(paths), data.documents, raw, name, cache_folder(data.cache_dir))


def _encode(
    config: LanguageConfig, texts: dict[str, Text | LargeText], units: Units, main: bool
) -> dict[str, Corpus]:
    """The texts as ids; UsageError for one with nothing to predict."""
    small = [text for text in texts.values() if isinstance(text, Text)]
    size = sum(len(document) for text in small for document in text.documents())
    what = f"{size:,} {'bytes' if config.units.kind == 'bytes' else 'characters'}"
    if files := {
        path for text in texts.values() if not isinstance(text, Text) for path in text.paths
    }:
        what = f"{sum(path.stat().st_size for path in files):,} bytes of files, kept in the cache"
    if texts:  # of a stream without validation there is none
        say(f"encoding {what}", main)
    documents = config.data.documents != "none"
    backward = config.model.direction == "backward"
    corpora = {split: encoded(text, units, documents, backward) for split, text in texts.items()}
    for split, corpus in corpora.items():
        if corpus.tokens - len(corpus.pieces) < 1:
            cut = split == "validation" and not config.data.validation
            raise UsageError(
                f"the {split} text has {corpus.tokens} unit(s) in {len(corpus.pieces)} piece(s): "
                "nothing to predict; give it more text"
                + (", or set 'data.validation_share: 0'" if cut else "")
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
