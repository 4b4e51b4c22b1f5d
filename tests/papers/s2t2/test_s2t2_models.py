"""Bodies of causal language models with soft embeddings, and bits per byte, against transformers' own losses."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from transformers import Gemma2Config, Gemma2ForCausalLM, PhiConfig, PhiForCausalLM
from twelvefold.nn.pretrained_scoring import token_log_probabilities
from twelvefold.papers.s2t2 import bits_per_byte
from twelvefold.papers.s2t2.bits_per_byte import document_nats, score
from twelvefold.papers.s2t2.body import check_model, freeze, source_vectors, states
from twelvefold.papers.s2t2.tokenization import Document
from twelvefold.papers.s2t2.translation import Vectors, translate

from tests.papers.s2t2.language_models import FAMILIES, drawn_documents, small_model


@pytest.mark.parametrize("family", FAMILIES)
def test_states_times_output_matrix_are_the_logits_of_the_model(family: str) -> None:
    model = small_model(family)
    ids = torch.arange(10)[None]
    vectors = source_vectors(model)
    assert vectors.tied == family.endswith("tied") and vectors.head.shape == (40, 16)
    expected = model(input_ids=ids).logits
    torch.testing.assert_close(states(model, vectors.embedding[ids]) @ vectors.head.T, expected, atol=1e-5, rtol=1e-5)
    check_model(model, ids[0])


def test_chosen_rows_of_the_source() -> None:
    model = small_model("llama free")
    kept = torch.tensor([3, 7, 30])
    vectors = source_vectors(model, kept)
    assert torch.equal(vectors.embedding, model.get_input_embeddings().weight[kept])
    assert torch.equal(vectors.head, model.get_output_embeddings().weight[kept])
    assert source_vectors(small_model("gpt2 tied"), kept).tied
    with pytest.raises(ValueError, match="kept goes from 3 to 40"):
        source_vectors(model, torch.tensor([3, 40]))


def own_bits(family: str, document: Document) -> float:
    """The loss that the model itself computes, in bits."""
    model = small_model(family)
    loss = model(input_ids=document.ids[None], labels=document.ids[None]).loss.detach()
    return float(loss) * (len(document.ids) - 1) / math.log(2)


@pytest.mark.parametrize("family", FAMILIES)
def test_bits_are_the_model_s_own_whatever_the_batch(family: str) -> None:
    documents = drawn_documents(9, 40)
    expected = [own_bits(family, d) for d in documents]
    model = small_model(family)
    for batch_tokens in (1, 30, 10_000):
        made = score(model, source_vectors(model), documents, batch_tokens=batch_tokens)
        np.testing.assert_allclose(made.bits, expected, rtol=1e-4)
    assert made.predicted_bytes.tolist() == [d.predicted_bytes for d in documents]
    assert made.bits_per_byte == pytest.approx(sum(expected) / sum(d.predicted_bytes for d in documents), rel=1e-4)


def test_bits_are_those_of_the_scoring_by_token_numbers() -> None:
    model, documents = small_model("llama tied"), drawn_documents(9, 40)
    expected = [-float(row.sum()) / math.log(2) for row in token_log_probabilities(model, [d.ids for d in documents])]
    np.testing.assert_allclose(score(model, source_vectors(model), documents).bits, expected, rtol=1e-4)


def test_a_uniform_model_needs_log2_u_bits_a_token() -> None:
    model = small_model("llama tied")
    zeros = Vectors(torch.zeros(8, 16), torch.zeros(8, 16))
    made = score(model, zeros, [Document(torch.tensor([0, 1, 2, 7]), 6)])
    assert made.bits_per_byte == pytest.approx(3 * 3 / 6)


def test_few_logits_at_a_time_give_the_same_bits(monkeypatch: pytest.MonkeyPatch) -> None:
    model, documents = small_model("llama free"), drawn_documents(5, 40)
    whole = score(model, source_vectors(model), documents)
    monkeypatch.setattr(bits_per_byte, "_LOGITS", 100)  # two positions at a time
    parts = score(model, source_vectors(model), documents)
    np.testing.assert_allclose(whole.bits, parts.bits, rtol=1e-6)


def test_relabelled_tokens_cost_the_same_bits() -> None:
    """A permutation as a plan, and documents in permuted tokens, are the source model again."""
    model, documents = small_model("llama free"), drawn_documents(4, 40)
    order = torch.from_numpy(np.random.default_rng(3).permutation(40))
    plan = torch.zeros(40, 40)
    plan[torch.arange(40), order] = 1.0  # source token s is target token order[s]
    renamed = [Document(order[d.ids], d.predicted_bytes) for d in documents]
    expected = score(model, source_vectors(model), documents).bits
    np.testing.assert_allclose(score(model, translate(plan, source_vectors(model)), renamed).bits, expected, rtol=1e-5)


def test_gradient_reaches_vectors_and_not_a_frozen_model() -> None:
    model = small_model("llama free")
    freeze(model)
    vectors = Vectors(*(v.clone().requires_grad_() for v in source_vectors(model)))
    document_nats(model, vectors, drawn_documents(3, 40)).sum().backward()
    assert vectors.embedding.grad is not None and vectors.head.grad is not None
    assert all(p.grad is None for p in model.parameters())


def test_bfloat16_is_near_float32() -> None:
    model, documents = small_model("llama free"), drawn_documents(6, 40)
    exact, fast = (score(model, source_vectors(model), documents, precision=p) for p in ("float32", "bfloat16"))
    np.testing.assert_allclose(fast.bits, exact.bits, rtol=0.05)
    assert not np.array_equal(fast.bits, exact.bits)
    half = score(small_model("llama free").bfloat16(), source_vectors(model), documents)
    np.testing.assert_allclose(half.bits, exact.bits, rtol=0.05)


def test_a_model_that_changes_its_logits_is_refused() -> None:
    config = Gemma2Config(vocab_size=40, hidden_size=16, intermediate_size=24, num_hidden_layers=1, head_dim=8,
                          num_attention_heads=2, num_key_value_heads=1, final_logit_softcapping=0.1)  # fmt: skip
    with torch.random.fork_rng(devices=[]):
        model = Gemma2ForCausalLM(config).eval()
    with pytest.raises(ValueError, match="Gemma2ForCausalLM: its logits differ"):
        check_model(model, torch.arange(5))


def test_models_without_a_plain_output_matrix_are_refused() -> None:
    config = PhiConfig(vocab_size=40, hidden_size=16, intermediate_size=24, num_hidden_layers=1, num_attention_heads=2)
    with torch.random.fork_rng(devices=[]):
        model = PhiForCausalLM(config)
    with pytest.raises(ValueError, match="PhiForCausalLM has an output bias"):
        source_vectors(model)
    with pytest.raises(ValueError, match="LlamaModel has no output matrix"):
        source_vectors(small_model("llama free").base_model)


@pytest.mark.parametrize(
    ("documents", "says"),
    [
        ([], "documents is empty"),
        ([Document(torch.tensor([1]), 1)], r"documents\[0\] has 1 tokens"),
        ([Document(torch.tensor([1, 2]), 0)], "0 predicted bytes"),
        ([Document(torch.tensor([1, 40]), 1)], "from 1 to 40"),
    ],
)
def test_bad_documents_are_refused(documents: list[Document], says: str) -> None:
    model = small_model("llama free")
    with pytest.raises(ValueError, match=says):
        document_nats(model, source_vectors(model), documents)
    with pytest.raises(ValueError, match=says):
        score(model, source_vectors(model), documents)


def test_bad_batches_are_refused() -> None:
    model = small_model("llama free")
    with pytest.raises(ValueError, match="batch_tokens = 0"):
        score(model, source_vectors(model), drawn_documents(1, 40), batch_tokens=0)
