"""One update of a population of transformers: losses, clipping by member, one fused AdamW; captured once on CUDA."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import accumulate
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from twelvefold.nn.counter_random import dropout_masks
from twelvefold.nn.training_recipe import Batch, Recipe
from twelvefold.nn.transformer import Weights, forward
from twelvefold.nn.transformer_config import TransformerConfig

_VECTOR = 64  # entries; a multiple of what a kernel's vector loop takes at a time on any CPU


def losses_of(logits: Tensor, tokens: Tensor, counted: Tensor | None) -> Tensor:
    """Mean next-token cross-entropy `[P]` of each member, from logits `[P, B, T, V]` and tokens `[P, B, T + 1]`.

    Raises:
        ValueError: `counted` is not `[P, B, T]`, or counts no token of a member (not checked on CUDA).
    """
    targets = tokens[:, :, 1:]
    if counted is not None and counted.shape != targets.shape:
        raise ValueError(f"counted has shape {tuple(counted.shape)}; {list(targets.shape)} is needed, one flag per "
                         "predicted token")  # fmt: skip
    if counted is not None and not counted.is_cuda:  # a look at the values would stop the device
        empty = (~counted.flatten(1).any(1)).nonzero()[:, 0].tolist()
        if empty:
            raise ValueError(f"counted: no token of members {empty} is counted; each member needs at least one a batch")
    losses = F.cross_entropy(logits.flatten(0, 2).float(), targets.flatten(), reduction="none").view(targets.shape)
    if counted is None:
        return losses.flatten(1).mean(1)
    return (losses * counted).flatten(1).sum(1) / counted.flatten(1).sum(1)


def clip_factors(gradients: Sequence[Tensor], limit: float) -> Tensor:
    """Factors `[P]`, at most 1, that bring the norm of each member's gradients `[P, ...]` down to `limit`."""
    squares = [torch.linalg.vector_norm(gradient.flatten(1), dim=1) ** 2 for gradient in gradients]  # each [P]
    norms = torch.stack(squares, dim=1).sum(1).sqrt()  # summed along a row: in the same order for any P
    return (limit / (norms + 1e-6)).clamp(max=1.0)


