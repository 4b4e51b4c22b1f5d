"""The experiment behind the sparse Sinkhorn iteration: how solvers approach the projection, and how sparse it is."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from twelvefold.core.seeds import torch_generator
from twelvefold.ot.polytope import alternating_projections, dykstra, project_polytope
from twelvefold.ot.transport_plan import unit_columns

SUPPORTED = 1e-7  # an entry counts as used from this share of its column's mass on
SOLVERS = ("dual", "dykstra", "alternation")


def drawn_scores(seed: int, replicates: Sequence[int], sources: int, targets: int, dtype: torch.dtype) -> Tensor:
    """Standard normal scores `[R, v, u]`, one matrix per replicate."""
    return torch.stack([torch.randn(sources, targets, generator=torch_generator(seed, r, "scores"), dtype=dtype)
                        for r in replicates])  # fmt: skip


def error_runs(
    seed: int, replicates: list[int], sources: int, targets: int, scales: list[float], iterations: list[int],
    peer: bool = True, reference: int | None = None, device: str | torch.device = "cpu", dtype: str = "float64",
) -> dict[str, Any]:  # fmt: skip
    """How far three solvers are from the projection of random scores after T iterations.

    Args:
        seed, replicates: one matrix of scores each. sources, targets: v and u; uniform marginals, columns of mass 1.
        scales: standard deviations of the scores. iterations: values of T.
        peer: also solve every problem with POT (quadratic regularisation in the dual, L-BFGS).
        reference: iterations of the dual ascent that gives the projection; None: to rounding.

    Returns:
        Columns, one entry per scale, replicate and T: largest absolute error of an entry of the plan for the dual
        ascent, Dykstra's algorithm and alternating projections, their `rows_...` (share of the mass in the wrong
        row), and `peer`: largest difference between POT's plan and the reference, for masses that sum to one.
    """
    mu, nu = unit_columns(sources, targets, dtype=getattr(torch, dtype), device=device)
    columns: dict[str, list[Any]] = {}
    for scale in scales:
        scores = scale * drawn_scores(seed, replicates, sources, targets, mu.dtype).to(device)
        exact = _exact(scores, mu, nu, reference)
        distance = [_peer_distance(*pair) for pair in zip(scores, exact, strict=True)] if peer else None
        for steps, plans in _approximations(scores, mu, nu, sorted(iterations)):
            _append(columns, scale=[scale] * len(scores), replicate=replicates, iterations=[steps] * len(scores))
            for name, plan in plans.items():
                wrong = (plan.sum(-1) - mu).abs().sum(-1) / targets
                _append(columns, **{name: (plan - exact).abs().flatten(1).amax(1).tolist(),
                                    f"rows_{name}": wrong.tolist()})  # fmt: skip
            if distance is not None:
                _append(columns, peer=distance)
    return {"columns": columns}


def _exact(scores: Tensor, mu: Tensor, nu: Tensor, iterations: int | None) -> Tensor:
    """The projection after so many iterations of the dual ascent, or (None) to rounding."""
    if iterations is not None:
        return project_polytope(scores, mu, nu, iterations=iterations).plan
    return project_polytope(scores, mu, nu, iterations=20_000, tolerance=1e-13).plan


def _approximations(
    scores: Tensor, mu: Tensor, nu: Tensor, iterations: list[int]
) -> list[tuple[int, dict[str, Tensor]]]:
    """T and the plans `[R, v, u]` of all solvers after T iterations."""
    made: list[tuple[int, dict[str, Tensor]]] = []
    start, alternated, before = None, scores, 0
    for steps in iterations:
        # the dual's state is its potentials and the alternation's is its plan: both go on from the last T
        ascent = project_polytope(scores, mu, nu, iterations=steps - before, start=start)
        alternated = alternating_projections(alternated, mu, nu, iterations=steps - before)
        start, before = ascent.potentials, steps
        plans = (ascent.plan, dykstra(scores, mu, nu, iterations=steps), alternated)
        made.append((steps, dict(zip(SOLVERS, plans, strict=True))))
    return made


def _append(columns: dict[str, list[Any]], **values: Sequence[Any]) -> None:
    for name, entries in values.items():
        columns.setdefault(name, []).extend(entries)


def _peer_distance(scores: Tensor, plan: Tensor) -> float:
    """Largest difference between POT's plan and `plan / u`, the joint distribution."""
    import ot

    sources, targets = scores.shape
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # POT's, about an option of scipy's L-BFGS
        found = ot.smooth.smooth_ot_dual(np.full(sources, 1 / sources), np.full(targets, 1 / targets),
                                         -scores.cpu().numpy() / targets, reg=1.0, reg_type="l2", numItermax=20_000,
                                         stopThr=1e-14)  # fmt: skip
    return float(np.abs(found - plan.cpu().numpy() / targets).max())


