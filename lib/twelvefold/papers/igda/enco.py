"""ENCO-lite: edges learnt from observed and interventional rows, for P draws of data as one tensor program.

A graph has the edge i -> j with probability sigmoid(gamma_ij) sigmoid(theta_ij), where theta_ij = -theta_ji: gamma says
whether two variables are joined, theta which way. Two stages take turns. The first trains networks for p(x_j | parents)
on observed rows under graphs drawn from these probabilities. The second draws K graphs C, lets the networks judge rows
in which variable k was set at random, and moves gamma and theta against the gradient of the expected loss

    E_C [ sum_(j != k) L(x_j | parents in C) ] + lambda sum_ij sigmoid(gamma_ij) sigmoid(theta_ij).

Sources: Lippe, Cohen and Gavves (2022), "Efficient Neural Causal Discovery without Acyclicity Constraints" (ENCO; arXiv
2107.10483), sections 3.2 and 3.3, whose public code (phlippe/ENCO) gave the default numbers. Not taken over: its theta
stage for large graphs, latent confounders, and the repair of cycles. Where i -> j is certain, j -> i is excluded,
because theta_ij = -theta_ji; this is part of the method. Rows are drawn with replacement.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from twelvefold.papers.igda.enco_models import (
    Architecture,
    Data,
    Moments,
    Networks,
    adam,
    checked_data,
    draw_keys,
    draw_networks,
    losses_of_graphs,
    no_moments,
    rows_of,
    train,
    uniforms,
)
from twelvefold.papers.igda.feedback import Feedback, pairs

CERTAIN = 30.0  # gamma and theta of an edge whose answer is known: probabilities within 1e-12 of 0 and 1
WEIGHTS, MODEL, GRAPH, ORDER, JUDGED = range(5)  # streams of draws; see `enco_models.uniforms`


@dataclass(frozen=True)
class EncoConfig:
    """Sizes and rates; the defaults are those of ENCO's public code.

    Attributes:
        hidden: widths of the networks' hidden layers.
        rounds: how often the two stages take turns. model_steps, graph_steps: steps of each stage in a round.
        update_steps: graph steps that follow new answers or new rows.
        batch: rows per step. graphs: K, graphs drawn per step.
        model_rate, gamma_rate, theta_rate: learning rates of Adam. gamma_decays, theta_decays: its two averages.
        sparsity: lambda.
    """

    hidden: tuple[int, ...] = (64, 64)
    rounds: int = 30
    model_steps: int = 1000
    graph_steps: int = 100
    update_steps: int = 100
    batch: int = 128
    graphs: int = 100
    model_rate: float = 5e-3
    gamma_rate: float = 2e-2
    theta_rate: float = 1e-1
    gamma_decays: tuple[float, float] = (0.9, 0.9)
    theta_decays: tuple[float, float] = (0.9, 0.999)
    sparsity: float = 0.004

    def __post_init__(self) -> None:
        for name in ("hidden", "rounds", "model_steps", "graph_steps", "update_steps", "batch"):
            value = getattr(self, name)
            if (min(value, default=0) if name == "hidden" else value) < 1:
                raise ValueError(f"{name} = {value}; at least 1 is needed")
        if self.graphs < 2:
            raise ValueError(f"graphs = {self.graphs}; at least 2 are needed to compare an edge with none")
        for name in ("model_rate", "gamma_rate", "theta_rate", "sparsity"):
            if not getattr(self, name) >= (0 if name == "sparsity" else 1e-12):
                raise ValueError(f"{name} = {getattr(self, name)}; a positive number is needed (0 only for sparsity)")


# Small networks and few steps: 8 binary variables, 10 draws of 1,000 + 8 x 200 rows take some 10 CPU seconds on one
# core. Chosen on random graphs of 8 variables at exploring seeds.
QUICK = EncoConfig(hidden=(16,), rounds=10, model_steps=50, graph_steps=50, update_steps=20, batch=64, graphs=20,
                   model_rate=1e-2)  # fmt: skip


class EncoFit(NamedTuple):
    """Where a fit stands.

    Attributes:
        gamma, theta: `[P, n, n]`, float64. probabilities: of each edge `[P, n, n]`, float64, 0 on the diagonal.
        models: the networks. steps: steps of the two stages so far.
        data, config, clamped: what was fitted; `clamped` is 1 or 0 where the answer is known, NaN elsewhere.
        keys: of the draws `[P]`. moments: of Adam for gamma, theta and the networks.
    """

    gamma: Tensor
    theta: Tensor
    probabilities: Tensor
    models: Networks
    steps: tuple[int, int]
    data: Data
    config: EncoConfig
    clamped: Tensor
    keys: Tensor
    moments: tuple[Moments, Moments, Moments]


def fit(
    observations: Tensor, interventions: Tensor, categories: Tensor | Sequence[int], config: EncoConfig,
    generator: torch.Generator, clamped: Tensor | None = None, counts: Tensor | None = None,
) -> EncoFit:  # fmt: skip
    """Learn the edges.

    Args:
        observations: rows `[P, N, n]`, int64, categories from 0 on.
        interventions: rows with variable k set at random in `[:, k]` of `[P, n, M, n]`; M may be 0. While a variable
            has no such rows, observed rows take part in the second stage too, and move gamma only.
        categories: number of categories of each variable `[n]`. config: sizes and rates.
        generator: gives one key per data draw.
        clamped: 1 where an edge is known to be there, 0 where it is known not to be, NaN elsewhere `[P, n, n]`.
        counts: how many interventional rows there are `[P, n]`; None: all M.

    Raises:
        ValueError: a wrong shape or type, no row, a category out of range, or answers that contradict each other.
    """
    data = checked_data(observations, interventions, categories, counts)
    draws, _, n = observations.shape
    keys = draw_keys(generator, draws).to(observations.device)
    sizes = Architecture(draws, data.categories, config.hidden)
    networks = draw_networks(sizes, keys, WEIGHTS)
    zero = torch.zeros(draws, n, n, dtype=torch.float64, device=keys.device)
    moments = (no_moments(zero, zero), no_moments(zero, zero), no_moments(networks.flat, networks.flat[:1]))
    started = EncoFit(zero, zero, zero, networks, (0, 0), data, config, zero * torch.nan, keys, moments)
    known = clamp(started, zero * torch.nan if clamped is None else clamped)
    for _ in range(config.rounds):
        known = fit_graphs(fit_models(known, config.model_steps), config.graph_steps)
    return known


def clamp(state: EncoFit, clamped: Tensor) -> EncoFit:
    """The fit with known answers `[P, n, n]` (1, 0, NaN: not known) added: gamma and theta there are at their ends.

    An edge that is there fixes its direction too; of one that is not, theta stays free.

    Raises:
        ValueError: another shape, another number, an edge of a variable with itself, or edges both ways.
    """
    if clamped.shape != state.gamma.shape or not bool((clamped.isnan() | (clamped == 0) | (clamped == 1)).all()):
        raise ValueError(f"clamped is {[*clamped.shape]}; 1, 0 or NaN of shape {[*state.gamma.shape]} is needed")
    told = clamped.to(state.gamma)
    known = torch.where(told.isnan(), state.clamped, told)
    there, absent = known == 1, known == 0
    if bool((there & there.transpose(1, 2)).any()):  # on the diagonal too
        raise ValueError("clamped holds i -> j and j -> i, or i -> i; at most one of a pair can be there")
    gamma = torch.where(there, CERTAIN, torch.where(absent, -CERTAIN, state.gamma))
    theta = torch.where(there, CERTAIN, torch.where(there.transpose(1, 2), -CERTAIN, state.theta))
    return _renewed(state._replace(clamped=known), gamma, theta)


def _renewed(state: EncoFit, gamma: Tensor, theta: Tensor) -> EncoFit:
    probabilities = gamma.sigmoid() * theta.sigmoid() * pairs(gamma.shape[1], gamma.device)
    return state._replace(gamma=gamma, theta=theta, probabilities=probabilities)


def fit_models(state: EncoFit, steps: int) -> EncoFit:
    """The fit after `steps` more steps of the first stage: networks trained on observed rows, beliefs as they are."""
    done, graph_steps = state.steps
    models, moments = train(state.models, state.moments[2], state.data.observations, state.probabilities, state.keys,
                            MODEL, range(done, done + steps), state.config.batch, state.config.model_rate)  # fmt: skip
    return state._replace(models=models, moments=(*state.moments[:2], moments), steps=(done + steps, graph_steps))


def fit_graphs(state: EncoFit, steps: int) -> EncoFit:
    """The fit after `steps` more steps of the second stage: gamma and theta moved, networks as they are."""
    for _ in range(steps):
        state = _graph_step(state)
    return state


def _graph_step(state: EncoFit) -> EncoFit:
    """One step: K graphs judged on rows under one intervention, which each data draw takes from its own sequence."""
    config, (of_gamma, of_theta, of_models), step = state.config, state.moments, state.steps[1]
    target = next_targets(state.keys, state.data.counts, step)
    slopes = slopes_at(state, target, GRAPH, step)
    here = _at(target, state.gamma.shape[1])
    there, open_pairs = state.clamped == 1, pairs(state.gamma.shape[1], state.keys.device)
    moved = (here[:, :, None] | here[:, None, :]) & open_pairs & ~(there | there.transpose(1, 2))
    gamma, of_gamma = adam(state.gamma, slopes[0], of_gamma, state.clamped.isnan() & open_pairs, config.gamma_rate,
                           config.gamma_decays)  # fmt: skip
    theta, of_theta = adam(state.theta, slopes[1], of_theta, moved, config.theta_rate, config.theta_decays)
    renewed = _renewed(state, gamma, theta)
    return renewed._replace(moments=(of_gamma, of_theta, of_models), steps=(state.steps[0], step + 1))


def next_targets(keys: Tensor, counts: Tensor, step: int) -> Tensor:
    """Which variable each draw's rows of a step were set at random in `[P]`; n: in none, rows were observed.

    The variables that have rows come in turn, in an order that is drawn anew for each turn; while one has no rows,
    observed rows are one more of them. `counts [P, n + 1]`: see `enco_models.Data`.
    """
    usable = counts > 0
    usable[:, -1] = ~usable[:, :-1].all(1)
    length = usable.sum(1)
    order = (uniforms(keys, ORDER, step // length, counts.shape[1]) + ~usable).argsort(dim=1, stable=True)
    return order.gather(1, (step % length)[:, None])[:, 0]


def slopes_at(state: EncoFit, target: Tensor, stream: int, step: int) -> tuple[Tensor, Tensor]:
    """Gradients of gamma and theta `[P, n, n]` on a batch of rows of the targets `[P]`, under K graphs drawn."""
    config, (draws, n) = state.config, state.gamma.shape[:2]
    drawn = uniforms(state.keys, stream, step, config.batch + config.graphs * n * n)
    rows = rows_of(state.data, target, drawn[:, : config.batch])
    graphs = drawn[:, config.batch :].view(draws, config.graphs, n, n) < state.probabilities[:, None]
    return gradients(losses_of_graphs(state.models, rows, graphs.float()), graphs, state.gamma, state.theta, target,
                     config.sparsity)  # fmt: skip


def gradients(
    losses: Tensor, graphs: Tensor, gamma: Tensor, theta: Tensor, target: Tensor, sparsity: float
) -> tuple[Tensor, Tensor]:
    """Estimated gradients of the expected loss with respect to gamma and theta `[P, n, n]` (ENCO, section 3.3).

    With D_ij = E[L_j | i -> j] - E[L_j | no i -> j], each mean over the graphs that have the edge, or have it not,

        d/d gamma_ij = sigmoid'(gamma_ij) sigmoid(theta_ij) (D_ij + lambda),   0 for j = k, the variable set at random,
        d/d theta_kj = sigmoid'(theta_kj) sigmoid(gamma_kj) D_kj = -d/d theta_jk,   0 for all other pairs.

    An edge that all graphs have, or none, gets 0.

    Args:
        losses: of each variable under each graph `[P, K, n]`. graphs: `[P, K, n, n]`, bool, without loops.
        gamma, theta: `[P, n, n]`. target: k of each draw `[P]`; n for observed rows. sparsity: lambda.
    """
    drawn, losses = graphs.double(), losses.double()
    number, count = drawn.sum(1), graphs.shape[1]
    with_edge = torch.einsum("pkj,pkij->pij", losses, drawn)
    without = losses.sum(1)[:, None] - with_edge
    both = (number > 0) & (number < count)
    gain = with_edge / number.clamp(min=1) - without / (count - number).clamp(min=1)  # D
    joined, directed, here = gamma.sigmoid(), theta.sigmoid(), _at(target, gamma.shape[1])
    of_gamma = joined * (1 - joined) * directed * (gain + sparsity)
    outwards = directed * (1 - directed) * joined * gain * (both & here[:, :, None])
    return of_gamma * (both & ~here[:, None, :]), outwards - outwards.transpose(1, 2)


def _at(target: Tensor, variables: int) -> Tensor:
    """Whether a variable is the target `[P, n]`, bool."""
    return target[:, None] == torch.arange(variables, device=target.device)


class EncoExpert:
    """A `ChoosingExpert` of the loop that learns from data: tested edges are fixed, and the graphs fitted on."""

    def __init__(self, fitted: EncoFit) -> None:
        self.state = fitted

    def beliefs(self, asked: Tensor, feedback: Feedback) -> Tensor:
        """Probabilities `[P, n, n]`, after `update_steps` more graph steps if there are new answers.

        Args:
            asked: pairs that count `[P, n, n]`; all are computed. feedback: all answers so far.

        Raises:
            ValueError: as `clamp`: answers with edges both ways, or of another number of draws.
        """
        answers = torch.where(feedback.tested, feedback.present.double(), torch.nan)
        if bool((feedback.tested & self.state.clamped.isnan()).any()):
            self.state = fit_graphs(clamp(self.state, answers), self.state.config.update_steps)
        return torch.where(asked, self.state.probabilities, 0.0)

    def urgency(self, beliefs: Tensor, feedback: Feedback, count: int) -> Tensor:
        """|d loss / d gamma| + |d loss / d theta| of untested pairs `[P, n, n]`, see `expected_slopes`; else 0.

        Neither the beliefs of the loop nor the number of tests to come matter.
        """
        of_gamma, of_theta = expected_slopes(self.state)
        return (of_gamma.abs() + of_theta.abs()).masked_fill(feedback.tested, 0.0)


def expected_slopes(state: EncoFit) -> tuple[Tensor, Tensor]:
    """Gradients of gamma and theta `[P, n, n]`, averaged over the variables that have interventional rows (and, while
    one has none, observed rows as one more)."""
    slots = state.data.counts.shape[1]
    usable = (state.data.counts > 0).double()
    usable[:, -1] = (usable[:, :-1].amin(1) == 0).double()
    total = [torch.zeros_like(state.gamma), torch.zeros_like(state.gamma)]
    for k in range(slots):
        target = torch.full_like(state.keys, k)
        for part, slope in zip(total, slopes_at(state, target, JUDGED, state.steps[1] * slots + k), strict=True):
            part += slope * (usable[:, k] / usable.sum(1))[:, None, None]
    return total[0], total[1]
