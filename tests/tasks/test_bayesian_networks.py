"""Bayesian networks: tables and rows against pgmpy's own reading, exact marginals and simulation; interventions."""

from __future__ import annotations

import gzip
import socket
import warnings
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats
from twelvefold.core.seeds import numpy_generator
from twelvefold.tasks import bayesian_networks
from twelvefold.tasks.bayesian_networks import (
    BayesianNetwork,
    bundled_networks,
    drawn_interventions,
    drawn_rows,
    load_network,
    sample_rows,
)
from twelvefold.tasks.causal_graphs import graph_of, load_graph

ROWS = 20_000


@pytest.fixture(scope="module")
def models() -> dict[str, Any]:
    """The networks as pgmpy makes them."""
    from pgmpy.readwrite import BIFReader

    files = {name: bayesian_networks._folder() / f"{name}.bif.gz" for name in ("asia", "sachs")}
    return {name: BIFReader(string=gzip.open(file, "rt").read()).get_model() for name, file in files.items()}


def close(shares: np.ndarray, expected: np.ndarray, rows: int) -> bool:
    """Whether shares of rows agree with probabilities within five standard errors."""
    error = np.sqrt(expected * (1 - expected) / rows)
    return bool((np.abs(shares - expected) <= 5 * error + 1e-12).all())


@pytest.mark.parametrize("name", ["asia", "sachs"])
def test_tables_are_pgmpys(name: str, models: dict[str, Any]) -> None:
    network = load_network(name)
    assert network.graph.variables == load_graph(name).variables
    for j, variable in enumerate(network.graph.variables):
        table = models[name].get_cpds(variable)
        assert list(table.state_names[variable]) == list(network.categories[j])
        order = [network.graph.variables[i] for i in network.parents[j]]
        assert table.variables == [variable, *order]
        assert np.allclose(np.moveaxis(table.values, 0, -1), network.tables[j], atol=1e-6)


@pytest.mark.filterwarnings("ignore:`pgmpy.estimators:FutureWarning")  # of pgmpy's own import
@pytest.mark.parametrize("name", ["asia", "sachs"])
def test_rows_against_exact_marginals_of_families(name: str, models: dict[str, Any]) -> None:
    from pgmpy.inference import VariableElimination

    network, rows = load_network(name), drawn_rows(load_network(name), ROWS, 10_000, 0)
    assert rows.shape == (ROWS, network.graph.size) and rows.dtype == np.int64
    exact = VariableElimination(models[name])
    for j, parents in enumerate(network.parents):
        family = [j, *parents]
        found = exact.query([network.graph.variables[i] for i in family], show_progress=False)
        sizes = [network.counts[i] for i in family]
        counts = np.bincount(np.ravel_multi_index(tuple(rows[:, family].T), sizes), minlength=int(np.prod(sizes)))
        place = [found.variables.index(network.graph.variables[i]) for i in family]
        assert close(counts / ROWS, found.values.transpose(place).ravel(), ROWS), network.graph.variables[j]


def test_rows_against_pgmpys_simulation(models: dict[str, Any]) -> None:
    network, ours = load_network("sachs"), drawn_rows(load_network("sachs"), 3_000, 10_000, 1)
    theirs = models["sachs"].simulate(3_000, seed=5, show_progress=False)
    for j, variable in enumerate(network.graph.variables):
        named = np.array(network.categories[j])[ours[:, j]]
        table = [[(column == name).sum() for name in network.categories[j]] for column in (named, theirs[variable])]
        assert stats.chi2_contingency(table).pvalue > 1e-4, variable


class TestInterventions:
    def test_causes_stay_and_effects_follow(self) -> None:
        network = load_network("asia")
        place = {name: j for j, name in enumerate(network.graph.variables)}
        rows = sample_rows(network, ROWS, numpy_generator(1, 0, "do"), {"lung": 0})
        assert (rows[:, place["lung"]] == 0).all() and (rows[:, place["either"]] == 0).all()
        smokers = rows[:, place["smoke"]] == 0
        assert close(np.array([smokers.mean()]), np.array([0.5]), ROWS)  # a cause of lung
        assert close(np.array([(rows[:, place["xray"]] == 0).mean()]), np.array([0.98]), ROWS)
        assert close((rows[smokers][:, place["bronc"]] == 0).mean()[None], np.array([0.6]), int(smokers.sum()))

    def test_a_random_setting_is_uniform_and_independent_of_causes(self) -> None:
        network = load_network("sachs")
        rows = sample_rows(network, ROWS, numpy_generator(1, 0, "do"), {"Erk": None})
        erk, pka = (network.graph.variables.index(name) for name in ("Erk", "PKA"))
        assert network.graph.edges[pka, erk]
        assert close(np.bincount(rows[:, erk]) / ROWS, np.full(3, 1 / 3), ROWS)
        table = np.histogram2d(rows[:, erk], rows[:, pka], bins=3)[0]
        observed = drawn_rows(network, ROWS, 10_000, 0)
        assert stats.chi2_contingency(table).pvalue > 1e-4
        assert stats.chi2_contingency(np.histogram2d(observed[:, erk], observed[:, pka], bins=3)[0]).pvalue < 1e-6

    def test_slot_k_sets_variable_k(self) -> None:
        network = load_network("asia")
        under = drawn_interventions(network, 2_000, 10_000, 0)
        assert under.shape == (8, 2_000, 8)
        shares = (under == 0).mean(1)  # [variable set, variable]
        asia, tub = (network.graph.variables.index(name) for name in ("asia", "tub"))
        assert np.allclose(np.diag(shares), 0.5, atol=0.06) and shares[tub, asia] < 0.03
        assert shares[asia, tub] == pytest.approx(0.03, abs=0.02)


