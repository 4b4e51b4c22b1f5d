"""Random networks with random clouds on which gradients are checked, and their equilibria.

A replicate is one random network with one random cloud, one start of the particles and one random readout. Families
change the network in a fixed way; replicate r has the same draws in every family.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from twelvefold.core.seeds import torch_generator
from twelvefold.nn.fixed_points import iterate
from twelvefold.nn.stacked import Weights, draw_linear, linear, stack
from twelvefold.papers.ddeq.equilibrium import applied
from twelvefold.papers.ddeq.gradients import Apply, equilibrium_permutation, permuted
from twelvefold.papers.ddeq.network import NetworkConfig, draw_network, encode

CONVERGED = 1e-8  # root mean square over particles of ||z_i - F(Z)_p(i)||
CLASSES = 10


@dataclass(frozen=True)
class Family:
    """How the drawn weights are changed.

    Attributes:
        factor: on every weight matrix (not on biases and norms).
        repulsion: c; the self-attention of the particles gets output and value maps with W_V W_O = -c I, so that every
            particle is pushed away from the mean it attends to. 0 leaves the drawn maps.
    """

    factor: float = 1.0
    repulsion: float = 0.0


FAMILIES: dict[str, Family] = {
    "as drawn": Family(), "doubled": Family(factor=2.0), "repelling": Family(repulsion=1.0),
}  # fmt: skip


def family_weights(config: NetworkConfig, weights: Weights, family: Family) -> dict[str, Tensor]:
    """The weights of one member, changed as the family says; other names keep their tensors.

    Raises:
        ValueError: a factor that is not positive, or a negative repulsion.
    """
    if not family.factor > 0 or not family.repulsion >= 0:
        raise ValueError(f"family = {family}; factor > 0 and repulsion >= 0 are needed")
    made = {name: weight * family.factor if name.endswith("weight") else weight for name, weight in weights.items()}
    if family.repulsion:
        for layer in range(config.self_layers):
            value = made[f"z.self.{layer}.in.weight"][..., 2 * config.width :]  # W_V [d, d]
            made[f"z.self.{layer}.mix.weight"] = -family.repulsion * torch.linalg.inv(value)
    return made


@dataclass(frozen=True)
class Problem:
    """Networks with one cloud each, as one population.

    Attributes:
        config: sizes of F.
        weights: `{name: [P, *shape]}`.
        clouds: `[P, 1, M, d_x]`.
        start: particles at step 0, `[P, 1, N, d_z]`.
        head: readout of each member, `head.weight [P, d_z, 10]` and `head.bias [P, 10]`.
        labels: int64 `[P, 1]`.
    """

    config: NetworkConfig
    weights: dict[str, Tensor]
    clouds: Tensor
    start: Tensor
    head: dict[str, Tensor]
    labels: Tensor

    def apply(self, weights: Weights | None = None) -> Apply:
        """Z -> F(Z; X), by default without a graph to the weights."""
        used = self.weights if weights is None else weights
        return applied(self.config, used, encode(self.config, used, self.clouds))

    def loss(self, particles: Tensor) -> Tensor:
        """Cross-entropy `[P]` of a linear readout of the maximum over particles, the paper's head."""
        logits = linear(self.head, "head", particles.amax(2))  # [P, B, 10]
        single = F.cross_entropy(logits.flatten(0, 1), self.labels.flatten(), reduction="none")
        return single.view(len(particles), -1).sum(1)

    def repeated(self, times: int) -> Problem:
        """Every member `times` times in a row, without its weights."""
        clouds, start, labels = (x.repeat_interleave(times, 0) for x in (self.clouds, self.start, self.labels))
        head = {name: weight.repeat_interleave(times, 0) for name, weight in self.head.items()}
        return Problem(self.config, {}, clouds, start, head, labels)


def draw_problem(
    config: NetworkConfig, families: Sequence[Family], seed: int, replicates: Sequence[int], *, particles: int,
    points: int, device: str | torch.device = "cpu", dtype: torch.dtype = torch.float64,
) -> Problem:  # fmt: skip
    """Draw replicates in several families: member f R + r is replicate r in family f.

    Args:
        config: sizes of F.
        families: changes of the drawn weights.
        seed: base seed. replicates: their numbers.
        particles: N, standard normal at step 0 as in the paper.
        points: M, standard normal.

    Raises:
        ValueError: no family or replicate, or sizes below 1.
    """
    if not families or not replicates or particles < 1 or points < 1:
        raise ValueError(f"{len(families)} families, {len(replicates)} replicates, particles = {particles}, points = "
                         f"{points}; at least one of each is needed")  # fmt: skip
    drawn = [_draw_replicate(config, seed, replicate, particles, points) for replicate in replicates]
    weights = stack([family_weights(config, one["weights"], family) for family in families for one in drawn])
    head = stack([one["head"] for _ in families for one in drawn])
    clouds, start, labels = (torch.stack([one[name] for _ in families for one in drawn])[:, None]
                             for name in ("cloud", "start", "label"))  # fmt: skip
    where: dict[str, Any] = {"device": device, "dtype": dtype}
    return Problem(
        config, {name: weight.to(**where) for name, weight in weights.items()}, clouds.to(**where), start.to(**where),
        {name: weight.to(**where) for name, weight in head.items()}, labels.to(device),
    )  # fmt: skip


def _draw_replicate(config: NetworkConfig, seed: int, replicate: int, particles: int, points: int) -> dict[str, Any]:
    def generator(purpose: str) -> torch.Generator:
        return torch_generator(seed, replicate, f"gradient check: {purpose}")

    return {
        "weights": draw_network(config, generator("network")),
        "head": draw_linear("head", config.width, CLASSES, generator("readout")),
        "cloud": torch.randn(points, config.dimension, generator=generator("cloud")),
        "start": torch.randn(particles, config.width, generator=generator("particles")),
        "label": torch.randint(CLASSES, (), generator=generator("label")),
    }


@dataclass(frozen=True)
class Found:
    """Particles `[P, 1, N, d]`, the permutation in Z = P^T F(Z) `[P, 1, N]`, and two residuals `[P]`: of the rows as
    they stand, and of the rows so permuted."""

    particles: Tensor
    permutation: Tensor
    by_rows: Tensor
    residual: Tensor

    @property
    def converged(self) -> Tensor:
        """bool `[P]`."""
        return self.residual < CONVERGED


def found_at(apply: Apply, particles: Tensor) -> Found:
    """What F says about particles: how its image matches them, and how far from an equilibrium they are."""
    with torch.no_grad():
        image = apply(particles)
    order = equilibrium_permutation(particles, image)
    by_rows, matching = (
        (particles - rows)[:, 0].square().sum(-1).mean(-1).sqrt() for rows in (image, permuted(image, order))
    )
    return Found(particles, order, by_rows, matching)


def polished(apply: Apply, particles: Tensor, steps: int) -> Found:
    """Iterate Z <- P^T F(Z) with the permutation of the first Z, so that permuted equilibria are found, too."""
    order = found_at(apply, particles).permutation
    with torch.no_grad():
        return found_at(apply, iterate(lambda z: permuted(apply(z), order), particles, steps))
