"""Result 6: tense inflection under subjects with prepositions or with relative clauses."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import torch

from twelvefold.core.claims import TRAINING_RUN, Claim, above
from twelvefold.core.reporting import count_cells, mean_of, paired, rows_of, summary_row
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
from twelvefold.papers.hier_gen.rules import plotting
from twelvefold.tasks.grammar_populations import ood_set, vocabulary_of
from twelvefold.tasks.grammar_shares import population_point
from twelvefold.tasks.items import SUBJECTS
from twelvefold.tasks.kept_weights import kept_weights
from twelvefold.tasks.rule_following import HIGH, LEARNED, LOW, rule_curves
from twelvefold.tasks.sentence_templates import find_lexicon, letters_of, parse_template
from twelvefold.tasks.tense_inflection import hierarchical_rule, linear_rule

PAST, PLAIN = 0.1, 0.1  # shares of all items, and of the items that change tense
_MIXES = f"{PAPER}, mixes of PP and RC subjects in tense inflection (sets of the authors' code)"
_ANALOGY = (
    "not stated for these mixes where we could read it; by analogy with question formation, whose centre-embedded "
    "sentences lead to the hierarchical rule (abstract of version 4)"
)

CLAIMS: tuple[Claim, ...] = (
    Claim(
        "learned-pp-heavy",
        f"With mostly PP subjects, the networks learn the task: mean in-distribution accuracy above {LEARNED}.",
        "mechanism", f"{_MIXES}; mark of our gate", above(LEARNED), TRAINING_RUN, paper_says="not stated",
    ),
    Claim(
        "learned-rc-heavy",
        f"With mostly RC subjects, the networks learn the task: mean in-distribution accuracy above {LEARNED}.",
        "mechanism", f"{_MIXES}; mark of our gate", above(LEARNED), TRAINING_RUN, paper_says="not stated",
    ),
    Claim(
        "rc-raises-hierarchical",
        "Runs trained on mostly RC subjects let the main verb agree with the head of the subject more often, on "
        "out-of-distribution items, than runs trained on mostly PP subjects.",
        "direction", f"{_MIXES}; comparison added here", above(0.0), TRAINING_RUN, paper_says=_ANALOGY,
    ),
    Claim(
        "rc-raises-hierarchical-object-gap",
        "The same holds on object-gap clauses alone, where the verb before the main verb has the linear rule's form.",
        "direction", f"{_MIXES}; comparison and restriction added here", above(0.0), TRAINING_RUN,
        paper_says="not stated",
    ),
)  # fmt: skip


def tense_points(scale: SimpleNamespace, seed: int) -> list[dict[str, Any]]:
    """One point per share in `scale.pp_shares` of PP subjects among the items that change tense, most PP first.

    RC subjects have the rest, but for PLAIN; member r has the same initial weights, dropout and order in all of them.

    Raises:
        ValueError: a share outside 0 to 1 - PLAIN, or fewer than two shares.
    """
    shares = sorted(set(scale.pp_shares), reverse=True)
    if len(shares) < 2 or not all(0 <= share <= 1 - PLAIN for share in shares):
        raise ValueError(f"pp_shares = {scale.pp_shares!r}; needed are at least two from 0 to {1 - PLAIN:g}")
    members = [[0, r, r] for r in range(scale.runs)]
    mixes = [{"past": PAST, "plain": PLAIN, "pp": pp, "rc": round(1 - PLAIN - pp, 6)} for pp in shares]
    kept = min(8, scale.runs)
    return [population_point(scale, seed, [mix], members, task="tense", kept=kept) for mix in mixes]


def tense_runs(points: Sequence[Mapping[str, Any]], results: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """Tidy curves: pp, rc, replicate, step, the columns of `rule_curves`, and object_gap_items (their number)."""
    frames = []
    for point, result in zip(points, results, strict=True):
        frame, mix = rule_curves(point, result), point["mixes"][0]
        frame = frame.drop(columns=["mix", "order"]).rename(columns={"initial": "replicate"})
        frame.insert(0, "pp", mix["pp"])
        frame.insert(1, "rc", mix["rc"])
        ood = ood_set("tense", mix["lexicon"], mix["longest"], point["ood_items"], point["seed"])
        frames.append(frame.assign(object_gap_items=int((ood.subject == SUBJECTS.index("object-gap")).sum())))
    return pd.concat(frames, ignore_index=True)


def ends(runs: pd.DataFrame, column: str, gated: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """Final values `[R]` of a column at the most RC-heavy and at the most PP-heavy mix, paired by replicate; with
    `gated`, of the replicates that learned the task in both."""
    return final_pair(runs, column, "pp", runs["pp"].min(), runs["pp"].max(), gated)


def _setting(runs: pd.DataFrame, study: Study) -> str:
    return setting(runs, study, "Tense inflection")


def trajectories_figure(study: Study, runs: pd.DataFrame) -> None:
    """Curves of hierarchical answers per kind of subject, and of in-distribution accuracy."""
    caption = (
        "Share of hierarchical answers on out-of-distribution items by kind of subject (PP: preposition; subject gap "
        "and object gap: relative clauses), and accuracy on fresh items of the trained kinds, over training. Colour: "
        "share of RC subjects among the items that change tense. Thin: single runs of the two extreme mixes; bold: "
        f"means over runs; dotted: the marks {LOW} and {HIGH}, and the gate {LEARNED} of ID accuracy. "
        f"{_setting(runs, study)}"
    )
    alt = "Four panels of curves over training updates, thin for single runs and bold for the mean of each mix."
    study.figure(plotting.tense_trajectories_figure(runs), "trajectories", caption, alt)


def finals_figure(study: Study, runs: pd.DataFrame) -> None:
    """Final share of hierarchical answers of every run, per kind of subject and mix."""
    caption = (
        "Share of hierarchical answers at the end of training against the share of RC subjects among the items that "
        "change tense, on all out-of-distribution items and by kind of subject. One dot per run, hollow where ID "
        f"accuracy stayed below {LEARNED}; bars: mean with its 95 % interval over training "
        f"runs. {_setting(runs, study)}"
    )
    alt = "Four panels, all items and three kinds of subject; in each a column of dots and a mean for every mix."
    study.figure(plotting.tense_finals_figure(last_rows(runs)), "finals", caption, alt)


_COLUMNS = {
    "hierarchical": "hierarchical", "pp_mismatch": "hierarchical_pp", "subject_gap": "hierarchical_subject_gap",
    "object_gap": "hierarchical_object_gap", "id_accuracy": "id_accuracy",
}  # fmt: skip


def mixes_table(study: Study, runs: pd.DataFrame) -> None:
    """Final values of every mix."""
    last, rows = last_rows(runs), []
    for pp in sorted(last["pp"].unique(), reverse=True):
        part = rows_of(last, pp=pp)
        numbers = [(label, per_replicate(part, column)) for label, column in _COLUMNS.items()]
        row = summary_row({"pp_share": pp, "rc_share": float(part["rc"].iloc[0])}, numbers)
        rows.append(row | {"runs": len(part)} | count_cells("learned_runs", part["learned"]))
    caption = (
        "At the end of training, by the shares of PP and RC subjects: share of hierarchical answers on all "
        "out-of-distribution items and on each kind (the rest are linear), and ID accuracy; means and standard errors "
        f"over runs, and the number of runs with ID accuracy of at least {LEARNED}. {_setting(runs, study)}"
    )
    study.table(pd.DataFrame(rows), "mixes", caption, "summary")


def differences_table(study: Study, runs: pd.DataFrame) -> None:
    """RC-heavy minus PP-heavy for every measure, for all runs and behind the gate."""
    rows = [difference_row(label, *ends(runs, column, gated), gated) for label, column in _COLUMNS.items()
            for gated in (False, True)]  # fmt: skip
    frame = pd.DataFrame(rows)
    caption = (
        "The mix with most RC subjects minus the mix with most PP subjects at the end of training, paired by "
        "replicate, with standard error; for all runs and for those that learned the task in both. "
        f"{_setting(runs, study)}"
    )
    empty = "no replicate learned the task in both mixes." if frame["difference"].isna().any() else ""
    study.table(frame, "differences", caption, "same machine", empty)


def decisions(study: Study, runs: pd.DataFrame) -> None:
    """Decide every claim over training runs."""
    assert study.scale_values is not None
    for name, values in zip(("rc", "pp"), ends(runs, "id_accuracy"), strict=True):
        study.decide(f"learned-{name}-heavy", mean_of(study, values, 1.0 / study.scale_values.id_items))
    step, gap_step = resolution(study), 1.0 / float(runs["object_gap_items"].min())
    study.decide("rc-raises-hierarchical", paired(study, *ends(runs, "hierarchical"), step))
    gaps = ends(runs, "hierarchical_object_gap")
    study.decide("rc-raises-hierarchical-object-gap", paired(study, *gaps, gap_step))


REPORT: tuple[Callable[[Study, pd.DataFrame], None], ...] = (
    trajectories_figure, finals_figure, mixes_table, differences_table, decisions,
)  # fmt: skip


def kept_forms(point: Mapping[str, Any], result: Mapping[str, Any], sentence: str) -> pd.DataFrame:
    """Which form of the main verb each kept run of a population prefers when a sentence is put into the present.

    The verbs before the main verb are given in their right form.

    Args:
        point, result: arguments of `grammar_population` and what it returned.
        sentence: words of the lexicon in the past, without the full stop.

    Returns:
        A row per kept run: replicate, `share` (probability of the form that agrees with the head of the subject, of
        the two forms together), `verb` (the form preferred) and `follows` (both, hierarchical, linear or neither).

    Raises:
        ValueError: a word outside the lexicon or not in the past, or no subject followed by a verb.
    """
    known, words = vocabulary_of("tense", point["mixes"][0]["lexicon"]), sentence.split()
    output, main = hierarchical_rule(words), parse_template(letters_of(words, verb_form=2)).main
    verbs = find_lexicon("full").intransitive + find_lexicon("full").transitive
    singular, plural = next((singular, plural) for singular, plural, past in verbs if past == words[main])
    forms = [output[main], plural if output[main] == singular else singular]  # the head's number, the other one
    given = known.encode(" ".join([*words, ".", "PRESENT", *output[:main]]))[:-1]  # the end mark is still to come
    weights = kept_weights(result)
    config = TransformerConfig(vocabulary=known.size, **point["architecture"])
    logits = forward(config, weights, torch.tensor([given]), at=torch.tensor([len(given) - 1]))[:, 0]  # [kept, V]
    shares = logits[:, [known.id(form) for form in forms]].softmax(-1).tolist()  # [kept, 2]
    rules = {"hierarchical": output[main], "linear": linear_rule(words)[main]}
    rows = []
    for member, (share, _) in zip(point["members"], shares, strict=False):
        verb = forms[0 if share >= 0.5 else 1]
        followed = [rule for rule, form in rules.items() if form == verb]
        follows = {0: "neither", 1: "".join(followed), 2: "both"}[len(followed)]
        rows.append({"replicate": member[1], "share": share, "verb": verb, "follows": follows})
    return pd.DataFrame(rows)