def test_more_rows_begin_with_the_same_rows_and_draws_differ() -> None:
    network = load_network("asia")
    many = drawn_rows(network, 300, 10_000, 3)
    assert np.array_equal(drawn_rows(network, 100, 10_000, 3), many[:100])
    assert np.array_equal(drawn_rows(network, 300, 10_000, 3), many)
    for seed, draw in ((10_000, 4), (10_001, 3)):
        assert not np.array_equal(drawn_rows(network, 300, seed, draw), many)


def test_reading_needs_no_network_and_warns_of_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a socket was opened")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    load_network.cache_clear()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert load_network("asia").counts == (2,) * 8


def test_names_that_are_not_there() -> None:
    assert {"asia", "sachs", "child", "alarm"} <= {*bundled_networks()}
    with pytest.raises(ValueError, match="name = 'asian'"):
        load_network("asian")
    with pytest.raises(ValueError, match="munin"):  # bundled, but no published graph of the project
        load_network("munin")


def by_hand(**changes: Any) -> BayesianNetwork:
    """b = a, and c = a XOR b, unless changed."""
    graph = graph_of("hand", ["c", "a", "b"], [("a", "b"), ("a", "c"), ("b", "c")])
    xor = np.array([[[1.0, 0.0], [0.0, 1.0]], [[0.0, 1.0], [1.0, 0.0]]])
    made = {"graph": graph, "categories": (("0", "1"),) * 3, "parents": ((1, 2), (), (1,)),
            "tables": (xor, np.array([0.25, 0.75]), np.eye(2))}  # fmt: skip
    return BayesianNetwork(**(made | changes))


def test_causes_are_drawn_before_effects_whatever_the_order_of_variables() -> None:
    network = by_hand()
    rows = sample_rows(network, 4_000, numpy_generator(1, 0, "hand"))
    assert network.order == (1, 2, 0)
    assert (rows[:, 1] == rows[:, 2]).all() and (rows[:, 0] == 0).all()
    assert close(np.array([rows[:, 1].mean()]), np.array([0.75]), 4_000)
    forced = sample_rows(network, 50, numpy_generator(1, 0, "hand"), {"b": 0})
    assert (forced[:, 0] == forced[:, 1]).all() and (forced[:, 2] == 0).all()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"tables": (np.zeros((2, 2, 2)), np.array([0.25, 0.75]), np.eye(2))}, "table of 'c'"),
        ({"tables": (by_hand().tables[0], np.array([-0.25, 1.25]), np.eye(2))}, "table of 'a'"),
        ({"tables": (by_hand().tables[0], np.array([0.2, 0.3, 0.5]), np.eye(2))}, "table of 'a'"),
        ({"parents": ((1,), (), (1,))}, "parents of 'c'"),
        ({"categories": (("0", "1"),) * 2}, "2 lists of categories"),
    ],
)  # fmt: skip
def test_networks_that_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises((ValueError, IndexError), match=message):
        by_hand(**changes)


def test_cycles_are_refused() -> None:
    edges = torch.tensor([[False, True, False], [False, False, True], [True, False, False]])
    with pytest.raises(ValueError, match="cycle"):
        by_hand(graph=replace(by_hand().graph, edges=edges))


@pytest.mark.parametrize(
    ("rows", "do", "message"),
    [
        (0, None, "rows = 0"), (5, {"d": 0}, "do names 'd'"), (5, {"a": 2}, "do sets 'a' to 2"),
        (5, {"a": -1}, "do sets 'a' to -1"),
    ],
)  # fmt: skip
def test_draws_that_are_refused(rows: int, do: dict[str, int] | None, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        sample_rows(by_hand(), rows, numpy_generator(1, 0, "hand"), do)
