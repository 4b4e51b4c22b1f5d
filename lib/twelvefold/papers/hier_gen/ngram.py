"""A back-off n-gram model over word ids: the reference point of a learner that sees a few words back and no further.

Scores are those of "stupid back-off" (Brants, Popat, Xu, Och and Dean 2007): relative frequencies, which suffice to
rank the choices of a test word.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from twelvefold.tasks.items import Items

DISCOUNT = 0.4  # factor of every step back, the value of Brants et al. 2007
Counts = list[Counter[tuple[int, ...]]]  # entry k: how often each sequence of k + 1 ids occurs


def count_ngrams(sequences: Iterable[Sequence[int]], order: int) -> Counts:
    """Count the runs of 1 to `order` ids inside each sequence; ValueError for an order below 1 or no ids at all."""
    if order < 1:
        raise ValueError(f"order = {order!r}; accepted are whole numbers from 1")
    counts: Counts = [Counter() for _ in range(order)]
    for sequence in sequences:
        for length, counter in enumerate(counts, start=1):
            counter.update(zip(*(sequence[start:] for start in range(length)), strict=False))
    if not counts[0]:
        raise ValueError("sequences hold no id; at least one is needed")
    return counts


def score(counts: Counts, context: Sequence[int], word: int) -> float:
    """Score of `word` behind `context` (the last `order - 1` ids count), from 0 to 1.

    S(w | c_1 .. c_m) = count(c w) / count(c) where c w was seen, else DISCOUNT * S(w | c_2 .. c_m) (equation 5 of
    Brants et al.); without context the share of w among all ids.
    """
    known = tuple(context[-(len(counts) - 1) :]) if len(counts) > 1 else ()
    factor = 1.0
    while known:
        seen = counts[len(known)][(*known, word)]
        if seen:
            return factor * seen / counts[len(known) - 1][known]
        known, factor = known[1:], factor * DISCOUNT
    return factor * counts[0][(word,)] / counts[0].total()


def training_sequences(items: Items) -> list[list[int]]:
    """The ids of every item from SOS to EOS, without padding."""
    return [row[:length].tolist() for row, length in zip(items.tokens, items.lengths, strict=True)]


def answers(counts: Counts, items: Items) -> NDArray[np.int16]:
    """The choice with the highest score at each item's query, ids `[N]`; the first of equal ones."""
    known: dict[tuple[tuple[int, ...], tuple[int, ...]], int] = {}
    result = np.empty(len(items), dtype=np.int16)
    reach = len(counts) - 1
    for row, (tokens, query, choices) in enumerate(zip(items.tokens, items.query, items.choices, strict=True)):
        asked = tuple(tokens[max(0, query + 1 - reach) : query + 1].tolist()), tuple(choices.tolist())
        if asked not in known:
            known[asked] = max(asked[1], key=lambda word: score(counts, asked[0], word))
        result[row] = known[asked]
    return result
