"""Result 3: does functional diversity predict what averaging gains, and is the most diverse choice the best one?"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd

from twelvefold.core.claims import TRAINING_RUN, Claim, above
from twelvefold.core.reporting import mean_of, paired, rows_of, summary_row
from twelvefold.core.study import Study
from twelvefold.papers.weight_ensembles import plotting
from twelvefold.papers.weight_ensembles.experiments import CORRELATIONS
from twelvefold.papers.weight_ensembles.reporting import PAPER, per_replicate, resolution, setting

RANK_STEP = 1e-3  # a rank correlation over some hundred pairs moves in smaller steps
MARGIN = 0.005  # half a point of accuracy: about the standard error of one run's test accuracy (2,600 images)
_STUDY = f"{PAPER}, abstract and diversity study"
_QUALIFIED = "diversity helps, but more diversity alone does not give the best average (abstract)"

CLAIMS: tuple[Claim, ...] = (
    Claim(
        "function-predicts-id-gain",
        "Pairs with a larger functional distance d_D gain more ID accuracy from averaging (Spearman correlation).",
        "direction", _STUDY, above(0.0), TRAINING_RUN, paper_says="functional diversity helps (abstract)",
    ),
    Claim(
        "function-predicts-ood-gain",
        "Pairs with a larger functional distance d_D gain more OOD accuracy from averaging (Spearman correlation).",
        "direction", _STUDY, above(0.0), TRAINING_RUN, paper_says="functional diversity helps (abstract)",
    ),
    Claim(
        "position-predicts-id-gain",
        "Pairs with a larger weight distance d_E gain more ID accuracy from averaging (Spearman correlation).",
        "direction", _STUDY, above(0.0), TRAINING_RUN,
        paper_says="positionally distinct models can contribute just as much (abstract)",
    ),
    Claim(
        "diverse-set-beats-similar-set",
        "Control: a forced set of the most diverse members averages to a higher ID accuracy than one of the most "
        "similar.",
        "mechanism", f"{_STUDY}; control added here", above(0.0), TRAINING_RUN, paper_says="diversity helps (abstract)",
    ),
    Claim(
        "most-diverse-pair-not-best",
        "The pair chosen by validation accuracy averages to a higher ID accuracy than the functionally most diverse "
        "pair.",
        "direction", _STUDY, above(0.0), TRAINING_RUN, paper_says=_QUALIFIED,
    ),
    Claim(
        "most-diverse-set-not-best",
        "A set chosen by accuracy (greedier) averages to a higher ID accuracy than a set forced to be diverse (d_D).",
        "direction", _STUDY, above(0.0), TRAINING_RUN, paper_says=_QUALIFIED,
    ),
    Claim(
        "position-as-good-as-function",
        "A set forced to be far apart in weights (d_E) averages to an ID accuracy not half a point below one forced by "
        "d_D.",
        "direction", _STUDY, above(-MARGIN), TRAINING_RUN,
        paper_says="positionally distinct models can contribute just as much (abstract)",
    ),
)  # fmt: skip


def spearman(runs: pd.DataFrame, rule: str) -> np.ndarray:
    """Spearman correlation over the pairs of each replicate `[S]`, e.g. of "d_D id_gain", or of "null"."""
    return per_replicate(runs, "value", kind="correlation", rule=rule)


def chosen_pair(runs: pd.DataFrame, rule: str) -> np.ndarray:
    """ID accuracy `[S]` of the average of a pair chosen in each replicate: "best on validation" or "most diverse"."""
    return per_replicate(runs, "id", kind="choice", rule=rule)


def pairs_figure(study: Study, runs: pd.DataFrame) -> None:
    """Gain of averaging a pair against its distance, and the correlation in every replicate."""
    caption = (
        "ID gain of averaging two ingredients (accuracy of the average minus mean accuracy of the two) against "
        "functional "
        "distance d_D (left) and weight distance d_E (middle): a random sample of the pairs of all runs, with means of "
        "ten "
        "equally filled bins. Right: Spearman correlation with the ID or OOD gain over all pairs of a run, one dot per "
        f"training run, and the 95 % interval of the mean. {setting(runs, study)}"
    )
    alt = "Two clouds of pairs with binned means, and a strip plot of rank correlations per training run."
    correlations = {f"{x} {y}": spearman(runs, f"{x} {y}") for x, y in CORRELATIONS[:4]}
    study.figure(plotting.pairs_figure(runs, correlations), "pairs", caption, alt)


def correlations_table(study: Study, runs: pd.DataFrame) -> None:
    """Rank correlations with their null, and how many common errors the distance rests on."""
    rows = [summary_row({"first": x, "second": y}, [("spearman", spearman(runs, f"{x} {y}"))]) for x, y in CORRELATIONS]
    rows.append(
        summary_row({"first": "d_D permuted (null)", "second": "id_gain"}, [("spearman", spearman(runs, "null"))])
    )
    fewest = int(per_replicate(runs, "value", kind="correlation", rule="fewest common errors").min())
    caption = (
        "Spearman correlation over the pairs of a training run: means and standard errors over training runs. The "
        "smallest "
        f"number of common errors behind any d_D is {fewest}. {setting(runs, study)}"
    )
    study.table(pd.DataFrame(rows), "correlations", caption, "summary")


def sets_figure(study: Study, runs: pd.DataFrame) -> None:
    """Average pairwise diversity of forced sets against the accuracy of their average."""
    caption = (
        "Sets of equal size built by forced rules: mean pairwise distance of the members (d_D left, d_E right) against "
        "ID "
        f"accuracy of their average. Crosses: 95 % intervals of the means over training runs. {setting(runs, study)}"
    )
    alt = "Two panels with one cross per rule: accuracy of the average against mean distance between its members."
    study.figure(plotting.sets_figure(runs), "sets", caption, alt)


def sets_table(study: Study, runs: pd.DataFrame) -> None:
    """Diversity, accuracy and gain of the forced sets and of the notable pairs."""
    part = rows_of(runs, kind="set")
    rows = []
    for rule in part["rule"].unique():
        columns = ("d_D", "d_E", "id", "id_gain", "ood_gain")
        rows.append(
            summary_row({"rule": rule}, [(column, per_replicate(part, column, rule=rule)) for column in columns])
        )
    caption = (
        "Sets of equal size: mean pairwise distances, ID accuracy of the average, gains over the mean of the members; "
        f"means and standard errors over training runs. {setting(runs, study)}"
    )
    study.table(pd.DataFrame(rows), "sets", caption, "summary")


def decisions(study: Study, runs: pd.DataFrame) -> None:
    """Decide every claim over training runs."""
    step = resolution(runs)
    for claim, rule in zip(CLAIMS[:3], ("d_D id_gain", "d_D ood_gain", "d_E id_gain"), strict=True):
        study.decide(claim.id, mean_of(study, spearman(runs, rule), RANK_STEP))
    best, diverse = (chosen_pair(runs, rule) for rule in ("best on validation", "most diverse"))
    study.decide("most-diverse-pair-not-best", paired(study, best, diverse, step))
    sets = rows_of(runs, kind="set")
    made = {rule: per_replicate(sets, "id", rule=rule) for rule in sets["rule"].unique()}
    study.decide("diverse-set-beats-similar-set", paired(study, made["farthest d_D"], made["nearest d_D"], step))
    study.decide("most-diverse-set-not-best", paired(study, made["greedier"], made["farthest d_D"], step))
    study.decide("position-as-good-as-function", paired(study, made["farthest d_E"], made["farthest d_D"], step))


REPORT: tuple[Callable[[Study, pd.DataFrame], None], ...] = (
    pairs_figure, correlations_table, sets_figure, sets_table, decisions,
)  # fmt: skip
