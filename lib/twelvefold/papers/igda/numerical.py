"""Result 6: an expert who knows what variables mean against methods that learn from rows, by the number of rows."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import pandas as pd

from twelvefold.core import statistics
from twelvefold.core.claims import Claim, Estimate, Rule, above, below, outside
from twelvefold.core.reporting import band_of, rows_of, summary_row
from twelvefold.core.study import Study
from twelvefold.papers.igda.discovery import PAPER, RESOLUTION
from twelvefold.papers.igda.plots import numerical as plots

UNIT = "data draw"
GRAPH, OTHER = "asia", "sachs"
FEW, SOME, MANY, MOST = 100, 500, 2_000, 5_000  # rows of the claims
WEAK, USUAL, STRONG = 1.0, 1.5, 2.0  # d' of the claims
EXPERT, FOUND, CLASS, ENCO = "expert", "found", "class", "ENCO"  # methods of the rows
UNCERTAIN, RANDOM, IGDA = "uncertainty", "random", "uncertainty+local"
RELEARNT, GRADIENT = "uncertainty+global", "expert+global"
ONE_WAY = ", one way"  # ends the key of a policy, see `numerical_study`
ORDER_MARGIN = 0.1
_BETTER = (
    "language models often outperform all baselines, among them an adaptation of a state-of-the-art numerical method "
    "(abstract); which method, how many rows it saw, and numbers are not known"
)
_CHOICE = "the most uncertain edges are tested (abstract); not known whether this is tried with the numerical method"
_SILENT = "not known whether the paper looks at this"


class Arm(NamedTuple):
    """One way to discover a graph: the values of its rows in runs.csv.

    Attributes:
        method: "expert", "found", "class" or "ENCO". policy: key. size: number of rows; of the expert 0.
        skill: d' of the expert; 0 for others. columns: order in which hill climbing sees the variables.
        searched: "all" resamples, or "few" where each of them is searched many times.
    """

    method: str
    policy: str
    size: int = 0
    skill: float = 0.0
    columns: str = "random"
    searched: str = "all"


class Contrast(NamedTuple):
    """A claim on the mean F1 of one arm minus that of another on the same data draws."""

    id: str
    graph: str
    first: Arm
    second: Arm
    rule: Rule
    says: str
    paper_says: str


def _against(size: int, skill: float, rule: Rule, graph: str = GRAPH) -> Contrast:
    """Hill climbing on N rows against an expert who sees none."""
    word = {"above": "higher", "below": "lower"}[rule.rule]
    says = (
        f"On {graph}, bootstrap hill climbing on {size} rows, whose uncertain pairs are tested, has a {word} F1 (mean "
        f"over rounds 0 to R) than IGDA with a simulated expert of d' = {skill:g}, who sees no rows: difference."
    )
    tag = f"{size}-rows-{'beat' if word == 'higher' else 'lose-to'}-expert-{f'{skill:g}'.replace('.', '')}"
    tag = tag if graph == GRAPH else f"{graph}-{tag}"
    return Contrast(tag, graph, Arm(FOUND, UNCERTAIN, size), Arm(EXPERT, IGDA, skill=skill), rule, says, _BETTER)


def _few(policy: str, columns: str = "random") -> Arm:
    return Arm(FOUND, policy, SOME, columns=columns, searched="few")


CONTRASTS: tuple[Contrast, ...] = (
    _against(FEW, USUAL, below(0)), _against(SOME, WEAK, above(0)), _against(MOST, USUAL, above(0)),
    _against(MOST, STRONG, below(0)), _against(MOST, WEAK, above(0), OTHER),
    Contrast(
        "more-rows-help", GRAPH, Arm(FOUND, UNCERTAIN, MOST), Arm(FOUND, UNCERTAIN, SOME), above(0),
        f"On {GRAPH}, hill climbing on {MOST} rows has a higher mean F1 than on the first {SOME} of them.", _SILENT,
    ),
    Contrast(
        "uncertain-tests-help-hill-climbing", GRAPH, Arm(FOUND, UNCERTAIN, SOME), Arm(FOUND, RANDOM, SOME), above(0),
        f"On {GRAPH}, with the beliefs of hill climbing on {SOME} rows, testing uncertain pairs gives a higher mean F1 "
        "than testing pairs at random.", _CHOICE,
    ),
    Contrast(
        "learning-anew-helps", GRAPH, _few(RELEARNT), _few(UNCERTAIN), above(0),
        f"On {GRAPH}, with {SOME} rows, searching again with the tested edges required or forbidden gives a higher "
        "mean F1 than keeping the first beliefs.", _SILENT,
    ),
    Contrast(
        "order-of-columns-decides", GRAPH, _few(UNCERTAIN, "reversed"), _few(UNCERTAIN, "file"),
        outside(-ORDER_MARGIN, ORDER_MARGIN),
        f"On {GRAPH}, with {SOME} rows, hill climbing over columns in the reverse of their published order and in that "
        f"order, the same rows otherwise, differ in mean F1 by more than {ORDER_MARGIN:g}.", _SILENT,
    ),
    Contrast(
        "open-directions-help", GRAPH, Arm(CLASS, UNCERTAIN, MANY), Arm(FOUND, UNCERTAIN, MANY), above(0),
        f"On {GRAPH}, with {MANY} rows, beliefs that leave open the directions that independences leave open give a "
        "higher mean F1 than those with edges as the searches return them.", _SILENT,
    ),
    Contrast(
        "open-directions-cost", OTHER, Arm(CLASS, UNCERTAIN, MOST), Arm(FOUND, UNCERTAIN, MOST), below(0),
        f"On {OTHER}, with {MOST} rows, where independences leave nearly all directions open, the same gives a lower "
        "mean F1.", _SILENT,
    ),
    Contrast(
        "interventional-rows-beat-observed", GRAPH, Arm(ENCO, UNCERTAIN, SOME), Arm(FOUND, UNCERTAIN, SOME), above(0),
        f"On {GRAPH}, ENCO-lite on {SOME} rows, in a part of which one variable was set at random, has a higher mean "
        f"F1 than hill climbing on {SOME} observed rows; uncertain pairs are tested by both, without updates.", _SILENT,
    ),
    Contrast(
        "gradients-choose-better", GRAPH, Arm(ENCO, GRADIENT, SOME), Arm(ENCO, RELEARNT, SOME), above(0),
        f"On {GRAPH}, ENCO-lite on {SOME} rows, fitted on after each round: testing the pairs with the largest "
        "gradients gives a higher mean F1 than testing uncertain pairs.", _SILENT,
    ),
)  # fmt: skip


def _source(contrast: Contrast) -> str:
    expert = "; the expert is simulated" if EXPERT in (contrast.first.method, contrast.second.method) else ""
    compared = "abstract, comparison with a numerical method" if contrast.paper_says == _BETTER else "added here"
    return f"{PAPER}, {compared}{expert}"


CLAIMS: tuple[Claim, ...] = tuple(
    Claim(c.id, c.says, "mechanism", _source(c), c.rule, UNIT, paper_says=c.paper_says) for c in CONTRASTS
)


def areas_of(runs: pd.DataFrame, graph: str, arm: Arm) -> pd.Series:
    """Mean F1 over rounds 0, ..., R of an arm by data draw; empty where it was not run."""
    rows = runs[(runs["what"] == "draws") & (runs["graph"] == graph)]
    for name, value in arm._asdict().items():
        rows = rows[rows[name] == value]
    return rows.set_index("draw")["area"].sort_index().astype(float)


def difference(study: Study, runs: pd.DataFrame, graph: str, first: Arm, second: Arm) -> Estimate | None:
    """Mean difference of two arms over the data draws that both have, at the level of the claims; None below two."""
    a, b = areas_of(runs, graph, first), areas_of(runs, graph, second)
    both = a.index.intersection(b.index)
    if len(both) < 2:
        return None
    return statistics.difference(a[both], b[both], unit=UNIT, level=study.level, resolution=RESOLUTION)


def setting(study: Study) -> str:
    """What a caption must say about expert and rounds."""
    scale = study.scale_values
    assert scale is not None  # a study has its scale before it has runs
    return (f"Simulated expert: rho = {scale.skill['shared_source']:g}, sees no rows, mean of {scale.each} experts for "
            f"each data draw; R = {scale.rounds} rounds, {scale.tested_share:.0%} of the pairs tested.")  # fmt: skip


def _draws(runs: pd.DataFrame) -> str:
    counts = rows_of(_main(runs, "draws"), method=FOUND).groupby("graph")["draw"].nunique()
    learnt = ", ".join(f"{count} on {graph}" for graph, count in counts.items())
    return f"{learnt} (fewer may be for orders of columns and for ENCO-lite on more rows)"


def _main(runs: pd.DataFrame, what: str) -> pd.DataFrame:
    """Rows of a kind, without those of controls."""
    return rows_of(runs, what=what, columns="random", searched="all")


def rows_figure(study: Study, runs: pd.DataFrame) -> None:
    """Mean F1 against the number of rows, beside experts who see none."""
    rows = _main(runs, "draws")
    rows = rows[rows["policy"].isin([UNCERTAIN, IGDA])]
    kept = []
    for (graph, method, policy, size, skill), part in rows.groupby(["graph", "method", "policy", "size", "skill"]):
        if (method == EXPERT) == (policy == IGDA):
            mean, low, high = band_of(part["area"])
            kept.append({"graph": graph, "method": method, "size": size, "skill": skill, "area": mean, "low": low,
                         "high": high})  # fmt: skip
    caption = (
        "Mean F1 over rounds 0 to R against the number of rows, when uncertain pairs are tested and first beliefs are "
        "kept. Hill climbing on bootstrap resamples: edges as the searches return them, or directions left open where "
        "independences leave them open; ENCO-lite: in a part of the rows one variable was set at random. Horizontal "
        "lines: IGDA with simulated experts of skill d', who see no rows. Bars and bands: 95 % intervals over data "
        f"draws, {_draws(runs)}. {setting(study)}"
    )
    alt = "Curves that rise with the number of rows and cross the lines of experts of more and more skill."
    study.figure(plots.rows_figure(pd.DataFrame(kept)), "rows", caption, alt)


def crossing_table(study: Study, runs: pd.DataFrame) -> None:
    """From how many rows on hill climbing beats each expert."""
    rows, draws = [], _main(runs, "draws")
    learnt = draws[(draws["policy"] == UNCERTAIN) & draws["method"].isin([FOUND, CLASS])]
    for graph in dict.fromkeys(draws["graph"]):
        sizes = sorted(learnt[learnt["graph"] == graph]["size"].unique())
        skills = sorted(draws[(draws["graph"] == graph) & (draws["method"] == EXPERT)]["skill"].unique())
        for method, skill in ((method, skill) for method in (FOUND, CLASS) for skill in skills):
            row = {"graph": graph, "beliefs": plots.METHODS[method], "skill": skill}
            made = {size: difference(study, runs, graph, Arm(method, UNCERTAIN, size), Arm(EXPERT, IGDA, skill=skill))
                    for size in sizes}  # fmt: skip
            ahead = [size for size, of in made.items() if of is not None and of.low > 0]
            behind = [size for size, of in made.items() if of is not None and of.high < 0]
            row |= {"behind_up_to": max(behind, default=None), "ahead_from": min(ahead, default=None)}
            rows.append(row | {f"N_{size}": of.value for size, of in made.items() if of is not None})
    frame = pd.DataFrame(rows)
    for name in ("behind_up_to", "ahead_from"):
        frame[name] = frame[name].astype("Int64")
    caption = (
        "Mean F1 of hill climbing minus that of IGDA with a simulated expert of skill d', by the number N of rows. "
        f"behind_up_to: the largest N at which the {100 * study.level:.3g} % interval lies below 0; ahead_from: the "
        f"crossing point, the smallest N at which it lies above 0. Data draws: {_draws(runs)}. {setting(study)}"
    )
    study.table(frame, "crossing", caption, "same machine", empty="at no N, or an N that was not run.")


def rounds_figure(study: Study, runs: pd.DataFrame) -> None:
    """F1 in the course of testing, by expert and policy."""
    rounds, few = _main(runs, "rounds"), rows_of(runs, what="rounds", columns="random", searched="few")
    rounds = rounds[rounds["graph"] == GRAPH]
    panels = {
        f"by names, d' = {USUAL:g}": rounds[(rounds["method"] == EXPERT) & (rounds["skill"] == USUAL)],
        f"hill climbing, {SOME} rows": few[(few["graph"] == GRAPH) & (few["method"] == FOUND)],
        f"ENCO-lite, {SOME} rows": rounds[(rounds["method"] == ENCO) & (rounds["size"] == SOME)],
    }  # fmt: skip
    caption = (
        f"F1 against the share of pairs of {GRAPH} that were tested, by the expert and by how tests are chosen. Global "
        "update: hill climbing searches anew with the answers, ENCO-lite is fitted on; its own choice: the pairs with "
        "the largest gradients. Bands: 95 % intervals (1.96 standard errors) over simulated experts or data draws. "
        f"{setting(study)}"
    )
    alt = "Three panels of rising curves; those that test uncertain pairs lie above random ones in all of them."
    kept = {title: rows[~rows["policy"].str.endswith(ONE_WAY)] for title, rows in panels.items() if len(rows)}
    study.figure(plots.rounds_figure(kept), "rounds", caption, alt)


def directions_figure(study: Study, runs: pd.DataFrame) -> None:
    """Which way the edges point that are joined, and what the order of columns does."""
    start = rows_of(runs, what="start", graph=GRAPH)
    start = start[start["method"] != EXPERT]
    orders = {order: areas_of(runs, GRAPH, _few(UNCERTAIN, order)) for order in ("reversed", "random", "file")}
    caption = (
        f"Left: true edges of {GRAPH} whose variables a method joins (beliefs in both directions sum to more than "
        "1/2), by whether it believes more in the right direction, as much in both, or more in the wrong one; shares, "
        "means over data draws. Black: F1 of the joined pairs, directions aside. Right: mean F1 of hill climbing on "
        f"the same {SOME} rows, by the order in which it sees the columns; one point a data draw, bars are means. "
        f"Data draws: {_draws(runs)}. {setting(study)}"
    )
    alt = "Left: bars with large shares of wrong directions except for ENCO-lite. Right: three clouds far apart."
    study.figure(plots.directions_figure(start, orders), "directions", caption, alt)


def start_table(study: Study, runs: pd.DataFrame) -> None:
    """Skeleton and directions before any test."""
    start = rows_of(runs, what="start")
    start = start[(start["method"] != EXPERT) | (start["skill"] == USUAL)]
    names = ("zero_shot", "ranking", "skeleton", "right", "open", "wrong")
    frame = start[["graph", "size", "columns", *(f"{name}{end}" for name in names for end in ("", "_se"))]].copy()
    frame.insert(1, "beliefs", [plots.METHODS[method] for method in start["method"]])
    frame["columns"] = frame["columns"].where(start["searched"] == "all", frame["columns"] + ", few resamples")
    caption = (
        "Before any test: F1 (zero_shot), AUROC of the beliefs (ranking), F1 of the joined pairs, directions aside "
        "(skeleton), and of the true edges that are joined the shares with more belief in the right direction, as much "
        "in both, and more in the wrong one. Means and standard errors over data draws (the expert's, d' = "
        f"{USUAL:g}: over experts). Data draws: {_draws(runs)}."
    )
    study.table(frame.reset_index(drop=True), "start", caption, "summary")


def policies_table(study: Study, runs: pd.DataFrame) -> None:
    """Mean F1 of every arm."""
    rows = rows_of(runs, what="draws", columns="random")
    keys = ["graph", "method", "skill", "size", "searched", "policy"]
    table = []
    for key, part in rows.groupby(keys, sort=False):
        row = dict(zip(keys, key, strict=True))
        row["method"] = plots.METHODS[row["method"]]
        table.append(summary_row(row, [("area", part["area"])]))
    caption = (
        "Mean F1 over rounds 0 to R of every method and policy (one way: the expert also knows that an edge excludes "
        "its reverse, which learning anew and ENCO-lite use by themselves). Means and standard errors over data draws; "
        f"for the simulated expert over means of several. Data draws: {_draws(runs)}. {setting(study)}"
    )
    study.table(pd.DataFrame(table), "policies", caption, "summary")


def decisions(study: Study, runs: pd.DataFrame) -> None:
    """Decide every claim; one whose arms were not run is not tested."""
    for c in CONTRASTS:
        study.decide(c.id, difference(study, runs, c.graph, c.first, c.second))


REPORT: tuple[Callable[[Study, pd.DataFrame], None], ...] = (
    rows_figure, crossing_table, rounds_figure, policies_table, directions_figure, start_table, decisions,
)  # fmt: skip
