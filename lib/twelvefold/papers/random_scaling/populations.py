"""The populations that the notebooks share: their scale per preset, and the points of the sweep that trains them.

Notebooks build their points here, so that equal populations are literally equal points and are trained once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fractions import Fraction
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import torch

from twelvefold.core.frames import rounded
from twelvefold.core.seeds import numpy_generator
from twelvefold.nn.transformer import Weights
from twelvefold.nn.transformer_config import TransformerConfig
from twelvefold.tasks.kept_weights import kept_weights
from twelvefold.tasks.prompt_populations import prompt_population, room_of, task_of, test_starts
from twelvefold.tasks.sharding import sweep_shards
from twelvefold.tasks.string_copying import StringCopying, rule_shares, swapped

MASTERED = 0.99  # in-distribution exact match that every run of a scale must exceed before the scale is compared
SCORES = ("exact", "sequence_loss", "worst", "worst_log", "margin")
_UNBOUNDED = ("sequence_loss", "worst_log", "margin")
PROBES = 256  # swapped sequences of the probe of a rule



def mixed(share: float, longest: int = 6) -> dict[str, Any]:
    """Changes of a scale whose training strings have the length `longest`, a share of them one symbol less."""
    parts = round(share * 48), round((1 - share) * 48)  # weights are whole numbers
    lengths = [[length, part] for length, part in zip((longest - 1, longest), parts, strict=True) if part]
    return {"settings": {"alphabet": 2 * longest, "lengths": lengths}}


def _axis_of_shares(*shares: str) -> list[dict[str, Any]]:
    return [{"label": share, **mixed(float(Fraction(share)))} for share in shares]


_COPYING: dict[str, Any] = {
    "task": "copying", **mixed(1 / 2), "positions": "learned", "longest": 28, "width": 24, "layers": 2, "heads": 1,
    "feedforward": 0, "embedding_std": 1.0, "batch": 8, "learning_rate": 1e-2, "warmup": 0.1, "beta2": 0.98,
    "weight_decay": 0.1, "precision": "float32", "test_lengths": [7, 8], "score_length": 7, "prompts": 256,
    "axis_name": "share of strings with 5 letters", "main": "1/2",
}  # fmt: skip
_COUNTING: dict[str, Any] = {
    "task": "counting", "settings": {"numbers": 30, "lengths": [[n, 1] for n in range(1, 11)]}, "longest": 40,
    "width": 16, "layers": 1, "test_lengths": [15, 20], "score_length": 15, "steps": 4_000, "runs": 32,
}  # fmt: skip
_ADDITION: dict[str, Any] = {
    "task": "addition", "settings": {"base": 2, "hints": 6, "lengths": [[1, 1], [2, 1]]}, "positions": "none",
    "longest": 0, "heads": 2, "feedforward": 48, "test_lengths": [3, 4], "score_length": 3, "steps": 2_000, "runs": 16,
}  # fmt: skip
_LARGE: dict[str, Any] = {"heads": 4, "feedforward": 256, "width": 64, "layers": 2, "learning_rate": 3e-3}

# Reasons stand in the notebooks' scale cells. An entry of `axis` (shared) or `sizes` (06 alone) changes what differs at
# that scale; `counting` and `addition` change the task.
SCALES: dict[str, dict[str, Any]] = {
    "quick": {
        **_COPYING, "steps": 2_500, "runs": 24, "main_runs": 32, "shard": 24,
        "axis": _axis_of_shares("0", "1/4", "3/8", "1/2"),
        "sizes_name": "positions", "sizes": [{"label": str(rows), "longest": rows} for rows in (20, 28, 36)],
        "counting": _COUNTING, "addition": _ADDITION,
    },
    "gpu": {
        **_COPYING, "steps": 8_000, "runs": 256, "main_runs": 256, "shard": 256,
        "axis": _axis_of_shares("0", "1/8", "3/16", "1/4", "3/8", "1/2"),
        "sizes_name": "positions", "sizes": [{"label": str(n), "longest": n} for n in (18, 20, 24, 28, 32, 36)],
        "counting": {
            **_COUNTING, **_LARGE, "settings": {"numbers": 100, "lengths": [[n, 1] for n in range(1, 31)]},
            "longest": 128, "test_lengths": [40, 60], "score_length": 60, "batch": 32, "steps": 5_000, "runs": 256,
        },
        "addition": {
            **_ADDITION, **_LARGE, "settings": {"base": 10, "hints": 10, "lengths": [[n, 1] for n in range(1, 6)]},
            "test_lengths": [6, 7], "score_length": 6, "batch": 32, "steps": 5_000, "runs": 256,
        },
    },
    "paper": {
        **_COPYING, "steps": 10_000, "runs": 250, "main_runs": 250, "shard": 50,
        "axis": _axis_of_shares("0", "1/16", "1/8", "3/16", "1/4", "3/8", "1/2"),
        "sizes_name": "layers", "sizes": [{"label": str(layers), "layers": layers} for layers in range(2, 8)],
        "counting": {
            **_COUNTING, **_LARGE, "settings": {"numbers": 100, "lengths": [[n, 1] for n in range(1, 31)]},
            "longest": 128, "test_lengths": [40, 60], "score_length": 60, "batch": 64, "steps": 20_000, "runs": 250,
        },
        "addition": {
            **_ADDITION, **_LARGE, "settings": {"base": 10, "hints": 42, "lengths": [[n, 1] for n in range(1, 36)]},
            "test_lengths": [36, 40], "score_length": 40, "batch": 64, "steps": 20_000, "runs": 200,
        },
    },
}  # fmt: skip


def population_point(scale: SimpleNamespace, seed: int, **changes: Any) -> dict[str, Any]:
    """The point of `prompt_population` at a scale that holds the names of `SCALES`, with some of them changed.

    Members that copy hand back their final weights, for the probe of the rule they follow.

    Raises:
        KeyError: a change of something that a scale does not have.
    """
    values = vars(scale)
    unknown = sorted(changes.keys() - values.keys() - {"label"})
    if unknown:
        raise KeyError(f"changes names {unknown[0]!r}; a scale has {sorted(values)}")
    s = SimpleNamespace(**(values | changes))
    return {
        "task": s.task, "settings": s.settings, "members": list(range(s.runs)), "seed": seed, "batch": s.batch,
        "architecture": {
            "width": s.width, "layers": s.layers, "heads": s.heads, "feedforward": s.feedforward,
            "positions": s.positions, "longest": s.longest, "activation": "gelu", "tied_head": False,
            "head_bias": False, "feedforward_bias": False, "scaled_embedding": False, "initialisation": "fan_in",
            "embedding_std": s.embedding_std,
        },
        "recipe": {
            "steps": s.steps, "learning_rate": s.learning_rate, "warmup": round(s.warmup * s.steps),
            "decay": "cosine", "beta2": s.beta2, "weight_decay": s.weight_decay, "precision": s.precision,
        },
        "record_at": [s.steps], "test_lengths": s.test_lengths, "prompts": s.prompts,
        "kept": s.runs if s.task == "copying" else 0,
    }  # fmt: skip


def axis_points(scale: SimpleNamespace, seed: int, labels: Sequence[str] | None = None) -> dict[str, dict[str, Any]]:
    """One point per scale of the axis by its label, in the order of the axis; some of them with `labels`.

    Raises:
        KeyError: a label that the axis does not have.
    """
    entries = {entry["label"]: entry for entry in scale.axis}
    for label in labels or ():
        if label not in entries:
            raise KeyError(f"labels names {label!r}; the axis has {list(entries)}")
    chosen = [label for label in entries if labels is None or label in labels]
    return {label: population_point(scale, seed, **entries[label]) for label in chosen}


def main_point(scale: SimpleNamespace, seed: int) -> dict[str, Any]:
    """The point of the axis' main scale with `scale.main_runs` runs; the first ones are those of the axis."""
    entry = next(entry for entry in scale.axis if entry["label"] == scale.main)
    return population_point(scale, seed, **(entry | {"runs": scale.main_runs}))


