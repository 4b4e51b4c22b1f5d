"""A graph learnt from rows of data: hill climbing on bootstrap resamples, as an expert of the loop.

Every resample of the N rows gives one acyclic graph; the belief in i -> j is the share of the resamples whose graph has
that edge. The search is pgmpy's (an extra, "graphs"), greedy over adding, deleting and turning edges round, of

    BIC = sum_j [ sum over rows of log P(x_j | parents of j) - (log N / 2) q_j (r_j - 1) ],

r_j the categories of j and q_j the combinations of its parents' categories. Graphs that imply the same independences
have the same BIC: observed rows cannot say which way an edge points when both ways belong to such graphs. Which one a
search then returns depends on the order in which it looks at pairs. The published networks list causes before effects,
so that a search over their columns as they stand would be told the directions. Here every resample is searched under
random names of the variables, and scores are multiples of 2^-20, so that equal scores are equal to the last bit.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from pgmpy.base import DAG
from pgmpy.causal_discovery import ExpertKnowledge, HillClimbSearch
from pgmpy.structure_score import BaseStructureScore
from torch import Tensor

from twelvefold.papers.igda.feedback import Feedback

STEP = 2.0**-20  # of all scores: sums and differences of its multiples up to 2^32 are exact
COLUMNS = ("random", "file", "reversed")  # orders of columns


@dataclass(frozen=True)
class Climbing:
    """How graphs are learnt.

    Attributes:
        resamples: B. max_parents: of a variable.
        columns: order in which a search sees the variables, which decides ties: "random" (another one for each
            resample), "file" (as the rows have them) or "reversed".
    """

    resamples: int = 10
    max_parents: int = 4
    columns: str = "random"

    def __post_init__(self) -> None:
        if self.resamples < 1 or self.max_parents < 1:
            raise ValueError(f"resamples = {self.resamples}, max_parents = {self.max_parents}; at least 1 is needed")
        if self.columns not in COLUMNS:
            raise ValueError(f"columns = {self.columns!r}; known are {list(COLUMNS)}")


class CountedScore(BaseStructureScore):
    """BIC of discrete rows, from counts of different rows; pgmpy asks for local scores by column number."""

    def __init__(self, rows: np.ndarray, weights: np.ndarray, categories: Sequence[int]) -> None:
        """Keep rows.

        Args:
            rows: different rows `[U, n]`, numbers of categories. weights: how often each occurs `[U]`.
            categories: of each variable `[n]`.
        """
        self.rows, self.weights, self.categories = rows, weights, categories
        self._sums: dict[frozenset[int], float] = {}
        self._scores: dict[tuple[int, frozenset[int]], float] = {}
        self._price = _rounded(0.5 * math.log(weights.sum()))  # of a free parameter

    def local_score(self, variable: int, parents: Sequence[int]) -> float:
        """log-likelihood of a variable given its parents, minus the price of the table of that size."""
        key = (variable, frozenset(parents))
        if key not in self._scores:
            table = math.prod(self.categories[i] for i in parents) * (self.categories[variable] - 1)
            fit = self._sum(key[1] | {variable}) - self._sum(key[1])
            self._scores[key] = fit - self._price * table
        return self._scores[key]

    def _sum(self, variables: frozenset[int]) -> float:
        """Sum over combinations of categories of N_c log N_c."""
        if variables not in self._sums:
            columns, code, size = sorted(variables), np.zeros(len(self.rows), dtype=np.int64), 1
            for j in columns:
                code, size = code * self.categories[j] + self.rows[:, j], size * self.categories[j]
            if size > 4 * len(self.rows):  # most combinations do not occur
                code = np.unique(code, return_inverse=True)[1]
            counts = np.bincount(code, weights=self.weights)
            counts = counts[counts > 0]
            self._sums[variables] = _rounded(float(counts @ np.log(counts)))
        return self._sums[variables]


def _rounded(value: float) -> float:
    return round(value / STEP) * STEP


class Resample(NamedTuple):
    """One bootstrap resample, ready to be searched, again and again.

    Attributes:
        score: of columns. column: number of the column that holds each variable `[n]`. max_parents: of a variable.
    """

    score: CountedScore
    column: np.ndarray
    max_parents: int

    def graph(
        self, required: Collection[tuple[int, int]] = (), forbidden: Collection[tuple[int, int]] = ()
    ) -> np.ndarray:  # fmt: skip
        """The graph that hill climbing finds `[n, n]`, bool.

        Args:
            required, forbidden: pairs (i, j) of variables whose edge i -> j must, or must not, be there.
        """
        n, column = len(self.column), self.column.tolist()
        known = ExpertKnowledge(required_edges=[(column[i], column[j]) for i, j in required],
                                forbidden_edges=[(column[i], column[j]) for i, j in forbidden])  # fmt: skip
        search = HillClimbSearch(scoring_method=self.score, max_indegree=self.max_parents, expert_knowledge=known,
                                 return_type="dag", show_progress=False)  # fmt: skip
        search.fit(pd.DataFrame(np.zeros((2, n), dtype=np.int64)))  # names of columns alone: the score has the rows
        found = np.zeros((n, n), dtype=bool)
        for cause, effect in search.causal_graph_.edges():
            found[cause, effect] = True
        return found[np.ix_(column, column)]


def resamples(rows: np.ndarray, categories: Sequence[int], climbing: Climbing, generator: np.random.Generator
              ) -> list[Resample]:  # fmt: skip
    """Draw B bootstrap resamples of the rows, each of the size of the whole.

    Args:
        rows: numbers of categories `[N, n]`. categories: of each variable `[n]`. climbing: how graphs are learnt.
        generator: draws resamples and names.

    Raises:
        ValueError: rows that are not whole numbers within `categories`, or fewer than two rows or variables.
    """
    _check_rows(rows, categories)
    different, counts = np.unique(rows, axis=0, return_counts=True)
    made, n = [], rows.shape[1]
    for _ in range(climbing.resamples):
        weights = generator.multinomial(len(rows), counts / len(rows))
        orders = {"random": generator.permutation(n), "file": np.arange(n), "reversed": np.arange(n)[::-1]}
        column = orders[climbing.columns]
        place, there = np.argsort(column), weights > 0
        score = CountedScore(different[there][:, place], weights[there], [int(categories[j]) for j in place])
        made.append(Resample(score, column, climbing.max_parents))
    return made


def _check_rows(rows: np.ndarray, categories: Sequence[int]) -> None:
    if rows.ndim != 2 or not np.issubdtype(rows.dtype, np.integer) or min(rows.shape) < 2:
        raise ValueError(f"rows are {rows.dtype} of shape {rows.shape}; whole numbers [N, n] with N, n >= 2 are needed")
    if len(categories) != rows.shape[1]:
        raise ValueError(f"categories has {len(categories)} numbers; one for each of {rows.shape[1]} columns is needed")
    if (rows < 0).any() or (rows >= np.asarray(categories)).any():
        raise ValueError(f"rows hold a category that is not there: 0 to {[int(c) - 1 for c in categories]} are")


def frequencies(graphs: Sequence[np.ndarray]) -> Tensor:
    """Share of the graphs `[n, n]` that have each edge: beliefs `[n, n]`, float64."""
    return torch.from_numpy(np.mean(graphs, axis=0, dtype=np.float64))


def class_shares(graph: np.ndarray) -> np.ndarray:
    """An acyclic graph with the directions that its independences leave open counted half each way.

    Returns:
        `[n, n]`, float64: 1 where all graphs with the same independences have the edge, 1/2 both ways where the
        direction is open, else 0.
    """
    dag = DAG()
    dag.add_nodes_from(range(len(graph)))
    dag.add_edges_from([(int(i), int(j)) for i, j in np.argwhere(graph)])
    partly: Any = dag.to_pdag()
    beliefs = np.zeros(graph.shape)
    for i, j in partly.directed_edges:
        beliefs[i, j] = 1.0
    for i, j in partly.undirected_edges:
        beliefs[i, j] = beliefs[j, i] = 0.5
    return beliefs


class RelearningExpert(NamedTuple):
    """S data draws, each with its resamples; an `Expert` of the loop that learns anew with the answers at hand.

    Edges that a test has shown are required, others that were tested forbidden; no found graph has a cycle.

    Attributes:
        drawn: the resamples. first: beliefs before any test `[S, n, n]`.
    """

    drawn: Sequence[Sequence[Resample]]
    first: Tensor

    def beliefs(self, asked: Tensor, feedback: Feedback) -> Tensor:
        """Share of the resamples whose graph has each edge, given all answers `[S, n, n]`, float64."""
        if not bool(feedback.tested.any()):
            return self.first
        there, absent = feedback.present & feedback.tested, feedback.tested & ~feedback.present
        return torch.stack([
            frequencies([resample.graph(_pairs(there[s]), _pairs(absent[s])) for resample in draw])
            for s, draw in enumerate(self.drawn)
        ]).to(asked.device)  # fmt: skip


def _pairs(chosen: Tensor) -> list[tuple[int, int]]:
    return [(i, j) for i, j in chosen.nonzero().tolist()]
