"""The search of a translator: subwords of the sources in, hypotheses out, batch by batch."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from seq2seq.decoding import Hypothesis, Sampling, beam_search, greedy_search
from seq2seq.decoding.contract import SearchArguments, StepModel
from seq2seq.decoding.drawing import draw_sequences, sources_together
from seq2seq.decoding.narrow import Part, Whole
from seq2seq.decoding.sampling import row_key
from seq2seq.errors import RunError
from seq2seq.layers.evaluating import evaluating
from seq2seq.precision import DecodingPrecision, products
from seq2seq.tasks.translation.conditions import Conditions, check_room
from seq2seq.tasks.translation.config import DecodingConfig
from seq2seq.tasks.translation.ensemble import AnyModel, device_of, in_int8, start_narrow
from seq2seq.tasks.translation.search_batches import batches, length_limits, padded
from seq2seq.tasks.translation.shortlist import Shortlist
from seq2seq.text.sentencepiece import Tokenizer

# A longer text is cut, with a warning: memory and time grow with the square of the length (the
# attention of every target step over every source token), and a model trained on sentences has
# nothing to say beyond.
MAX_SOURCE_TOKENS = 1024

_log = logging.getLogger("seq2seq")


@dataclass(frozen=True)
class Machine:
    """A model ready to search, the tokens around a target text, the source's padding, and what
    sources may be translated with (None: all words)."""

    model: AnyModel
    weights: Any  # of model.decoding_weights()
    target: Tokenizer
    source_pad: int
    shortlist: Shortlist | None = None

    @property
    def device(self) -> torch.device:
        return device_of(self.model)

    def begin(self, sources: list[list[int]], more: list[list[int]]) -> Begun:
        """Encode a batch; ``more``: words that each translation may hold whatever its source."""
        source = padded(sources, self.source_pad, self.device)
        model, size = self.model, len(self.target)
        if self.shortlist is None:
            return Begun(model, model.start(source, self.weights), Whole(), source[1])
        part = self.shortlist.part(sources, more, size, self.device)
        return Begun(*start_narrow(model, source, self.weights, part), part, source[1])


@dataclass(frozen=True)
class Begun:
    """A batch that is encoded: what searches it, in the tokens of ``vocabulary``."""

    model: StepModel
    state: Any
    vocabulary: Whole | Part
    source_lengths: torch.Tensor  # (B,)


@contextlib.contextmanager
def prepared_machine(
    model: AnyModel,
    target: Tokenizer,
    source_pad: int,
    precision: DecodingPrecision,
    shortlist: Shortlist | None = None,
) -> Iterator[Machine]:
    """The model in evaluation mode, its weights prepared for steps in ``precision``. One in int8
    stays so. Raises UsageError for int8 where the machine has none."""
    device = device_of(model)
    if precision == "int8":
        model = in_int8(model)
    with torch.inference_mode(), evaluating(model), products(device, precision):
        weights: Any = model.decoding_weights()
        yield Machine(model, weights, target, source_pad, shortlist)


def encode_sources(
    texts: Sequence[str],
    tokenizer: Tokenizer,
    first_line: int,
    longest: int = MAX_SOURCE_TOKENS,
    done: str = "translated",
) -> list[list[int]]:
    """The subwords of each text, those beyond ``longest`` left out with a warning; ``done``: what
    happens to the others."""
    sources = tokenizer.encode_batch(texts)
    for number, ids in enumerate(sources, start=first_line):
        if len(ids) > longest:
            _log.warning(
                "line %d has %d subwords; only the first %d are %s: split it into sentences%s",
                number,
                len(ids),
                longest,
                done,
                " (--split-sentences)" if done == "translated" else "",
            )
            del ids[longest:]
    return sources


def search_all(
    machine: Machine,
    sources: list[list[int]],
    conditions: Conditions,
    settings: DecodingConfig,
    n_best: int,
    attention: bool,
    first_line: int,
) -> Iterator[tuple[int, list[Hypothesis]]]:
    """Search all sources, those of like length together: the position of each source that is not
    empty, and its hypotheses, in the order of the search."""
    limits = _limits(sources, settings, conditions.beginnings)
    filled = [i for i, ids in enumerate(sources) if ids]
    check_room(
        conditions.take(filled), [limits[i] for i in filled], [first_line + i for i in filled]
    )
    for batch in batches([len(ids) for ids in sources], settings.batch_size):
        found = _search(
            machine,
            [sources[i] for i in batch],
            [limits[i] for i in batch],
            conditions.take(batch),
            settings,
            n_best,
            attention,
        )
        yield from zip(batch, found, strict=True)


def sample_all(
    machine: Machine,
    sources: list[list[int]],
    settings: DecodingConfig,
    samples: int,
    sampling: Sampling,
    seed: int,
) -> Iterator[tuple[int, list[Hypothesis]]]:
    """``search_all`` for sequences that are drawn."""
    size = sources_together(settings.batch_size, settings.beam_size, samples)
    for batch in batches([len(ids) for ids in sources], size):
        given = [sources[i] for i in batch]
        begun = machine.begin(given, [[] for _ in given])
        vocabulary = begun.vocabulary
        drawn = draw_sequences(
            begun.model,
            begun.state,
            keys=[[row_key(seed, n, ids) for n in range(samples)] for ids in given],
            max_lengths=torch.tensor(length_limits(given, settings), device=machine.device),  # (B,)
            bos=vocabulary.position(machine.target.bos),
            eos=vocabulary.position(machine.target.eos),
            pad=vocabulary.position(machine.target.pad),
            options=sampling,
        )
        found = [[vocabulary.original(one) for one in some] for some in drawn]
        yield from zip(batch, found, strict=True)


def _limits(
    sources: list[list[int]], settings: DecodingConfig, beginnings: list[list[int]] | None
) -> list[int]:
    limits = length_limits(sources, settings)
    if beginnings is None:
        return limits
    extra = settings.max_length_extra  # room for what comes after a long one
    pairs = zip(limits, beginnings, strict=True)
    return [max(limit, len(given) + extra) for limit, given in pairs]


def _search(
    machine: Machine,
    sources: list[list[int]],
    limits: list[int],
    conditions: Conditions,
    settings: DecodingConfig,
    n_best: int,
    attention: bool,
) -> list[list[Hypothesis]]:
    """One batch."""
    target, device = machine.target, machine.device
    try:
        begun = machine.begin(sources, conditions.words(len(sources)))
        vocabulary = begun.vocabulary
        common: SearchArguments = {
            "sources": len(sources),
            "max_lengths": torch.tensor(limits, device=device),  # (B,)
            "bos": vocabulary.position(target.bos),
            "eos": vocabulary.position(target.eos),
            "pad": vocabulary.position(target.pad),
            "min_length": settings.min_length,
            "no_repeat_ngram": settings.no_repeat_ngram,
            "return_attention": attention,
            "beginnings": vocabulary.beginnings(conditions.beginnings),
            "constraints": vocabulary.constraints(conditions.constraints),
        }
        found = _hypotheses(begun, common, settings, n_best)
    except torch.OutOfMemoryError:
        raise RunError(
            f"{device}: out of memory with {len(sources)} sentences of up to "
            f"{max(map(len, sources))} subwords, beam {settings.beam_size}; use a smaller batch or "
            "beam"
        ) from None
    return [[vocabulary.original(one) for one in some] for some in found]


def _hypotheses(
    begun: Begun, common: SearchArguments, settings: DecodingConfig, n_best: int
) -> list[list[Hypothesis]]:
    model, state = begun.model, begun.state
    if settings.beam_size == 1 and settings.coverage_penalty == 0:
        return [[hypothesis] for hypothesis in greedy_search(model, state, **common)]
    return beam_search(
        model,
        state,
        **common,
        beam_size=settings.beam_size,
        length_penalty=settings.length_penalty,
        coverage_penalty=settings.coverage_penalty,
        groups=settings.beam_groups,
        diversity=settings.diversity,
        n_best=n_best,
        source_lengths=begun.source_lengths,
    )
