"""Causal graphs: published networks against their known sizes, a user's own, and renamed copies."""

from __future__ import annotations

import json
from pathlib import Path

import networkx as nx
import numpy as np
import pytest
import torch
from twelvefold.tasks.causal_graphs import (
    CausalGraph,
    anonymised,
    fictional,
    graph_of,
    known_graphs,
    load_graph,
    read_graph,
)

# variables and edges of each network, counted with pgmpy 1.1.2
SIZES = {
    "cancer": (5, 4), "earthquake": (5, 4), "survey": (6, 6), "asia": (8, 8), "sachs": (11, 17), "child": (20, 25),
    "insurance": (27, 52), "water": (32, 66), "mildew": (35, 46), "alarm": (37, 46), "barley": (48, 84),
    "hailfinder": (56, 66), "hepar2": (70, 123), "win95pts": (76, 112), "ecoli70": (46, 70), "magic-niab": (44, 66),
    "arth150": (107, 150),
}  # fmt: skip


@pytest.mark.parametrize("name", SIZES)
def test_sizes_and_acyclicity_of_published_networks(name: str) -> None:
    graph = load_graph(name)
    assert (graph.size, int(graph.edges.sum())) == SIZES[name]
    drawn = nx.from_numpy_array(graph.edges.numpy(), create_using=nx.DiGraph)
    assert graph.acyclic and nx.is_directed_acyclic_graph(drawn)


def test_all_networks_from_small_to_large() -> None:
    assert set(known_graphs()) == {*SIZES}
    sizes = [load_graph(name).size for name in known_graphs()]
    assert sizes == sorted(sizes)
    assert known_graphs(described=True) == ["cancer", "asia", "sachs", "child", "insurance", "alarm"]


@pytest.mark.parametrize("name", ["cancer", "asia", "sachs", "child", "insurance", "alarm"])
def test_every_variable_of_a_described_network_has_a_phrase(name: str) -> None:
    graph = load_graph(name)
    assert not {*graph.phrases} & {*graph.variables}
    assert all(3 <= len(phrase.split()) <= 14 or phrase.startswith("the ") or len(phrase.split()) >= 2
               for phrase in graph.phrases)  # fmt: skip
    assert "describe" not in graph.domain


def test_a_known_edge_points_the_right_way() -> None:
    graph = load_graph("asia")
    place = {name: i for i, name in enumerate(graph.variables)}
    assert graph.edges[place["smoke"], place["lung"]] and not graph.edges[place["lung"], place["smoke"]]


def test_an_undescribed_network_is_called_by_its_names() -> None:
    graph = load_graph("water")
    assert graph.phrases == graph.variables


def test_an_unknown_network() -> None:
    with pytest.raises(ValueError, match="name = 'titanic'; known are cancer, earthquake"):
        load_graph("titanic")


def test_a_cycle_is_seen() -> None:
    assert not graph_of("ring", "abc", [("a", "b"), ("b", "c"), ("c", "a")]).acyclic


