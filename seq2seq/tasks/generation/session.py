"""A conversation with a language model, which remembers what was read and written in it."""

from __future__ import annotations

import inspect
from collections.abc import Generator, Iterator
from typing import TYPE_CHECKING

from torch import Tensor

from seq2seq.decoding.sampling import Rollout, Sampling, row_key
from seq2seq.tasks.generation.config import GenerationConfig
from seq2seq.tasks.generation.prompts import stood_before
from seq2seq.tasks.generation.stepping import LanguageSteps
from seq2seq.tasks.generation.streaming import Writer
from seq2seq.text.vocabulary import END

if TYPE_CHECKING:
    from seq2seq.tasks.generation.generator import TextGenerator


class Session:
    """Reads and writes in turns; made by ``TextGenerator.session``.

    The first ``write`` gives the same text as ``TextGenerator.generate`` with the same seed.
    """

    def __init__(
        self,
        generator: TextGenerator,
        steps: LanguageSteps,
        settings: GenerationConfig,
        seed: int,
    ) -> None:
        self.generator, self.settings, self.seed = generator, settings, seed
        self._model, self._state = steps, steps.empty(1)
        self._logits: Tensor | None = None
        self._turn, self._last = 0, END
        self._begins = True
        self._before: list[int] = []  # read and written since the document began
        self._stream: Generator[str, None, None] | None = None  # the text of the turn before

    def __getstate__(self) -> dict[str, object]:
        """Copies and pickles go on where this session stands; TypeError while it writes."""
        stream = self._stream
        if stream is not None and inspect.getgeneratorstate(stream) != inspect.GEN_CLOSED:
            raise TypeError("the session is writing; read its text to the end, or close it, first")
        return {**vars(self), "_stream": None}

    def write(self, prompt: str = "") -> Iterator[str]:
        """Read ``prompt``, then give the text that follows bit by bit.

        An iterator that is left before its end leaves the session where it was: what was given
        counts as written. The next ``write`` ends it.
        """
        if self._stream is not None:
            self._stream.close()
        ids = self.generator.prompt_units(prompt, self._begins)
        if self._begins:
            self._state, self._before = self._model.empty(1), []
        self._before += stood_before(ids)
        if ids:
            self._logits, self._state = self._model.read([ids], self._state)
            self._last = ids[-1]
        self._begins = False
        key = row_key(self.seed, self._turn, ids)
        self._turn += 1
        self._stream = self._write(key)
        return self._stream

    def _write(self, key: int) -> Generator[str, None, None]:
        assert self._logits is not None  # the first turn read the document's beginning at least
        rollout = Rollout(
            self._model,
            self._state,
            self._logits,
            [self._before],
            [key],
            sampling(self.settings),
            self.generator.banned,
            END,
        )
        writer = Writer(self.generator.units.decoder(), self.settings.stop, self._last)
        try:
            for _ in range(self.settings.max_length):
                self._last = unit = int(rollout.step())
                if unit == END:
                    self._begins = True
                    break
                self._before.append(unit)
                if text := writer.add(unit):
                    yield text
                if writer.stopped:
                    break
            if text := writer.finish():
                yield text
        finally:
            self._logits, self._state = rollout.flush()


def sampling(settings: GenerationConfig) -> Sampling:
    """What ``settings`` say of drawing."""
    return Sampling(
        settings.temperature,
        settings.top_k,
        settings.top_p,
        settings.min_p,
        settings.repetition_penalty,
        settings.no_repeat_ngram,
    )