class _Flat:
    """Stacked tensors one after the other in one vector, so that the optimiser's kernel treats all entries alike.

    What is left over after a kernel's vector loop is computed by other instructions, which round otherwise. Here that
    rest is padding, wherever a member's weights lie.

    Attributes:
        vector: all entries, with its gradient; what the optimiser sees.
        weights, gradients: views `{name: [P, *shape]}`.
    """

    def __init__(self, shapes: Mapping[str, torch.Size], device: torch.device) -> None:
        ends = list(accumulate((-(-shape.numel() // _VECTOR) * _VECTOR for shape in shapes.values()), initial=0))
        self.vector, gradient = torch.zeros(2, ends[-1], device=device)
        self.vector.grad = gradient
        places = {name: slice(first, first + shapes[name].numel()) for name, first in zip(shapes, ends, strict=False)}
        self.weights = {name: self.vector[places[name]].view(shape) for name, shape in shapes.items()}
        self.gradients = {name: gradient[places[name]].view(shape) for name, shape in shapes.items()}


class Stepper:
    """One chunk of members in training: its weights, optimiser and the update, which is captured once on CUDA."""

    def __init__(self, config: TransformerConfig, recipe: Recipe, weights: Weights, keys: Tensor) -> None:
        self.config, self.recipe, self.keys = config, recipe, keys
        self.device = keys.device
        on_cuda = self.device.type == "cuda"
        shapes = {name: weight.shape for name, weight in weights.items()}
        decayed = _Flat({name: shape for name, shape in shapes.items() if len(shape) == 3}, self.device)
        plain = _Flat({name: shape for name, shape in shapes.items() if len(shape) < 3}, self.device)
        views, self._gradients = decayed.weights | plain.weights, decayed.gradients | plain.gradients
        self.weights = {name: views[name].copy_(weight).requires_grad_() for name, weight in weights.items()}
        # a captured graph reads the rate and the step number from memory
        self._rate: Any = torch.zeros((), device=self.device) if on_cuda else 0.0
        self._step = torch.zeros((), dtype=torch.int64, device=self.device)
        groups = [{"params": [decayed.vector], "weight_decay": recipe.weight_decay},
                  {"params": [plain.vector], "weight_decay": 0.0}]  # fmt: skip
        self.optimiser = torch.optim.AdamW(
            groups, lr=self._rate, betas=(recipe.beta1, recipe.beta2), eps=recipe.epsilon, fused=True,
            capturable=on_cuda,
        )  # fmt: skip
        self._masks: Tensor | None = None
        self._graph: tuple[torch.cuda.CUDAGraph, Batch, Tensor] | None = None

    def update(self, batch: Batch, step: int) -> Tensor:
        """Make one update and return the losses `[P]` before it."""
        self._step.fill_(step)
        if self.device.type == "cuda":
            return self._replayed(batch.to(self.device), step)
        for group in self.optimiser.param_groups:
            group["lr"] = self.recipe.rate(step)
        return self._eager(batch)

    def _eager(self, batch: Batch) -> Tensor:
        tokens, inputs = batch.tokens, batch.tokens[:, :, :-1]
        masks = self._drawn_masks(inputs.shape[1], inputs.shape[2])
        with torch.autocast(self.device.type, torch.bfloat16, self.recipe.precision == "bfloat16", cache_enabled=False):
            logits = forward(self.config, self.weights, inputs, starts=batch.starts, masks=masks)
        losses = losses_of(logits, tokens, batch.counted)
        losses.sum().backward()  # the members' gradients do not mix
        self._collect_gradients()
        self.optimiser.step()
        return losses.detach()

    @torch.no_grad()
    def _collect_gradients(self) -> None:
        """Move the gradients, clipped, to where the optimiser reads them."""
        found = {name: weight.grad for name, weight in self.weights.items() if weight.grad is not None}
        limit = self.recipe.clip
        factors = None if limit is None else clip_factors(list(found.values()), limit)
        for name, gradient in found.items():
            place = self._gradients[name]
            if factors is None:
                place.copy_(gradient)
            else:
                torch.mul(gradient, factors.view(-1, *[1] * (gradient.ndim - 1)), out=place)
            self.weights[name].grad = None

    def _drawn_masks(self, batch: int, length: int) -> Tensor | None:
        if self.config.dropout == 0:
            return None
        elements = self.config.dropout_elements(batch, length)
        if self._masks is None or self._masks.shape[1] != elements:
            self._masks = torch.empty(len(self.keys), elements, device=self.device)
        # backward has read the masks of the step before, so that one buffer serves all steps
        return dropout_masks(self.keys, self._step, elements, self.config.dropout, self._masks)

    def _replayed(self, batch: Batch, step: int) -> Tensor:
        """The update as a captured CUDA graph: at these sizes it would wait for kernel launches."""
        if self._graph is None:
            self._graph = self._captured(batch)
        graph, static, losses = self._graph
        _refill(static, batch)
        self._rate.fill_(self.recipe.rate(step))
        graph.replay()
        return losses.clone()

    def _captured(self, batch: Batch) -> tuple[torch.cuda.CUDAGraph, Batch, Tensor]:
        static = batch.each(torch.clone)
        kept = _cloned(self.optimiser.state_dict()["state"])  # empty, or that of a resumed run
        self._rate.zero_()  # warm-up updates with rate 0 leave the weights as they are
        stream = torch.cuda.Stream(self.device)
        stream.wait_stream(torch.cuda.current_stream(self.device))
        with torch.cuda.stream(stream):
            for _ in range(3):
                self._eager(static)
        torch.cuda.current_stream(self.device).wait_stream(stream)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            losses = self._eager(static)
        self._restore(kept)
        return graph, static, losses

    def _restore(self, kept: Mapping[int, Mapping[str, Tensor]]) -> None:
        """Put the moments where they were before the warm-up, in place, because the graph holds their addresses."""
        for index, own in enumerate(self.optimiser.state.values()):
            for name, value in own.items():
                if kept:
                    value.copy_(kept[index][name])
                else:
                    value.zero_()

    def state(self) -> dict[str, Any]:
        """What a resumed run needs: weights and the optimiser's moments."""
        weights = {name: weight.detach() for name, weight in self.weights.items()}
        return {"weights": weights, "moments": self.optimiser.state_dict()["state"]}

    def load(self, state: Mapping[str, Any]) -> None:
        """Go on from what `state` returned."""
        with torch.no_grad():
            for name, weight in self.weights.items():
                weight.copy_(state["weights"][name])
        own = self.optimiser.state_dict()
        self.optimiser.load_state_dict({"state": state["moments"], "param_groups": own["param_groups"]})
        for group in self.optimiser.param_groups:
            group["lr"] = self._rate  # loading has put a copy there, which no replay would see change


def _refill(static: Batch, batch: Batch) -> None:
    """Copy a batch to where a captured graph reads it; ValueError when its shape is not that of the captured one."""
    for name, place, part in zip(Batch._fields, static, batch, strict=True):
        shapes = [None if tensor is None else tuple(tensor.shape) for tensor in (place, part)]
        if shapes[0] != shapes[1]:
            raise ValueError(f"batches: {name} has shape {shapes[1]}, in the first batch it had {shapes[0]}; all "
                             "batches need the same shapes")  # fmt: skip
        if place is not None and part is not None:
            place.copy_(part)


def _cloned(state: Any) -> Any:
    if isinstance(state, Tensor):
        return state.clone()
    if isinstance(state, dict):
        return {key: _cloned(value) for key, value in state.items()}
    return state
