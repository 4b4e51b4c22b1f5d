"""The comparison of notebook 01: the same networks trained in several ways, and decoded in two."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from twelvefold.core.seeds import numpy_generator, torch_generator
from twelvefold.nn.counter_random import mask_keys
from twelvefold.nn.exact_match import exact_match
from twelvefold.nn.training_recipe import Batch, Recipe
from twelvefold.nn.transformer import Weights, initial_weights
from twelvefold.nn.transformer_config import TransformerConfig
from twelvefold.nn.transformer_training import Batches, train
from twelvefold.papers.random_scaling.greedy import greedy_continuations
from twelvefold.papers.random_scaling.one_at_a_time import train_one_by_one, train_vmapped
from twelvefold.papers.random_scaling.populations import config_of
from twelvefold.tasks.examples import Examples, PromptTask
from twelvefold.tasks.kept_weights import kept_weights
from twelvefold.tasks.prompt_populations import room_of, task_of, test_examples, test_starts

TOGETHER = "together"
EXACT_WAYS = ("alone", "chunks of 1", "chunks of 3", "reversed")
PEERS = ("torch.nn modules", "torch.func.vmap")
WAYS = (TOGETHER, *EXACT_WAYS, *PEERS)
DECODED = "decoded"
_SHOWN = (1, 2, 3, 4, 6, 8, 12, 16, 24)  # updates that enter runs.csv, beside the last one


def engine_points(scale: SimpleNamespace, seed: int, device: str | torch.device = "cpu") -> list[dict[str, Any]]:
    """Points of `train_by_way`: every network of the scale in every way, on CUDA without those that are exact on a CPU.

    Args:
        scale: with members, width, layers, networks (hidden units of the two-layer network by name), batch, updates,
            compared (updates of the peers), learning_rate, epsilon (of AdamW), settings.
        seed: base seed.
        device: where the points will be trained.
    """
    on_cuda = torch.device(device).type == "cuda"
    ways = [way for way in WAYS if not (on_cuda and way in EXACT_WAYS)]
    recipe = _recipe(scale, scale.updates) | {"epsilon": scale.epsilon}
    return [
        {
            "way": way, "settings": scale.settings, "members": list(range(scale.members)), "seed": seed,
            "batch": scale.batch, "architecture": _architecture(scale, hidden), "recipe": recipe,
            "updates": scale.compared if way in PEERS else scale.updates,
        }
        for hidden in scale.networks.values() for way in ways
    ]  # fmt: skip


def decoded_point(scale: SimpleNamespace, seed: int) -> dict[str, Any]:
    """The point of `prompt_population` that half learns to copy short strings: right on some prompts, wrong on others.

    scale: as in `engine_points`, with decoded_settings, decoded_length, decoded_updates, decoded_rate and prompts.
    """
    return {
        "task": "copying", "settings": scale.decoded_settings, "members": list(range(scale.members)), "seed": seed,
        "batch": scale.batch, "architecture": _architecture(scale, 0),
        "recipe": _recipe(scale, scale.decoded_updates) | {"learning_rate": scale.decoded_rate},
        "record_at": [scale.decoded_updates], "test_lengths": [scale.decoded_length], "prompts": scale.prompts,
        "kept": scale.members,
    }  # fmt: skip


def _architecture(scale: SimpleNamespace, hidden: int) -> dict[str, Any]:
    return {
        "width": scale.width, "layers": scale.layers, "heads": scale.heads, "feedforward": hidden,
        "positions": "learned", "longest": 28, "activation": "gelu", "tied_head": False, "head_bias": False,
        "feedforward_bias": False, "scaled_embedding": False, "initialisation": "fan_in", "embedding_std": 1.0,
    }  # fmt: skip


def _recipe(scale: SimpleNamespace, updates: int) -> dict[str, Any]:
    return {"steps": updates, "learning_rate": scale.learning_rate, "warmup": round(0.1 * updates), "decay": "cosine",
            "beta2": 0.98, "weight_decay": 0.1}  # fmt: skip


def drawn_batches(
    task: PromptTask, config: TransformerConfig, seed: int, members: Sequence[int], batch: int, updates: int
) -> Batches:
    """Batches of every member and update, each member's from a generator of its own; as `train` asks for them."""
    parts: list[list[Tensor]] = []
    for member in members:
        generator = numpy_generator(seed, member, "training examples of the comparison")
        tokens, first, lengths = task.training(generator, updates * batch)
        place = np.arange(1, tokens.shape[1])
        counted = (place >= first[:, None]) & (place < lengths[:, None])
        starts = generator.integers(config.longest - tokens.shape[1] + 2, size=len(tokens))
        parts.append([torch.from_numpy(part).unflatten(0, (updates, batch)) for part in (tokens, counted, starts)])
    drawn = Batch(*(torch.stack(own) for own in zip(*parts, strict=True)))  # each [P, updates, batch, ...]
    return lambda step, rows: drawn.each(lambda part: part[rows, step])


