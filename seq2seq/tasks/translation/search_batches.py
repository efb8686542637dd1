"""The texts of a call as batches that a search can hold."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from seq2seq.tasks.translation.config import DecodingConfig

# Padded source tokens of a batch. With beam 5 and 512 units, keys and values of that many take
# about 170 MB.
MAX_BATCH_TOKENS = 8192
_LONGEST = 2**31  # tokens of a translation: what an index can hold, far beyond any text


def batches(lengths: list[int], batch_size: int) -> Iterator[list[int]]:
    """Positions in ``lengths`` as batches of like length, the longest first; zeros left out.

    The longest come first so that a batch too large for the memory fails at once, not at the end.
    """
    order = sorted((i for i, n in enumerate(lengths) if n), key=lambda i: -lengths[i])
    while order:
        rows = max(1, min(batch_size, MAX_BATCH_TOKENS // lengths[order[0]]))
        yield order[:rows]
        order = order[rows:]


def padded(
    sources: list[list[int]], pad: int, device: torch.device
) -> tuple[torch.Tensor, torch.Tensor]:
    """Tokens (B, S) and lengths (B,) on ``device``."""
    lengths = [len(ids) for ids in sources]
    tokens = torch.full((len(sources), max(lengths)), pad)
    for row, ids in enumerate(sources):
        tokens[row, : len(ids)] = torch.tensor(ids)
    return tokens.to(device), torch.tensor(lengths, device=device)


def length_limits(sources: list[list[int]], settings: DecodingConfig) -> list[int]:
    """The most target tokens of each source, the end not counted; no fewer than it must have."""
    ratio, extra = settings.max_length_ratio, min(settings.max_length_extra, _LONGEST)
    most = (int(min(ratio * len(ids), _LONGEST)) + extra for ids in sources)
    return [max(one, min(settings.min_length, _LONGEST)) for one in most]
