"""The tokens fed to the model so far, as a tree of back-pointers."""

from __future__ import annotations

import torch
from torch import Tensor


class History:
    """One node for each row of each step: the token fed, and the node of the step before.

    Search only appends; paths are walked once, at the end, for the hypotheses that are
    returned. The root of each source holds bos.
    """

    def __init__(self) -> None:
        self._size = 0
        self._tokens: list[Tensor] = []
        self._parents: list[Tensor] = []
        self._attention: list[Tensor] = []

    def add(self, tokens: Tensor, parents: Tensor) -> Tensor:
        """Append the rows of a step: tokens and parent nodes (N,). Returns their nodes (N,)."""
        nodes = torch.arange(self._size, self._size + len(tokens), device=tokens.device)
        self._size += len(tokens)
        self._tokens.append(tokens)
        self._parents.append(parents)
        return nodes

    def add_attention(self, attention: Tensor) -> None:
        """What the rows just added attended to: (N, S)."""
        self._attention.append(attention.clone())  # the model may reuse its memory

    def read(self) -> Paths:
        """Everything at once to the host."""
        return Paths(
            torch.cat(self._tokens).tolist(),
            torch.cat(self._parents).tolist(),
            torch.cat(self._attention).cpu() if self._attention else None,
        )


class Paths:
    """A History on the host."""

    def __init__(self, tokens: list[int], parents: list[int], attention: Tensor | None) -> None:
        self._tokens, self._parents, self._attention = tokens, parents, attention

    def sequence(self, node: int, finished: bool) -> tuple[list[int], Tensor | None]:
        """Tokens after bos up to ``node``, and the attention rows of the steps that gave them.

        With ``finished`` also the row of the step after ``node``, which gave eos.
        """
        path = []
        while node >= 0:
            path.append(node)
            node = self._parents[node]
        path.reverse()
        tokens = [self._tokens[node] for node in path[1:]]
        if self._attention is None:
            return tokens, None
        # The attention kept with a node is that of the step it was fed to: the next token's.
        return tokens, self._attention[path if finished else path[:-1]]
