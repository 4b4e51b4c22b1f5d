"""Items: selection, joining, and tables that do not fit."""

from __future__ import annotations

from dataclasses import fields, replace

import numpy as np
import pytest
from twelvefold.tasks.items import Items
from twelvefold.tasks.question_formation import QuestionMix, training_items
from twelvefold.tasks.tense_inflection import TenseMix
from twelvefold.tasks.tense_inflection import training_items as tense_items


def equal(first: Items, second: Items) -> bool:
    return all(np.array_equal(getattr(first, field.name), getattr(second, field.name)) for field in fields(Items))


def test_take_and_concatenate_undo_each_other() -> None:
    items = training_items(QuestionMix(), 50, 10_000, 0)
    assert len(items) == 50
    assert equal(Items.concatenate([items.take(range(20)), items.take(np.arange(50) >= 20)]), items)
    assert len(items.take([])) == 0


def test_concatenate_pads_to_the_widest() -> None:
    wide, narrow = (training_items(QuestionMix(longest=longest), 20, 10_000, 0) for longest in (None, 29))
    both = Items.concatenate([narrow, wide])
    assert both.tokens.shape == (40, 37) and not both.tokens[:20, 29:].any()
    assert both.tokens.dtype == np.int16
    assert equal(both.take(range(20, 40)), wide)


def test_tables_that_do_not_fit_are_refused() -> None:
    items = training_items(QuestionMix(), 5, 10_000, 0)
    with pytest.raises(ValueError, match="query has shape"):
        replace(items, query=items.query[:4])
    with pytest.raises(ValueError, match="choices has shape"):
        replace(items, choices=items.query)
    with pytest.raises(ValueError, match="parts is empty"):
        Items.concatenate([])
    with pytest.raises(ValueError, match=r"\[2, 4\] choices"):
        Items.concatenate([items, tense_items(TenseMix(), 5, 10_000, 0)])
    with pytest.raises(IndexError):
        items.take([5])
