"""What has been tested so far, for S replicates of the same graph at once.

An ordered pair (i, j), i != j, asks whether variable i is a direct cause of variable j. All matrices are `[S, n, n]`;
their diagonals mean nothing and are never tested.
"""

from __future__ import annotations

from typing import Literal, NamedTuple, get_args

import torch
from torch import Tensor

Neighbourhood = Literal["same_role", "any_endpoint"]


class Feedback(NamedTuple):
    """Answers to the edge experiments made so far.

    Attributes:
        tested: which pairs have been tested `[S, n, n]`, bool.
        present: whether the edge was there `[S, n, n]`, bool; False where nothing was tested.
        round: in which round it was tested, from 1 on `[S, n, n]`, int64; 0 where nothing was tested.
    """

    tested: Tensor
    present: Tensor
    round: Tensor

    @property
    def last_round(self) -> int:
        """Number of the last round."""
        return int(self.round.max())


def no_feedback(replicates: int, variables: int, device: torch.device | str = "cpu") -> Feedback:
    """Feedback before the first experiment.

    Raises:
        ValueError: fewer than one replicate or two variables.
    """
    if replicates < 1 or variables < 2:
        raise ValueError(f"replicates = {replicates}, variables = {variables}; at least 1 and 2 are needed")
    nothing = torch.zeros(replicates, variables, variables, dtype=torch.bool, device=device)
    return Feedback(nothing, nothing.clone(), nothing.long())


def add_answers(feedback: Feedback, selected: Tensor, edges: Tensor) -> Feedback:
    """Feedback after the experiments `selected [S, n, n]` of a new round, answered by the true graph `[n, n]`.

    Raises:
        ValueError: a pair that was tested before, or one of a variable with itself.
    """
    if bool((selected & feedback.tested).any()) or bool(selected.diagonal(dim1=1, dim2=2).any()):
        raise ValueError("selected holds a pair that was tested before, or a variable with itself; it must not")
    number = torch.where(selected, feedback.last_round + 1, feedback.round)
    return Feedback(feedback.tested | selected, feedback.present | (selected & edges), number)


def pairs(variables: int, device: torch.device | str = "cpu") -> Tensor:
    """All pairs of different variables `[n, n]`, bool."""
    return ~torch.eye(variables, dtype=torch.bool, device=device)


def neighbours(feedback: Feedback, neighbourhood: Neighbourhood = "same_role") -> Tensor:
    """Untested pairs that the experiments of the last round bear on `[S, n, n]`, bool (paper: "local update").

    Args:
        feedback: with at least one round.
        neighbourhood: "same_role": pairs with the same cause, or the same effect, as a pair of the round;
            "any_endpoint": pairs that touch a variable of the round. The paper's choice is not known.

    Raises:
        ValueError: an unknown neighbourhood.
    """
    if neighbourhood not in get_args(Neighbourhood):
        raise ValueError(f"neighbourhood = {neighbourhood!r}; known are {list(get_args(Neighbourhood))}")
    new = feedback.tested & (feedback.round == feedback.round.amax(dim=(1, 2), keepdim=True))
    sources, targets = new.any(2), new.any(1)  # [S, n]: causes and effects of the round's pairs
    if neighbourhood == "any_endpoint":
        sources = targets = sources | targets
    near = sources[:, :, None] | targets[:, None, :]
    return near & ~feedback.tested & pairs(near.shape[1], near.device)
