"""Stacked layers against torch.nn modules with the same weights, and members together against each alone."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import pytest
import torch
from torch import Tensor, nn
from twelvefold.core.seeds import torch_generator
from twelvefold.nn.stacked import (
    count,
    draw_linear,
    draw_norm,
    draw_two_layers,
    layer_norm,
    layout,
    linear,
    stack,
    two_layers,
)

P, D_IN, HIDDEN, D_OUT = 3, 5, 7, 4
SHAPES = [(P, D_IN), (P, 6, D_IN), (P, 2, 6, D_IN), (P, 2, 3, 4, D_IN)]


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Sums depend on the number of threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def drawn(*shape: int, purpose: str = "x", dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(*shape, generator=torch_generator(10_000, len(shape), purpose), dtype=dtype)


def members(draw: Callable[[torch.Generator], dict[str, Tensor]]) -> dict[str, Tensor]:
    return stack([draw(torch_generator(10_000, member, "weights")) for member in range(P)])


def as_linear(weights: dict[str, Tensor], name: str, member: int) -> nn.Linear:
    matrix, bias = weights[f"{name}.weight"][member], weights.get(f"{name}.bias")
    module = nn.Linear(*matrix.shape, bias=bias is not None)
    with torch.no_grad():
        module.weight.copy_(matrix.T)
        if bias is not None:
            module.bias.copy_(bias[member])
    return module


def compared(found: Callable[[dict[str, Tensor], Tensor], Tensor], weights: dict[str, Tensor], x: Tensor,
             module: Callable[[int], nn.Module]) -> None:  # fmt: skip
    """Values and gradients of the input against modules, one by one."""
    leaf = x.clone().requires_grad_()
    value = found(weights, leaf)
    upstream = drawn(*value.shape, purpose="upstream")
    (gradient,) = torch.autograd.grad(value, leaf, upstream)
    for member in range(P):
        own = x[member].clone().requires_grad_()
        expected = module(member)(own)
        torch.testing.assert_close(value[member], expected, atol=1e-6, rtol=1e-5)
        torch.testing.assert_close(
            gradient[member], torch.autograd.grad(expected, own, upstream[member])[0], atol=1e-6, rtol=1e-5
        )


# --- against torch.nn


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("bias", [True, False])
def test_linear_equals_torch(shape, bias):
    weights = members(lambda generator: draw_linear("head", D_IN, D_OUT, generator, bias))
    assert set(weights) == ({"head.weight", "head.bias"} if bias else {"head.weight"})
    compared(lambda w, x: linear(w, "head", x), weights, drawn(*shape), lambda m: as_linear(weights, "head", m))


def test_linear_of_rows_that_are_not_contiguous():
    weights = members(lambda generator: draw_linear("head", D_IN, D_OUT, generator))
    x = drawn(P, D_IN, 6, 2).permute(0, 3, 2, 1)
    torch.testing.assert_close(linear(weights, "head", x), linear(weights, "head", x.contiguous()))


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("epsilon", [1e-5, 1e-2])
def test_layer_norm_equals_torch(shape, epsilon):
    weights = {f"norm.{part}": drawn(P, D_IN, purpose=part) for part in ("scale", "shift")}

    def module(member: int) -> nn.Module:
        norm = nn.LayerNorm(D_IN, eps=epsilon)
        with torch.no_grad():
            norm.weight.copy_(weights["norm.scale"][member])
            norm.bias.copy_(weights["norm.shift"][member])
        return norm

    compared(lambda w, x: layer_norm(w, "norm", x, epsilon), weights, drawn(*shape) * 3 + 1, module)


def test_a_drawn_norm_changes_nothing_else():
    x = drawn(P, 6, D_IN)
    found = layer_norm(stack([draw_norm("norm", D_IN)] * P), "norm", x)
    torch.testing.assert_close(found, nn.functional.layer_norm(x, (D_IN,)))


@pytest.mark.parametrize("shape", SHAPES)
def test_two_layers_equal_torch(shape):
    weights = members(lambda generator: draw_two_layers("mlp", D_IN, HIDDEN, D_OUT, generator))
    compared(lambda w, x: two_layers(w, "mlp", x), weights, drawn(*shape),
             lambda m: nn.Sequential(as_linear(weights, "mlp.in", m), nn.ReLU(), as_linear(weights, "mlp.out", m)))


def test_gradients_of_the_weights_equal_finite_differences():
    weights = members(lambda generator: draw_two_layers("mlp", D_IN, HIDDEN, D_OUT, generator)) | {
        f"norm.{part}": drawn(P, D_OUT, purpose=part) for part in ("scale", "shift")
    }
    names, x = list(weights), drawn(P, 2, 3, D_IN).double()

    def network(*values: Tensor) -> Tensor:
        own = dict(zip(names, values, strict=True))
        return layer_norm(own, "norm", two_layers(own, "mlp", x))

    leaves = tuple(weight.double().requires_grad_() for weight in weights.values())
    assert torch.autograd.gradcheck(network, leaves, fast_mode=True)


# --- members do not interact


@pytest.mark.parametrize("rows", [1, 6, 50])
def test_members_together_equal_each_alone_bit_for_bit(rows):
    weights = members(lambda generator: draw_two_layers("mlp", 24, 37, 24, generator) | draw_norm("norm", 24))
    x = drawn(P, 4, rows, 24)
    together = layer_norm(weights, "norm", two_layers(weights, "mlp", x))
    for member in range(P):
        own = {name: weight[member : member + 1] for name, weight in weights.items()}
        alone = layer_norm(own, "norm", two_layers(own, "mlp", x[member : member + 1]))
        assert torch.equal(alone[0], together[member])


# --- drawing and joining


@pytest.mark.parametrize("width", [4, 100])
def test_draws_are_uniform_within_one_over_the_root(width):
    drawing = draw_linear("head", width, 2_000, torch_generator(10_000, 0, "draw"))
    bound = 1 / math.sqrt(width)
    for weight in drawing.values():
        assert weight.abs().max() <= bound and weight.abs().max() > 0.98 * bound
        assert weight.mean().abs() < 0.1 * bound
        assert weight.std().item() == pytest.approx(bound / math.sqrt(3), rel=0.05)
    again = draw_linear("head", width, 2_000, torch_generator(10_000, 0, "draw"))
    assert all(torch.equal(again[name], weight) for name, weight in drawing.items())


def test_stacking_joins_members_in_order():
    parts = [draw_linear("head", 2, 3, torch_generator(10_000, member, "w")) for member in range(4)]
    stacked = stack(parts)
    assert stacked["head.weight"].shape == (4, 2, 3)
    for member in range(4):
        assert torch.equal(stacked["head.bias"][member], parts[member]["head.bias"])


def test_layout_and_count():
    weights = members(lambda generator: draw_two_layers("mlp", 5, 7, 4, generator) | draw_norm("norm", 4))
    places = layout(weights)
    assert places.total == count(weights) == 5 * 7 + 7 + 7 * 4 + 4 + 8
    assert count(weights, ["mlp.in"]) == 42 and count(weights, ("norm", "mlp.out")) == 40 and count(weights, ["x"]) == 0
    back = places.unpack(places.pack(weights))
    assert all(torch.equal(back[name], weight) for name, weight in weights.items())


@pytest.mark.parametrize(
    "parts", [[], [draw_norm("a", 2), draw_norm("b", 2)], [draw_norm("a", 2), draw_norm("a", 3)]]
)
def test_members_that_do_not_fit_are_refused(parts):
    with pytest.raises(ValueError, match=f"members: {len(parts)} were given"):
        stack(parts)


def test_a_weight_that_is_missing_is_named():
    with pytest.raises(KeyError, match="head.weight"):
        linear({}, "head", drawn(P, D_IN))
    with pytest.raises(KeyError, match="norm.scale"):
        layer_norm({}, "norm", drawn(P, D_IN))
