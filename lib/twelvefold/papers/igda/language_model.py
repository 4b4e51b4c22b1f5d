"""Result 5: a small language model as the expert, under real, anonymised and fictional names.

What was fixed before any score of the reporting half was computed:

1. Halves. The six described networks, from small to large, alternate: cancer, sachs and insurance are for choosing;
   asia, child and alarm are reported.
2. Choice. On the choosing half, under real names alone, one of 18 ways is chosen: prompt ("chat", "few-shot", "pmi" in
   the wording of `prompts`) x scores (raw, centred) x assumed density (1, 1.5 or 2 edges per variable). Criterion: the
   gain of testing uncertain pairs over testing random ones, without updates, in mean F1 over rounds 0, ..., R with
   R = 8 and 30 % of the pairs tested (random: mean of 200 orders), averaged over the three networks with equal weight;
   the largest wins.
3. Report. The three networks of the other half under real, anonymised and fictional names (alarm not under the latter,
   for cost), with several wordings of the chosen prompt (`wordings`): the registered one first, the others written
   before any network was scored with them. All wordings count alike; none is dropped. Under other names every wording
   meets a renaming of its own. The unit of all intervals is a wording with its renaming: 8 on asia, 6 on child and
   alarm (computing time alone decided on these numbers, before any of the scores was looked at).
4. Rules: `CLAIMS`, as they stand below.

An earlier exploration, with other texts, had looked at asia, child and insurance; alarm has never been looked at.
"""

from __future__ import annotations

from collections.abc import Callable

import pandas as pd

from twelvefold.core import statistics
from twelvefold.core.claims import Claim, above
from twelvefold.core.reporting import mean_and_error, rows_of
from twelvefold.core.study import Study
from twelvefold.papers.igda.discovery import PAPER, RESOLUTION
from twelvefold.papers.igda.language_model_study import ENDS, QUALITIES
from twelvefold.papers.igda.plots import language_model as plots
from twelvefold.papers.igda.plots.language_model import CONDITIONS

UNIT = "test item"  # a wording with its renaming
GRAPHS = ("asia", "child", "alarm")  # of the reporting half, from small to large
LARGER, SMALLER = GRAPHS[1:], GRAPHS[:2]
REAL, ANONYMISED, FICTIONAL, WORDS, RANDOM, PERMUTED = (
    "real", "anonymised", "fictional", "words", "random", "permuted",
)  # fmt: skip
_UNITS = "mean F1 over rounds 0 to R; units are wordings, each with a renaming of its own."
_RECALL = "strong performance on a graph newer than the models, so not mere recall (abstract); numbers not readable"
_GAIN = "often better than all baselines with language models that are not readable to us (abstract)"
_SILENT = "not known whether the paper looks at this"
_SMALL = "SmolLM2-135M stands for the paper's models, at preset paper an endpoint's"


def _real_beat_anonymised(graph: str) -> Claim:
    says = (f"On {graph}, real names give a higher F1 than anonymised ones (V1, ..., Vn), uncertain pairs tested: "
            f"{_UNITS}")  # fmt: skip
    return Claim(f"real-beat-anonymised-{graph}", says, "mechanism", f"{PAPER}, abstract (memorization); {_SMALL}",
                 above(0), UNIT, paper_says=_RECALL)  # fmt: skip


def _uncertain_beats_random(graph: str) -> Claim:
    says = (f"On {graph}, testing what the language model is least sure of gives a higher F1 than testing pairs at "
            f"random, real names: {_UNITS}")  # fmt: skip
    return Claim(f"uncertain-beats-random-{graph}", says, "mechanism", f"{PAPER}, abstract; {_SMALL}", above(0), UNIT,
                 paper_says=_GAIN)  # fmt: skip


