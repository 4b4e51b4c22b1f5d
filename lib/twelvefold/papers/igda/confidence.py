"""Result 4: how many answers a useful confidence takes, what it decides, and whether it can be believed."""

from __future__ import annotations

from collections.abc import Callable

import pandas as pd

from twelvefold.core import statistics
from twelvefold.core.claims import DETERMINISTIC, Claim, above, below, equals, within
from twelvefold.core.reporting import rows_of
from twelvefold.core.study import Study
from twelvefold.papers.igda.confidence_rows import (
    EXACT,
    FEW,
    GRAPH,
    MANY,
    ONE,
    RANDOM,
    SURE,
    UNCERTAIN,
    UNSURE,
    column_of,
)
from twelvefold.papers.igda.confidence_study import RANKING, WHOLE
from twelvefold.papers.igda.discovery import PAPER, RESOLUTION, UNIT, block_note
from twelvefold.papers.igda.plots import confidence as plots
from twelvefold.papers.igda.plots.policies import POLICIES

LOCAL, RANDOM_LOCAL = "uncertainty+local", "random+local"
KEPT_SHARE, CHANCE_MARGIN, GAP_MARGIN = 0.85, 0.02, 0.005
_SOURCE = f"{PAPER}, abstract; the expert is simulated"
_ADDED = f"{PAPER}; control added here, the expert is simulated"
_SIXTEEN = "16 sampled outputs per edge, confidences averaged (third-party reviews, themoonlight.io); effect not known"
_CONFIDENT = "language models are used as estimators of confidence (OpenReview summary); calibration not known"
_SILENT = "not known whether the paper looks at this"

CLAIMS: tuple[Claim, ...] = (
    Claim(
        "four-votes-beat-one",
        f"On {GRAPH}, testing uncertain pairs gives a higher mean F1 with {FEW} votes a pair than with one.",
        "mechanism", _SOURCE, above(0), UNIT, paper_says=_SIXTEEN,
    ),
    Claim(
        "sixteen-votes-beat-four", f"The same with {MANY} votes against {FEW}.",
        "mechanism", _SOURCE, above(0), UNIT, paper_says=_SIXTEEN,
    ),
    Claim(
        "one-vote-is-chance",
        "With one vote a pair, testing uncertain pairs is as good as testing at random: difference of the mean F1, by "
        f"less than {CHANCE_MARGIN:g}, a tenth of what {FEW} votes gain.",
        "mechanism", _ADDED, within(-CHANCE_MARGIN, CHANCE_MARGIN), UNIT, paper_says=_SILENT,
    ),
    Claim(
        "sixteen-votes-are-enough",
        f"{MANY} votes keep more than {KEPT_SHARE:.0%} of what exact beliefs gain over random tests: gain with {MANY} "
        f"votes minus {KEPT_SHARE:g} times the gain with exact beliefs.",
        "mechanism", _SOURCE, above(0), UNIT, paper_says=_SIXTEEN,
    ),
    Claim(
        "ranking-alone-gains",
        f"When votes decide only which pairs are uncertain and labels come from exact beliefs, {FEW} votes still give "
        "a higher mean F1 than one.",
        "mechanism", _ADDED, above(0), UNIT, paper_says=_SILENT,
    ),
    Claim(
        "temperature-alone-changes-nothing",
        "Exact beliefs, made too sure or too unsure by a temperature: replicates in which a test, a label or F1 "
        "changes.",
        "mechanism", _ADDED, equals(0), DETERMINISTIC, paper_says=_SILENT,
    ),
    Claim(
        "too-sure-costs-votes",
        f"With {MANY} votes an expert that is too sure (temperature {SURE:g}) has a lower mean F1 than a calibrated "
        "one: paired difference.",
        "mechanism", _ADDED, below(0), UNIT, paper_says=_CONFIDENT,
    ),
    Claim(
        "too-unsure-costs-votes", f"The same for an expert that is too unsure (temperature {UNSURE:g}).",
        "mechanism", _ADDED, below(0), UNIT, paper_says=_CONFIDENT,
    ),
    Claim(
        "random-tests-keep-calibration",
        "After tests at random and local updates, mean belief minus share of edges among untested pairs, within "
        f"{GAP_MARGIN:g}, less than a tenth of the density of {GRAPH}.",
        "mechanism", _ADDED, within(-GAP_MARGIN, GAP_MARGIN), UNIT, paper_says=_CONFIDENT,
    ),
    Claim(
        "chosen-tests-bias",
        "After tests of uncertain pairs and local updates, beliefs in untested pairs are too low: mean belief minus "
        "share of edges.",
        "mechanism", _ADDED, below(0), UNIT, paper_says=_CONFIDENT,
    ),
)  # fmt: skip


