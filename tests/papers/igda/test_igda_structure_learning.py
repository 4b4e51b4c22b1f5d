"""Bootstrap hill climbing: scores against pgmpy's, ties, equivalence classes by enumeration, and what is required."""

from __future__ import annotations

from itertools import combinations, product

import networkx as nx
import numpy as np
import pandas as pd
import pytest
import torch
from pgmpy.causal_discovery import HillClimbSearch
from pgmpy.structure_score import BIC
from twelvefold.core.seeds import numpy_generator
from twelvefold.papers.igda.feedback import add_answers, no_feedback, pairs
from twelvefold.papers.igda.loop import FixedExpert
from twelvefold.papers.igda.structure_learning import (
    STEP,
    Climbing,
    CountedScore,
    RelearningExpert,
    Resample,
    class_shares,
    frequencies,
    resamples,
)
from twelvefold.tasks.bayesian_networks import drawn_rows, load_network

ASIA = load_network("asia")
ROWS = drawn_rows(ASIA, 400, 10_000, 0)


def whole(rows: np.ndarray, categories: tuple[int, ...], column: np.ndarray | None = None) -> Resample:
    """All rows, each once, with columns in their order or another one."""
    column = np.arange(rows.shape[1]) if column is None else column
    place = np.argsort(column)
    different, counts = np.unique(rows[:, place], axis=0, return_counts=True)
    return Resample(CountedScore(different, counts, [categories[j] for j in place]), column, 4)


def chain(generator: np.random.Generator, rows: int = 600) -> np.ndarray:
    """Rows of a chain of four variables, each equal to the one before it in four of five cases."""
    flips = generator.random((rows, 4)) < np.array([0.5, 0.2, 0.2, 0.2])
    return np.cumsum(flips, axis=1) % 2


class TestScores:
    def test_local_scores_are_pgmpys(self) -> None:
        names = {j: list(range(k)) for j, k in enumerate(ASIA.counts)}
        theirs, ours = BIC(pd.DataFrame(ROWS).astype("category"), state_names=names), whole(ROWS, ASIA.counts).score
        for variable in range(8):
            others = [j for j in range(8) if j != variable]
            for size in range(4):
                for parents in list(combinations(others, size))[:6]:
                    expected = theirs.local_score(variable, parents)
                    assert ours.local_score(variable, parents) == pytest.approx(expected, abs=64 * STEP * 2)

    def test_many_categories_that_do_not_occur(self) -> None:
        rows = numpy_generator(1, 0, "wide").integers(0, 50, (30, 4))
        ours, frame = whole(rows, (50,) * 4).score, pd.DataFrame(rows).astype("category")
        theirs = BIC(frame, state_names={j: list(range(50)) for j in range(4)})
        assert ours.local_score(0, (1, 2, 3)) == pytest.approx(theirs.local_score(0, (1, 2, 3)), abs=1)

    def test_equivalent_graphs_tie_to_the_last_bit(self) -> None:
        score = whole(ROWS, ASIA.counts).score
        for i, j in combinations(range(8), 2):
            forward = score.local_score(i, ()) + score.local_score(j, (i,))
            assert forward == score.local_score(j, ()) + score.local_score(i, (j,))
            assert score.local_score(j, (i, 7)) == score.local_score(j, (7, i))

    def test_the_found_graph_scores_as_high_as_pgmpys(self) -> None:
        def total(graph: np.ndarray) -> float:
            score = whole(ROWS, ASIA.counts).score
            return sum(score.local_score(j, tuple(np.flatnonzero(graph[:, j]).tolist())) for j in range(8))

        ours = whole(ROWS, ASIA.counts).graph()
        search = HillClimbSearch("bic-d", max_indegree=4, return_type="dag", show_progress=False)
        search.fit(pd.DataFrame(ROWS).astype("category"))
        theirs = np.zeros((8, 8), dtype=bool)
        for cause, effect in search.causal_graph_.edges():
            theirs[cause, effect] = True
        assert total(ours) == pytest.approx(total(theirs), abs=1.0) and total(ours) > total(np.zeros((8, 8), bool))