def _ranking_gains(graph: str) -> Claim:
    says = (f"On {graph}, the model's beliefs give a higher F1 than the same beliefs dealt out anew among all pairs, "
            f"real names, uncertain pairs tested: {_UNITS}")  # fmt: skip
    return Claim(f"ranking-gains-{graph}", says, "mechanism", f"{PAPER}; control added here, {_SMALL}", above(0), UNIT,
                 paper_says=_SILENT)  # fmt: skip


def _hints_gain(graph: str) -> Claim:
    says = (f"On {graph}, fictional names whose phrases name the causes give a higher F1 than anonymised ones, "
            f"uncertain pairs tested: {_UNITS}")  # fmt: skip
    return Claim(f"hints-gain-{graph}", says, "mechanism", f"{PAPER}; control added here, {_SMALL}", above(0), UNIT,
                 paper_says=_SILENT)  # fmt: skip


CLAIMS: tuple[Claim, ...] = (
    *(_real_beat_anonymised(graph) for graph in GRAPHS),
    *(_uncertain_beats_random(graph) for graph in GRAPHS),
    *(_ranking_gains(graph) for graph in LARGER),
    *(_hints_gain(graph) for graph in SMALLER),
    Claim(
        "more-than-shared-words-alarm",
        "On alarm, the model's beliefs give a higher F1 than beliefs made of the words that two phrases share, without "
        f"any model, real names, uncertain pairs tested: {_UNITS}",
        "mechanism", f"{PAPER}; control added here, {_SMALL}", above(0), UNIT, paper_says=_SILENT,
    ),
)  # fmt: skip


def _said(study: Study) -> str:
    """What a caption must say about expert and loop."""
    scale = study.scale_values
    assert scale is not None  # a study has its scale before it has runs
    way = f"prompt {scale.prompt!r}, {'centred' if scale.centred else 'raw'} scores" if scale.prompt else "K answers"
    return (f"Expert: {scale.expert} ({way}, nothing asked again), whose level is not that of the paper's models; R = "
            f"{scale.rounds} rounds, {scale.tested_share:.0%} of the pairs tested.")  # fmt: skip


def _of(study: Study, runs: pd.DataFrame, what: str) -> pd.DataFrame:
    """Rows of the expert that the claims are about."""
    assert study.scale_values is not None
    return rows_of(runs, what=what, expert=study.scale_values.expert)


def differences(study: Study, runs: pd.DataFrame, network: str, first: str, second: str) -> pd.Series:
    """Mean F1 under the first condition minus that under the second, of every wording that was put in both."""
    wide = _of(study, runs, "end").pivot_table(index=["network", "number"], columns="condition", values="area")
    return (wide.loc[network, first] - wide.loc[network, second]).dropna()


def choice_table(study: Study, runs: pd.DataFrame) -> None:
    """How every way to ask did on the choosing half."""
    rows = rows_of(runs, what="choice")
    keys = ["prompt", "scores", "edges_per_variable"]
    wide = rows.pivot_table(index=keys, columns="network", values=["gain", "auroc"])
    networks = list(dict.fromkeys(rows["network"]))
    frame = pd.DataFrame({f"{name}_{network}": wide[name, network] for name in ("auroc", "gain")
                          for network in networks})  # fmt: skip
    frame["mean_gain"] = frame[[f"gain_{network}" for network in networks]].mean(axis=1)
    frame = frame.sort_values("mean_gain", ascending=False).reset_index()
    caption = (
        "The choosing half, real names: AUROC of each network's pairs, and gain in mean F1 of testing uncertain pairs "
        f"over random ones ({int(rows['orders'].iloc[0])} orders), by prompt, scores and assumed density. The first "
        "row is what was chosen by the rule fixed beforehand: largest mean gain. Recorded scores of SmolLM2-135M."
    )
    study.table(frame, "choice", caption, 0.02)