def size_points(scale: SimpleNamespace, seed: int) -> dict[str, dict[str, Any]]:
    """One point per size (`scale.sizes`) by its label, trained on the mix of the main scale."""
    return {entry["label"]: population_point(scale, seed, **entry) for entry in scale.sizes}


def train_populations(
    points: Mapping[str, Mapping[str, Any]], shard: int, device: str | torch.device, label: str = "training"
) -> dict[str, dict[str, Any]]:
    """Results of `prompt_population` by label, trained in shards of at most `shard` members."""
    results = sweep_shards(prompt_population, list(points.values()), shard, device=device, label=label)
    return dict(zip(points, results, strict=True))


def config_of(point: Mapping[str, Any]) -> TransformerConfig:
    """The architecture of a point's networks."""
    vocabulary = task_of(point["task"], point["settings"]).vocabulary
    return TransformerConfig(vocabulary=vocabulary, **point["architecture"])


def runs_of(points: Mapping[str, Mapping[str, Any]], results: Mapping[str, Mapping[str, Any]]) -> pd.DataFrame:
    """Tidy scores: one row per run and test length, and one per run of fresh sequences drawn as in training.

    Columns: scale (label), number (of the scale, from 0), replicate, length (0: as in training), the `SCORES`, and
    content and position: shares of swapped sequences after which the network predicts by content and by position
    (copying; empty otherwise). Losses, margins and log-probabilities have six significant digits: in distribution they
    are tiny, and equal numbers would alarm a dip test. Probabilities of the worst token have nine decimals, shares six.
    """
    frames = []
    for number, (label, point) in enumerate(points.items()):
        result, content, position = results[label], *probe(point, results[label])
        for row, length in enumerate([0, *point["test_lengths"]]):
            scores = {name: _last(result, name, row - 1) for name in SCORES}
            about = {"scale": label, "number": number, "replicate": point["members"], "length": length}
            frames.append(pd.DataFrame(about | scores | {"content": content, "position": position}))
    joined = pd.concat(frames, ignore_index=True)
    joined[list(_UNBOUNDED)] = rounded(joined[list(_UNBOUNDED)], 6)
    return joined.round({"exact": 6, "worst": 9, "content": 6, "position": 6})


