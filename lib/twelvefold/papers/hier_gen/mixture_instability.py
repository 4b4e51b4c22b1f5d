"""Result 3: a mixture of centre-embedded and right-branching copies makes runs unstable and seeds disagree."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd

from twelvefold.core.claims import TRAINING_RUN, Claim, above
from twelvefold.core.reporting import count_cells, mean_and_error, paired, summary_row
from twelvefold.core.study import Study
from twelvefold.papers.hier_gen.reporting import PAPER, last_rows, per_share, resolution, setting
from twelvefold.papers.hier_gen.shares import plotting
from twelvefold.tasks.rule_following import LEARNED, commitment, per_run

_MIX = f"{PAPER}, abstract: mixtures of the two kinds of sentences are unstable"
_READ = "read in the abstract of version 1; no number could be read"

CLAIMS: tuple[Claim, ...] = (
    Claim(
        "mixtures-less-stable-than-right-branching",
        "The total variation of a run's rule-following curve is larger with mixed copies (mean over all mixed shares) "
        "than with right-branching copies only.",
        "direction", _MIX, above(0.0), TRAINING_RUN, paper_says=f"mixed data are unstable; {_READ}",
    ),
    Claim(
        "mixtures-less-stable-than-embedded",
        "The total variation is larger with mixed copies (mean over all mixed shares) than with centre-embedded copies "
        "only.",
        "direction", _MIX, above(0.0), TRAINING_RUN, paper_says=f"mixed data are unstable; {_READ}",
    ),
    Claim(
        "embedded-less-stable-than-right-branching",
        "The total variation is larger with centre-embedded copies only than with right-branching copies only: "
        "centre-embedding as such destabilises.",
        "mechanism", "question added here: it tells a rise from an inverted U", above(0.0), TRAINING_RUN,
        paper_says="not stated; both are called stable",
    ),
    Claim(
        "mixtures-split-seeds",
        "Final shares of hierarchical answers lie farther from their condition's median with mixed copies than with "
        "right-branching copies only: seeds disagree.",
        "direction", f"{PAPER}, abstract: random variation across seeds", above(0.0), TRAINING_RUN,
        paper_says=f"runs on mixed data differ between random seeds; {_READ}",
    ),
)  # fmt: skip

INTERIOR = "mixed"
# claim -> (measure, first, second): shares of centre-embedded copies, or the mean over all shares between 0 and 1
CONTRASTS: dict[str, tuple[str, float | str, float | str]] = {
    "mixtures-less-stable-than-right-branching": ("variation", INTERIOR, 0.0),
    "mixtures-less-stable-than-embedded": ("variation", INTERIOR, 1.0),
    "embedded-less-stable-than-right-branching": ("variation", 1.0, 0.0),
    "mixtures-split-seeds": ("deviation", INTERIOR, 0.0),
}


def summaries(runs: pd.DataFrame) -> pd.DataFrame:
    """One row per run: share, replicate and the columns of `per_run`."""
    return per_run(runs, ["share", "replicate"])


def by_share(frame: pd.DataFrame, measure: str, gated: bool = False) -> pd.DataFrame:
    """Values of the runs as a table `[replicates, shares]`.

    Args:
        frame: from `summaries`.
        measure: "variation" or another of its columns, or "deviation": |final - median of the share's finals|.
        gated: runs that did not learn the task count as missing (NaN), for the median, too.
    """
    column = "final" if measure == "deviation" else measure
    kept = frame[frame["learned"]] if gated else frame
    table = kept.pivot(index="replicate", columns="share", values=column)
    table = table.reindex(index=sorted(frame["replicate"].unique()), columns=sorted(frame["share"].unique()))
    return (table - table.median()).abs() if measure == "deviation" else table


def arm(table: pd.DataFrame, which: float | str) -> pd.Series:
    """One value per replicate: at a share (missing where it was not trained), or the mean over those between 0 and 1.

    All shares between count alike, so that none is picked after its result is known.
    """
    if which != INTERIOR:
        return table[which] if which in table.columns else pd.Series(np.nan, index=table.index)
    return table[[share for share in table.columns if 0 < share < 1]].mean(axis=1)


def contrast(frame: pd.DataFrame, claim: str, gated: bool = False) -> np.ndarray:
    """Paired differences `[pairs]` of a claim, one per replicate that has both sides; `frame` from `summaries`."""
    measure, first, second = CONTRASTS[claim]
    table = by_share(frame, measure, gated)
    return (arm(table, first) - arm(table, second)).dropna().to_numpy()


def variation_figure(study: Study, runs: pd.DataFrame) -> None:
    """Total variation, and distance of the final value from its median, against the share."""
    caption = (
        "Left: total variation of a run's share of hierarchical answers over the last two thirds of training. Right: "
        "distance of its final share from the median of its condition. Both against the share of centre-embedded "
        "sentences among the copied ones (shares evenly spaced). One dot per run, hollow where ID accuracy stayed "
        f"below {LEARNED}; black: mean with its 95 % interval over training runs. {setting(runs, study)}"
    )
    alt = "Two panels of dots, one column per share, with the mean of each share and its interval joined by a line."
    frame = summaries(runs)
    deviation = by_share(frame, "deviation").stack().rename("deviation").reset_index()
    study.figure(plotting.variation_figure(frame.merge(deviation)), "variation", caption, alt)


def trajectories_figure(study: Study, runs: pd.DataFrame) -> None:
    """Curves of every run, one panel per share."""
    caption = (
        "Share of hierarchical answers over training, one panel per share of centre-embedded sentences among the "
        "copied ones; thin: single runs (dashed where the task was not learned), bold: their mean. Total variation is "
        f"taken to the right of the grey area. {setting(runs, study)}"
    )
    alt = "Small panels, one per share, with one thin curve per run and their mean in bold."
    study.figure(plotting.panels_figure(runs), "trajectories", caption, alt)


def finals_figure(study: Study, runs: pd.DataFrame) -> None:
    """Final share of hierarchical answers of every run against the share, all clauses and object gaps."""
    caption = (
        "Share of hierarchical answers at the end of training on all clauses (left) and on object gaps only (right), "
        "against the share of centre-embedded sentences among the copied ones (shares evenly spaced). One dot per run, "
        f"hollow where ID accuracy stayed below {LEARNED}; black: mean with its 95 % interval over training runs. "
        f"{setting(runs, study)}"
    )
    alt = "Two panels of dots between 0 and 1, one column per share, with the mean of each share and its interval."
    study.figure(plotting.final_shares_figure(last_rows(runs)), "finals", caption, alt)


def spread_and_error(values: np.ndarray) -> tuple[float, float]:
    """Standard deviation (n - 1) of `[n]` values and its jackknife standard error, both 0 for fewer than three."""
    n = len(values)
    if n < 3:
        return 0.0, 0.0
    without = np.array([np.std(np.delete(values, i), ddof=1) for i in range(n)])
    return float(np.std(values, ddof=1)), float(np.sqrt((n - 1) / n * ((without - without.mean()) ** 2).sum()))


def shares_table(study: Study, runs: pd.DataFrame) -> None:
    """Stability and finals of every share, for all runs and behind the gate."""
    frame, rows = summaries(runs), []
    deviation = by_share(frame, "deviation")
    for share in deviation.columns:
        final, learned = per_share(frame, share, "final"), per_share(frame, share, "learned").astype(bool)
        variation = per_share(frame, share, "variation")
        row = summary_row({"share": share}, [("variation", variation), ("final", final)])
        row["sd_of_finals"], row["sd_of_finals_se"] = spread_and_error(final)
        accuracy = per_share(frame, share, "id_accuracy")
        row |= summary_row({}, [("deviation", deviation[share]), ("id_accuracy", accuracy)])
        row |= {"runs": len(learned)} | count_cells("learned_runs", learned)
        gated = mean_and_error(variation[learned]) if learned.any() else (np.nan, np.nan)
        rows.append(row | {"learned_variation": gated[0], "learned_variation_se": gated[1]})
    caption = (
        "Per share of centre-embedded sentences among the copied ones: total variation over the last two thirds, final "
        "share of hierarchical answers, its standard deviation between runs, distance of a run's final share from the "
        "median, ID accuracy, number of runs that learned the task, and total variation of those alone. Means with "
        f"standard errors over runs (standard deviation: jackknife). {setting(runs, study)}"
    )
    table = pd.DataFrame(rows)
    empty = "no run of this share learned the task." if table["learned_variation"].isna().any() else ""
    study.table(table, "shares", caption, "summary", empty)


def contrasts_table(study: Study, runs: pd.DataFrame) -> None:
    """The paired differences behind the claims, for all runs and behind the gate."""
    frame, rows = summaries(runs), []
    for claim, (measure, first, second) in CONTRASTS.items():
        for gated in (False, True):
            values = contrast(frame, claim, gated)
            value, error = mean_and_error(values) if len(values) else (np.nan, np.nan)
            rows.append({
                "measure": measure, "contrast": f"{_name(first)} minus {_name(second)}",
                "runs": "learned" if gated else "all", "pairs": len(values),
                "difference": value, "difference_se": error,
            })  # fmt: skip
    table = pd.DataFrame(rows)
    caption = (
        "Paired differences over replicates with standard errors: of total variation, and of the distance of a run's "
        "final share from the median of its condition; for all runs, and for those that learned the task (a replicate "
        f"counts where both sides have such a run). {setting(runs, study)}"
    )
    empty = "no replicate has both sides." if table["difference"].isna().any() else ""
    study.table(table, "contrasts", caption, "same machine", empty)


def _name(which: float | str) -> str:
    return which if isinstance(which, str) else f"share {which:g}"


def decisions(study: Study, runs: pd.DataFrame) -> None:
    """Decide every claim over training runs, paired by replicate."""
    frame = summaries(runs)
    for claim in CONTRASTS:
        values = contrast(frame, claim)
        study.decide(claim, paired(study, values, np.zeros(len(values)), resolution(study)))


REPORT: tuple[Callable[[Study, pd.DataFrame], None], ...] = (
    variation_figure, trajectories_figure, finals_figure, shares_table, contrasts_table, decisions,
)  # fmt: skip


def classes(runs: pd.DataFrame, share: float, stable: float) -> pd.Series:
    """Class of every run of a share (`commitment`), by replicate; `stable` is the largest variation of a stable run."""
    frame = summaries(runs[runs["share"] == share])
    return pd.Series(
        [commitment(run.final, run.variation, run.learned, stable) for run in frame.itertuples()],
        index=frame["replicate"], name="class",
    )  # fmt: skip
