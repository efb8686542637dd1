"""A trained translation model as its user holds it: text in, text out."""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch

from seq2seq.config import Config, DecodingConfig
from seq2seq.decoding import Hypothesis, beam_search, greedy_search
from seq2seq.errors import RunError, UsageError
from seq2seq.model_card import model_card
from seq2seq.model_directory import ALL_FILES, SavedModel, read_model, write_model
from seq2seq.models import TranslationModel
from seq2seq.models.mode import evaluating
from seq2seq.models.translation import DecodingWeights
from seq2seq.pretrained import device_named, model_folder, upload
from seq2seq.tokenizer import Tokenizer

Precision = Literal["fp32", "bf16"]

# A longer text is cut, with a warning: memory and time grow with the square of the length (the
# attention of every target step over every source token), and a model trained on sentences has
# nothing to say beyond.
MAX_SOURCE_TOKENS = 1024

MAX_BEAM_SIZE = 1000  # beyond, nothing is found that would be worth the memory

# Padded source tokens of a batch. With beam 5 and 512 units, keys and values of that many take
# about 170 MB.
MAX_BATCH_TOKENS = 8192

_log = logging.getLogger("seq2seq")


@dataclass(frozen=True)
class Translation:
    """One translation of one text.

    ``score`` is what the search maximised (log probability over length penalty, plus coverage),
    ``log_probability`` the sum over the target tokens and the end. ``attention`` (T, S), where it
    was asked for, has a row for each target token, and one for the end if the search reached it,
    and a column for each source token. ``finished`` is False where the length limit cut the
    translation.
    """

    text: str
    score: float
    log_probability: float
    finished: bool
    tokens: list[str]
    source_tokens: list[str]
    attention: torch.Tensor | None = None


_EMPTY = Translation("", 0.0, 0.0, True, [], [])


