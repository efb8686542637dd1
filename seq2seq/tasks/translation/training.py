"""Translation as the training loop sees it: sentence pairs, encoder-decoder, BLEU."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from datasets import Dataset, concatenate_datasets
from torch import nn

from seq2seq.errors import UsageError
from seq2seq.json_files import to_json
from seq2seq.tasks.translation.batches import Batch, TrainingBatches, collate
from seq2seq.tasks.translation.config import TranslationConfig
from seq2seq.tasks.translation.corpus import build_tokenizers, tokenize_pairs
from seq2seq.tasks.translation.mixture import Mixture
from seq2seq.tasks.translation.model import TranslationModel
from seq2seq.tasks.translation.objectives import CrossEntropy, RDrop
from seq2seq.tasks.translation.pairs import load_corpora, load_pairs
from seq2seq.tasks.translation.scores import BleuTokenizer, bleu_tokenizer, score
from seq2seq.tasks.translation.sequence_objectives import SequenceReward, TextReward
from seq2seq.tasks.translation.streaming import StreamedBatches
from seq2seq.tasks.translation.translator import Translator
from seq2seq.text.characters import is_blank
from seq2seq.text.sentencepiece import Tokenizer
from seq2seq.training.log import say
from seq2seq.training.memory import release_free_memory
from seq2seq.training.preparing import copy_weights
from seq2seq.training.processes import shared_map
from seq2seq.training.task import Carried, Loss


class TranslationTask:
    """See ``seq2seq.training.task``."""

    figures: tuple[str, ...] = ("validation_loss", "bleu")
    shares_evaluation = True
    average_patience = None

    @staticmethod
    def unread_parameters(config: TranslationConfig) -> bool:
        """Whether some weights get no gradient: without attention nothing may read the top
        encoder layer's norm."""
        return config.model.decoder.attention == "none"

    def __init__(
        self, config: TranslationConfig, folder: Path, accelerator: Accelerator, resume: bool
    ) -> None:
        options = config.training
        self.config, self.accelerator = config, accelerator
        main = accelerator.is_main_process
        more = "".join(f", {one}" for one in config.data.more_train)
        say(f"reading {config.data.hub or f'{config.data.train}{more}'}", main)
        stream = StreamedBatches(config) if config.data.streaming else None
        corpora = load_corpora(config.data) if stream is None else []
        pairs = concatenate_datasets(corpora) if len(corpora) > 1 else next(iter(corpora), None)
        first = None if resume else _first_model(options.start_from)
        # the main process comes first and writes them, the others read what it wrote
        keep = resume or not main
        learn = partial(_learn, config, pairs, stream)
        self.tokenizers = _tokenizers(config, folder / "tokenizer", learn, first, keep)
        self.batches = stream or self._tokenised(pairs, [len(one) for one in corpora], main)
        if stream is not None:
            stream.use(self.tokenizers)
        self.validation = None
        if config.data.validation:
            validation = load_pairs(config.data, "validation")
            _check_not_blank(validation, "validation")
            self.validation = tokenize_pairs(validation, *self.tokenizers, None)
        # read now: a wrong path must not wait for the end of training to be noticed
        self.test_pairs = load_pairs(config.data, "test") if config.data.test else None
        if self.test_pairs is not None:
            _check_not_blank(self.test_pairs, "test")
        self.has_validation = self.validation is not None
        sizes = [len(tokenizer) for tokenizer in self.tokenizers]
        self.model = TranslationModel(config.model, *sizes).to(accelerator.device)
        if first:
            both = first.config.model, config.model
            copy_weights(first.model, self.model, options.start_from, configs=both)
        self.objective = self._objective()
        if options.best_by == "chrf":
            self.figures = (*self.figures, "chrf")

    def _objective(self) -> nn.Module:
        options = self.config.training
        if options.rdrop:
            return RDrop(self.model, options.label_smoothing, options.rdrop)
        if options.objective == "cross_entropy":
            return CrossEntropy(self.model, options.label_smoothing)
        references = self.corpus.pairs["target"]
        reward = TextReward(options.reward, self.tokenizers[1], references, self._counted())
        return SequenceReward(self.model, reward, options, self.config.decoding)

    def _tokenised(self, pairs: Dataset, sizes: list[int], main: bool) -> TrainingBatches:
        """``sizes``: of the corpora, whose pairs stand one after the other."""
        config = self.config
        say(f"tokenising {len(pairs):,} pairs", main)
        self.corpus = tokenize_pairs(pairs, *self.tokenizers, config.data.filter)
        sampling = config.tokenizer.sampling
        self.mixture = None
        if config.data.weights:
            kept = np.arange(len(pairs)) if self.corpus.kept is None else self.corpus.kept
            left = np.diff(np.searchsorted(kept, np.cumsum([0, *sizes]))).tolist()
            self.mixture = Mixture(left, config.data.weights, config.seed)
        return TrainingBatches(
            self.corpus, *self.tokenizers, config.data, sampling, config.seed, self.mixture
        )

    def describe(self) -> str:
        if isinstance(self.batches, StreamedBatches):
            data = f"a stream, {self.config.data.shuffle_buffer:,} training pairs at a time"
        else:
            dropped = ", ".join(f"{n} {why}" for why, n in self.corpus.dropped.items() if n)
            data = f"{len(self.corpus):,} training pairs"
            data += f" (dropped: {dropped})" if dropped else ""
            if self.mixture is not None:
                data += f", {len(self.mixture.rows(0)):,} an epoch"
        sizes = " and ".join(str(len(t)) for t in dict.fromkeys(self.tokenizers))
        return f"{data}; vocabulary {sizes}"

    def len_epoch(self, epoch: int) -> int | None:
        return self.batches.len_epoch(epoch)

    def epoch(self, epoch: int, skip: int, every: int = 1) -> Iterator[Batch]:
        if isinstance(self.batches, StreamedBatches):
            return self.batches.epoch(epoch, skip)
        return self.batches.epoch(epoch, skip, every)

    def stream_state(self) -> dict[str, Any] | None:
        if isinstance(self.batches, StreamedBatches):
            return self.batches.stream.state()
        return None

    def load_stream_state(self, state: dict[str, Any]) -> None:
        if isinstance(self.batches, StreamedBatches):
            self.batches.stream.load(state)

    def loss(self, objective: nn.Module, batch: Batch, carried: Carried) -> Loss:
        pairs = (batch.source, batch.source_lengths, batch.target_input, batch.target_output)
        if self.config.training.objective == "cross_entropy":
            loss = objective(*pairs)
            return Loss(loss, loss, carried)
        loss, reported = objective(*pairs, batch.indices)
        return Loss(loss, reported, carried)

    def rate_factor(self, batch: Batch) -> float:
        return 1.0

    def validate(self) -> dict[str, float]:
        """BLEU, and the mean loss per target token (nats, without smoothing)."""
        assert self.validation is not None  # as has_validation says
        pairs = self.validation.pairs
        hypotheses = self._translated(
            list(pairs["source"]),
            beam_size=self.config.training.validation_beam,
            precision="bf16" if self.accelerator.mixed_precision == "bf16" else "fp32",
        )
        references = list(pairs["target"])
        metrics = ("bleu", "chrf") if self.config.training.best_by == "chrf" else ("bleu",)
        counted = self._counted()
        found = score(hypotheses, references, metrics, bootstrap=0, tokenize=counted)
        values = {name: one.value for name, one in found.items()}
        return {"validation_loss": self._validation_loss(), **values}

    def _counted(self) -> BleuTokenizer:
        """What BLEU counts."""
        told = self.config.training.bleu_tokenizer
        return bleu_tokenizer(self.config.data.target) if told == "auto" else told

    def _translated(self, sources: list[str], **settings: Any) -> list[str]:
        """By all processes, each some of the sources."""
        translate = partial(self.translator().translate, **settings)
        return shared_map(self.accelerator, translate, sources)

    @torch.no_grad()
    def _validation_loss(self) -> float:
        assert self.validation is not None
        order = self.validation.target_lengths.argsort(kind="stable")
        batches = [order[start : start + 64].tolist() for start in range(0, len(order), 64)]
        total, tokens = 0.0, 0
        for loss, count in shared_map(self.accelerator, self._losses, batches):
            total, tokens = total + loss, tokens + count
        return total / max(1, tokens)

    def _losses(self, batches: Sequence[list[int]]) -> list[tuple[float, int]]:
        """Summed over the targets of each batch of validation pairs, and how many these are."""
        objective = CrossEntropy(self.model, 0.0).eval()
        assert self.validation is not None
        found = []
        for numbers in batches:
            rows = self.validation.pairs[numbers]
            batch = collate(rows["source_ids"], rows["target_ids"]).to(self.accelerator.device)
            with self.accelerator.autocast():
                loss = objective(
                    batch.source, batch.source_lengths, batch.target_input, batch.target_output
                ).item()
            found.append((loss, batch.target_count))
        self.objective.train()
        return found

    def score(self, figures: dict[str, float]) -> float:
        best = self.config.training.best_by
        return -figures["validation_loss"] if best == "loss" else figures[best]

    def tell(self, score: float) -> str:
        best = self.config.training.best_by
        if best == "loss":
            return f"validation loss {-score:.4f}"
        return f"validation {'BLEU' if best == 'bleu' else 'chrF2'} {score:.2f}"

    def translator(self) -> Translator:
        return Translator(self.model, *self.tokenizers, self.config)

    def save(self, folder: Path, training: str) -> None:
        self.translator().save_pretrained(folder, card={"training": training})

    def test(self, run: Path, model: Path, training: str) -> list[str]:
        """Translate the test set as configured under ``decoding``; keep the translations and the
        scores in the run's folder."""
        if self.test_pairs is None:
            return []
        pairs = self.test_pairs
        hypotheses = self._translated(list(pairs["source"]))
        if not self.accelerator.is_main_process:
            return []
        scores = score(hypotheses, list(pairs["target"]), tokenize=self._counted())
        lines = "".join(f"{text}\n" for text in hypotheses)
        (run / "test.hypotheses").write_text(lines, encoding="utf-8")
        values = {name: dataclasses.asdict(one) for name, one in scores.items()}
        (run / "test.scores.json").write_text(to_json(values, indent=1, ascii_only=True), "utf-8")
        card: dict[str, Any] = {"scores": scores, "test_set": self.config.data.test}
        self.translator().save_pretrained(model, card={**card, "training": training})
        return [str(one) for one in scores.values()]


