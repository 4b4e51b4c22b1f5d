"""What a run on a limited number of trees ended as: measures per run of notebook 05, and the regime they make."""

from __future__ import annotations

import numpy as np
import pandas as pd

from twelvefold.papers.hier_gen.reporting import last_rows, per_replicate
from twelvefold.tasks.rule_following import LEARNED, commitment, per_run

RUN = ("share", "trees", "replicate")  # what names a run
STABLE = 0.05  # largest total variation of a stable run in the picture; notebook 04 shows how its choice matters
REGIMES = ("not learned", "memorises", "unstable", "linear rule", "hierarchical rule", "no rule")
_NAMES = {"linear": "linear rule", "hierarchical": "hierarchical rule", "neither": "no rule", "unstable": "unstable"}


def regime(seen: float, unseen: float, final: float, variation: float) -> str:
    """Name of a run's regime, one of `REGIMES`.

    Args:
        seen, unseen: accuracy on trees of the training set and on the others (NaN where there is no other).
        final, variation: share of hierarchical answers at the end, and the total variation of its curve.
    """
    if seen < LEARNED:
        return "not learned"
    if unseen < LEARNED:  # false for NaN
        return "memorises"
    return _NAMES[commitment(final, variation, True, STABLE)]


def conditions(runs: pd.DataFrame) -> pd.DataFrame:
    """One row per run: share, trees, replicate, the columns of `per_run`, seen, unseen, regime, and final and
    total variation on object-gap and subject-gap questions (`final_object_gap`, ...).

    `learned` is about the seen trees: a run that memorises has learned what it was shown.
    """
    frame = per_run(runs, RUN).merge(last_rows(runs)[[*RUN, "seen", "unseen"]], on=list(RUN), validate="one_to_one")
    for gap in ("object_gap", "subject_gap"):
        part = per_run(runs, RUN, column=f"hierarchical_{gap}")[[*RUN, "final", "variation"]]
        frame = frame.merge(part, on=list(RUN), suffixes=("", f"_{gap}"), validate="one_to_one")
    given = zip(frame["seen"], frame["unseen"], frame["final"], frame["variation"], strict=True)
    return frame.assign(learned=frame["seen"] >= LEARNED, regime=[regime(*values) for values in given])


def levels_of(frame: pd.DataFrame) -> list[int]:
    """The numbers of question trees, rising; the last one is all of them."""
    return sorted(int(level) for level in frame["trees"].unique())


def main_share(frame: pd.DataFrame) -> float:
    """The share that the claims are about: the largest."""
    return float(frame["share"].max())


def per_level(frame: pd.DataFrame, column: str, share: float, trees: int) -> np.ndarray:
    """One value per replicate `[R]` of `conditions` at a share and a number of trees."""
    return per_replicate(frame, column, share=share, trees=trees)


def most_frequent(names: pd.Series) -> tuple[str, int]:
    """The most frequent regime with its number of runs; of equally frequent ones the first in `REGIMES`."""
    counts = [int((names == name).sum()) for name in REGIMES]
    return REGIMES[int(np.argmax(counts))], max(counts)