class Translator:
    """A translation model together with its tokenizers and configuration.

        translator = Translator.from_pretrained("runs/demo/model")
        translator.translate(["A dog runs."], beam_size=5)

    ``source_tokenizer`` and ``target_tokenizer`` are one object when the vocabulary is shared.
    ``readme`` is the text of the model card, None before one was written.
    """

    # ModelHubMixin of huggingface_hub is not a base class: its save_pretrained deletes config.json
    # before it writes, so a full disk would lose a saved model; its from_pretrained asks the hub
    # for a mistyped path, and passes over an error of the hub in silence.

    def __init__(
        self,
        model: TranslationModel,
        source_tokenizer: Tokenizer,
        target_tokenizer: Tokenizer,
        config: Config,
        readme: str | None = None,
    ) -> None:
        self.model = model
        self.source_tokenizer = source_tokenizer
        self.target_tokenizer = target_tokenizer
        self.config = config
        self.readme = readme

    @classmethod
    def from_pretrained(
        cls,
        name: str | os.PathLike[str],
        *,
        device: str = "auto",
        revision: str | None = None,
        token: str | bool | None = None,
        cache_dir: str | None = None,
        local_files_only: bool = False,
    ) -> Translator:
        """Load a model from its directory, or by its ``user/name`` from the hub.

        ``device`` is "auto" (a GPU if there is one), "cpu", "cuda" or "cuda:1"; the rest concerns
        the hub alone and means what it means in ``huggingface_hub.snapshot_download``.

        Raises:
            UsageError: no such directory; no such model on the hub; no such device.
            RunError: a missing or damaged file, an unknown format, parts that do not fit one
                another; the hub cannot be reached.
        """
        place = device_named(device)
        directory = model_folder(
            str(name),
            ALL_FILES,
            revision=revision,
            token=token,
            cache_dir=cache_dir,
            local_files_only=local_files_only,
        )
        saved = read_model(directory)
        model = saved.model.to(place)
        tokenizers = saved.source_tokenizer, saved.target_tokenizer
        return cls(model, *tokenizers, saved.config, saved.readme)

    def save_pretrained(
        self, directory: str | os.PathLike[str], card: dict[str, Any] | None = None
    ) -> None:
        """Write the model directory (see ``seq2seq.model_directory``), replacing what is there.

        ``card`` fills the model card (keys: ``seq2seq.model_card.CARD_KEYS``); without it the
        card that the model was loaded with is kept, or a plain one written.

        Raises:
            UsageError: an unknown key in ``card``.
            RunError: the files cannot be written.
        """
        if card is not None or self.readme is None:
            parameters = sum(parameter.numel() for parameter in self.model.parameters())
            self.readme = model_card(self.config, parameters, card)
        tokenizers = self.source_tokenizer, self.target_tokenizer
        saved = SavedModel(self.model, *tokenizers, self.config, self.readme)
        write_model(saved, Path(directory))

    def push_to_hub(
        self,
        repo_id: str,
        *,
        private: bool | None = None,
        token: str | bool | None = None,
        branch: str | None = None,
        create_pr: bool = False,
        commit_message: str = "Upload translation model",
    ) -> str:
        """Upload the model directory to ``repo_id`` (made if new) in one commit; return its URL.

        Errors of huggingface_hub (no access, no network) pass through unchanged.
        """
        return upload(
            self.save_pretrained,
            repo_id,
            commit_message=commit_message,
            private=private,
            token=token,
            branch=branch,
            create_pr=create_pr,
        )

    def translate(
        self,
        texts: Sequence[str],
        *,
        beam_size: int | None = None,
        batch_size: int | None = None,
        length_penalty: float | None = None,
        decoding: DecodingConfig | None = None,
        precision: Precision = "fp32",
    ) -> list[str]:
        """Translate each text into one line of text, in the order given.

        ``decoding`` holds all settings of the search, by default those of the model's
        configuration; the first three arguments override single ones. ``beam_size=1`` is greedy
        search. ``precision="bf16"`` multiplies in bfloat16: faster where the processor has
        instructions for it, and no longer exactly the same alone and in a batch.

        An empty or blank text gives an empty line. NUL characters count as spaces. A text of
        more than ``MAX_SOURCE_TOKENS`` subwords is cut there, with a warning to the ``seq2seq``
        logger (standard error unless configured otherwise).

        Raises:
            UsageError: ``texts`` is no list of str; a setting out of range.
            RunError: the device is out of memory; the model gives no numbers (NaN).
        """
        found = self.translate_nbest(
            texts,
            n_best=1,
            beam_size=beam_size,
            batch_size=batch_size,
            length_penalty=length_penalty,
            decoding=decoding,
            precision=precision,
        )
        return [translations[0].text for translations in found]

    def translate_nbest(
        self,
        texts: Sequence[str],
        *,
        n_best: int | None = None,
        beam_size: int | None = None,
        batch_size: int | None = None,
        length_penalty: float | None = None,
        decoding: DecodingConfig | None = None,
        precision: Precision = "fp32",
        attention: bool = False,
        first_line: int = 1,
    ) -> list[list[Translation]]:
        """The ``n_best`` (default: ``beam_size``) best translations of each text, best first.

        A list holds at least one translation, and fewer than ``n_best`` where the search found
        no more; that of a blank text holds one, empty. ``attention`` asks for the attention
        weights. ``first_line`` is the number by which warnings call the first text. All else is
        as in ``translate``.
        """
        if not isinstance(texts, (str, list, tuple)):
            try:
                texts = list(texts)  # a generator is read once
            except TypeError:
                kind = type(texts).__name__
                raise UsageError(f"texts is a {kind}; expected a list of str") from None
        settings = _settings(
            decoding or self.config.decoding, beam_size, batch_size, length_penalty
        )
        n_best = settings.beam_size if n_best is None else n_best
        if not 1 <= n_best <= settings.beam_size:
            raise UsageError(f"n_best is {n_best}; expected 1 to {settings.beam_size} (beam_size)")
        if precision not in ("fp32", "bf16"):
            raise UsageError(f"precision is {precision!r}; expected 'fp32' or 'bf16'")
        sources = self._encode(texts, first_line)
        results: list[list[Translation]] = [[_EMPTY] for _ in texts]
        place = next(self.model.parameters()).device
        with torch.inference_mode(), evaluating(self.model), _products(place, precision):
            weights = self.model.decoding_weights()
            for batch in _batches([len(ids) for ids in sources], settings.batch_size):
                found = self._search(
                    [sources[i] for i in batch], weights, settings, n_best, attention
                )
                for i, hypotheses in zip(batch, found, strict=True):
                    results[i] = self._translations(sources[i], hypotheses)
        return results

    def _encode(self, texts: Sequence[str], first_line: int) -> list[list[int]]:
        if isinstance(texts, str):
            raise UsageError("texts is one text; expected a list: translate([text])")
        for number, text in enumerate(texts, start=first_line):
            if not isinstance(text, str):
                raise UsageError(f"text {number} is a {type(text).__name__}; expected str")
        sources = self.source_tokenizer.encode_batch(texts)
        for number, ids in enumerate(sources, start=first_line):
            if len(ids) > MAX_SOURCE_TOKENS:
                _log.warning(
                    "line %d has %d subwords; only the first %d are translated: split it into "
                    "sentences",
                    number,
                    len(ids),
                    MAX_SOURCE_TOKENS,
                )
                del ids[MAX_SOURCE_TOKENS:]
        return sources

    def _search(
        self,
        sources: list[list[int]],
        weights: DecodingWeights,
        settings: DecodingConfig,
        n_best: int,
        attention: bool,
    ) -> list[list[Hypothesis]]:
        place = next(self.model.parameters()).device
        tokenizer = self.target_tokenizer
        lengths = [len(ids) for ids in sources]
        padded = torch.full((len(sources), max(lengths)), self.source_tokenizer.pad)
        for row, ids in enumerate(sources):
            padded[row, : len(ids)] = torch.tensor(ids)
        tokens = padded.to(place)  # (B, S)
        source_lengths = torch.tensor(lengths, device=place)  # (B,)
        limits = [int(settings.max_length_ratio * n) + settings.max_length_extra for n in lengths]
        common = {
            "sources": len(sources),
            "max_lengths": torch.tensor(limits, device=place),  # (B,)
            "bos": tokenizer.bos,
            "eos": tokenizer.eos,
            "pad": tokenizer.pad,
            "min_length": settings.min_length,
            "no_repeat_ngram": settings.no_repeat_ngram,
            "return_attention": attention,
        }
        try:
            state = self.model.start((tokens, source_lengths), weights)
            if settings.beam_size == 1 and settings.coverage_penalty == 0:
                found = greedy_search(self.model, state, **common)
                return [[hypothesis] for hypothesis in found]
            return beam_search(
                self.model,
                state,
                **common,
                beam_size=settings.beam_size,
                length_penalty=settings.length_penalty,
                coverage_penalty=settings.coverage_penalty,
                n_best=n_best,
                source_lengths=source_lengths,
            )
        except torch.OutOfMemoryError:
            raise RunError(
                f"{place}: out of memory with {len(sources)} sentences of up to "
                f"{max(lengths)} subwords, beam {settings.beam_size}; use a smaller batch or "
                "beam"
            ) from None

    def _translations(self, ids: list[int], hypotheses: list[Hypothesis]) -> list[Translation]:
        texts = self.target_tokenizer.decode_batch([found.tokens for found in hypotheses])
        pieces = self.source_tokenizer.pieces(ids)
        return [
            Translation(
                text=_one_line(text),
                score=found.score,
                log_probability=found.log_probability,
                finished=found.finished,
                tokens=self.target_tokenizer.pieces(found.tokens),
                source_tokens=pieces,
                attention=None if found.attention is None else _trim(found, len(ids)),
            )
            for text, found in zip(texts, hypotheses, strict=True)
        ]


