"""How likely each of several texts is, where they begin alike."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch

from seq2seq.tasks.generation.stepping import LanguageSteps

_ROWS = 64  # endings read side by side: so few that a row's bits do not depend on the others


@dataclass(frozen=True)
class Alternatives:
    """A beginning of at least one unit, and several endings of at least one unit each."""

    beginning: Sequence[int]
    endings: Sequence[Sequence[int]]


def alternatives(texts: Sequence[Sequence[int]], most: int) -> Alternatives:
    """Texts of units that begin alike, parted where they differ, or earlier: after ``most``
    units."""
    count = min(most, min(map(len, texts)) - 1)
    for place in range(count):
        if len({text[place] for text in texts}) > 1:
            count = place
            break
    return Alternatives(texts[0][:count], [text[count:] for text in texts])


def score_endings(steps: LanguageSteps, groups: Sequence[Alternatives]) -> list[list[float]]:
    """log p(ending | beginning) of each ending of each group. A beginning is read once for all its
    endings. The result of a group does not depend on the others."""
    scores: list[list[float]] = [[] for _ in groups]
    for part in _parts(groups):
        for (number, _), found in zip(part, _score(steps, [g for _, g in part]), strict=True):
            scores[number] += found
    return scores


def _parts(groups: Sequence[Alternatives]) -> Iterator[list[tuple[int, Alternatives]]]:
    """Groups, with their numbers, that have at most ``_ROWS`` endings together; a larger group
    comes in several parts."""
    part: list[tuple[int, Alternatives]] = []
    rows = 0
    for number, group in enumerate(groups):
        for at in range(0, len(group.endings), _ROWS):
            endings = group.endings[at : at + _ROWS]
            if rows + len(endings) > _ROWS:
                yield part
                part, rows = [], 0
            part.append((number, Alternatives(group.beginning, endings)))
            rows += len(endings)
    if part:
        yield part


def _score(steps: LanguageSteps, groups: list[Alternatives]) -> list[list[float]]:
    logits, state = steps.start([list(group.beginning) for group in groups])
    rows = [(g, n, e) for g, group in enumerate(groups) for n, e in enumerate(group.endings)]
    rows.sort(key=lambda row: -len(row[2]))  # the longest first
    endings = [ending for _, _, ending in rows]
    index = torch.tensor([g for g, _, _ in rows], device=steps.device)
    with torch.inference_mode():
        first = torch.tensor([ending[0] for ending in endings], device=steps.device)
        totals = logits.log_softmax(1)[index, first].cpu().double()  # (R,)
        state = steps.reorder(state, index)
        for t in range(1, len(endings[0])):
            active = sum(len(ending) > t for ending in endings)  # the first rows
            fed = torch.tensor([e[t - 1] for e in endings[:active]], device=steps.device)
            expected = torch.tensor([[e[t]] for e in endings[:active]], device=steps.device)
            logits, _ = steps.step(fed, state.take(active))  # changes the state in place
            chosen = logits.gather(1, expected).squeeze(1)  # (A,)
            totals[:active] += (chosen - logits.logsumexp(1)).cpu()
    scores = [[0.0] * len(group.endings) for group in groups]
    for (g, n, _), total in zip(rows, totals.tolist(), strict=True):
        scores[g][n] = total
    return scores
