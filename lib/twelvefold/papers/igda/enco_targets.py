"""Which variable to intervene on next: the one whose imagined rows would move the beliefs most.

Graphs are drawn from the beliefs, the networks imagine rows with variable k set at random in each, and the score of k
is the mean over these graphs of the norm of the gradient that such rows would give gamma and theta. Source: Olko et al.
(2023), "Trust Your Gradient: Gradient-based Intervention Targeting for Causal Discovery" (GIT; arXiv 2211.13715), from
memory: how it draws graphs without cycles, and how many, was not looked up. Here an order of the variables comes first,
from theta, and edges along it next, from gamma.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, NamedTuple, get_args

import torch
import torch.nn.functional as F
from torch import Tensor

from twelvefold.nn.cumulative_sums import cumulative_sums
from twelvefold.papers.igda.enco import EncoFit, fit_graphs, fit_models, gradients
from twelvefold.papers.igda.enco_models import Data, checked_data, logits_of_rows, losses_of_graphs, uniforms

TargetRule = Literal["gradient", "random"]
Sampler = Callable[[Tensor], Tensor]  # targets [P] -> rows [P, M, n] with them set at random
_IMAGINED_GRAPHS, _IMAGINED_ROWS, _JUDGES, _TIES = range(10, 14)  # streams of draws, apart from those of `enco`


@dataclass(frozen=True)
class Imagination:
    """How much is imagined for each candidate.

    Attributes:
        graphs: drawn from the beliefs. rows: imagined in each of them.
    """

    graphs: int = 5
    rows: int = 32

    def __post_init__(self) -> None:
        if min(self.graphs, self.rows) < 1:
            raise ValueError(f"graphs = {self.graphs}, rows = {self.rows}; at least 1 each is needed")


class Acquisition(NamedTuple):
    """What happened while rows were acquired.

    Attributes:
        fitted: at the end. targets: of each round `[R, P]`.
        probabilities: of edges before the first round and after each `[R + 1, P, n, n]`.
    """

    fitted: EncoFit
    targets: Tensor
    probabilities: Tensor


def draw_acyclic(state: EncoFit, count: int, step: int) -> tuple[Tensor, Tensor]:
    """Graphs without cycles from the beliefs `[P, G, n, n]`, bool, and the place of variables in an order `[P, G, n]`.

    The variable that comes next is i with probability proportional to prod_j sigmoid(theta_ij) over those that are
    left; an edge from an earlier to a later variable is there with probability sigmoid(gamma).
    """
    draws, n = state.gamma.shape[:2]
    drawn = uniforms(state.keys, _IMAGINED_GRAPHS, step, count * n * (1 + n)).double()
    noise = -(-drawn[:, : count * n].clamp(min=2.0**-25).log()).log().view(draws, count, n)  # Gumbel: argmax draws
    first = F.logsigmoid(state.theta) * ~torch.eye(n, dtype=torch.bool, device=state.keys.device)
    place = torch.full((draws, count, n), n, device=state.keys.device)
    for position in range(n):
        left = place == n
        score = torch.einsum("pij,pgj->pgi", first, left.double()) + noise
        chosen = score.masked_fill(~left, -torch.inf).argmax(2, keepdim=True)
        place = place.scatter(2, chosen, position)
    edges = drawn[:, count * n :].view(draws, count, n, n) < state.gamma.sigmoid()[:, None]
    return edges & (place[..., :, None] < place[..., None, :]), place


@torch.no_grad()
def imagine(state: EncoFit, graphs: Tensor, place: Tensor, rows: int, step: int) -> Tensor:
    """Rows that the networks imagine with each variable in turn set at random, `[P, n, G, R, n]`, int64.

    Args:
        graphs: without cycles `[P, G, n, n]`, bool. place: of each variable in an order that fits them `[P, G, n]`.
        rows: R. step: number of the draw.
    """
    draws, count, n = place.shape
    total = n * count * rows
    masks, place = (x[:, None, :, None].expand(-1, n, -1, rows, *x.shape[2:]).flatten(1, 3) for x in (graphs, place))
    drawn = uniforms(state.keys, _IMAGINED_ROWS, step, total * n).view(draws, total, n)
    target = torch.arange(n, device=drawn.device).repeat_interleave(count * rows)  # [n G R]
    here = target[:, None] == torch.arange(n, device=drawn.device)
    sizes = torch.tensor(state.data.categories, device=drawn.device)
    made = torch.where(here, (drawn.double() * sizes).long(), 0)  # uniform at the target
    for position in range(n):
        chances = logits_of_rows(state.models, made, masks.float()).softmax(-1)  # [P, n, B, C]
        shares = cumulative_sums(chances)[..., :-1]
        thought = (drawn.transpose(1, 2)[..., None] >= shares).sum(-1).transpose(1, 2)  # by the inverse of the sums
        made = torch.where((place == position) & ~here, thought.clamp(max=sizes - 1), made)
    return made.view(draws, n, count, rows, n)


def target_scores(state: EncoFit, imagination: Imagination, step: int) -> Tensor:
    """Mean norm of the gradient of (gamma, theta) that imagined rows of each candidate would give `[P, n]`, float64."""
    (draws, n), count = state.gamma.shape[:2], state.config.graphs
    made = imagine(state, *draw_acyclic(state, imagination.graphs, step), imagination.rows, step)
    drawn = uniforms(state.keys, _JUDGES, step, count * n * n).view(draws, count, n, n)
    judges = drawn < state.probabilities[:, None]  # the same for all candidates
    scores = torch.zeros(draws, n, dtype=torch.float64, device=made.device)
    for k in range(n):
        for graph in range(imagination.graphs):
            losses = losses_of_graphs(state.models, made[:, k, graph], judges.float())
            slopes = gradients(losses, judges, state.gamma, state.theta, torch.full_like(state.keys, k),
                               state.config.sparsity)  # fmt: skip
            scores[:, k] += torch.stack(slopes).square().sum((0, 2, 3)).sqrt() / imagination.graphs
    return scores


def choose_target(state: EncoFit, rule: TargetRule, imagination: Imagination, step: int) -> Tensor:
    """The next variable to set at random, of each data draw `[P]`, int64.

    Args:
        state: the fit so far. rule: "gradient" (GIT) or "random". imagination: used by "gradient".
        step: number of the choice; another number gives other draws.

    Raises:
        ValueError: an unknown rule.
    """
    if rule not in get_args(TargetRule):
        raise ValueError(f"rule = {rule!r}; known are {list(get_args(TargetRule))}")
    ties = uniforms(state.keys, _TIES, step, state.gamma.shape[1])
    if rule == "random":
        return ties.argmax(1)
    scores = target_scores(state, imagination, step)
    return ties.masked_fill(scores < scores.amax(1, keepdim=True), -1.0).argmax(1)


def acquire(
    state: EncoFit, sampler: Sampler, rule: TargetRule, rounds: int, imagination: Imagination | None = None
) -> Acquisition:  # fmt: skip
    """Choose a target, add its rows, go on fitting, and again.

    Each round trains the networks for `model_steps` and fits graphs for `update_steps` more steps.

    Args:
        state: the fit before. sampler: gives rows for targets. rule, imagination: see `choose_target`. rounds: R.

    Raises:
        ValueError: fewer than one round, an unknown rule, or rows that `add_rows` refuses.
    """
    if rounds < 1:
        raise ValueError(f"rounds = {rounds}; at least 1 is needed")
    targets, probabilities = [], [state.probabilities]
    for number in range(rounds):
        targets.append(choose_target(state, rule, imagination or Imagination(), number))
        state = state._replace(data=add_rows(state.data, targets[-1], sampler(targets[-1])))
        state = fit_graphs(fit_models(state, state.config.model_steps), state.config.update_steps)
        probabilities.append(state.probabilities)
    return Acquisition(state, torch.stack(targets), torch.stack(probabilities))


def add_rows(data: Data, target: Tensor, rows: Tensor) -> Data:
    """The data with rows `[P, M, n]` added in which the targets `[P]` were set at random.

    Raises:
        ValueError: another shape or type, no row, a target out of range, or a category out of range.
    """
    draws, n = len(data.rows), len(data.categories)
    shaped = rows.ndim == 3 and (len(rows), rows.shape[2]) == (draws, n) and rows.shape[1] > 0
    if not shaped or rows.dtype != torch.int64:
        raise ValueError(f"rows is {rows.dtype} {[*rows.shape]}; int64 of shape [{draws}, at least 1, {n}] is needed")
    if tuple(target.shape) != (draws,) or bool(((target < 0) | (target >= n)).any()):
        raise ValueError(f"target = {target.tolist()}; {draws} numbers from 0 to {n - 1} are needed")
    more, here = rows.shape[1], target[:, None]
    counts = data.counts[:, :-1]
    before = counts.gather(1, here)  # [P, 1]
    capacity = max(data.capacity, int(before.max()) + more)
    stored = data.rows[:, : n * data.capacity].unflatten(1, (n, data.capacity))
    grown = F.pad(stored, (0, 0, 0, capacity - data.capacity)).flatten(1, 2)
    place = here * capacity + before + torch.arange(more, device=rows.device)  # [P, M]
    grown = grown.scatter(1, place[:, :, None].expand(-1, -1, n), rows).unflatten(1, (n, capacity))
    counts = counts.scatter_add(1, here, torch.full_like(here, more))
    return checked_data(data.observations, grown, data.categories, counts)
