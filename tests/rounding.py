"""Whether a member's numbers can be the same bits alone and in a population on this machine.

MKL rounds a small matrix product by where its operands lie in memory on some processors (seen on AMD EPYC, sizes that
are not multiples of 8). There a member alone agrees with itself in a population up to rounding only.
"""

from __future__ import annotations

from functools import cache

import torch


@cache
def placement_matters() -> bool:
    """Whether `torch.bmm` gives other bits for a member when other members stand before it."""
    generator = torch.Generator().manual_seed(0)
    for rows, inner, columns in ((5, 8, 11), (15, 16, 11), (7, 24, 11)):
        left = torch.randn(4, rows, inner, generator=generator)
        right = torch.randn(4, inner, columns, generator=generator)
        whole = torch.bmm(left, right)
        alone = [torch.bmm(left[i : i + 1], right[i : i + 1])[0] for i in range(4)]
        if not all(torch.equal(*pair) for pair in zip(alone, whole, strict=True)):
            return True
    return False


def same_numbers(left: torch.Tensor, right: torch.Tensor, tolerance: float = 1e-5) -> bool:
    """The same bits; where placement matters, the same up to rounding."""
    if not placement_matters() or not left.is_floating_point():
        return torch.equal(left, right)
    return torch.allclose(left, right, rtol=tolerance, atol=tolerance)
