"""The likeliest continuations of prompts, by beam search over the steps of a language model."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from seq2seq.decoding import Hypothesis, beam_search
from seq2seq.tasks.generation.config import GenerationConfig
from seq2seq.tasks.generation.prompts import stood_before
from seq2seq.tasks.generation.stepping import LanguageSteps, StepState
from seq2seq.text.vocabulary import END, UNK


def likeliest_units(
    steps: LanguageSteps,
    prompts: list[list[int]],
    banned: set[int],
    settings: GenerationConfig,
    count: int,
) -> list[list[Hypothesis]]:
    """The ``count`` likeliest continuations of each prompt, best first, without the units
    ``banned``. Temperature and all other settings that concern drawing are not used."""
    logits, state = steps.start(prompts)
    return beam_search(
        _AfterPrompt(steps, banned),
        _Begun(state, logits),
        sources=len(prompts),
        beam_size=settings.beam_size,
        max_lengths=torch.full((len(prompts),), settings.max_length, device=steps.device),
        bos=UNK,
        eos=END,
        pad=UNK,
        length_penalty=settings.length_penalty,
        no_repeat_ngram=settings.no_repeat_ngram,
        n_best=count,
        prompts=[stood_before(ids) for ids in prompts],
    )


@dataclass(frozen=True)
class _Begun:
    """The state of a search: the logits of the first step are there already."""

    state: StepState
    logits: Tensor | None
    attention: None = None


class _AfterPrompt:
    """A model whose search begins after its prompts: the first token passed in is ignored."""

    def __init__(self, steps: LanguageSteps, banned: set[int]) -> None:
        self._steps = steps
        self._banned = torch.tensor(sorted(banned), dtype=torch.long, device=steps.device)

    def step(self, tokens: Tensor, state: _Begun) -> tuple[Tensor, _Begun]:
        logits, inner = state.logits, state.state
        if logits is None:
            logits, inner = self._steps.step(tokens, inner)
        return logits.index_fill(1, self._banned, -torch.inf), _Begun(inner, None)

    def reorder(self, state: _Begun, index: Tensor) -> _Begun:
        logits = None if state.logits is None else state.logits.index_select(0, index)
        return _Begun(self._steps.reorder(state.state, index), logits)