def setting(study: Study) -> str:
    """What a caption must say about the experiment."""
    scale = study.scale_values
    assert scale is not None  # a study has its scale before it has runs
    skill = scale.skill
    return (f"Simulated expert, d' = {skill['separation']:g}, rho = {skill['shared_source']:g}, no bias unless said; "
            f"R = {scale.rounds} rounds, {scale.tested_share:.0%} of the pairs tested.")  # fmt: skip


def _votes(runs: pd.DataFrame, **where: object) -> pd.DataFrame:
    return rows_of(runs, what="votes", **where)


def _counts(rows: pd.DataFrame) -> str:
    sizes = sorted({int(n) for n in rows["replicates"]})
    return " or ".join(map(str, sizes)) + " replicates"


def votes_figure(study: Study, runs: pd.DataFrame) -> None:
    """Mean F1 against the number of votes: by policy, and by what votes decide."""
    rows = _votes(runs, graph=GRAPH, temperature=1.0)
    caption = (
        "Mean F1 over rounds 0 to R against the number K of votes that stand for a belief; at the right end the exact "
        "belief. Left: three policies, votes decide labels and uncertainty. Right: uncertain pairs tested without "
        "update, when votes decide both, only the order in which pairs are tested, or only the labels; the exact "
        f"belief decides the rest. Bars: two standard errors; {_counts(rows)} on {GRAPH}. {setting(study)}"
    )
    alt = "Curves that rise with the number of votes; testing uncertain pairs begins at the level of random tests."
    study.figure(plots.votes_figure(rows), "votes", caption, alt)


def votes_table(study: Study, runs: pd.DataFrame) -> None:
    """Areas by number of votes, gain over random tests, and its share of what exact beliefs gain."""
    rows = []
    for graph, part in _votes(runs, of=WHOLE, temperature=1.0).groupby("graph", sort=False):
        for votes in dict.fromkeys(part["votes"]):
            rows.append({"graph": graph, "votes": votes, **_policies(part[part["votes"] == votes])})
    caption = (
        "Mean F1 over rounds 0 to R by the number of votes: uncertain pairs tested, random pairs tested, and the "
        "paired gain; then F1 before the first and after the last test of uncertain pairs, all without updates. Means "
        f"and standard errors; {_counts(_votes(runs, policy=RANDOM))}. {setting(study)}"
    )
    study.table(pd.DataFrame(rows), "votes", caption, "summary")


def _policies(rows: pd.DataFrame) -> dict[str, float]:
    """Numbers of both policies with one manner of beliefs, with their standard errors."""
    chosen = rows.set_index("policy")
    wanted = {UNCERTAIN: (UNCERTAIN, "area"), RANDOM: (RANDOM, "area"), "gain": (UNCERTAIN, "gain"),
              "first_F1": (UNCERTAIN, "first"), "last_F1": (UNCERTAIN, "last")}  # fmt: skip
    return {f"{name}{end}": chosen.loc[policy, f"{of}{end}"] for name, (policy, of) in wanted.items()
            for end in ("", "_se")}  # fmt: skip


def stated_table(study: Study, runs: pd.DataFrame) -> None:
    """Areas and gains when answers count as certain, and when each states a confidence."""
    asked = {f"{ONE} vote": ("votes", ONE), f"{MANY} votes": ("votes", MANY), f"{ONE} stated": ("stated", ONE),
             f"{MANY} stated": ("stated", MANY), EXACT: ("votes", EXACT)}  # fmt: skip
    same = {"graph": GRAPH, "of": WHOLE, "temperature": 1.0}
    rows = [{"belief": belief, **_policies(rows_of(runs, what=what, votes=str(votes), **same))}
            for belief, (what, votes) in asked.items()]  # fmt: skip
    scale = study.scale_values
    assert scale is not None  # a study has its scale before it has runs
    caption = (
        "Added after the claims were decided; decides nothing. Mean F1 over rounds 0 to R of uncertain pairs tested "
        "and of random pairs tested, the paired gain, and F1 before the first and after the last test of uncertain "
        "pairs, all without updates. Votes: each answer counts as certain. Stated: the same answers, each with "
        f"the expert's belief in it, at least {scale.manner['floor']:g} and rounded to {scale.manner['step']:g}. "
        f"Means and standard errors; {_counts(rows_of(runs, what='stated'))} on {GRAPH}. {setting(study)}"
    )
    study.table(pd.DataFrame(rows), "stated", caption, "summary")


