"""Which pairs a chat model names when it is asked what to test next."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

from twelvefold.papers.igda.edge_model import Result

# two names in quotes, with a comma or an arrow between them and at most the key of an object before the second
_QUOTED = r"""(?:"([^"\n]{1,200})"|'([^'\n]{1,200})')"""
_PAIR = re.compile(rf"""{_QUOTED}\s{{0,9}}(?:,|->|=>|→)\s{{0,9}}(?:["']\w{{1,20}}["']\s{{0,9}}:\s{{0,9}})?{_QUOTED}""")


class Choice(NamedTuple):
    """What an answer names.

    Attributes:
        pairs: places (cause, effect) of variables, in the order in which they are named.
        dropped: how many named pairs do not count: "unknown" names (or such as fit several variables), "self" pairs,
            "repeated" ones, "tested" ones, "surplus" beyond those asked for; "unreadable": an answer without any pair.
    """

    pairs: list[tuple[int, int]]
    dropped: Counter[str]


def named_pairs(text: str) -> list[tuple[str, str]]:
    """Pairs of names in an answer: a JSON list of lists of two texts, else whatever two quoted names look like one."""
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        found = None
    if isinstance(found, list) and all(_is_pair(entry) for entry in found):
        return [(cause, effect) for cause, effect in found]
    return [(a or b, c or d) for a, b, c, d in _PAIR.findall(text)]


def _is_pair(entry: object) -> bool:
    return isinstance(entry, list) and len(entry) == 2 and all(isinstance(name, str) for name in entry)


def place_of_name(name: str, variables: Sequence[str]) -> int | None:
    """Place of the variable of that name; where none is spelt so, of the only one that differs in its case alone."""
    if name in variables:
        return variables.index(name)
    alike = [i for i, variable in enumerate(variables) if variable.casefold() == name.strip().casefold()]
    return alike[0] if len(alike) == 1 else None


def read_choice(text: str, variables: Sequence[str], count: int, results: Sequence[Result] = ()) -> Choice:
    """Read which pairs an answer names; fewer than asked for are fine, and so is none.

    Args:
        text: the answer. variables: names. count: most pairs wanted. results: all so far, none of which is wanted.
    """
    tested = {(result.i, result.j) for result in results}
    pairs, dropped = list[tuple[int, int]](), Counter[str]()
    named = named_pairs(text)
    for names in named:
        i, j = (place_of_name(name, variables) for name in names)
        if i is None or j is None:
            dropped["unknown"] += 1
        elif (reason := _reason((i, j), pairs, tested, count)) is not None:
            dropped[reason] += 1
        else:
            pairs.append((i, j))
    if not named:
        dropped["unreadable"] += 1
    return Choice(pairs, dropped)


def _reason(
    pair: tuple[int, int], pairs: Sequence[tuple[int, int]], tested: set[tuple[int, int]], count: int
) -> str | None:
    """Why a pair does not count; None: it does."""
    reasons = {"self": pair[0] == pair[1], "repeated": pair in pairs, "tested": pair in tested,
               "surplus": len(pairs) >= count}  # fmt: skip
    return next((reason for reason, holds in reasons.items() if holds), None)
