"""A trained language model as its user holds it: a prompt in, text out."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, overload

import numpy as np

from seq2seq.arguments import (
    check_text,
    check_truth,
    check_whole,
    given_or,
    listed,
    listed_texts,
)
from seq2seq.decoding.sampling import Rollout, row_key, seed_of
from seq2seq.errors import UsageError
from seq2seq.precision import AutoPrecision, products, resolve_precision
from seq2seq.saved.directory import UNIT_MODEL_FILES, read_unit_model
from seq2seq.saved.pretrained import Pretrained
from seq2seq.tasks.generation.card import language_card
from seq2seq.tasks.generation.cloze_model import ClozeModel, make_model
from seq2seq.tasks.generation.cloze_scores import ClozeSteps
from seq2seq.tasks.generation.config import (
    MAX_SAMPLES,
    GenerationConfig,
    LanguageConfig,
    check_generation,
)
from seq2seq.tasks.generation.directions import check_scores, check_writes
from seq2seq.tasks.generation.laid_out import LaidOut
from seq2seq.tasks.generation.likeliest import likeliest_units
from seq2seq.tasks.generation.mapped import LargeText, encoded
from seq2seq.tasks.generation.model import LanguageModel
from seq2seq.tasks.generation.perplexity import (
    WARM_UP,
    Cache,
    Dynamic,
    Segment,
    TextScore,
    evaluate,
    losses,
)
from seq2seq.tasks.generation.prompts import prompt_units, stood_before, warn_unknown
from seq2seq.tasks.generation.session import Session, sampling
from seq2seq.tasks.generation.stepping import LanguageSteps
from seq2seq.tasks.generation.streaming import Generated, Reason, Writer
from seq2seq.tasks.generation.suggesting import Suggestion, suggest
from seq2seq.tasks.generation.text import Text, as_documents, count_words
from seq2seq.text.vocabulary import END, Units, save_units

MAX_ROWS = 256  # written side by side; more are written one group after the other


class TextGenerator(Pretrained[Any, LanguageConfig]):
    """A language model together with its units and configuration.

    generator = TextGenerator.from_pretrained("runs/own_text/model")
    generator.generate("To be", temperature=0.8, seed=1)
    for text in generator.generate("To be", stream=True): print(text, end="", flush=True)
    """

    task = "generation"
    files = UNIT_MODEL_FILES

    def __init__(
        self,
        model: LanguageModel | ClozeModel,
        units: Units,
        config: LanguageConfig,
        readme: str | None = None,
    ) -> None:
        self.model: Any = model  # a ClozeModel where model.direction is both
        self.units, self.config, self.readme = units, config, readme
        self._laid_out = LaidOut()

    @classmethod
    def _from_directory(cls, directory: Path) -> TextGenerator:
        return cls(*read_unit_model(directory, cls.task, make_model))

    def _write_vocabulary(self, directory: Path) -> dict[str, Any]:
        save_units(self.units, directory)
        return {"vocab_size": len(self.units)}

    def _card(self, parameters: int, card: dict[str, Any] | None) -> str:
        return language_card(self.config, parameters, card)

    # --- writing ---------------------------------------------------------------------------

    @overload
    def generate(self, prompt: str = ..., *, stream: Literal[True]) -> Iterator[str]: ...

    @overload
    def generate(self, prompt: str = ..., *, stream: Literal[False] = ...) -> str: ...

    def generate(
        self,
        prompt: str = "",
        *,
        stream: bool = False,
        seed: int | None = None,
        max_length: int | None = None,
        temperature: float | None = None,
        top_k: int | None = None,
        top_p: float | None = None,
        min_p: float | None = None,
        repetition_penalty: float | None = None,
        no_repeat_ngram: int | None = None,
        stop: Sequence[str] | None = None,
        beam_size: int | None = None,
        settings: GenerationConfig | None = None,
        precision: AutoPrecision = "auto",
    ) -> str | Iterator[str]:
        """The text that the model writes after ``prompt``, without the prompt.

        ``stream``: an iterator that gives the text bit by bit, as soon as each character is whole;
        joined it is the same text. ``settings`` holds all choices, by default those of the model's
        configuration; the arguments beside it change single ones (see GenerationConfig). The same
        prompt, settings and ``seed`` give the same text, alone and among others; without a seed
        each call gives another one. ``beam_size`` above 1 searches for a likely text instead of
        drawing one, and cannot stream.

        ``precision``: of the products; "auto" is bf16 where the processor multiplies it in
        hardware. Characters of the prompt that the model has never seen are left out or become
        <unk>, with a warning to the ``seq2seq`` logger, or are refused, as ``units.unknown`` of
        the configuration says.

        Raises UsageError for a setting out of range and a model that reads backward, RunError where
        the model gives no numbers.
        """
        check_truth(stream=stream)
        given: dict[str, Any] = {
            "max_length": max_length,
            "temperature": temperature,
            "top_k": top_k,
            "top_p": top_p,
            "min_p": min_p,
            "repetition_penalty": repetition_penalty,
            "no_repeat_ngram": no_repeat_ngram,
            "stop": None if stop is None else _stops(stop),
            "beam_size": beam_size,
        }
        given = {name: value for name, value in given.items() if value is not None}
        settings = given_or("settings", settings, self.config.generation)
        settings = dataclasses.replace(settings, **given)
        if not stream:
            return self.generate_batch([prompt], settings=settings, seed=seed, precision=precision)[
                0
            ][0].text
        return self.session(settings=settings, seed=seed, precision=precision).write(prompt)

    def generate_batch(
        self,
        prompts: Sequence[str],
        *,
        samples: int = 1,
        settings: GenerationConfig | None = None,
        seed: int | None = None,
        precision: AutoPrecision = "auto",
    ) -> list[list[Generated]]:
        """For each prompt, ``samples`` texts. Everything is as in ``generate``.

        With beam search the samples are the likeliest texts found, the best first, at most
        ``beam_size``. ``stop`` cuts them afterwards, and texts that are equal then are given once.
        """
        settings = self._checked(settings)
        check_whole("samples", samples, 1, MAX_SAMPLES)
        seed = seed_of(seed)
        units = [self.prompt_units(prompt) for prompt in listed("prompts", prompts)]
        rows = [(ids, sample) for ids in units for sample in range(samples)]
        steps = self.steps(precision)
        if settings.beam_size > 1:
            return self._beam(steps, units, samples, settings) if units else []
        texts: list[Generated] = []
        for at in range(0, len(rows), MAX_ROWS):
            group = rows[at : at + MAX_ROWS]
            keys = [row_key(seed, sample, ids) for ids, sample in group]
            texts += self._sample(steps, [ids for ids, _ in group], keys, settings)
        return [texts[n * samples : (n + 1) * samples] for n in range(len(units))]

    def session(
        self,
        *,
        settings: GenerationConfig | None = None,
        seed: int | None = None,
        precision: AutoPrecision = "auto",
    ) -> Session:
        """A conversation with the model, which remembers what was read and written in it."""
        settings = self._checked(settings)
        if settings.beam_size > 1:
            raise UsageError(
                f"beam_size is {settings.beam_size}: beam search knows its text only at the end, "
                "and cannot write it bit by bit; set beam_size to 1"
            )
        return Session(self, self.steps(precision), settings, seed_of(seed))

    def _checked(self, settings: GenerationConfig | None) -> GenerationConfig:
        check_writes(self.config)
        settings = given_or("settings", settings, self.config.generation)
        check_generation(settings)
        return settings

    def steps(self, precision: AutoPrecision = "auto") -> LanguageSteps:
        """The model laid out for one step at a time; made once, and again when weights change."""
        return self._laid_out.get(self.model, LanguageSteps, precision)

    def cloze_steps(self, precision: AutoPrecision = "auto") -> ClozeSteps:
        """The same of a model that reads from both sides."""
        return self._laid_out.get(self.model, ClozeSteps, precision)

    @property
    def banned(self) -> set[int]:
        """Units that are never written: <unk>, and the end where the model was taught none."""
        return self.units.ignored | (set() if self.has_end else {END})

    @property
    def has_end(self) -> bool:
        return self.config.data.documents != "none"

    @property
    def backward(self) -> bool:
        """Whether the model reads each text from its end alone."""
        return self.config.model.direction == "backward"

    def encode(self, text: str) -> list[int]:
        """The ids of a text in the order in which the model reads them."""
        ids: list[int] = self.units.encode(text).tolist()
        return ids[::-1] if self.backward else ids

    def prompt_units(self, prompt: str, begins: bool = True) -> list[int]:
        """The ids that the model reads for a prompt; see ``prompts.prompt_units``."""
        check_truth(begins=begins)
        unknown = self.config.units.unknown
        return prompt_units(prompt, self.units, unknown, begins=begins, has_end=self.has_end)

    def _sample(
        self,
        steps: LanguageSteps,
        prompts: list[list[int]],
        keys: list[int],
        settings: GenerationConfig,
    ) -> list[Generated]:
        logits, state = steps.start(prompts)
        options = sampling(settings)
        before = [stood_before(ids) for ids in prompts]
        rollout = Rollout(steps, state, logits, before, keys, options, self.banned, END)
        writers = [Writer(self.units.decoder(), settings.stop, ids[-1]) for ids in prompts]
        texts: list[list[str]] = [[] for _ in prompts]
        counts = [0] * len(prompts)
        reasons: list[Reason] = ["length"] * len(prompts)
        alive = list(range(len(prompts)))
        for _ in range(settings.max_length):
            going = []
            for position, unit in enumerate(rollout.step().tolist()):
                row = alive[position]
                if unit == END:
                    reasons[row] = "end"
                    continue
                counts[row] += 1
                texts[row].append(writers[row].add(unit))
                if writers[row].stopped:
                    reasons[row] = "stop"
                else:
                    going.append(position)
            if not going:
                break
            if len(going) < len(alive):
                rollout.keep(going)
                alive = [alive[position] for position in going]
        for row, writer in enumerate(writers):
            texts[row].append(writer.finish())
        return [Generated("".join(t), r, c) for t, r, c in zip(texts, reasons, counts, strict=True)]

    def _beam(
        self,
        steps: LanguageSteps,
        prompts: list[list[int]],
        samples: int,
        settings: GenerationConfig,
    ) -> list[list[Generated]]:
        """The likeliest continuations; settings of drawing, such as temperature, are not used."""
        if samples > settings.beam_size:
            raise UsageError(
                f"samples is {samples}; beam search with beam_size {settings.beam_size} gives at "
                "most as many"
            )
        continuations = likeliest_units(steps, prompts, self.banned, settings, samples)
        found = []
        for ids, hypotheses in zip(prompts, continuations, strict=True):
            written = [self._written(ids, h.tokens, h.finished, settings) for h in hypotheses]
            if settings.stop:  # what follows it is all that some differ in
                best = {one.text: one for one in reversed(written)}
                written = [one for one in written if best[one.text] is one]
            found.append(written)
        return found

    def _written(
        self, prompt: list[int], units: list[int], finished: bool, settings: GenerationConfig
    ) -> Generated:
        writer = Writer(self.units.decoder(), settings.stop, prompt[-1])
        parts = []
        for unit in units:
            parts.append(writer.add(unit))
            if writer.stopped:
                break
        reason: Reason = "stop" if writer.stopped else "end" if finished else "length"
        return Generated("".join(parts) + writer.finish(), reason, len(parts))

    def suggest(
        self, text: str, top: int = 5, *, precision: AutoPrecision = "fp32"
    ) -> list[Suggestion]:
        """The words that may come next, or that complete the word in progress at the text's end,
        the likeliest first; see ``suggesting.suggest``."""
        check_writes(self.config)
        return suggest(self, text, top, precision)

    # --- scoring ---------------------------------------------------------------------------

    def score(
        self, texts: Sequence[str], *, context: str = "", precision: AutoPrecision = "fp32"
    ) -> list[TextScore]:
        """The log probability of each text: log p(text | context), from the beginning of a
        document where there is no context; with documents, their end counts too.

        Which of several endings is likeliest: ``score(endings, context=beginning)``. Characters
        that the model has never seen are scored as <unk>, with a warning. A model that reads
        backward scores from the text's end, and knows no context: UsageError.
        """
        texts = listed_texts("texts", texts)
        check_text("context", context)
        check_scores(self.config, context)
        before = self.prompt_units(context)
        segments = []
        unknown: list[str] = []
        for text in texts:
            ids = [*before, *self.encode(text)]
            unknown += self.units.unknown(text)
            if self.has_end:
                ids.append(END)
            segments.append(Segment(np.array(ids), 0, len(before) - 1, len(ids) - 1))
        warn_unknown(unknown, self.units)
        with self._products(precision):
            totals = losses(self.model, segments, self.has_end)
        end = int(self.has_end)  # counts as a character, and as a word as a line's end does
        return [
            TextScore(loss, s.end - s.scored, len(text) + end, count_words(text) + end)
            for loss, s, text in zip(totals, segments, texts, strict=True)
        ]

    def perplexity(
        self,
        text: str | bytes | Text | LargeText,
        *,
        cold_window: int | None = None,
        rows: int = 1,
        cache: Cache | None = None,
        dynamic: Dynamic | None = None,
        precision: AutoPrecision = "fp32",
    ) -> TextScore:
        """How well the model predicts a text; see ``perplexity.evaluate``."""
        check_scores(self.config)
        if isinstance(text, (str, bytes)):
            text = as_documents([text], self.config.data.documents, "the text")
        elif not isinstance(text, (Text, LargeText)):
            raise UsageError(f"text is a {type(text).__name__}; expected str, bytes or Text")
        corpus = encoded(text, self.units, self.has_end, self.backward)
        if corpus.tokens < 2:
            raise UsageError("the text has one unit; at least two are needed to predict one")
        if not self.units.knows_unknown:  # else <unk> is a unit like any other, as in WikiText-2
            documents = (d for d in text.documents() if isinstance(d, str))
            unseen = [u for document in documents for u in self.units.unknown(document)]
            warn_unknown(unseen, self.units)
        check_whole("rows", rows, 1)
        most = max(
            1, corpus.tokens // WARM_UP
        )  # a stretch is no shorter than what is read before it
        with self._products(precision):
            return evaluate(
                self.model,
                corpus,
                rows=min(rows, most),
                cold_window=cold_window,
                cache=cache,
                dynamic=dynamic,
            )

    def _products(self, precision: AutoPrecision) -> contextlib.AbstractContextManager[Any]:
        device = next(self.model.parameters()).device
        # No cache: dynamic evaluation changes the weights while their copies would stay.
        return products(device, resolve_precision(precision, device), cache=False)


def _stops(stop: Sequence[str]) -> list[str]:
    return [stop] if isinstance(stop, str) else listed("stop", stop)
