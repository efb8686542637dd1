"""The best next tokens of each row, or of all rows of a source, with their log probabilities.

Over (320, 8000) logits, 64 sources with a beam of 5, the vocabulary is what search costs: so
the logits are read once (block maxima, sum of exponentials), no other (N, V) tensor is made, and
all later work is on the few blocks of columns that hold the best.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

BLOCK = 64  # columns per block: 64 was the fastest of 32..512 at V = 8000
PART = 1 << 17  # logits at a time on the CPU: 512 KB, which stay in a core's cache
_LOG2_E = math.log2(math.e)
_ONE_THREAD = 511 * BLOCK  # elements: just below what PyTorch shares out among threads
SAFE = 60.0  # exp(60) * V and exp(-60) are normal numbers of float32


def candidates(
    logits: Tensor,
    count: int,
    *,
    eos: int,
    forbidden: frozenset[int],
    allow_eos: bool,
    allowed: Tensor | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    """The ``count`` best tokens besides eos, and eos where it is among or above them.

    logits (N, V); forbidden: tokens never emitted; allowed (N, V): the logits with -inf for what a
    row may not emit, where there is such. Returns

    log_p   (N, C) log softmax(logits) over the whole vocabulary; -inf for what may not be emitted
    tokens  (N, C) ascending in each row, so that a stable sort breaks ties by token
    sound   (N,)   False where the logits give no probabilities (NaN, +inf, all -inf)

    with C = count + 1 + len(forbidden), or V where that is less.
    """
    logits = logits.contiguous()
    if logits.device.type != "cpu":
        logits = _single(logits)
    maxima, normaliser = scan(logits)  # (N, V/64), (N, 1)
    most = count + 1 + len(forbidden)
    if allowed is not None:
        values, tokens = top_tokens(allowed, most, block_maxima(allowed))  # (N, C) each
    else:
        values, tokens = top_tokens(logits, most, maxima)
    barred = forbidden if allow_eos else forbidden | {eos}
    log_p = values - normaliser  # (N, C)
    for token in barred:
        log_p = log_p.masked_fill(tokens == token, -torch.inf)
    return log_p, tokens, normaliser.squeeze(1).isfinite()


def best_of_sources(
    logits: Tensor,
    log_p: Tensor,
    count: int,
    *,
    barred: frozenset[int],
    allowed: Tensor | None = None,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The ``count`` best extensions of each source by a token that is not ``barred``: those of
    ``candidates`` for all its rows, ranked by log P of the whole, at a fraction of the time.

    logits (b * R, V), allowed: as in ``candidates``; log_p (b, R) of the hypotheses. Returns

    total   (b, M) log_p + log softmax(logits), descending; -inf where there are no more
    token   (b, M)
    row     (b, M) 0 .. R-1; of equals the lower row, then the lower token comes first
    sound   (b * R,) as in ``candidates``

    with M = count, or less where there is less to choose from. As in ``top_tokens`` the search is
    within the blocks with the largest maxima, here of all rows of a source.
    """
    logits = logits.contiguous()
    if logits.device.type != "cpu":
        logits = _single(logits)
    maxima, normaliser = scan(logits)  # (N, V/64), (N, 1)
    source = logits if allowed is None else allowed.contiguous()
    if allowed is not None:
        maxima = _single(block_maxima(source))
    barred = _bar_blocks(source, maxima, barred)
    (b, rows), blocks = log_p.shape, maxima.shape[1]
    reached = log_p.unsqueeze(2) + (maxima - normaliser).view(b, rows, blocks)  # (b, R, V/64)
    _, best = _top(reached.flatten(1), count)  # (b, M')
    row = best // blocks  # (b, M')
    values, tokens = _blocks_of(source, best - row * blocks, row)  # (b, M', 64) each
    total = log_p.gather(1, row).unsqueeze(2) + (
        values - normaliser.view(b, rows).gather(1, row).unsqueeze(2)
    )
    for one in barred:
        total = total.masked_fill(tokens == one, -torch.inf)
    total, position = _top(total.flatten(1), count)  # (b, M) ascending by row, then token
    total, order = total.sort(dim=1, descending=True, stable=True)
    position = position.gather(1, order)
    token, row = tokens.flatten(1).gather(1, position), row.gather(1, position >> _SHIFT)
    return total, token, row, normaliser.squeeze(1).isfinite()


