"""Result 4: maps of ingredients and of the averages along each selection, and how far such maps can be trusted."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from twelvefold.core import seeds
from twelvefold.core.claims import TRAINING_RUN, Claim, above, below
from twelvefold.core.reporting import mean_of, paired, rows_of, summary_row
from twelvefold.core.study import Study
from twelvefold.papers.weight_ensembles import plotting
from twelvefold.papers.weight_ensembles.reporting import PAPER, per_replicate, setting

POOR = 0.2  # Kruskal's mark: a stress-1 of 0.2 and more is a poor fit
SHOWN_PAIRS = 400  # of the Shepard diagram, so that runs.csv stays small
_MAPS = f"{PAPER}, MDS maps"
_READING = "successful averages pass through distinct regions of the map; the reading is qualitative (abstract)"

CLAIMS: tuple[Claim, ...] = (
    Claim(
        "weight-map-beats-null",
        "The planar map of weight distances d_E has less stress than maps of the same distances dealt to random pairs.",
        "mechanism", f"{_MAPS}; control added here", above(0.0), TRAINING_RUN, paper_says=_READING,
    ),
    Claim(
        "function-map-beats-null",
        "The planar map of functional distances d_D has less stress than maps of the same distances dealt to random "
        "pairs.",
        "mechanism", f"{_MAPS}; control added here", above(0.0), TRAINING_RUN, paper_says=_READING,
    ),
    Claim(
        "weight-map-not-poor", f"The stress-1 of the weight map (d_E) is below Kruskal's mark for a poor fit, {POOR}.",
        "mechanism", f"{_MAPS}; criterion added here", below(POOR), TRAINING_RUN, paper_says=_READING,
    ),
    Claim(
        "function-map-not-poor",
        f"The stress-1 of the functional map (d_D) is below Kruskal's mark for a poor fit, {POOR}.",
        "mechanism", f"{_MAPS}; criterion added here", below(POOR), TRAINING_RUN, paper_says=_READING,
    ),
    Claim(
        "greedier-travels-further",
        "Greedier's averages travel a longer way in weight space than those of top-k, at equal number of additions.",
        "direction", _MAPS, above(0.0), TRAINING_RUN, paper_says=_READING,
    ),
)  # fmt: skip


def frame(points: Sequence[Mapping[str, Any]], results: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """All rows of runs.csv: kind "summary" for every replicate, "point" and "pair" for the first, whose map is drawn.

    Rows of kind "pair" hold true distances (d_E, d_D) and, through `first` and `second`, the places of two points.
    """
    frames = []
    for point, result in zip(points, results, strict=True):
        replicate = point["ingredients"]["replicate"]
        made = pd.DataFrame({"name": list(result["summary"]), "value": list(result["summary"].values())})
        frames.append(made.assign(kind="summary", replicate=replicate))
    columns = dict(results[0]["columns"])
    places = pd.DataFrame({"name": columns.pop("path"), "value": columns.pop("validation"), **columns})
    frames.append(places.assign(kind="point", replicate=points[0]["ingredients"]["replicate"]))
    frames.append(_pairs(points[0]["ingredients"], results[0]))
    together = pd.concat(frames, ignore_index=True)
    front = ["kind", "replicate", "name", "value"]
    return together[front + [name for name in together.columns if name not in front]]


def _pairs(ingredients: Mapping[str, Any], result: Mapping[str, Any]) -> pd.DataFrame:
    first, second = np.triu_indices(len(result["d_E"]), k=1)
    if len(first) > SHOWN_PAIRS:
        generator = seeds.numpy_generator(ingredients["seed"], ingredients["replicate"], "shown pairs")
        keep = np.sort(generator.choice(len(first), SHOWN_PAIRS, replace=False))
        first, second = first[keep], second[keep]
    true = {kind: np.round(result[kind][first, second], 5) for kind in ("d_E", "d_D")}
    return pd.DataFrame({"first": first, "second": second, **true}).assign(
        kind="pair", replicate=ingredients["replicate"]
    )


def maps_figure(study: Study, runs: pd.DataFrame) -> None:
    """The two maps of the first replicate with the ways of the selections."""
    caption = (
        "Metric MDS of one training run (the first): ingredients, the initial weights and the averages along four "
        "selections, in one joint map per distance; colour: validation accuracy. Where paths coincide, the wider line "
        "shows at the sides. The functional map is turned and scaled "
        f"onto the weight map (Procrustes). Axes have no meaning of their own. {setting(runs, study)}"
    )
    alt = "Two planar maps with dots for ingredients, a star for the initial weights and four paths of averages."
    study.figure(plotting.maps_figure(runs), "maps", caption, alt)


def shepard_figure(study: Study, runs: pd.DataFrame) -> None:
    """True against embedded distances of the first replicate."""
    caption = (
        "Shepard diagrams of the same maps: distance on the map against true distance, one dot per pair of points; on "
        "the "
        f"diagonal a map would be exact (the scale of each map is fitted). {setting(runs, study)}"
    )
    alt = "Two clouds of dots with the diagonal: distance on the map against true distance."
    study.figure(plotting.shepard_figure(runs), "shepard", caption, alt)


def stress_table(study: Study, runs: pd.DataFrame) -> None:
    """Stress, null stress, correlation of distances, and path lengths."""
    rows = []
    for kind in ("d_E", "d_D"):
        numbers = [(name, per_replicate(runs, "value", kind="summary", name=f"{kind}_{name}"))
                   for name in ("stress", "null_stress", "correlation")]  # fmt: skip
        rows.append(summary_row({"distance": kind}, numbers))
    caption = (
        "Stress-1 of the joint maps (0.05 good, 0.2 poor), of maps of permuted distances (null), and the correlation "
        f"between true and embedded distances; means and standard errors over training runs. {setting(runs, study)}"
    )
    study.table(pd.DataFrame(rows), "stress", caption, "summary")


def paths_table(study: Study, runs: pd.DataFrame) -> None:
    """Length of the way of the averages in units of the mean distance between ingredients."""
    rows = [
        summary_row({"rule": rule}, [("length", per_replicate(runs, "value", kind="summary", name=f"path {rule}"))])
        for rule in ("greedier", "top-k")
    ]
    caption = (
        "Length of the way of the average in weight space while ingredients are added (forced, equal number), in units "
        "of "
        f"the mean distance between ingredients; means and standard errors. {setting(runs, study)}"
    )
    study.table(pd.DataFrame(rows), "paths", caption, "summary")


def decisions(study: Study, runs: pd.DataFrame) -> None:
    """Decide every claim over training runs."""
    value = {name: per_replicate(runs, "value", kind="summary", name=name) for name in
             rows_of(runs, kind="summary")["name"].unique()}  # fmt: skip
    step = 1e-6  # stress is a continuous number, known to the tolerance of the embedding
    study.decide("weight-map-beats-null", paired(study, value["d_E_null_stress"], value["d_E_stress"], step))
    study.decide("function-map-beats-null", paired(study, value["d_D_null_stress"], value["d_D_stress"], step))
    study.decide("weight-map-not-poor", mean_of(study, value["d_E_stress"], step))
    study.decide("function-map-not-poor", mean_of(study, value["d_D_stress"], step))
    study.decide("greedier-travels-further", paired(study, value["path greedier"], value["path top-k"], step))


REPORT: tuple[Callable[[Study, pd.DataFrame], None], ...] = (
    maps_figure, shepard_figure, stress_table, paths_table, decisions,
)  # fmt: skip
