"""One row per run for populations of different kinds, so that the same functions read them."""

from __future__ import annotations

from collections.abc import Mapping
from types import SimpleNamespace

import numpy as np
import pandas as pd

from twelvefold.core.frames import rounded
from twelvefold.papers.random_scaling.reporting import AS_TRAINED

SIZES, GRAMMAR, LANGUAGE = "sizes", "grammar", "language model"  # kinds of populations


def size_rows(frame: pd.DataFrame, scale: SimpleNamespace) -> pd.DataFrame:
    """One row per run from `populations.runs_of`: exact match at the scored length, and the gate's in distribution.

    Returns:
        scale (a text, e.g. "layers 2"), number, replicate, score, in_distribution (exact match), loss (of a sequence
        drawn as in training, nats).
    """
    keys = ["scale", "number", "replicate"]
    tested = frame.loc[frame["length"] == scale.score_length, [*keys, "exact"]].rename(columns={"exact": "score"})
    own = frame.loc[frame["length"] == AS_TRAINED, [*keys, "exact", "sequence_loss"]]
    own = own.rename(columns={"exact": "in_distribution", "sequence_loss": "loss"})
    # a label that looks like a number would come back from runs.csv as one
    return tested.merge(own, on=keys).assign(scale=lambda rows: f"{scale.sizes_name} " + rows["scale"].astype(str))


def grammar_rows(curves: pd.DataFrame) -> pd.DataFrame:
    """One row per run from `tasks.grammar_shares.share_runs`, at the end of training; columns as `size_rows`.

    The score is the share of out-of-distribution questions answered by the hierarchical rule, in_distribution the
    accuracy of the tested word, loss the training loss per token since the checkpoint before.
    """
    last = curves[curves["step"] == curves["step"].max()]
    rows = last.rename(columns={"hierarchical": "score", "id_accuracy": "in_distribution"})
    return _numbered(rows)


def language_rows(frame: pd.DataFrame) -> pd.DataFrame:
    """One row per run from `language_model.language_model_runs`; columns as `size_rows` without in_distribution.

    The score is the accuracy on MMLU, loss that on held-out web text per token (nats).
    """
    return _numbered(frame.rename(columns={"accuracy": "score", "run": "replicate"}))


def _numbered(rows: pd.DataFrame) -> pd.DataFrame:
    shares = sorted(rows["share"].unique())
    columns = ["scale", "number", "replicate", "score", "in_distribution", "loss"]
    named = rows.assign(scale=[share_label(share) for share in rows["share"]], number=rows["share"].map(shares.index))
    return named[[column for column in columns if column in named]].reset_index(drop=True)


def share_label(share: float) -> str:
    """The label of a share of the data, a text that runs.csv gives back as one."""
    return f"share {share:g}"


def rows_of_study(parts: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """All rows of the study, with the kind of population (`SIZES`, `GRAMMAR`, `LANGUAGE`) in the first column.

    Raises:
        ValueError: an unknown kind.
    """
    unknown = sorted(parts.keys() - {SIZES, GRAMMAR, LANGUAGE})
    if unknown:
        raise ValueError(f"parts names {unknown[0]!r}; known are {SIZES}, {GRAMMAR}, {LANGUAGE}")
    frames = []
    for kind, part in parts.items():
        frame = part.assign(loss=rounded(part["loss"], 6)).round({"score": 6, "in_distribution": 6})
        frame.insert(0, "kind", kind)
        frames.append(frame)
    return pd.concat(frames, ignore_index=True)


def rows_of_kind(runs: pd.DataFrame, kind: str) -> pd.DataFrame:
    """The rows of one kind of population; none where the preset does not train it."""
    return runs[runs["kind"] == kind].reset_index(drop=True)


def scores(rows: pd.DataFrame, label: str, column: str = "score") -> np.ndarray:
    """One value per run `[R]` of a scale, in the order of replicates; empty where there is no such scale."""
    return rows[rows["scale"] == label].sort_values("replicate")[column].to_numpy()
