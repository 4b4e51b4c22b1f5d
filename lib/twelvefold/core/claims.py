"""Claims, the rules that decide them, and the verdicts.

A claim is one estimate and one rule, declared before anything is computed. The verdict compares the rule with the
interval of the estimate, never with its central value alone.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from numbers import Integral, Real

DETERMINISTIC = "deterministic"
TRAINING_RUN = "training run"
UNITS: tuple[str, ...] = (TRAINING_RUN, "data draw", "simulated replicate", "test item", DETERMINISTIC)
SCOPES: tuple[str, ...] = ("mechanism", "direction", "full")
VERDICTS: tuple[str, ...] = ("holds", "fails", "undecided", "not tested")
MIN_TRAINING_RUNS = 5
RULE_ARGUMENTS: dict[str, int] = {"above": 1, "below": 1, "within": 2, "outside": 2, "equals": 1}
_ID = re.compile(r"[a-z0-9][a-z0-9_-]*")


class ClaimError(ValueError):
    """A claim, rule or estimate that is not well formed."""


def _finite(where: str, value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, Real) or not math.isfinite(value):
        raise ClaimError(f"{where} = {value!r}; a finite number is needed.")
    return float(value)


def _text(where: str, value: object) -> str:
    if not isinstance(value, str) or not value.strip():
        raise ClaimError(f"{where} = {value!r}; a text that is not empty is needed.")
    return value


def _one_of(where: str, value: object, accepted: tuple[str, ...]) -> str:
    if not isinstance(value, str) or value not in accepted:
        raise ClaimError(f"{where} = {value!r}; accepted are {', '.join(accepted)}.")
    return value


@dataclass(frozen=True)
class Rule:
    """When a claim holds. Made by `above`, `below`, `within`, `outside` and `equals`.

    Attributes:
        rule: one of `RULE_ARGUMENTS`.
        args: its one or two finite numbers; two must be in rising order.
    """

    rule: str
    args: tuple[float, ...]

    def __post_init__(self) -> None:
        _one_of("rule", self.rule, tuple(RULE_ARGUMENTS))
        wanted = RULE_ARGUMENTS[self.rule]
        if len(self.args) != wanted:
            raise ClaimError(f"rule {self.rule!r} takes {wanted} number(s), received {len(self.args)}: {self.args!r}.")
        object.__setattr__(self, "args", tuple(_finite(f"argument of {self.rule}", arg) for arg in self.args))
        if wanted == 2 and not self.args[0] < self.args[1]:
            raise ClaimError(f"{self}: the first number must be smaller than the second; for one value use equals(x).")

    def __str__(self) -> str:
        return f"{self.rule}({', '.join(f'{arg:.9g}' for arg in self.args)})"


def above(x: float) -> Rule:
    """Holds iff low > x, fails iff high <= x."""
    return Rule("above", (x,))


def below(x: float) -> Rule:
    """Holds iff high < x, fails iff low >= x."""
    return Rule("below", (x,))


def within(a: float, b: float) -> Rule:
    """Holds iff a <= low and high <= b, fails iff high < a or low > b."""
    return Rule("within", (a, b))


def outside(a: float, b: float) -> Rule:
    """Holds iff high < a or low > b, fails iff a <= low and high <= b."""
    return Rule("outside", (a, b))


def equals(x: float) -> Rule:
    """Holds iff low = high = x, fails iff x lies outside [low, high]."""
    return Rule("equals", (x,))


@dataclass(frozen=True)
class Estimate:
    """A number with its interval.

    Attributes:
        value: the estimate.
        low: lower end of the interval.
        high: upper end of the interval; low = high = value for a deterministic check.
        level: confidence level of the interval, above 0.5 and below 1; exactly 1 for a deterministic check.
        n: number of units behind it; for a deterministic check the number of cases checked.
        unit: what the interval ranges over, one of `UNITS`.
        method: how the interval was made, e.g. "Student t".
    """

    value: float
    low: float
    high: float
    level: float
    n: int
    unit: str
    method: str

    def __post_init__(self) -> None:
        for field in ("value", "low", "high", "level"):
            object.__setattr__(self, field, _finite(f"{field} of the estimate", getattr(self, field)))
        if self.low > self.high:
            raise ClaimError(f"low = {self.low!r} lies above high = {self.high!r}; the interval is upside down.")
        if isinstance(self.n, bool) or not isinstance(self.n, Integral) or self.n < 1:
            raise ClaimError(f"n = {self.n!r}; a whole number of units, at least 1, is needed.")
        object.__setattr__(self, "n", int(self.n))
        _one_of("unit of the estimate", self.unit, UNITS)
        _text("method of the estimate", self.method)
        self._check_level()

    def _check_level(self) -> None:
        if self.unit != DETERMINISTIC:
            if not 0.5 < self.level < 1:
                raise ClaimError(f"level = {self.level!r}; a confidence level between 0.5 and 1 is needed, e.g. 0.95.")
        elif not (self.low == self.high == self.value and self.level == 1):
            raise ClaimError(
                f"a deterministic estimate has low = high = value and level = 1, received value = {self.value!r}, "
                f"low = {self.low!r}, high = {self.high!r}, level = {self.level!r}; use statistics.exact(value, n)."
            )


@dataclass(frozen=True)
class Claim:
    """What is claimed, where the paper says it, and the rule that decides it.

    Attributes:
        id: short name within the notebook, made of a-z, 0-9, "_" and "-".
        says: the claim in one sentence.
        scope: "mechanism" (the working of the method on a controlled case), "direction" (the paper's effect at a
            smaller scale) or "full".
        source: figure, table or sentence of the paper.
        holds_if: the rule.
        unit: what the interval of its estimate ranges over, one of `UNITS`.
        paper_value: the paper's number, None when it is not known; never guessed.
        paper_says: the direction that the paper states and where it was read.
    """

    id: str
    says: str
    scope: str
    source: str
    holds_if: Rule
    unit: str
    paper_value: float | None = None
    paper_says: str = ""

    def __post_init__(self) -> None:
        if not isinstance(self.id, str) or not _ID.fullmatch(self.id):
            raise ClaimError(f"id = {self.id!r}; an id is made of a-z, 0-9, '_' and '-', e.g. 'greedy-beats-best'.")
        _text(f"says of claim {self.id!r}", self.says)
        _text(f"source of claim {self.id!r}", self.source)
        _one_of(f"scope of claim {self.id!r}", self.scope, SCOPES)
        _one_of(f"unit of claim {self.id!r}", self.unit, UNITS)
        if not isinstance(self.holds_if, Rule):
            raise ClaimError(
                f"holds_if of claim {self.id!r} = {self.holds_if!r}; a rule is needed: above(x), below(x), "
                "within(a, b), outside(a, b) or equals(x)."
            )
        if not isinstance(self.paper_says, str):
            raise ClaimError(f"paper_says of claim {self.id!r} = {self.paper_says!r}; a text is needed.")
        if self.paper_value is not None:
            object.__setattr__(self, "paper_value", _finite(f"paper_value of claim {self.id!r}", self.paper_value))


def _holds_fails(rule: Rule, low: float, high: float) -> tuple[bool, bool]:
    first, last = rule.args[0], rule.args[-1]
    inside = first <= low and high <= last
    apart = high < first or low > last
    match rule.rule:
        case "above":
            return low > first, high <= first
        case "below":
            return high < first, low >= first
        case "within":
            return inside, apart
        case "outside":
            return apart, inside
        case _:  # equals
            return low == high == first, apart


def verdict(rule: Rule, estimate: Estimate | None) -> str:
    """Return "holds", "fails", "undecided", or "not tested" when there is no estimate.

    Args:
        rule: when the claim holds.
        estimate: the number with its interval, None when the preset cannot decide the claim.

    Raises:
        ClaimError: `rule` is not a Rule or `estimate` is neither an Estimate nor None.
    """
    if not isinstance(rule, Rule):
        raise ClaimError(f"rule = {rule!r}; a Rule is needed, e.g. above(0).")
    if estimate is None:
        return "not tested"
    if not isinstance(estimate, Estimate):
        raise ClaimError(f"estimate = {estimate!r}; an Estimate (see twelvefold.core.statistics) or None is needed.")
    holds, fails = _holds_fails(rule, estimate.low, estimate.high)
    return "holds" if holds else "fails" if fails else "undecided"
