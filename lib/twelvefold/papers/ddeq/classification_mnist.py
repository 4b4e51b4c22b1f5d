"""Result 2: are equilibrium models as accurate as PointNet with fewer parameters, and is the equilibrium worth it?"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from twelvefold.core import statistics
from twelvefold.core.claims import DETERMINISTIC, TRAINING_RUN, Claim, above, equals, within
from twelvefold.core.reporting import paired, rows_of, summary_row
from twelvefold.core.study import Study
from twelvefold.papers.ddeq.classification import CLASSES, DIMENSIONS
from twelvefold.papers.ddeq.classifiers import parameters
from twelvefold.papers.ddeq.plots import classification_mnist as plots
from twelvefold.papers.ddeq.populations import DDEQ, ONE_APPLICATION
from twelvefold.papers.ddeq.reporting import PAPER, ROUNDING, per_run, setting, shortened

MARGIN = 0.01  # one point of accuracy: about the standard error of one accuracy on 1,000 test clouds
APPLIED, FOUND = "F(Z)", "Z"  # what is classified: the particles after one more application, or as they were found
TRAINED, SCORED, COUNTED = "in training", "test", "parameters"  # kinds of rows
POINTNET, MATCHED = "PointNet", "DeepSets, matched"
_SAME = "about the accuracy of specialised networks with fewer parameters (abstract; the tables were not seen)"
_CODE = "the authors' code, their classes instantiated"

# what the authors' classes count: kind, sizes beyond the defaults, dimension, classes, number
AUTHORS: tuple[tuple[str, str, dict[str, Any], int, int, int], ...] = (
    ("DDEQ, MNIST", "ddeq", {}, 2, 10, 773_114),
    ("DDEQ, ModelNet40", "ddeq", {"cross_layers": 3}, 3, 40, 1_173_544),
    ("PointNet, MNIST", "pointnet", {}, 2, 10, 1_605_006),
    ("PointNet with feature transform, MNIST", "pointnet", {"feature_transform": True}, 2, 10, 3_462_350),
    ("PointNet, ModelNet40", "pointnet", {}, 3, 40, 1_614_129),
    ("Point Transformer, MNIST", "point_transformer", {}, 2, 10, 3_475_946),
    ("Point Transformer, ModelNet40", "point_transformer", {}, 3, 40, 3_485_640),
)

CLAIMS: tuple[Claim, ...] = (
    Claim(
        "parameter-counts",
        "At the paper's sizes our networks have exactly as many parameters as the authors' (number of networks that "
        "differ); the DDEQ has fewer than half of PointNet's.",
        "mechanism", _CODE, equals(0.0), DETERMINISTIC, paper_says="far fewer parameters (abstract)",
    ),
    Claim(
        "non-inferior-to-pointnet",
        "DDEQ is not more than one point of accuracy below a PointNet of about twice as many parameters.",
        "direction", f"{PAPER}, MNIST point clouds", above(-MARGIN), TRAINING_RUN, paper_says=_SAME,
    ),
    Claim(
        "better-than-matched-deepsets",
        "DDEQ is more accurate than DeepSets with as many parameters.",
        "direction", f"{PAPER}, MNIST point clouds; control added here", above(0.0), TRAINING_RUN, paper_says=_SAME,
    ),
    Claim(
        "equilibrium-worth-its-cost",
        "DDEQ is more accurate than the same network trained with one application of F and no solver.",
        "mechanism", "control added here", above(0.0), TRAINING_RUN, paper_says="not stated",
    ),
    Claim(
        "train-and-eval-output-agree",
        "Classifying the particles Z as found differs by less than two points of accuracy from classifying F(Z), the "
        "output that was trained.",
        "mechanism", "the authors' code logs both outputs", within(-0.02, 0.02), TRAINING_RUN,
        paper_says="at an equilibrium both are the same measure",
    ),
    Claim(
        "non-inferior-in-3d",
        "On ModelNet40, DDEQ is not more than one point of accuracy below PointNet.",
        "full", f"{PAPER}, ModelNet40", above(-MARGIN), TRAINING_RUN, paper_says=_SAME,
    ),
)  # fmt: skip


def tidy(
    arms: Mapping[str, Sequence[Mapping[str, Any]]], trained: Mapping[str, Sequence[Mapping[str, Any]]],
    scores: Mapping[str, Sequence[Mapping[str, Any]]],
) -> pd.DataFrame:  # fmt: skip
    """Rows of the study: per arm and run the test accuracy in training and at the end, and the parameters of an arm.

    Args:
        arms: points by label, one per shard, see `populations.all_points`.
        trained, scores: results of `train_classifiers` and `evaluate_classifiers`, in the same form.

    Returns:
        columns kind, arm, data, replicate, update, output, accuracy, log_residual, parameters, test_clouds; empty where
        a kind of row has no such number.
    """
    rows: list[dict[str, Any]] = []
    for label, points in arms.items():
        for point, result, score in zip(points, trained[label], scores[label], strict=True):
            for place, replicate in enumerate(point["members"]):
                about = {"arm": label, "data": point["data"]["name"], "replicate": replicate}
                rows += _training_rows(about, point, result, place) + _test_rows(about, point, score, place)
    return pd.DataFrame(rows)


def _training_rows(about: dict[str, Any], point: Mapping[str, Any], result: Mapping[str, Any], place: int) -> list[Any]:
    at = point["recipe"]["record_at"]
    return [{"kind": TRAINED, **about, "update": update, "accuracy": shortened(float(accuracy))}
            for update, accuracy in zip(at, result["accuracy"][place], strict=True)]  # fmt: skip


def _test_rows(about: dict[str, Any], point: Mapping[str, Any], score: Mapping[str, Any], place: int) -> list[Any]:
    name = point["data"]["name"]
    size = parameters(point["kind"], point["sizes"], DIMENSIONS[name], CLASSES[name])
    common = {"kind": SCORED, **about, "update": point["recipe"]["steps"], "parameters": size}
    if "right" in score:
        right = score["right"][place]
        return [{**common, "output": APPLIED, "accuracy": shortened(float(right.mean())), "test_clouds": right.size}]
    residual = float(np.log(np.maximum(score["residual"][place, -1], ROUNDING)).mean())
    return [
        {**common, "output": output, "accuracy": shortened(float(score[key][place, -1].mean())),
         "log_residual": shortened(residual), "test_clouds": score[key].shape[-1]}
        for output, key in ((APPLIED, "applied"), (FOUND, "found"))
    ]  # fmt: skip


def _accuracy(runs: pd.DataFrame, arm: str, output: str = APPLIED, data: str | None = None) -> np.ndarray:
    """Test accuracy of an arm `[R]`, on the first data set unless another is named."""
    where = {"kind": SCORED, "arm": arm, "output": output, "data": data or str(runs["data"].iloc[0])}
    return per_run(runs, "accuracy", **where)


def _arms(runs: pd.DataFrame) -> list[str]:
    first = runs[runs["data"] == runs["data"].iloc[0]]
    return list(dict.fromkeys(first["arm"]))


def _parameters(runs: pd.DataFrame, arm: str) -> int:
    first = runs[runs["data"] == runs["data"].iloc[0]]
    return int(rows_of(first, kind=SCORED, arm=arm)["parameters"].iloc[0])


def accuracy_figure(study: Study, runs: pd.DataFrame) -> None:
    """Test accuracy of every arm."""
    values = {f"{arm}\n{_parameters(runs, arm):,} parameters": _accuracy(runs, arm) for arm in _arms(runs)}
    caption = (
        "Test accuracy of every arm; small dots are training runs, large marks their mean with its 95 % interval. "
        f"Equilibrium models are scored as they are trained: F applied once to the particles found. "
        f"{setting(runs, study)}"
    )
    alt = "Dot plot, one row per classifier with its number of parameters: test accuracy of each run and the mean."
    study.figure(plots.accuracy_figure(values), "accuracy", caption, alt)


def curves_figure(study: Study, runs: pd.DataFrame) -> None:
    """Test accuracy against updates."""
    rows = rows_of(runs[runs["data"] == runs["data"].iloc[0]], kind=TRAINED)
    caption = (
        "Accuracy on the first 250 test clouds while training, after a quarter, a half and all of the updates; lines: "
        "means over training runs, bands: their 95 % intervals. A curve that still climbs belongs to a network that is "
        f"not done learning. {setting(runs, study)}"
    )
    alt = "Lines of test accuracy against the number of updates, one per classifier, with bands."
    study.figure(plots.curves_figure(rows), "curves", caption, alt)


def accuracy_table(study: Study, runs: pd.DataFrame) -> None:
    """Accuracies, differences from DDEQ, parameters and evaluations of F."""
    steps, rows = int(study.scale_values.solver["steps"]), []  # type: ignore[union-attr]
    ddeq = _accuracy(runs, DDEQ)
    for arm in _arms(runs):
        values = _accuracy(runs, arm)
        calls = {DDEQ: 3 * steps + 1, ONE_APPLICATION: 1}.get(arm, 1)
        labels: dict[str, object] = {"arm": arm, "parameters": _parameters(runs, arm), "network_passes": calls}
        rows.append(summary_row(labels, [("accuracy", values), ("DDEQ_minus_it", ddeq - values)]))
    found = _accuracy(runs, DDEQ, FOUND)
    labels = {"arm": "DDEQ, Z as found", "parameters": _parameters(runs, DDEQ), "network_passes": 3 * steps}
    rows.append(summary_row(labels, [("accuracy", found), ("DDEQ_minus_it", ddeq - found)]))
    caption = (
        "Test accuracy and the paired difference DDEQ minus the arm: means and standard errors over training runs. "
        "Passes of the network per batch: an inner step counts 3 (forward, and backward as 2). "
        f"{setting(runs, study)}"
    )
    study.table(pd.DataFrame(rows), "accuracies", caption, "summary")


def counts_table(study: Study, runs: pd.DataFrame) -> None:
    """Parameters at the paper's sizes, the authors' and ours."""
    frame = counts()
    caption = (
        "Parameters at the paper's sizes: the authors' classes, counted after instantiation, and our networks. "
        "Ratio: of the DDEQ's number on the same data."
    )
    study.table(frame, "parameters", caption, 0.0)


def counts() -> pd.DataFrame:
    """Parameters of the paper's networks: network, authors, ours, ratio_to_ddeq."""
    rows = []
    for label, kind, sizes, dimension, classes, authors in AUTHORS:
        ddeq = 773_114 if classes == 10 else 1_173_544
        ours = parameters(kind, sizes, dimension, classes)
        rows.append({"network": label, "authors": authors, "ours": ours, "ratio_to_ddeq": ours / ddeq})
    return pd.DataFrame(rows)


