"""The problem of every experiment on proteins: a split, a tokenizer of its training side, and texts of both sides."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import torch

from twelvefold.core.seeds import numpy_generator
from twelvefold.papers.s2t2.tokenization import Document, Vocabulary, document, train_bpe
from twelvefold.tasks.proteins import AMINO_ACIDS, Proteins, compressed_bits, load_proteins, split, unigram_bits


class Problem(NamedTuple):
    """A replicate of the experiment.

    Attributes:
        target: the new tokenizer, u tokens.
        training: pieces of training proteins, at most `length` residues each, in random order.
        held_out: one piece of each held-out protein, from a random place.
        proteins: the training proteins, whole.
    """

    target: Vocabulary
    training: list[str]
    held_out: list[str]
    proteins: tuple[str, ...]


def draw_problem(
    proteins: Sequence[str], seed: int, replicate: int, *, targets: int, length: int, training: int | None,
    held_out: int, tokenizer_proteins: int | None = None,
) -> Problem:  # fmt: skip
    """Split proteins, train a tokenizer on the training side alone, and cut texts; another replicate splits anew.

    Args:
        proteins: sequences of standard amino acids. seed, replicate: of all draws.
        targets: u tokens. length: residues of a text.
        training: how many training texts; None: all there are. held_out: how many proteins are held out.
        tokenizer_proteins: how many training proteins the tokenizer sees; None: all.

    Raises:
        ValueError: a number out of range, or fewer texts than asked for.
    """
    if length < 2 or (training is not None and training < 1):
        raise ValueError(f"length = {length}, training = {training}; at least 2 residues and 1 text are needed")
    drawn = numpy_generator(seed, replicate, "protein texts")
    known, unseen = split(proteins, held_out, seed=int(drawn.integers(2**31)))
    chosen = drawn.permutation(len(known))[:tokenizer_proteins]
    target = train_bpe([known[i] for i in chosen], targets, alphabet=AMINO_ACIDS)
    # the rest at the end of a protein is a text too when it is at least half as long as the others
    pieces = [p[i : i + length] for p in known for i in range(0, len(p), length) if 2 * len(p[i:]) >= length]
    if training is not None and training > len(pieces):
        raise ValueError(f"training = {training}; the training proteins give {len(pieces)} texts of {length} residues")
    texts = [pieces[i] for i in drawn.permutation(len(pieces))[:training]]
    places = [int(drawn.integers(max(1, len(p) - length + 1))) for p in unseen]
    return Problem(target, texts, [p[i : i + length] for p, i in zip(unseen, places, strict=True)], known)


@lru_cache(maxsize=8)
def kept_problem(dataset: str, limit: int | None, seed: int, replicate: int, **sizes: Any) -> Problem:
    """The problem of a training run, kept for a while: every arm of the run asks for it.

    Args:
        dataset, limit: as `tasks.proteins.load_proteins`. Others, and errors, as `draw_problem`.
    """
    return draw_problem(_proteins(dataset, limit).sequences, seed, replicate, **sizes)


@lru_cache(maxsize=1)
def _proteins(dataset: str, limit: int | None) -> Proteins:
    return load_proteins(dataset, limit)


def target_documents(problem: Problem, texts: Sequence[str]) -> list[Document]:
    """Texts in target tokens."""
    return [document(problem.target, text) for text in texts]


def references(problem: Problem) -> dict[str, float]:
    """What models without any network need for the held-out texts, in bits per residue.

    Returns:
        unigram: independent residues. token_unigram: independent target tokens (counts of the training texts, plus
            one). gzip, lzma: general compressors.
    """
    costs = {"unigram": unigram_bits(problem.proteins, problem.held_out), "token_unigram": _token_unigram(problem)}
    return costs | {name: compressed_bits(problem.held_out, name) for name in ("gzip", "lzma")}


def _token_unigram(problem: Problem) -> float:
    """-(1/B) sum over held-out tokens of log2 p with p(t) = (n_t + 1) / (n + u)."""
    counts = Counter(int(i) for text in problem.training for i in document(problem.target, text).ids[1:])
    total = counts.total() + len(problem.target)
    documents = target_documents(problem, problem.held_out)
    bits = sum(-math.log2((counts[int(i)] + 1) / total) for d in documents for i in d.ids[1:])
    return bits / sum(d.predicted_bytes for d in documents)


def token_frequencies(vocabulary: Vocabulary, texts: Sequence[str]) -> torch.Tensor:
    """Share of each token among those of the texts `[n]`, one added to every count; float64, sums to one."""
    counts = torch.ones(len(vocabulary), dtype=torch.float64)
    for text in texts:
        ids = document(vocabulary, text).ids
        counts += torch.bincount(ids, minlength=len(vocabulary))
    return counts / counts.sum()
