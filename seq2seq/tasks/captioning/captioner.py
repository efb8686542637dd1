"""A trained captioning model as its user holds it: images in, captions out."""

from __future__ import annotations

import dataclasses
import hashlib
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from seq2seq.arguments import check_truth, check_whole, given_or, listed_texts
from seq2seq.decoding import Hypothesis, Sampling, beam_search, greedy_search
from seq2seq.decoding.contract import SearchArguments
from seq2seq.decoding.drawing import check_sampling, draw_sequences, sources_together
from seq2seq.decoding.ensemble import check_members, members_of
from seq2seq.decoding.sampling import row_key, seed_of
from seq2seq.errors import RunError, UsageError
from seq2seq.images.files import ImageError, read_image
from seq2seq.layers.evaluating import evaluating
from seq2seq.precision import Precision, check_precision, products
from seq2seq.saved.directory import UNIT_MODEL_FILES, read_unit_model
from seq2seq.saved.pretrained import Pretrained
from seq2seq.tasks.captioning.batches import BOS, clean_caption, whole_images
from seq2seq.tasks.captioning.captioned import Caption, Captioned
from seq2seq.tasks.captioning.card import caption_card
from seq2seq.tasks.captioning.config import (
    CaptionDecodingConfig,
    CaptioningConfig,
    check_mirror,
)
from seq2seq.tasks.captioning.ensemble import CaptionEnsemble, Views, check_alike
from seq2seq.tasks.captioning.features import check_features, pad_features, read_features
from seq2seq.tasks.captioning.mbr import by_expected_utility
from seq2seq.tasks.captioning.model import CaptioningModel, Encoded
from seq2seq.tasks.captioning.search_settings import search_settings
from seq2seq.text.phrases import Phrases, missing
from seq2seq.text.unit_phrases import unit_phrases
from seq2seq.text.vocabulary import END, UNK, Units, save_units

if TYPE_CHECKING:
    from PIL import Image


AnyModel = CaptioningModel | CaptionEnsemble

# What is written of a batch: of the model, the images encoded, the model's weights, the images.
Write = Callable[[AnyModel, Encoded | Views, Any, list[Tensor]], list[list[Caption]]]


