"""Result 1: networks trained as one tensor program are the networks that would have been trained one at a time."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pandas as pd

from twelvefold.core.claims import DETERMINISTIC, Claim, Estimate, below, equals
from twelvefold.core.reporting import rows_of
from twelvefold.core.statistics import exact
from twelvefold.core.study import Study
from twelvefold.papers.random_scaling.bimodal import plotting
from twelvefold.papers.random_scaling.bimodal.engine import DECODED, EXACT_WAYS, PEERS, WAYS

BOUND = 1e-6  # of a relative difference between losses; float32 tells numbers apart from about 1e-7 on
_SOURCE = "check of our own; the paper does not say how its runs were trained"

CLAIMS: tuple[Claim, ...] = tuple(
    Claim(id, says, "mechanism", _SOURCE, rule, DETERMINISTIC)
    for id, says, rule in (
        ("alone-equals-population",
         "A network trained alone has exactly the training losses and final weights that it has in a population: "
         "largest absolute difference over losses and weights.", equals(0.0)),
        ("chunks-equal-whole",
         "A population trained in chunks of 1 and of 3 members has exactly the losses and weights of one that is "
         "trained at once: largest absolute difference.", equals(0.0)),
        ("order-does-not-matter",
         "With its members in reverse order, a population has exactly the same losses and weights: largest absolute "
         "difference.", equals(0.0)),
        ("independent-implementation",
         "One network at a time, built from torch.nn modules with torch.optim.AdamW and clip_grad_norm_, has the "
         "same losses up to rounding: largest difference as a share of the loss.", below(BOUND)),
        ("vmap-agrees",
         "torch.func.vmap over that module has the same losses up to rounding: largest difference as a share of the "
         "loss.", below(BOUND)),
        ("teacher-forcing-is-greedy",
         "Exact match by teacher forcing and by greedy decoding agree: number of pairs of network and prompt on "
         "which they differ.", equals(0.0)),
    )
)  # fmt: skip


def _captioned(study: Study, runs: pd.DataFrame) -> str:
    s = study.scale_values
    assert s is not None  # a study has its scale before it has runs
    return (f"{runs['member'].nunique()} transformers of width {s.width} with {s.layers} layers that learn to copy "
            f"strings, {s.batch} strings an update.")  # fmt: skip


def differences_figure(study: Study, runs: pd.DataFrame) -> None:
    """Largest difference from the population's losses at each update, by way."""
    caption = (
        "Largest difference between the training losses of a network in the population and of the same network trained "
        "in another way, as a share of the loss, over all networks and the updates since the mark before. Lower band: "
        f"exactly 0. Dashed: the bound of the claims, {BOUND:g}. {_captioned(study, runs)}"
    )
    alt = "Two panels of curves over updates, on a logarithmic axis with a line for exact zeros below."
    study.figure(plotting.differences_figure(runs, WAYS, EXACT_WAYS, BOUND), "differences", caption, alt)


def ways_table(study: Study, runs: pd.DataFrame) -> None:
    """Largest differences from the population, by network and way."""
    rows = []
    for (network, way), part in runs[runs["way"] != DECODED].groupby(["network", "way"], sort=False):
        row: dict[str, object] = {"network": network, "way": way, "members": part["member"].nunique(),
                                  "updates": int(part["update"].max())}  # fmt: skip
        rows.append(row | {name: part[name].max() for name in
                           ("loss_difference", "relative_difference", "weight_difference")})  # fmt: skip
    caption = (
        "Largest absolute difference of losses from those of the population, the same as a share of the loss, and "
        f"largest absolute difference of final weights. {_captioned(study, runs)}"
    )
    study.table(pd.DataFrame(rows), "ways", caption, 1e-5, "the other programs stop before the last update.")


def decoding_table(study: Study, runs: pd.DataFrame) -> None:
    """Prompts continued exactly, by teacher forcing and by greedy decoding, per member."""
    frame = rows_of(runs, way=DECODED)[["member", "prompts", "exact", "greedy", "disagreements"]]
    caption = (
        "Of so many prompts, how many each network continues without a mistake, judged by teacher forcing (exact) and "
        "by greedy decoding (greedy), and on how many prompts the two judgements differ. The networks are trained "
        f"briefly, so that they fail on some. {_captioned(study, runs)}"
    )
    study.table(frame.astype(int).reset_index(drop=True), "decoding", caption, "same machine")


def _largest(runs: pd.DataFrame, ways: Sequence[str], *columns: str) -> Estimate | None:
    """The largest entry of the columns over some ways; None where none of them was trained."""
    rows = runs[runs["way"].isin(ways)]
    if rows.empty:
        return None
    return exact(float(rows[list(columns)].max().max()), len(rows[["network", "way", "member"]].drop_duplicates()))


def decisions(study: Study, runs: pd.DataFrame) -> None:
    """Decide every claim."""
    exactly = {"alone-equals-population": ["alone"], "chunks-equal-whole": ["chunks of 1", "chunks of 3"],
               "order-does-not-matter": ["reversed"]}  # fmt: skip
    for id, ways in exactly.items():
        estimate = _largest(runs, ways, "loss_difference", "weight_difference")
        why = "" if estimate else "on CUDA the libraries choose their kernels by the size of the population"
        study.decide(id, estimate, why)
    for id, way in zip(("independent-implementation", "vmap-agrees"), PEERS, strict=True):
        study.decide(id, _largest(runs, [way], "relative_difference"))
    decoded = rows_of(runs, way=DECODED)
    study.decide("teacher-forcing-is-greedy", exact(int(decoded["disagreements"].sum()), int(decoded["prompts"].sum())))


REPORT: tuple[Callable[[Study, pd.DataFrame], None], ...] = (
    differences_figure, ways_table, decoding_table, decisions,
)  # fmt: skip
