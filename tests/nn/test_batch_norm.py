"""Batch normalisation of stacked networks, against torch.nn.BatchNorm1d of every member without its padding."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor, nn
from twelvefold.core.seeds import torch_generator
from twelvefold.nn.batch_norm import (
    Recorder,
    average,
    batch_norm,
    draw_linear_norm,
    draw_norm_layers,
    linear_norm,
    norm_layers,
)
from twelvefold.nn.stacked import draw_norm, stack

P, R, C = 3, 12, 5


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Sums depend on the number of threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def drawn(*shape: int, purpose: str = "x", dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(*shape, generator=torch_generator(10_000, len(shape), purpose), dtype=dtype)


def weights(dtype: torch.dtype = torch.float64) -> dict[str, Tensor]:
    return {f"norm.{part}": drawn(P, C, purpose=part, dtype=dtype) for part in ("scale", "shift")}


def row_mask() -> Tensor:
    """Members with 12, 7 and 2 valid rows, in no order."""
    order = torch.rand(P, R, generator=torch_generator(10_000, 0, "order")).argsort(1)
    return order < torch.tensor([12, 7, 2])[:, None]


def module(stacked: dict[str, Tensor], member: int, momentum: float | None = 1.0) -> nn.BatchNorm1d:
    norm = nn.BatchNorm1d(C, momentum=momentum).double()
    with torch.no_grad():
        norm.weight.copy_(stacked["norm.scale"][member])
        norm.bias.copy_(stacked["norm.shift"][member])
    return norm


@pytest.mark.parametrize("mask", [None, row_mask()], ids=["all rows", "padded"])
def test_training_equals_torch_on_the_valid_rows(mask: Tensor | None) -> None:
    stacked, x, recorder = weights(), drawn(P, R, C) * 3 + 2, Recorder()
    upstream = drawn(P, R, C, purpose="upstream")
    valid = torch.ones(P, R, dtype=torch.bool) if mask is None else mask
    for tensor in (x, *stacked.values()):
        tensor.requires_grad_()
    y = batch_norm(stacked, "norm", x, recorder, mask)
    (y * upstream)[valid].sum().backward()
    scale, shift = (stacked[f"norm.{part}"].grad for part in ("scale", "shift"))
    assert x.grad is not None and scale is not None and shift is not None
    for member in range(P):
        norm, rows = module(stacked, member), x[member][valid[member]].detach().requires_grad_()
        expected = norm(rows)
        (expected * upstream[member][valid[member]]).sum().backward()
        for ours, theirs in (
            (y[member][valid[member]], expected),
            (x.grad[member][valid[member]], rows.grad),
            (scale[member], norm.weight.grad),
            (shift[member], norm.bias.grad),
            (recorder.moments["norm.mean"][member], norm.running_mean),
            (recorder.moments["norm.variance"][member], norm.running_var),
        ):
            torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-9)
    assert not x.grad[~valid].any()
    assert not any(moment.requires_grad for moment in recorder.moments.values())


def test_average_of_batches_is_what_torch_accumulates() -> None:
    stacked, batches, masks = weights(), drawn(4, P, R, C), [row_mask(), None, row_mask().flip(1), None]
    recorders = [Recorder() for _ in batches]
    for recorder, x, mask in zip(recorders, batches, masks, strict=True):
        batch_norm(stacked, "norm", x, recorder, mask)
    fixed = average([recorder.moments for recorder in recorders])
    test = drawn(P, 4, C, purpose="test")
    y = batch_norm(stacked, "norm", test, fixed)
    for member in range(P):
        norm = module(stacked, member, momentum=None)
        for x, mask in zip(batches, masks, strict=True):
            norm(x[member] if mask is None else x[member][mask[member]])
        torch.testing.assert_close(fixed["norm.mean"][member], norm.running_mean, rtol=1e-9, atol=1e-9)
        torch.testing.assert_close(fixed["norm.variance"][member], norm.running_var, rtol=1e-9, atol=1e-9)
        torch.testing.assert_close(y[member], norm.eval()(test[member]), rtol=1e-9, atol=1e-9)


def test_evaluation_ignores_the_batch() -> None:
    stacked, fixed = weights(), {"norm.mean": drawn(P, C), "norm.variance": drawn(P, C).square()}
    x = drawn(P, R, C)
    whole = batch_norm(stacked, "norm", x, fixed, row_mask())
    assert torch.equal(whole[:, 3:5], batch_norm(stacked, "norm", x[:, 3:5], fixed))


@pytest.mark.parametrize("padded", [False, True])
@pytest.mark.parametrize("fixed", [False, True])
def test_middle_axes_are_rows(padded: bool, fixed: bool) -> None:
    stacked, x, mask = weights(), drawn(P, 3, 2, 2, C), row_mask().view(P, 3, 2, 2) if padded else None
    moments = {"norm.mean": drawn(P, C), "norm.variance": drawn(P, C).square()}
    y = batch_norm(stacked, "norm", x, moments if fixed else Recorder(), mask)
    flat = None if mask is None else mask.flatten(1)
    expected = batch_norm(stacked, "norm", x.flatten(1, 3), moments if fixed else Recorder(), flat)
    assert torch.equal(y.flatten(1, 3), expected)


@pytest.mark.parametrize("mask", [None, row_mask()], ids=["all rows", "padded"])
def test_a_member_computes_what_it_computes_alone(mask: Tensor | None) -> None:
    stacked, x, together = weights(torch.float32), drawn(P, R, C, dtype=torch.float32), Recorder()
    y = batch_norm(stacked, "norm", x, together, mask)
    for member in range(P):
        one, alone = slice(member, member + 1), Recorder()
        own = {name: weight[one] for name, weight in stacked.items()}
        assert torch.equal(y[one], batch_norm(own, "norm", x[one], alone, None if mask is None else mask[one]))
        assert all(torch.equal(together.moments[name][one], moment) for name, moment in alone.moments.items())


def test_a_member_with_one_valid_row_gives_its_shift() -> None:
    stacked, mask = weights(), torch.zeros(P, R, dtype=torch.bool)
    mask[:, 4] = True
    recorder = Recorder()
    y = batch_norm(stacked, "norm", drawn(P, R, C), recorder, mask)
    torch.testing.assert_close(y[:, 4], stacked["norm.shift"])
    assert all(moment.isfinite().all() for moment in recorder.moments.values())


def test_layers_are_linear_norm_and_relu() -> None:
    generator = torch_generator(10_000, 0, "layers")
    stacked = stack([draw_norm_layers("net", (4, 6, C), generator) for _ in range(P)])
    assert {name: tuple(weight.shape[1:]) for name, weight in stacked.items()} == {
        "net.0.weight": (4, 6), "net.0.bias": (6,), "net.0.scale": (6,), "net.0.shift": (6,),
        "net.1.weight": (6, C), "net.1.bias": (C,), "net.1.scale": (C,), "net.1.shift": (C,),
    }  # fmt: skip
    x = drawn(P, R, 4, dtype=torch.float32)
    y = norm_layers(stacked, "net", range(2), x, Recorder(), row_mask())
    for member in range(P):
        net = nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6), nn.ReLU(),
                            nn.Linear(6, C), nn.BatchNorm1d(C), nn.ReLU())  # fmt: skip
        for index, layer in ((0, net[0]), (1, net[3])):
            assert isinstance(layer, nn.Linear)
            layer.weight.data = stacked[f"net.{index}.weight"][member].T
            layer.bias.data = stacked[f"net.{index}.bias"][member]
        valid = row_mask()[member]
        torch.testing.assert_close(y[member][valid], net(x[member][valid]), rtol=1e-4, atol=1e-5)
    assert "one.bias" not in draw_linear_norm("one", 4, 6, generator, bias=False)
    assert linear_norm(stacked, "net.0", x, Recorder()).min() < 0  # no ReLU


def test_what_is_refused() -> None:
    stacked, x = stack([draw_norm("norm", C)] * P), torch.ones(P, R, C)
    with pytest.raises(ValueError, match=r"x has shape \(3, 12, 4\).*\[3, ..., 5\]"):
        batch_norm(stacked, "norm", x[..., :4], Recorder())
    with pytest.raises(ValueError, match="x has shape"):
        batch_norm(stacked, "norm", x[:2], Recorder())
    with pytest.raises(ValueError, match="x has shape"):
        batch_norm(stacked, "norm", x[:, 0], Recorder())
    with pytest.raises(ValueError, match="mask is torch.float32"):
        batch_norm(stacked, "norm", x, Recorder(), torch.ones(P, R))
    with pytest.raises(ValueError, match=r"mask is torch.bool with shape \(3, 11\)"):
        batch_norm(stacked, "norm", x, Recorder(), torch.ones(P, R - 1, dtype=torch.bool))
    with pytest.raises(ValueError, match=r"1 row\(s\)"):
        batch_norm(stacked, "norm", x[:, :1], Recorder())
    with pytest.raises(ValueError, match="both must be"):
        batch_norm(stacked, "norm", x, {"norm.mean": torch.zeros(P, C)})
    with pytest.raises(ValueError, match="both must be"):
        batch_norm(stacked, "norm", x, {"norm.mean": torch.zeros(P, C), "norm.variance": torch.zeros(C)})
    used = Recorder()
    batch_norm(stacked, "norm", x, used)
    with pytest.raises(ValueError, match="recorded 'norm' before"):
        batch_norm(stacked, "norm", x, used)
    for batches in ([], [used.moments, {}], [used.moments, {name: m[:2] for name, m in used.moments.items()}]):
        with pytest.raises(ValueError, match="batches"):
            average(batches)