class TestSearch:
    def test_what_is_joined_is_found_and_an_open_direction_is_chance(self) -> None:
        rows = chain(numpy_generator(1, 0, "chain"))
        drawn = resamples(rows, (2,) * 4, Climbing(resamples=40), numpy_generator(1, 0, "resamples"))
        found = frequencies([resample.graph() for resample in drawn])
        assert ((found + found.T).diagonal(1) > 0.95).all() and found[0, 3] + found[3, 0] < 0.8
        pair = resamples(rows[:, :2], (2,) * 2, Climbing(resamples=80), numpy_generator(1, 0, "resamples"))
        one = frequencies([resample.graph() for resample in pair])
        assert float(one[0, 1] + one[1, 0]) == 1 and 0.25 < float(one[0, 1]) < 0.75

    def test_fixed_orders_decide_the_direction_for_all_resamples_alike(self) -> None:
        rows, found = chain(numpy_generator(1, 0, "chain"))[:, :2], {}
        for order in ("file", "reversed"):
            drawn = resamples(rows, (2, 2), Climbing(12, columns=order), numpy_generator(1, 0, "resamples"))
            found[order] = frequencies([resample.graph() for resample in drawn])
            assert sorted(found[order].flatten().tolist()) == [0, 0, 0, 1]
        assert torch.equal(found["reversed"], found["file"].T)

    def test_names_of_columns_are_taken_back(self) -> None:
        rows = chain(numpy_generator(1, 0, "chain"))
        rows[:, 3] = numpy_generator(1, 0, "noise").integers(0, 2, len(rows))  # joined to nothing
        for column in ([2, 0, 3, 1], [1, 2, 3, 0]):
            graph = whole(rows, (2,) * 4, np.array(column)).graph()
            assert (graph | graph.T).tolist() == [[0, 1, 0, 0], [1, 0, 1, 0], [0, 1, 0, 0], [0, 0, 0, 0]]

    def test_graphs_are_acyclic_with_few_parents_and_the_same_again(self) -> None:
        for climbing in (Climbing(3), Climbing(3, max_parents=1)):
            drawn = resamples(ROWS, ASIA.counts, climbing, numpy_generator(1, 0, "resamples"))
            again = resamples(ROWS, ASIA.counts, climbing, numpy_generator(1, 0, "resamples"))
            for one, other in zip(drawn, again, strict=True):
                graph = one.graph()
                assert nx.is_directed_acyclic_graph(nx.from_numpy_array(graph, create_using=nx.DiGraph))
                assert graph.sum(0).max() <= climbing.max_parents
                assert np.array_equal(graph, one.graph()) and np.array_equal(graph, other.graph())
                assert one.score.weights.sum() == len(ROWS)

    def test_required_and_forbidden_edges(self) -> None:
        (resample,) = resamples(ROWS, ASIA.counts, Climbing(1), numpy_generator(1, 0, "resamples"))
        free = resample.graph()
        i, j = (int(k) for k in np.argwhere(free)[0])
        a, b = next((a, b) for a, b in product(range(8), range(8)) if a != b and not free[a, b] and not free[b, a])
        bound = resample.graph(required=[(j, i), (a, b)], forbidden=[(b, 7)] if b != 7 else [(b, 6)])
        assert bound[j, i] and not bound[i, j] and bound[a, b]
        assert not resample.graph(forbidden=[(i, j)])[i, j]


def vee(graph: np.ndarray) -> frozenset[tuple[int, int, int]]:
    """Pairs of causes of a common effect that are not joined themselves."""
    n = len(graph)
    return frozenset((a, b, c) for a, b in combinations(range(n), 2) for c in range(n)
                     if graph[a, c] and graph[b, c] and not graph[a, b] and not graph[b, a])  # fmt: skip


