"""Rules and verdicts: the table of the definition by hand, and properties over all rules."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twelvefold.core.claims import (
    VERDICTS,
    Claim,
    ClaimError,
    Estimate,
    Rule,
    above,
    below,
    equals,
    outside,
    verdict,
    within,
)


def estimate(low: float, high: float) -> Estimate:
    return Estimate((low + high) / 2, low, high, 0.95, 10, "training run", "Student t")


def claim(**changes: Any) -> Claim:
    fields: dict[str, Any] = {
        "id": "a-1_b", "says": "a beats b", "scope": "direction", "source": "Figure 1", "holds_if": above(0),
        "unit": "training run",
    }
    return Claim(**(fields | changes))


@pytest.mark.parametrize(
    ("rule", "low", "high", "expected"),
    [
        (above(1), 1.1, 2, "holds"), (above(1), 1, 2, "undecided"), (above(1), 0, 1, "fails"),
        (above(1), 1, 1, "fails"),
        (below(1), 0, 0.9, "holds"), (below(1), 0, 1, "undecided"), (below(1), 1, 2, "fails"),
        (below(1), 1, 1, "fails"),
        (within(0, 1), 0, 1, "holds"), (within(0, 1), -0.1, 1, "undecided"), (within(0, 1), 0.5, 1.1, "undecided"),
        (within(0, 1), 1, 2, "undecided"), (within(0, 1), 1.1, 2, "fails"), (within(0, 1), -2, -0.1, "fails"),
        (within(0, 1), -1, 2, "undecided"),
        (outside(0, 1), 0, 1, "fails"), (outside(0, 1), -0.1, 1, "undecided"), (outside(0, 1), 1.1, 2, "holds"),
        (outside(0, 1), -2, -0.1, "holds"), (outside(0, 1), -1, 2, "undecided"),
        (equals(3), 3, 3, "holds"), (equals(3), 2, 4, "undecided"), (equals(3), 3, 4, "undecided"),
        (equals(3), 4, 5, "fails"), (equals(3), 2, 2.5, "fails"), (equals(3), 2, 2, "fails"),
    ],
)
def test_verdicts_by_hand(rule: Rule, low: float, high: float, expected: str) -> None:
    assert verdict(rule, estimate(low, high)) == expected


def test_without_an_estimate_nothing_is_tested() -> None:
    assert verdict(above(0), None) == "not tested"


numbers = st.integers(-6, 6).map(lambda k: k / 2)  # few values, so that borders are hit
intervals = st.tuples(numbers, numbers).map(sorted)
rules = st.one_of(
    st.builds(above, numbers), st.builds(below, numbers), st.builds(equals, numbers),
    intervals.filter(lambda pair: pair[0] < pair[1]).map(lambda pair: within(*pair)),
    intervals.filter(lambda pair: pair[0] < pair[1]).map(lambda pair: outside(*pair)),
)


@given(rules, intervals)
def test_exactly_one_of_the_three_verdicts(rule: Rule, interval: list[float]) -> None:
    assert verdict(rule, estimate(*interval)) in VERDICTS[:3]


@given(rules, intervals, intervals)
def test_a_wider_interval_never_turns_or_sharpens_a_verdict(rule: Rule, inner: list[float], outer: list[float]) -> None:
    wide = verdict(rule, estimate(min(inner[0], outer[0]), max(inner[1], outer[1])))
    assert wide in ("undecided", verdict(rule, estimate(*inner)))


@given(numbers, intervals, st.floats(0, 5))
def test_above_is_monotone_and_below_mirrors_it(x: float, interval: list[float], shift: float) -> None:
    order = {"fails": 0, "undecided": 1, "holds": 2}
    low, high = interval
    here = verdict(above(x), estimate(low, high))
    assert order[verdict(above(x), estimate(low + shift, high + shift))] >= order[here]
    assert verdict(below(-x), estimate(-high, -low)) == here


@given(intervals.filter(lambda pair: pair[0] < pair[1]), intervals)
def test_outside_is_the_reverse_of_within(pair: list[float], interval: list[float]) -> None:
    reverse = {"holds": "fails", "fails": "holds", "undecided": "undecided"}
    assert verdict(outside(*pair), estimate(*interval)) == reverse[verdict(within(*pair), estimate(*interval))]


@given(rules, numbers)
def test_a_point_decides_every_rule(rule: Rule, x: float) -> None:
    assert verdict(rule, estimate(x, x)) in ("holds", "fails")


@pytest.mark.parametrize(
    ("name", "args", "message"),
    [
        ("over", (1,), "rule = 'over'"), ("above", (), "takes 1"), ("within", (1,), "takes 2"),
        ("above", (math.nan,), "nan"),
        ("below", (math.inf,), "inf"), ("equals", ("3",), "'3'"), ("above", (True,), "True"),
        ("within", (2, 1), "smaller"), ("outside", (1, 1), "equals"),
    ],
)
def test_bad_rules_are_refused(name: str, args: tuple[Any, ...], message: str) -> None:
    with pytest.raises(ClaimError, match=message):
        Rule(name, args)


def test_rules_read_well() -> None:
    assert [str(above(0)), str(within(-0.5, 0.25))] == ["above(0)", "within(-0.5, 0.25)"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"id": "A"}, "id = 'A'"), ({"id": "a b"}, "id"), ({"id": ""}, "id"), ({"id": None}, "id"),
        ({"says": " "}, "says"),
        ({"source": ""}, "source"), ({"scope": "small"}, "mechanism, direction, full"),
        ({"unit": "runs"}, "training run"),
        ({"holds_if": 0.5}, "above"), ({"paper_value": math.nan}, "paper_value"),
        ({"paper_value": "0.1"}, "paper_value"),
        ({"paper_says": None}, "paper_says"),
    ],
)
def test_bad_claims_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ClaimError, match=message):
        claim(**changes)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"low": 3.0}, "upside down"), ({"value": math.nan}, "value"), ({"high": math.inf}, "high"),
        ({"n": 0}, "n = 0"),
        ({"n": 2.5}, "n = 2.5"), ({"n": True}, "n = True"), ({"level": 95}, "level = 95"), ({"level": 0.5}, "level"),
        ({"level": 1.0}, "level"), ({"unit": "seed"}, "unit"), ({"method": ""}, "method"),
        ({"unit": "deterministic"}, "exact"),
    ],
)
def test_bad_estimates_are_refused(changes: dict[str, Any], message: str) -> None:
    fields: dict[str, Any] = {
        "value": 1.0, "low": 0.0, "high": 2.0, "level": 0.95, "n": 5, "unit": "test item", "method": "Wilson",
    }
    with pytest.raises(ClaimError, match=message):
        Estimate(**(fields | changes))


def test_verdict_refuses_what_is_no_rule_or_estimate() -> None:
    with pytest.raises(ClaimError, match="Rule"):
        verdict("above", None)  # type: ignore[arg-type]
    with pytest.raises(ClaimError, match="Estimate"):
        verdict(above(0), 0.3)  # type: ignore[arg-type]


def test_a_claim_keeps_numbers_as_floats() -> None:
    assert isinstance(claim(paper_value=3).paper_value, float)
    assert isinstance(above(0).args[0], float)
