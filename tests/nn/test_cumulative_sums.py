"""Running sums on every device."""

from __future__ import annotations

import pytest
import torch
from twelvefold.core.seeds import torch_generator
from twelvefold.nn.cumulative_sums import cumulative_sums


def test_sums_are_those_of_torch() -> None:
    x = torch.rand(3, 4, 7, generator=torch_generator(10_000, 0, "sums"))
    assert torch.equal(cumulative_sums(x), x.cumsum(-1))
    assert cumulative_sums(torch.ones(2, 3, dtype=torch.bool)).tolist() == [[1, 2, 3]] * 2


@pytest.mark.gpu
def test_on_cuda_they_are_those_of_the_cpu_in_the_deterministic_mode() -> None:
    x = torch.rand(3, 7, generator=torch_generator(10_000, 0, "sums"))
    torch.set_deterministic_debug_mode("error")
    try:
        with pytest.raises(RuntimeError, match="deterministic"):
            x.cuda().cumsum(-1)
        found = cumulative_sums(x.cuda())
    finally:
        torch.set_deterministic_debug_mode("default")
    assert found.is_cuda and torch.equal(found.cpu(), x.cumsum(-1))
