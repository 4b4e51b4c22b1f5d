"""The loop of interactive graph discovery: predict, choose edges to test, test, update, and again.

It runs S replicates at once and knows of the expert one thing: what it believes when asked with the feedback so far.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal, NamedTuple, Protocol, get_args, runtime_checkable

import torch
from torch import Tensor

from twelvefold.papers.igda.beliefs import check_beliefs, labels, uncertainty
from twelvefold.papers.igda.feedback import Feedback, Neighbourhood, add_answers, neighbours, no_feedback, pairs
from twelvefold.papers.igda.metrics import agreement

Update = Literal["none", "local", "global"]

SELECTIONS: Mapping[str, Callable[[Tensor], Tensor]] = {
    "uncertainty": uncertainty,  # the paper's rule: where the expert is least sure
    "top": lambda beliefs: beliefs,  # the most probable edge first
    "confident": lambda beliefs: -uncertainty(beliefs),  # where it is most sure
    "random": torch.zeros_like,  # all pairs alike: ties are broken at random
}
BY_EXPERT = "expert"  # the expert itself says what to test


class Expert(Protocol):
    """Whoever believes something about edges."""

    def beliefs(self, asked: Tensor, feedback: Feedback) -> Tensor:
        """Probabilities `[S, n, n]`, float64, at the pairs asked about `[S, n, n]`; anything elsewhere."""


@runtime_checkable
class ChoosingExpert(Expert, Protocol):
    """An expert that also says which pairs it wants tested."""

    def urgency(self, beliefs: Tensor, feedback: Feedback, count: int) -> Tensor:
        """How much it wants each pair tested `[S, n, n]`, finite; the `count` untested pairs with the largest are.

        Args:
            beliefs: of the loop, 0 and 1 where tested `[S, n, n]`. feedback: so far. count: tests of the coming round.
        """


class FixedExpert(NamedTuple):
    """An `Expert` that believes the same whatever is tested.

    Attributes:
        stated: beliefs `[S, n, n]`, float64.
    """

    stated: Tensor

    def beliefs(self, asked: Tensor, feedback: Feedback) -> Tensor:
        """What it always believes of all pairs `[S, n, n]`."""
        return self.stated


@dataclass(frozen=True)
class Policy:
    """How edges are chosen and beliefs renewed.

    Attributes:
        selection: a rule of `SELECTIONS`, or "expert" for a `ChoosingExpert`; the untested pairs with the largest
            values are tested, ties at random.
        update: which untested pairs the expert is asked about again after each round: "none", "local" (those that the
            round bears on; the paper) or "global" (all).
        neighbourhood: what "local" means, see `feedback.neighbours`.
    """

    selection: str = "uncertainty"
    update: Update = "local"
    neighbourhood: Neighbourhood = "same_role"

    def __post_init__(self) -> None:
        for name, value, known in (("selection", self.selection, (*SELECTIONS, BY_EXPERT)),
                                   ("update", self.update, get_args(Update)),
                                   ("neighbourhood", self.neighbourhood, get_args(Neighbourhood))):  # fmt: skip
            if value not in known:
                raise ValueError(f"{name} = {value!r}; known are {list(known)}")


class Discovery(NamedTuple):
    """What happened, per replicate and round 0 (before any test), ..., R.

    Attributes:
        f1, f1_untested, distance: see `metrics.Agreement`; `[S, R + 1]`, float64.
        found: true edges tested so far `[S, R + 1]`. tests: pairs tested so far `[R + 1]`, int64.
        questions: pairs the expert was asked about so far `[S, R + 1]`, int64.
        beliefs: last beliefs, 0 and 1 where tested `[S, n, n]`. feedback: all answers.
    """

    f1: Tensor
    f1_untested: Tensor
    distance: Tensor
    found: Tensor
    tests: Tensor
    questions: Tensor
    beliefs: Tensor
    feedback: Feedback


def discover(
    expert: Expert, edges: Tensor, policy: Policy, *, replicates: int, rounds: int, experiments: int,
    generator: torch.Generator,
) -> Discovery:  # fmt: skip
    """Run the loop.

    Args:
        expert: of all replicates. edges: the true graph `[n, n]`, bool, which answers the experiments.
        policy: how. replicates: S. rounds: R. experiments: tests per round; the last round takes what is left.
        generator: breaks ties.

    Raises:
        ValueError: a number out of range, beliefs of the expert that are no probabilities of the right shape, or an
            expert that cannot say what to test though the policy leaves it to the expert.
    """
    n = len(edges)
    if policy.selection == BY_EXPERT and not isinstance(expert, ChoosingExpert):
        raise ValueError(f"selection = {BY_EXPERT!r} needs an expert with a method `urgency`; {type(expert).__name__} "
                         f"has none. Rules that serve any expert: {list(SELECTIONS)}")  # fmt: skip
    if min(replicates, experiments) < 1 or rounds < 0:
        raise ValueError(f"replicates = {replicates}, rounds = {rounds}, experiments = {experiments}; at least 1, 0 "
                         "and 1 are needed")  # fmt: skip
    feedback = no_feedback(replicates, n, edges.device)
    asked = pairs(n, edges.device).expand(replicates, n, n)
    beliefs = ask(expert, asked, feedback, torch.zeros(asked.shape, dtype=torch.float64, device=edges.device))
    questions, states = asked.sum((1, 2)), []
    states.append(_state(beliefs, edges, feedback, questions))
    for _ in range(rounds):
        left = n * (n - 1) - int(feedback.tested[0].sum())
        if left:
            count = min(experiments, left)
            if isinstance(expert, ChoosingExpert) and policy.selection == BY_EXPERT:
                selected = largest(expert.urgency(beliefs, feedback, count), feedback, count, generator)
            else:
                selected = select(policy.selection, beliefs, feedback, count, generator)
            feedback = add_answers(feedback, selected, edges)
            asked = again(policy, feedback)
            beliefs = ask(expert, asked, feedback, beliefs)
            questions = questions + asked.sum((1, 2))
        states.append(_state(beliefs, edges, feedback, questions))
    columns = {name: torch.stack([state[name] for state in states], 1) for name in states[0]}
    return Discovery(**{**columns, "tests": columns["tests"][0]}, beliefs=beliefs, feedback=feedback)


def select(rule: str, beliefs: Tensor, feedback: Feedback, count: int, generator: torch.Generator) -> Tensor:
    """Choose `count` untested pairs of each replicate `[S, n, n]`, bool: those with the largest values of the rule.

    Raises:
        ValueError: fewer untested pairs than `count`, or an unknown rule.
    """
    if rule not in SELECTIONS:
        raise ValueError(f"rule = {rule!r}; known are {list(SELECTIONS)}")
    return largest(SELECTIONS[rule](beliefs), feedback, count, generator)


def largest(values: Tensor, feedback: Feedback, count: int, generator: torch.Generator) -> Tensor:
    """The `count` untested pairs of each replicate with the largest values `[S, n, n]`, bool; ties at random.

    Raises:
        ValueError: fewer untested pairs than `count`, values of another shape than the feedback, or not finite.
    """
    if values.shape != feedback.tested.shape:
        raise ValueError(f"values has shape {tuple(values.shape)}; {tuple(feedback.tested.shape)} is needed")
    n = values.shape[1]
    open_pairs = (pairs(n, values.device) & ~feedback.tested).flatten(1)  # [S, n^2]
    if count > int(open_pairs.sum(1).min()):
        raise ValueError(f"count = {count}; only {int(open_pairs.sum(1).min())} pairs are untested")
    if not bool(values.flatten(1)[open_pairs].isfinite().all()):
        raise ValueError("values of untested pairs hold a number that is not finite")
    values = values.flatten(1).masked_fill(~open_pairs, -torch.inf)
    draws = torch.rand(values.shape, generator=generator, dtype=torch.float64).to(values.device)
    least = values.topk(count).values[:, -1:]  # the smallest value that is chosen [S, 1]
    chosen, tied = values > least, values == least
    missing = count - chosen.sum(1, keepdim=True)  # how many of the tied ones are chosen, at least 1 [S, 1]
    if bool((tied.sum(1, keepdim=True) > missing).any()):  # those with the smallest draws
        place = draws.masked_fill(~tied, torch.inf).argsort(1).argsort(1)
        tied &= place < missing
    return (chosen | tied).view(-1, n, n)


def again(policy: Policy, feedback: Feedback) -> Tensor:
    """Untested pairs that the expert is asked about again after a round `[S, n, n]`, bool."""
    if policy.update == "none":
        return torch.zeros_like(feedback.tested)
    if policy.update == "local":
        return neighbours(feedback, policy.neighbourhood)
    return pairs(feedback.tested.shape[1], feedback.tested.device) & ~feedback.tested


def ask(expert: Expert, asked: Tensor, feedback: Feedback, before: Tensor) -> Tensor:
    """Beliefs `[S, n, n]`: new where asked, the truth where tested, as before elsewhere, 0 on the diagonal.

    Raises:
        ValueError: the expert's answer has another shape or is no probability where it was asked.
    """
    beliefs = before
    if bool(asked.any()):
        stated = expert.beliefs(asked, feedback)
        if stated.shape != before.shape:
            raise ValueError(f"the expert's beliefs have shape {tuple(stated.shape)}; {tuple(before.shape)} is needed")
        check_beliefs(stated[asked])
        beliefs = torch.where(asked, stated.to(before.dtype), before)
    return torch.where(feedback.tested, feedback.present.to(beliefs.dtype), beliefs)


def _state(beliefs: Tensor, edges: Tensor, feedback: Feedback, questions: Tensor) -> dict[str, Tensor]:
    met = agreement(labels(beliefs), edges, feedback.tested)
    return {**met._asdict(), "found": feedback.present.sum((1, 2)), "tests": feedback.tested.sum((1, 2)),
            "questions": questions}  # fmt: skip


def area(curve: Tensor) -> Tensor:
    """Mean over rounds 0, ..., R of a curve `[S, R + 1]`: the area under it, `[S]`."""
    return curve.mean(1)