def train_by_way(
    way: str, settings: dict[str, Any], members: list[int], seed: int, batch: int, architecture: dict[str, Any],
    recipe: dict[str, Any], updates: int, device: str | torch.device = "cpu",
) -> dict[str, Any]:  # fmt: skip
    """Train the same P members on copying in one of several ways.

    Args:
        way: one of `WAYS`.
        settings, architecture, recipe: of the task, the network and the optimisation.
        members: P replicates, each with initial weights and data of its own.
        seed: base seed.
        batch: sequences of one update and member.
        updates: how many are made; fewer than `recipe["steps"]` only by the ways in `PEERS`.

    Returns:
        loss `[P, updates]` before each update, and the final weights, one row `[P, parameters]` per member.

    Raises:
        ValueError: an unknown way, or what does not fit the task, the network or the way.
    """
    if way not in WAYS:
        raise ValueError(f"way = {way!r}; known are {list(WAYS)}")
    task = task_of("copying", settings)
    config = TransformerConfig(vocabulary=task.vocabulary, **architecture)
    made = Recipe(**recipe)
    order = members[::-1] if way == "reversed" else members
    batches = drawn_batches(task, config, seed, order, batch, made.steps)
    weights = initial_weights(config, [torch_generator(seed, member, "initial weights") for member in order])
    if way in PEERS:
        peer = train_one_by_one if way == PEERS[0] else train_vmapped
        placed = {name: weight.to(device) for name, weight in weights.items()}
        losses, final = peer(config, made, placed, batches, updates)
    else:
        losses, final = _by_the_engine(way, config, made, weights, batches, device)
    rows = torch.cat([final[name].flatten(1) for name in config.shapes()], dim=1)
    return {"loss": losses.flip(0), "weights": rows.flip(0)} if way == "reversed" else {"loss": losses, "weights": rows}


def _by_the_engine(
    way: str, config: TransformerConfig, recipe: Recipe, weights: Weights, batches: Batches, device: str | torch.device
) -> tuple[Tensor, Weights]:
    members = weights["embedding"].shape[0]
    pieces = [slice(i, i + 1) for i in range(members)] if way == "alone" else [slice(0, members)]
    at_once = {"chunks of 1": 1, "chunks of 3": 3}.get(way, members)
    every = list(range(1, recipe.steps + 1))  # recorded after each update: the loss since then is the loss of one
    done = [
        train(
            config, recipe, {name: weight[piece] for name, weight in weights.items()},
            _moved(batches, piece.start),
            keys=mask_keys(0, range(piece.start, piece.stop), "no dropout"), record_at=every,
            record=lambda *_: {}, device=device, at_once=min(at_once, piece.stop - piece.start),
        )
        for piece in pieces
    ]  # fmt: skip
    joined = {name: torch.cat([part.weights[name] for part in done]) for name in weights}
    return torch.cat([part.records["loss"] for part in done]), joined


def _moved(batches: Batches, first: int) -> Batches:
    """The batches of a population that starts at another member."""
    return lambda step, rows: batches(step, slice(first + rows.start, first + rows.stop))


