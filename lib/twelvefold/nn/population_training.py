"""Training a population at once: one optimiser loop over the member x parameter matrix `weights [N, P]`.

Every quantity that is usually tuned is a vector over members, so networks with different learning rates, decays and
numbers of steps train in one program; each ends up where it would have ended alone.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from twelvefold.nn.functional_population import batched, layout_of


@dataclass(frozen=True)
class Adam:
    """Adam with one value per member of everything that is usually tuned.

    learning_rate `[N]`, weight_decay `[N]`, steps `[N]` (updates a member makes before it is frozen; the loop runs to
    the largest).
    decay: "decoupled" (AdamW) or "l2" (the decay is added to the gradient, torch.optim.Adam). Raises ValueError for
    unequal lengths, negative values, other names.
    """

    learning_rate: Tensor
    weight_decay: Tensor
    steps: Tensor
    beta1: float = 0.9
    beta2: float = 0.999
    epsilon: float = 1e-8
    decay: str = "decoupled"

    def __post_init__(self) -> None:
        lengths = {tuple(value.shape) for value in (self.learning_rate, self.weight_decay, self.steps)}
        if len(lengths) != 1 or len(next(iter(lengths))) != 1:
            raise ValueError(
                f"learning_rate, weight_decay and steps have shapes {sorted(lengths)}; all three must be [members]"
            )
        if self.decay not in ("decoupled", "l2"):
            raise ValueError(f"decay is {self.decay!r}; known are 'decoupled' (AdamW) and 'l2' (Adam)")
        if any(bool((value < 0).any()) for value in (self.learning_rate, self.weight_decay, self.steps)):
            raise ValueError("learning_rate, weight_decay and steps must not be negative")

    def to(self, device: torch.device) -> Adam:
        """The same settings on a device."""
        rate, decay, steps = (value.to(device) for value in (self.learning_rate, self.weight_decay, self.steps))
        return Adam(rate, decay, steps, self.beta1, self.beta2, self.epsilon, self.decay)

    def rows(self, chosen: slice) -> Adam:
        """The settings of some members."""
        return Adam(
            self.learning_rate[chosen],
            self.weight_decay[chosen],
            self.steps[chosen],
            self.beta1,
            self.beta2,
            self.epsilon,
            self.decay,
        )


@dataclass
class TrainingState:
    """Everything that a training run needs to go on: `weights`, `first`, `second` moments `[N, P]`, and the number of
    steps made."""

    weights: Tensor
    first: Tensor
    second: Tensor
    step: int = 0

    @staticmethod
    def fresh(weights: Tensor) -> TrainingState:
        """Start from `weights [N, P]` (copied) with zero moments."""
        return TrainingState(weights.detach().clone(), torch.zeros_like(weights), torch.zeros_like(weights))


def adam_step(state: TrainingState, gradient: Tensor, settings: Adam) -> None:
    """One update of all members in place; a member whose own number of steps is used up stays where it is."""
    step, weights = state.step + 1, state.weights
    active = (settings.steps >= step).to(weights)  # [N]
    rate = (settings.learning_rate * active)[:, None]
    if settings.decay == "l2":
        gradient = gradient + settings.weight_decay[:, None] * weights
    else:
        weights.mul_(1.0 - rate * settings.weight_decay[:, None])
    state.first.lerp_(gradient, 1.0 - settings.beta1)
    state.second.mul_(settings.beta2).addcmul_(gradient, gradient, value=1.0 - settings.beta2)
    correction = 1.0 - settings.beta2**step
    update = state.second.sqrt().mul_(correction**-0.5).add_(settings.epsilon)
    torch.div(state.first, update, out=update)
    weights.sub_(update.mul_(rate / (1.0 - settings.beta1**step)))
    state.step = step


def cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Mean cross-entropy of each member `[N]` from logits `[N, B, C]` and labels `[N, B]`."""
    losses = F.cross_entropy(logits.flatten(0, 1), labels.flatten(), reduction="none")
    return losses.view(labels.shape).mean(dim=1)


Batch = tuple[Tensor, Tensor, Tensor | None]


def train(
    model: nn.Module,
    state: TrainingState,
    settings: Adam,
    batches: Callable[[int], Batch],
    *,
    loss: Callable[[Tensor, Tensor], Tensor] = cross_entropy,
    after_step: Callable[[TrainingState], None] | None = None,
) -> Tensor:
    """Train all members at once and return their final weights `[N, P]`.

    Args:
        model: architecture, in the mode (train or eval) it is to be called in.
        state: where to start or resume; updated in place.
        settings: per-member Adam; the loop runs to the largest of `settings.steps`.
        batches: `batches(step)` gives inputs `[N, B, ...]`, targets `[N, B]` and a mask or None, for step 0, 1, ...; a
            function of the step alone makes the run resumable.
        loss: per-member losses `[N]`. Members do not interact, so the gradient of the sum is each member's own
            gradient.
        after_step: called after every update (checkpoints, monitoring).

    Raises ValueError for wrong shapes and FloatingPointError when a member's weights are no longer finite.
    """
    layout, members = layout_of(model), state.weights.shape[0]
    if state.weights.ndim != 2 or state.weights.shape[1] != layout.total:
        raise ValueError(
            f"weights has shape {tuple(state.weights.shape)}; this architecture needs [members, {layout.total}]"
        )
    if settings.learning_rate.shape[0] != members:
        raise ValueError(f"settings describe {settings.learning_rate.shape[0]} members, weights has {members}")
    run = batched(model)
    for step in range(state.step, int(settings.steps.max())):
        inputs, targets, mask = batches(step)
        leaf = state.weights.detach().requires_grad_()
        losses = loss(run(leaf, inputs, mask), targets)
        (gradient,) = torch.autograd.grad(losses.sum(), leaf)
        with torch.no_grad():
            adam_step(state, gradient, settings)
        if after_step is not None:
            after_step(state)
    if not bool(torch.isfinite(state.weights).all()):
        bad = (~torch.isfinite(state.weights).all(dim=1)).nonzero()[:, 0].tolist()
        raise FloatingPointError(f"weights of members {bad} are not finite after training; lower their learning_rate")
    return state.weights
