"""Notebook 06: slopes with known answers, rows of three kinds of populations, and verdicts on made runs."""

import json
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from twelvefold.core.study import Study
from twelvefold.papers.random_scaling import inverse_scaling_and_grammar as inverse_scaling
from twelvefold.papers.random_scaling.decomposition import slope_of_probability, slope_of_success_mean
from twelvefold.papers.random_scaling.language_model import LANGUAGE_MODEL_SCALE
from twelvefold.papers.random_scaling.metrics import run_rows
from twelvefold.papers.random_scaling.metrics.plotting import parts_figure
from twelvefold.papers.random_scaling.populations import SCALES
from twelvefold.tasks import grammar_shares

NAME = "random_scaling/06_inverse_scaling_and_grammar"
SCALE = {**SCALES["quick"], "grammar": grammar_shares.SCALES["quick"], "grammar_shares": [0.5],
         **LANGUAGE_MODEL_SCALE, "lm_shares": []}  # fmt: skip


def population(parts, runs=40, gate=1.0):
    """Rows per run: at each scale a share p of the runs scores about mu, the others about 0.03."""
    generator, frames = np.random.default_rng(7), []
    for number, (label, (p, mu)) in enumerate(parts.items()):
        high = np.arange(runs) < round(p * runs)
        score = np.where(high, mu, 0.03) + generator.uniform(-0.02, 0.02, runs)
        frames.append(pd.DataFrame({"scale": label, "number": number, "replicate": np.arange(runs), "score": score,
                                    "in_distribution": gate, "loss": 0.1}))  # fmt: skip
    return pd.concat(frames, ignore_index=True)


INVERSE = {"width 16": (0.9, 0.4), "width 24": (0.6, 0.6), "width 32": (0.4, 0.75), "width 48": (0.1, 0.9)}
FORWARD = {"layers 2": (0.3, 0.9), "layers 3": (0.9, 0.5)}
GRAMMAR = {"share 0": (0.0, 0.9), "share 0.5": (0.5, 0.9)}
MODELS = {"share 0.075": (0.0, 0.7), "share 0.2": (0.5, 0.95)}


def reported(**parts):
    study = Study(NAME, "quick", 10_000, "cpu")
    study.scale(quick=SCALE, gpu=SCALE, paper=SCALE)
    study.declare(inverse_scaling.CLAIMS)
    named = {key.replace("_", " "): rows for key, rows in parts.items()}
    if run_rows.LANGUAGE in named:
        named[run_rows.LANGUAGE] = named[run_rows.LANGUAGE].drop(columns="in_distribution")
    runs = study.runs(run_rows.rows_of_study(named))
    for write in inverse_scaling.REPORT:
        write(study, runs)
    study.done(seeds=range(24))
    return json.loads((study.folder / "study.json").read_text()), study


def verdicts(written):
    return {claim["id"]: claim["verdict"] for claim in written["claims"]}


def test_inverse_scaling_and_two_groups_everywhere(project):
    written, study = reported(sizes=population(INVERSE), grammar=population(GRAMMAR), language_model=population(MODELS))
    assert set(verdicts(written).values()) == {"holds"} and len(verdicts(written)) == 7
    parts = pd.read_csv(study.folder / "parts.csv").set_index("scale")
    assert parts.loc["width 16", "p_success"] == pytest.approx(0.9)
    assert parts.loc["share 0", "p_success"] == 0 and np.isnan(parts.loc["share 0", "mean_of_successes"])
    thirds = pd.read_csv(study.folder / "thirds.csv").set_index(["population", "scale"])
    names = ["lower_third", "middle_third", "upper_third"]
    assert thirds.loc[("language model", "share 0.2"), names].tolist() == [20, 0, 20]
    assert (study.folder / "language_model.png").exists()
    before = {path.name: path.read_bytes() for path in study.folder.iterdir()}
    replayed = Study.replay(study.folder)
    replayed.declare(inverse_scaling.CLAIMS)
    for write in inverse_scaling.REPORT:
        write(replayed, replayed.runs())
    replayed.done()
    assert {path.name: path.read_bytes() for path in study.folder.iterdir()} == before


def test_more_successes_and_worse_ones_fail_both_slopes(project):
    written, _ = reported(sizes=population(FORWARD), grammar=population({"share 0.5": (0.5, 0.9)}, runs=6))
    found = verdicts(written)
    assert found["probability-falls"] == "fails" and found["success-mean-rises"] == "fails"
    assert {found[name] for name in found if name.startswith(("grammar", "mmlu"))} == {"not tested"}


