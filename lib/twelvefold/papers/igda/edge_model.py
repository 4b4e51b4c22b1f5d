"""Language models as experts of the loop: what a model is asked, what it answers, and how replicates share answers.

The loop knows matrices of all pairs and replicates; a model knows a list of ordered pairs (i, j), each the question
whether variable i is a direct cause of variable j, and a list of results.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol, runtime_checkable

import torch
from torch import Tensor

from twelvefold.papers.igda.beliefs import check_beliefs
from twelvefold.papers.igda.feedback import Feedback
from twelvefold.tasks.causal_graphs import CausalGraph


class Result(NamedTuple):
    """One edge experiment: whether variable i is a direct cause of variable j, and in which round that was found."""

    i: int
    j: int
    present: bool
    round: int


class EdgeBeliefs(NamedTuple):
    """What a model believes of E pairs.

    Attributes:
        p: probability that the edge is there `[E]`, float64.
        samples: single answers `[E, K, 2]`, float64: label (1 yes, 0 no) and stated confidence in it, NaN where an
            answer could not be read; None for a model that does not sample.
        n_failed: how many answers could not be read.
    """

    p: Tensor
    samples: Tensor | None = None
    n_failed: int = 0


class EdgeModel(Protocol):
    """A model that can be asked about edges."""

    def beliefs(
        self, graph: CausalGraph, edges: Tensor, feedback: Sequence[Result], generator: torch.Generator,
        earlier: Tensor | None = None,
    ) -> EdgeBeliefs:  # fmt: skip
        """What the model believes of some pairs.

        Args:
            graph: names and phrases of its variables are shown to the model; its edges never are.
            edges: pairs asked about `[E, 2]`, int64.
            feedback: all results so far, oldest first.
            generator: of whatever is drawn.
            earlier: what it believed when it was last asked `[E]`, NaN where it was not; None: nowhere.
        """


@runtime_checkable
class EdgeChooser(Protocol):
    """A model that can be asked which edges to test."""

    def choose(self, graph: CausalGraph, count: int, feedback: Sequence[Result], generator: torch.Generator) -> Tensor:
        """Untested pairs that the model names, most wanted first `[at most count, 2]`, int64.

        Args:
            graph: as for `EdgeModel`. count: tests of the coming round. feedback: all results so far, oldest first.
            generator: of whatever is drawn.
        """


@dataclass
class ModelExpert:
    """An edge model as the `ChoosingExpert` of S replicates of the loop.

    The model is asked about the pairs of `asked` and no other. Replicates that stand alike (same question, same
    feedback, same earlier beliefs) are asked once and share the answer. It remembers its last beliefs, so it serves one
    run of the loop at a time; a call without any test begins a new run. A model that can name edges (`EdgeChooser`)
    may also be left the choice of tests; what it leaves open is filled up at random.

    Attributes:
        model: who answers. graph: whose edges are asked about. generator: of what the model draws.
        n_asked: pairs put to the model so far. n_failed: answers that could not be read so far.
    """

    model: EdgeModel
    graph: CausalGraph
    generator: torch.Generator
    n_asked: int = 0
    n_failed: int = 0
    _last: Tensor | None = field(default=None, init=False, repr=False)

    def beliefs(self, asked: Tensor, feedback: Feedback) -> Tensor:
        """Beliefs `[S, n, n]`, float64, at the pairs asked about; 0 elsewhere.

        Raises:
            ValueError: shapes that do not fit the graph, or an answer of the model that is no probability.
        """
        shape = (len(asked), self.graph.size, self.graph.size)
        if tuple(asked.shape) != shape or tuple(feedback.tested.shape) != shape:
            raise ValueError(f"asked has shape {tuple(asked.shape)}, feedback {tuple(feedback.tested.shape)}; both "
                             f"must be {shape} for {self.graph.name!r}")  # fmt: skip
        last = self._last
        if last is None or last.shape != shape or not bool(feedback.tested.any()):
            last = torch.full(shape, torch.nan, dtype=torch.float64)
        where, stated = asked.cpu(), torch.zeros(shape, dtype=torch.float64)
        for members in alike(where, feedback, last):
            if bool(where[members[0]].any()):
                stated[members] = self._answer(where[members[0]], feedback, members[0], last[members[0]])
        self._last = torch.where(where, stated, last)
        return stated.to(asked.device)

    def urgency(self, beliefs: Tensor, feedback: Feedback, count: int) -> Tensor:
        """`count` for the pair that the model named first, one less for each that follows, 0 for others `[S, n, n]`.

        Raises:
            ValueError: a model that cannot name edges, or one that names more than `count` or what is no open pair.
        """
        if not isinstance(self.model, EdgeChooser):
            raise ValueError(f"{type(self.model).__name__} has no method `choose`: it cannot say which edges to test")
        wanted = torch.zeros(beliefs.shape, dtype=torch.float64)
        for members in alike(torch.zeros_like(feedback.tested), feedback, torch.zeros(beliefs.shape)):
            results = results_of(feedback, members[0])
            named = self.model.choose(self.graph, count, results, self.generator)
            check_edges(named, self.graph)
            tested = {(result.i, result.j) for result in results}
            if len(named) > count or tested & {(i, j) for i, j in named.tolist()}:
                raise ValueError(f"the model names {named.tolist()}; at most {count} pairs without a result are needed")
            for place, (i, j) in enumerate(named.tolist()):
                wanted[members, i, j] = float(count - place)
        return wanted.to(beliefs)

    def _answer(self, asked: Tensor, feedback: Feedback, replicate: int, last: Tensor) -> Tensor:
        """Beliefs `[n, n]` of one replicate."""
        edges = asked.nonzero()  # [E, 2]
        known = last[asked]  # [E]
        earlier = None if bool(known.isnan().all()) else known
        found = self.model.beliefs(self.graph, edges, results_of(feedback, replicate), self.generator, earlier)
        if found.p.shape != (len(edges),):
            raise ValueError(f"the model's beliefs have shape {tuple(found.p.shape)}; {(len(edges),)} is needed")
        check_beliefs(found.p)
        self.n_asked, self.n_failed = self.n_asked + len(edges), self.n_failed + found.n_failed
        stated = torch.zeros(asked.shape, dtype=torch.float64)
        stated[asked] = found.p.to(stated)
        return stated


def alike(asked: Tensor, feedback: Feedback, last: Tensor) -> list[list[int]]:
    """Replicates in groups that would put the same questions, in order of their first members.

    Args:
        asked: `[S, n, n]`, bool. feedback: of all replicates. last: earlier beliefs `[S, n, n]`, NaN for none.
    """
    groups: dict[tuple[bytes, ...], list[int]] = {}
    parts = [part.cpu() for part in (asked, feedback.tested, feedback.present, feedback.round, last)]
    for replicate in range(len(asked)):
        groups.setdefault(tuple(part[replicate].numpy().tobytes() for part in parts), []).append(replicate)
    return list(groups.values())


def results_of(feedback: Feedback, replicate: int) -> list[Result]:
    """The results of one replicate, oldest first; within a round in the order of the pairs.

    Raises:
        IndexError: a replicate that is not there.
    """
    tested = feedback.tested[replicate].nonzero().tolist()
    present, number = feedback.present[replicate].tolist(), feedback.round[replicate].tolist()
    found = [Result(i, j, present[i][j], number[i][j]) for i, j in tested]
    return sorted(found, key=lambda result: (result.round, result.i, result.j))


def check_edges(edges: Tensor, graph: CausalGraph) -> None:
    """Refuse what is no list of pairs of different variables of a graph.

    Raises:
        ValueError: another shape or type, a variable that is not there, or a pair of a variable with itself.
    """
    if edges.ndim != 2 or edges.shape[1] != 2 or edges.dtype != torch.int64:
        raise ValueError(f"edges is {edges.dtype} {tuple(edges.shape)}; int64 [E, 2] is needed")
    wrong = (edges < 0).any(1) | (edges >= graph.size).any(1) | (edges[:, 0] == edges[:, 1])
    if bool(wrong.any()):
        raise ValueError(f"edges holds {edges[wrong][0].tolist()}; pairs of two different variables from 0 to "
                         f"{graph.size - 1} are needed")  # fmt: skip
