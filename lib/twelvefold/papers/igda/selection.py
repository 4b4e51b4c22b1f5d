"""Result 2: which rule should choose the tests, and what happens when the expert says yes too often or too rarely."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd

from twelvefold.core.claims import Claim, above
from twelvefold.core.reporting import mean_and_error, rows_of
from twelvefold.core.study import Study
from twelvefold.papers.igda.discovery import PAPER, UNIT, block_note, gain, setting
from twelvefold.papers.igda.plots import selection as plots
from twelvefold.papers.igda.plots.policies import POLICIES

RULES = ("uncertainty", "top", "confident", "random")
GRAPHS = ("child", "sachs")  # that claims are about
BIASES = (-2, 0, 3)  # where uncertainty is compared with random
TOO_MANY = (2, 3)  # where the most probable first is expected to be better
CONTROL = 2  # bias at which networks of all densities are compared
SWAPPED = ("random-20-59", "random-11-7")  # the size of one network of `GRAPHS` with the density of the other
SHOWN, SHOWN_BIASES = "child", (-2, 0, 2)  # whose beliefs are kept and drawn
_UNCERTAIN = (
    "the most uncertain edges are tested, often better than all baselines (abstract); numbers could not be read"
)
_TOP = "nothing could be read about testing the most probable edge first"


def _claim(graph: str, first: str, second: str, bias: int, paper_says: str) -> Claim:
    words = {"uncertainty": "what the expert is least sure of", "top": "the most probable edge first",
             "random": "pairs at random"}  # fmt: skip
    expert = f"an expert biased by {bias:+d} logits" if bias else "an unbiased expert"
    says = (
        f"On {graph}, with {expert} (simulated), testing {words[first]} gives a higher F1 "
        f"(mean over rounds 0 to R, no updates) than testing {words[second]}: paired difference."
    )
    source = f"{PAPER}, selection by uncertainty; the bias is added here"
    return Claim(claim_id(graph, first, second, bias), says, "mechanism", source, above(0), UNIT, paper_says=paper_says)


def claim_id(graph: str, first: str, second: str, bias: int) -> str:
    """E.g. top-beats-uncertainty-child-bias2, and biasm2 for -2."""
    return f"{first}-beats-{second}-{graph}-bias{bias}".replace("bias-", "biasm")


# (graph, rule, rule it should beat, bias)
COMPARISONS = tuple(
    (graph, *comparison)
    for graph in GRAPHS
    for comparison in (
        *(("uncertainty", "random", bias) for bias in BIASES), ("uncertainty", "top", 0),
        *(("top", "uncertainty", bias) for bias in TOO_MANY),
    )
)  # fmt: skip
CLAIMS: tuple[Claim, ...] = tuple(
    _claim(graph, first, second, bias, _UNCERTAIN if second == "random" else _TOP)
    for graph, first, second, bias in COMPARISONS
)


def shown(graph: str, bias: float) -> bool:
    """Whether the beliefs of a point are drawn."""
    return graph == SHOWN and bias in SHOWN_BIASES


def bias_figure(study: Study, runs: pd.DataFrame) -> None:
    """Quality of every rule, and differences between rules, against the bias."""
    curves, gains = [], []
    for (graph, bias), part in _points(runs):
        for rule in RULES:
            value, error = mean_and_error(part[rule])
            curves.append({"graph": graph, "bias": bias, "policy": rule, "area": value, "area_se": error})
        for first, second in (("uncertainty", "random"), ("top", "uncertainty")):
            made = gain(study, runs, first, second, graph=graph, bias=bias)
            gains.append({"graph": graph, "bias": bias, "first": first, "second": second, "gain": made.value,
                          "low": made.low, "high": made.high})  # fmt: skip
    caption = (
        "Mean F1 over rounds 0 to R against the bias of the expert (logits added to every belief; above 0 it says yes "
        "too often). Top: means and 95 % intervals (1.96 standard errors) of four rules without updates. Bottom: "
        f"paired differences with {100 * study.level:.3g} % intervals, the level of the claims, over simulated "
        f"replicates. {setting(study, _main(runs))}"
    )
    alt = "Curves of F1 over bias; on the sparser graph the most probable first stays above uncertainty at the right."
    study.figure(plots.bias_figure(pd.DataFrame(curves), pd.DataFrame(gains), GRAPHS), "bias", caption, alt)


def _main(runs: pd.DataFrame) -> pd.DataFrame:
    """The rows of the graphs that claims are about, without those of controls."""
    return runs[runs["graph"].isin(GRAPHS)]


def _points(runs: pd.DataFrame) -> list[tuple[tuple[str, float], pd.DataFrame]]:
    rows = rows_of(_main(runs), what="replicate")
    return [((str(graph), float(bias)), part) for (graph, bias), part in rows.groupby(["graph", "bias"], sort=False)]


def beliefs_figure(study: Study, runs: pd.DataFrame) -> None:
    """Beliefs of all pairs, of edges, and of the pairs that rules test."""
    rows = rows_of(runs, what="belief")
    caption = (
        f"What each rule tests on {SHOWN}. Grey: first beliefs of all pairs, as log-odds; beyond the line at 0 a pair "
        "is predicted to be an edge. Black: true edges. Lines: pairs tested within R rounds. Numbers of pairs per "
        "replicate and half a logit. A bias moves all beliefs, and what is uncertain does not move. "
        f"{setting(study, _main(runs))}"
    )
    alt = "Humps of beliefs that move right with the bias; tests of the uncertainty rule stay at log-odds of zero."
    study.figure(plots.beliefs_figure(rows), "beliefs", caption, alt)


def hits_figure(study: Study, runs: pd.DataFrame) -> None:
    """How many tests meet an edge; and on which graphs the most probable first is better."""
    ends, control = rows_of(runs, what="end"), _control(runs)
    caption = (
        f"Left: share of the tests on {SHOWN} that met an edge, by rule and bias. Right: F1 of testing the most "
        f"probable first minus that of testing what is uncertain, with a bias of {CONTROL:+d} logits, by network with "
        "its density (random-20-59: a random acyclic graph of 20 variables with 59 edges). Triangles: mean over "
        "rounds, as in the claims; circles: after the last round. 95 % intervals (1.96 standard errors) over "
        f"simulated replicates, those of the circles without regard to pairs. {setting(study, runs)}"
    )
    alt = "Hits of the uncertainty rule fall with the bias; the most probable first is better on sparse networks."
    study.figure(plots.hits_figure(rows_of(ends, graph=SHOWN), control), "hits", caption, alt)


def _control(runs: pd.DataFrame) -> pd.DataFrame:
    """By graph: its density, and how much better the most probable first is at the bias `CONTROL`."""
    rows = []
    for graph in dict.fromkeys(runs["graph"]):
        part = rows_of(runs, what="replicate", graph=graph, bias=CONTROL)
        ends = rows_of(runs, what="end", graph=graph, bias=CONTROL).set_index("policy")
        n, (mean, mean_se) = float(ends["variables"].iloc[0]), mean_and_error(part["top"] - part["uncertainty"])
        rows.append({
            "graph": str(graph), "density": float(ends["edges"].iloc[0]) / (n * (n - 1)), "mean": mean,
            "mean_se": mean_se, "last": float(ends["f1"]["top"] - ends["f1"]["uncertainty"]),
            "last_se": float(np.hypot(ends["f1_se"]["top"], ends["f1_se"]["uncertainty"])),
        })  # fmt: skip
    return pd.DataFrame(rows)


def control_table(study: Study, runs: pd.DataFrame) -> None:
    """The numbers of the control."""
    caption = (
        f"Most probable first minus uncertain, with a bias of {CONTROL:+d} logits: F1 as its mean over rounds and "
        "after the last round, by density of the network. Means and standard errors over simulated replicates. "
        f"{setting(study, runs)}"
    )
    study.table(_control(runs).sort_values("density", ignore_index=True), "control", caption, "summary")


def rules_table(study: Study, runs: pd.DataFrame) -> None:
    """Every rule on the shown graph, at the shown biases."""
    ends, rows = rows_of(runs, what="end", graph=SHOWN), []
    ends = ends[ends["bias"].isin(SHOWN_BIASES)]
    names = ("zero_shot", "f1", "f1_untested", "distance", "precision", "hits", "overlap")
    for _, end in ends.iterrows():
        part = rows_of(runs, what="replicate", graph=SHOWN, bias=end["bias"])
        row = {"bias": float(end["bias"]), "rule": POLICIES[end["policy"]]}
        row["mean_f1"], row["mean_f1_se"] = mean_and_error(part[end["policy"]])
        rows.append(row | {f"{name}{tail}": end[f"{name}{tail}"] for name in names for tail in ("", "_se")})
    caption = (
        f"Rules on {SHOWN}: mean F1 over rounds 0 to R; F1 before the first test (zero_shot); after the last round F1 "
        "over all and over untested pairs, structural Hamming distance, precision of the predicted graph, share of "
        "the tests that met an edge (hits) and that the uncertain rule makes too (overlap). Means and standard "
        f"errors. {setting(study, _main(runs))}"
    )
    study.table(pd.DataFrame(rows), "rules", caption, "summary")


def gains_table(study: Study, runs: pd.DataFrame) -> None:
    """Paired differences between rules at every bias."""
    rows = []
    for (graph, bias), part in _points(runs):
        row: dict[str, object] = {"graph": graph, "bias": bias}
        for name, first, second in (("uncertain - random", "uncertainty", "random"),
                                    ("most probable - uncertain", "top", "uncertainty")):  # fmt: skip
            row[name], row[f"{name}_se"] = mean_and_error(np.asarray(part[first] - part[second]))
        rows.append(row)
    caption = (
        "Paired differences of the mean F1 over rounds 0 to R, no updates: means and standard errors over simulated "
        f"replicates. {setting(study, _main(runs))}"
    )
    study.table(pd.DataFrame(rows), "gains", caption, "summary")


def decisions(study: Study, runs: pd.DataFrame) -> None:
    """Decide every claim."""
    for graph, first, second, bias in COMPARISONS:
        made = gain(study, runs, first, second, graph=graph, bias=bias)
        study.decide(claim_id(graph, first, second, bias), made, note=block_note(study))


REPORT: tuple[Callable[[Study, pd.DataFrame], None], ...] = (
    bias_figure, gains_table, beliefs_figure, hits_figure, control_table, rules_table, decisions,
)  # fmt: skip