def test_one_group_in_grammar_fails_a_third(project):
    written, _ = reported(sizes=population(FORWARD), grammar=population({"share 0": (0, 0.9), "share 0.5": (1, 0.9)}))
    found = verdicts(written)
    assert found["grammar-low-third"] == "undecided" and found["grammar-high-third"] == "holds"
    assert found["grammar-probability-rises"] == "holds"


def test_runs_that_have_not_learned_do_not_count(project):
    written, _ = reported(sizes=population(INVERSE, gate=0.98), grammar=population(GRAMMAR, gate=0.9))
    assert set(verdicts(written).values()) == {"not tested"}


def test_few_runs_one_size_or_no_success_have_no_slope():
    level = 0.99
    assert inverse_scaling.slope_of(population(INVERSE, runs=19), slope_of_probability, level) is None
    assert inverse_scaling.slope_of(population({"width 16": (0.5, 0.9)}), slope_of_probability, level) is None
    failed = population({"width 16": (0, 0.9), "width 24": (0, 0.9)})
    assert inverse_scaling.slope_of(failed, slope_of_success_mean, level) is None
    assert inverse_scaling.slope_of(failed, slope_of_probability, level).value == 0.0
    few = population({"width 16": (0.05, 0.9), "width 24": (0.9, 0.9)})  # two successes: some resamples have none
    assert inverse_scaling.slope_of(few, slope_of_success_mean, level) is None


def test_the_slope_counts_mastered_sizes_only():
    rows = population({"a": (0.2, 0.9), "b": (0.9, 0.9), "c": (0.6, 0.9)})
    rows.loc[rows["scale"] == "b", "in_distribution"] = 0.99  # the gate asks for more
    found = inverse_scaling.slope_of(rows, slope_of_probability, 0.99)
    assert found.value == pytest.approx(0.4) and found.n == 40


def test_rows_of_sizes_join_the_test_with_the_gate():
    frame = pd.DataFrame({
        "scale": ["2", "2", "3", "3"], "number": [0, 0, 1, 1], "replicate": 0, "length": [0, 7, 0, 7],
        "exact": [1.0, 0.25, 0.995, 0.5], "sequence_loss": [0.01, 9.0, 0.02, 8.0],
    })  # fmt: skip
    rows = run_rows.size_rows(frame, SimpleNamespace(score_length=7, sizes_name="layers"))
    assert rows.to_dict("list") == {
        "scale": ["layers 2", "layers 3"], "number": [0, 1], "replicate": [0, 0], "score": [0.25, 0.5],
        "in_distribution": [1.0, 0.995], "loss": [0.01, 0.02],
    }  # fmt: skip


def test_rows_of_grammar_are_those_of_the_last_checkpoint():
    curves = pd.DataFrame({
        "share": [0.5, 0.5, 0.0, 0.0], "replicate": 3, "step": [0, 9, 0, 9], "hierarchical": [0.1, 0.8, 0.2, 0.3],
        "id_accuracy": [0.5, 1.0, 0.5, 0.9], "loss": [2.0, 1.0, 2.0, 0.5], "linear": 0.0,
    })  # fmt: skip
    rows = run_rows.grammar_rows(curves)
    assert rows["scale"].tolist() == ["share 0.5", "share 0"] and rows["number"].tolist() == [1, 0]
    assert rows["score"].tolist() == [0.8, 0.3] and rows["in_distribution"].tolist() == [1.0, 0.9]


def test_rows_of_language_models_have_no_gate_and_unknown_kinds_are_refused():
    frame = pd.DataFrame({"share": [0.2, 0.075], "run": [0, 1], "accuracy": [0.3, 0.26], "loss": [3.0, 3.1],
                          "answer_probability": 0.25, "questions": 14_042})  # fmt: skip
    rows = run_rows.language_rows(frame)
    assert list(rows) == ["scale", "number", "replicate", "score", "loss"]
    assert rows["scale"].tolist() == ["share 0.2", "share 0.075"] and rows["number"].tolist() == [1, 0]
    with pytest.raises(ValueError, match="sizs"):
        run_rows.rows_of_study({"sizs": rows})


def test_an_accuracy_below_chance_counts_as_chance(project):
    low = population({"share 0.2": (0.5, 0.95)}).assign(score=lambda rows: rows["score"].clip(lower=0.2))
    written, _ = reported(sizes=population(FORWARD), language_model=low)
    assert verdicts(written)["mmlu-low-third"] == "holds"


def test_the_explored_threshold_moves_the_share_of_successes():
    rows = population({"layers 2": (0.5, 0.6)})
    figures = [parts_figure(rows, {"layers 2": True}, "score", threshold) for threshold in (0.2, 0.9)]
    shares = [figure.axes[1].containers[0].lines[0].get_ydata()[0] for figure in figures]
    assert shares == [0.5, 0.0]
