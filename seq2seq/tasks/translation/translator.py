"""A trained translation model as its user holds it: text in, text out."""

from __future__ import annotations

import logging
import secrets
from collections.abc import Sequence
from pathlib import Path
from typing import Any, overload

import torch

from seq2seq.decoding import Hypothesis, Sampling, beam_search, greedy_search
from seq2seq.decoding.contract import SearchArguments
from seq2seq.decoding.drawing import draw_sequences
from seq2seq.decoding.sampling import row_key
from seq2seq.errors import RunError, UsageError
from seq2seq.layers.evaluating import evaluating
from seq2seq.precision import Precision, check_precision, products
from seq2seq.saved import directory as saved
from seq2seq.saved.pretrained import Pretrained
from seq2seq.tasks.translation.card import translation_card
from seq2seq.tasks.translation.config import DecodingConfig, TranslationConfig
from seq2seq.tasks.translation.ensemble import EnsembleModel, check_vocabularies
from seq2seq.tasks.translation.model import TranslationModel
from seq2seq.tasks.translation.prefixes import encode_prefixes
from seq2seq.tasks.translation.search_batches import batches, length_limits, listed, padded
from seq2seq.tasks.translation.search_settings import check_sampling, search_settings
from seq2seq.tasks.translation.translations import EMPTY, Translation, translations_of
from seq2seq.text.sentencepiece import Tokenizer

SHARED_TOKENIZER = "tokenizer.model"
SOURCE_TOKENIZER, TARGET_TOKENIZER = "source.model", "target.model"

# A longer text is cut, with a warning: memory and time grow with the square of the length (the
# attention of every target step over every source token), and a model trained on sentences has
# nothing to say beyond.
MAX_SOURCE_TOKENS = 1024

_log = logging.getLogger("seq2seq")