def support_runs(
    seed: int, replicates: list[int], sources: int, targets: int, scales: list[float], tolerance: float,
    iterations: int, peer: bool = True, device: str | torch.device = "cpu", dtype: str = "float64",
) -> dict[str, Any]:  # fmt: skip
    """How many entries of the projected plan are positive, for scores of rising scale.

    The projection at one scale starts at the potentials of the last, which grow in proportion where scores are large.

    Args:
        seed, replicates, sources, targets: as in `error_runs`. scales: rising.
        tolerance, iterations: of a projection.
        peer: also solve the linear programme max <C, P> with POT.

    Returns:
        Columns, one entry per scale and replicate: `support` (entries of at least `SUPPORTED`), `marginal_error`, and
        `peer`: largest difference from an optimal plan of the linear programme.
    """
    mu, nu = unit_columns(sources, targets, dtype=getattr(torch, dtype), device=device)
    drawn = drawn_scores(seed, replicates, sources, targets, mu.dtype).to(device)
    vertices = torch.stack([_vertex(scores) for scores in drawn]).to(drawn) if peer else None
    columns: dict[str, list[Any]] = {}
    start, last = None, 1.0
    for scale in scales:
        start = None if start is None else (start[0] * (scale / last), start[1] * (scale / last))
        found = project_polytope(scale * drawn, mu, nu, iterations=iterations, tolerance=tolerance, start=start)
        start, last = found.potentials, scale
        _append(columns, scale=[scale] * len(drawn), replicate=replicates,
                support=(found.plan >= SUPPORTED).flatten(1).sum(1).tolist(),
                marginal_error=found.marginal_error.tolist())  # fmt: skip
        if vertices is not None:
            _append(columns, peer=(found.plan - vertices).abs().flatten(1).amax(1).tolist())
    return {"columns": columns}


def _vertex(scores: Tensor) -> Tensor:
    """An optimal plan `[v, u]` of max <C, P>, columns of mass 1."""
    import ot

    sources, targets = scores.shape
    masses = np.full(sources, 1 / sources), np.full(targets, 1 / targets)
    return torch.from_numpy(ot.emd(*masses, -scores.cpu().double().numpy(), numItermax=10_000_000)) * targets


def iterate_runs(
    seed: int, sources: int, targets: int, scale: float, iterations: list[int],
    device: str | torch.device = "cpu", dtype: str = "float64",
) -> dict[str, Any]:  # fmt: skip
    """The scores of a small problem (T = 0) and its plans after T iterations of Dykstra's algorithm, entry by entry."""
    mu, nu = unit_columns(sources, targets, dtype=getattr(torch, dtype))
    scores = scale * drawn_scores(seed, [0], sources, targets, mu.dtype)[0]
    columns: dict[str, list[Any]] = {}
    for steps in iterations:
        values = scores if steps == 0 else dykstra(scores, mu, nu, iterations=steps)
        rows, places = np.divmod(np.arange(sources * targets), targets)
        _append(columns, iterations=[steps] * len(rows), row=rows.tolist(), column=places.tolist(),
                value=values.flatten().tolist())  # fmt: skip
    return {"columns": columns}


def single_problem(
    sources: int, targets: int, scale: float, iterations: int, seed: int
) -> tuple[Tensor, dict[str, Tensor]]:
    """Scores `[v, u]` of one problem, and its plans: by each solver after T iterations, and exact."""
    mu, nu = unit_columns(sources, targets, dtype=torch.float64)
    scores = scale * drawn_scores(seed, [0], sources, targets, torch.float64)[0]
    ((_, plans),) = _approximations(scores[None], mu, nu, [iterations])
    exact = _exact(scores, mu, nu, None)
    return scores, {**{name: plan[0] for name, plan in plans.items()}, "exact": exact}
