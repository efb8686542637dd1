"""The best hypotheses found so far, for many sources at once."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass
class NBest:
    """Lists of hypotheses, one list (n) for each of b sources: every field is (b, n).

    Where a list is shorter than n, log_p and score are -inf.
    """

    score: Tensor
    log_p: Tensor
    node: Tensor  # in the history: the last token of the hypothesis
    finished: Tensor  # bool

    @staticmethod
    def empty(sources: int, size: int, device: torch.device) -> NBest:
        none = torch.full((sources, size), -torch.inf, device=device)
        node = torch.full((sources, size), -1, device=device)
        return NBest(none, none, node, torch.zeros_like(none, dtype=torch.bool))

    def take(self, index: Tensor) -> NBest:
        """The lists of the sources ``index``."""
        return NBest(self.score[index], self.log_p[index], self.node[index], self.finished[index])

    def ranked_with(self, other: NBest) -> NBest:
        """The best n of both by score; of equals those of ``self``."""
        size = self.score.shape[1]
        both = self._join(other)
        return both._pick(_descending(both.score)[:, :size])

    def filled_with(self, other: NBest) -> NBest:
        """All of ``self``, then the best of ``other`` by score until there are n."""
        size = self.score.shape[1]
        both = self._join(other._pick(_descending(other.score)))
        present = (both.log_p > -torch.inf).to(torch.uint8)
        return both._pick(_descending(present)[:, :size])

    def _join(self, other: NBest) -> NBest:
        return NBest(
            torch.cat([self.score, other.score], 1),
            torch.cat([self.log_p, other.log_p], 1),
            torch.cat([self.node, other.node], 1),
            torch.cat([self.finished, other.finished], 1),
        )

    def _pick(self, order: Tensor) -> NBest:
        """The entries ``order`` (b, m) of each list."""
        return NBest(
            self.score.gather(1, order),
            self.log_p.gather(1, order),
            self.node.gather(1, order),
            self.finished.gather(1, order),
        )


def _descending(key: Tensor) -> Tensor:
    """The order of each row of key (b, m) by falling value; equals stay in their order."""
    return key.sort(dim=1, descending=True, stable=True).indices