def _first_model(path: str | None) -> Translator | None:
    return None if path is None else Translator.from_pretrained(path, device="cpu")


def _tokenizers(
    config: TranslationConfig,
    folder: Path,
    learn: Callable[[], tuple[Tokenizer, Tokenizer]],
    first: Translator | None,
    keep: bool,
) -> tuple[Tokenizer, Tokenizer]:
    """With ``keep`` those that the folder holds; else those of the model to start from, or else
    what ``learn`` gives; saved."""
    names = ["shared"] if config.tokenizer.shared else ["source", "target"]
    paths = [folder / f"{name}.model" for name in names]
    if keep and all(path.exists() for path in paths):
        loaded = [Tokenizer.load(path) for path in paths]
        return loaded[0], loaded[-1]
    if first:
        tokenizers = (first.source_tokenizer, first.target_tokenizer)
        if (tokenizers[0] is tokenizers[1]) != config.tokenizer.shared:
            raise UsageError(
                f"tokenizer.shared is {config.tokenizer.shared}; the model of training.start_from "
                f"has {'one vocabulary' if not config.tokenizer.shared else 'two vocabularies'}"
            )
    else:
        tokenizers = learn()
        release_free_memory()  # of SentencePiece, which takes the most of a run
    folder.mkdir(parents=True, exist_ok=True)
    for path, tokenizer in zip(paths, dict.fromkeys(tokenizers), strict=True):
        tokenizer.save(path)
    return tokenizers


def _learn(
    config: TranslationConfig, pairs: Dataset | None, stream: StreamedBatches | None
) -> tuple[Tokenizer, Tokenizer]:
    """New tokenizers, or configured ones."""
    options, whole = config.tokenizer, ""
    if stream is not None:
        pairs = stream.first_pairs(1 if options.model else options.sample_sentences)
        whole = "the first "
    assert pairs is not None
    if options.model is None:
        most = options.sample_sentences
        some = f"{most:,} (tokenizer.sample_sentences) of " if len(pairs) > most else ""
        what = f"{options.vocab_size:,} subwords ({options.kind})"
        say(f"learning {what} from {some}{whole}{len(pairs):,} pairs")
    return build_tokenizers(config, pairs)


def _check_not_blank(pairs: Dataset, split: str) -> None:
    """Raises UsageError where every score would be 0, whatever the model."""
    for side in ("source", "target"):
        if all(is_blank(row[side]) for row in pairs.select_columns(side)):
            raise UsageError(
                f"'data.{split}': every {side} text is blank, so there is nothing to score; give "
                "it another file"
            )
