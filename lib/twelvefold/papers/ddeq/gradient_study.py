"""The experiment behind the gradient check: gradients along the flow and at the equilibrium, and their oracles."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from twelvefold.core.seeds import torch_generator
from twelvefold.nn.fixed_points import iterate
from twelvefold.nn.stacked import Weights, layout
from twelvefold.papers.ddeq.equilibrium import Solver, equilibrium, solve
from twelvefold.papers.ddeq.gradient_problems import (
    FAMILIES,
    Family,
    Found,
    Problem,
    draw_problem,
    found_at,
    polished,
)
from twelvefold.papers.ddeq.gradients import (
    Apply,
    Gradient,
    Implicit,
    cosine,
    finite_differences,
    implicit_gradient,
    jacobian,
    permuted,
    phantom_gradient,
    slopes,
    spectral_radius,
)
from twelvefold.papers.ddeq.network import NetworkConfig


def gradient_runs(
    seed: int, replicates: list[int], families: list[str], network: dict[str, Any], particles: int, points: int,
    flow_steps: list[int], step_size: float, polish: int, applications: list[int], backward: int, truncated: int,
    directions: int = 0, difference: float = 1e-4, solves: int = 100, training_steps: int = 5,
    device: str | torch.device = "cpu", dtype: str = "float64",
) -> dict[str, Any]:  # fmt: skip
    """Gradients after T flow steps and at the equilibrium, compared with the implicit gradient at the equilibrium.

    Args:
        seed, replicates, families, network, particles, points: see `draw_problem`; names of `FAMILIES`, arguments of
            `NetworkConfig`.
        flow_steps: rising numbers of flow steps T at which gradients are taken; the polish starts from the last.
        step_size: eta of the flow.
        polish: iterations from there to the equilibrium.
        applications: the k of k-step gradients.
        backward: at most so many iterations of the implicit gradient at the equilibrium. truncated: of that after T
            steps, where F need not be contractive, so that the iteration need not converge.
        directions: D of the finite differences; 0 leaves out these and all that needs the Jacobian as a matrix.
        difference: e of the finite differences. solves: iterations to each new equilibrium.
        training_steps: flow steps before the one-step gradient is compared with that of the training code.

    Returns:
        Columns of rows of the kinds "inner" (after T flow steps) and "equilibrium", each with the cosines of all
        gradients with the implicit one at the equilibrium; NaN where a kind has no such column.
    """
    config = NetworkConfig(**network)
    problem = draw_problem(config, [FAMILIES[name] for name in families], seed, replicates, particles=particles,
                           points=points, device=device, dtype=getattr(torch, dtype))  # fmt: skip
    member = {"family": [name for name in families for _ in replicates], "replicate": replicates * len(families)}
    weights = {name: weight.clone().requires_grad_() for name, weight in problem.weights.items()}
    graph, apply = problem.apply(weights), problem.apply()
    looks: list[tuple[int | None, Found]] = []
    z = problem.start
    for before, after in zip([0, *flow_steps], flow_steps, strict=False):
        z = solve(apply, z, Solver(steps=after - before, step_size=step_size)).particles
        looks.append((after, found_at(apply, z)))
    goal = polished(apply, z, polish)
    reference = implicit_gradient(
        graph, weights, goal.particles, problem.loss, permutation=goal.permutation, steps=backward
    )
    rows = []
    for steps, stage in [*looks, (None, goal)]:
        row: dict[str, Any] = {**member, "kind": "inner", "steps": steps, "residual": stage.residual}
        for k in applications:
            made = phantom_gradient(graph, weights, stage.particles, problem.loss, applications=k)
            row[f"cosine_{k}"] = cosine(made, reference.gradient)
        here = reference if steps is None else implicit_gradient(
            graph, weights, stage.particles, problem.loss, permutation=stage.permutation, steps=truncated
        )  # fmt: skip
        row["cosine_implicit"] = cosine(here.gradient, reference.gradient)
        rows.append(row)
    rows[-1] |= {
        "kind": "equilibrium", "by_rows": goal.by_rows, "backward_steps": reference.steps[:, 0],
        "spread": (goal.particles - goal.particles.mean(2, keepdim=True)).norm(dim=-1).amax((1, 2)),
        "training_difference": _training_difference(problem, Solver(steps=training_steps, step_size=step_size)),
    }  # fmt: skip
    if directions:
        rows[-1] |= _oracles(problem, weights, graph, goal, reference, seed, replicates, directions, difference, solves)
    return {"columns": _joined(rows)}


def _joined(rows: list[dict[str, Any]]) -> dict[str, list[Any]]:
    """Rows of columns one below the other, in the columns of the last; single values are repeated."""
    columns: dict[str, list[Any]] = {name: [] for name in rows[-1]}
    for row in rows:
        for name, column in columns.items():
            value = row.get(name)
            listed = value.tolist() if isinstance(value, Tensor) else value
            column += listed if isinstance(listed, list) else [listed] * len(row["replicate"])
    return columns


def _training_difference(problem: Problem, solver: Solver) -> Tensor:
    """Largest difference `[P]` of the one-step gradient from that of the code that trains classifiers."""
    weights = {name: weight.clone().requires_grad_() for name, weight in problem.weights.items()}
    made = equilibrium(problem.config, weights, problem.clouds, None, problem.start, solver)
    trained = torch.autograd.grad(problem.loss(made.output).sum(), list(weights.values()), materialize_grads=True)
    ours = phantom_gradient(problem.apply(weights), weights, made.found, problem.loss)
    apart = [(one - other).abs().flatten(1).amax(1) for one, other in zip(trained, ours.values(), strict=True)]
    return torch.stack(apart).amax(0)


def _oracles(
    problem: Problem, weights: Weights, graph: Apply, goal: Found, made: Implicit, seed: int, replicates: Sequence[int],
    directions: int, difference: float, solves: int,
) -> dict[str, Tensor]:  # fmt: skip
    """Spectral radius, and what the implicit gradient is checked against: the dense solve and finite differences."""
    order = goal.permutation
    dense = implicit_gradient(graph, weights, goal.particles, problem.loss, permutation=order, dense=True)
    matrix = jacobian(lambda z: permuted(graph(z), order), goal.particles)
    total, repeats = layout(weights).total, len(goal.particles) // len(replicates)
    drawn = torch.stack([
        torch.randn(directions, total, generator=torch_generator(seed, r, "gradient check: directions"))
        for r in replicates
    ]).repeat(repeats, 1, 1).to(goal.particles)  # fmt: skip
    unit = drawn / drawn.norm(dim=-1, keepdim=True)
    again = solved_losses(problem, goal, 2 * directions, solves)
    measured, predicted = finite_differences(again, weights, unit, difference), slopes(made.gradient, unit)
    apart, size = (u.flatten(1).norm(dim=1) for u in (made.cotangent - dense.cotangent, dense.cotangent))
    return {
        "radius": spectral_radius(matrix)[:, 0], "difference_cosine": F.cosine_similarity(measured, predicted),
        "dense_difference": apart / size,
    }  # fmt: skip


def solved_losses(problem: Problem, goal: Found, copies: int, steps: int) -> Callable[[Gradient], Tensor]:
    """Losses of other weights at their own equilibrium, found by iterating from the old one; `copies` per member."""
    many = problem.repeated(copies)
    start, order = (x.repeat_interleave(copies, 0) for x in (goal.particles, goal.permutation))

    def losses(weights: Gradient) -> Tensor:
        with torch.no_grad():
            apply = many.apply(weights)
            return many.loss(iterate(lambda z: permuted(apply(z), order), start, steps))

    return losses


def flow_runs(
    seed: int, replicates: list[int], family: str, network: dict[str, Any], particles: int, points: int,
    steps: int, step_size: float, decay: float, every: int, device: str | torch.device = "cpu",
    dtype: str = "float64",
) -> dict[str, Any]:  # fmt: skip
    """MMD^2(Z_t, F(Z_t)) along the flow, every so many steps: columns replicate, steps, mmd2. See `gradient_runs`."""
    problem = draw_problem(NetworkConfig(**network), [FAMILIES[family]], seed, replicates, particles=particles,
                           points=points, device=device, dtype=getattr(torch, dtype))  # fmt: skip
    flow = solve(problem.apply(), problem.start, Solver(steps=steps, step_size=step_size, decay=decay), record=True)
    kept = list(range(0, steps + 1, every))
    values = flow.values[kept, :, 0].clamp(min=0)  # rounding can leave a residual of 0 slightly below
    return {
        "replicate": replicates * len(kept), "steps": [step for step in kept for _ in replicates],
        "mmd2": values.flatten().tolist(),
    }  # fmt: skip


def example_slopes(
    factor: float, applications: int, *, seed: int, network: Mapping[str, Any], particles: int, points: int,
    directions: int = 8,
) -> tuple[Tensor, Tensor, float, float]:  # fmt: skip
    """One network, its matrices scaled by a factor: slopes `[D]` of the k-step and of the implicit gradient along
    random directions at its equilibrium, the cosine of the two gradients, and the spectral radius of the Jacobian."""
    config = NetworkConfig(**network)
    problem = draw_problem(config, [Family(factor)], seed, [0], particles=particles, points=points)
    weights = {name: weight.clone().requires_grad_() for name, weight in problem.weights.items()}
    graph, goal = problem.apply(weights), polished(problem.apply(), problem.start, 200)
    exact = implicit_gradient(graph, weights, goal.particles, problem.loss, permutation=goal.permutation, dense=True)
    made = phantom_gradient(graph, weights, goal.particles, problem.loss, applications=applications)
    drawn = torch.randn(1, directions, layout(weights).total, generator=torch_generator(seed, 0, "explore"))
    unit = (drawn / drawn.norm(dim=-1, keepdim=True)).to(goal.particles)
    radius = spectral_radius(jacobian(lambda z: permuted(graph(z), goal.permutation), goal.particles))
    return slopes(made, unit)[0], slopes(exact.gradient, unit)[0], float(cosine(made, exact.gradient)), float(radius)
