"""Point Completion Network (Yuan et al. 2018, "PCN: Point Completion Network", 3DV) for points of any dimension, as a
stacked population.

The encoder takes the maximum over the points twice, the second time of features that know the first maximum. The
decoder writes a coarse cloud in one go and puts a small folded grid around each of its points. Where the paper
concatenates a vector per cloud with a vector per point before a Linear, the Linear is split instead, W [u; v] =
W_u u + W_v v, so that the part of the cloud is computed once per cloud and not once per point.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from twelvefold.nn.batch_norm import Moments, batch_norm, draw_linear_norm, draw_norm_layers, linear_norm, norm_layers
from twelvefold.nn.stacked import Weights, draw_linear, linear

from .deepsets import check_sizes, pool, zero_padded


@dataclass(frozen=True)
class PCN:
    """A Point Completion Network.

    Attributes:
        dimension: d, coordinates of a point.
        dense: number of points of the fine cloud; a multiple of grid^2.
        latent: size of the vector that describes a cloud.
        point_widths: sizes of the two layers before the first maximum.
        shared_width: size of the layer between the two maxima.
        decoder: sizes of the hidden layers (Linear and ReLU) that lead to the coarse cloud.
        folding: sizes of the hidden layers that move the grid points.
        grid: points on one side of the grid.
        half_width: the grid covers [-half_width, half_width] in both directions.

    Raises:
        ValueError: a size that is not a positive whole number, other than two point widths, `dense` that grid^2 does
            not divide, or a negative half width.
    """

    dimension: int = 2
    dense: int = 16_384
    latent: int = 1024
    point_widths: tuple[int, int] = (128, 256)
    shared_width: int = 512
    decoder: tuple[int, ...] = (1024, 1024)
    folding: tuple[int, ...] = (512, 512)
    grid: int = 4
    half_width: float = 0.05

    def __post_init__(self) -> None:
        for name in ("dimension", "dense", "latent", "shared_width", "grid"):
            check_sizes(name, [getattr(self, name)])
        for name in ("point_widths", "decoder", "folding"):
            check_sizes(name, getattr(self, name))
        if len(self.point_widths) != 2:
            raise ValueError(f"point_widths = {self.point_widths}; two sizes are needed")
        if self.dense % self.grid**2:
            raise ValueError(f"dense = {self.dense}; a multiple of grid^2 = {self.grid**2} is needed")
        if not self.half_width >= 0:
            raise ValueError(f"half_width = {self.half_width}; a number that is not negative is needed")

    @property
    def coarse(self) -> int:
        """C, number of points of the coarse cloud."""
        return self.dense // self.grid**2


def draw(config: PCN, generator: torch.Generator) -> dict[str, Tensor]:
    """Weights of one member, `{name: [*shape]}`, by torch.nn.Linear's default initialisation."""
    first, second = config.point_widths
    drawn = draw_linear_norm("points.in", config.dimension, first, generator)
    drawn |= draw_linear("points.out", first, second, generator)
    drawn |= draw_linear_norm("shared.in", 2 * second, config.shared_width, generator)
    drawn |= draw_linear("shared.out", config.shared_width, config.latent, generator)
    sizes = (config.latent, *config.decoder, config.dimension * config.coarse)
    for layer in range(len(sizes) - 1):
        drawn |= draw_linear(f"decoder.{layer}", sizes[layer], sizes[layer + 1], generator)
    drawn |= draw_norm_layers("folding", (config.latent + 2 + config.dimension, *config.folding), generator)
    return drawn | draw_linear("folding.out", config.folding[-1], config.dimension, generator)


def complete(
    config: PCN, weights: Weights, clouds: Tensor, mask: Tensor | None, moments: Moments
) -> tuple[Tensor, Tensor]:
    """The coarse cloud `[P, B, C, d]` and the fine cloud `[P, B, grid^2 C, d]`, in which the grid^2 points around one
    coarse point follow each other.

    Args:
        config: the architecture.
        weights: stacked weights of P members.
        clouds: observed points `[P, B, M, d]`.
        mask: bool `[P, B, M]`, True for points, False for padding; None: no padding.
        moments: a `Recorder` in training, fixed moments in evaluation.

    Raises:
        ValueError: as `zero_padded` and `batch_norm`.
    """
    x = zero_padded(weights, clouds, mask, config.dimension)
    code = _encode(weights, x, mask, moments)
    coarse = _coarse(config, weights, code)
    return coarse, _fine(config, weights, code, coarse, moments)


def _encode(weights: Weights, x: Tensor, mask: Tensor | None, moments: Moments) -> Tensor:
    """The latent vector `[P, B, latent]` of clouds `[P, B, M, d]`."""
    x = linear(weights, "points.out", torch.relu(linear_norm(weights, "points.in", x, moments, mask)))
    whole = pool(x, mask, "max")[:, :, None]  # [P, B, 1, c]
    x = batch_norm(weights, "shared.in", _joined_linear(weights, "shared.in", [whole, x]), moments, mask)
    return pool(linear(weights, "shared.out", torch.relu(x)), mask, "max")


def _coarse(config: PCN, weights: Weights, code: Tensor) -> Tensor:
    """The coarse cloud `[P, B, C, d]` of latent vectors `[P, B, latent]`."""
    for layer in range(len(config.decoder)):
        code = torch.relu(linear(weights, f"decoder.{layer}", code))
    return linear(weights, f"decoder.{len(config.decoder)}", code).unflatten(-1, (config.coarse, config.dimension))


def _fine(config: PCN, weights: Weights, code: Tensor, coarse: Tensor, moments: Moments) -> Tensor:
    """Every coarse point `[P, B, C, d]` with the folded grid around it: `[P, B, grid^2 C, d]`."""
    centre = coarse[:, :, :, None]  # [P, B, C, 1, d]
    grid = _grid(config, coarse).expand(coarse.shape[0], 1, 1, -1, -1)  # [P, 1, 1, grid^2, 2]
    x = _joined_linear(weights, "folding.0", [code[:, :, None, None], centre, grid])
    x = torch.relu(batch_norm(weights, "folding.0", x, moments))
    x = norm_layers(weights, "folding", range(1, len(config.folding)), x, moments)
    return (centre + linear(weights, "folding.out", x)).flatten(2, 3)


def _grid(config: PCN, like: Tensor) -> Tensor:
    """The points of the grid, `[grid^2, 2]`; the first coordinate runs fastest."""
    side = torch.linspace(-config.half_width, config.half_width, config.grid, dtype=like.dtype, device=like.device)
    return torch.cartesian_prod(side, side).flip(1)


def _joined_linear(weights: Weights, name: str, parts: Sequence[Tensor]) -> Tensor:
    """`linear` of the concatenation of parts `[P, ..., c_i]`, whose middle axes are broadcast against each other."""
    matrices = weights[f"{name}.weight"].split([part.shape[-1] for part in parts], dim=1)
    total = linear({f"{name}.weight": matrices[0], f"{name}.bias": weights[f"{name}.bias"]}, name, parts[0])
    for part, matrix in zip(parts[1:], matrices[1:], strict=True):
        total = total + linear({f"{name}.weight": matrix}, name, part)
    return total
