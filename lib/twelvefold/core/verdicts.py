"""The declared claims of one study, their decisions, and how both are written and shown."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

import pandas as pd

from .claims import DETERMINISTIC, MIN_TRAINING_RUNS, TRAINING_RUN, Claim, Estimate, verdict
from .display import format_number
from .schema import StudyError


@dataclass(frozen=True)
class Decision:
    """A claim with its estimate (None: not tested), verdict and note."""

    claim: Claim
    estimate: Estimate | None
    verdict: str
    note: str


class Verdicts:
    """The claims of a study from their declaration to their verdicts."""

    def __init__(self) -> None:
        self.claims: dict[str, Claim] = {}
        self._decided: dict[str, Decision] = {}

    def declare(self, claims: Iterable[Claim]) -> None:
        """Declare all claims at once.

        Raises:
            StudyError: a second call, no claim, something that is not a Claim, or an id used twice.
        """
        if self.claims:
            raise StudyError("study.declare was called already; claims are declared once, before anything is computed.")
        declared = list(claims)
        if not declared:
            raise StudyError("claims is empty; a study needs at least one claim.")
        for claim in declared:
            if not isinstance(claim, Claim):
                raise StudyError(f"claims holds {claim!r}; every entry must be a Claim.")
        ids = [claim.id for claim in declared]
        twice = sorted({id for id in ids if ids.count(id) > 1})
        if twice:
            raise StudyError(f"claims: the id {', '.join(map(repr, twice))} is used more than once.")
        self.claims = {claim.id: claim for claim in declared}

    @property
    def stochastic(self) -> int:
        """Number of declared claims that involve chance."""
        return sum(claim.unit != DETERMINISTIC for claim in self.claims.values())

    @property
    def level(self) -> float:
        """1 - 0.05 / m for m claims that involve chance."""
        if not self.claims:
            raise StudyError("study.level is not known yet: call study.declare(claims) first.")
        return 1 - 0.05 / max(self.stochastic, 1)

    def decide(self, id: str, estimate: Estimate | None, note: str) -> str:
        """Decide one claim; too few training runs make it "not tested". Errors as `Study.decide`."""
        if id not in self.claims:
            raise StudyError(f"id = {id!r} is no declared claim; declared are {', '.join(self.claims) or 'none'}.")
        if id in self._decided:
            raise StudyError(f"claim {id!r} is decided already; one claim has one estimate.")
        if not isinstance(note, str):
            raise StudyError(f"note of claim {id!r} = {note!r}; a text is needed.")
        claim = self.claims[id]
        if estimate is not None:
            _check_estimate(claim, estimate, self.level)
            if estimate.unit == TRAINING_RUN and estimate.n < MIN_TRAINING_RUNS:
                reason = f"{estimate.n} training runs, at least {MIN_TRAINING_RUNS} are needed"
                estimate, note = None, f"{note}; {reason}" if note else reason
        self._decided[id] = Decision(claim, estimate, verdict(claim.holds_if, estimate), note)
        return self._decided[id].verdict

    def undecided_ids(self) -> list[str]:
        """Ids that were declared and not decided, in the order of declaration."""
        return [id for id in self.claims if id not in self._decided]

    def decisions(self) -> list[Decision]:
        """The decisions so far, in the order of declaration."""
        return [self._decided[id] for id in self.claims if id in self._decided]

    def entries(self) -> list[dict[str, Any]]:
        """The `claims` of study.json."""
        return [_entry(decision) for decision in self.decisions()]

    def declared_table(self) -> pd.DataFrame:
        """What a reader sees when the claims are declared."""
        return pd.DataFrame([_claim_row(claim) for claim in self.claims.values()])

    def verdict_table(self) -> pd.DataFrame:
        """What a reader sees at the end: the paper beside what was measured."""
        frame = pd.DataFrame([_verdict_row(decision) for decision in self.decisions()])
        return frame if frame["note"].any() else frame.drop(columns="note")

    def level_sentence(self) -> str:
        """Say how many claims involve chance and at which level their intervals stand."""
        m = self.stochastic
        if not m:
            return "**Claims**, declared before anything is computed; none of them involves chance."
        return (
            f"**Claims**, declared before anything is computed. {m} claim{' involves' if m == 1 else 's involve'} "
            f"chance, so the intervals have the level {100 * self.level:.4g} % (1 - 0.05 / {m})."
        )


def _check_estimate(claim: Claim, estimate: object, level: float) -> None:
    where = f"claim {claim.id!r}"
    if not isinstance(estimate, Estimate):
        raise StudyError(f"{where}: estimate = {estimate!r}; an Estimate (core.statistics) or None is needed.")
    if estimate.unit != claim.unit:
        raise StudyError(f"{where} was declared over the unit {claim.unit!r}; its estimate is over {estimate.unit!r}.")
    if claim.unit == DETERMINISTIC:
        return
    if abs(estimate.level - level) > 1e-12:
        levels = f"the estimate has level {estimate.level!r} and the study {level!r}"
        raise StudyError(f"{where}: {levels}; pass level=study.level to the estimator.")
    if estimate.low == estimate.high:
        raise StudyError(
            f"{where}: the interval has no width, all units are equal to {estimate.value!r}. Pass the resolution of "
            "the score to the estimator: resolution = its smallest step, e.g. 1 / n_items."
        )


def _entry(decision: Decision) -> dict[str, Any]:
    claim, estimate = decision.claim, decision.estimate
    return {
        "id": claim.id, "says": claim.says, "scope": claim.scope, "source": claim.source,
        "paper_value": claim.paper_value, "paper_says": claim.paper_says,
        "estimate": None if estimate is None else asdict(estimate),
        "holds_if": {"rule": claim.holds_if.rule, "args": list(claim.holds_if.args)},
        "verdict": decision.verdict, "note": decision.note,
    }


def _paper(value: float | None) -> str:
    return "not known" if value is None else format_number(value)


def _claim_row(claim: Claim) -> dict[str, str]:
    return {
        "claim": claim.id, "says": claim.says, "scope": claim.scope, "source": claim.source,
        "holds if": str(claim.holds_if), "unit": claim.unit, "paper": _paper(claim.paper_value),
        "paper says": claim.paper_says,
    }


def _verdict_row(decision: Decision) -> dict[str, str]:
    claim = decision.claim
    return {
        "claim": claim.id, "scope": claim.scope, "paper": _paper(claim.paper_value),
        "ours": describe(decision.estimate), "rule": str(claim.holds_if), "verdict": decision.verdict,
        "note": decision.note,
    }


def describe(estimate: Estimate | None) -> str:
    """Return an estimate in words, e.g. `0.012 [0.003, 0.021], n = 12 (training run)`, or "none"."""
    if estimate is None:
        return "none"
    if estimate.unit == DETERMINISTIC:
        return f"{format_number(estimate.value)} exactly, n = {estimate.n} case{'s' if estimate.n > 1 else ''}"
    interval = f"[{format_number(estimate.low)}, {format_number(estimate.high)}]"
    return f"{format_number(estimate.value)} {interval}, n = {estimate.n} ({estimate.unit})"
