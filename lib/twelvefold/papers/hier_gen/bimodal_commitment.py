"""Result 4: runs that are stable over time sit at one of the two rules; and what makes equal recipes differ."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd
from scipy.stats import norm

from twelvefold.core.claims import TRAINING_RUN, Claim, above
from twelvefold.core.comparisons import independent_difference
from twelvefold.core.reporting import FIGURE_LEVEL, count_cells, mean_and_error, mean_of, summary_row
from twelvefold.core.study import Study
from twelvefold.papers.hier_gen.reporting import PAPER, resolution, setting
from twelvefold.papers.hier_gen.seeds import plotting
from twelvefold.papers.hier_gen.seeds.measures import (
    commitment_difference,
    committed,
    correlation_of,
    deviations,
    dip_of,
    halves,
    mixed_data,
    one_mixture,
    split_rows,
    summaries,
    variance_and_error,
)
from twelvefold.tasks.rule_following import COMMITMENTS, HIGH, LOW, commitment

THRESHOLDS = (0.02, 0.05, 0.1, 0.2)  # the paper's threshold of stability is not known
# A quarter of the width of the zone in which a run counts as committed. Testing on 120 questions alone scatters a
# final by at most sqrt(0.25 / 120) = 0.046, in mean absolute value 0.036, which stays below.
MARGIN = LOW / 4
_STATED = "stable runs end near 0 or near 1 (abstract of version 1)"

CLAIMS: tuple[Claim, ...] = (
    Claim(
        "stable-runs-sit-at-a-rule",
        "On one mixture, runs that vary more over time end further from both rules: Spearman correlation over runs of "
        "total variation with min(H, 1 - H) at the end.",
        "direction", f"{PAPER}, stability and commitment", above(0.0), TRAINING_RUN, paper_says=_STATED,
    ),
    Claim(
        "stable-half-more-committed",
        f"On one mixture, in the half of the runs with the lower total variation the share that ends below {LOW} or "
        f"above {HIGH} is larger than in the other half.",
        "direction", f"{PAPER}, final accuracy of stable runs", above(0.0), TRAINING_RUN, paper_says=_STATED,
    ),
    Claim(
        "initial-weights-alone-differ",
        "With one common data order, own initial weights (and dropout masks, if any) alone move a run's final H by "
        f"more than {MARGIN} from the median run, on average.",
        "mechanism", "split of the variance over seeds, added here", above(MARGIN), TRAINING_RUN,
        paper_says="not read; initialisation and order share one seed in the released code",
    ),
    Claim(
        "data-order-alone-differs",
        "With common initial weights, an own data order alone moves a run's final H by more than "
        f"{MARGIN} from the median run, on average.",
        "mechanism", "split of the variance over seeds, added here", above(MARGIN), TRAINING_RUN,
        paper_says="not read; initialisation and order share one seed in the released code",
    ),
    Claim(
        "initial-weights-outweigh-order",
        "Final H is more dispersed over initial weights than over data orders (difference of the mean absolute "
        "deviations from the median).",
        "mechanism", "split of the variance over seeds, added here", above(0.0), TRAINING_RUN,
        paper_says="not read",
    ),
)  # fmt: skip


def commitment_figure(study: Study, runs: pd.DataFrame) -> None:
    """Final share against total variation, with the distribution of finals."""
    caption = (
        "Left: final share H of out-of-distribution questions answered by the hierarchical rule against the total "
        "variation of its curve (mean absolute step over the last two thirds of the checkpoints), one mark per "
        f"training run; shaded: H below {LOW} or above {HIGH}; dashed: median total variation; hollow: not learned "
        "(in-distribution accuracy below .97). Right: number of runs by final H, of all runs and of the half with the "
        f"lower total variation. {setting(mixed_data(runs), study)}"
    )
    alt = "A scatter plot of final share against total variation, beside a horizontal histogram of the final shares."
    frame = mixed_data(summaries(runs))
    study.figure(plotting.commitment_figure(frame, halves(frame)[0]), "commitment", caption, alt)


def thresholds_figure(study: Study, runs: pd.DataFrame) -> None:
    """Number of stable runs at each rule and at none, against the threshold of stability."""
    caption = (
        "Number of learned runs whose total variation is at most the threshold, by where they end: at the linear rule "
        f"(H < {LOW}), at the hierarchical rule (H > {HIGH}), at neither. Grey: the thresholds of the table. "
        f"{setting(mixed_data(runs), study)}"
    )
    alt = "Three rising step curves: stable runs at the linear rule, at the hierarchical rule and at neither."
    study.figure(plotting.thresholds_figure(mixed_data(summaries(runs)), THRESHOLDS), "thresholds", caption, alt)


def classes_table(study: Study, runs: pd.DataFrame) -> None:
    """Classes of the runs at several thresholds of stability."""
    frame, rows = mixed_data(summaries(runs)), []
    for threshold in THRESHOLDS:
        given = zip(frame["final"], frame["variation"], frame["learned"], strict=True)
        names = np.array([commitment(final, variation, learned, threshold) for final, variation, learned in given])
        row: dict[str, object] = {"threshold": threshold, "runs": len(frame)}
        for name in COMMITMENTS:
            row |= count_cells(name, names == name)
        rows.append(row)
    caption = (
        "Runs by class: stable (total variation at most the threshold) at the linear rule, at the hierarchical rule or "
        "at neither; unstable; not learned (in-distribution accuracy below .97). Counts with binomial errors. "
        f"{setting(mixed_data(runs), study)}"
    )
    study.table(pd.DataFrame(rows), "classes", caption, "summary")


def _table(study: Study, rows: list[dict[str, object]], name: str, caption: str, empty: str) -> None:
    """A table for one machine; `empty` says why cells are empty, where some are."""
    frame = pd.DataFrame(rows)
    study.table(frame, name, caption, "same machine", empty if frame.isna().any(axis=None) else "")


def dip_table(study: Study, runs: pd.DataFrame) -> None:
    """Test of one mode against several, for all runs and for the stable ones."""
    frame = mixed_data(summaries(runs))
    groups = {"all": frame, "learned": frame[frame["learned"]], "lower half of total variation": halves(frame)[0]}
    groups |= {f"total variation at most {mark}": frame[frame["variation"] <= mark] for mark in THRESHOLDS}
    rows = []
    for name, group in groups.items():
        dip, p_value = dip_of(group["final"])
        rows.append({"runs_taken": name, "runs": len(group), "committed": int(committed(group).sum()), "dip": dip,
                     "p_value": p_value})  # fmt: skip
    caption = (
        "Hartigan's dip test of the final shares H: a small p-value speaks against a single mode (the p-values treat "
        f"all runs as independent). {setting(mixed_data(runs), study)}"
    )
    _table(study, rows, "dip", caption, "fewer than four runs.")


def _variants(runs: pd.DataFrame) -> dict[str, tuple[pd.DataFrame, list[tuple[pd.DataFrame, pd.DataFrame]]]]:
    """Other ways to ask the first two claims: rows to correlate, and pairs of halves to compare."""
    every, gap = mixed_data(summaries(runs)), mixed_data(summaries(runs, "hierarchical_object_gap"))
    learned = every[every["learned"]]
    shares, one = [group for _, group in every.groupby("share")], one_mixture(runs)
    ranks = [group.assign(**{name: group[name].rank() / len(group) for name in ("variation", "distance")})
             for group in shares]  # fmt: skip
    return {
        "one mixture (as decided)": (one, [halves(one)]),
        "all shares pooled": (every, [halves(every)]),
        "all shares pooled, learned runs": (learned, [halves(learned)]),
        "all shares pooled, object gaps": (gap, [halves(gap)]),
        "ranks and halves within each share": (pd.concat(ranks), [halves(group) for group in shares]),
    }


def variants_table(study: Study, runs: pd.DataFrame) -> None:
    """The first two claims again: as decided, pooled over shares, for learned runs, for object gaps, within shares."""
    half_width, rows = norm.ppf((1 + FIGURE_LEVEL) / 2), []
    for name, (correlated, pairs) in _variants(runs).items():
        row: dict[str, object] = {"runs_taken": name, "runs": len(correlated)}
        made = {"correlation": correlation_of(correlated, FIGURE_LEVEL),
                "difference_of_shares": commitment_difference(pairs, FIGURE_LEVEL)}  # fmt: skip
        for column, estimate in made.items():
            row[column] = float("nan") if estimate is None else estimate.value
            error = float("nan") if estimate is None else (estimate.high - estimate.low) / (2 * half_width)
            row[f"{column}_se"] = error
        rows.append(row)
    caption = (
        "The first two claims asked in other ways: correlation of total variation with min(H, 1 - H), and share of "
        "committed runs in the lower half of total variation minus that in the higher half. Errors: 95 % interval "
        "divided by 3.92; where shares are pooled they take runs as independent that share draws. "
        f"{setting(mixed_data(runs), study)}"
    )
    _table(study, rows, "variants", caption, "too few runs, or no variation.")


def _arms(study: Study) -> dict[str, str]:
    """What differs between the runs of each arm."""
    assert study.scale_values is not None  # a study has its scale before it has runs
    weights = "initial weights and dropout" if study.scale_values.dropout else "initial weights"
    return {"init": weights, "order": "data order", "mixed": "both"}


def _split_setting(study: Study, runs: pd.DataFrame) -> str:
    """The setting without its last sentence, which is not true of arms in which one factor is common."""
    network = setting(runs, study).rsplit(". ", 1)[0]
    return f"{network}; {runs.loc[runs['arm'] == 'init', 'replicate'].nunique()} training runs in each of the two arms."


def split_figure(study: Study, runs: pd.DataFrame) -> None:
    """Curves of the arms of the split, and their finals side by side."""
    share, arms = split_rows(runs)["share"].iloc[0], _arms(study)
    caption = (
        f"Share H over training at {share:.0%} centre-embedded declaratives: runs that differ in {arms['init']} "
        "alone (left), in data order alone (middle), and the finals of both with those of runs that differ in both "
        "(right; bar: median, hollow: not learned). All runs of an arm share the other draw, that of replicate 0. "
        f"{_split_setting(study, runs)}"
    )
    alt = "Two panels of curves over training, one per arm, and a strip plot of the final shares of three groups."
    here = runs[runs["share"] == share]
    study.figure(plotting.split_figure(here, split_rows(runs), arms), "split", caption, alt)


def split_table(study: Study, runs: pd.DataFrame) -> None:
    """Variance of the finals over initial weights, over data orders and over both, for all and for learned runs."""
    frame, rows = split_rows(runs), []
    for taken, chosen in (("all", frame), ("learned", frame[frame["learned"]])):
        for arm, varies in _arms(study).items():
            part = chosen[chosen["arm"] == arm]
            if frame[frame["arm"] == arm].empty:
                continue
            row: dict[str, object] = {"varies": varies, "runs_taken": taken, "runs": len(part)}
            row["variance"], row["variance_se"] = variance_and_error(part["final"])
            numbers = {"deviation": deviations(part, arm), "final": part["final"], "variation": part["variation"]}
            for name, values in numbers.items():
                row[name], row[f"{name}_se"] = mean_and_error(values) if len(part) else (float("nan"),) * 2
            rows.append(row)
    caption = (
        "Final H by what differs between the runs: variance with its jackknife error, mean absolute deviation from the "
        "median, mean, and mean total variation, with standard errors over training runs. "
        f"{_split_setting(study, runs)}"
    )
    _table(study, rows, "split", caption, "too few runs.")


def pairing_table(study: Study, runs: pd.DataFrame) -> None:
    """How alike the runs of one replicate end at two shares: whether pooled runs are independent."""
    finals = mixed_data(summaries(runs)).pivot(index="replicate", columns="share", values="final")
    finals.columns = pd.Index([f"H at share {share:g}" for share in finals.columns])
    rows = [summary_row({"column": name}, [("mean", finals[name])]) | {
        f"correlation with {other}": _correlation(finals[name], finals[other]) for other in finals.columns
    } for name in finals.columns]  # fmt: skip
    caption = (
        "Runs of one replicate share initial weights and data order across shares. Pearson correlation over replicates "
        "of their finals: near 0 the pooled runs may count as independent, near 1 each replicate counts "
        f"once. {setting(mixed_data(runs), study)}"
    )
    _table(study, rows, "pairing", caption, "a column without variation.")


def _correlation(first: pd.Series, second: pd.Series) -> float:
    if first.nunique() < 2 or second.nunique() < 2:
        return float("nan")
    return float(np.corrcoef(first, second)[0, 1])


def decisions(study: Study, runs: pd.DataFrame) -> None:
    """Decide every claim over training runs."""
    frame, one, step = summaries(runs), one_mixture(runs), resolution(study)
    study.decide("stable-runs-sit-at-a-rule", correlation_of(one, study.level))
    study.decide("stable-half-more-committed", commitment_difference([halves(one)], study.level))
    init, order = deviations(frame, "init"), deviations(frame, "order")
    study.decide("initial-weights-alone-differ", mean_of(study, init, step))
    study.decide("data-order-alone-differs", mean_of(study, order, step))
    outweigh = independent_difference(init, order, unit=TRAINING_RUN, level=study.level, resolution=step)
    study.decide("initial-weights-outweigh-order", outweigh)


REPORT: tuple[Callable[[Study, pd.DataFrame], None], ...] = (
    commitment_figure, thresholds_figure, classes_table, dip_table, variants_table, pairing_table, split_figure,
    split_table, decisions,
)  # fmt: skip
