"""Multi-head attention between sets against torch's own functions."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd import gradcheck
from twelvefold.core.seeds import torch_generator
from twelvefold.nn.attention import attention

SETS, QUERIES, KEYS, WIDTH = 6, 5, 7, 16
HEADS = [1, 2, 4, 8, 16]  # on both sides of where heads are folded into rows


def drawn(rows: int, purpose: str, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(SETS, rows, WIDTH, generator=torch_generator(10_000, 0, purpose), dtype=dtype)


def inputs(dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor, Tensor]:
    return drawn(QUERIES, "query", dtype), drawn(KEYS, "key", dtype), drawn(KEYS, "value", dtype)


def blocking(dtype: torch.dtype = torch.float64) -> Tensor:
    """-inf at 0 to 5 keys of a set."""
    return torch.zeros(SETS, 1, KEYS, dtype=dtype).masked_fill(
        torch.arange(KEYS) < torch.arange(SETS)[:, None, None], -math.inf
    )


@pytest.mark.parametrize("heads", HEADS)
@pytest.mark.parametrize("blocked", [None, blocking()], ids=["all keys", "blocked"])
def test_values_and_gradients_equal_scaled_dot_products(heads, blocked):
    leaves = [part.requires_grad_() for part in inputs()]
    apart = [part.view(SETS, -1, heads, WIDTH // heads).transpose(1, 2) for part in leaves]
    mask = None if blocked is None else blocked[:, None]
    expected = F.scaled_dot_product_attention(*apart, attn_mask=mask).transpose(1, 2).reshape(SETS, QUERIES, WIDTH)
    found = attention(*leaves, heads, blocked)
    torch.testing.assert_close(found, expected, atol=1e-12, rtol=1e-12)
    upstream = drawn(QUERIES, "upstream")
    for one, other in zip(*(torch.autograd.grad(value, leaves, upstream) for value in (found, expected)), strict=True):
        torch.testing.assert_close(one, other, atol=1e-12, rtol=1e-12)


@pytest.mark.parametrize("heads", HEADS)
@pytest.mark.parametrize("padded", [False, True])
def test_it_equals_multi_head_attention_between_projections(heads, padded):
    module = torch.nn.MultiheadAttention(WIDTH, heads, batch_first=True, dtype=torch.float32)
    query, source = drawn(QUERIES, "query", torch.float32), drawn(KEYS, "source", torch.float32)
    blocked = blocking(torch.float32) if padded else None
    generator = torch_generator(10_000, 0, "weights")
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) / 4)
        hidden = None if blocked is None else blocked[:, 0].isinf()
        expected, _ = module(query, source, source, key_padding_mask=hidden, need_weights=True)
        parts = zip((query, source, source), module.in_proj_weight.chunk(3), module.in_proj_bias.chunk(3), strict=True)
        projected = [F.linear(rows, weight, bias) for rows, weight, bias in parts]
        found = module.out_proj(attention(*projected, heads, blocked))
    torch.testing.assert_close(found, expected, atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize("heads", [1, 4, 8])
def test_gradients_equal_finite_differences(heads):
    leaves = tuple(part[:2].requires_grad_() for part in inputs())
    assert gradcheck(lambda q, k, v: attention(q, k, v, heads, blocking()[2:4]), leaves, fast_mode=True)


@pytest.mark.parametrize("heads", HEADS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_blocked_keys_equal_keys_that_are_deleted(heads, dtype):
    query, key, value = inputs(dtype)
    found = attention(query, key, value, heads, blocking(dtype))
    assert found.dtype == dtype
    for i in range(SETS):
        alone = attention(query[i : i + 1], key[i : i + 1, i:], value[i : i + 1, i:], heads)
        torch.testing.assert_close(found[i], alone[0], atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize("heads", HEADS)
def test_rows_in_another_order(heads):
    query, key, value = inputs()
    found = attention(query, key, value, heads)
    torch.testing.assert_close(attention(query.flip(1), key, value, heads), found.flip(1), atol=1e-12, rtol=1e-12)
    torch.testing.assert_close(attention(query, key.flip(1), value.flip(1), heads), found, atol=1e-12, rtol=1e-12)


def test_a_first_call_without_gradients_does_no_harm():
    with torch.inference_mode():
        attention(*inputs(torch.float32), 2)
    leaves = [part.requires_grad_() for part in inputs(torch.float32)]
    attention(*leaves, 2).sum().backward()
    assert all(leaf.grad is not None for leaf in leaves)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"heads": 3}, "a divisor of d"),
        ({"heads": 0}, "a divisor of d"),
        ({"heads": -2}, "a divisor of d"),
        ({"query": torch.zeros(5, 16)}, r"query \(5, 16\)"),
        ({"query": torch.zeros(6, 5, 8)}, r"query \(6, 5, 8\)"),
        ({"key": torch.zeros(5, 7, 16)}, r"key \(5, 7, 16\)"),
        ({"value": torch.zeros(6, 6, 16)}, r"value \(6, 6, 16\)"),
        ({"key": torch.zeros(16), "value": torch.zeros(16)}, r"key \(16,\)"),
        ({"blocked": torch.zeros(6, 7)}, r"blocked has shape \(6, 7\)"),
        ({"blocked": torch.zeros(6, 1, 5)}, r"blocked has shape \(6, 1, 5\)"),
    ],
)
def test_shapes_that_do_not_fit_are_refused(change, words):
    query, key, value = inputs(torch.float32)
    with pytest.raises(ValueError, match=words):
        attention(**({"query": query, "key": key, "value": value, "heads": 2} | change))
