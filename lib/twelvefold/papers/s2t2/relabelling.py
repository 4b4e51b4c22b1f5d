"""A translation problem with a known answer: a Markov chain whose symbols are renamed and merged.

Source texts come from a chain of order 1 on v symbols. Each symbol belongs to one of u classes, the target symbols, and
behaves as its class: P(s' | s) = K(c(s), c(s')) / |c(s')|. The classes of a source text then form a chain with the
matrix K, and a model of the source is a perfect model of the target once the plan knows the classes. The best possible
bits per symbol are the entropy rate of K, and the right plan gives target symbol t the source symbols of class t.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from twelvefold.papers.s2t2.tokenization import Document


@dataclass(frozen=True, eq=False)
class Relabelling:
    """Chain of the classes K `[u, u]` (rows sum to one), and the class of each source symbol `[v]`."""

    transition: Tensor
    classes: Tensor


def draw_relabelling(
    sources: int, targets: int, generator: np.random.Generator, *, concentration: float = 12.0, ratio: float = 0.7
) -> Relabelling:
    """Draw K from Dirichlet rows around geometric frequencies, and classes of equal size in a random order.

    Args:
        sources: v symbols, a multiple of u. targets: u symbols.
        concentration: sum of the Dirichlet parameters; small values make the next symbol easy to predict.
        ratio: of the frequency of a class to that of the next more frequent one. Below 1, classes can be told apart by
            their frequency, which guides learning; at 1, by their neighbours alone, and learning gets stuck more often.

    Raises:
        ValueError: v is not a multiple of u (uniform marginals have a sparse answer only then), u below 2, a
            concentration that is not positive, or a ratio outside (0, 1].
    """
    if targets < 2 or sources < targets or sources % targets or not concentration > 0 or not 0 < ratio <= 1:
        raise ValueError(f"sources = {sources}, targets = {targets}, concentration = {concentration}, ratio = {ratio}; "
                         "a multiple of the targets, at least 2 targets, a positive concentration and a ratio in "
                         "(0, 1] are needed")  # fmt: skip
    weights = ratio ** generator.permutation(targets)
    transition = generator.dirichlet(concentration * weights / weights.sum(), size=targets)
    classes = generator.permutation(np.repeat(np.arange(targets), sources // targets))
    return Relabelling(torch.from_numpy(transition), torch.from_numpy(classes))


def source_texts(problem: Relabelling, count: int, length: int, generator: np.random.Generator) -> Tensor:
    """Draw `count` source texts `[count, length]` from the stationary chain.

    Raises:
        ValueError: a count below 1 or a length below 2.
    """
    if count < 1 or length < 2:
        raise ValueError(f"count = {count}, length = {length}; at least 1 and 2 are needed")
    rows = problem.transition.numpy().cumsum(1)
    start = stationary(problem).numpy().cumsum()
    uniform = generator.random((length, count))
    last = len(start) - 1  # a cumulative sum may end below one by rounding
    chain = [np.minimum((uniform[0][:, None] > start).sum(1), last)]
    for drawn in uniform[1:]:
        chain.append(np.minimum((drawn[:, None] > rows[chain[-1]]).sum(1), last))
    members = np.stack([np.flatnonzero(problem.classes.numpy() == c) for c in range(len(start))])  # [u, v / u]
    which = generator.integers(members.shape[1], size=(count, length))
    return torch.from_numpy(members[np.stack(chain, 1), which])


def target_texts(problem: Relabelling, texts: Tensor) -> Tensor:
    """The classes of source texts, same shape."""
    return problem.classes[texts]


def documents_of(texts: Tensor) -> list[Document]:
    """Every row `[T]` of texts `[N, T]` as a document; a symbol counts as one byte, the first is not predicted."""
    return [Document(text, len(text) - 1) for text in texts]


def stationary(problem: Relabelling) -> Tensor:
    """Stationary distribution of the classes `[u]`."""
    size = len(problem.transition)
    # pi K = pi and sum pi = 1, by least squares
    system = torch.cat([problem.transition.T - torch.eye(size, dtype=torch.float64), torch.ones(1, size)])
    right = torch.cat([torch.zeros(size), torch.ones(1)]).double()
    return torch.linalg.lstsq(system, right[:, None]).solution[:, 0].clamp(min=0)


def entropy_rate(problem: Relabelling) -> float:
    """Bits per target symbol of the best possible model, -sum_t pi_t sum_t' K_tt' log2 K_tt'."""
    entropies = -torch.xlogy(problem.transition, problem.transition).sum(1) / math.log(2)
    return float((stationary(problem) * entropies).sum())


def recovered(plan: Tensor, classes: Tensor) -> float:
    """Share of target symbols whose heaviest source symbol belongs to them, of a plan `[v, u]`.

    Raises:
        ValueError: a plan whose rows are not the source symbols.
    """
    if plan.ndim != 2 or len(plan) != len(classes):
        raise ValueError(f"plan has shape {tuple(plan.shape)}; [{len(classes)}, u] is needed")
    return float((classes[plan.argmax(0).cpu()] == torch.arange(plan.shape[1])).double().mean())


def tiny_model(symbols: int, generator: torch.Generator, *, width: int = 32, layers: int = 1, heads: int = 2) -> Any:
    """A small Llama with free output matrix, all its matrices N(0, 0.02^2) from `generator`.

    Raises:
        ValueError: a width that the heads do not divide into an even number.
    """
    from transformers import LlamaConfig, LlamaForCausalLM

    if min(symbols, width, layers, heads) < 1 or width % (2 * heads):
        raise ValueError(f"symbols = {symbols}, width = {width}, layers = {layers}, heads = {heads}; numbers of at "
                         "least 1 and an even width per head are needed")  # fmt: skip
    config = LlamaConfig(vocab_size=symbols, hidden_size=width, intermediate_size=2 * width, num_hidden_layers=layers,
                         num_attention_heads=heads, num_key_value_heads=heads, max_position_embeddings=512,
                         tie_word_embeddings=False)  # fmt: skip
    with torch.random.fork_rng(devices=[]):  # the constructor draws weights that are replaced at once
        model = LlamaForCausalLM(config).float()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim >= 2:
                parameter.normal_(0, 0.02, generator=generator)
    return model.eval()


def write_vectors(model: Any, embedding: Tensor, head: Tensor) -> None:
    """Replace the token embedding and the free output matrix of a model `[n, d]` each, e.g. after `finetune`."""
    with torch.no_grad():
        model.get_input_embeddings().weight.copy_(embedding)
        model.get_output_embeddings().weight.copy_(head)
