"""Result 6: the points of the mixes, what the rows say about known cases, and the whole report."""

import json
from functools import cache
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from twelvefold.core.study import Study
from twelvefold.nn.transformer import forward
from twelvefold.nn.transformer_config import TransformerConfig
from twelvefold.papers.hier_gen import tense
from twelvefold.papers.hier_gen.rules.plotting import forms_figure
from twelvefold.tasks.grammar_populations import answers, grammar_population, ood_set, vocabulary_of
from twelvefold.tasks.grammar_shares import SCALES
from twelvefold.tasks.kept_weights import kept_weights
from twelvefold.tasks.tense_inflection import TenseMix

TINY = {**SCALES["quick"], "items": 64, "width": 8, "layers": 1, "heads": 1, "steps": 4, "records": 4, "ood_items": 30,
        "id_items": 10, "runs": 2, "pp_shares": [0.045, 0.855, 0.45]}  # fmt: skip
SHARES = {0.855: 0.045, 0.045: 0.855}


@cache
def trained() -> tuple[list, list]:
    points = tense.tense_points(SimpleNamespace(**TINY), 10_000)
    return points, [grammar_population(**point) for point in points]


def rows(pp_heavy: np.ndarray, rc_heavy: np.ndarray, accuracy=(1.0, 1.0)) -> pd.DataFrame:
    """Two checkpoints of every run; the finals of the two mixes are given, object gaps are the same."""
    made = []
    for (pp, rc), finals, right in zip(SHARES.items(), (pp_heavy, rc_heavy), accuracy, strict=True):
        for replicate, final in enumerate(finals):
            for step, value in ((0, 0.5), (10, final)):
                kinds = {f"hierarchical{kind}": value for kind in ("", "_pp", "_subject_gap", "_object_gap")}
                made.append({"pp": pp, "rc": rc, "replicate": replicate, "step": step, **kinds, "linear": 1 - value,
                             "id_accuracy": right if np.isscalar(right) else right[replicate], "loss": 1.0,
                             "object_gap_items": 6})  # fmt: skip
    return pd.DataFrame(made)


def study_of(runs: pd.DataFrame) -> Study:
    study = Study("hier_gen/06_tense", "quick", 10_000, "cpu")
    study.scale(quick=TINY, gpu=TINY, paper=TINY)
    study.declare(tense.CLAIMS)
    written = study.runs(runs)
    for write in tense.REPORT:
        write(study, written)
    study.done(seeds=range(2))
    return study


def verdicts(project) -> dict[str, str]:
    text = (project / "out" / "hier_gen" / "06_tense" / "study.json").read_text()
    return {claim["id"]: claim["verdict"] for claim in json.loads(text)["claims"]}


def test_points_are_mixes_of_one_paired_population():
    points = tense.tense_points(SimpleNamespace(**TINY), 10_000)
    assert [point["mixes"][0]["pp"] for point in points] == [0.855, 0.45, 0.045]
    assert all(point["members"] == [[0, 0, 0], [0, 1, 1]] and point["task"] == "tense" for point in points)
    for point in points:
        mix = TenseMix(**point["mixes"][0])
        assert mix.plain + mix.pp + mix.rc == pytest.approx(1) and (mix.past, mix.plain) == (0.1, 0.1)


@pytest.mark.parametrize("shares", [[0.4], [0.4, 0.4], [0.2, 0.95], [-0.1, 0.4]])
def test_points_refuse_impossible_shares(shares):
    with pytest.raises(ValueError, match="pp_shares"):
        tense.tense_points(SimpleNamespace(**{**TINY, "pp_shares": shares}), 10_000)


def test_ends_are_paired_and_gated():
    runs = rows(np.array([0.1, 0.2, 0.3]), np.array([0.5, 0.7, 0.9]), (np.array([1.0, 0.9, 1.0]), 1.0))
    shuffled = runs.sample(frac=1, random_state=1)
    np.testing.assert_array_equal(tense.ends(shuffled, "hierarchical"), [[0.5, 0.7, 0.9], [0.1, 0.2, 0.3]])
    np.testing.assert_array_equal(tense.ends(shuffled, "hierarchical", gated=True), [[0.5, 0.9], [0.1, 0.3]])


