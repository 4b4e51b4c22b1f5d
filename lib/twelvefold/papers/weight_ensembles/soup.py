"""Which ingredients to average: one function for every selection rule, over a member x parameter matrix.

A *soup* (weight average, WA) of a multiset S of members is theta_S = (1/|S|) sum_{i in S} theta_i. Selection rules
differ in two things only: in which ORDER they offer candidates, and whether they ACCEPT the candidate after its average
has been evaluated on validation data. Ties are always settled for the member with the lower index.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

Evaluate = Callable[[Tensor], Tensor]  # averages [R, P] -> validation accuracies [R]

STATIC_ORDERS = ("accuracy", "random", "spread")  # sorted once, each member is looked at once
DYNAMIC_ORDERS = ("gain", "farthest", "nearest")  # sorted again at every step, refused members stay candidates
ORDER_RULES = STATIC_ORDERS + DYNAMIC_ORDERS
ACCEPT_RULES: dict[str, Callable[[float, float], bool]] = {
    "better": lambda new, old: new > old,  # strict, as in the model-soups repository
    "not worse": lambda new, old: new >= old,  # as in the DiWA repository
    "always": lambda new, old: True,  # forced additions
}


@dataclass(frozen=True)
class Soup:
    """The outcome of a selection.

    chosen: members in the order of their addition (repeats when members may be added again). values: validation
    accuracy after each addition, `len(chosen)` numbers.
    weights: the average `[P]`. evaluations: averages that the rule had to evaluate besides the N single members.
    """

    chosen: list[int]
    values: list[float]
    weights: Tensor
    evaluations: int

    @property
    def size(self) -> int:
        """Number of ingredients, repeats counted."""
        return len(self.chosen)


def check_population(weights: Tensor) -> Tensor:
    """Return `weights` if it is a finite, non-empty matrix `[N, P]`; raise ValueError that says what is wrong
    otherwise."""
    if weights.ndim != 2:
        raise ValueError(f"weights has shape {tuple(weights.shape)}; needed is a matrix [members, parameters]")
    if weights.shape[0] == 0 or weights.shape[1] == 0:
        raise ValueError(
            f"weights has shape {tuple(weights.shape)}; the population is empty, at least one member is needed"
        )
    finite = torch.isfinite(weights).all(dim=1)
    if not bool(finite.all()):
        raise ValueError(
            f"weights of members {(~finite).nonzero()[:, 0].tolist()} contain NaN or infinity; leave these members out"
        )
    return weights


def averages(weights: Tensor, chosen: Sequence[int]) -> Tensor:
    """The running averages `[K, P]` along a selection: row k is the mean of the first k + 1 entries of `chosen`.

    Running update theta <- theta + (theta_i - theta) / (k + 1): the same sequence of roundings as in `soup`. Raises
    ValueError for an empty selection, IndexError for an unknown member.
    """
    if len(chosen) == 0:
        raise ValueError("chosen is empty; an average needs at least one member")
    path = weights.new_empty(len(chosen), weights.shape[1])
    for step, index in enumerate(chosen):
        path[step] = weights[index] if step == 0 else torch.lerp(path[step - 1], weights[index], 1.0 / (step + 1))
    return path


class _Step:
    """The candidate averages of one step; evaluated in blocks, each at most once."""

    def __init__(self, weights: Tensor, mean: Tensor, size: int, evaluate: Evaluate, block: int) -> None:
        self.weights, self.mean, self.size, self.evaluate, self.block = weights, mean, size, evaluate, block
        self.known: dict[int, float] = {}

    def average(self, indices: Sequence[int]) -> Tensor:
        """Averages `[R, P]` after adding each of `indices` to the current mean."""
        return torch.lerp(self.mean.expand(len(indices), -1), self.weights[list(indices)], 1.0 / (self.size + 1))

    def values(self, indices: Sequence[int]) -> list[float]:
        """Validation accuracies of these candidate averages."""
        new = [index for index in indices if index not in self.known]
        for first in range(0, len(new), self.block):
            part = new[first : first + self.block]
            self.known.update(zip(part, _values(self.evaluate, self.average(part)), strict=True))
        return [self.known[index] for index in indices]

    def first_accepted(self, order: Sequence[int], accepts: Callable[[float], bool]) -> int | None:
        """Position in `order` of the first candidate that is accepted, None if none is."""
        for first in range(0, len(order), self.block):
            for offset, value in enumerate(self.values(order[first : first + self.block])):
                if accepts(value):
                    return first + offset
        return None


def _values(evaluate: Evaluate, rows: Tensor) -> list[float]:
    result = torch.as_tensor(evaluate(rows)).double().cpu()
    if result.shape != (rows.shape[0],):
        raise ValueError(
            f"evaluate returned shape {tuple(result.shape)} for {rows.shape[0]} averages; needed is [{rows.shape[0]}]"
        )
    if bool(torch.isnan(result).any()):
        raise ValueError("evaluate returned NaN; validation accuracies must be numbers")
    return result.tolist()


def descending(keys: Tensor, indices: Sequence[int]) -> list[int]:
    """`indices` sorted by `keys[index]` from large to small, ties by the lower index."""
    ordered = sorted(indices)
    ranks = torch.as_tensor(keys, dtype=torch.float64).cpu()[ordered].argsort(descending=True, stable=True)
    return [ordered[rank] for rank in ranks.tolist()]


def _static_order(
    rule: str, individual: Tensor, pairwise: Tensor | None, generator: np.random.Generator | None
) -> list[int]:
    members = range(len(individual))
    if rule == "accuracy":
        return descending(individual, members)
    if rule == "random":
        if generator is None:
            raise ValueError("order_rule 'random' needs generator, a numpy Generator (see twelvefold.core.seeds)")
        return [int(index) for index in generator.permutation(len(individual))]
    if pairwise is None or pairwise.shape != (len(individual),) * 2:
        raise ValueError(
            f"order_rule 'spread' needs pairwise, the distances [{len(individual)}, {len(individual)}] between members"
        )
    return descending(pairwise.double().mean(dim=1), members)


def _dynamic_order(
    rule: str, step: _Step, offered: list[int], distance: Callable[[Tensor], Tensor] | None
) -> list[int]:
    if rule == "gain":
        keys = torch.full((len(step.weights),), -torch.inf, dtype=torch.float64)
        keys[offered] = torch.tensor(step.values(offered), dtype=torch.float64)
        return descending(keys, offered)
    if distance is None:
        raise ValueError(
            f"order_rule {rule!r} needs distance, a function of the current average [P] that gives distances [N]"
        )
    away = distance(step.mean).double().cpu()
    return descending(away if rule == "farthest" else -away, offered)


def _check(
    weights: Tensor, order_rule: str, accept_rule: str, size: int | None, replace: bool, start: int | None, block: int
) -> int:
    check_population(weights)
    if order_rule not in ORDER_RULES:
        raise ValueError(f"order_rule is {order_rule!r}; known are {list(ORDER_RULES)}")
    if accept_rule not in ACCEPT_RULES:
        raise ValueError(f"accept_rule is {accept_rule!r}; known are {list(ACCEPT_RULES)}")
    members = weights.shape[0]
    if replace and order_rule in STATIC_ORDERS:
        raise ValueError(
            f"replace=True needs an order rule that offers members again ({list(DYNAMIC_ORDERS)}), not {order_rule!r}"
        )
    if size is not None and (size < 1 or (size > members and not replace)):
        raise ValueError(
            f"size is {size}; accepted are 1 to {members}, the number of members (more only with replace=True)"
        )
    if start is not None and not 0 <= start < members:
        raise ValueError(f"start is {start}; accepted are 0 to {members - 1}")
    if block < 1:
        raise ValueError(f"block is {block}; accepted are positive numbers of averages per evaluation")
    return members if size is None else size


def soup(
    weights: Tensor,
    evaluate: Evaluate,
    order_rule: str,
    accept_rule: str = "not worse",
    *,
    size: int | None = None,
    replace: bool = False,
    start: int | None = None,
    individual: Tensor | None = None,
    distance: Callable[[Tensor], Tensor] | None = None,
    pairwise: Tensor | None = None,
    generator: np.random.Generator | None = None,
    block: int = 256,
) -> Soup:
    """Build a weight average of ingredients by an order rule and an acceptance rule.

    Args:
        weights: `[N, P]`, one row per ingredient.
        evaluate: validation accuracies `[R]` of averages `[R, P]`; the only data that selection sees.
        order_rule: "accuracy" (greedy: sorted by own accuracy, each looked at once), "gain" (greedier: the candidate
            with the best average first, all candidates at every step), "farthest" and "nearest" (by `distance` to the
            current average, again at every step), "spread" (sorted once by mean distance to all others), "random".
        accept_rule: "better" (>), "not worse" (>=) or "always" (forced).
        size: at most so many ingredients; default N.
        replace: whether chosen members stay candidates (dynamic orders only).
        start: first ingredient; default the best single member.
        individual: `[N]` accuracies of the single members, if already known.
        block: averages per call of `evaluate`; changes the cost, never the result.

    Raises ValueError for a wrong shape, NaN, an empty population, a size beyond N, an unknown rule, or a rule that
    lacks what it needs.
    """
    limit = _check(weights, order_rule, accept_rule, size, replace, start, block)
    individual = (
        torch.tensor(_values(evaluate, weights), dtype=torch.float64)
        if individual is None
        else torch.as_tensor(individual).double().cpu()
    )
    if individual.shape != weights.shape[:1]:
        raise ValueError(f"individual has shape {tuple(individual.shape)}; needed is [{weights.shape[0]}]")
    everyone = list(range(weights.shape[0]))
    first = descending(individual, everyone)[0] if start is None else start
    queue = _static_order(order_rule, individual, pairwise, generator) if order_rule in STATIC_ORDERS else everyone
    queue = [index for index in queue if replace or index != first]
    chosen, values, mean, evaluations = [first], [float(individual[first])], weights[first], 0
    while len(chosen) < limit and queue:
        step = _Step(weights, mean, len(chosen), evaluate, block)
        order = queue if order_rule in STATIC_ORDERS else _dynamic_order(order_rule, step, queue, distance)
        position = _accepted_position(step, order, accept_rule, values[-1])
        evaluations += len(order) if order_rule == "gain" or position is None else position + 1
        if position is None:
            break
        added = order[position]
        chosen.append(added)
        values.append(step.values([added])[0])
        mean = step.average([added])[0]
        # a static order never looks back; a dynamic one keeps what it refused
        queue = order[position + 1 :] if order_rule in STATIC_ORDERS else [i for i in queue if replace or i != added]
    return Soup(chosen, values, mean.clone(), evaluations)


def _accepted_position(step: _Step, order: Sequence[int], accept_rule: str, value: float) -> int | None:
    if accept_rule == "always":
        return 0
    return step.first_accepted(order, lambda new: ACCEPT_RULES[accept_rule](new, value))
