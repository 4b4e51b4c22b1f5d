"""Result 3: when asking the expert again after tests helps, what it changes, and when it does harm."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pandas as pd

from twelvefold.core import statistics
from twelvefold.core.claims import DETERMINISTIC, Claim, Estimate, above, below, equals
from twelvefold.core.frames import rounded
from twelvefold.core.reporting import rows_of
from twelvefold.core.study import Study
from twelvefold.papers.igda.discovery import PAPER, RESOLUTION, UNIT, block_note
from twelvefold.papers.igda.local_update_study import ARMS
from twelvefold.papers.igda.plots import local_update as plots

GRAPHS = ("sachs", "child")  # that claims are about
CONTROLLED = "child"  # whose wrong lessons claims are about
SHARED, LITTLE, MUCH = 0.25, 0.1, 0.4  # rho of the claims
UNCERTAIN, LOCAL, GLOBAL = "uncertainty", "uncertainty+local", "uncertainty+global"
RANDOM, RANDOM_LOCAL = "random", "random+local"
FOLLOWED = (UNCERTAIN, LOCAL, RANDOM, RANDOM_LOCAL)  # round by round
KEPT_SHARE = 0.9
Found = Sequence[tuple[Mapping[str, Any], Mapping[str, Any]]]  # points and their results
_WHERE = f"{PAPER}, abstract; the expert is simulated"
_ADDED = f"{PAPER}; control added here, the expert is simulated"
_UPDATES = "after feedback the model is asked again about neighbouring edges (abstract); size of the gain not known"
_BOTH = (
    "selection and local prompting both matter (a third party's summary, sciencestack.ai); numbers could not be read"
)
_SILENT = "not known whether the paper looks at this"


def _claims_on(graph: str) -> tuple[Claim, ...]:
    mean_f1 = "mean F1 over rounds 0 to R"
    return (
        Claim(
            f"no-gain-without-shared-errors-{graph}",
            f"On {graph}, when pairs share no errors, asking again changes nothing: replicates in which F1 differs in "
            "any round from that without updates.",
            "mechanism", _WHERE, equals(0), DETERMINISTIC, paper_says=_SILENT,
        ),
        Claim(
            f"gain-{graph}",
            f"On {graph} with rho = {SHARED:g}, the local update raises the {mean_f1} of testing uncertain pairs.",
            "mechanism", _WHERE, above(0), UNIT, paper_says=_BOTH,
        ),
        Claim(
            f"gain-grows-{graph}",
            f"On {graph} that gain is larger for rho = {MUCH:g} than for rho = {LITTLE:g}: gain minus gain.",
            "mechanism", _WHERE, above(0), UNIT, paper_says=_UPDATES,
        ),
        Claim(
            f"untested-{graph}",
            f"On {graph} with rho = {SHARED:g}, when uncertain pairs are tested, the local update raises F1 on the "
            "pairs that are untested in each round (mean over rounds 1 to R).",
            "mechanism", f"{_WHERE}; F1 on untested pairs is added here", above(0), UNIT, paper_says=_SILENT,
        ),
        Claim(
            f"untested-same-tests-{graph}",
            f"The same on {graph} when pairs are tested at random, so that with and without update the same pairs are "
            "untested.",
            "mechanism", _ADDED, above(0), UNIT, paper_says=_SILENT,
        ),
    )  # fmt: skip


CLAIMS: tuple[Claim, ...] = (
    *(claim for graph in GRAPHS for claim in _claims_on(graph)),
    Claim(
        "local-is-enough",
        f"On {CONTROLLED} with rho = {SHARED:g}, asking again about neighbours keeps more than {KEPT_SHARE:.0%} of "
        f"what asking about every untested pair gains: local gain minus {KEPT_SHARE:g} times global gain.",
        "mechanism", _ADDED, above(0), UNIT, paper_says="only neighbouring edges are asked about again (abstract)",
    ),
    Claim(
        "misplaced-lessons-harm",
        f"On {CONTROLLED} with rho = {SHARED:g}, an update that takes what tests told about a variable for news about "
        "another one lowers the mean F1 below that without updates.",
        "mechanism", _ADDED, below(0), UNIT, paper_says=_SILENT,
    ),
    Claim(
        "false-generalising-harms",
        f"On {CONTROLLED}, when pairs share no errors and the expert learns from tests as if rho were {SHARED:g}, the "
        "local update lowers the mean F1 below that without updates.",
        "mechanism", _ADDED, below(0), UNIT, paper_says=_SILENT,
    ),
)  # fmt: skip


def column_of(measure: str, arm: str, shared: float, believed: float | None = None) -> str:
    """Name of a column of numbers per replicate, e.g. "area random rho 0.25"."""
    return f"{measure} {arm} rho {shared:g}" + ("" if believed is None else f" believed {believed:g}")


def kept_columns() -> set[str]:
    """The columns of numbers per replicate that claims are decided from."""
    pairs = [(arm, rho) for rho in (LITTLE, SHARED, MUCH) for arm in (UNCERTAIN, LOCAL)]
    pairs += [(arm, SHARED) for arm in (GLOBAL, "misplaced")]
    untested = [column_of("untested", arm, SHARED) for arm in FOLLOWED]
    false = [column_of("area", arm, 0.0, SHARED) for arm in (UNCERTAIN, LOCAL)]
    return {*(column_of("area", *pair) for pair in pairs), *untested, *false}


def rows_of_study(found: Mapping[str, Found]) -> pd.DataFrame:
    """All rows of the study, four significant digits.

    Args:
        found: points and results of `update_runs`: "grid" (over graphs and rho), "belief" (over rho and the rho that
            the expert believes in), "pace" (over R).

    Returns:
        Columns: what, graph, and for what = "replicate" (one row per block of replicates, for graphs of the claims)
        replicate and `kept_columns`; for "grid", "belief" and "pace" (one row per point and arm) shared, believed,
        steps (R), replicates, arm, changed and the means of `update_runs`; for "round" (the grid's, on one graph)
        shared, arm, round, tested, f1, untested and gain with standard errors.
    """
    parts = [_replicates(graph, [*found["grid"], *found["belief"]]) for graph in GRAPHS]
    for what, pairs in found.items():
        for point, result in pairs:
            identity = {"graph": point["graph"], "shared": point["shared"], "believed": point.get("believed"),
                        "steps": point["rounds"], "replicates": point["replicates"]}  # fmt: skip
            means = pd.DataFrame(result["means"])
            parts.append(means.assign(what=what, changed=means["arm"].map(result["changed"]), **identity))
            if what == "grid" and point["graph"] == CONTROLLED:
                rounds = pd.DataFrame(result["rounds"])
                parts.append(rounds[rounds["arm"].isin(FOLLOWED)].assign(what="round", **identity))
    rows = pd.concat([part.dropna(axis=1, how="all") for part in parts], ignore_index=True)
    numbers = rows.select_dtypes("float").columns
    rows[numbers] = rounded(rows[numbers], 4)
    for name in ("replicate", "round", "steps", "replicates", "changed"):
        rows[name] = rows[name].astype("Int64")  # whole numbers beside empty cells
    first = ["what", "graph", "shared", "believed", "steps", "replicates", "arm"]
    return rows[[*first, *rows.columns.drop(first)]]


def _replicates(graph: str, pairs: Found) -> pd.DataFrame:
    kept, columns = kept_columns(), {}
    for point, result in pairs:
        for measure in ("area", "untested"):
            for arm, values in result[measure].items():
                name = column_of(measure, arm, point["shared"], point.get("believed"))
                if point["graph"] == graph and name in kept:
                    columns[name] = values
    frame = pd.DataFrame(columns)
    return frame.assign(what="replicate", graph=graph, replicate=range(len(frame)))


def setting(study: Study) -> str:
    """What a caption must say about the experiment."""
    scale = study.scale_values
    assert scale is not None  # a study has its scale before it has runs
    return (f"Simulated expert, d' = {scale.common['separation']:g}, rho for causes and for effects alike; "
            f"{scale.common['tested_share']:.0%} of the pairs tested in the end.")  # fmt: skip


def gains_figure(study: Study, runs: pd.DataFrame) -> None:
    """The gain of updates, and its two parts, against rho."""
    grid = rows_of(runs, what="grid")
    few = " ".join(f"{int(n)} replicates on {graph}." for graph, n in grid.groupby("graph")["replicates"].max().items())
    caption = (
        "Gain in mean F1 over rounds 0 to R by asking again, against the share rho of the error variance that pairs "
        "with the same cause, and with the same effect, have in common. Grey: the part of the local gain that comes "
        "from choosing other pairs to test; the rest comes from new labels on untested pairs. Global and local updates "
        f"lie on each other. Bars: two standard errors of the paired difference. {setting(study)} "
        f"R = {int(grid['steps'].iloc[0])}. {few}"
    )
    alt = "Curves that start at zero and rise with rho; the grey curve of the choice lies on that of the whole gain."
    study.figure(plots.gains_figure(grid[grid["graph"].isin(GRAPHS)]), "gains", caption, alt)


def rounds_figure(study: Study, runs: pd.DataFrame) -> None:
    """Gain, and F1 on untested pairs, in the course of testing."""
    rounds = rows_of(runs, what="round", graph=CONTROLLED)
    caption = (
        f"In the course of testing {CONTROLLED}. Left: gain in F1 by the local update, by rho, when uncertain pairs "
        f"are tested. Right: F1 on the pairs that are untested at the time, for rho = {SHARED:g}: testing uncertain "
        "pairs leaves the ones that look clear, among which an edge is hardly ever predicted, and the better the "
        "choice the fewer. (F1 counts as 1 where no edge is left and none is predicted, which lifts the end of the "
        f"curves.) Bands: two standard errors over {int(rounds['replicates'].iloc[0])} replicates. {setting(study)}"
    )
    alt = "Left: gains that rise and fall again, larger for larger rho. Right: four curves of F1 on untested pairs."
    study.figure(plots.rounds_figure(rounds, SHARED), "rounds", caption, alt)


def lessons_figure(study: Study, runs: pd.DataFrame) -> None:
    """Gain against the rho that the expert believes in."""
    names = ["graph", "shared", "believed", "arm", "gain", "gain_se"]
    right = rows_of(runs, what="grid", graph=CONTROLLED, arm=LOCAL)
    rows = pd.concat([rows_of(runs, what="belief", arm=LOCAL), right.assign(believed=right["shared"])])[names]
    caption = (
        "Gain in mean F1 by the local update when the expert believes that another share of its errors is common than "
        f"really is (lines: the true rho; {CONTROLLED}). Ringed: it believes the truth. Below zero the update does "
        f"harm. Bars: two standard errors of the paired difference. {setting(study)}"
    )
    alt = "Lines of gain over the believed rho: that of true rho 0 falls below zero, the others lie above."
    study.figure(plots.lessons_figure(rows), "lessons", caption, alt)


def parts_table(study: Study, runs: pd.DataFrame) -> None:
    """All arms at the rho of the claims: gains and where they come from."""
    names = ("gain", "chosen", "relabelled", "edges", "untested", "untested_gain", "untested_same")
    rows = []
    for graph in GRAPHS:
        for _, row in rows_of(runs, what="grid", graph=graph, shared=SHARED).iterrows():
            named = {f"{name}{end}": row[f"{name}{end}"] for name in names for end in ("", "_se")}
            rows.append({"graph": graph, "arm": plots.name_of(row["arm"]), **named})
    caption = (
        f"All ways of updating at rho = {SHARED:g}. gain: in mean F1 over the same selection without update; chosen: "
        "what other tests with the old labels gain; relabelled: the rest; edges: more edges tested; untested: F1 on "
        "untested pairs, mean over rounds 1 to R; untested_gain: more than without update, on other pairs where tests "
        "differ; untested_same: more than the old labels on the same untested pairs. Means and standard errors. "
        f"{setting(study)}"
    )
    study.table(pd.DataFrame(rows), "parts", caption, "summary")


def questions_table(study: Study, runs: pd.DataFrame) -> None:
    """What local and global updates ask and gain, by number of rounds."""
    parts = [rows_of(runs, what="pace")]
    grid = rows_of(runs, what="grid", graph=CONTROLLED, shared=SHARED)
    parts.append(grid[grid["arm"].isin(parts[0]["arm"])])
    rows = []
    for _, row in pd.concat(parts).sort_values("steps", kind="stable").iterrows():
        if ARMS[row["arm"]].policy != UNCERTAIN:
            named = {f"{name}{end}": row[f"{name}{end}"] for name in ("again", "gain", "last") for end in ("", "_se")}
            rows.append({"rounds": int(row["steps"]), "update": plots.name_of(row["arm"]), **named})
    caption = (
        f"What updates ask, on {CONTROLLED} at rho = {SHARED:g}, when the same number of tests is spread over more "
        "rounds. again: questions after the first ones, per pair of variables; gain: in mean F1 over rounds 0 to R, "
        f"against no update; last: F1 after the last round. Means and standard errors. {setting(study)}"
    )
    study.table(pd.DataFrame(rows), "questions", caption, "summary")


def _difference(study: Study, first: pd.Series, second: pd.Series) -> Estimate:
    return statistics.difference(first, second, unit=UNIT, level=study.level, resolution=RESOLUTION)


def _without_shared_errors(runs: pd.DataFrame, graph: str) -> Estimate:
    rows = rows_of(runs, what="grid", graph=graph, shared=0.0)
    updated = rows[rows["arm"] != rows["arm"].map(lambda arm: ARMS[arm].reference)]
    return statistics.exact(float(updated["changed"].sum()), int(updated["replicates"].sum()))


def decisions(study: Study, runs: pd.DataFrame) -> None:
    """Decide every claim."""
    note = block_note(study)
    for graph in GRAPHS:
        rows = rows_of(runs, what="replicate", graph=graph)
        gains = {rho: rows[column_of("area", LOCAL, rho)] - rows[column_of("area", UNCERTAIN, rho)]
                 for rho in (LITTLE, SHARED, MUCH)}  # fmt: skip
        untested = {arm: rows[column_of("untested", arm, SHARED)] for arm in FOLLOWED}
        study.decide(f"no-gain-without-shared-errors-{graph}", _without_shared_errors(runs, graph))
        for id, first, second in (
            ("gain", gains[SHARED], 0 * gains[SHARED]), ("gain-grows", gains[MUCH], gains[LITTLE]),
            ("untested", untested[LOCAL], untested[UNCERTAIN]),
            ("untested-same-tests", untested[RANDOM_LOCAL], untested[RANDOM]),
        ):  # fmt: skip
            study.decide(f"{id}-{graph}", _difference(study, first, second), note=note)
    rows = rows_of(runs, what="replicate", graph=CONTROLLED)
    none, local, every, misplaced = (rows[column_of("area", arm, SHARED)]
                                     for arm in (UNCERTAIN, LOCAL, GLOBAL, "misplaced"))  # fmt: skip
    study.decide("local-is-enough", _difference(study, local - none, KEPT_SHARE * (every - none)), note=note)
    study.decide("misplaced-lessons-harm", _difference(study, misplaced, none), note=note)
    false = [rows[column_of("area", arm, 0.0, SHARED)] for arm in (LOCAL, UNCERTAIN)]
    study.decide("false-generalising-harms", _difference(study, *false), note=note)


REPORT: tuple[Callable[[Study, pd.DataFrame], None], ...] = (
    gains_figure, rounds_figure, parts_table, questions_table, lessons_figure, decisions,
)  # fmt: skip