def curves_figure(study: Study, runs: pd.DataFrame) -> None:
    """F1 against tests on the reporting half."""
    rows = _of(study, runs, "round")
    caption = (
        "F1 over all pairs against the share of pairs tested. Uncertain pairs are tested, except for the random tests. "
        "Real, anonymised and fictional names: the model is asked under these; permuted: the beliefs of the real names "
        "dealt out anew among the pairs; shared words: beliefs without a model. Bands: 95 % Student intervals over "
        f"{_units(_of(study, runs, 'end'))}. {_said(study)}"
    )
    alt = "Curves that rise with the tests, one panel per network; how far they lie apart differs between networks."
    study.figure(plots.curves_figure(rows, GRAPHS), "curves", caption, alt)


def _mean(values: pd.Series) -> tuple[float, float]:
    """Mean and standard error, without the rounding errors that equal values leave."""
    value, error = mean_and_error(values)
    return round(value, 9), round(error, 9)


def _units(rows: pd.DataFrame) -> str:
    sizes = sorted(set(rows.groupby(["network", "condition"])["number"].nunique()))
    without = [name for name in dict.fromkeys(rows["network"])
               if FICTIONAL not in set(rows[rows["network"] == name]["condition"])]  # fmt: skip
    missing = f" (no fictional names on {', '.join(without)})" if without else ""
    return f"{' or '.join(map(str, sizes))} wordings, each with a renaming of its own{missing}"


def _by_condition(rows: pd.DataFrame, names: tuple[str, ...]) -> pd.DataFrame:
    """Means of columns and their standard errors over wordings, by expert, network and source of beliefs."""
    made = []
    for (expert, network, condition), part in rows.groupby(["expert", "network", "condition"], sort=False):
        row: dict[str, object] = {"expert": expert, "network": network, "beliefs": CONDITIONS[condition]}
        for name in names:
            row[name], row[f"{name}_se"] = _mean(part[name])
        made.append(row)
    return pd.DataFrame(made)


def results_table(study: Study, runs: pd.DataFrame) -> None:
    """F1 by network and condition."""
    rows = rows_of(runs, what="end")
    caption = (
        "F1 by network and source of beliefs: mean over rounds 0 to R (area), before the first test, after the last, "
        f"and after the last over untested pairs. Means and standard errors over {_units(rows)}. {_said(study)}"
    )
    study.table(_by_condition(rows, ENDS), "results", caption, "summary")


def gains_table(study: Study, runs: pd.DataFrame) -> None:
    """All paired differences, claimed or not."""
    contrasts = [(REAL, other) for other in (ANONYMISED, FICTIONAL, RANDOM, PERMUTED, WORDS)]
    made = []
    for network in GRAPHS:
        for first, second in [*contrasts, (FICTIONAL, ANONYMISED)]:
            gaps = differences(study, runs, network, first, second)
            if len(gaps):
                gain, error = _mean(gaps)
                made.append({"network": network, "gain_of": CONDITIONS[first], "over": CONDITIONS[second],
                             "gain": gain, "gain_se": error, "wordings": len(gaps)})  # fmt: skip
    caption = (
        "Differences of mean F1 over rounds 0 to R, paired by wording: means and standard errors over wordings, each "
        f"with a renaming of its own. {_said(study)}"
    )
    study.table(pd.DataFrame(made), "gains", caption, "summary")


def quality_figure(study: Study, runs: pd.DataFrame) -> None:
    """AUROC of every wording."""
    rows = _of(study, runs, "end").dropna(subset=["auroc"])
    caption = (
        "AUROC with which beliefs tell edges from other ordered pairs, before any test: one dot for each of "
        f"{_units(rows)} (shared words have none); bars: means. The line is chance. {_said(study)}"
    )
    alt = "Dots around chance for anonymised names and elsewhere for the others, one panel per network."
    study.figure(plots.quality_figure(rows, GRAPHS), "auroc", caption, alt)


