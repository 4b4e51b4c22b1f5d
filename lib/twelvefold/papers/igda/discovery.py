"""Result 1: how fast a graph is found when the tests go to what the expert is least sure of, and it is asked again."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import pandas as pd

from twelvefold.core import statistics
from twelvefold.core.claims import Claim, Estimate, above
from twelvefold.core.reporting import mean_and_error, rows_of
from twelvefold.core.study import Study
from twelvefold.papers.igda.plots import discovery as plots
from twelvefold.papers.igda.plots.policies import POLICIES

UNIT = "simulated replicate"
RESOLUTION = 1e-4  # of an area in runs.csv
GRAPHS = ("asia", "sachs", "child", "insurance", "alarm")  # that claims are about, from small to large
LARGER = GRAPHS[1:]  # with at least 11 variables
SHOWN = ("asia", "child", "alarm")  # whose curves are kept and drawn
NOT_DRAWN = "uncertainty+global"  # its curves cannot be told from those of local updates
PAPER = "Havrilla, Alvarez-Melis and Fusi 2025 (arXiv 2502.17189)"
_BEST = "on eight real-world graphs often better than all baselines (abstract); numbers could not be read"
_BOTH = (
    "selection and local prompting both matter (a third party's summary, sciencestack.ai); numbers could not be read"
)

# gains by what they isolate: (name, policy, policy it is compared with)
SELECTING = (
    ("IGDA - random, no update", "uncertainty+local", "random"),
    ("uncertain - random, no updates", "uncertainty", "random"),
    ("IGDA - random, local update", "uncertainty+local", "random+local"),
    ("most probable - uncertain, no updates", "top", "uncertainty"),
)
UPDATING = (
    ("IGDA - uncertain, no update", "uncertainty+local", "uncertainty"),
    ("random: local update - none", "random+local", "random"),
    ("uncertain: global update - local", "uncertainty+global", "uncertainty+local"),
)


def _beats_random(graph: str) -> Claim:
    says = (
        f"On {graph}, testing what the simulated expert is least sure of, with local updates, gives a higher F1 (mean "
        "over rounds 0 to R) than testing pairs at random without updates: paired difference."
    )
    return Claim(f"igda-beats-random-{graph}", says, "mechanism", f"{PAPER}, abstract; the expert is simulated",
                 above(0), UNIT, paper_says=_BEST)  # fmt: skip


def _update_helps(graph: str) -> Claim:
    says = (
        f"On {graph}, the local update raises the F1 (mean over rounds 0 to R) of testing what the simulated expert is "
        "least sure of: paired difference, with update minus without."
    )
    return Claim(f"update-helps-{graph}", says, "mechanism", f"{PAPER}, ablations; the expert is simulated",
                 above(0), UNIT, paper_says=_BOTH)  # fmt: skip


CLAIMS: tuple[Claim, ...] = (
    *(_beats_random(graph) for graph in GRAPHS), *(_update_helps(graph) for graph in LARGER),
)  # fmt: skip


def gain(study: Study, runs: pd.DataFrame, first: str, second: str, **where: object) -> Estimate:
    """Paired difference of the areas under F1 of two policies, at the level of the claims."""
    rows = rows_of(runs, what="replicate", **where)
    return statistics.difference(rows[first], rows[second], unit=UNIT, level=study.level, resolution=RESOLUTION)


def expert_in_words(skill: Mapping[str, float]) -> str:
    """What a caption must say about the expert."""
    return (f"Simulated expert, d' = {skill['separation']:g}, shared error variance {skill['shared_source']:g} by "
            f"cause and {skill['shared_target']:g} by effect.")  # fmt: skip


def block_note(study: Study) -> str:
    """What a unit of the estimates is, where it is more than one replicate."""
    assert study.scale_values is not None
    block = study.scale_values.block
    return "" if block == 1 else f"each of the n units is the mean of {block} replicates"


def setting(study: Study, runs: pd.DataFrame) -> str:
    """What a caption must say about expert and replicates."""
    scale, blocks = study.scale_values, rows_of(runs, what="replicate").groupby("graph")["replicate"].nunique()
    assert scale is not None  # a study has its scale before it has runs
    least, most = min(blocks) * scale.block, max(blocks) * scale.block
    counts = f"{least}" if least == most else f"{least} to {most}"
    return (f"{expert_in_words(scale.skill)} {counts} replicates a graph, the same evidence for all policies; "
            f"R = {scale.rounds} rounds.")  # fmt: skip


def curves_figure(study: Study, runs: pd.DataFrame) -> None:
    """F1 against the share of tested pairs."""
    rounds = rows_of(runs, what="round")
    sizes = rows_of(runs, what="end").drop_duplicates("graph").set_index("graph")["variables"].astype(int)
    titles = {str(graph): f"{graph}, n = {sizes[graph]}" for graph in dict.fromkeys(rounds["graph"])}
    caption = (
        "F1 against the share of pairs tested, over all pairs (top: tested ones count as known) and over pairs not yet "
        "tested (bottom; 1 where no edge is left and none is claimed). Lines: means; bands: 95 % intervals (1.96 "
        "standard errors) over simulated replicates. Global updates are not drawn: see the table. "
        f"{setting(study, runs)}"
    )
    alt = "Rising curves of F1 per network; those that test uncertain pairs rise steeply, random ones slowly."
    study.figure(plots.curves_figure(rounds[rounds["policy"] != NOT_DRAWN], titles), "curves", caption, alt)


def _gains(study: Study, runs: pd.DataFrame) -> pd.DataFrame:
    rows = []
    for graph in dict.fromkeys(runs["graph"]):
        for name, first, second in (*SELECTING, *UPDATING):
            made = gain(study, runs, first, second, graph=graph)
            rows.append({"graph": graph, "contrast": name, "policy": first, "gain": made.value, "low": made.low,
                         "high": made.high})  # fmt: skip
    return pd.DataFrame(rows)


def gains_figure(study: Study, runs: pd.DataFrame) -> None:
    """What selection and what the update contribute."""
    panels = {"which pairs are tested": [name for name, *_ in SELECTING],
              "whether the expert is asked again": [name for name, *_ in UPDATING]}  # fmt: skip
    caption = (
        "Paired differences of the mean F1 over rounds 0 to R between two policies. Left: another choice of tests. "
        f"Right: another update; mind the scale. Bars: {100 * study.level:.3g} % intervals over simulated replicates, "
        f"the level of the claims. {setting(study, runs)}"
    )
    alt = "Points with bars per network: large gains of selection at the left, smaller gains of updates at the right."
    study.figure(plots.gains_figure(_gains(study, runs), panels), "gains", caption, alt)


def gains_table(study: Study, runs: pd.DataFrame) -> None:
    """Mean paired differences."""
    rows = []
    for graph in dict.fromkeys(runs["graph"]):
        part, row = rows_of(runs, what="replicate", graph=graph), {"graph": graph}
        for name, first, second in (*SELECTING, *UPDATING):
            row[name], row[f"{name}_se"] = mean_and_error(part[first] - part[second])
        rows.append(row)
    caption = (
        "Paired differences of the mean F1 over rounds 0 to R: means and standard errors over simulated replicates. "
        f"{setting(study, runs)}"
    )
    study.table(pd.DataFrame(rows), "gains", caption, "summary")


def ends_table(study: Study, runs: pd.DataFrame) -> None:
    """Where every policy ends, and what it asks."""
    ends = rows_of(runs, what="end")
    ends = ends[ends["graph"].isin(SHOWN)].reset_index(drop=True)
    names = ("zero_shot", "f1", "f1_untested", "distance", "precision", "hits", "questions")
    table = ends[["graph", *(f"{name}{end}" for name in names for end in ("", "_se"))]].copy()
    table.insert(1, "policy", [POLICIES[key] for key in ends["policy"]])
    caption = (
        "F1 before the first test (zero_shot) and after the last round, there also: F1 over untested pairs, structural "
        "Hamming distance, precision of the predicted graph, share of the tests that met an edge (hits), and questions "
        f"asked per pair of variables (1: each pair once). Means and standard errors. {setting(study, runs)}"
    )
    study.table(table, "ends", caption, "summary")


def decisions(study: Study, runs: pd.DataFrame) -> None:
    """Decide every claim."""
    pairs = [*((f"igda-beats-random-{graph}", graph, "random") for graph in GRAPHS),
             *((f"update-helps-{graph}", graph, "uncertainty") for graph in LARGER)]  # fmt: skip
    for id, graph, other in pairs:
        study.decide(id, gain(study, runs, "uncertainty+local", other, graph=graph), note=block_note(study))


REPORT: tuple[Callable[[Study, pd.DataFrame], None], ...] = (
    curves_figure, gains_figure, gains_table, ends_table, decisions,
)  # fmt: skip
