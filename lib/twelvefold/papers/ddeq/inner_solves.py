"""Inner solvers compared on the same networks, clouds and start particles, at equal numbers of evaluations of F.

A step of the flow differentiates through F, and a backward pass costs about two forward passes: the step counts as 3
evaluations. A step of iteration, of Anderson acceleration, or of a flow with a detached target counts as 1.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from twelvefold.core.seeds import torch_generator
from twelvefold.core.sweep import sweep
from twelvefold.nn.fixed_points import iterate
from twelvefold.nn.stacked import Weights, stack
from twelvefold.ot.assignment import matched_residual
from twelvefold.ot.gradient_flow import wasserstein_flow
from twelvefold.papers.ddeq.classification import CLASSES, DIMENSIONS, train_classifiers, trained
from twelvefold.papers.ddeq.classifiers import architecture, draw_member
from twelvefold.papers.ddeq.cloud_batches import Stacked, particles, stacked
from twelvefold.papers.ddeq.equilibrium import Apply, Solver, applied, residual, solve
from twelvefold.papers.ddeq.gradients import jacobian, spectral_radius
from twelvefold.papers.ddeq.network import NetworkConfig, encode

UNTRAINED, TRAINED = "untrained", "trained"
FLOW, SMALL, DECAYING, GAUSSIAN, DETACHED, ITERATION, ANDERSON = (
    "flow", "flow, small step", "flow, decaying step", "flow, Gaussian", "flow, detached target",
    "fixed-point iteration", "Anderson",
)  # fmt: skip
SOLVERS = (FLOW, SMALL, DECAYING, GAUSSIAN, DETACHED, ITERATION, ANDERSON)
LAST_SHARE = 1 / 50  # of the step size, what the decaying one has left at the end
_CLOUDS = 250  # at a time
_PURPOSE = "inner flow particles"


def arms_of(step_size: float, width: int, evaluations: int) -> list[dict[str, Any]]:
    """The seven arms: label and the changes of `equilibrium.Solver`.

    The decaying step falls geometrically to `LAST_SHARE` of `step_size` within the given evaluations. The Gaussian
    kernel has 2 sigma^2 = E||z - z'||^2 = 2 d for start particles z, z' ~ N(0, I_d): exp(-1) at a typical distance.

    Args:
        step_size: eta of training.
        width: d of a particle.
        evaluations: of F, at least 3 (one step of the flow).

    Raises:
        ValueError: a number out of range.
    """
    if not step_size > 0 or width < 1 or evaluations < 3:
        raise ValueError(f"step_size = {step_size}, width = {width}, evaluations = {evaluations}; step_size > 0, "
                         "width >= 1 and evaluations >= 3 are needed")  # fmt: skip
    changes: dict[str, dict[str, Any]] = {
        FLOW: {"step_size": step_size},
        SMALL: {"step_size": 1.0},
        DECAYING: {"step_size": step_size, "decay": LAST_SHARE ** (1 / (evaluations // 3))},
        GAUSSIAN: {"step_size": step_size, "sigma": math.sqrt(width)},
        DETACHED: {"step_size": step_size, "form": "detached"},
        ITERATION: {"method": "iteration"},
        ANDERSON: {"method": "anderson"},
    }
    return [{"label": label, "solver": changes[label]} for label in SOLVERS]


def step_cost(solver: Solver) -> int:
    """Evaluations of F that a step counts as: 3 where it differentiates through F, else 1."""
    return 3 if solver.method == "flow" and solver.form != "detached" else 1


def inner_solves(
    training: dict[str, Any], weights: str, arms: list[dict[str, Any]], at: list[int], clouds: int,
    device: str | torch.device = "cpu",
) -> dict[str, Any]:  # fmt: skip
    """Solve the inner problem of every member on its first test clouds, by every arm from the same start.

    Args:
        training: point of `train_classifiers` (an equilibrium model), trained by a nested sweep where it is needed and
            not stored.
        weights: "trained", or "untrained": as drawn before the first update.
        arms: `label` and `solver`, see `arms_of`.
        at: C numbers of evaluations of F, ascending multiples of 3 from 0: where the residual is read. Every arm makes
            the steps that the last one pays for.
        clouds: number n of test clouds of each member.

    Returns:
        for A arms and P members `residual [A, P, C, n]`, MMD^2(Z, F(Z)) with the Riesz kernel; `falling [A, P]`, the
        share of steps (over steps and clouds) after which the discrepancy that the solver works with is smaller; and at
        the end `by_rows [A, P, n]`, the root mean square of ||z_i - F(Z)_i||, `matched [A, P, n]`, the same after the
        best permutation of the rows of F(Z), and `spread [A, P, n]`, the mean distance between two particles.

    Raises:
        ValueError: unknown weights, `at` not as described, more clouds than there are.
    """
    _check_checkpoints(at)
    config, own, test = _case(training, weights, clouds, device)
    start = _start(training, config, clouds, device)
    kept: list[list[dict[str, Tensor]]] = [[] for _ in arms]
    for first in range(0, clouds, _CLOUDS):
        chosen = slice(first, first + _CLOUDS)
        part = test.part(chosen)
        with torch.no_grad():
            apply = applied(config, own, encode(config, own, part.points, part.mask))
        for pieces, arm in zip(kept, arms, strict=True):
            pieces.append(_measured(apply, start[:, chosen], arm["solver"], at))
    return {name: torch.stack([torch.cat([piece[name] for piece in pieces], -1) for pieces in kept])
            for name in ("residual", "by_rows", "matched", "spread")} | {
        "falling": torch.stack([torch.cat([piece["falling"] for piece in pieces], -1).mean(-1) for pieces in kept])
    }  # fmt: skip


def _measured(apply: Apply, start: Tensor, changes: Mapping[str, Any], at: Sequence[int]) -> dict[str, Tensor]:
    """What `inner_solves` returns, of one arm and some clouds: `[P, C, n]`, `[P, n]`; `falling [P, n]` by cloud."""
    solver = Solver(**(dict(changes) | {"tolerance": None}))
    steps = [evaluations // step_cost(solver) for evaluations in at]
    residuals, falls, end = (_watched if solver.sigma is None else _watched_in_parts)(apply, start, solver, steps)
    with torch.no_grad():
        after = apply(end)
    apart = torch.cdist(end, end, compute_mode="donot_use_mm_for_euclid_dist")  # [P, n, N, N]
    pairs = max(apart.shape[-1] * (apart.shape[-1] - 1), 1)
    return {
        "residual": residuals.transpose(0, 1), "falling": falls,
        "by_rows": (end - after).square().sum(-1).mean(-1).sqrt(),
        "matched": matched_residual(end, after)[0].to(start.device),
        "spread": apart.sum((-2, -1)) / pairs,
    }  # fmt: skip


def _watched(apply: Apply, start: Tensor, solver: Solver, steps: Sequence[int]) -> tuple[Tensor, Tensor, Tensor]:
    """Residuals `[C, P, n]` after numbers of steps, share of falling steps `[P, n]`, last particles `[P, n, N, d]`."""
    flow = solve(apply, start, replace(solver, steps=steps[-1]), record=True)
    falls = (flow.values[1:] < flow.values[:-1]).to(start.dtype).mean(0)
    return flow.values[list(steps)], falls, flow.particles


def _watched_in_parts(
    apply: Apply, start: Tensor, solver: Solver, steps: Sequence[int]
) -> tuple[Tensor, Tensor, Tensor]:
    """As `_watched`, for a flow whose own value is of another kernel: the residual is measured between its parts, and
    its steps fall in its own value."""
    z, falls = start, start.new_zeros(start.shape[:2])
    residuals = [_residual_of(apply, z)]
    for before, now in zip(steps[:-1], steps[1:], strict=True):
        eta = solver.step_size * solver.decay**before
        flow = solve(apply, z, replace(solver, steps=now - before, step_size=eta), record=True)
        z, falls = flow.particles, falls + (flow.values[1:] < flow.values[:-1]).sum(0)
        residuals.append(_residual_of(apply, z))
    return torch.stack(residuals), falls / steps[-1], z


@torch.no_grad()
def _residual_of(apply: Apply, z: Tensor) -> Tensor:
    return residual(z, apply(z))


def _check_checkpoints(at: Sequence[int]) -> None:
    rising = len(at) > 1 and at[0] == 0 and all(before < now for before, now in zip(at[:-1], at[1:], strict=True))
    if not rising or any(evaluations % 3 for evaluations in at):
        raise ValueError(f"at = {list(at)}; at least two ascending multiples of 3, the first 0, are needed")


def _case(
    training: Mapping[str, Any], weights: str, clouds: int, device: str | torch.device
) -> tuple[NetworkConfig, dict[str, Tensor], Stacked]:
    """F, the weights of its members, and their first test clouds."""
    data, seed, members = training["data"], training["seed"], training["members"]
    model = architecture(training["kind"], training["sizes"], DIMENSIONS[data["name"]], CLASSES[data["name"]])
    if not isinstance(model.config, NetworkConfig):
        raise ValueError(f"training of kind {training['kind']!r}; an equilibrium model, 'ddeq', is needed")
    if weights == TRAINED:
        (result,) = sweep(train_classifiers, [dict(training)], device=device)
        own = trained(result, device)[0]
    elif weights == UNTRAINED:  # as `train_classifiers` draws them
        drawn = stack([draw_member(model, torch_generator(seed, member, "initial weights")) for member in members])
        own = {name: weight.to(device) for name, weight in drawn.items()}
    else:
        raise ValueError(f"weights = {weights!r}; {TRAINED!r} and {UNTRAINED!r} are accepted")
    _, test = stacked(data["name"], seed, members, data["train"], data["test"], data["points"])
    if not 1 <= clouds <= test.labels.shape[1]:
        raise ValueError(f"clouds = {clouds}; from 1 to the {test.labels.shape[1]} test clouds are accepted")
    return model.config, own, test.part(slice(0, clouds)).to(device)


def _start(training: Mapping[str, Any], config: NetworkConfig, clouds: int, device: str | torch.device) -> Tensor:
    shape = (clouds, training["particle_count"], config.width)
    return particles(training["seed"], training["members"], _PURPOSE, shape).to(device)


def inner_checks(
    training: dict[str, Any], weights: str, clouds: int, iterations: int, device: str | torch.device = "cpu"
) -> dict[str, Any]:
    """How contractive F is where iteration ends, and whether two ways to the Wasserstein gradient agree.

    Args:
        training, weights: see `inner_solves`.
        clouds: number n of test clouds of each member, small: the Jacobian has (N d)^2 entries a cloud.
        iterations: of Z <- F(Z) before the Jacobian is taken.

    Returns:
        for P members `radius [P, n]`, the spectral radius of dF/dZ; and, in float64 at the start particles,
        `witness_error [P, n]`: the largest difference of an entry between grad f(z) - J_F(z)^T grad f(F(z)), with f the
        witness function of Z and F(Z) held fixed, and N d/dZ of 1/2 MMD^2, relative to the largest entry of the latter.
    """
    config, own, test = _case(training, weights, clouds, device)
    start = _start(training, config, clouds, device)
    apply = applied(config, own, encode(config, own, test.points, test.mask).detach())
    with torch.no_grad():
        end = iterate(apply, start, iterations)
    exact: Weights = {name: weight.double() for name, weight in own.items()}
    precise = applied(config, exact, encode(config, exact, test.points.double(), test.mask).detach())
    return {"radius": spectral_radius(jacobian(apply, end)), "witness_error": witness_error(precise, start.double())}


def witness_error(apply: Apply, particles: Tensor) -> Tensor:
    """Largest relative difference `[P, n]` of the two forms of the Wasserstein gradient at `[P, n, N, d]`."""
    at = particles.detach().requires_grad_()
    (slope,) = torch.autograd.grad(0.5 * residual(at, apply(at)).sum(), at)  # dG/dz, G = 1/2 MMD^2
    by_autodiff = particles.shape[-2] * slope
    # a step of size 1 moves the particles by minus the gradient
    moved = wasserstein_flow(particles, apply, steps=1, step_size=1.0, form="witness").particles
    difference = (particles - moved - by_autodiff).abs().amax((-2, -1))
    return difference / by_autodiff.abs().amax((-2, -1)).clamp(min=torch.finfo(at.dtype).tiny)


def one_cloud(
    network: tuple[NetworkConfig, Weights, Stacked], particle_count: int, seed: int, member: int, cloud: int
) -> tuple[Apply, Tensor]:
    """F of one member on one of its test clouds as a function of Z, and start particles `[1, 1, N, d]`, on the CPU.

    Args:
        network: from `populations.networks`.
        particle_count: N.
        seed: base seed of the start.
        member, cloud: place in the population, and number of the cloud.
    """
    config, weights, test = network
    own = {name: weight[member : member + 1].cpu() for name, weight in weights.items()}
    points = test.points[member, cloud][None, None].cpu()
    mask = None if test.mask is None else test.mask[member, cloud][None, None].cpu()
    start = particles(seed, [cloud], _PURPOSE, (1, particle_count, config.width))
    with torch.no_grad():
        return applied(config, own, encode(config, own, points, mask)), start


def visited(apply: Apply, start: Tensor, solver: Solver) -> Tensor:
    """The particles at the start and after every step of a solver, `[steps + 1, *start.shape]`, on the CPU."""
    states: list[Tensor] = []

    def watched(z: Tensor) -> Tensor:
        states.append(z.detach().clone())  # a flow moves its particles in place
        return apply(z)

    end = solve(watched, start, solver).particles
    return torch.stack([*states, end])


def third_of_a_turn(z: Tensor) -> Tensor:
    """A map that permutes what it is made for: F(z) = R z, R the rotation of the plane by 120 degrees, `[..., N, 2]`.

    Three particles at the corners of an equilateral triangle around 0 are an equilibrium as a measure; every row moves.

    Raises:
        ValueError: particles that are not in the plane.
    """
    if z.ndim < 2 or z.shape[-1] != 2:
        raise ValueError(f"z has shape {tuple(z.shape)}; particles in the plane, [..., N, 2], are needed")
    angle = torch.tensor(2 * math.pi / 3, dtype=z.dtype, device=z.device)
    turn = torch.stack([torch.stack([angle.cos(), angle.sin()]), torch.stack([-angle.sin(), angle.cos()])])
    return z @ turn


def turning_paths(start: Tensor, steps: int) -> dict[str, Tensor]:
    """Paths `[steps + 1, N, 2]` of particles `[N, 2]` under `third_of_a_turn` by iteration, Anderson and a flow with
    decaying step."""
    solvers = {
        ITERATION: Solver(steps, method="iteration"), ANDERSON: Solver(steps, method="anderson"),
        DECAYING: Solver(steps, step_size=0.3, decay=0.9),
    }  # fmt: skip
    return {name: visited(third_of_a_turn, start, solver) for name, solver in solvers.items()}