def quality_table(study: Study, runs: pd.DataFrame) -> None:
    """What the beliefs know: ordered pairs, unordered pairs, directions."""
    rows = rows_of(runs, what="end").dropna(subset=["auroc"])
    caption = (
        "Before any test: AUROC of ordered pairs; the same of the pairs whose phrases (the real ones) share no telling "
        "word (unlike); AUROC of unordered pairs (skeleton: the larger of both beliefs); share of edges whose belief "
        "is above that of their reverse (direction; 0.5 is chance everywhere). Means and standard errors over "
        f"{_units(rows)}. {_said(study)}"
    )
    study.table(_by_condition(rows, QUALITIES), "quality", caption, "summary")


def matrix_figure(study: Study, runs: pd.DataFrame) -> None:
    """Beliefs beside the true graph."""
    rows = rows_of(runs, what="pair")
    network = str(rows["network"].iloc[0])
    caption = (
        f"Beliefs of SmolLM2-135M in the pairs of {network}, first wording, on a logarithmic scale: row causes column. "
        "Circles mark the true edges. Left: real names. Right: anonymised names, rows and columns in the same order."
    )
    alt = "Two square pictures of beliefs with circles at the true edges."
    study.figure(plots.matrix_figure(rows), "matrix", caption, alt)


def update_table(study: Study, runs: pd.DataFrame) -> None:
    """What telling results in the prompt does."""
    rows, made = rows_of(runs, what="update"), []
    for policy, part in rows.groupby("policy", sort=False):
        curve = part.sort_values("round")
        made.append({"network": curve["network"].iloc[0], "policy": policy, "area": curve["f1"].mean(),
                     "first": curve["f1"].iloc[0], "last": curve["f1"].iloc[-1],
                     "last_untested": curve["f1_untested"].iloc[-1]})  # fmt: skip
    caption = (
        "One run without and one with local updates in which the results so far are told in the prompt (recorded; real "
        "names, first wording): F1 as in the results. One run on one small network shows that the way works, not what "
        "it is worth. Recorded scores of SmolLM2-135M."
    )
    study.table(pd.DataFrame(made), "update", caption, 0.02)


def answers_table(study: Study, runs: pd.DataFrame) -> None:
    """How many answers in words can be read."""
    rows = rows_of(runs, what="answer")
    read = rows[rows["said"] != "unreadable"]
    made = {"network": rows["network"].iloc[0], "answers": len(rows), "readable": len(read),
            "yes": int((read["said"] == "yes").sum()), "right": int((read["said"] == read["edge"]).sum())}  # fmt: skip
    caption = (
        "Recorded answers of SmolLM2-135M in words, two each to the edges of a network and to their reverses, asked "
        "for an answer and a confidence as JSON: how many can be read, say yes, and are right."
    )
    study.table(pd.DataFrame([made]), "answers", caption, 0)


def decisions(study: Study, runs: pd.DataFrame) -> None:
    """Decide every claim."""
    contrasts = {f"real-beat-anonymised-{g}": (g, REAL, ANONYMISED) for g in GRAPHS}
    contrasts |= {f"uncertain-beats-random-{g}": (g, REAL, RANDOM) for g in GRAPHS}
    contrasts |= {f"ranking-gains-{g}": (g, REAL, PERMUTED) for g in LARGER}
    contrasts |= {f"hints-gain-{g}": (g, FICTIONAL, ANONYMISED) for g in SMALLER}
    contrasts |= {"more-than-shared-words-alarm": ("alarm", REAL, WORDS)}
    for id, (network, first, second) in contrasts.items():
        gaps = differences(study, runs, network, first, second)
        made = None if len(gaps) < 2 else statistics.mean(gaps, unit=UNIT, level=study.level, resolution=RESOLUTION)
        study.decide(id, made)


REPORT: tuple[Callable[[Study, pd.DataFrame], None], ...] = (
    choice_table, curves_figure, results_table, gains_table, quality_figure, quality_table, matrix_figure, update_table,
    answers_table, decisions,
)  # fmt: skip