def decisions(study: Study, runs: pd.DataFrame) -> None:
    """Decide every claim: parameters exactly, the others over training runs."""
    frame = counts()
    differing = int((frame["authors"] != frame["ours"]).sum())
    mnist = frame.set_index("network")["ours"]
    differing += int(not mnist["DDEQ, MNIST"] < 0.5 * mnist["PointNet, MNIST"])
    study.decide("parameter-counts", statistics.exact(differing, len(frame) + 1))
    step = 1 / float(runs["test_clouds"].min())
    ddeq = _accuracy(runs, DDEQ)
    for id, arm in (("non-inferior-to-pointnet", POINTNET), ("better-than-matched-deepsets", MATCHED),
                    ("equilibrium-worth-its-cost", ONE_APPLICATION)):  # fmt: skip
        study.decide(id, paired(study, ddeq, _accuracy(runs, arm), step))
    study.decide("train-and-eval-output-agree", paired(study, _accuracy(runs, DDEQ, FOUND), ddeq, step))
    if "modelnet40" in set(runs["data"]):
        pair = [_accuracy(runs, arm, data="modelnet40") for arm in (DDEQ, POINTNET)]
        study.decide("non-inferior-in-3d", paired(study, pair[0], pair[1], step))
    else:
        study.decide("non-inferior-in-3d", None, "ModelNet40 has to be provided by the reader; see preset paper")


REPORT: tuple[Callable[[Study, pd.DataFrame], None], ...] = (
    accuracy_figure, curves_figure, accuracy_table, counts_table, decisions,
)  # fmt: skip
