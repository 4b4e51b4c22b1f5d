"""What a model is told: everything that was found near the pair, newest last, and nothing of the true graph."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from twelvefold.papers.igda.edge_model import Result
from twelvefold.papers.igda.prompts import (
    Messages,
    chat_messages,
    chat_text,
    choice_messages,
    effect_texts,
    few_shot_text,
    shared_results,
    yes_no_messages,
)
from twelvefold.tasks.causal_graphs import CausalGraph, anonymised, load_graph

from tests.nn.language_model_cases import tiny_tokenizer

CANCER = load_graph("cancer")  # Pollution, Smoker, Cancer, Xray, Dyspnoea
POLLUTION, SMOKER, TUMOUR, XRAY, DYSPNOEA = CANCER.phrases
RESULTS = [Result(3, 4, False, 1), Result(0, 2, True, 1), Result(1, 2, True, 2), Result(2, 0, False, 3)]


def said(messages: Messages) -> str:
    return "\n".join(message["content"] for message in messages)


def joined(texts: tuple[str, str]) -> str:
    return "\n".join(texts)


EVERY: dict[str, Callable[..., str]] = {
    "chat": lambda *args: said(chat_messages(*args)),
    "yes or no": lambda *args: said(yes_no_messages(*args)),
    "few-shot": few_shot_text,
    "effect": lambda *args: joined(effect_texts(*args)),
}


@pytest.fixture(params=EVERY)
def ask(request: pytest.FixtureRequest) -> Callable[..., str]:
    return EVERY[request.param]


class TestEveryText:
    def test_the_true_graph_does_not_matter(self, ask: Callable[..., str]) -> None:
        other = replace(CANCER, edges=~CANCER.edges & ~torch.eye(5, dtype=torch.bool))
        assert ask(CANCER, 0, 2, RESULTS) == ask(other, 0, 2, RESULTS)

    def test_direction_matters(self, ask: Callable[..., str]) -> None:
        assert ask(CANCER, 0, 2) != ask(CANCER, 2, 0)

    def test_results_near_the_pair_count_and_others_do_not(self, ask: Callable[..., str]) -> None:
        assert ask(CANCER, 0, 1, RESULTS) == ask(CANCER, 0, 1, RESULTS[1:]) != ask(CANCER, 0, 1, RESULTS[:1])
        turned = [RESULTS[1]._replace(present=False), *RESULTS[2:]]
        assert ask(CANCER, 0, 1, turned) != ask(CANCER, 0, 1, RESULTS[1:])

    def test_newest_last(self, ask: Callable[..., str]) -> None:
        assert ask(CANCER, 0, 1, RESULTS) == ask(CANCER, 0, 1, [RESULTS[3], RESULTS[1], RESULTS[2]])
        text = ask(CANCER, 3, 4, [Result(0, 3, True, 2), Result(1, 3, True, 1)])
        assert text.rindex(SMOKER) < text.rindex(POLLUTION)

    def test_anonymous_variables_stay_so(self, ask: Callable[..., str]) -> None:
        text = ask(anonymised(CANCER), 0, 2, RESULTS)
        assert "V1" in text and not any(word in text for word in (*CANCER.variables, *CANCER.phrases, CANCER.domain))


class TestChoice:
    def test_every_result_is_told_newest_last(self) -> None:
        text = said(choice_messages(CANCER, 3, [RESULTS[3], *RESULTS[:3]]))
        lines = [line for line in text.splitlines() if " -> " in line]
        assert lines == ["- Xray -> Dyspnoea: No.", "- Pollution -> Cancer: Yes.", "- Smoker -> Cancer: Yes.",
                         "- Cancer -> Pollution: No."]  # fmt: skip
        assert "Experiments have answered" not in said(choice_messages(CANCER, 3))

    def test_it_says_how_many(self) -> None:
        texts = [said(choice_messages(CANCER, count)) for count in (1, 12)]
        assert "Which 1 pair that has not been tested" in texts[0] and "Which 12 pairs that have not been" in texts[1]
        assert all("JSON" in text and "directly cause" in text for text in texts)

    def test_it_begins_as_the_questions_about_a_pair(self) -> None:
        asked, chosen = said(chat_messages(CANCER, 0, 2, RESULTS)), said(choice_messages(CANCER, 4, RESULTS))
        start = asked[: asked.index(DYSPNOEA) + len(DYSPNOEA)]
        assert chosen.startswith(start) and start.startswith("You are an expert in")

    def test_the_true_graph_does_not_matter(self) -> None:
        other = replace(CANCER, edges=~CANCER.edges & ~torch.eye(5, dtype=torch.bool))
        assert choice_messages(CANCER, 3, RESULTS) == choice_messages(other, 3, RESULTS)
        text = said(choice_messages(anonymised(CANCER), 3, RESULTS))
        assert "V1" in text and not any(word in text for word in (*CANCER.variables, *CANCER.phrases, CANCER.domain))


class TestWords:
    def test_chat(self) -> None:
        system, user = chat_messages(CANCER, 0, 2)
        assert (system["role"], user["role"]) == ("system", "user") and "lung diseases" in system["content"]
        assert all(f"- {v}: {p}\n" in user["content"] for v, p in zip(CANCER.variables, CANCER.phrases, strict=True))
        assert f"Does {POLLUTION} directly cause a change in {TUMOUR}?" in user["content"] and "JSON" in user["content"]
        assert "Experiments" not in user["content"] and "earlier" not in user["content"]

    def test_all_pairs_begin_alike(self) -> None:
        """What is constant comes first, so that it can be cached."""
        texts = [said(chat_messages(CANCER, i, j, RESULTS, 0.3)) for i in range(5) for j in range(5) if i != j]
        start = texts[0][: texts[0].index(DYSPNOEA) + len(DYSPNOEA)]
        assert all(text.startswith(start) for text in texts)

    def test_yes_or_no_describes_the_pair_alone(self) -> None:
        text = said(yes_no_messages(CANCER, 0, 2))
        assert POLLUTION in text and TUMOUR in text and DYSPNOEA not in text and "Yes or No" in text

    def test_few_shot(self) -> None:
        text = few_shot_text(CANCER, 0, 1, RESULTS)
        assert text.endswith(f"Does {POLLUTION} directly cause a change in {SMOKER}?\nAnswer:")
        assert text.count("Answer: Yes") == text.count("Answer: No") + 1 == 4  # two of each, and +2 -1 results
        assert f"Does {TUMOUR} directly cause a change in {POLLUTION}?\nAnswer: No\n" in text
        plain = few_shot_text(CANCER, 0, 1)
        assert plain.count("Answer: Yes") == plain.count("Answer: No") == 2

    def test_effect(self) -> None:
        assert effect_texts(CANCER, 0, 2) == (f"a direct effect of {POLLUTION} is a change in", "there is a change in")
        named, plain = effect_texts(CANCER, 3, 1, RESULTS)
        known = f"it is known that a direct effect of {SMOKER} is a change in {TUMOUR}. "
        untrue = f"it is known that a direct effect of {XRAY} is not a change in {DYSPNOEA}. "
        assert named == f"{untrue}{known}a direct effect of {XRAY} is a change in"
        assert plain == f"{untrue}{known}there is a change in"

    @pytest.mark.parametrize(
        ("earlier", "words"),
        [
            (0.9, "yes, with confidence 90"),
            (0.2, "no, with confidence 80"),
            (0.5, "no, with confidence 50"),
            (1.0, "yes, with confidence 100"),
        ],
    )
    @pytest.mark.parametrize("ask", [chat_messages, yes_no_messages])
    def test_the_earlier_answer(self, ask: Any, earlier: float, words: str) -> None:
        assert f"was {words}" in said(ask(CANCER, 0, 2, RESULTS, earlier))
        assert said(ask(CANCER, 0, 2, RESULTS, float("nan"))) == said(ask(CANCER, 0, 2, RESULTS))


results = st.builds(Result, st.integers(0, 4), st.integers(0, 4), st.booleans(), st.integers(1, 5))


@given(found=st.lists(results, max_size=12), i=st.integers(0, 4), j=st.integers(0, 4))
def test_shared_results(found: list[Result], i: int, j: int) -> None:
    near = shared_results(found, i, j)
    assert [r.round for r in near] == sorted(r.round for r in near)
    assert sorted(near) == sorted(r for r in found if i in (r.i, r.j) or j in (r.i, r.j))


class TestChatText:
    MESSAGES = chat_messages(CANCER, 0, 2)

    def test_template(self) -> None:
        tokenizer = tiny_tokenizer()
        tokenizer.chat_template = ("{% for m in messages %}<{{ m.role }}>{{ m.content }}{% endfor %}"
                                   "{% if add_generation_prompt %}<assistant>{% endif %}")  # fmt: skip
        system, user = (message["content"] for message in self.MESSAGES)
        assert chat_text(tokenizer, self.MESSAGES) == f"<system>{system}<user>{user}<assistant>"

    def test_a_template_without_system_messages(self) -> None:
        tokenizer = tiny_tokenizer()
        tokenizer.chat_template = ("{% for m in messages %}{% if m.role == 'system' %}"
                                   "{{ raise_exception('no system role') }}{% endif %}"
                                   "<{{ m.role }}>{{ m.content }}{% endfor %}")  # fmt: skip
        system, user = (message["content"] for message in self.MESSAGES)
        assert chat_text(tokenizer, self.MESSAGES) == f"<user>{system}\n\n{user}"

    def test_no_template(self) -> None:
        with pytest.raises(ValueError, match="has no chat template; .*few-shot"):
            chat_text(tiny_tokenizer(), self.MESSAGES)
        with pytest.raises(ValueError, match="no chat template"):
            chat_text(SimpleNamespace(), self.MESSAGES)


def test_words_are_taken_as_they_are() -> None:
    graph = CausalGraph("own", ("a", "b"), ("price {x}", 'a "quoted" phrase'), "50 % of {trade}", CANCER.edges[:2, :2])
    assert "price {x}" in said(chat_messages(graph, 0, 1)) and "50 % of {trade}" in said(chat_messages(graph, 0, 1))
