"""Result 5: few kinds of sentences are memorised, some make runs unstable, many give a rule."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd

from twelvefold.core.claims import TRAINING_RUN, Claim, above, below
from twelvefold.core.reporting import count_cells, mean_and_error, mean_of, summary_row
from twelvefold.core.study import Study
from twelvefold.papers.hier_gen.reporting import PAPER, resolution, setting
from twelvefold.papers.hier_gen.seeds import plotting
from twelvefold.papers.hier_gen.seeds.regimes import REGIMES, STABLE, conditions, levels_of, main_share, per_level
from twelvefold.tasks.grammar_populations import mix_of
from twelvefold.tasks.grammar_shares import population_point, share_points
from twelvefold.tasks.question_formation import QuestionMix, kept_trees
from twelvefold.tasks.rule_following import HIGH, LEARNED, LOW, rule_curves

COLUMNS = ("hierarchical", "hierarchical_subject_gap", "hierarchical_object_gap", "id_accuracy")
_STATED = "little diversity is memorised, an intermediate amount is unstable, much gives a rule (abstract of version 4)"

CLAIMS: tuple[Claim, ...] = (
    Claim(
        "seen-trees-answered-better",
        "With the fewest trees, questions of trees seen in training are answered better than questions of other trees.",
        "direction", f"{PAPER}, low diversity", above(0.0), TRAINING_RUN,
        paper_says="models memorise where diversity is low (abstract of version 4)",
    ),
    Claim(
        "more-trees-close-the-gap",
        "The gap between seen and unseen trees is larger with the fewest trees than with the largest limited number.",
        "direction", f"{PAPER}, low diversity", above(0.0), TRAINING_RUN,
        paper_says="models memorise where diversity is low (abstract of version 4)",
    ),
    Claim(
        "all-trees-beat-few",
        "Over questions of all trees, runs trained on all trees are more accurate than runs trained on the fewest.",
        "mechanism", f"{PAPER}, data diversity; control added here", above(0.0), TRAINING_RUN, paper_says="not read",
    ),
    Claim(
        "instability-peaks-inside",
        "Total variation is an inverted U in diversity: its quadratic contrast in log(number of trees) is negative.",
        "direction", f"{PAPER}, instability against diversity", below(0.0), TRAINING_RUN, paper_says=_STATED,
    ),
    Claim(
        "memorising-runs-are-stable",
        "Total variation is lower with the fewest trees than with the middle one of the numbers of trees.",
        "direction", f"{PAPER}, instability against diversity", below(0.0), TRAINING_RUN, paper_says=_STATED,
    ),
)  # fmt: skip


def tree_points(scale: SimpleNamespace, seed: int) -> list[dict[str, Any]]:
    """One point of `grammar_population` per share in `scale.shares` and number in `scale.trees`.

    Run r has the initial weights, dropout and data order of member r of `share_points`, and trees of its own: it keeps
    as many question trees as declarative trees, the first ones of random order `seed` + r.

    Raises:
        ValueError: a number of trees that a mix cannot keep, that leaves no unseen question tree, or out of order.
    """
    if list(scale.trees) != sorted(set(scale.trees)) or not 1 <= scale.tree_runs <= scale.runs:
        raise ValueError(f"trees = {scale.trees!r} and tree_runs = {scale.tree_runs!r}; needed are rising numbers and "
                         f"1 to runs = {scale.runs}")  # fmt: skip
    points, every = [], _question_trees({"longest": scale.longest, "lexicon": scale.lexicon})
    for share in scale.shares:
        for trees in scale.trees:
            if trees >= every:
                raise ValueError(f"trees holds {trees}; there are {every} question trees, and one must stay unseen")
            kept = {"center_embedded": share, "question_trees": trees, "declarative_trees": trees}
            mixes = [{**kept, "tree_draw": seed + r} for r in range(scale.tree_runs)]
            members = [[r, r, r] for r in range(scale.tree_runs)]
            points.append(population_point(scale, seed, mixes, members, kept=scale.tree_runs))
            mix_of("question", points[-1]["mixes"][0])  # an impossible mix is refused before anything is trained
    return points


def _question_trees(settings: Mapping[str, Any]) -> int:
    """Number of trees of the training questions of a mix."""
    mix = mix_of("question", settings)
    assert isinstance(mix, QuestionMix)
    return len(kept_trees(mix)[0])


def all_tree_points(scale: SimpleNamespace, seed: int) -> list[dict[str, Any]]:
    """The populations trained on all trees, those of `share_points`."""
    return share_points(scale, seed, scale.shares)


def diversity_runs(
    points: Sequence[Mapping[str, Any]], results: Sequence[Mapping[str, Any]], tests: Sequence[Mapping[str, Any]],
    all_points: Sequence[Mapping[str, Any]], all_results: Sequence[Mapping[str, Any]],
) -> pd.DataFrame:  # fmt: skip
    """Tidy curves: share, trees (number of question trees), all_trees, replicate, step, `COLUMNS`, and at the last step
    the accuracies `seen` and `unseen` (empty where there is no unseen tree), with six decimals. A population may come
    in shards.

    Of the populations with all trees only the replicates are taken that the others have.
    """
    frames, replicates = [], {member[1] for point in points for member in point["members"]}
    for point, result, test in zip(points, results, tests, strict=True):
        frames.append(_frame(point, result, test["seen"], test["unseen"]).assign(all_trees=False))
    for point, result in zip(all_points, all_results, strict=True):
        frame = _frame(point, result, None, None).assign(all_trees=True)
        frames.append(frame[frame["replicate"].isin(replicates)])
    wanted = ["share", "trees", "all_trees", "replicate", "step", *COLUMNS, "seen", "unseen"]
    return pd.concat(frames, ignore_index=True)[wanted].round(6)


def _frame(point: Mapping[str, Any], result: Mapping[str, Any], seen: Any, unseen: Any) -> pd.DataFrame:
    frame = rule_curves(point, result).rename(columns={"initial": "replicate"})
    frame["share"], frame["trees"] = point["mixes"][0]["center_embedded"], _question_trees(point["mixes"][0])
    last = frame["step"] == frame["step"].max()
    frame["seen"], frame["unseen"] = np.nan, np.nan
    # with all trees kept every question tree is a seen one; rows are in the order of the members
    frame.loc[last, "seen"] = frame.loc[last, "id_accuracy"] if seen is None else np.asarray(seen)
    if unseen is not None:
        frame.loc[last, "unseen"] = np.asarray(unseen)
    return frame


def quadratic_contrast(levels: Sequence[float], values: np.ndarray) -> np.ndarray:
    """Quadratic contrast `[R]` of `values [R, K]` in the logarithm of K >= 3 distinct positive levels.

    The weights are what log(level)^2 leaves when a constant and log(level) are fitted to it, scaled so that the
    positive ones sum to 1 and the negative ones to -1: the ends minus the middle, below 0 for an inverted U.

    Raises:
        ValueError: fewer than three levels, levels that are not positive and distinct, or another number of columns.
    """
    given, table = np.asarray(levels, dtype=float), np.asarray(values, dtype=float)
    if len(given) < 3 or len(set(given)) < len(given) or (given <= 0).any() or table.shape[-1] != len(given):
        raise ValueError(f"levels = {list(levels)!r} for values of shape {table.shape}; at least three distinct "
                         "positive levels, one per column, are needed")  # fmt: skip
    x = np.log(given)
    line = np.stack([np.ones_like(x), x], axis=1)
    weights = x**2 - line @ np.linalg.lstsq(line, x**2, rcond=None)[0]
    return table @ (weights / weights[weights > 0].sum())


def _gap(frame: pd.DataFrame, share: float, trees: int) -> np.ndarray:
    return per_level(frame, "seen", share, trees) - per_level(frame, "unseen", share, trees)


def differences(frame: pd.DataFrame, share: float) -> dict[str, np.ndarray | None]:
    """What each claim is about, one value per replicate `[R]`; None where the numbers of trees do not allow it.

    frame: `conditions`, with the same replicates at every number of trees.
    """
    levels = levels_of(frame)
    fewest, most, middle = levels[0], levels[-2], levels[len(levels) // 2]  # the last level is all trees
    variation = np.stack([per_level(frame, "variation", share, level) for level in levels], axis=1)
    bent, gap = len(levels) >= 3, _gap(frame, share, fewest)
    return {
        "seen-trees-answered-better": gap,
        "more-trees-close-the-gap": gap - _gap(frame, share, most) if bent else None,
        "all-trees-beat-few": per_level(frame, "id_accuracy", share, levels[-1])
        - per_level(frame, "id_accuracy", share, fewest),
        "instability-peaks-inside": quadratic_contrast(levels, variation) if bent else None,
        "memorising-runs-are-stable": variation[:, 0] - variation[:, levels.index(middle)] if bent else None,
    }


def regimes_figure(study: Study, runs: pd.DataFrame) -> None:
    """The plane of diversity and complexity, drawn with our own curves."""
    caption = (
        "Share H of out-of-distribution questions answered by the hierarchical rule over training, one line per "
        "training run in the colour of its regime; columns: number of question trees (and of declarative trees) kept, "
        "rows: share of centre-embedded declaratives. Each panel names the most frequent regime of its runs, several "
        f"if equally frequent. A run has the first that applies: not learned = accuracy on seen trees below {LEARNED}; "
        f"memorises = accuracy on unseen trees below {LEARNED}; unstable = total variation above {STABLE}; linear rule "
        f"= final H below {LOW}; hierarchical rule = above {HIGH}; no rule. Marks at the ends: runs that learned "
        "(filled) or not (hollow). "
        f"{setting(runs, study)}"
    )
    alt = "A grid of panels with curves over training: data diversity grows to the right, data complexity upwards."
    study.figure(plotting.regimes_figure(runs, conditions(runs)), "regimes", caption, alt)


def diversity_figure(study: Study, runs: pd.DataFrame) -> None:
    """Accuracy on seen and unseen trees, and total variation, against the number of trees."""
    caption = (
        "Left: accuracy on fresh questions of trees seen in training and of the other trees, against the number of "
        f"question trees kept, at {main_share(runs):.0%} centre-embedded declaratives (the share of the claims). "
        "Right: total variation of H over the last two thirds of training, per share. Dots: means over training runs "
        f"with 95 % intervals; thin lines: single runs. {setting(runs, study)}"
    )
    alt = "Two panels with the number of trees on a logarithmic axis: two accuracy curves, and total variation."
    study.figure(plotting.diversity_figure(conditions(runs), main_share(runs)), "diversity", caption, alt)


def conditions_table(study: Study, runs: pd.DataFrame) -> None:
    """Accuracies, final shares and total variation of every condition."""
    frame, rows = conditions(runs), []
    for (share, trees), part in frame.groupby(["share", "trees"]):
        row: dict[str, object] = {"share": share, "question_trees": trees, "runs": len(part)}
        row |= count_cells("learned", part["learned"])
        numbers = {"seen": "seen", "unseen": "unseen", "all_trees": "id_accuracy", "H": "final",
                   "H_object_gap": "final_object_gap", "H_subject_gap": "final_subject_gap",
                   "total_variation": "variation"}  # fmt: skip
        for name, column in numbers.items():
            empty = part[column].isna().any()
            row[name], row[f"{name}_se"] = (np.nan, np.nan) if empty else mean_and_error(part[column])
        rows.append(row)
    caption = (
        f"Per condition: number of runs with an accuracy of at least {LEARNED} on seen trees (learned; binomial "
        "error), accuracy on seen, unseen and all question trees, final H, also by kind of relative clause, total "
        f"variation: means and standard errors over training runs. {setting(runs, study)}"
    )
    study.table(pd.DataFrame(rows), "conditions", caption, "summary", empty="no tree is unseen.")


def regimes_table(study: Study, runs: pd.DataFrame) -> None:
    """Number of runs of every regime in every condition."""
    rows = []
    for (share, trees), part in conditions(runs).groupby(["share", "trees"]):
        row: dict[str, object] = {"share": share, "question_trees": trees, "runs": len(part)}
        for name in REGIMES:
            row |= count_cells(name, part["regime"] == name)
        rows.append(row)
    caption = f"Runs by regime (the rule of the figure), with binomial errors. {setting(runs, study)}"
    study.table(pd.DataFrame(rows), "regimes", caption, "summary")


def variants_table(study: Study, runs: pd.DataFrame) -> None:
    """What the claims compare, for all runs, for learned ones, at the other shares and on object gaps."""
    frame, rows = conditions(runs), []
    taken = {f"all, share {share:g}": (frame, share) for share in sorted(frame["share"].unique(), reverse=True)}
    learned = frame.groupby(["share", "replicate"])["learned"].transform("all")
    taken["learned at every number of trees"] = frame[learned], main_share(runs)
    gap = frame.assign(variation=frame["variation_object_gap"])
    taken["object-gap questions only"] = gap, main_share(runs)
    for name, (chosen, share) in taken.items():
        some = bool((chosen["share"] == share).any())
        for claim, values in (differences(chosen, share) if some else dict.fromkeys(_ids())).items():
            row: dict[str, object] = {"claim": claim, "runs_taken": name, "runs": 0, "mean": np.nan, "mean_se": np.nan}
            rows.append(row if values is None else row | {"runs": len(values)} | summary_row({}, [("mean", values)]))
    caption = (
        "The differences behind the claims (the first rows as decided), also at other shares, for replicates that "
        "learned their seen trees in every condition, and with total variation of the object-gap questions alone. "
        f"{setting(runs, study)}"
    )
    study.table(pd.DataFrame(rows), "variants", caption, "same machine", empty="too few numbers of trees, or no run.")


def _ids() -> list[str]:
    return [claim.id for claim in CLAIMS]


def decisions(study: Study, runs: pd.DataFrame) -> None:
    """Decide every claim over training runs, at the largest share."""
    scale, found = study.scale_values, differences(conditions(runs), main_share(runs))
    assert scale is not None  # a study has its scale before it has runs
    one_answer = {"seen-trees-answered-better", "more-trees-close-the-gap", "all-trees-beat-few"}
    for id, values in found.items():
        step = 1 / scale.id_items if id in one_answer else resolution(study)
        if values is None:
            study.decide(id, None, "needs three numbers of trees, all trees included")
        else:
            study.decide(id, mean_of(study, values, step))


REPORT: tuple[Callable[[Study, pd.DataFrame], None], ...] = (
    regimes_figure, regimes_table, diversity_figure, conditions_table, variants_table, decisions,
)  # fmt: skip
