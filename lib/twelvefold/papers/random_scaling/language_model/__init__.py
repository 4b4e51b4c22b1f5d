"""The language-model study: continued pre-training of Qwen2.5-0.5B on web text with a share of MMLU questions.

One run re-initialises the last attention layer and the head, trains on the mixture, and is scored on MMLU's test
questions and on held-out web text. Runs differ in everything that is drawn: the new weights and the order of the data.
The study needs weights and data that the user supplies (`language_model_data` lists them, `require_data` says what is
missing) and is meant for preset paper only.

Known of the paper's own study (Zhao, Qin, Alvarez-Melis, Kakade and Saphra 2025, arXiv 2502.17356): the model, which
parts are re-initialised, C4 as web text, shares 0.075 and 0.20, 80 runs, one mean pre-training loss. All else is our
choice and marked so in `LANGUAGE_MODEL_SCALE`.
"""

from twelvefold.papers.random_scaling.language_model.local_data import language_model_data, require_data
from twelvefold.papers.random_scaling.language_model.study import (
    LANGUAGE_MODEL_SCALE,
    language_model_points,
    language_model_run,
    language_model_runs,
)

__all__ = [
    "LANGUAGE_MODEL_SCALE", "language_model_data", "language_model_points", "language_model_run", "language_model_runs",
    "require_data",
]
