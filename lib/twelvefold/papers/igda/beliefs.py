"""From an expert's answers to a belief in each edge, and from beliefs to labels and uncertainty.

A belief p is the probability that an edge is there. Its label is p > 1/2, its confidence max(p, 1 - p) and its
uncertainty 1 - |2 p - 1|, which ranks pairs as the entropy of p and the margin do.
"""

from __future__ import annotations

import torch
from torch import Tensor


def uncertainty(beliefs: Tensor) -> Tensor:
    """1 - |2 p - 1|: 1 for p = 1/2, 0 for certainty; same shape.

    Raises:
        ValueError: a number outside [0, 1], or NaN.
    """
    check_beliefs(beliefs)
    return 1 - (2 * beliefs - 1).abs()


def labels(beliefs: Tensor) -> Tensor:
    """Whether an edge is taken to be there, p > 1/2; same shape, bool.

    Raises:
        ValueError: a number outside [0, 1], or NaN.
    """
    check_beliefs(beliefs)
    return beliefs > 0.5


def check_beliefs(beliefs: Tensor) -> None:
    """Refuse what is no probability.

    Raises:
        ValueError: a number outside [0, 1], or NaN.
    """
    inside = (beliefs >= 0) & (beliefs <= 1)
    if not bool(inside.all()):
        raise ValueError(f"beliefs hold {float(beliefs[~inside][0])}; probabilities from 0 to 1 are needed")


def belief_of_samples(answers: Tensor, confidences: Tensor | None = None) -> Tensor:
    """Belief from K sampled answers to each question: the mean of q for yes and 1 - q for no.

    Args:
        answers: yes or no `[..., K]`, bool.
        confidences: stated confidence q in the own answer `[..., K]`, in [0, 1]; None: every answer counts as certain,
            so that the belief is the share of votes.

    Raises:
        ValueError: no sample, confidences of another shape, or outside [0, 1].
    """
    if answers.shape[-1:].numel() == 0 or answers.shape[-1] < 1:
        raise ValueError(f"answers has shape {tuple(answers.shape)}; at least one sample is needed")
    if confidences is None:
        return answers.double().mean(-1)
    if confidences.shape != answers.shape:
        raise ValueError(f"confidences has shape {tuple(confidences.shape)}; {tuple(answers.shape)} is needed")
    check_beliefs(confidences)
    return torch.where(answers, confidences, 1 - confidences).mean(-1)


def voted(beliefs: Tensor, votes: int | None, generator: torch.Generator) -> Tensor:
    """Share of yes among K independent votes, each yes with probability p; None: infinitely many, which is p itself.

    Raises:
        ValueError: fewer than one vote, or beliefs that are no probabilities.
    """
    check_beliefs(beliefs)
    if votes is None:
        return beliefs
    if votes < 1:
        raise ValueError(f"votes = {votes}; at least 1, or None, is needed")
    # drawn on the CPU, so that every device sees the same votes
    counts = torch.full_like(beliefs, votes, dtype=torch.float64, device="cpu")
    drawn = torch.binomial(counts, beliefs.double().cpu(), generator=generator)
    return (drawn / votes).to(beliefs)
