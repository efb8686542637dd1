"""Captioning as the training loop sees it: images, image encoder and decoder, CIDEr-D."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from torch import Tensor, nn

from seq2seq.errors import UsageError
from seq2seq.json_files import to_json
from seq2seq.layers.evaluating import evaluating
from seq2seq.tasks.captioning.batches import (
    CaptionBatch,
    CaptionBatches,
    CaptionSet,
    clean_caption,
    pad_captions,
    whole_images,
)
from seq2seq.tasks.captioning.captioner import Captioner
from seq2seq.tasks.captioning.captions import names_of
from seq2seq.tasks.captioning.config import CaptionDecodingConfig, CaptioningConfig
from seq2seq.tasks.captioning.ensemble import Views
from seq2seq.tasks.captioning.features import Features
from seq2seq.tasks.captioning.image_cache import cache_images
from seq2seq.tasks.captioning.model import CaptioningModel, Encoded
from seq2seq.tasks.captioning.objectives import CaptionLoss, SelfCritical
from seq2seq.tasks.captioning.scores import CaptionScores, CiderD, score_captions
from seq2seq.tasks.captioning.splits import load_splits, write_held_out
from seq2seq.text.vocabulary import END, UNK, Units
from seq2seq.training.log import say
from seq2seq.training.preparing import copy_weights, units_of_run
from seq2seq.training.processes import shared_map
from seq2seq.training.task import Carried, Loss

_log = logging.getLogger("seq2seq")
VALIDATION_IMAGES = 64  # encoded at once


class CaptioningTask:
    """See ``seq2seq.training.task``."""

    figures = ("validation_loss", "bleu4", "cider_d")
    shares_evaluation = True
    average_patience = None

    @staticmethod
    def unread_parameters(config: CaptioningConfig) -> bool:
        """Whether some weights get no gradient: those of ``words`` without their loss, and the
        decoder's in epochs of that loss alone."""
        return bool(config.model.words)

    def __init__(
        self, config: CaptioningConfig, folder: Path, accelerator: Accelerator, resume: bool
    ) -> None:
        options = config.training
        self.config, self.accelerator = config, accelerator
        first = None
        if options.start_from and not resume:
            first = Captioner.from_pretrained(options.start_from, device="cpu")
        main = accelerator.is_main_process
        say(f"reading {config.data.train}", main)
        texts = load_splits(config)
        if "held_out" in texts and main:
            write_held_out(folder, texts["held_out"])
        # the main process comes first and writes them, the others read what it wrote
        keep = resume or not main
        before = None if first is None else first.units
        captions = (_clean(config, x) for of_one in texts["train"]["captions"] for x in of_one)
        self.units = units_of_run(config.units, folder / "tokenizer", captions, before, keep)
        count = sum(len(rows) for rows in texts.values())
        say(f"preparing {count:,} images and their captions", main)
        self.sets = {
            split: _prepare(config, split, rows, self.units) for split, rows in texts.items()
        }
        if first:
            _say_unknown(self.sets["train"], options.start_from, main)
        self._selection = "held_out" if "held_out" in self.sets else "validation"
        self.has_validation = self._selection in self.sets
        drawn = options.objective == "self_critical"
        self.batches = CaptionBatches(
            self.sets["train"],
            config.data,
            options.max_epochs,
            config.seed,
            samples=options.samples if drawn else 0,
            words=min(config.model.words, len(self.units)) if options.word_loss else 0,
            word_epochs=options.word_epochs,
        )
        pretrained = config.model.encoder.pretrained and not (resume or first)
        self.model = CaptioningModel(config.model, len(self.units), pretrained)
        self.model = self.model.to(accelerator.device)
        if first:
            both = first.config.model, config.model
            copy_weights(first.model, self.model, options.start_from, configs=both)
        self.captioner = Captioner(self.model, self.units, config)
        self.objective: nn.Module = self._self_critical() if drawn else self._cross_entropy()

    def _cross_entropy(self) -> CaptionLoss:
        options = self.config.training
        return CaptionLoss(
            self.model,
            options.label_smoothing,
            options.attention_penalty,
            options.word_loss,
            options.scheduled_sampling,
            self.batches.tokens_each(),
        )

    def _self_critical(self) -> SelfCritical:
        options = self.config.training
        reward = CaptionReward(self.sets["train"])
        return SelfCritical(
            self.model,
            reward,
            options.samples,
            options.temperature,
            options.baseline,
            self.config.data.max_length,
            self.config.seed,
        )

    def describe(self) -> str:
        sizes = ", ".join(
            f"{name} {len(found):,} images with {sum(map(len, found.captions)):,} captions"
            for name, found in self.sets.items()
        )
        return f"{sizes}; vocabulary {len(self.units):,} {self.units.kind}"

    def len_epoch(self, epoch: int) -> int:
        return self.batches.len_epoch(epoch)

    def epoch(self, epoch: int, skip: int, every: int = 1) -> Iterator[CaptionBatch]:
        return self.batches.epoch(epoch, skip, every)

    def loss(self, objective: nn.Module, batch: CaptionBatch, carried: Carried) -> Loss:
        if self.config.training.objective == "self_critical":
            loss, reported = objective(batch.source, batch.lengths, batch.images, batch.number)
            return Loss(loss, reported, carried)
        words_alone = batch.number[0] < self.config.training.word_epochs
        loss, reported, parts = objective(
            batch.source,
            batch.lengths,
            batch.rows,
            batch.inputs,
            batch.targets,
            batch.words,
            batch.progress,
            words_alone,
        )
        return Loss(loss, reported, carried, parts)

    def rate_factor(self, batch: CaptionBatch) -> float:
        return 1.0

    def validate(self) -> dict[str, float]:
        """The mean loss per unit of the first reference captions (nats, without smoothing), and
        the scores of captions that the model writes, of what was held out or the validation set."""
        beam = self.config.training.validation_beam
        decoding = dataclasses.replace(self.config.decoding, beam_size=beam, mirror=False)
        scores, loss = self._evaluate(self.sets[self._selection], decoding)
        return {
            "validation_loss": loss,
            "bleu4": scores.bleu[3],
            "cider_d": scores.cider_d,
        }

    def _evaluate(
        self, captions: CaptionSet, decoding: CaptionDecodingConfig
    ) -> tuple[CaptionScores, float]:
        size = min(VALIDATION_IMAGES, -(-len(captions) // self.accelerator.num_processes))
        starts = range(0, len(captions), size)
        groups = [list(range(start, min(start + size, len(captions)))) for start in starts]
        total, tokens, found = 0.0, 0, []
        work = partial(self._captioned, captions, decoding)
        for cross, count, texts in shared_map(self.accelerator, work, groups):
            total, tokens = total + cross, tokens + count
            found += texts
        self.hypotheses: list[str] = found
        return score_captions(found, captions.captions), total / max(1, tokens)

    def _captioned(
        self, captions: CaptionSet, decoding: CaptionDecodingConfig, groups: Sequence[list[int]]
    ) -> list[tuple[float, int, list[str]]]:
        """Loss, number of units and written captions of each group of images, of which each is
        encoded once for loss and captions."""
        found = []
        with evaluating(self.model), torch.inference_mode(), self.accelerator.autocast():
            model = self.captioner.searched(decoding)
            weights = model.decoding_weights()
            for group in groups:
                index = np.array(group)
                encoded = model.encode(*self._source(captions, index))
                plain = encoded.every[0] if isinstance(encoded, Views) else encoded
                cross, count = self._cross_entropy_of(captions, index, plain)
                best = self.captioner.caption_encoded(encoded, decoding, weights, model=model)
                found.append((cross, count, [captions_of[0].text for captions_of in best]))
        return found

    def _source(self, captions: CaptionSet, index: np.ndarray) -> tuple[Tensor, Tensor | None]:
        """Images, or features and their lengths, as the model reads them."""
        device = self.accelerator.device
        source, lengths = captions.source(index)
        source = source.to(device)
        if source.dtype == torch.uint8:
            source = whole_images(source, self.config.data)
        return source, None if lengths is None else lengths.to(device)

    def _cross_entropy_of(
        self, captions: CaptionSet, index: np.ndarray, encoded: Encoded
    ) -> tuple[float, int]:
        """Summed over the first reference of some images, and their units: one of five says as
        much about the course of training in a fifth of the time."""
        device = self.accelerator.device
        texts = [captions.units[image][0] for image in index]
        rows = torch.arange(len(index))
        inputs, targets = pad_captions(texts)
        objective = CaptionLoss(self.model).eval()
        _, cross, _ = objective.of_encoded(
            encoded, rows.to(device), inputs.to(device), targets.to(device)
        )
        return cross.item(), sum(len(ids) + 1 for ids in texts)

    def score(self, figures: dict[str, float]) -> float:
        return figures["cider_d"]

    def tell(self, score: float) -> str:
        return f"{self._selection.replace('_', '-')} CIDEr-D {score:.4f}"

    def save(self, folder: Path, training: str) -> None:
        self.captioner.save_pretrained(folder, card={"training": training})

    def test(self, run: Path, model: Path, training: str) -> list[str]:
        """Caption the test images as configured under ``decoding``; keep captions and scores in the
        run's folder. Where there is no test set, the validation set takes its place, or what was
        held out."""
        split = next((n for n in ("test", "validation", "held_out") if n in self.sets), None)
        if split is None:
            return []
        scores, _ = self._evaluate(self.sets[split], self.config.decoding)
        if not self.accelerator.is_main_process:
            return []
        names = names_of(self.sets[split].paths)
        lines = [
            to_json({"image": name, "caption": text})
            for name, text in zip(names, self.hypotheses, strict=True)
        ]
        (run / f"{split}.captions.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
        values = to_json(dataclasses.asdict(scores), indent=1, ascii_only=True)
        (run / f"{split}.scores.json").write_text(values, "utf-8")
        location = getattr(self.config.data, split)
        if split == "held_out":
            location = f"{location} images of {self.config.data.train}"
        told = [f"{split}, beam {self.config.decoding.beam_size}: {scores}"]
        card: dict[str, Any] = {"scores": told, "test_set": location, "training": training}
        figures = {"bleu": scores.bleu4, "rouge": scores.rouge_l, "cider": scores.cider_d}
        card["metrics"] = figures
        self.captioner.save_pretrained(model, card=card)
        return told


class CaptionReward:
    """CIDEr-D of captions against those of their images, as ids (Rennie et al. 2017, section 3).

    Both sides end with the end's id, so that a caption that breaks off scores less. <unk> matches
    nothing: it would be learned as a word that fits everywhere, and search never writes it.
    """

    def __init__(self, captions: CaptionSet) -> None:
        self._cider = CiderD(
            [[[*map(_known, ids.tolist()), END] for ids in found] for found in captions.units]
        )

    def __call__(self, captions: list[list[int]], images: list[int]) -> Tensor:
        """N captions, with their end where they came to it, and the rows of their images -> (N,)"""
        return torch.tensor(self._cider.score(captions, images), dtype=torch.float64)


def _known(unit: int) -> int:
    return -1 if unit == UNK else unit  # -1: a word that no caption has


def _prepare(config: CaptioningConfig, split: str, rows: Any, units: Units) -> CaptionSet:
    data = config.data
    paths, captions = list(rows["image"]), list(rows["captions"])
    if split == "train":
        captions = _with_words(config, paths, captions)
    pixels = features = None
    if config.model.encoder.kind == "features":
        assert data.features is not None  # config.check asks for it
        location = data.features.replace("{split}", "train" if split == "held_out" else split)
        features = Features(location, config.model.encoder.size)
        features.check(paths)
    else:
        pixels = cache_images(paths, data.image_size, data.cache_dir)
    ids = [[units.encode(_clean(config, text)) for text in texts] for texts in captions]
    return CaptionSet(paths, captions, ids, pixels, features)


def _with_words(
    config: CaptioningConfig, paths: list[str], captions: list[list[str]]
) -> list[list[str]]:
    """The captions that have words left when they are cleaned; an empty one would teach the model
    to say nothing. Raises UsageError for an image that has no other."""
    kept = [[text for text in texts if _clean(config, text)] for texts in captions]
    lost = [
        n for n, (all_of, some) in enumerate(zip(captions, kept, strict=True)) if all_of != some
    ]
    for number in lost:
        if not kept[number]:
            raise UsageError(
                f"{paths[number]}: no word in its captions, such as {captions[number][0]!r:.60}; "
                "leave the image out, or keep marks with 'data.punctuation: true'"
            )
    if lost:
        count = sum(len(captions[n]) - len(kept[n]) for n in lost)
        _log.warning(
            "%s captions of 'data.train' have no word and are left out, such as one of %s",
            f"{count:,}",
            paths[lost[0]],
        )
    return kept


def _say_unknown(captions: CaptionSet, name: str | None, main: bool) -> None:
    """Say how much of the captions the vocabulary of the model to start from lacks; raises
    UsageError where that is all of it."""
    every = [ids for of_image in captions.units for ids in of_image]
    total, unknown = sum(map(len, every)), sum(int((ids == UNK).sum()) for ids in every)
    if not unknown:
        return
    told = f"training.start_from {name}: its vocabulary lacks {unknown / total:.0%} of the words"
    if unknown == total:
        raise UsageError(f"{told} of the training captions; start from another model")
    say(f"{told} of the training captions, which are read as <unk>", main)


def _clean(config: CaptioningConfig, text: str) -> str:
    return clean_caption(text, config.data, config.units.kind)