def _trim(found: Hypothesis, source_length: int) -> torch.Tensor:
    """The attention over real source tokens, on the CPU."""
    return found.attention[:, :source_length].float().cpu()  # (T, S)


def _settings(
    decoding: DecodingConfig,
    beam_size: int | None,
    batch_size: int | None,
    length_penalty: float | None,
) -> DecodingConfig:
    given = {
        "beam_size": beam_size,
        "batch_size": batch_size,
        "length_penalty": length_penalty,
    }
    changed = {key: value for key, value in given.items() if value is not None}
    settings = dataclasses.replace(decoding, **changed)
    for key in ("beam_size", "batch_size"):
        if not isinstance(getattr(settings, key), int):
            raise UsageError(f"{key} is {getattr(settings, key)!r}; expected a whole number")
    if settings.beam_size > MAX_BEAM_SIZE:
        raise UsageError(f"beam_size is {settings.beam_size}; expected at most {MAX_BEAM_SIZE}")
    least = {
        "beam_size": 1,
        "batch_size": 1,
        "length_penalty": 0,
        "coverage_penalty": 0,
        "no_repeat_ngram": 0,
        "max_length_ratio": 0,
        "max_length_extra": 0,
        "min_length": 0,
    }
    for key, lowest in least.items():
        value = getattr(settings, key)
        if not lowest <= value < float("inf"):
            raise UsageError(f"{key} is {value}; expected a number of at least {lowest}")
    return settings


def _batches(lengths: list[int], batch_size: int) -> Iterator[list[int]]:
    """Positions in ``lengths`` as batches of like length, the longest first; zeros left out.

    The longest come first so that a batch too large for the memory fails at once, not at the end.
    """
    order = sorted((i for i, n in enumerate(lengths) if n), key=lambda i: -lengths[i])
    while order:
        rows = max(1, min(batch_size, MAX_BATCH_TOKENS // lengths[order[0]]))
        yield order[:rows]
        order = order[rows:]


# Everything that some reader takes for the end of a line, or of a column.
_BREAKS = re.compile("[\t\n\r\v\f\x1c\x1d\x1e\x85\u2028\u2029]+")


def _one_line(text: str) -> str:
    """Byte pieces can spell any character: a line break would shift all lines that follow."""
    return _BREAKS.sub(" ", text.replace("\0", "")).strip()


def _products(place: torch.device, precision: Precision) -> contextlib.AbstractContextManager:
    if precision == "bf16":
        return torch.autocast(place.type, dtype=torch.bfloat16)
    return contextlib.nullcontext()
