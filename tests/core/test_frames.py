"""Rows as they are kept: so many significant digits."""

from __future__ import annotations

import numpy as np
import pandas as pd
from twelvefold.core.frames import rounded


def test_rows_are_kept_with_so_many_significant_digits() -> None:
    column = pd.Series([123456.0, -0.00123456, 0.0, np.nan, np.inf, 2.5])
    kept = rounded(column, 3)
    assert kept.tolist()[:3] == [123000.0, -0.00123, 0.0]
    assert np.isnan(kept[3]) and kept[4] == np.inf and kept[5] == 2.5
    both = rounded(pd.DataFrame({"a": column, "b": 2 * column}), 2)
    assert both.shape == (6, 2) and both["b"].tolist()[:2] == [250000.0, -0.0025]
