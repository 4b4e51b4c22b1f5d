"""Scores of texts under a causal language model: those of one plain forward pass, whatever shares the batch."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from transformers import (
    BloomConfig,
    BloomForCausalLM,
    CohereConfig,
    CohereForCausalLM,
    GPT2Config,
    GPT2LMHeadModel,
    MistralConfig,
    MistralForCausalLM,
    MptConfig,
    MptForCausalLM,
    OlmoConfig,
    OlmoForCausalLM,
)
from twelvefold.nn import pretrained_scoring
from twelvefold.nn.pretrained_scoring import (
    next_token_log_probabilities,
    score_continuations,
    token_log_probabilities,
)

from tests.nn.language_model_cases import TOKENS, randomised, tiny_llama

V = len(TOKENS)
SIZES: dict[str, Any] = {
    "vocab_size": V, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "max_position_embeddings": 64, "pad_token_id": None, "bos_token_id": 0,
    "eos_token_id": 0,
}  # fmt: skip
MODELS: dict[str, Callable[[], Any]] = {
    "llama": tiny_llama,
    "llama, free head": lambda: tiny_llama(tied=False),
    "gpt2": lambda: randomised(GPT2LMHeadModel(
        GPT2Config(vocab_size=V, n_embd=32, n_layer=2, n_head=2, n_positions=64, bos_token_id=0, eos_token_id=0))),
    "olmo": lambda: randomised(OlmoForCausalLM(OlmoConfig(**SIZES))),
    "mistral, window 5": lambda: randomised(MistralForCausalLM(MistralConfig(**SIZES, sliding_window=5))),
}  # fmt: skip
tokens_of = st.lists(st.integers(0, V - 1), min_size=1, max_size=12)


@pytest.fixture(scope="module", params=MODELS)
def model(request: pytest.FixtureRequest) -> Any:
    return MODELS[request.param]()


def plain(model: Any, tokens: Sequence[int]) -> Tensor:
    """log p of every token but the first, from one forward pass over this sequence alone."""
    logits = model(torch.tensor([list(tokens)]), use_cache=False).logits[0].double()
    return logits[:-1].log_softmax(-1).gather(1, torch.tensor(list(tokens[1:]))[:, None])[:, 0]


def drawn(*lengths: int, seed: int = 0) -> list[list[int]]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randint(V, (length,), generator=generator).tolist() for length in lengths]


def close(found: Tensor, expected: Tensor) -> bool:
    return found.dtype == torch.float32 and torch.allclose(found.double(), expected, atol=1e-4, rtol=0)


class TestAgainstOnePlainPass:
    @pytest.mark.parametrize("batch_tokens", [1, 20, 10_000])
    def test_sequences(self, model: Any, batch_tokens: int) -> None:
        sequences = drawn(2, 30, 7, 7, 19, 2)
        found = token_log_probabilities(model, sequences, batch_tokens=batch_tokens)
        assert [len(scores) for scores in found] == [1, 29, 6, 6, 18, 1]
        assert all(close(scores, plain(model, tokens)) for scores, tokens in zip(found, sequences, strict=True))

    @pytest.mark.parametrize("batch_tokens", [1, 60, 10_000])
    @pytest.mark.parametrize("prefix_length", [1, 2, 17])
    def test_continuations(self, model: Any, prefix_length: int, batch_tokens: int) -> None:
        prefix, *continuations = drawn(prefix_length, 1, 12, 5, 5, 3, seed=1)
        found = score_continuations(model, prefix, continuations, batch_tokens=batch_tokens)
        for scores, tokens in zip(found, continuations, strict=True):
            assert close(scores, plain(model, prefix + tokens)[prefix_length - 1 :])

    def test_only_the_end_of_sequences(self, model: Any) -> None:
        sequences = drawn(6, 9, 2, seed=5)
        found = token_log_probabilities(model, sequences, first_scored=[4, 1, 1])
        for scores, tokens, first in zip(found, sequences, [4, 1, 1], strict=True):
            assert close(scores, plain(model, tokens)[first - 1 :])

    @settings(max_examples=40, deadline=None)
    @given(st.lists(st.lists(st.integers(0, 2), min_size=2, max_size=9), min_size=1, max_size=12), st.integers(1, 80))
    def test_any_tree(self, sequences: list[list[int]], size: int) -> None:
        """Few different tokens: sequences that begin alike, hold each other, and occur twice."""
        model = tiny_llama()
        found = token_log_probabilities(model, sequences, batch_tokens=size)
        for scores, tokens in zip(found, sequences, strict=True):
            assert close(scores, plain(model, tokens))

    def test_only_what_is_asked_for(self, model: Any) -> None:
        prefix, *continuations = drawn(6, 4, 9, 1, seed=2)
        whole = score_continuations(model, prefix, continuations)
        found = score_continuations(model, prefix, continuations, first_scored=[3, 5, 0])
        for part, scores, first in zip(found, whole, [3, 5, 0], strict=True):
            torch.testing.assert_close(part, scores[first:], atol=1e-5, rtol=0)  # fewer rows may round otherwise

    @pytest.mark.parametrize("prefix_length", [0, 1, 17])
    @pytest.mark.parametrize("batch_tokens", [1, 60, 10_000])
    def test_candidates(self, model: Any, prefix_length: int, batch_tokens: int) -> None:
        (prefix,), prompts = drawn(prefix_length, seed=3), drawn(1, 12, 5, 5, seed=4)
        candidates = [7, 0, V - 1, 7]
        found = next_token_log_probabilities(model, prefix, prompts, candidates, batch_tokens=batch_tokens)
        for row, prompt in zip(found, prompts, strict=True):
            logits = model(torch.tensor([prefix + prompt])).logits[0, -1].double()
            assert close(row, logits.log_softmax(-1)[candidates])

    @settings(max_examples=25, deadline=None)
    @given(prefix=tokens_of, continuations=st.lists(tokens_of, min_size=1, max_size=7), size=st.integers(1, 80))
    def test_any_batch(self, prefix: list[int], continuations: list[list[int]], size: int) -> None:
        model = tiny_llama()
        found = score_continuations(model, prefix, continuations, batch_tokens=size)
        for scores, tokens in zip(found, continuations, strict=True):
            assert close(scores, plain(model, prefix + tokens)[len(prefix) - 1 :])

    def test_probabilities_of_all_continuations_sum_to_one(self, model: Any) -> None:
        every = [[token] for token in range(V)]
        found = torch.stack(score_continuations(model, [3, 4, 5], every))[:, 0]
        assert found.exp().sum().item() == pytest.approx(1, abs=1e-5)
        assert torch.allclose(next_token_log_probabilities(model, [3, 4], [[5]], range(V))[0], found, atol=1e-5)

    def test_half_precision(self) -> None:
        found = token_log_probabilities(tiny_llama().bfloat16(), drawn(9, 4))
        for scores, tokens in zip(found, drawn(9, 4), strict=True):
            error = (scores - plain(tiny_llama(), tokens)).abs().max()
            assert scores.dtype == torch.float32 and 1e-6 < error < 0.3

    def test_a_thawed_model_builds_no_graph(self) -> None:
        model = tiny_llama().requires_grad_(True)
        results = [
            *token_log_probabilities(model, drawn(4)),
            *score_continuations(model, [1, 2], drawn(4)),
            next_token_log_probabilities(model, [1], drawn(4), [2]),
        ]
        assert not any(result.requires_grad for result in results)

    def test_the_model_is_left_as_it_was(self, model: Any) -> None:
        prefix, *continuations = drawn(9, 3, 5, 4)
        first = score_continuations(model, prefix, continuations)
        again = score_continuations(model, prefix, continuations)
        assert all(torch.equal(one, two) for one, two in zip(first, again, strict=True))


class TestWork:
    """What is computed: forward passes and logits are counted."""

    @pytest.fixture
    def counted(self) -> tuple[Any, list[tuple[int, int]], list[int]]:
        """A model that was checked before, the shapes of its inputs, the rows of its logits."""
        model = tiny_llama()
        token_log_probabilities(model, [[1, 2]])
        inputs: list[tuple[int, int]] = []
        rows: list[int] = []
        model.get_input_embeddings().register_forward_hook(lambda module, given, made: inputs.append(made.shape[:2]))
        model.get_output_embeddings().register_forward_hook(lambda module, given, made: rows.append(made.shape[0]))
        return model, inputs, rows

    def test_what_is_shared_is_computed_once(self, counted: Any) -> None:
        model, inputs, rows = counted
        prefix = drawn(20)[0]
        found = score_continuations(model, prefix, [[5, 6, 7], [5, 6, 8, 9], [5, 6, 7], [6, 1], [4, 1]])
        # read are the prefix, 5 6, 8 after it, 6 and 4: what follows the last token of a sequence is asked by nobody
        assert [tuple(shape) for shape in inputs] == [(1, 20 + 2 + 1 + 1 + 1)]
        assert rows == [6]  # the last of the prefix predicts 4, 5 and 6; 5; 6 after 5; 8; 6 and 4 what comes after
        for scores, tokens in zip(found, [[5, 6, 7], [5, 6, 8, 9], [5, 6, 7], [6, 1], [4, 1]], strict=True):
            assert close(scores, plain(model, prefix + tokens)[19:])

    def test_a_model_is_checked_once(self, counted: Any) -> None:
        model, inputs, rows = counted
        for length in (3, 4):
            token_log_probabilities(model, drawn(length))
        assert [tuple(shape) for shape in inputs] == [(1, 2), (1, 3)] and rows == [2, 3]

    def test_rows_grow_with_what_they_share(self, counted: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        model, inputs, _ = counted
        monkeypatch.setattr(pretrained_scoring, "_ROW", 12)
        apart = [[first] * 9 for first in range(5)]
        token_log_probabilities(model, apart)  # 8 read tokens each
        prefix = drawn(9)[0]
        score_continuations(model, prefix, [[first] * 4 for first in range(7)])  # 3 read tokens each
        assert [tuple(shape) for shape in inputs] == [(5, 8), (2, 9 + 6 * 3)]
        inputs.clear()
        score_continuations(model, prefix, [[first] * 4 for first in range(7)], batch_tokens=15)
        assert [tuple(shape) for shape in inputs] == [(1, 15)] * 3 + [(1, 12)]

    def test_no_row_is_longer_than_the_context(self) -> None:
        model = tiny_llama(max_position_embeddings=10)
        inputs: list[int] = []
        model.get_input_embeddings().register_forward_hook(lambda module, given, made: inputs.append(made.shape[1]))
        token_log_probabilities(model, drawn(*range(2, 11)))
        assert max(inputs) == 10 and len(inputs) < 3 + 9

    def test_logits_exist_where_they_are_wanted_and_in_blocks(
        self, counted: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        model, inputs, rows = counted
        score_continuations(model, [1, 2], drawn(9, 3, 9), first_scored=[8, 2, 6])
        assert sum(rows) == 1 + 1 + 3
        rows.clear()
        monkeypatch.setattr(pretrained_scoring, "_LOGITS", 5 * V + 1)
        sequences = drawn(9, 3, 9)
        found = token_log_probabilities(model, sequences)
        assert rows == [5, 5, 5, 3]
        assert all(close(scores, plain(model, tokens)) for scores, tokens in zip(found, sequences, strict=True))
        rows.clear()
        next_token_log_probabilities(model, [1], drawn(*[2] * 8), [3])
        assert rows == [5, 3]

    def test_long_and_short_rows_do_not_share_a_pass(self, counted: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        model, inputs, _ = counted
        monkeypatch.setattr(pretrained_scoring, "_ROW", 1)
        token_log_probabilities(model, [[9, 2], [3] * 40, [2, 2], [8] * 40, [7, 2], [6, 2]], batch_tokens=80)
        assert [tuple(shape) for shape in inputs] == [(2, 39), (4, 1)]


class TestModelsWithoutTrees:
    """Distances to other tokens that a mask cannot give, states that are carried along: a row for each sequence."""

    CASES: ClassVar[dict[str, Callable[[], Any]]] = {
        "bloom": lambda: BloomForCausalLM(BloomConfig(vocab_size=V, hidden_size=32, n_layer=2, n_head=4)),
        "mpt": lambda: MptForCausalLM(MptConfig(vocab_size=V, d_model=32, n_heads=4, n_layers=2, max_seq_len=64)),
    }

    @pytest.mark.parametrize("name", CASES)
    def test_scores(self, name: str) -> None:
        model = randomised(self.CASES[name]().eval())
        inputs: list[int] = []
        prefix, *continuations = drawn(9, 4, 9, 1, 4)
        token_log_probabilities(model, [prefix])
        model.get_input_embeddings().register_forward_hook(lambda module, given, made: inputs.append(made.shape[0]))
        found = score_continuations(model, prefix, continuations)
        assert inputs == [4]
        for scores, tokens in zip(found, continuations, strict=True):
            assert close(scores, plain(model, prefix + tokens)[8:])

    @pytest.mark.parametrize(("window", "rows"), [(40, 1), (10, 3)])
    def test_texts_longer_than_a_window_have_rows_of_their_own(self, window: int, rows: int) -> None:
        model = randomised(MistralForCausalLM(MistralConfig(**SIZES, sliding_window=window)))
        inputs: list[int] = []
        token_log_probabilities(model, [[1, 2]])
        model.get_input_embeddings().register_forward_hook(lambda module, given, made: inputs.append(made.shape[0]))
        prefix, *continuations = drawn(9, 9, 4, 7)
        found = score_continuations(model, prefix, continuations)
        assert inputs == [rows]
        for scores, tokens in zip(found, continuations, strict=True):
            assert close(scores, plain(model, prefix + tokens)[8:])


class TestBadInput:
    @pytest.fixture
    def llama(self) -> Any:
        return tiny_llama()

    @pytest.mark.parametrize(
        ("sequences", "words"),
        [
            ([], "sequences is empty"),
            ([[1, 2], [3]], r"sequences\[1\] has too few tokens: 1, at least needed: 2"),
            ([[1, V]], f"sequences holds token {V}; the model has tokens 0 to {V - 1}"),
            ([[1, -1]], "holds token -1"),
            ([[1] * 65], "has 65 tokens .* at most 64"),
        ],
    )
    def test_sequences(self, llama: Any, sequences: list[list[int]], words: str) -> None:
        with pytest.raises(ValueError, match=words):
            token_log_probabilities(llama, sequences)

    def test_continuations(self, llama: Any) -> None:
        for prefix, continuations, words in [
            ([], [[1]], "prefix_ids has too few tokens: 0"), ([1], [], "continuations is empty"),
            ([1], [[1], []], r"continuations\[1\] has too few"), ([V], [[1]], "prefix_ids holds token"),
            ([1] * 60, [[1] * 5], "continuations has 65 tokens with what precedes"),
        ]:  # fmt: skip
            with pytest.raises(ValueError, match=words):
                score_continuations(llama, prefix, continuations)
        with pytest.raises(ValueError, match="first_scored has 1 entries; one for each of the 2"):
            score_continuations(llama, [1], [[1], [2]], first_scored=[0])
        with pytest.raises(ValueError, match=r"first_scored\[1\] = 1; 0 to 0 is accepted"):
            score_continuations(llama, [1], [[1], [2]], first_scored=[0, 1])
        with pytest.raises(ValueError, match=r"first_scored\[0\] = 0; 1 to 2 is accepted"):
            token_log_probabilities(llama, [[1, 2, 3]], first_scored=[0])

    def test_candidates(self, llama: Any) -> None:
        for prefix, prompts, candidates, words in [
            ([1], [[1]], [], "candidates has too few"), ([1], [[1]], [V], "candidates holds token"),
            ([1], [[]], [1], "prompts has too few"), ([], [], [1], "prompts is empty"),
            ([V], [[1]], [1], "prefix_ids holds token"), ([1] * 64, [[1]], [1], "prompts has 65 tokens"),
        ]:  # fmt: skip
            with pytest.raises(ValueError, match=words):
                next_token_log_probabilities(llama, prefix, prompts, candidates)

    def test_batch_tokens(self, llama: Any) -> None:
        with pytest.raises(ValueError, match="batch_tokens = 0"):
            token_log_probabilities(llama, [[1, 2]], batch_tokens=0)
        with pytest.raises(ValueError, match="batch_tokens = -1"):
            score_continuations(llama, [1], [[2]], batch_tokens=-1)
        with pytest.raises(ValueError, match="batch_tokens = 0"):
            next_token_log_probabilities(llama, [1], [[2]], [3], batch_tokens=0)

    def test_models_that_change_their_logits(self) -> None:
        model = randomised(CohereForCausalLM(CohereConfig(**SIZES, logit_scale=0.25)))
        with pytest.raises(ValueError, match="CohereForCausalLM: its logits differ from states times output matrix"):
            token_log_probabilities(model, [[1, 2]])

    def test_training_mode(self) -> None:
        model = tiny_llama().train()
        for call in (
            lambda: token_log_probabilities(model, [[1, 2]]),
            lambda: score_continuations(model, [1], [[2]]),
            lambda: next_token_log_probabilities(model, [1], [[2]], [3]),
        ):
            with pytest.raises(ValueError, match="in training mode"):
                call()


class TestTheBundledModel:
    PROMPT = "Question: Does smoking cause lung cancer? Answer yes or no.\nAnswer:"

    def test_scores_are_those_of_plain_passes(self, real_model: Any) -> None:
        model, encode = real_model.model, lambda text: real_model.tokenizer(text)["input_ids"]
        prefix, answers = encode(self.PROMPT), [encode(text) for text in (" yes", " no", " it is not known", " 42")]
        found = score_continuations(model, prefix, answers, batch_tokens=64)
        for scores, tokens in zip(found, answers, strict=True):
            assert close(scores, plain(model, prefix + tokens)[len(prefix) - 1 :])
        both = next_token_log_probabilities(model, prefix[:-2], [prefix[-2:]], [answers[0][0], answers[1][0]])
        assert torch.allclose(both[0], torch.stack([found[0][0], found[1][0]]), atol=1e-4)

    def test_english_costs_few_bits_and_shuffled_words_more(self, real_model: Any) -> None:
        english = "The children went to the market and bought some apples for their grandmother."
        mixed = "apples The for to went their some bought and market grandmother the children."
        sequences = [real_model.tokenizer("\n" + text)["input_ids"] for text in (english, mixed)]
        found = token_log_probabilities(real_model.model, sequences)
        bits = [-scores.sum().item() / math.log(2) / len(english) for scores in found]  # both texts are as long
        assert bits[0] < 1.2 < 1.5 < bits[1]


@pytest.mark.gpu
@pytest.mark.parametrize("kind", MODELS)
def test_scores_on_cuda_are_those_of_the_cpu(kind: str) -> None:
    """In the mode in which studies run; cut into batches, and the next token behind shared beginnings, too."""
    sequences = [[1, 2, *rest] for rest in drawn(2, 9, 7, 7, 4, seed=8)]
    found = {}
    for place in ("cpu", "cuda"):
        model = MODELS[kind]().to(place).eval()
        torch.set_deterministic_debug_mode("error")
        try:
            scores = token_log_probabilities(model, sequences, batch_tokens=12)
            found[place] = [*scores, next_token_log_probabilities(model, [], sequences, [0, 3])]
        finally:
            torch.set_deterministic_debug_mode("default")
    for there, here in zip(found["cuda"], found["cpu"], strict=True):
        torch.testing.assert_close(there.cpu(), here.cpu(), atol=1e-4, rtol=0)