def best_of_rows(logits: Tensor, *, barred: frozenset[int]) -> tuple[Tensor, Tensor, Tensor]:
    """The best token of each row of logits (N, V) that is not ``barred``: ``best_of_sources`` for
    sources of one row and a count of one, at a third of the operations. Returns

    log_p   (N,) log softmax(logits) of it; -inf where there is none
    token   (N,) of equals the lower
    sound   (N,) as in ``candidates``
    """
    logits = logits.contiguous()
    if logits.device.type != "cpu":
        logits = _single(logits)
    maxima, normaliser = scan(logits)  # (N, V/64), (N, 1)
    barred = _bar_blocks(logits, maxima, barred)
    best = maxima.max(1, keepdim=True).indices  # (N, 1) the lowest of equals
    values, tokens = _blocks_of(logits, best, torch.zeros_like(best))  # (N, 1, 64) each
    for one in barred:
        values = values.masked_fill(tokens == one, -torch.inf)
    value, position = values.squeeze(1).max(1, keepdim=True)  # (N, 1)
    token = tokens.squeeze(1).gather(1, position).squeeze(1)  # (N,)
    return (value - normaliser).squeeze(1), token, normaliser.squeeze(1).isfinite()


def _bar_blocks(source: Tensor, maxima: Tensor, barred: frozenset[int]) -> frozenset[int]:
    """Mend maxima (N, V/64), in place, for tokens that are barred; returns those that exist."""
    barred = frozenset(token for token in barred if 0 <= token < source.shape[1])
    for block in {token // BLOCK for token in barred}:
        columns = _without(_single(source[:, block * BLOCK : (block + 1) * BLOCK]), barred, block)
        maxima[:, block] = columns.amax(1)
    return barred


def _without(columns: Tensor, barred: frozenset[int], block: int) -> Tensor:
    """The columns (N, 64) of a block, -inf in those that are barred."""
    inside = [token - block * BLOCK for token in barred if token // BLOCK == block]
    return columns.index_fill(1, torch.tensor(inside, device=columns.device), -torch.inf)


def _blocks_of(logits: Tensor, block: Tensor, row: Tensor) -> tuple[Tensor, Tensor]:
    """Values and tokens (b, M, 64) of blocks (b, M) in rows (b, M) of each source; logits
    (b * R, V); -inf behind the last token."""
    width, rows = logits.shape[1], len(logits) // len(row)
    first = torch.arange(0, len(logits), rows, device=row.device).unsqueeze(1)  # (b, 1)
    tokens = (block << _SHIFT).unsqueeze(2) + torch.arange(BLOCK, device=row.device)  # (b, M, 64)
    if width % BLOCK == 0:  # one list of blocks for all rows: the fastest gather
        blocks = logits.view(-1, BLOCK)
        values = F.embedding((first + row) * (width // BLOCK) + block, blocks)
        return _single(values), tokens
    index = (first + row).unsqueeze(2) * width + tokens.clamp(max=width - 1)
    values = _single(logits.view(-1)[index])
    return values.masked_fill(tokens >= width, -torch.inf), tokens


def scan(logits: Tensor) -> tuple[Tensor, Tensor]:
    """One pass over logits (N, V): ``block_maxima``, and log sum_v exp(logits_v) (N, 1).

    On the CPU a few rows at a time, because exponentials that leave the cache cost more than
    their arithmetic; and straight from the logits where the maxima are of moderate size, since
    subtracting the maximum only guards against overflow and underflow.
    """
    if logits.device.type != "cpu":
        return block_maxima(logits), logits.logsumexp(1, keepdim=True)
    width = logits.shape[1]
    rows = max(1, PART // width)
    dtype = torch.promote_types(logits.dtype, torch.float32)
    scratch = logits.new_zeros(min(rows, len(logits)), -(-width // BLOCK) * BLOCK, dtype=dtype)
    block_parts, sum_parts = [], []
    for part in logits.split(rows):
        single = part if part.dtype == dtype else scratch[: len(part), :width].copy_(part)
        block_parts.append(block_maxima(single))
        powers = torch.mul(single, _LOG2_E, out=scratch[: len(part), :width])
        _exp2_(scratch[: len(part)])
        sum_parts.append(powers.sum(1, keepdim=True))
    maxima, sums = torch.cat(block_parts), torch.cat(sum_parts)
    largest = maxima.amax(1, keepdim=True)  # (N, 1)
    if bool((largest.abs() < SAFE).all()):  # False for NaN
        return maxima, sums.log_()
    return maxima, _single(logits).logsumexp(1, keepdim=True)


def _exp2_(x: Tensor) -> None:
    """2^x in place; x is contiguous and its rows are whole blocks.

    exp2 takes a quarter of the time of exp. PyTorch computes whole vectors of it, and what is left
    at the end of a thread's share by another function, whose last bit may differ. So there must be
    nothing left: else a row's sum would depend on where the row stands.
    """
    for part in x.view(-1).split(_ONE_THREAD):
        part.exp2_()


def block_maxima(logits: Tensor) -> Tensor:
    """(N, V) -> (N, ceil(V / 64)): the largest of every 64 columns, NaN where one is."""
    width = logits.shape[1]
    whole = width // BLOCK
    maxima = logits[:, : whole * BLOCK].unflatten(1, (whole, BLOCK)).amax(2)
    if whole * BLOCK < width:
        maxima = torch.cat([maxima, logits[:, whole * BLOCK :].amax(1, keepdim=True)], 1)
    return maxima


def top_tokens(logits: Tensor, count: int, maxima: Tensor) -> tuple[Tensor, Tensor]:
    """Values and columns (N, C) of the C = min(count, V) largest logits (N, V) of each row.

    maxima (N, V/64): ``block_maxima`` of the logits. Columns ascend. On the CPU, of equal values
    the lower column is taken; elsewhere which one is open, but the same whatever the other rows.

    For large V the search is within the ``count`` blocks with the largest maxima, of equal ones
    the lower. What is outside of them has ``count`` values before it: the maxima of these blocks,
    each of which is larger, or equal and in a lower column.
    """
    rows, width = logits.shape
    if width < 4 * BLOCK * count:
        return _top(_single(logits), count)
    whole = width // BLOCK
    blocks = logits[:, : whole * BLOCK].unflatten(1, (whole, BLOCK))  # (N, V/64, 64)
    _, best = _top(maxima[:, :whole], count)  # (N, C)
    if whole * BLOCK == width:  # one list of blocks for all rows: the fastest gather
        first = torch.arange(0, rows * whole, whole, device=best.device).unsqueeze(1)  # (N, 1)
        pool = F.embedding(best + first, blocks.flatten(0, 1)).flatten(1)  # (N, C*64)
    else:  # and the columns after the last whole block
        row = torch.arange(rows, device=best.device).unsqueeze(1)  # (N, 1)
        pool = torch.cat([blocks[row, best].flatten(1), logits[:, whole * BLOCK :]], 1)
        best = torch.cat([best, best.new_full((rows, 1), whole)], 1)
    values, position = _top(_single(pool), count)
    # position // 64 by a shift: a division of whole numbers takes ten times as long
    block = best.gather(1, position >> _SHIFT)  # (N, C)
    return values, (block << _SHIFT) + (position & (BLOCK - 1))


_SHIFT = BLOCK.bit_length() - 1


def _top(x: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Values and columns (N, C) of the C = min(count, M) largest of each row of x (N, M); columns
    ascend; ties as in ``top_tokens``."""
    count = min(count, x.shape[1])
    values, columns = x.topk(min(count + 1, x.shape[1]), dim=1)  # descending
    # Which of several equal values topk takes is not specified. It matters only where a tie
    # straddles the cut. On an accelerator the question would cost a synchronisation.
    if count < x.shape[1] and x.device.type == "cpu":
        cut = values[:, count - 1]  # (N,)
        tied = ((cut == values[:, count]) & (cut > -torch.inf)).nonzero().squeeze(1)  # (n,)
        if len(tied):
            above = (values[tied, :count] > cut[tied].unsqueeze(1)).sum(1)  # (n,)
            row, position, column = _lowest_equal(x[tied], cut[tied], above, count)
            columns[tied[row], position] = column
    columns, order = columns[:, :count].sort(1)
    return values[:, :count].gather(1, order), columns


def _lowest_equal(
    x: Tensor, cut: Tensor, above: Tensor, count: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Which columns of x (n, M) that equal ``cut`` (n,) are among the ``count`` first of a row.

    ``above`` (n,) values are larger than the cut; the equal ones come after them, the lowest
    columns first, to the places above .. count - 1. Returns rows, places and columns, one each.
    """
    row, column = (x == cut.unsqueeze(1)).nonzero(as_tuple=True)  # ascending by row, then column
    first = torch.searchsorted(row, torch.arange(len(x)))  # (n,) where a row's begin
    position = torch.arange(len(row)) - first[row] + above[row]
    kept = position < count
    return row[kept], position[kept], column[kept]


def _single(logits: Tensor) -> Tensor:
    """In at least single precision."""
    return logits.to(torch.promote_types(logits.dtype, torch.float32))
