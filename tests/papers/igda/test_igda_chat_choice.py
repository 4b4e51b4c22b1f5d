"""Pairs that a chat model names: read strictly, then leniently; what cannot be tested is dropped and counted."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twelvefold.papers.igda.chat_choice import named_pairs, place_of_name, read_choice
from twelvefold.papers.igda.edge_model import Result
from twelvefold.tasks.causal_graphs import load_graph

NAMES = load_graph("cancer").variables  # Pollution, Smoker, Cancer, Xray, Dyspnoea


class TestNamedPairs:
    def test_json(self) -> None:
        assert named_pairs('[["Smoker", "Cancer"],\n ["Xray", "Dyspnoea"]]\n') == [("Smoker", "Cancer"),
                                                                                   ("Xray", "Dyspnoea")]  # fmt: skip
        assert named_pairs(r'[["a \"b\", c", "d\u00e9"]]') == [('a "b", c', "dé")]

    @pytest.mark.parametrize("text", [
        '```json\n[["Smoker", "Cancer"], ["Xray", "Dyspnoea"]]\n```',
        'I would test these: [["Smoker","Cancer"],["Xray","Dyspnoea"]].',
        '{"pairs": [["Smoker", "Cancer"], ["Xray", "Dyspnoea"]]}',
        '[{"cause": "Smoker", "effect": "Cancer"}, {"cause": "Xray", "effect": "Dyspnoea"}]',
        "[['Smoker', 'Cancer'], ['Xray', 'Dyspnoea']]", "[('Smoker', \"Cancer\"), ('Xray', 'Dyspnoea')]",
        '1. "Smoker" -> "Cancer"\n2. "Xray" → "Dyspnoea"', '["Smoker", "Cancer"]\n["Xray", "Dyspnoea"]',
        '[["Smoker", "Cancer"], ["Xray", "Dyspnoea"], ["Canc',
        '[["Smoker", "Cancer"], ["Xray", "Dyspnoea"], ["Cancer"]]',
        "The patient's list: ['Smoker' => 'Cancer', 'Xray' => 'Dyspnoea']",
    ])  # fmt: skip
    def test_what_is_not_quite_json(self, text: str) -> None:
        assert named_pairs(text) == [("Smoker", "Cancer"), ("Xray", "Dyspnoea")]

    @pytest.mark.parametrize("text", [
        "", "[]", "{}", "null", "Smoker -> Cancer", '"Smoker"', '["Smoker"], ["Cancer"]', '"Smoker": "Cancer"',
        '"Smoker"\n\n\n\n\n\n\n\n\n\n\n,"Cancer"', "[" * 100_000, '"' * 20_000, "'a\"" * 20_000, '"a", ' * 5_001 + "?",
    ])  # fmt: skip
    def test_none(self, text: str) -> None:
        assert set(named_pairs(text)) <= {("a", "a")}

    @given(st.lists(st.tuples(st.text(), st.text())))
    def test_what_was_said_is_read(self, pairs: list[tuple[str, str]]) -> None:
        assert named_pairs(json.dumps(pairs)) == pairs

    @given(st.text())
    def test_any_text(self, text: str) -> None:
        choice = read_choice(text, NAMES, 3)
        assert len(choice.pairs) <= 3 and (choice.pairs or choice.dropped)


class TestNames:
    def test_spelling(self) -> None:
        assert [place_of_name(name, NAMES) for name in NAMES] == [0, 1, 2, 3, 4]
        assert [place_of_name(name, NAMES) for name in (" SMOKER", "xray ")] == [1, 3]
        assert [place_of_name(name, NAMES) for name in ("x-ray", "", "smoking")] == [None] * 3

    def test_a_name_as_it_is_spelt_comes_first(self) -> None:
        names = ("a", "A", "b")
        assert [place_of_name(name, names) for name in ("a", "A", "B")] == [0, 1, 2]
        assert place_of_name("Ä", ("ä", "Ö")) == 0
        assert place_of_name("AB", ("ab", "Ab")) is None  # which?


class TestReadChoice:
    def test_what_is_dropped(self) -> None:
        said = [["Smoker", "Cancer"], ["Smoker", "Smoker"], ["smoker", "CANCER"], ["Cancer", "Smoker"],
                ["Pollution", "Cancer"], ["Smoking", "Xray"], ["Cancer", "Xray"], ["Cancer", "Dyspnoea"],
                ["Xray", "Xray"]]  # fmt: skip
        known = [Result(0, 2, True, 1), Result(3, 4, False, 1)]
        choice = read_choice(json.dumps(said), NAMES, 3, known)
        assert choice.pairs == [(1, 2), (2, 1), (2, 3)]
        assert choice.dropped == {"self": 2, "repeated": 1, "tested": 1, "unknown": 1, "surplus": 1}
        assert read_choice(json.dumps(said), NAMES, 9, known).pairs == [(1, 2), (2, 1), (2, 3), (2, 4)]
        assert read_choice(json.dumps(said), NAMES, 1).pairs == [(1, 2)]

    def test_the_other_direction_is_another_pair(self) -> None:
        choice = read_choice('[["Cancer", "Pollution"]]', NAMES, 2, [Result(0, 2, True, 1)])
        assert choice.pairs == [(2, 0)] and not choice.dropped

    def test_no_pair_at_all(self) -> None:
        for text in ("I cannot say.", "[]"):
            assert read_choice(text, NAMES, 2) == ([], {"unreadable": 1})
        assert read_choice('[["A", "B"]]', NAMES, 2) == ([], {"unknown": 1})
