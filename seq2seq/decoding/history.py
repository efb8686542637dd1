"""The tokens fed to the model so far, as a tree of back-pointers."""

from __future__ import annotations

import itertools

import torch
from torch import Tensor


class History:
    """One node for each row of each step: the token fed, the node of the step before, and log P
    of the sequence up to it.

    Search only appends; paths are walked once, at the end, for the hypotheses that are
    returned. The root of each source holds bos.
    """

    def __init__(self) -> None:
        self._size = 0
        self._tokens: list[Tensor] = []
        self._parents: list[Tensor] = []
        self._log_p: list[Tensor] = []
        self._attention: list[Tensor] = []

    def add(self, tokens: Tensor, parents: Tensor, log_p: Tensor) -> Tensor:
        """Append the rows of a step: tokens, parent nodes, log P (N,). Returns their nodes (N,)."""
        nodes = torch.arange(self._size, self._size + len(tokens), device=tokens.device)
        self._size += len(tokens)
        self._tokens.append(tokens)
        self._parents.append(parents)
        self._log_p.append(log_p)
        return nodes

    def add_attention(self, attention: Tensor) -> None:
        """What the rows just added attended to: (N, S)."""
        self._attention.append(attention.clone())  # the model may reuse its memory

    def read(self) -> Paths:
        """Everything at once to the host."""
        return Paths(
            torch.cat(self._tokens).tolist(),
            torch.cat(self._parents).tolist(),
            torch.cat(self._log_p).tolist(),
            torch.cat(self._attention).cpu() if self._attention else None,
        )


class Paths:
    """A History on the host."""

    def __init__(
        self,
        tokens: list[int],
        parents: list[int],
        log_p: list[float],
        attention: Tensor | None,
    ) -> None:
        self._tokens, self._parents = tokens, parents
        self._log_p, self._attention = log_p, attention

    def path(self, node: int) -> list[int]:
        """The nodes from the root, which holds bos, to ``node``."""
        found = []
        while node >= 0:
            found.append(node)
            node = self._parents[node]
        return found[::-1]

    def tokens(self, path: list[int]) -> list[int]:
        """The tokens after bos."""
        return [self._tokens[node] for node in path[1:]]

    def token_scores(self, path: list[int], log_p: float, finished: bool) -> list[float]:
        """log P of each token after bos, and with ``finished`` of eos; ``log_p``: their sum."""
        reached = [self._log_p[node] for node in path] + ([log_p] if finished else [])
        return [after - before for before, after in itertools.pairwise(reached)]

    def attention(self, path: list[int], finished: bool) -> Tensor | None:
        """The attention rows of the steps that gave the tokens after bos, and with ``finished``
        of the step that gave eos."""
        if self._attention is None:
            return None
        # The attention kept with a node is that of the step it was fed to: the next token's.
        return self._attention[path if finished else path[:-1]]
