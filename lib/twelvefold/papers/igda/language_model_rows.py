"""Rows of runs.csv for the notebook with a language model: what sweeps found, and what recordings say as they are."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
import torch

from twelvefold.core.frames import rounded
from twelvefold.core.reporting import band_of
from twelvefold.papers.igda.chat_model import ChatEdgeModel
from twelvefold.papers.igda.language_model_study import believed, walked
from twelvefold.papers.igda.logit_model import beliefs_of_scores
from twelvefold.papers.igda.prompt_update import density_of
from twelvefold.papers.igda.score_recording import ANSWERED, UPDATED, asked_pairs, recorded_scores
from twelvefold.papers.igda.wordings import PROMPT
from twelvefold.tasks.causal_graphs import load_graph

Found = Sequence[tuple[Mapping[str, Any], Mapping[str, Any]]]  # points and their results
FIRST = ["what", "expert", "network", "condition", "number", "round"]


def rows_of_study(units: Found, choices: Found, recorded: pd.DataFrame) -> pd.DataFrame:
    """All rows of the study, four significant digits.

    Args:
        units: points, each with its expert and network, and results of `compared`. choices: points and results of
            `choice_runs`. recorded: of `recorded_rows`.

    Returns:
        Columns: what, expert, network, condition, number (of the wording), round, and: for "end" those of
        `compared`'s ends; for "round" tested, units (wordings), and the mean f1 over them with the ends f1_low, f1_high
        of its 95 % interval; for "choice" prompt, scores, edges_per_variable, orders, gain and qualities; and those of
        `recorded_rows`.
    """
    parts = [recorded, _table(units, "ends").assign(what="end"), _curves(_table(units, "rounds"))]
    for point, result in choices:
        row = {"what": "choice", "network": point["network"], "prompt": point["prompt"],
               "scores": "centred" if point["centred"] else "raw", "orders": point["orders"],
               "edges_per_variable": point["edges_per_variable"], **result}  # fmt: skip
        parts.append(pd.DataFrame([row]))
    rows = pd.concat([part.dropna(axis=1, how="all") for part in parts], ignore_index=True)
    decimals = rows.select_dtypes("float").columns
    rows[decimals] = rounded(rows[decimals], 4)
    for name in ("number", "round", "orders", "units"):
        rows[name] = rows[name].astype("Int64")  # whole numbers beside empty cells
    return rows[[*FIRST, *rows.columns.drop(FIRST)]]


def _table(units: Found, name: str) -> pd.DataFrame:
    """A table of `compared` of all points; the numbers of wordings stand in it or in the point."""
    return pd.concat([pd.DataFrame({"expert": point["expert"], "network": point["network"],
                                    "number": point.get("number"), **result[name]})
                      for point, result in units], ignore_index=True)  # fmt: skip


def _curves(rounds: pd.DataFrame) -> pd.DataFrame:
    """Mean F1 over wordings with its 95 % interval, round by round."""
    rows = []
    for (expert, network, condition, r), part in rounds.groupby(["expert", "network", "condition", "round"],
                                                                sort=False):  # fmt: skip
        value, low, high = band_of(part["f1"])
        rows.append({"what": "round", "expert": expert, "network": network, "condition": condition, "round": r,
                     "tested": part["tested"].iloc[0], "units": len(part), "f1": value, "f1_low": low,
                     "f1_high": high})  # fmt: skip
    return pd.DataFrame(rows)


def recorded_rows(
    network: str, edges_per_variable: float, centred: bool, rounds: int, tested_share: float, answering: ChatEdgeModel
) -> pd.DataFrame:
    """What the recordings say without an experiment of this study.

    Args:
        network: whose beliefs are kept pair by pair. edges_per_variable, centred: see `believed`.
        rounds, tested_share: of the recorded run with updates. answering: see `score_recording.answering_model`.

    Returns:
        Columns what, network, and: for "pair" condition, cause, effect, belief, edge; for "update" policy, round, f1,
        f1_untested; for "answer" cause, effect, said ("yes", "no" or "unreadable"), edge.
    """
    return pd.concat([_pairs(network, edges_per_variable, centred),
                      _update(edges_per_variable, centred, rounds, tested_share), _answers(answering)],
                     ignore_index=True)  # fmt: skip


def _pairs(network: str, edges_per_variable: float, centred: bool) -> pd.DataFrame:
    graph = load_graph(network)
    rows = []
    for condition in ("real", "anonymised"):
        beliefs = believed(network, condition, 0, edges_per_variable, centred)
        rows += [{"what": "pair", "network": network, "condition": condition, "cause": cause, "effect": effect,
                  "belief": float(beliefs[i, j]), "edge": _word(bool(graph.edges[i, j]))}
                 for i, cause in enumerate(graph.variables) for j, effect in enumerate(graph.variables)
                 if i != j]  # fmt: skip
    return pd.DataFrame(rows)


def _update(edges_per_variable: float, centred: bool, rounds: int, tested_share: float) -> pd.DataFrame:
    edges, kept = load_graph(UPDATED).edges, recorded_scores()
    density = density_of(len(edges), edges_per_variable)
    beliefs = beliefs_of_scores(kept[f"{UPDATED}/{PROMPT}/real"], density, centred)
    plain = walked(beliefs, edges, rounds, rounds, tested_share)
    curves = {
        "no update": (plain.f1[0], plain.f1_untested[0]),
        "told in the prompt": tuple(kept[f"{UPDATED}/{PROMPT}/updated/{part}"] for part in ("f1", "f1_untested")),
    }  # fmt: skip
    return pd.DataFrame([
        {"what": "update", "network": UPDATED, "policy": policy, "round": r, "f1": float(whole[r]),
         "f1_untested": float(untested[r])}
        for policy, (whole, untested) in curves.items() for r in range(rounds + 1)
    ])  # fmt: skip


def _answers(answering: ChatEdgeModel) -> pd.DataFrame:
    graph, asked = load_graph(ANSWERED), asked_pairs()
    found = answering.beliefs(graph, asked, [], torch.Generator().manual_seed(0)).samples
    assert found is not None  # a chat model samples
    return pd.DataFrame([
        {"what": "answer", "network": ANSWERED, "cause": graph.variables[i], "effect": graph.variables[j],
         "said": "unreadable" if math.isnan(label) else _word(bool(label)), "edge": _word(bool(graph.edges[i, j]))}
        for (i, j), own in zip(asked.tolist(), found[..., 0].tolist(), strict=True) for label in own
    ])  # fmt: skip


def _word(present: bool) -> str:
    return "yes" if present else "no"