def engine_rows(
    networks: Sequence[str], points: Sequence[Mapping[str, Any]], results: Sequence[Mapping[str, Any]]
) -> pd.DataFrame:
    """Tidy rows of the comparison: one per network, way, member and shown update.

    Columns: loss; loss_difference and relative_difference, the largest ones from the population's since the row before;
    weight_difference, the largest of all weights after the last update (ways that make all updates).
    """
    frames, each = [], len(points) // len(networks)  # points come network by network
    for number, (point, result) in enumerate(zip(points, results, strict=True)):
        whole = results[number // each * each]
        loss, updates = np.asarray(result["loss"], dtype=np.float32), point["updates"]
        gap = np.abs(loss.astype(float) - np.asarray(whole["loss"], dtype=float)[:, :updates])
        ends = [update for update in _SHOWN if update < updates] + [updates]
        weights = np.abs(np.asarray(result["weights"]) - np.asarray(whole["weights"])).max(axis=1)
        for start, end in zip([0, *ends[:-1]], ends, strict=True):
            frames.append(pd.DataFrame({
                "network": networks[number // each], "way": point["way"], "member": point["members"], "update": end,
                "loss": loss[:, end - 1], "loss_difference": gap[:, start:end].max(1),
                "relative_difference": (gap / loss)[:, start:end].max(1),
                "weight_difference": weights if end == updates and point["way"] not in PEERS else np.nan,
            }))  # fmt: skip
    return pd.concat(frames, ignore_index=True)


def decoded_rows(point: Mapping[str, Any], result: Mapping[str, Any]) -> pd.DataFrame:
    """Rows of way "decoded", one per member: of `prompts`, how many are right by teacher forcing (exact), by greedy
    decoding (greedy), and on how many the two differ (disagreements)."""
    task, (length,) = task_of(point["task"], point["settings"]), point["test_lengths"]
    config, weights = config_of(point), kept_weights(result)
    examples = test_examples(task, point["seed"], point["prompts"], length)
    starts = test_starts(config, point["seed"], point["prompts"], length, room_of(task, length))
    forced, decoded = both_matches(config, weights, examples, starts)
    return pd.DataFrame({
        "network": "attention only", "way": DECODED, "member": point["members"], "update": point["recipe"]["steps"],
        "prompts": point["prompts"], "exact": forced.sum(1).numpy(), "greedy": decoded.sum(1).numpy(),
        "disagreements": (forced != decoded).sum(1).numpy(),
    })  # fmt: skip


def both_matches(
    config: TransformerConfig, weights: Weights, examples: Examples, starts: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Whether each network continues each example exactly `[P, n]`, by teacher forcing and by greedy decoding.

    Raises:
        ValueError: examples of several lengths, or as `exact_match`.
    """
    tokens, first, lengths = (torch.from_numpy(part) for part in examples)
    if len(first.unique()) > 1 or len(lengths.unique()) > 1:
        raise ValueError(f"examples have prompts of {first.unique().tolist()} and {lengths.unique().tolist()} tokens "
                         "in all; one of each is decoded at a time")  # fmt: skip
    start, end = int(first[0]), int(lengths[0])
    continued = greedy_continuations(config, weights, tokens[:, :start], end - start, starts)
    return exact_match(config, weights, tokens, first, lengths, starts), (continued == tokens[:, start:end]).all(-1)


def alone_and_together(point: Mapping[str, Any], members: int, updates: int) -> tuple[Tensor, Tensor]:
    """Losses `[updates]` of the first member of a point of `train_by_way`, trained alone and among `members`.

    Raises:
        ValueError: less than one member or update.
    """
    if members < 1 or updates < 1:
        raise ValueError(f"members = {members}, updates = {updates}; at least 1 of each is needed")
    made = {**point, "updates": updates, "recipe": {**point["recipe"], "steps": updates, "warmup": 0}}
    alone, whole = (
        train_by_way(**{**made, "way": TOGETHER, "members": list(range(count))})["loss"] for count in (1, members)
    )
    return alone[0], whole[0]
