"""Edges scored by a language model, what prompts share read once, against whole prompts in padded batches.

The limit is arithmetic: 2 x 106 M operations for each position read and 2 x 28 M for each one predicted, at the speed
of a product of matrices of these shapes. On one core of an EPYC 7003 with AVX2 that speed is 50 to 70 G operations a
second; scoring attains 40 to 49.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
import torch
from torch import Tensor
from twelvefold.core import data
from twelvefold.nn.pretrained import BUNDLED, LanguageModel, load_language_model
from twelvefold.papers.igda.logit_model import Prompt, edge_scores
from twelvefold.papers.igda.prompts import chat_text, effect_texts, yes_no_messages
from twelvefold.tasks.causal_graphs import CausalGraph, load_graph

from tests.benchmarks.interleave import measure, record

CAUSES = {"chat": (3,), "pmi": (3, 11)}  # of insurance, so that all turns together take less than two minutes
BATCH_TOKENS = 2048


@pytest.fixture(scope="module")
def language_model() -> LanguageModel:
    return load_language_model()


def asked_about(graph: CausalGraph, causes: Sequence[int]) -> Tensor:
    """All pairs with these causes `[E, 2]`."""
    return torch.tensor([(i, j) for i in causes for j in range(graph.size) if i != j])


def chat_prompts(language_model: LanguageModel, graph: CausalGraph, edges: Tensor) -> list[list[int]]:
    texts = [chat_text(language_model.tokenizer, yes_no_messages(graph, i, j)) for i, j in edges.tolist()]
    return [language_model.tokenizer(text, add_special_tokens=False)["input_ids"] for text in texts]


@torch.no_grad()
def padded(language_model: LanguageModel, prompts: Sequence[list[int]]) -> list[Tensor]:
    """The peer: log p of every token after each of a prompt's `[T, V]`, from batches padded by the tokenizer."""
    found: list[Tensor] = []
    language_model.tokenizer.padding_side = "right"
    count = BATCH_TOKENS // max(map(len, prompts))
    for start in range(0, len(prompts), count):
        part = prompts[start : start + count]
        batch = language_model.tokenizer.pad({"input_ids": part}, return_tensors="pt")
        logits = language_model.model(**batch, use_cache=False).logits
        found += [own[: len(tokens)].log_softmax(-1) for own, tokens in zip(logits, part, strict=True)]
    return found


def padded_chat(language_model: LanguageModel, graph: CausalGraph, edges: Tensor) -> Tensor:
    yes, no = (language_model.tokenizer(word)["input_ids"][0] for word in ("Yes", "No"))
    last = [own[-1] for own in padded(language_model, chat_prompts(language_model, graph, edges))]
    return torch.stack([row[yes] - row[no] for row in last])


def padded_pmi(language_model: LanguageModel, graph: CausalGraph, edges: Tensor) -> Tensor:
    """Texts with a cause, and the texts without one for each phrase once."""
    effects = sorted({j for _, j in edges.tolist()})
    beginnings = [(effect_texts(graph, i, j)[0], j) for i, j in edges.tolist()]
    beginnings += [(effect_texts(graph, 0, j)[1], j) for j in effects]
    encode = language_model.tokenizer
    whole = [encode(f"{text} {graph.phrases[j]}")["input_ids"] for text, j in beginnings]
    means = []
    for rows, tokens, (text, _) in zip(padded(language_model, whole), whole, beginnings, strict=True):
        first = len(encode(text)["input_ids"])
        means.append(rows[first - 1 : -1].gather(1, torch.tensor(tokens[first:])[:, None]).mean())
    plain = dict(zip(effects, means[len(edges) :], strict=True))
    return torch.stack([mean - plain[j] for mean, (_, j) in zip(means, edges.tolist(), strict=False)])


@pytest.mark.slow
@pytest.mark.parametrize("prompt", ["chat", "pmi"])
def test_against_padded_batches_of_whole_prompts(benchmark: Any, language_model: LanguageModel, prompt: Prompt) -> None:
    graph = load_graph("insurance")
    edges, peer = asked_about(graph, CAUSES[prompt]), {"chat": padded_chat, "pmi": padded_pmi}[prompt]
    kept: dict[str, Tensor] = {}

    def ours() -> None:
        found = edge_scores(language_model, prompt, graph, edges, batch_tokens=BATCH_TOKENS)
        kept["ours"] = found.score.float()

    def theirs() -> None:
        kept["theirs"] = peer(language_model, graph, edges)

    seconds = measure(ours, theirs, rounds=1)
    torch.testing.assert_close(kept["ours"], kept["theirs"], atol=1e-4, rtol=0)
    what = f"{len(edges)} pairs of insurance scored by a model of 135 M parameters, {prompt}"
    assert record(benchmark, seconds, 2.0, what, "transformers, padded batches of whole prompts") > 0
    benchmark.pedantic(ours, rounds=1)


@pytest.mark.slow
def test_against_the_kernels_of_llama_cpp(benchmark: Any, language_model: LanguageModel) -> None:
    """The same file in 4 bits, whose kernels round states to 8 bits too: scores agree in their order, not in digits."""
    llama_cpp = pytest.importorskip("llama_cpp", reason="the Python package llama-cpp-python is not installed")
    peer = llama_cpp.Llama(str(data.path(BUNDLED)), n_ctx=512, n_batch=512, n_threads=1, n_threads_batch=1,
                           logits_all=True, verbose=False)  # fmt: skip
    graph = load_graph("insurance")
    edges = asked_about(graph, CAUSES["chat"])
    yes, no = (language_model.tokenizer(word)["input_ids"][0] for word in ("Yes", "No"))
    kept: dict[str, Tensor] = {}

    def ours() -> None:
        kept["ours"] = edge_scores(language_model, "chat", graph, edges, batch_tokens=BATCH_TOKENS).score.float()

    def theirs() -> None:
        scores = []
        for tokens in chat_prompts(language_model, graph, edges):
            peer.reset()
            peer.eval(tokens)
            scores.append(float(peer.scores[len(tokens) - 1, yes] - peer.scores[len(tokens) - 1, no]))
        kept["theirs"] = torch.tensor(scores)

    seconds = measure(ours, theirs, rounds=1)
    assert float(torch.corrcoef(torch.stack([kept["ours"], kept["theirs"]]))[0, 1]) > 0.9
    what = f"{len(edges)} pairs of insurance scored by a model of 135 M parameters, chat"
    assert record(benchmark, seconds, 1.0, what, "llama-cpp-python, the same file in 4 bits") > 0
    benchmark.pedantic(ours, rounds=1)
