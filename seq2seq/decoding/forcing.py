"""Given beginnings: the first tokens of a source's hypotheses are not chosen, but forced."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from seq2seq.errors import UsageError


def check_beginnings(
    beginnings: Sequence[Sequence[int]], limits: Sequence[int], special: frozenset[int]
) -> None:
    """Raises ValueError unless there is a beginning for each source, no longer than its limit;
    UsageError for a ``special`` token in one."""
    if len(beginnings) != len(limits):
        raise ValueError(
            f"{len(beginnings)} beginnings for {len(limits)} sources; expected as many"
        )
    for source, (tokens, limit) in enumerate(zip(beginnings, limits, strict=True)):
        if len(tokens) > limit:
            raise ValueError(
                f"beginnings[{source}] has {len(tokens)} tokens; the maximum length is {limit}"
            )
        if wrong := special.intersection(tokens):
            raise UsageError(
                f"beginnings[{source}] holds token {min(wrong)}, which is never emitted in a "
                "sequence (bos, eos or pad)"
            )


def forced_now(
    beginnings: Sequence[Sequence[int]], sources: Sequence[int], beams: int, step: int
) -> tuple[list[int], list[int]]:
    """Which rows are forced in this step, and the token of each; ``beams`` rows a source."""
    rows: list[int] = []
    tokens: list[int] = []
    for position, source in enumerate(sources):
        if step < len(beginnings[source]):
            rows += range(position * beams, (position + 1) * beams)
            tokens += [beginnings[source][step]] * beams
    return rows, tokens


def force(
    gains: Tensor, tokens: Tensor, logits: Tensor, rows: list[int], forced: list[int]
) -> None:
    """Leave to each of ``rows`` its forced token alone, in place.

    gains, tokens (N, C) are candidates as ``candidates`` gives them; a forced token has its log P
    under logits (N, V), over the whole vocabulary.
    """
    index = torch.tensor(rows, device=logits.device)  # (n,)
    token = torch.tensor(forced, device=logits.device)  # (n,)
    part = logits[index]  # (n, V)
    log_p = part.to(gains.dtype).log_softmax(1).gather(1, token.unsqueeze(1)).squeeze(1)  # (n,)
    gains[index] = -torch.inf
    gains[index, 0] = log_p
    tokens[index, 0] = token
