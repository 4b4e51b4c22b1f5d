"""A simulated expert that says with each answer how sure it is: never unsure of its own words, in round numbers.

Asked once about a pair with belief p it says yes with probability p. With yes it states the confidence q = p, with no
q = 1 - p; but not less than one half, as nobody says "yes, 20 % sure", and rounded. K such answers give the belief

    mean over answers l (1 yes, 0 no) of   l q + (1 - l) (1 - q).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from twelvefold.papers.igda.beliefs import check_beliefs, voted
from twelvefold.papers.igda.feedback import Feedback
from twelvefold.papers.igda.simulated_expert import SimulatedExpert


@dataclass(frozen=True)
class Manner:
    """How confidence is put into words.

    Attributes:
        floor: least confidence in an own answer. step: confidences are multiples of it; at most 1 is stated.
    """

    floor: float = 0.5
    step: float = 0.1

    def __post_init__(self) -> None:
        if not (0 <= self.floor <= 1 and 0 < self.step <= 1):
            raise ValueError(f"{self}; a floor from 0 to 1 and a step above 0, at most 1, are needed")

    def confidence(self, chance: Tensor) -> Tensor:
        """What is stated of an own answer that is believed right with probability `chance`; same shape, float64.

        Raises:
            ValueError: a number outside [0, 1], or NaN.
        """
        check_beliefs(chance)
        return ((chance.double() / self.step).round() * self.step).clamp(self.floor, 1.0)


def averaged(beliefs: Tensor, answers: int, manner: Manner, generator: torch.Generator) -> Tensor:
    """Belief from K answers with stated confidences; same shape, float64. The answers are those of `beliefs.voted`.

    Raises:
        ValueError: fewer than one answer, or beliefs that are no probabilities.
    """
    yes = voted(beliefs.double(), answers, generator)  # share of the answers
    return yes * manner.confidence(beliefs) + (1 - yes) * (1 - manner.confidence(1 - beliefs))


class StatingExpert(NamedTuple):
    """An `Expert` of the loop.

    Attributes:
        exact: what it believes, without votes. answers: K. manner: how it states confidence. generator: of answers.
    """

    exact: SimulatedExpert
    answers: int
    manner: Manner
    generator: torch.Generator

    def beliefs(self, asked: Tensor, feedback: Feedback) -> Tensor:
        """Beliefs `[S, n, n]` that its answers give at the pairs asked about; 0 elsewhere."""
        beliefs = self.exact.beliefs(asked, feedback)
        return torch.where(asked, averaged(beliefs, self.answers, self.manner, self.generator), 0.0)