def temperature_figure(study: Study, runs: pd.DataFrame) -> None:
    """Mean F1 against the temperature, for few, many and infinitely many votes."""
    rows = _votes(runs, graph=GRAPH, policy=UNCERTAIN, of=WHOLE)
    tried = rows[rows["temperature"] != 1]["votes"].unique()
    caption = (
        "Mean F1 of testing uncertain pairs, without update, against the temperature by which the log-odds of beliefs "
        "are divided: below 1 the expert is too sure, above 1 too unsure. The exact belief gives the same tests and "
        "labels at every temperature (line); votes drawn from it do not. Bars: two standard errors; "
        f"{_counts(rows[rows['votes'].isin(tried)])} on {GRAPH}. {setting(study)}"
    )
    alt = "A level line for exact beliefs, and below it curves for 4 and 16 votes that are highest in the middle."
    study.figure(plots.temperature_figure(rows[rows["votes"].isin([*tried, EXACT])]), "temperature", caption, alt)


def reliability_figure(study: Study, runs: pd.DataFrame) -> None:
    """Stated beliefs against shares of true edges, before and after testing."""
    bins = rows_of(runs, what="bin", graph=GRAPH)
    caption = (
        "Share of true edges among pairs with about the same stated belief; on the grey diagonal beliefs can be taken "
        "at their word. Left: before any test, all pairs, ten equally wide bins (for votes: of shares of votes). "
        "Right: exact beliefs after the last round, untested pairs, logarithmic axes, bins of at least 20 pairs that "
        "hold an edge. Below the diagonal beliefs are too high, above it too low. Bars: two binomial standard errors, "
        f"a little too small because pairs share errors; {_counts(bins)} on {GRAPH}. {setting(study)}"
    )
    alt = "Left: curves through and beside the diagonal. Right: one curve lies above the diagonal by a constant factor."
    study.figure(plots.reliability_figure(bins), "reliability", caption, alt)


def calibration_table(study: Study, runs: pd.DataFrame) -> None:
    """Expected calibration error, mean belief and share of edges in every setting."""
    fits = rows_of(runs, what="fit", graph=GRAPH)
    moments = [("before any test" if moment == "before" else f"after: {POLICIES[moment]}") for moment in fits["moment"]]
    frame = pd.DataFrame({
        "pairs": moments, "votes": fits["votes"], "temperature": fits["temperature"], "bias": fits["bias"],
        "expected_error": fits["expected_error"], "mean_belief": fits["belief"], "share_of_edges": fits["share"],
    })  # fmt: skip
    caption = (
        "How well stated beliefs fit: expected calibration error (mean distance of belief and share of edges, over "
        "bins of pairs), mean belief, and share of edges, pooled over replicates. Before any test over all pairs, "
        f"after the last round over untested ones. {_counts(fits)} on {GRAPH}. {setting(study)}"
    )
    study.table(frame, "calibration", caption, 0.01)


def decisions(study: Study, runs: pd.DataFrame) -> None:
    """Decide every claim."""
    rows, note = rows_of(runs, what="replicate", graph=GRAPH), block_note(study)
    area = {(policy, votes): rows[column_of(policy, votes)] for policy in (UNCERTAIN, RANDOM)
            for votes in (ONE, FEW, MANY, None)}  # fmt: skip
    gain = {votes: area[UNCERTAIN, votes] - area[RANDOM, votes] for votes in (ONE, MANY, None)}
    ranked = {votes: rows[column_of(UNCERTAIN, votes, RANKING)] for votes in (ONE, FEW)}
    wrong = {t: rows[column_of(UNCERTAIN, MANY, temperature=t)] - area[UNCERTAIN, MANY] for t in (SURE, UNSURE)}
    values = {
        "four-votes-beat-one": area[UNCERTAIN, FEW] - area[UNCERTAIN, ONE],
        "sixteen-votes-beat-four": area[UNCERTAIN, MANY] - area[UNCERTAIN, FEW],
        "one-vote-is-chance": gain[ONE], "sixteen-votes-are-enough": gain[MANY] - KEPT_SHARE * gain[None],
        "ranking-alone-gains": ranked[FEW] - ranked[ONE],
        "too-sure-costs-votes": wrong[SURE], "too-unsure-costs-votes": wrong[UNSURE],
        "random-tests-keep-calibration": rows[f"gap {RANDOM_LOCAL}"], "chosen-tests-bias": rows[f"gap {LOCAL}"],
    }  # fmt: skip
    for id, numbers in values.items():
        made = statistics.mean(numbers.dropna(), unit=UNIT, level=study.level, resolution=RESOLUTION)
        study.decide(id, made, note=note)
    changed = rows_of(runs, what="temperature")
    made = statistics.exact(float(changed["changed"].sum()), int(changed["replicates"].sum()))
    study.decide("temperature-alone-changes-nothing", made)


REPORT: tuple[Callable[[Study, pd.DataFrame], None], ...] = (
    votes_figure, votes_table, stated_table, temperature_figure, reliability_figure, calibration_table, decisions,
)  # fmt: skip
