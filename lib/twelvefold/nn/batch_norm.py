"""Batch normalisation (Ioffe and Szegedy 2015) of networks stacked along a leading population axis, with padded rows
left out.

There is no running average. A pass in training uses the moments of its own batch and keeps them in a `Recorder`; for
evaluation, some training batches go through the trained network and `average` makes fixed moments of what their
recorders kept. So evaluation sees the moments of the weights that are evaluated, not a mixture over past weights:

    recorders = [Recorder() for batch in batches]
    for recorder, batch in zip(recorders, batches): forward(weights, batch, recorder)
    fixed = average([recorder.moments for recorder in recorders])
    outputs = forward(weights, test, fixed)
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor

from .stacked import Weights, draw_linear, draw_norm, linear

EPSILON = 1e-5  # added to the variance, as torch.nn.BatchNorm1d does


@dataclass(frozen=True)
class Recorder:
    """Asks for the moments of the batch itself and keeps them; one recorder serves one pass.

    Attributes:
        moments: `{name.mean, name.variance}`, each `[P, c]`, of every norm passed so far, detached; the variance is the
            unbiased one, although the pass itself divides by the biased one (as torch does).
    """

    moments: dict[str, Tensor] = field(default_factory=dict)


Moments = Mapping[str, Tensor] | Recorder


def batch_norm(weights: Weights, name: str, x: Tensor, moments: Moments, mask: Tensor | None = None) -> Tensor:
    """scale (x - mean) / sqrt(variance + 1e-5) + shift, per member and feature, over all rows of `[P, ..., c]`.

    Args:
        weights: has `name.scale` and `name.shift`, each `[P, c]` (see `stacked.draw_norm`).
        name: name of the norm.
        x: rows `[P, ..., c]`; all axes between the first and the last count rows.
        moments: a `Recorder` (training: mean and biased variance of the valid rows of this batch), or fixed moments
            `{name.mean, name.variance}` (evaluation).
        mask: bool `[P, ...]`, True for rows that count; None counts all. The other rows are mapped like the rest but
            do not enter the moments; their values must be finite. A member with one valid row is mapped to its shift.

    Raises:
        ValueError: x, mask or a weight of another shape, a mask that is not bool, fewer than two rows to take moments
            of, fixed moments that lack the name, or a recorder that has met the name before.
    """
    _check(weights, name, x, mask)
    scale, shift = weights[f"{name}.scale"], weights[f"{name}.shift"]
    if not isinstance(moments, Recorder):
        mean, variance = _fixed(moments, name, scale)
        return _normalised(x.reshape(len(x), -1, x.shape[-1]), mean, variance, scale, shift).view(x.shape)
    if f"{name}.mean" in moments.moments:
        raise ValueError(f"moments has recorded {name!r} before; every pass needs a Recorder of its own")
    rows = x.reshape(x.shape[0], -1, x.shape[-1])
    if rows.shape[1] < 2:
        raise ValueError(f"x has {rows.shape[1]} row(s) at {name!r}; moments of a batch need at least 2")
    if mask is None:
        normal, mean, variance = _over_all_rows(rows, scale, shift)
    else:
        normal, mean, variance = _over_valid_rows(rows, mask.reshape(rows.shape[:2]), scale, shift)
    moments.moments.update({f"{name}.mean": mean, f"{name}.variance": variance})
    return normal.view(x.shape)


def _check(weights: Weights, name: str, x: Tensor, mask: Tensor | None) -> None:
    shape = tuple(weights[f"{name}.scale"].shape)
    if x.ndim < 3 or (x.shape[0], x.shape[-1]) != shape:
        raise ValueError(f"x has shape {tuple(x.shape)} at {name!r}; [{shape[0]}, ..., {shape[1]}] is needed")
    if mask is not None and (mask.dtype != torch.bool or mask.shape != x.shape[:-1]):
        raise ValueError(f"mask is {mask.dtype} with shape {tuple(mask.shape)} at {name!r}; bool of shape "
                         f"{tuple(x.shape[:-1])} is needed")  # fmt: skip


def _fixed(moments: Mapping[str, Tensor], name: str, scale: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and variance `[P, c]` of a norm from fixed moments."""
    found = [moments.get(f"{name}.{part}") for part in ("mean", "variance")]
    shapes = [None if part is None else tuple(part.shape) for part in found]
    mean, variance = found
    if mean is None or variance is None or mean.shape != scale.shape or variance.shape != scale.shape:
        raise ValueError(f"moments has mean and variance of shapes {shapes} for {name!r}; both must be "
                         f"{tuple(scale.shape)}")  # fmt: skip
    return mean, variance