class Translator(Pretrained[TranslationModel | EnsembleModel, TranslationConfig]):
    """A translation model together with its tokenizers and configuration.

        translator = Translator.from_pretrained("runs/demo/model")
        translator.translate(["A dog runs."], beam_size=5)

    ``source_tokenizer`` and ``target_tokenizer`` are one object when the vocabulary is shared; its
    file is then tokenizer.model, else there are source.model and target.model.
    """

    task = "translation"
    files = (
        saved.CONFIG_FILE,
        saved.WEIGHTS_FILE,
        SHARED_TOKENIZER,
        SOURCE_TOKENIZER,
        TARGET_TOKENIZER,
        saved.CARD_FILE,
    )

    def __init__(
        self,
        model: TranslationModel | EnsembleModel,
        source_tokenizer: Tokenizer,
        target_tokenizer: Tokenizer,
        config: TranslationConfig,
        readme: str | None = None,
    ) -> None:
        self.model = model
        self.source_tokenizer = source_tokenizer
        self.target_tokenizer = target_tokenizer
        self.config = config
        self.readme = readme

    @classmethod
    def _from_directory(cls, directory: Path) -> Translator:
        kinds = {"shared_vocabulary": bool, "source_vocab_size": int, "target_vocab_size": int}
        values = saved.read_values(directory, cls.task, kinds, cls.files)
        config = saved.run_config(values, directory, cls.task)
        shared = values["shared_vocabulary"]
        names = [SHARED_TOKENIZER] if shared else [SOURCE_TOKENIZER, TARGET_TOKENIZER]
        for name in [*names, saved.WEIGHTS_FILE]:
            saved.require(directory, name, cls.files)
        tokenizers = [Tokenizer.load(directory / name) for name in names]
        source, target = tokenizers[0], tokenizers[-1]
        sizes = values["source_vocab_size"], values["target_vocab_size"]
        saved.check_vocabulary(directory / names[0], len(source), sizes[0], "source_vocab_size")
        saved.check_vocabulary(directory / names[-1], len(target), sizes[1], "target_vocab_size")
        weights = directory / saved.WEIGHTS_FILE
        try:
            model = saved.build_to_fit(lambda: TranslationModel(config.model, *sizes), weights)
        except UsageError as error:
            raise RunError(f"{directory / saved.CONFIG_FILE}: {error}") from None
        saved.load_weights(model, weights)
        return cls(model.eval(), source, target, config, saved.read_card(directory))

    @classmethod
    def ensemble(cls, translators: Sequence[Translator]) -> Translator:
        """One translator over several models: each step takes the mean of their probabilities.

            Translator.ensemble([Translator.from_pretrained(name) for name in ("A", "B", "C")])

        It translates as any other. Tokenizers and configuration are those of the first; it
        cannot be saved, only its members can.

        Raises UsageError for no translators, and for unlike vocabularies or devices.
        """
        translators = list(translators)
        if not translators:
            raise UsageError("an ensemble of no models; give at least one")
        check_vocabularies("source", [one.source_tokenizer for one in translators])
        check_vocabularies("target", [one.target_tokenizer for one in translators])
        devices = {str(next(one.model.parameters()).device) for one in translators}
        if len(devices) > 1:
            raise UsageError(f"ensemble: models on {sorted(devices)}; expected one device")
        first, model = translators[0], EnsembleModel([one.model for one in translators])
        return cls(model, first.source_tokenizer, first.target_tokenizer, first.config)

    @property
    def tokenizer_files(self) -> tuple[str, str]:
        """The names of the source's and the target's tokenizer in a saved model."""
        if self.source_tokenizer is self.target_tokenizer:
            return SHARED_TOKENIZER, SHARED_TOKENIZER
        return SOURCE_TOKENIZER, TARGET_TOKENIZER

    def write_tokenizers(self, directory: Path) -> None:
        tokenizers = (self.source_tokenizer, self.target_tokenizer)
        for tokenizer, name in zip(tokenizers, self.tokenizer_files, strict=True):
            tokenizer.save(directory / name)

    def _write_vocabulary(self, directory: Path) -> dict[str, Any]:
        if isinstance(self.model, EnsembleModel):
            raise UsageError("an ensemble is not one model and cannot be saved; save its members")
        self.write_tokenizers(directory)
        return {
            "shared_vocabulary": self.source_tokenizer is self.target_tokenizer,
            "source_vocab_size": len(self.source_tokenizer),
            "target_vocab_size": len(self.target_tokenizer),
        }

    def _card(self, parameters: int, card: dict[str, Any] | None) -> str:
        return translation_card(self.config, parameters, card)

    @overload  # a str is a sequence of str, too
    def translate(  # type: ignore[overload-overlap]
        self,
        texts: str,
        *,
        beam_size: int | None = ...,
        batch_size: int | None = ...,
        length_penalty: float | None = ...,
        decoding: DecodingConfig | None = ...,
        precision: Precision = ...,
        prefixes: str | Sequence[str] | None = ...,
    ) -> str: ...

    @overload
    def translate(
        self,
        texts: Sequence[str],
        *,
        beam_size: int | None = ...,
        batch_size: int | None = ...,
        length_penalty: float | None = ...,
        decoding: DecodingConfig | None = ...,
        precision: Precision = ...,
        prefixes: str | Sequence[str] | None = ...,
    ) -> list[str]: ...

    def translate(
        self,
        texts: str | Sequence[str],
        *,
        beam_size: int | None = None,
        batch_size: int | None = None,
        length_penalty: float | None = None,
        decoding: DecodingConfig | None = None,
        precision: Precision = "fp32",
        prefixes: str | Sequence[str] | None = None,
    ) -> str | list[str]:
        """Translate each text into one line of text, in the order given: a list gives a list, one
        text gives one text.

        ``decoding`` holds all settings of the search, by default those of the model's
        configuration; the first three arguments override single ones. ``beam_size=1`` is greedy
        search. ``precision="bf16"`` multiplies in bfloat16: faster where the processor has
        instructions for it, and no longer exactly the same alone and in a batch.

        ``prefixes`` are what the translations begin with, one for each text or a str for all; ""
        gives the model its freedom. The model goes on from there, and may go on with the last
        word. A letter that the vocabulary lacks is spelt in bytes, or is an error where the
        tokenizer has no byte fallback.

        An empty or blank text gives an empty line, whatever its prefix. NUL characters count
        as spaces. A text of more than ``MAX_SOURCE_TOKENS`` subwords is cut there, with a warning
        to the ``seq2seq`` logger (standard error unless configured otherwise).

        Raises:
            UsageError: ``texts`` is neither a str nor a list of str; a setting out of range.
            RunError: the device is out of memory; the model gives no numbers (NaN).
        """
        nbest = self.translate_nbest(
            [texts] if isinstance(texts, str) else texts,
            n_best=1,
            beam_size=beam_size,
            batch_size=batch_size,
            length_penalty=length_penalty,
            decoding=decoding,
            precision=precision,
            prefixes=prefixes,
        )
        found = [translations[0].text for translations in nbest]
        return found[0] if isinstance(texts, str) else found

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
        prefixes: str | Sequence[str] | None = None,
    ) -> list[list[Translation]]:
        """The ``n_best`` (default: ``beam_size``) best translations of each text, best first.

        A list holds at least one translation, and fewer than ``n_best`` where the search found
        no more; that of a blank text holds one, empty. ``attention`` asks for the attention
        weights. ``first_line`` is the number by which warnings call the first text. All else is
        as in ``translate``.
        """
        texts = listed(texts)
        settings = search_settings(
            decoding or self.config.decoding, beam_size, batch_size, length_penalty
        )
        n_best = settings.beam_size if n_best is None else n_best
        if not 1 <= n_best <= settings.beam_size:
            raise UsageError(f"n_best is {n_best}; expected 1 to {settings.beam_size} (beam_size)")
        check_precision(precision)
        sources = self._encode(texts, first_line)
        beginnings: list[list[int]] | None = None
        if prefixes is not None:
            tokenizer = self.target_tokenizer
            beginnings = encode_prefixes(prefixes, len(texts), tokenizer, first_line)
        results: list[list[Translation]] = [[EMPTY] for _ in texts]
        device = next(self.model.parameters()).device
        with torch.inference_mode(), evaluating(self.model), products(device, precision):
            weights: Any = self.model.decoding_weights()
            for batch in batches([len(ids) for ids in sources], settings.batch_size):
                given = None if beginnings is None else [beginnings[i] for i in batch]
                hypotheses_of = self._search(
                    [sources[i] for i in batch], given, weights, settings, n_best, attention
                )
                for i, hypotheses in zip(batch, hypotheses_of, strict=True):
                    results[i] = translations_of(
                        sources[i], hypotheses, self.source_tokenizer, self.target_tokenizer
                    )
        return results

    def sample(
        self,
        texts: Sequence[str],
        *,
        samples: int = 1,
        temperature: float = 1.0,
        top_k: int = 0,
        top_p: float = 1.0,
        min_p: float = 0.0,
        seed: int | None = None,
        decoding: DecodingConfig | None = None,
        precision: Precision = "fp32",
        first_line: int = 1,
    ) -> list[list[Translation]]:
        """``samples`` translations of each text, drawn from the model, in the order drawn.

        Temperature, top_k, top_p and min_p are as in text generation (``decoding.sampling``); of
        ``decoding``, batch size, maximum lengths and ``no_repeat_ngram`` count. The same text,
        settings and ``seed`` give the same samples, alone and among others; without a seed each
        call gives others. ``score`` is ``log_probability``, under the model as it is. There is no
        attention. All else is as in ``translate_nbest``.
        """
        settings = search_settings(decoding or self.config.decoding, None, None, None)
        sampling = Sampling(
            temperature, top_k, top_p, min_p, no_repeat_ngram=settings.no_repeat_ngram
        )
        check_sampling(samples, sampling, settings.min_length)
        check_precision(precision)
        texts, tokenizer = listed(texts), self.target_tokenizer
        sources = self._encode(texts, first_line)
        seed = secrets.randbits(32) if seed is None else seed
        results: list[list[Translation]] = [[EMPTY] * samples for _ in texts]
        device = next(self.model.parameters()).device
        with torch.inference_mode(), evaluating(self.model), products(device, precision):
            weights: Any = self.model.decoding_weights()
            size = max(1, settings.batch_size * settings.beam_size // samples)  # rows of a search
            for batch in batches([len(ids) for ids in sources], size):
                given = [sources[i] for i in batch]
                limits = length_limits(given, settings)
                drawn = draw_sequences(
                    self.model,
                    self.model.start(padded(given, self.source_tokenizer.pad, device), weights),
                    keys=[[row_key(seed, n, ids) for n in range(samples)] for ids in given],
                    max_lengths=torch.tensor(limits, device=device),  # (B,)
                    bos=tokenizer.bos,
                    eos=tokenizer.eos,
                    pad=tokenizer.pad,
                    options=sampling,
                )
                for i, found in zip(batch, drawn, strict=True):
                    results[i] = translations_of(
                        sources[i], found, self.source_tokenizer, tokenizer
                    )
        return results

    def _encode(self, texts: Sequence[str], first_line: int) -> list[list[int]]:
        if isinstance(texts, str):
            raise UsageError("texts is one text; expected a list, as in translate_nbest([text])")
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
        beginnings: list[list[int]] | None,
        weights: Any,  # of self.model.decoding_weights()
        settings: DecodingConfig,
        n_best: int,
        attention: bool,
    ) -> list[list[Hypothesis]]:
        tokenizer = self.target_tokenizer
        device = next(self.model.parameters()).device
        tokens, source_lengths = padded(sources, self.source_tokenizer.pad, device)
        limits = length_limits(sources, settings)
        if beginnings is not None:  # room for what comes after a long one
            extra = settings.max_length_extra
            pairs = zip(limits, beginnings, strict=True)
            limits = [max(limit, len(given) + extra) for limit, given in pairs]
        common: SearchArguments = {
            "sources": len(sources),
            "max_lengths": torch.tensor(limits, device=device),  # (B,)
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
                greedy = greedy_search(self.model, state, **common, beginnings=beginnings)
                return [[hypothesis] for hypothesis in greedy]
            return beam_search(
                self.model,
                state,
                **common,
                beam_size=settings.beam_size,
                length_penalty=settings.length_penalty,
                coverage_penalty=settings.coverage_penalty,
                n_best=n_best,
                source_lengths=source_lengths,
                beginnings=beginnings,
            )
        except torch.OutOfMemoryError:
            raise RunError(
                f"{device}: out of memory with {len(sources)} sentences of up to "
                f"{tokens.shape[1]} subwords, beam {settings.beam_size}; use a smaller batch or "
                "beam"
            ) from None
