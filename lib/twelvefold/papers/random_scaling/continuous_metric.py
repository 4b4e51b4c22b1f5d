"""Result 5: continuous scores of the same runs keep two groups, scales lie further apart than chance puts them, and
what a sharp metric alone would give instead."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from types import SimpleNamespace

import numpy as np
import pandas as pd

from twelvefold.core import statistics
from twelvefold.core.claims import TRAINING_RUN, Claim, above, below
from twelvefold.core.distributions import dip_test, emptier_middle
from twelvefold.core.frames import rounded
from twelvefold.core.reporting import FIGURE_LEVEL, mean_and_error
from twelvefold.core.study import Study
from twelvefold.papers.random_scaling import mirage
from twelvefold.papers.random_scaling.metrics import plotting
from twelvefold.papers.random_scaling.metrics.scores import ENDS, NULL, SCORES, distance, ends_of, score
from twelvefold.papers.random_scaling.reporting import (
    AS_TRAINED,
    LEAST_RUNS,
    PAPER,
    compared,
    mastered,
    per_run,
    scales_of,
    setting,
)

LOSS = "sequence_loss"
TRAINED, MATCHED, POPULATION = "trained", "mirage", "simulated population"  # kinds of rows
_STATED = "continuous metrics stay multimodal, and can show clusters that accuracy hides (abstract of version 5)"
_WHERE = f"{PAPER}, section 3.3"
_RANGE = "the range of the sequence loss over runs, at the scored length of the main scale, cut into three equal"

CLAIMS: tuple[Claim, ...] = (
    Claim(
        "low-third-of-loss", f"Of {_RANGE} parts, the lower one holds a larger share of the runs than the middle.",
        "direction", _WHERE, above(0.0), TRAINING_RUN, paper_says=_STATED,
    ),
    Claim(
        "high-third-of-loss", f"Of {_RANGE} parts, the upper one holds a larger share of the runs than the middle.",
        "direction", _WHERE, above(0.0), TRAINING_RUN, paper_says=_STATED,
    ),
    Claim(
        "distance-beats-permutation",
        "In exact match, the 2-Wasserstein distance between the runs of the first two compared scales is larger than "
        "95 % of the distances after permuting the pooled runs (distance minus that quantile).",
        "direction", _WHERE, above(0.0), TRAINING_RUN,
        paper_says="the distance between adjacent scales peaks where the second mode appears (reading notes)",
    ),
    Claim(
        "worst-token-distance-beats-permutation",
        "In the probability of the worst token, the 2-Wasserstein distance between the runs of the first two compared "
        "scales is larger than 95 % of the distances after permuting the pooled runs (distance minus that quantile).",
        "direction", _WHERE, above(0.0), TRAINING_RUN, paper_says="not a threshold's artefact (reading notes)",
    ),
    Claim(
        "mirage-stays-unimodal",
        f"Simulated populations of {LEAST_RUNS} runs whose per-token accuracy has one peak pass the criterion of the "
        "first two claims in exact match (the accuracy to the power of the tokens) in fewer than 5 % of the cases.",
        "mechanism", "control, after Schaeffer et al. 2023 (arXiv 2304.15004)", below(0.05), mirage.UNIT,
        paper_says="bimodality over runs is no artefact of a sharp metric (abstract of version 5)",
    ),
)  # fmt: skip


def rows_of_study(frame: pd.DataFrame, scale: SimpleNamespace, seed: int) -> pd.DataFrame:
    """All rows of the study: the trained runs, a mirage of the main scale, and counts of simulated populations.

    Scales other than the main one keep the scored length and the sequences drawn as in training, of these the scores
    that are compared between scales; five significant digits.

    Args:
        frame: from `populations.runs_of`.
        scale: of the study.
        seed: base seed.

    Returns:
        kind, then columns of `frame`, of `mirage.matched_runs` and of `mirage.simulated_populations`; empty where a
        kind of row has no such column.
    """
    main = frame["scale"] == scale.main
    trained = frame[main | frame["length"].isin([AS_TRAINED, scale.score_length])].drop(columns="position")
    trained.loc[trained["scale"] != scale.main, ["sequence_loss", "worst_log", "margin", "content"]] = np.nan
    tokens = scale.score_length + 1  # the end token is scored, too
    mean = float(per_run(trained, scale.main, scale.score_length).mean())
    matched = mirage.matched_runs(mean, scale.mirage_concentration, tokens, scale.main_runs, seed)
    simulated = mirage.simulated_populations(scale.mirage_populations, LEAST_RUNS, tokens, seed)
    kinds = {TRAINED: trained, MATCHED: matched, POPULATION: simulated}
    rows = pd.concat([part.assign(kind=kind) for kind, part in kinds.items()], ignore_index=True)
    shortened = [*(name for name in SCORES if name != "worst"), "content", "accuracy"]
    rows[shortened] = rounded(rows[shortened], 5)
    whole = ["number", "length", *(f"{name}_{third}" for name in ("exact", "loss") for third in range(3))]
    rows[whole] = rows[whole].astype("Int64")  # whole numbers beside empty cells
    return rows[["kind", *rows.columns.drop("kind")]]


def rows_of_kind(runs: pd.DataFrame, kind: str) -> pd.DataFrame:
    """The rows of one kind, without columns that are empty in all of them."""
    return runs[runs["kind"] == kind].dropna(axis=1, how="all").drop(columns="kind").reset_index(drop=True)


def _scale(study: Study) -> SimpleNamespace:
    assert study.scale_values is not None  # a study has its scale before it has runs
    return study.scale_values


def _lengths(study: Study) -> list[int]:
    return [AS_TRAINED, *_scale(study).test_lengths]


def _where(length: int) -> str:
    return "as in training" if length == AS_TRAINED else f"length {length}"


def scores_figure(study: Study, runs: pd.DataFrame) -> None:
    """Histograms of exact match, sequence loss and worst token at the main scale, by the rule followed."""
    main, trained = _scale(study).main, rows_of_kind(runs, TRAINED)
    caption = (
        "Runs of the main scale by three scores (columns), on fresh sequences drawn as in training (top) and on "
        "longer strings. Colours: the rule a run follows on swapped sequences of a training length. Dotted: the "
        f"thirds of the range. {setting(study, trained[trained['scale'] == main])}"
    )
    alt = "Nine histograms of runs: three scores, in distribution and at two greater lengths."
    study.figure(plotting.scores_figure(trained, main, _lengths(study)), "scores", caption, alt)


def dips_table(study: Study, runs: pd.DataFrame) -> None:
    """Dip test and thirds of every score at every length of the main scale."""
    main, rows = rows_of_kind(runs, TRAINED), []
    label = _scale(study).main
    for length in _lengths(study):
        for name, words in SCORES.items():
            values = score(main, label, length, name)
            row: dict[str, object] = {"sequences": _where(length), "score": words, "runs": len(values)}
            tested = dip_test(values) if len(values) >= 4 else (np.nan, np.nan)
            row |= dict(zip(("dip", "p_value"), tested, strict=True)) | _thirds(name, values)
            rows.append(row)
    frame = pd.DataFrame(rows)
    caption = (
        f"Runs of the main scale: Hartigan's dip with its p-value (small: against one mode), and the number of runs in "
        f"each third of the score's range (0 to 1 for {' and '.join(SCORES[name] for name in ENDS)}). "
        f"{setting(study, main[main['scale'] == label])}"
    )
    empty = "too few runs, or no variation." if frame.isna().any(axis=None) else ""
    study.table(frame, "dips", caption, "same machine", empty)


def _thirds(name: str, values: np.ndarray) -> dict[str, object]:
    low, high = ends_of(name, values)
    counts = mirage.third_counts(values, low, high) if low < high else [np.nan] * 3
    return dict(zip(("lower_third", "middle_third", "upper_third"), counts, strict=True))


MEASURES = (("exact", "test"), ("worst", "test"), ("worst", "as in training"))


def step_rows(study: Study, runs: pd.DataFrame, level: float) -> pd.DataFrame:
    """Distances between adjacent compared scales, for the scores of `MEASURES`: one row per score and step.

    Columns: measure, sequences, step, distance, low, high, null, excess, excess_low; empty where `distance` is None.
    Only replicates that every scale has count.
    """
    s, trained = _scale(study), rows_of_kind(runs, TRAINED)
    paired = compared(trained[trained["replicate"] < s.runs])
    rows = []
    for name, sequences in MEASURES:
        length = s.score_length if sequences == "test" else AS_TRAINED
        for first, second in pairwise(scales_of(paired)):
            made = distance(score(paired, first, length, name), score(paired, second, length, name), level)
            row: dict[str, object] = {"measure": SCORES[name], "sequences": _where(length),
                                      "step": f"{first} \N{RIGHTWARDS ARROW} {second}"}  # fmt: skip
            numbers = [np.nan] * 6 if made is None else [
                made.distance.value, made.distance.low, made.distance.high, made.null, made.excess.value,
                made.excess.low,
            ]  # fmt: skip
            rows.append(row | dict(zip(_NUMBERS, numbers, strict=True)))
    return pd.DataFrame(rows, columns=["measure", "sequences", "step", *_NUMBERS])


_NUMBERS = ("distance", "low", "high", "null", "excess", "excess_low")


def _paired_setting(study: Study, runs: pd.DataFrame) -> str:
    trained = rows_of_kind(runs, TRAINED)
    return setting(study, trained[trained["replicate"] < _scale(study).runs])


def distances_figure(study: Study, runs: pd.DataFrame) -> None:
    """Distance between adjacent scales against its null band: two scores of the test, and the control."""
    frame = step_rows(study, runs, FIGURE_LEVEL)
    if frame.empty:  # fewer than two compared scales
        return
    caption = (
        "2-Wasserstein distance W2 between the runs of adjacent compared scales (marks; bars: 95 % basic bootstrap "
        "interval over replicates, which may lie below its mark, since resampling adds to a distance). Grey: "
        f"up to the {NULL:.0%} quantile of the distances when the pooled runs are permuted. Right: the control, on "
        f"fresh sequences drawn as in training. Along the axis: {_scale(study).axis_name}. "
        f"{_paired_setting(study, runs)}"
    )
    alt = "Three panels with the distance between adjacent scales above or within a grey band."
    study.figure(plotting.distances_figure(frame), "distances", caption, alt)


def distances_table(study: Study, runs: pd.DataFrame) -> None:
    """The distances of the figure in numbers."""
    frame = step_rows(study, runs, FIGURE_LEVEL)
    if frame.empty:
        return
    caption = (
        "2-Wasserstein distance between the runs of adjacent compared scales with its 95 % basic bootstrap interval "
        f"(low, high), the {NULL:.0%} quantile of permuted runs (null), and by how much the distance and the lower end "
        f"of its interval exceed it. {_paired_setting(study, runs)}"
    )
    empty = "too few runs, or no variation." if frame.isna().any(axis=None) else ""
    study.table(frame, "distances", caption, "same machine", empty)


def mirage_figure(study: Study, runs: pd.DataFrame) -> None:
    """The trained runs beside simulated ones with the same scaling curve and without two solutions."""
    s = _scale(study)
    caption = (
        "Trained runs beside a mirage, whose per-token accuracy has one peak over runs (Beta distribution) and is "
        f"raised to the power of the {s.score_length + 1} scored tokens. Left: means along the axis ({s.axis_name}); "
        "the mirage is made to have the trained runs' mean exact match (or the nearest it can have; where that is 0 "
        "any low per-token accuracy fits, the lowest is drawn, and the first step means nothing). Middle and right: "
        "the runs of the main scale by exact match and by sequence loss (logarithmic axis); filled: trained, dashed "
        f"outline: as many simulated ones. {_paired_setting(study, runs)} The main scale has {s.main_runs} runs."
    )
    alt = "Means of trained runs and of a mirage along the axis; histograms of both by exact match and by loss."
    trained, matched = rows_of_kind(runs, TRAINED), rows_of_kind(runs, MATCHED)
    fig = plotting.mirage_figure(trained, matched, s.main, s.score_length, s.mirage_concentration)
    study.figure(fig, "mirage", caption, alt)


def passing(runs: pd.DataFrame, family: str, measure: str, level: float) -> np.ndarray:
    """Whether each simulated population of a family passes the criterion in "exact" or "loss", bool `[N]`."""
    rows = rows_of_kind(runs, POPULATION)
    counts = rows.loc[rows["family"] == family, [f"{measure}_{third}" for third in range(3)]].astype(int)
    return np.array([mirage.emptier_than_both(*count, level) for count in counts.itertuples(index=False)], dtype=bool)


def mirage_table(study: Study, runs: pd.DataFrame) -> None:
    """How many simulated populations pass the criterion, by family and score."""
    rows = []
    for family in mirage.FAMILIES:
        row: dict[str, object] = {"per_token_accuracy": family}
        for measure in ("exact", "loss"):
            passed = passing(runs, family, measure, study.level)
            row["populations"] = len(passed)
            row[measure], row[f"{measure}_se"] = mean_and_error(passed)
        rows.append(row)
    caption = (
        f"Share of simulated populations of {LEAST_RUNS} runs that pass the criterion of the first two "
        "claims (both outer thirds hold more runs than the middle one, at the level of the claims), in exact match and "
        "in sequence loss, by the distribution of the per-token accuracy over runs; standard errors over "
        f"populations. Peak on a shelf: {mirage.SHELF_SHARE:.0%} of the runs are uniform between 0 and the peak."
    )
    study.table(pd.DataFrame(rows), "mirage_populations", caption, "summary")


def _decide_thirds(study: Study, trained: pd.DataFrame) -> None:
    ids, s = ("low-third-of-loss", "high-third-of-loss"), _scale(study)
    values = score(trained, s.main, s.score_length, LOSS)
    reasons = {
        f"fewer than {LEAST_RUNS} runs": len(values) < LEAST_RUNS,
        "not every run of the main scale masters what it was trained on": not mastered(trained, s.main),
        "all runs have the same loss": bool(np.ptp(values) == 0),
    }
    reason = next((words for words, true in reasons.items() if true), None)
    pair: Sequence[statistics.Estimate | None] = (None, None)
    if reason is None:
        pair = emptier_middle(values, unit=TRAINING_RUN, level=study.level)
    for id, estimate in zip(ids, pair, strict=True):
        study.decide(id, estimate, reason or "")


def _decide_distances(study: Study, trained: pd.DataFrame) -> None:
    s = _scale(study)
    paired = compared(trained[trained["replicate"] < s.runs])
    labels = scales_of(paired)[:2]
    for id, name in (("distance-beats-permutation", "exact"), ("worst-token-distance-beats-permutation", "worst")):
        if len(labels) < 2:
            study.decide(id, None, "fewer than two scales that every run masters")
            continue
        first, second = (score(paired, label, s.score_length, name) for label in labels)
        made = distance(first, second, study.level)
        note = "too few runs, or no variation" if made is None else f"scales {labels[0]} and {labels[1]}"
        study.decide(id, None if made is None else made.excess, note)


def decisions(study: Study, runs: pd.DataFrame) -> None:
    """Decide every claim: over training runs, and over simulated populations."""
    trained = rows_of_kind(runs, TRAINED)
    _decide_thirds(study, trained)
    _decide_distances(study, trained)
    passed = passing(runs, mirage.ONE_PEAK, "exact", study.level)
    made = statistics.share(int(passed.sum()), len(passed), unit=mirage.UNIT, level=study.level)
    study.decide("mirage-stays-unimodal", made)


REPORT: tuple[Callable[[Study, pd.DataFrame], None], ...] = (
    scores_figure, dips_table, distances_figure, distances_table, mirage_figure, mirage_table, decisions,
)  # fmt: skip
