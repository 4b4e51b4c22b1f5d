"""Result 2: copied sentences with a centre-embedded clause lead to the hierarchical rule, right-branching ones to the
linear rule."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import torch
from scipy import stats

from twelvefold.core.claims import TRAINING_RUN, Claim, above, below, within
from twelvefold.core.reporting import count_cells, mean_of, paired, summary_row
from twelvefold.core.study import Study
from twelvefold.nn.transformer import forward
from twelvefold.nn.transformer_config import TransformerConfig
from twelvefold.papers.hier_gen.reporting import (
    PAPER,
    difference_row,
    final_pair,
    last_rows,
    per_replicate,
    resolution,
    setting,
)
from twelvefold.papers.hier_gen.shares import plotting
from twelvefold.tasks.grammar_populations import ood_set, vocabulary_of
from twelvefold.tasks.grammar_shares import population_point, share_points
from twelvefold.tasks.items import SUBJECTS
from twelvefold.tasks.kept_weights import kept_weights
from twelvefold.tasks.question_formation import hierarchical_rule, linear_rule
from twelvefold.tasks.rule_following import HIGH, LEARNED, LOW, rule_curves
from twelvefold.tasks.sentence_templates import find_lexicon

RIGHT, CENTER = "right-branching", "centre-embedded"
EXTRA_ARMS: dict[str, dict[str, Any]] = {
    "questions only": {"questions": 1.0},
    "natural mix": {},
    "subject gaps only": {"center_embedded": 1.0, "object_gap": 0.0},
    "object gaps only": {"center_embedded": 1.0, "object_gap": 1.0},
}
MARGIN = round(1 - LEARNED, 6)  # a larger difference of ID accuracy could take a run across the gate
_ABSTRACT = "read in the abstract of version 4; no number could be read"
_COPIES = f"{PAPER}, abstract: which copied sentences lead to which rule"

CLAIMS: tuple[Claim, ...] = (
    Claim(
        "embedding-raises-hierarchical",
        "Runs that copy centre-embedded sentences only follow the hierarchical rule more often, on questions never "
        "trained on, than runs that copy right-branching sentences only.",
        "direction", _COPIES, above(0.0), TRAINING_RUN,
        paper_says=f"centre-embedded sentences lead to the hierarchical rule, right-branching to linear; {_ABSTRACT}",
    ),
    Claim(
        "embedding-raises-hierarchical-object-gap",
        "The same holds on object-gap clauses alone, where the first auxiliary that does not follow a relativiser is "
        "not the main one.",
        "direction", f"{_COPIES}; restricted here to object gaps", above(0.0), TRAINING_RUN,
        paper_says="not stated for this kind of clause alone",
    ),
    Claim(
        "right-branching-goes-linear",
        f"With right-branching copies only, the mean share of hierarchical answers ends below {LOW}.",
        "direction", f"{_COPIES}; the mark {LOW} is chosen here", below(LOW), TRAINING_RUN,
        paper_says=f"right-branching sentences lead to the linear rule; {_ABSTRACT}",
    ),
    Claim(
        "embedding-goes-hierarchical",
        f"With centre-embedded copies only, the mean share of hierarchical answers ends above {HIGH}.",
        "direction", f"{_COPIES}; the mark {HIGH} is chosen here", above(HIGH), TRAINING_RUN,
        paper_says=f"centre-embedded sentences lead to the hierarchical rule; {_ABSTRACT}",
    ),
    Claim(
        "shallow-rule-explains",
        "Control: with centre-embedded copies only, runs follow the hierarchical rule more often on subject gaps than "
        "on object gaps, as the shallow rule would (move the first auxiliary that does not follow a relativiser).",
        "mechanism", "control added here", above(0.0), TRAINING_RUN, paper_says="not stated",
    ),
    Claim(
        "equally-learned",
        f"Control: at the end both conditions answer trained kinds of questions equally well, within {MARGIN}, so that "
        "the contrast is not a matter of slower learning.",
        "mechanism", "control added here", within(-MARGIN, MARGIN), TRAINING_RUN, paper_says="not stated",
    ),
)  # fmt: skip


def condition_points(scale: SimpleNamespace, seed: int) -> dict[str, dict[str, Any]]:
    """The points of all conditions by name: the two ends of `share_points`, then the arms in `scale.extra_arms`.

    Raises:
        ValueError: an arm that is not in `EXTRA_ARMS`.
    """
    unknown = [arm for arm in scale.extra_arms if arm not in EXTRA_ARMS]
    if unknown:
        raise ValueError(f"extra_arms holds {unknown[0]!r}; accepted are {', '.join(map(repr, EXTRA_ARMS))}")
    right, center = share_points(scale, seed, [0.0, 1.0])
    members, kept = right["members"], right["kept"]
    extra = {arm: population_point(scale, seed, [EXTRA_ARMS[arm]], members, kept=kept) for arm in scale.extra_arms}
    return {RIGHT: right, CENTER: center, **extra}


def condition_runs(points: Mapping[str, Mapping[str, Any]], results: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """Tidy curves: condition, replicate, step, the columns of `rule_curves`, and object_gap_items (their number)."""
    frames = []
    for (name, point), result in zip(points.items(), results, strict=True):
        frame = rule_curves(point, result).drop(columns=["mix", "order"]).rename(columns={"initial": "replicate"})
        frame.insert(0, "condition", name)
        first = point["mixes"][0]
        ood = ood_set(point["task"], first["lexicon"], first["longest"], point["ood_items"], point["seed"])
        frames.append(frame.assign(object_gap_items=int((ood.subject == SUBJECTS.index("object-gap")).sum())))
    return pd.concat(frames, ignore_index=True)


def ends(runs: pd.DataFrame, column: str, gated: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """Final values `[R]` of a column at centre-embedded and at right-branching, paired by replicate; with `gated`, of
    the replicates that learned the task in both conditions."""
    return final_pair(runs, column, "condition", CENTER, RIGHT, gated)


def trajectories_figure(study: Study, runs: pd.DataFrame) -> None:
    """Curves of every run: hierarchical answers on all clauses and on object gaps, and ID accuracy."""
    caption = (
        "Share of hierarchical answers on out-of-distribution questions, all clauses (left) and object gaps only "
        "(middle), and accuracy on fresh questions of the trained kinds (right, ID accuracy), over training. Thin "
        f"lines: single runs of {RIGHT} and {CENTER}; bold lines: means over runs. Dotted: the marks {LOW} and {HIGH}, "
        f"and the gate {LEARNED} of ID accuracy. {setting(runs, study)}"
    )
    alt = "Three panels of curves over training updates, thin for single runs and bold for the mean of a condition."
    study.figure(plotting.trajectories_figure(runs), "trajectories", caption, alt)


def finals_figure(study: Study, runs: pd.DataFrame) -> None:
    """Final share of hierarchical answers of every run by kind of clause."""
    caption = (
        "Share of hierarchical answers at the end by kind of relative clause; one dot per run, hollow where ID "
        f"accuracy stayed below {LEARNED}; thin lines, where there are any, join runs of {RIGHT} and {CENTER} with the "
        "same initial weights and order. Bars: mean with its 95 % interval over training runs. "
        f"{setting(runs, study)}"
    )
    alt = "Dots for single runs in three groups, all clauses, subject gaps and object gaps, one column per condition."
    study.figure(plotting.kinds_figure(last_rows(runs)), "finals", caption, alt)


_COLUMNS = {
    "hierarchical": "hierarchical", "linear": "linear", "subject_gap": "hierarchical_subject_gap",
    "object_gap": "hierarchical_object_gap", "id_accuracy": "id_accuracy",
}  # fmt: skip


def conditions_table(study: Study, runs: pd.DataFrame) -> None:
    """Final values of every condition."""
    last, rows = last_rows(runs), []
    for name in last["condition"].unique():
        numbers = [(label, per_replicate(last, column, condition=name)) for label, column in _COLUMNS.items()]
        learned = per_replicate(last, "learned", condition=name)
        row = summary_row({"condition": name}, numbers) | {"runs": len(learned)}
        rows.append(row | count_cells("learned_runs", learned))
    caption = (
        "At the end of training: share of hierarchical and of linear answers on out-of-distribution questions, of "
        "hierarchical answers on subject gaps and on object gaps, and ID accuracy; means and standard errors over "
        f"runs, and the number of runs with ID accuracy of at least {LEARNED}. {setting(runs, study)}"
    )
    study.table(pd.DataFrame(rows), "conditions", caption, "summary")


def rank_test(first: np.ndarray, second: np.ndarray) -> float:
    """Two-sided p value of the Mann-Whitney test of two groups (scipy); 1 where all values are the same."""
    return float(stats.mannwhitneyu(first, second, alternative="two-sided").pvalue)


def _difference_row(runs: pd.DataFrame, label: str, gated: bool) -> dict[str, object]:
    center, right = ends(runs, _COLUMNS[label], gated)
    p_value = rank_test(center, right) if len(center) else np.nan
    return difference_row(label, center, right, gated) | {"mann_whitney_p": p_value}


def differences_table(study: Study, runs: pd.DataFrame) -> None:
    """Centre-embedded minus right-branching for every measure, for all runs and behind the gate."""
    measures = [label for label in _COLUMNS if label != "linear"]
    frame = pd.DataFrame([_difference_row(runs, label, gated) for label in measures for gated in (False, True)])
    caption = (
        "Centre-embedded minus right-branching at the end of training, paired by replicate, with standard error, and "
        "the two-sided p value of the Mann-Whitney test of the two groups (unpaired, one test a row, not corrected for "
        f"their number). {setting(runs, study)}"
    )
    empty = "no replicate learned the task in both conditions." if frame["difference"].isna().any() else ""
    study.table(frame, "differences", caption, "same machine", empty)


def decisions(study: Study, runs: pd.DataFrame) -> None:
    """Decide every claim over training runs."""
    step, gap_step = resolution(study), 1.0 / float(runs["object_gap_items"].min())
    center, right = ends(runs, "hierarchical")
    study.decide("embedding-raises-hierarchical", paired(study, center, right, step))
    gaps = ends(runs, "hierarchical_object_gap")
    study.decide("embedding-raises-hierarchical-object-gap", paired(study, *gaps, gap_step))
    study.decide("right-branching-goes-linear", mean_of(study, right, step))
    study.decide("embedding-goes-hierarchical", mean_of(study, center, step))
    subject_gaps, _ = ends(runs, "hierarchical_subject_gap")
    study.decide("shallow-rule-explains", paired(study, subject_gaps, gaps[0], gap_step))
    assert study.scale_values is not None
    accuracy = ends(runs, "id_accuracy")
    study.decide("equally-learned", paired(study, *accuracy, 1.0 / study.scale_values.id_items))


REPORT: tuple[Callable[[Study, pd.DataFrame], None], ...] = (
    trajectories_figure, finals_figure, conditions_table, differences_table, decisions,
)  # fmt: skip


def kept_answers(point: Mapping[str, Any], result: Mapping[str, Any], sentence: str) -> pd.DataFrame:
    """What each kept run of a population would front to ask a declarative sentence.

    Args:
        point, result: arguments of `grammar_population` and what it returned.
        sentence: words of the lexicon, with or without the full stop.

    Returns:
        A row per kept run: replicate, the probability of each auxiliary as the question's first word, `answer` (the
        likeliest of the four) and `follows` (both, hierarchical, linear or neither).

    Raises:
        ValueError: the sentence has a word outside the lexicon, or no subject followed by an auxiliary.
    """
    lexicon = point["mixes"][0]["lexicon"]
    known, words = vocabulary_of("question", lexicon), sentence.removesuffix(".").split()
    fronted = {"hierarchical": hierarchical_rule(words)[0], "linear": linear_rule(words)[0]}
    auxiliaries = [form for pair in find_lexicon(lexicon).auxiliaries for form in pair]
    tokens = torch.tensor([known.encode(f"{' '.join(words)} . quest")[:-1]])  # [1, T], the end mark is still to come
    weights = kept_weights(result)
    config = TransformerConfig(vocabulary=known.size, **point["architecture"])
    logits = forward(config, weights, tokens, at=torch.tensor([tokens.shape[1] - 1]))[:, 0]  # [kept, V]
    shares = logits.softmax(-1)[:, [known.id(word) for word in auxiliaries]].numpy()  # [kept, 4]
    rows = []
    for member, row in zip(point["members"], shares, strict=False):
        answer = auxiliaries[int(row.argmax())]
        rules = [name for name, word in fronted.items() if word == answer]
        follows = {0: "neither", 1: "".join(rules), 2: "both"}[len(rules)]
        about = {"replicate": member[1], "answer": answer, "follows": follows}
        rows.append(about | dict(zip(auxiliaries, row.tolist(), strict=True)))
    return pd.DataFrame(rows)