class Captioner(Pretrained[AnyModel, CaptioningConfig]):
    """A captioning model together with its vocabulary and configuration.

    captioner = Captioner.from_pretrained("runs/flickr8k/model")
    captioner.caption(["dog.jpg"], beam_size=5)[0].text
    """

    task = "captioning"
    files = UNIT_MODEL_FILES

    def __init__(
        self,
        model: AnyModel,
        units: Units,
        config: CaptioningConfig,
        readme: str | None = None,
    ) -> None:
        self.model, self.units, self.config, self.readme = model, units, config, readme

    @classmethod
    def _from_directory(cls, directory: Path) -> Captioner:
        # A backbone of timm is built without its pretrained weights: all are in the directory.
        return cls(*read_unit_model(directory, cls.task, CaptioningModel))

    @classmethod
    def ensemble(cls, captioners: Sequence[Captioner]) -> Captioner:
        """One captioner over several models: each word takes the mean of their probabilities.

            Captioner.ensemble([Captioner.from_pretrained(name) for name in ("A", "B", "C")])

        It captions as any other. Vocabulary and configuration are those of the first; it cannot be
        saved, only its members can.

        Raises UsageError for no captioners, and for unlike vocabularies, images or devices.
        """
        captioners = members_of(captioners, cls)
        check_members([next(one.model.parameters()).device for one in captioners])
        check_alike([one.config for one in captioners], [one.units for one in captioners])
        first = captioners[0]
        return cls(CaptionEnsemble([one.model for one in captioners]), first.units, first.config)

    def _write_vocabulary(self, directory: Path) -> dict[str, Any]:
        if isinstance(self.model, CaptionEnsemble):
            raise UsageError("an ensemble is not one model and cannot be saved; save its members")
        save_units(self.units, directory)
        return {"vocab_size": len(self.units)}

    def _card(self, parameters: int, card: dict[str, Any] | None) -> str:
        return caption_card(self.config, parameters, card)

    def caption(
        self,
        images: Sequence[str | os.PathLike[str] | Image.Image | Tensor | np.ndarray],
        *,
        beam_size: int | None = None,
        n_best: int = 1,
        batch_size: int | None = None,
        decoding: CaptionDecodingConfig | None = None,
        precision: Precision = "fp32",
        attention: bool = False,
        require: Sequence[str] = (),
        forbid: Sequence[str] = (),
    ) -> list[Captioned]:
        """Caption each image, in the order given: the ``n_best`` best captions of each, best first.

        An image is a file or an opened Pillow image; for a model of features computed beforehand,
        a .npy file or an array (S, F) or (F,). An image that cannot be used has an ``error``
        in its place in the list; the others are still captioned.

        ``decoding`` holds all settings of the search, by default those of the model's
        configuration; ``beam_size`` and ``batch_size`` override single ones. ``attention`` asks
        for the attention weights. ``precision="bf16"`` multiplies in bfloat16. ``require`` are
        phrases that every caption must hold as whole words, ``forbid`` such as it must not
        (``text.phrases``).

        Raises:
            UsageError: ``images`` is no list; a setting out of range.
            RunError: the device is out of memory; the model gives no numbers (NaN).
        """
        decoding = given_or("decoding", decoding, self.config.decoding)
        settings = search_settings(decoding, beam_size, batch_size)
        if not 1 <= check_whole("n_best", n_best) <= settings.beam_size:
            most = f"{settings.beam_size} (beam_size)"
            raise UsageError(f"n_best is {n_best!r}; expected 1 to {most}")
        check_truth(attention=attention)  # before any image is read
        held, barred = self._as_read("require", require), self._as_read("forbid", forbid)
        phrases = unit_phrases(self.units, held, barred)
        if phrases is not None:
            phrases.check([], settings.max_length, "captions")

        def write(model: AnyModel, encoded: Encoded | Views, weights: Any, _: Any) -> Any:
            return self.caption_encoded(
                encoded, settings, weights, n_best, attention, phrases, model
            )

        return self._each(images, settings, precision, settings.batch_size, write)

    def sample(
        self,
        images: Sequence[str | os.PathLike[str] | Image.Image | Tensor | np.ndarray],
        *,
        samples: int = 1,
        temperature: float = 1.0,
        top_k: int = 0,
        top_p: float = 1.0,
        min_p: float = 0.0,
        seed: int | None = None,
        decoding: CaptionDecodingConfig | None = None,
        precision: Precision = "fp32",
    ) -> list[Captioned]:
        """``samples`` captions of each image, drawn from the model, in the order drawn.

        Temperature, top_k, top_p and min_p are as in text generation (``decoding.sampling``); of
        ``decoding``, batch and beam size (how many rows go together), maximum length,
        ``no_repeat_ngram`` and ``mirror`` count. The same pixels, settings and ``seed`` give the
        same samples, alone and among others, but where rounding, which depends on the batch,
        decides: about one word in ten thousand. Without a seed each call gives others. ``score``
        is ``log_probability``, under the model as it is.
        There is no attention. All else is as in ``caption``.
        """
        decoding = given_or("decoding", decoding, self.config.decoding)
        settings = search_settings(decoding, None, None)
        options = Sampling(
            temperature, top_k, top_p, min_p, no_repeat_ngram=settings.no_repeat_ngram
        )
        check_sampling(samples, options, settings.min_length)
        seed = seed_of(seed)

        def write(
            model: AnyModel, encoded: Encoded | Views, weights: Any, batch: list[Tensor]
        ) -> list[list[Caption]]:
            searched: Any = model
            drawn = draw_sequences(
                searched,
                searched.start(encoded, weights),
                keys=[[row_key(seed, n, [_digest(one)]) for n in range(samples)] for one in batch],
                max_lengths=torch.full((len(batch),), settings.max_length, device=encoded.device),
                bos=BOS,
                eos=END,
                pad=UNK,  # which is never written
                options=options,
            )
            return [[self._caption(one, ()) for one in found] for found in drawn]

        size = sources_together(settings.batch_size, settings.beam_size, samples)
        return self._each(images, settings, precision, min(settings.batch_size, size), write)

    def minimum_bayes_risk(
        self,
        images: Sequence[str | os.PathLike[str] | Image.Image | Tensor | np.ndarray],
        *,
        samples: int = 32,
        temperature: float = 0.5,
        top_k: int = 0,
        top_p: float = 1.0,
        min_p: float = 0.0,
        seed: int | None = None,
        decoding: CaptionDecodingConfig | None = None,
        precision: Precision = "fp32",
    ) -> list[Captioned]:
        """Draws ``samples`` captions of each image as ``sample`` does. Returns the different ones,
        sorted by their expected BLEU against all, best first (Eikema & Aziz 2020). ``score`` is
        that BLEU, 0 to 100 (``mbr.pairwise_bleu``)."""
        drawn = self.sample(
            images,
            samples=samples,
            temperature=temperature,
            top_k=top_k,
            top_p=top_p,
            min_p=min_p,
            seed=seed,
            decoding=decoding,
            precision=precision,
        )
        return [Captioned(by_expected_utility(one.captions), one.error) for one in drawn]

    def _as_read(self, name: str, phrases: Sequence[str] | None) -> list[str] | None:
        """Phrases as captions stand in training: in lower case, without marks."""
        if phrases is None:
            return None
        texts = listed_texts(name, phrases, f"phrase of {name}")
        cleaned = [clean_caption(text, self.config.data, self.units.kind) for text in texts]
        return [one or text for one, text in zip(cleaned, texts, strict=True)]

    def _each(
        self,
        images: Sequence[Any],
        settings: CaptionDecodingConfig,
        precision: Precision,
        batch_size: int,
        write: Write,
    ) -> list[Captioned]:
        """What ``write`` writes of each image that can be used."""
        if isinstance(images, (str, bytes)) or not isinstance(images, Sequence):
            kind = type(images).__name__
            raise UsageError(f"images is {kind}; expected a list: caption([image])")
        check_precision(precision)
        results: list[Captioned] = []
        device = next(self.model.parameters()).device
        with torch.inference_mode(), evaluating(self.model), products(device, precision):
            model = self.searched(settings)
            weights = model.decoding_weights()
            for start in range(0, len(images), batch_size):
                batch = [self._read(image) for image in images[start : start + batch_size]]
                good = [one for one in batch if isinstance(one, Tensor)]
                captions_of = iter(self._written(model, good, weights, write))
                results += [
                    Captioned(next(captions_of)) if isinstance(one, Tensor) else Captioned([], one)
                    for one in batch
                ]
        return results

    def searched(self, decoding: CaptionDecodingConfig) -> AnyModel:
        """The model that encodes images for ``caption_encoded``, and searches: with ``mirror`` one
        that sees mirror images, too. Raises UsageError for a model that reads no images."""
        check_mirror(decoding, self.config, "caption")
        return CaptionEnsemble([self.model], mirrored=True) if decoding.mirror else self.model

    def caption_encoded(
        self,
        encoded: Encoded | Views,
        decoding: CaptionDecodingConfig,
        weights: Any = None,
        n_best: int = 1,
        attention: bool = False,
        phrases: Phrases | None = None,
        model: AnyModel | None = None,
    ) -> list[list[Caption]]:
        """The captions of images that ``searched(decoding)`` has encoded; ``weights`` are its
        ``decoding_weights()``, ``model`` is that model where it is at hand. Autocast decides the
        precision."""
        check_truth(attention=attention)
        searched: Any = self.searched(decoding) if model is None else model
        count, device = encoded.images, encoded.device
        common: SearchArguments = {
            "sources": count,
            "max_lengths": torch.full((count,), decoding.max_length, device=device),
            "bos": BOS,
            "eos": END,
            "pad": UNK,  # which is never written
            "min_length": decoding.min_length,
            "no_repeat_ngram": decoding.no_repeat_ngram,
            "return_attention": attention,
            "constraints": None if phrases is None else [phrases] * count,
        }
        with torch.inference_mode():
            state = searched.start(encoded, weights)
            if decoding.beam_size == 1:
                hypotheses_of = [[one] for one in greedy_search(searched, state, **common)]
            else:
                hypotheses_of = beam_search(
                    searched,
                    state,
                    **common,
                    beam_size=decoding.beam_size,
                    length_penalty=decoding.length_penalty,
                    groups=decoding.beam_groups,
                    diversity=decoding.diversity,
                    n_best=n_best,
                )
        required = () if phrases is None else tuple(phrases.required)
        return [[self._caption(one, required) for one in found] for found in hypotheses_of]

    def text(self, ids: Sequence[int]) -> str:
        """The caption that units ``ids`` spell, on one line."""
        decoder = self.units.decoder()
        text = "".join([decoder.add(unit) for unit in ids]) + decoder.finish()
        return " ".join(text.replace("\0", "").split())

    def _caption(self, hypothesis: Hypothesis, required: Sequence[str]) -> Caption:
        attention, text = hypothesis.attention, self.text(hypothesis.tokens)
        return Caption(
            text,
            hypothesis.score,
            hypothesis.log_probability,
            hypothesis.finished,
            [self.units.piece(unit) for unit in hypothesis.tokens],
            None if attention is None else attention.float().cpu(),
            missing(text, required),
        )

    def _read(self, image: Any) -> Tensor | ImageError:
        """(3, P, P) uint8, or features (S, F)."""
        encoder = self.config.model.encoder
        try:
            if encoder.kind != "features":
                return read_image(image, self.config.data.image_size)
            if isinstance(image, (Tensor, np.ndarray)):
                return check_features(image, encoder.size, "features")
            if not isinstance(image, (str, os.PathLike)):
                kind = type(image).__name__
                raise ImageError(f"features are {kind}; expected a .npy file or an array")
            if not str(image).endswith(".npy"):
                raise ImageError(
                    f"{image}: this model reads features computed beforehand; expected a .npy file"
                )
            return read_features(image, encoder.size)
        except ImageError as error:
            return error

    def _written(
        self, model: AnyModel, batch: list[Tensor], weights: Any, write: Write
    ) -> list[list[Caption]]:
        if not batch:
            return []
        device = next(self.model.parameters()).device
        lengths = None
        if self.config.model.encoder.kind == "features":
            source, lengths = pad_features(batch)
            lengths = None if lengths is None else lengths.to(device)
        else:
            source = torch.stack(batch)
        try:
            source = source.to(device)
            if source.dtype == torch.uint8:
                source = whole_images(source, self.config.data)
            captions_of = write(model, model.encode(source, lengths), weights, batch)
        except torch.OutOfMemoryError:
            raise RunError(
                f"{device}: out of memory with {len(batch)} images; use a smaller batch, a smaller "
                "beam or fewer samples"
            ) from None
        if lengths is None:
            return captions_of
        return [
            [dataclasses.replace(c, attention=_trim(c.attention, n)) for c in captions]
            for captions, n in zip(captions_of, lengths.tolist(), strict=True)
        ]


def _trim(attention: Tensor | None, places: int) -> Tensor | None:
    return None if attention is None else attention[:, :places]


def _digest(image: Tensor) -> int:
    """What an image's random numbers follow from: its pixels, or its features."""
    values = image.detach().cpu().resolve_neg().contiguous().numpy()
    return int.from_bytes(hashlib.blake2b(values.tobytes(), digest_size=8).digest())