def _normalised(rows: Tensor, mean: Tensor, variance: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
    """The affine map of rows `[P, R, c]` by moments and weights `[P, c]`, as one product and one sum."""
    factor = scale * torch.rsqrt(variance + EPSILON)  # [P, c]
    return torch.addcmul((shift - mean * factor)[:, None], rows, factor[:, None])


def _over_all_rows(rows: Tensor, scale: Tensor, shift: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Rows `[P, R, c]` normalised by torch's own kernel: members and features together are its channels."""
    members, _, features = rows.shape
    mean, variance = torch.zeros_like(scale), torch.ones_like(scale)
    # with momentum 1 the kernel's running averages become the moments of this batch, the variance unbiased
    normal = F.batch_norm(rows.transpose(0, 1).flatten(1), mean.view(-1), variance.view(-1), scale.reshape(-1),
                          shift.reshape(-1), training=True, momentum=1.0, eps=EPSILON)  # [R, P c]  # fmt: skip
    return normal.unflatten(1, (members, features)).transpose(0, 1).contiguous(), mean, variance


def _over_valid_rows(rows: Tensor, mask: Tensor, scale: Tensor, shift: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Rows `[P, R, c]` normalised by the moments of those in the mask `[P, R]`."""
    valid = mask.to(rows.dtype)[:, :, None]  # [P, R, 1]
    number = valid.sum(1, keepdim=True)  # n, [P, 1, 1]
    share = valid / number.clamp(min=1)
    # sums, not torch.bmm: its rounding depends on the number of members
    mean = (share * rows).sum(1, keepdim=True)  # [P, 1, c]
    centred = rows - mean
    variance = (share * centred.square()).sum(1, keepdim=True)  # biased, [P, 1, c]
    normal = torch.addcmul(shift[:, None], centred, scale[:, None] * torch.rsqrt(variance + EPSILON))
    unbiased = variance.detach() * (number / (number - 1).clamp(min=1))
    return normal, mean.detach()[:, 0], unbiased[:, 0]


@torch.no_grad()
def average(batches: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """Fixed moments for evaluation: the mean over batches of each recorded mean and variance, `{name: [P, c]}`.

    It equals what torch.nn.BatchNorm1d(momentum=None) keeps after the same batches. Batches count alike, so they
    should be of one size.

    Raises:
        ValueError: no batch, or batches that differ in names or shapes.
    """
    shapes = [{name: tuple(moment.shape) for name, moment in batch.items()} for batch in batches]
    if not shapes or any(other != shapes[0] for other in shapes):
        raise ValueError(f"batches: {len(shapes)} were given; at least one is needed, all with the same names and "
                         "shapes")  # fmt: skip
    return {name: torch.stack([batch[name] for batch in batches]).mean(0) for name in batches[0]}


def linear_norm(weights: Weights, name: str, x: Tensor, moments: Moments, mask: Tensor | None = None) -> Tensor:
    """Linear, then batch normalisation, under one name: `[P, ..., d_in]` -> `[P, ..., d_out]`; see `batch_norm`."""
    return batch_norm(weights, name, linear(weights, name, x), moments, mask)


def draw_linear_norm(
    name: str, d_in: int, d_out: int, generator: torch.Generator, bias: bool = True
) -> dict[str, Tensor]:
    """Weights of `linear_norm` for one member."""
    return draw_linear(name, d_in, d_out, generator, bias) | draw_norm(name, d_out)


def norm_layers(
    weights: Weights, name: str, layers: Iterable[int], x: Tensor, moments: Moments, mask: Tensor | None = None
) -> Tensor:
    """Linear, batch normalisation and ReLU, once for every number in `layers`, of the layers named `name.0`, `name.1`,
    ...; see `batch_norm`."""
    for layer in layers:
        x = torch.relu(linear_norm(weights, f"{name}.{layer}", x, moments, mask))
    return x


def draw_norm_layers(
    name: str, sizes: Sequence[int], generator: torch.Generator, bias: bool = True
) -> dict[str, Tensor]:
    """Weights of `norm_layers` for one member: `sizes` are the input size and the size of every layer."""
    drawn: dict[str, Tensor] = {}
    for layer in range(len(sizes) - 1):
        drawn |= draw_linear_norm(f"{name}.{layer}", sizes[layer], sizes[layer + 1], generator, bias)
    return drawn