@pytest.mark.parametrize(
    ("variables", "edges", "phrases", "message"),
    [
        ("ab", [("a", "c")], {}, r"edge \['a', 'c'\] of 'mine'"),
        ("ab", [("a",)], {}, r"edge \['a'\] of 'mine'; a pair"),
        ("ab", [("a", "a")], {}, "'a' causes itself"),
        ("ab", [("a", "b"), ("a", "b")], {}, "given twice"),
        ("ab", [("a", "b")], {"z": "something"}, "'z', which is no variable"),
        ("aa", [], {}, "variables of 'mine'"),
        ("ab", [], {"a": "b"}, "phrases of 'mine'"),
        ("ab", [], {"a": ""}, "phrases of 'mine'"),
        ("a", [], {}, "at least 2 variables"),
    ],
)
def test_graphs_that_are_refused(variables: str, edges: list, phrases: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        graph_of("mine", list(variables), edges, phrases)


def test_edges_must_be_a_boolean_square() -> None:
    with pytest.raises(ValueError, match="edges of 'x' are torch.float32"):
        CausalGraph("x", ("a", "b"), ("a", "b"), "y", torch.zeros(2, 2))


class TestUsersGraph:
    def test_edges_and_glossary(self, tmp_path: Path) -> None:
        (tmp_path / "rain.csv").write_text("cause,effect\nrain, wet\n\nwet,slip\n")
        words = {"domain": "weather", "variables": {"alone": "a lonely variable", "rain": "rainfall"}}
        (tmp_path / "words.json").write_text(json.dumps(words))
        graph = read_graph(tmp_path / "rain.csv", tmp_path / "words.json")
        assert (graph.name, graph.domain, graph.variables) == ("rain", "weather", ("alone", "rain", "wet", "slip"))
        assert graph.phrases == ("a lonely variable", "rainfall", "wet", "slip")
        assert graph.edges.nonzero().tolist() == [[1, 2], [2, 3]]

    def test_without_a_glossary(self, tmp_path: Path) -> None:
        (tmp_path / "rain.csv").write_text("cause,effect\nrain,wet\n")
        assert read_graph(tmp_path / "rain.csv").phrases == ("rain", "wet")

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("", "begins with nothing; the header cause,effect"),
            ("from,to\na,b\n", r"begins with \['from', 'to'\]"),
            ("cause,effect\na,b\na\n", r"edge 2: \['a'\]; two names"),
            ("cause,effect\na,b,c\n", r"edge 1: \['a', 'b', 'c'\]"),
            ("cause,effect\na,\n", "two names"),
        ],
    )
    def test_edge_lists_that_are_refused(self, tmp_path: Path, text: str, message: str) -> None:
        (tmp_path / "rain.csv").write_text(text)
        with pytest.raises(ValueError, match=message):
            read_graph(tmp_path / "rain.csv")

    @pytest.mark.parametrize(
        "text",
        ["{", "[]", '{"domain": "x"}', '{"domain": 3, "variables": {}}', '{"domain": "x", "variables": {"a": 1}}'],
    )
    def test_glossaries_that_are_refused(self, tmp_path: Path, text: str) -> None:
        (tmp_path / "rain.csv").write_text("cause,effect\na,b\n")
        (tmp_path / "words.json").write_text(text)
        with pytest.raises(ValueError, match="words.json"):
            read_graph(tmp_path / "rain.csv", tmp_path / "words.json")


class TestRenaming:
    def test_an_anonymous_graph_keeps_its_edges_and_nothing_else(self) -> None:
        graph = load_graph("child")
        hidden = anonymised(graph)
        assert torch.equal(hidden.edges, graph.edges) and hidden.variables[:2] == ("V1", "V2")
        text = " ".join((*hidden.phrases, hidden.domain)).lower()
        assert not any(name.lower() in text.split() for name in graph.variables)

    def test_a_fictional_graph_tells_its_causes_only_with_hints(self) -> None:
        graph = load_graph("asia")
        told = fictional(graph, np.random.default_rng(1))
        silent = fictional(graph, np.random.default_rng(1), hints=False)
        assert told.variables == silent.variables and len({*told.variables}) == 8
        assert torch.equal(told.edges, graph.edges)
        for j, phrase in enumerate(told.phrases):
            named = {word for word in phrase.replace(",", " ").split() if word in told.variables}
            causes = {told.variables[i] for i in graph.edges[:, j].nonzero()[:, 0].tolist()}
            assert named == {told.variables[j], *causes}
        assert all("made from" not in phrase for phrase in silent.phrases)

    def test_another_generator_draws_other_words(self) -> None:
        graph = load_graph("asia")
        first, second = (fictional(graph, np.random.default_rng(s)).variables for s in (1, 2))
        assert first != second and first == fictional(graph, np.random.default_rng(1)).variables
