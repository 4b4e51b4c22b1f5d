"""Training networks that complete clouds with holes, as populations; `completion_scores` scores them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from twelvefold.core.checkpoint import Checkpoint
from twelvefold.core.seeds import torch_generator
from twelvefold.nn.batch_norm import Recorder, average
from twelvefold.nn.counter_random import mask_keys
from twelvefold.nn.learning_rate import learning_rate
from twelvefold.nn.stacked import Weights, stack
from twelvefold.nn.stacked_training import Optimiser, train
from twelvefold.ot.discrepancy import chamfer, energy_distance
from twelvefold.papers.ddeq.baselines import pcn
from twelvefold.papers.ddeq.cloud_batches import Order, Stacked, stacked
from twelvefold.papers.ddeq.completion_clouds import Holed, entropy, holed_members
from twelvefold.papers.ddeq.equilibrium import Equilibrium, Solver, equilibrium
from twelvefold.papers.ddeq.flow_embedding import decode, draw_embedding, embed
from twelvefold.papers.ddeq.network import NetworkConfig, draw_network

KINDS = ("ddeq", "pcn")
ALPHAS = (0.01, 0.1, 0.5, 1.0)  # weight of the fine cloud in the loss of PCN, stage by stage
_WEIGHT, _MOMENT = "weight/", "moment/"
_MOMENT_BATCHES = 10
Config = NetworkConfig | pcn.PCN


def architecture(kind: str, sizes: Mapping[str, Any]) -> Config:
    """Sizes of a completion network for points in the plane: "ddeq" (F; a coupling layer of its width comes with it)
    or "pcn".

    Raises:
        ValueError: an unknown kind, or sizes that do not fit.
    """
    if kind not in KINDS:
        raise ValueError(f"kind = {kind!r}; known are {list(KINDS)}")
    if kind == "ddeq":
        return NetworkConfig(**sizes)
    lists = {name: tuple(value) for name, value in sizes.items() if isinstance(value, list | tuple)}
    return pcn.PCN(**(dict(sizes) | lists))


def draw_completion(config: Config, generator: torch.Generator) -> dict[str, Tensor]:
    """Draw the weights of one member; those of a distributional equilibrium model are F and the coupling layer."""
    if isinstance(config, NetworkConfig):
        return draw_network(config, generator) | draw_embedding(config.width, generator)
    return pcn.draw(config, generator)


def train_completion(
    kind: str, sizes: dict[str, Any], data: dict[str, Any], recipe: dict[str, Any], solver: dict[str, Any] | None,
    seed: int, members: list[int], device: str | torch.device = "cpu", checkpoint: Checkpoint | None = None,
) -> dict[str, Any]:  # fmt: skip
    """Train the members of a population of completion networks.

    Every member has its own split, order, holes (cut anew at every update), free particles and initial weights.

    Args:
        kind, sizes: see `architecture`.
        data: `name`, `train`, `test` (see `cloud_batches.splits`); `observed`, `points` and `test_points`: at most so
            many points are seen, make the truth in training, and make the truth of a test (see `holed`).
        recipe: `steps`, `batch`, `learning_rate`, `warmup` (updates), `decay` ("cosine", "linear", "constant", or
            "step": times `factor` every `every` epochs), `clip`; of "ddeq" `entropy` (weight of the entropy of the free
            points in the loss) and `late` (None, or `from_epoch` and the changes of the solver from then on); of "pcn"
            `alpha_at` (updates at which the next of `ALPHAS` comes in).
        solver: of the inner problem, see `equilibrium.Solver`; None for "pcn". 0 steps is one application of F.
        seed, members: base seed and replicates.

    Returns:
        final weights and moments of batch normalisation under names that `trained` finds.
    """
    config = architecture(kind, sizes)
    training, _ = stacked(data["name"], seed, members, data["train"], data["test"], None)
    order = Order(seed, members, training.labels.shape[1], recipe["batch"])
    batches = _batches(training, order, data, seed, members, device)
    weights = stack([draw_completion(config, torch_generator(seed, member, "initial weights")) for member in members])
    if isinstance(config, NetworkConfig):
        assert solver is not None
        keys = mask_keys(seed, members, "dropout").to(device)
        loss = _equilibrium_loss(config, batches, _solvers(solver, recipe, order), recipe["entropy"], keys)
    else:
        loss = _pcn_loss(config, batches, recipe["alpha_at"])
    made = train(loss, {name: weight.to(device) for name, weight in weights.items()},
                 _optimiser(recipe, order.per_epoch), checkpoint=checkpoint, label=f"training {kind}")  # fmt: skip
    moments = {} if isinstance(config, NetworkConfig) else _moments(config, made.weights, batches, order)
    return {_WEIGHT + name: value for name, value in made.weights.items()} | {
        _MOMENT + name: value for name, value in moments.items()
    }


def _batches(
    training: Stacked, order: Order, data: Mapping[str, Any], seed: int, members: Sequence[int],
    device: str | torch.device,
) -> Callable[[int], Holed]:  # fmt: skip
    """The clouds of update `step` with fresh holes and free particles."""

    def batch(step: int) -> Holed:
        rows = training.rows(order(step))
        return holed_members(rows, seed, members, f"holes {step}", data["observed"], data["points"]).to(device)

    return batch


def _solvers(solver: Mapping[str, Any], recipe: Mapping[str, Any], order: Order) -> Callable[[int], Solver]:
    """The inner solver of every update; late in training it may be a more careful one (the authors' schedule)."""
    late = dict(recipe.get("late") or {"from_epoch": recipe["steps"]})
    first = late.pop("from_epoch") * order.per_epoch
    early, careful = Solver(**solver), Solver(**(dict(solver) | late))
    return lambda step: careful if step >= first else early


def _optimiser(recipe: Mapping[str, Any], per_epoch: int) -> Optimiser:
    steps, peak = recipe["steps"], recipe["learning_rate"]

    def rate(step: int) -> float:
        if recipe["decay"] == "step":
            return float(peak * recipe["factor"] ** (step // per_epoch // recipe["every"]))
        return learning_rate(step, peak=peak, steps=steps, warmup=recipe["warmup"], decay=recipe["decay"])

    return Optimiser(steps, rate, clip=recipe["clip"])


def completed(
    config: NetworkConfig, weights: Weights, batch: Holed, solver: Solver, keys: Tensor | None = None, draw: int = 0
) -> Equilibrium:
    """The particles `[P, B, K, d_z]` of clouds with holes: the observed ones stay, the free ones seek the equilibrium.

    Args:
        config, weights: of F and the coupling layer.
        batch: the clouds.
        solver: of the inner problem.
        keys, draw: of the dropout, see `equilibrium`.
    """
    return equilibrium(config, weights, batch.observed, batch.observed_mask, embed(weights, batch.particles), solver,
                       particle_mask=batch.mask, fixed=batch.fixed, keys=keys, draw=draw)  # fmt: skip


def _equilibrium_loss(
    config: NetworkConfig, batches: Callable[[int], Holed], solvers: Callable[[int], Solver], weight: float,
    keys: Tensor,
) -> Callable[[Weights, int], Tensor]:  # fmt: skip
    def loss(weights: Weights, step: int) -> Tensor:
        batch = batches(step)
        points = decode(completed(config, weights, batch, solvers(step), keys, step).output, config.dimension)
        apart = energy_distance(points, batch.truth, batch.mask, batch.truth_mask)  # MMD^2 [P, B]
        return (apart - weight * entropy(points, batch.free)).mean(1)

    return loss


def _pcn_loss(
    config: pcn.PCN, batches: Callable[[int], Holed], alpha_at: Sequence[int]
) -> Callable[[Weights, int], Tensor]:
    if len(alpha_at) != len(ALPHAS) - 1 or list(alpha_at) != sorted(alpha_at):
        raise ValueError(f"alpha_at = {list(alpha_at)}; {len(ALPHAS) - 1} rising numbers of updates are needed")

    def loss(weights: Weights, step: int) -> Tensor:
        batch = batches(step)
        alpha = ALPHAS[sum(step >= first for first in alpha_at)]
        coarse, fine = pcn.complete(config, weights, batch.observed, batch.observed_mask, Recorder())
        apart = [chamfer(cloud, batch.truth, None, batch.truth_mask) for cloud in (coarse, fine)]
        return (apart[0] + alpha * apart[1]).mean(1)  # CD(coarse) + alpha CD(fine) [P]

    return loss


@torch.no_grad()
def _moments(config: pcn.PCN, weights: Weights, batches: Callable[[int], Holed], order: Order) -> dict[str, Tensor]:
    """Moments of batch normalisation over the first batches."""
    found = []
    for step in range(min(_MOMENT_BATCHES, order.per_epoch)):
        recorder, batch = Recorder(), batches(step)
        pcn.complete(config, weights, batch.observed, batch.observed_mask, recorder)
        found.append(recorder.moments)
    return average(found)


def trained(
    result: Mapping[str, Any], device: str | torch.device = "cpu"
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Weights and moments `{name: [P, ...]}` in the result of `train_completion`."""
    found = [{name.removeprefix(prefix): torch.as_tensor(value).to(device) for name, value in result.items()
              if name.startswith(prefix)} for prefix in (_WEIGHT, _MOMENT)]  # fmt: skip
    return found[0], found[1]
