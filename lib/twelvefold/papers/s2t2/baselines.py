"""Target vectors without any training: means of source pieces, and draws from the distribution of source vectors."""

from __future__ import annotations

import torch
from torch import Tensor

from twelvefold.papers.s2t2.tokenization import Vocabulary, encode
from twelvefold.papers.s2t2.translation import Vectors


def piece_plan(source: Vocabulary, target: Vocabulary, kept: Tensor | None = None) -> Tensor:
    """Plan `[v, u]` in which a target token is the mean of the source tokens of its text (fast vocabulary transfer,
    Gee et al. 2022, EMNLP industry track); columns sum to one.

    Args:
        source, target: vocabularies.
        kept: numbers of the source tokens that are the rows `[v]`; None: all.

    Raises:
        ValueError: a target token whose pieces are not among the kept source tokens, or not in the source at all.
    """
    rows = torch.arange(len(source)) if kept is None else kept
    place = {int(number): row for row, number in enumerate(rows)}
    plan = torch.zeros(len(rows), len(target))
    for column, piece in enumerate(target.pieces):
        numbers = _source_pieces(source, piece)
        if not numbers or not {*numbers} <= {*place}:
            raise ValueError(f"target token {column} = {piece!r} is made of source tokens {numbers}, which are not all "
                             f"among the {len(rows)} kept ones")  # fmt: skip
        for number in numbers:
            plan[place[number], column] += 1 / len(numbers)
    return plan


def _source_pieces(source: Vocabulary, piece: bytes) -> list[int]:
    """Source tokens of the bytes of a target token; byte by byte where they end inside a character."""
    if piece == source.separator.encode():
        return [source.separator_id]
    try:
        return encode(source, piece.decode())
    except UnicodeDecodeError:
        return [source.pieces.index(bytes([byte])) for byte in piece]


def gaussian_vectors(source: Vectors, size: int, generator: torch.Generator) -> Vectors:
    """Draw vectors `[size, d]` from N(mean, covariance) of the source's; tied where those are.

    Raises:
        ValueError: a size below 1, or fewer than two source tokens.
    """
    if size < 1 or len(source.embedding) < 2:
        raise ValueError(f"size = {size}, {len(source.embedding)} source tokens; at least 1 and 2 are needed")
    embedding = _gaussian_rows(source.embedding, size, generator)
    return Vectors(embedding, embedding if source.tied else _gaussian_rows(source.head, size, generator))


def _gaussian_rows(matrix: Tensor, size: int, generator: torch.Generator) -> Tensor:
    exact = matrix.double().cpu()
    values, axes = torch.linalg.eigh(torch.cov(exact.T))
    # the symmetric root does not depend on the signs that an eigensolver gives its vectors
    root = (axes * values.clamp(min=0).sqrt()) @ axes.T  # [d, d]
    drawn = torch.randn(size, matrix.shape[1], generator=generator, dtype=torch.float64)
    return (exact.mean(0) + drawn @ root).to(matrix)