def test_a_clear_rise_holds_and_its_reverse_fails(project):
    low, high = np.linspace(0.1, 0.15, 6), np.linspace(0.6, 0.7, 6)
    study_of(rows(low, high))
    assert verdicts(project) == {
        "learned-pp-heavy": "undecided",  # ten items cannot tell 1 from .97
        "learned-rc-heavy": "undecided",
        "rc-raises-hierarchical": "holds",
        "rc-raises-hierarchical-object-gap": "holds",
    }
    study_of(rows(high, low, (1.0, 0.5)))
    assert list(verdicts(project).values()) == ["undecided", "fails", "fails", "fails"]


def test_few_runs_are_not_tested_and_nothing_learned_is_said_in_the_table(project):
    study_of(rows(np.array([0.1, 0.2]), np.array([0.8, 0.9]), (0.6, 0.6)))
    assert set(verdicts(project).values()) == {"not tested"}
    folder = project / "out" / "hier_gen" / "06_tense"
    differences = pd.read_csv(folder / "differences.csv").set_index(["measure", "runs"])
    assert differences.loc[("object_gap", "all"), "difference"] == pytest.approx(0.7)
    assert differences.loc[("object_gap", "learned in both"), "pairs"] == 0
    mixes = pd.read_csv(folder / "mixes.csv")
    assert mixes["learned_runs"].tolist() == [0, 0] and mixes["hierarchical"].tolist() == pytest.approx([0.15, 0.85])


def test_trained_populations_give_rows_and_a_report_that_replays(project):
    points, results = trained()
    runs = tense.tense_runs(points, results)
    assert len(runs) == 3 * 2 * 4 and set(runs["pp"]) == set(TINY["pp_shares"])
    np.testing.assert_allclose(runs["hierarchical"] + runs["linear"], 1)  # two forms, one of them is picked
    study_of(runs)
    folder = project / "out" / "hier_gen" / "06_tense"
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    replayed = Study.replay(folder)
    replayed.declare(tense.CLAIMS)
    for write in tense.REPORT:
        write(replayed, replayed.runs())
    replayed.done()
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_kept_runs_prefer_the_form_that_the_evaluation_found():
    points, results = trained()
    point, result = points[0], results[0]
    known, first = vocabulary_of("tense", "full"), point["mixes"][0]
    items = ood_set("tense", "full", first["longest"], 12, 10_000)
    config = TransformerConfig(vocabulary=known.size, **point["architecture"])
    weights = kept_weights(result)
    given = answers(config, weights, items).numpy()  # [kept, 12]
    for number, tokens in enumerate(items.tokens):
        sentence = known.decode(tokens).split(" . ")[0]
        forms = tense.kept_forms(point, result, sentence)
        assert forms["verb"].tolist() == [known.decode([word]) for word in given[:, number]]
        right = given[:, number] == items.hierarchical[number]
        assert forms["follows"].tolist() == ["hierarchical" if fine else "linear" for fine in right]
        prefix = torch.from_numpy(tokens[: items.query[number] + 1].astype(np.int64))[None]
        logits = forward(config, weights, prefix, at=torch.tensor([prefix.shape[1] - 1]))[:, 0]
        pair = [int(items.hierarchical[number]), int(items.linear[number])]
        np.testing.assert_allclose(forms["share"], logits[:, pair].softmax(-1)[:, 0], atol=1e-6)
    agreeing = tense.kept_forms(point, result, "the poets near my bakers laughed")
    assert set(agreeing["follows"]) <= {"both", "neither"}
    assert forms_figure("the poets near my bakers laughed", {"a mix": agreeing}).axes


@pytest.mark.parametrize("sentence", ["the poets laugh", "the walrus laughed", "laughed"])
def test_kept_forms_refuse_what_is_not_a_sentence_in_the_past(sentence):
    points, results = trained()
    with pytest.raises(ValueError):
        tense.kept_forms(points[0], results[0], sentence)