def test_shares_of_a_class_against_all_graphs_of_four_variables() -> None:
    places, every = [(a, b) for a in range(4) for b in range(4) if a != b], {}
    for chosen in product((False, True), repeat=12):
        graph = np.zeros((4, 4), dtype=bool)
        for there, (a, b) in zip(chosen, places, strict=True):
            graph[a, b] = there
        if nx.is_directed_acyclic_graph(nx.from_numpy_array(graph, create_using=nx.DiGraph)):
            every.setdefault(((graph | graph.T).tobytes(), vee(graph)), []).append(graph)
    assert sum(map(len, every.values())) == 543 and len(every) == 185  # known numbers of graphs and classes
    for graphs in every.values():
        same = np.all(graphs, axis=0)
        skeleton = graphs[0] | graphs[0].T
        expected = np.where(same, 1.0, np.where(skeleton & ~same & ~same.T, 0.5, 0.0))
        assert np.array_equal(class_shares(graphs[0]), expected)


def test_frequencies_are_shares_of_graphs() -> None:
    one, other = np.zeros((2, 2), dtype=bool), np.array([[False, True], [False, False]])
    assert frequencies([one, other, other, one]).tolist() == [[0, 0.5], [0, 0]]


class TestExperts:
    def test_a_fixed_expert_does_not_listen(self) -> None:
        stated = torch.full((1, 8, 8), 0.3)
        feedback = add_answers(no_feedback(1, 8), pairs(8)[None], ASIA.graph.edges)
        assert torch.equal(FixedExpert(stated).beliefs(pairs(8)[None], feedback), stated)

    def test_answers_are_kept_and_bear_on_other_edges(self) -> None:
        rows = chain(numpy_generator(1, 0, "chain"))[:, :3]
        drawn = [resamples(rows, (2,) * 3, Climbing(20), numpy_generator(1, k, "resamples")) for k in range(2)]
        first = torch.stack([frequencies([resample.graph() for resample in each]) for each in drawn])
        expert, nothing, every = RelearningExpert(drawn, first), no_feedback(2, 3), pairs(3).expand(2, 3, 3)
        assert torch.equal(expert.beliefs(every, nothing), first)
        edges, selected = torch.diag(torch.ones(2), 1).bool(), torch.zeros(2, 3, 3, dtype=torch.bool)
        selected[0, 0, 1] = selected[1, 1, 0] = True  # there in the first draw, absent in the second
        after = expert.beliefs(every, add_answers(nothing, selected, edges))
        assert after[0, 0, 1] == 1 and after[0, 1, 0] == 0 and after[1, 1, 0] == 0
        # 0 -> 1, and 0 and 2 independent given 1: the rest of the chain points away from 0
        assert after[0, 1, 2] > 0.9 > first[0, 1, 2]


@pytest.mark.parametrize(
    ("rows", "categories", "message"),
    [
        (np.zeros((5, 2)), (2, 2), "whole numbers"), (np.zeros((1, 2), dtype=int), (2, 2), "N, n >= 2"),
        (np.zeros((5,), dtype=int), (2,), "shape"), (np.zeros((5, 2), dtype=int), (2, 2, 2), "categories has 3"),
        (np.full((5, 2), 2), (2, 3), "category that is not there"), (np.full((5, 2), -1), (2, 2), "not there"),
    ],
)  # fmt: skip
def test_rows_that_are_refused(rows: np.ndarray, categories: tuple[int, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        resamples(rows, categories, Climbing(), numpy_generator(1, 0, "resamples"))


@pytest.mark.parametrize("options", [{"resamples": 0}, {"max_parents": 0}, {"columns": "alphabetical"}])
def test_ways_of_climbing_that_are_refused(options: dict[str, int]) -> None:
    with pytest.raises(ValueError, match=next(iter(options))):
        Climbing(**options)
