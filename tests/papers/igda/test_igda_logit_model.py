"""Scores of edges: those of one plain forward pass over the whole prompt, and beliefs with the density assumed."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache
from os.path import commonprefix
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from transformers import GPT2Config, GPT2LMHeadModel
from twelvefold.core.seeds import torch_generator
from twelvefold.nn.pretrained import LanguageModel
from twelvefold.papers.igda import logit_model
from twelvefold.papers.igda.edge_model import ModelExpert, Result
from twelvefold.papers.igda.feedback import pairs
from twelvefold.papers.igda.logit_model import (
    LogitEdgeModel,
    Prompt,
    beliefs_of_scores,
    edge_scores,
    offsets,
    score_matrix,
)
from twelvefold.papers.igda.loop import Policy, discover
from twelvefold.papers.igda.prompts import chat_text, effect_texts, few_shot_text, yes_no_messages
from twelvefold.tasks.causal_graphs import graph_of

from tests.nn.language_model_cases import TOKENS, randomised, tiny_llama, tiny_tokenizer

HILL = graph_of("hill", ["rain", "wet", "tea", "walk"], [("rain", "wet"), ("rain", "tea"), ("wet", "walk")],
                {"rain": "the rain", "wet": "wet ways uphill", "tea": "tea sold at 12"}, "hills")  # fmt: skip
EVERY = pairs(HILL.size).nonzero()
RESULTS = [Result(0, 2, True, 1), Result(3, 1, False, 1), Result(2, 3, True, 2)]
TEMPLATE = "{% for m in messages %}<|im_start|>{{ m.role }} {{ m.content }} {% endfor %}<|im_start|>assistant "


def with_tokenizer(model: Any) -> LanguageModel:
    tokenizer = tiny_tokenizer()
    tokenizer.chat_template = TEMPLATE
    return LanguageModel(model, tokenizer, "tiny")


def gpt2() -> Any:
    return randomised(GPT2LMHeadModel(GPT2Config(vocab_size=len(TOKENS), n_embd=32, n_layer=2, n_head=2,
                                                 n_positions=2048, bos_token_id=0, eos_token_id=0)))  # fmt: skip


MODELS: dict[str, Callable[[], Any]] = {"llama": lambda: tiny_llama(max_position_embeddings=2048), "gpt2": gpt2}


@pytest.fixture(scope="module", params=MODELS)
def model(request: pytest.FixtureRequest) -> LanguageModel:
    return with_tokenizer(MODELS[request.param]())


@pytest.fixture(scope="module")
def llama() -> LanguageModel:
    return with_tokenizer(MODELS["llama"]())


def log_probabilities(model: LanguageModel, text: str) -> Tensor:
    """log p of every token `[T, V]` that could come after each of the tokens of a text, from one plain pass."""
    with torch.no_grad():
        logits = model.model(torch.tensor([model.tokenizer(text)["input_ids"]])).logits[0]
    return logits.double().log_softmax(-1)


def plain(model: LanguageModel, prompt: Prompt, i: int, j: int, feedback: list[Result],
          earlier: float | None = None) -> tuple[float, float]:  # fmt: skip
    """Score and mass of one pair."""
    if prompt == "pmi":
        means = []
        for text in effect_texts(HILL, i, j, feedback):
            tokens = model.tokenizer(f"{text} {HILL.phrases[j]}")["input_ids"]
            start = len(commonprefix([model.tokenizer(text)["input_ids"], tokens]))
            scores = log_probabilities(model, f"{text} {HILL.phrases[j]}")
            means.append(float(torch.stack([scores[t - 1, tokens[t]] for t in range(start, len(tokens))]).mean()))
        return means[0] - means[1], math.nan
    text = chat_text(model.tokenizer, yes_no_messages(HILL, i, j, feedback, earlier))
    yes, no = (log_probabilities(model, text)[-1, TOKENS.index(letter)] for letter in "YN")
    return float(yes - no), float(yes.exp() + no.exp())


@pytest.mark.parametrize("batch_tokens", [1, 1500, 100_000])
@pytest.mark.parametrize("feedback", [[], RESULTS])
@pytest.mark.parametrize("prompt", ["chat", "pmi"])
def test_against_one_plain_pass(model: LanguageModel, prompt: Prompt, feedback: list[Result],
                                batch_tokens: int) -> None:  # fmt: skip
    found = edge_scores(model, prompt, HILL, EVERY, feedback, batch_tokens=batch_tokens)
    expected = torch.tensor([plain(model, prompt, i, j, feedback) for i, j in EVERY.tolist()], dtype=torch.float64)
    torch.testing.assert_close(found.score, expected[:, 0], atol=1e-4, rtol=0)
    if prompt == "pmi":
        assert found.mass is None
    else:
        torch.testing.assert_close(found.mass, expected[:, 1], atol=1e-4, rtol=0)


class WithBlanks:
    """The tiny tokenizer, but " Yes" and " No" are tokens of their own; what it is asked is kept."""

    def __init__(self) -> None:
        self.inner, self.asked = cache(tiny_tokenizer().encode), list[bool]()

    def __call__(self, text: str, add_special_tokens: bool = True) -> dict[str, list[int]]:
        self.asked.append(add_special_tokens)
        for word, token in ((" Yes", 20), (" No", 21)):
            text = text.replace(word, chr(0x2460 + token))
        parts = [[token] if (token := ord(letter) - 0x2460) in (20, 21) else self.inner(letter) for letter in text]
        return {"input_ids": [1] * add_special_tokens + [token for part in parts for token in part]}


def test_few_shot_with_answers_of_one_token() -> None:
    tokenizer = WithBlanks()
    model = LanguageModel(MODELS["llama"](), tokenizer, "tiny")
    found = edge_scores(model, "few-shot", HILL, EVERY, RESULTS)
    assert all(tokenizer.asked)
    for place in range(0, len(EVERY), 2):
        i, j = EVERY[place].tolist()
        tokens = torch.tensor([tokenizer(few_shot_text(HILL, i, j, RESULTS))["input_ids"]])
        with torch.no_grad():
            last = model.model(tokens).logits[0, -1].double().log_softmax(-1)
        assert float(found.score[place]) == pytest.approx(float(last[20] - last[21]), abs=1e-4)
        assert found.mass is not None
        assert float(found.mass[place]) == pytest.approx(float(last[20].exp() + last[21].exp()), abs=1e-5)


def test_chat_adds_nothing_to_the_template() -> None:
    class Chat(WithBlanks):
        chat_template = TEMPLATE

        def apply_chat_template(self, messages: Any, **options: Any) -> str:
            assert options == {"tokenize": False, "add_generation_prompt": True}
            return str(messages[-1]["content"])

    tokenizer = Chat()
    edge_scores(LanguageModel(MODELS["llama"](), tokenizer, "tiny"), "chat", HILL, EVERY[:2])
    assert tokenizer.asked and not any(tokenizer.asked)


@pytest.mark.parametrize("feedback", [[], RESULTS])
@pytest.mark.parametrize("prompt", ["chat", "pmi"])
def test_a_batch_is_what_its_pairs_are_alone(llama: LanguageModel, prompt: Prompt, feedback: list[Result]) -> None:
    whole = edge_scores(llama, prompt, HILL, EVERY, feedback).score
    alone = [edge_scores(llama, prompt, HILL, edge[None], feedback).score for edge in EVERY]
    torch.testing.assert_close(whole, torch.cat(alone), atol=1e-4, rtol=0)
    order = torch.randperm(len(EVERY), generator=torch_generator(10_000, 0, "order"))
    torch.testing.assert_close(edge_scores(llama, prompt, HILL, EVERY[order], feedback).score, whole[order],
                               atol=1e-4, rtol=0)  # fmt: skip


def test_the_earlier_answer_is_shown(llama: LanguageModel) -> None:
    earlier = torch.tensor([0.9, torch.nan, 0.2], dtype=torch.float64)
    found = edge_scores(llama, "chat", HILL, EVERY[:3], RESULTS, earlier).score.tolist()
    wanted = [plain(llama, "chat", *EVERY[k].tolist(), RESULTS, own)[0] for k, own in enumerate((0.9, None, 0.2))]
    assert found == pytest.approx(wanted, abs=1e-4)


def test_texts_that_begin_unlike_each_other(llama: LanguageModel) -> None:
    """Texts with one phrase each share nothing, not even a first token, in a tokenizer without a beginning."""
    graph = graph_of("two", ["a", "b"], [], {"a": "xx", "b": "12"})
    found = edge_scores(llama, "pmi", graph, torch.tensor([[0, 1]]), [Result(0, 1, True, 1)])
    assert found.score.isfinite().all()
    assert edge_scores(llama, "pmi", graph, torch.zeros(0, 2, dtype=torch.int64)).score.shape == (0,)


@pytest.mark.parametrize("feedback", [[], RESULTS])
def test_a_phrase_whose_beginning_joins_the_text(llama: LanguageModel, feedback: list[Result]) -> None:
    """Some tokenizers join what others keep apart: such a phrase is scored from the joined token on."""
    inner = tiny_tokenizer().encode

    def joining(text: str, add_special_tokens: bool = True) -> dict[str, list[int]]:
        first, *rest = (inner(part) for part in text.split("n w"))
        return {"input_ids": first + [token for part in rest for token in [20, *part]]}

    model = LanguageModel(llama.model, joining, "joining")
    found = edge_scores(model, "pmi", HILL, EVERY, feedback).score.tolist()
    assert found == pytest.approx([plain(model, "pmi", i, j, feedback)[0] for i, j in EVERY.tolist()], abs=1e-4)


def test_what_texts_share_is_read_once(llama: LanguageModel) -> None:
    """One pass over the tree of all texts, with no position but one for each of its nodes."""
    score_matrix(llama, "pmi", HILL)
    read: list[Tensor] = []
    hook = llama.model.get_input_embeddings().register_forward_hook(lambda module, given, made: read.append(given[0]))
    score_matrix(llama, "pmi", HILL, batch_tokens=100_000)
    hook.remove()
    texts = [f"{text} {HILL.phrases[j]}" for i, j in EVERY.tolist() for text in effect_texts(HILL, i, j)]
    read_tokens = [tuple(llama.tokenizer(text)["input_ids"][:-1]) for text in texts]
    nodes = {tokens[: k + 1] for tokens in read_tokens for k in range(len(tokens))}
    beginning = llama.tokenizer("a direct effect of ")["input_ids"]
    assert len(read) == 1 and len(nodes) <= read[0].numel() < len(nodes) + 3 * len(beginning) + 256


class TestBeliefs:
    @settings(max_examples=60, deadline=None)
    @given(n=st.integers(2, 6), density=st.floats(0.01, 0.99), scale=st.floats(0, 30), centred=st.booleans(),
           seed=st.integers(0, 99))  # fmt: skip
    def test_mean_and_order(self, n: int, density: float, scale: float, centred: bool, seed: int) -> None:
        scores = scale * torch.randn(n, n, generator=torch.Generator().manual_seed(seed))
        found = beliefs_of_scores(scores, density, centred)
        assert float(found[pairs(n)].mean()) == pytest.approx(density, abs=1e-6)
        assert found.dtype == torch.float64 and not bool(found.diagonal().any())
        if not centred:
            assert bool((found[pairs(n)][scores[pairs(n)].argsort()].diff() >= 0).all())
        torch.testing.assert_close(found, beliefs_of_scores(scores + 7.5, density, centred), atol=1e-4, rtol=0)

    def test_by_hand(self) -> None:
        scores = torch.tensor([[99.0, 1, 2], [3, 99, 4], [5, 6, 99]])
        added = offsets(scores, 0.5, centred=True)
        rows, columns = torch.tensor([1.5, 3.5, 5.5]), torch.tensor([4.0, 3.5, 3.0])
        assert torch.allclose(added - added[0, 1], (-rows[:, None] - columns + rows[0] + columns[1]).double())
        assert offsets(torch.zeros(4, 4), 0.2).unique().tolist() == pytest.approx([math.log(0.25)])

    @pytest.mark.parametrize(("scores", "density", "message"), [
        (torch.zeros(3, 3), 0.0, "density = 0.0; a number between 0 and 1"), (torch.zeros(3, 3), 1.0, "density = 1"),
        (torch.zeros(3, 2), 0.1, r"shape \(3, 2\)"), (torch.zeros(1, 1), 0.1, r"shape \(1, 1\)"),
        (torch.full((3, 3), torch.inf), 0.1, "not finite"), (torch.zeros(3, 3), math.nan, "density = nan"),
    ])  # fmt: skip
    def test_bad_input(self, scores: Tensor, density: float, message: str) -> None:
        with pytest.raises(ValueError, match=message):
            offsets(scores, density)

    def test_the_diagonal_does_not_count(self) -> None:
        scores = torch.randn(4, 4, generator=torch.Generator().manual_seed(0))
        other = scores + torch.diag(torch.tensor([1.0, 9, torch.nan, -torch.inf]))
        for centred in (False, True):
            assert torch.equal(beliefs_of_scores(scores, 0.3, centred), beliefs_of_scores(other, 0.3, centred))


class TestTheModel:
    @pytest.mark.parametrize("centred", [False, True])
    @pytest.mark.parametrize("prompt", ["chat", "pmi"])
    def test_beliefs(self, llama: LanguageModel, prompt: Prompt, centred: bool) -> None:
        model, generator = LogitEdgeModel(llama, prompt, 0.2, centred), torch.Generator()
        scores = score_matrix(llama, prompt, HILL)
        assert scores.dtype == torch.float32 and not bool(scores.diagonal().any())
        found = model.beliefs(HILL, EVERY[3:9], [], generator)
        i, j = EVERY[3:9].unbind(1)
        assert torch.allclose(found.p, beliefs_of_scores(scores, 0.2, centred)[i, j], atol=1e-5)
        assert found.samples is None and found.n_failed == 0
        later = model.beliefs(HILL, EVERY[3:9], RESULTS, generator, found.p).p
        changed = edge_scores(llama, prompt, HILL, EVERY[3:9], RESULTS, found.p).score
        assert torch.allclose(later, torch.sigmoid(changed + offsets(scores, 0.2, centred)[i, j]), atol=1e-5)

    def test_in_the_loop(self, llama: LanguageModel, monkeypatch: pytest.MonkeyPatch) -> None:
        calls: list[int] = []
        real = logit_model.edge_scores
        monkeypatch.setattr(logit_model, "edge_scores",
                            lambda *args, **more: calls.append(len(args[3])) or real(*args, **more))  # fmt: skip
        expert = ModelExpert(LogitEdgeModel(llama, "pmi", 0.2), HILL, torch.Generator())
        made = discover(expert, HILL.edges, Policy(), replicates=3, rounds=3, experiments=2,
                        generator=torch_generator(10_000, 0, "ties"))  # fmt: skip
        assert calls[0] == 12 and calls == made.questions[0].diff(prepend=torch.zeros(1)).tolist()
        assert float(made.beliefs.max()) <= 1 and made.tests.tolist() == [0, 2, 4, 6]


class TestBadInput:
    def test_prompt(self, llama: LanguageModel) -> None:
        with pytest.raises(ValueError, match=r"prompt = 'zero'; known are \['chat', 'few-shot', 'pmi'\]"):
            edge_scores(llama, "zero", HILL, EVERY)  # type: ignore[arg-type]

    def test_edges(self, llama: LanguageModel) -> None:
        with pytest.raises(ValueError, match=r"holds \[4, 0\]"):
            edge_scores(llama, "pmi", HILL, torch.tensor([[4, 0]]))

    def test_no_template(self, llama: LanguageModel) -> None:
        with pytest.raises(ValueError, match="no chat template"):
            edge_scores(LanguageModel(llama.model, tiny_tokenizer(), "tiny"), "chat", HILL, EVERY)

    def test_yes_and_no_begin_alike(self, llama: LanguageModel) -> None:
        with pytest.raises(ValueError, match="of tiny begins ' Yes' and ' No' with the same token"):
            edge_scores(llama, "few-shot", HILL, EVERY)  # the tiny tokenizer begins both with a blank

    def test_an_answer_without_tokens_of_its_own(self, llama: LanguageModel) -> None:
        def joining(text: str, add_special_tokens: bool = True) -> dict[str, list[int]]:
            return {"input_ids": [len(text) % 7, 3]}

        with pytest.raises(ValueError, match="of tiny joins ' Yes' to the text before it"):
            edge_scores(LanguageModel(llama.model, joining, "tiny"), "few-shot", HILL, EVERY)

    def test_a_prompt_longer_than_the_context(self) -> None:
        with pytest.raises(ValueError, match="the model reads at most 64"):
            edge_scores(with_tokenizer(tiny_llama()), "chat", HILL, EVERY)
