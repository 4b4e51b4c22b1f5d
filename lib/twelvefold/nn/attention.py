"""Multi-head attention between sets of rows, for batches of very many very small sets.

Between sets of some ten rows the fused kernels spend their time on the number of problems (batch x heads), not on
arithmetic. On a CPU the heads are therefore folded into the rows of one matrix product per set: h times the arithmetic
in a fraction of the time (10 queries, 32 keys, width 32, 320 sets, one core, forward and backward: 6 instead of 10 ms
with 2 heads, 10 instead of 17 ms with 4, no gain from 8 heads on or from sets of 50 rows).
"""

from __future__ import annotations

from functools import cache

import torch
import torch.nn.functional as F
from torch import Tensor

_FOLDED_HEADS = 4  # at most, on a CPU


def attention(query: Tensor, key: Tensor, value: Tensor, heads: int, blocked: Tensor | None = None) -> Tensor:
    """softmax(q k^T / sqrt(d_h)) v by heads (Vaswani et al. 2017, equation 1 and section 3.2.2).

    Args:
        query: `[R, N, d]`; head i owns the i-th part of the d columns.
        key, value: `[R, M, d]`.
        heads: h; divides d, d_h = d / h.
        blocked: added to the scores, `[R, 1, M]`: -inf where a key is not to be seen; each set needs a key that is.

    Returns:
        `[R, N, d]`.

    Raises:
        ValueError: shapes that do not fit, or heads that do not divide d.
    """
    if query.ndim != 3 or key.ndim != 3 or key.shape != value.shape or key.shape[::2] != query.shape[::2] \
            or heads < 1 or query.shape[2] % heads:
        raise ValueError(f"query {tuple(query.shape)}, key {tuple(key.shape)}, value {tuple(value.shape)}, heads = "
                         f"{heads}; [R, N, d], [R, M, d], [R, M, d] and a divisor of d are needed")  # fmt: skip
    if blocked is not None and blocked.shape != (key.shape[0], 1, key.shape[1]):
        raise ValueError(f"blocked has shape {tuple(blocked.shape)}; {(key.shape[0], 1, key.shape[1])} is needed")
    if query.device.type == "cpu" and heads <= _FOLDED_HEADS:
        return _folded(query, key, value, heads, blocked)
    q, k, v = (rows.unflatten(-1, (heads, -1)).transpose(1, 2) for rows in (query, key, value))  # [R, h, N, d_h]
    mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=None if blocked is None else blocked[:, None])
    return mixed.transpose(1, 2).reshape(query.shape)


@cache
def _columns(heads: int, width: int, dtype: torch.dtype) -> Tensor:
    """1 where a head owns a column, `[h, 1, d]`."""
    with torch.inference_mode(False):
        return torch.eye(heads, dtype=dtype).repeat_interleave(width // heads, 1)[:, None]


def _folded(query: Tensor, key: Tensor, value: Tensor, heads: int, blocked: Tensor | None) -> Tensor:
    """Attention with the heads as further rows of the query: each sees its own columns, the others are zero."""
    sets, rows, width = query.shape
    if heads == 1:
        own, separate = None, query * width**-0.5
    else:
        own = _columns(heads, width, query.dtype)
        separate = (query[:, None] * (own * (width // heads) ** -0.5)).view(sets, heads * rows, width)
    scores = torch.bmm(separate, key.transpose(1, 2))  # [R, h N, M]
    if blocked is not None:
        scores = scores + blocked
    mixed = torch.bmm(scores.softmax(-1), value)  # [R, h N, d]
    return mixed if own is None else (mixed.view(sets, heads, rows, width) * own).sum(1)