def _last(result: Mapping[str, Any], name: str, row: int) -> np.ndarray:
    """A score `[R]` at the end of training: of test length number `row`, or in distribution (-1)."""
    return np.asarray(result[f"id_{name}"])[:, -1] if row < 0 else np.asarray(result[name])[:, -1, row]


def weights_of(result: Mapping[str, Any], replicate: int) -> Weights:
    """Final weights of one run `{name: [1, *shape]}`."""
    return {name: weight[replicate : replicate + 1] for name, weight in kept_weights(result).items()}


def probe(point: Mapping[str, Any], result: Mapping[str, Any]) -> tuple[Any, Any]:
    """Shares of predictions by content and by position `[R]` on swapped sequences of the longest training length.

    NaN for another task than copying. The swapped token leaves out the neighbour on which both rules can agree.
    """
    task = task_of(point["task"], point["settings"])
    if not isinstance(task, StringCopying):
        return np.nan, np.nan
    length = max(length for length, _ in task.lengths)
    cases = swapped(task, numpy_generator(point["seed"], 0, "swapped sequences"), PROBES, length)
    config = config_of(point)
    starts = test_starts(config, point["seed"], PROBES, length, room_of(task, length))
    content, position = rule_shares(config, kept_weights(result), cases, starts)
    return content.numpy(), position.numpy()
