"""Result 2: rows with known answers give the right estimates and verdicts; a small study runs, reports and replays."""

import json
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import stats
from twelvefold.core.study import Study
from twelvefold.nn.transformer import initial_weights
from twelvefold.nn.transformer_config import TransformerConfig
from twelvefold.papers.hier_gen import center_embedding as result
from twelvefold.papers.hier_gen.center_embedding import CENTER, RIGHT, condition_points, condition_runs, ends, rank_test
from twelvefold.papers.hier_gen.shares import plotting
from twelvefold.tasks.grammar_populations import (
    HIERARCHICAL,
    LINEAR,
    NEITHER,
    grammar_population,
    ood_set,
    vocabulary_of,
)
from twelvefold.tasks.grammar_shares import SCALES, share_points

TINY = {
    **SCALES["quick"], "items": 64, "width": 8, "layers": 1, "heads": 2, "steps": 6, "records": 4, "ood_items": 40,
    "id_items": 20, "runs": 5, "longest": 23, "extra_arms": [],
}  # fmt: skip
NAME = "hier_gen/02_center_embedding"


def made_up(finals: dict[str, list[float]], gaps: dict[str, list[float]], accuracy: dict[str, list[float]]):
    """Rows of runs that rise or fall in two steps from 0.5 to their final values."""
    rows = []
    for name, values in finals.items():
        for replicate, (final, gap, right) in enumerate(zip(values, gaps[name], accuracy[name], strict=True)):
            for step, part in ((0, 0.0), (50, 0.5), (100, 1.0)):
                rows.append({
                    "condition": name, "replicate": replicate, "step": step, "hierarchical": 0.5 + part * (final - 0.5),
                    "linear": 0.5 - part * (final - 0.5), "id_accuracy": right if part else 0.3, "loss": 1.0,
                    "hierarchical_subject_gap": final, "hierarchical_object_gap": gap, "object_gap_items": 10,
                })  # fmt: skip
    return pd.DataFrame(rows)


def clear_case() -> pd.DataFrame:
    """Centre-embedded runs hierarchical, right-branching ones linear; replicate 1 did not learn the task."""
    finals = {RIGHT: [0.0, 0.05, 0.1, 0.0, 0.02], CENTER: [0.9, 0.95, 1.0, 0.92, 0.99]}
    accuracy = {RIGHT: [1.0, 0.5, 1.0, 1.0, 1.0], CENTER: [1.0, 0.99, 1.0, 1.0, 1.0]}
    return made_up(finals, {RIGHT: [0.0] * 5, CENTER: [0.1, -0.1, 0.1, -0.1, 0.0]}, accuracy)


def report(frame: pd.DataFrame, scale: dict = TINY) -> Study:
    study = Study(NAME, "quick", 10_000, "cpu")
    study.scale(quick=scale, gpu=scale, paper=scale)
    study.declare(result.CLAIMS)
    runs = study.runs(frame)
    for write in result.REPORT:
        write(study, runs)
    study.done()
    return study


def test_known_rows_give_known_verdicts(project):
    study = report(clear_case())
    written = json.loads((study.folder / "study.json").read_text())
    claims = {claim["id"]: claim for claim in written["claims"]}
    assert {name: claim["verdict"] for name, claim in claims.items()} == {
        "embedding-raises-hierarchical": "holds", "embedding-raises-hierarchical-object-gap": "undecided",
        "right-branching-goes-linear": "holds", "embedding-goes-hierarchical": "holds",
        "shallow-rule-explains": "holds", "equally-learned": "undecided",
    }  # fmt: skip
    values = [claim["estimate"]["value"] for claim in claims.values()]
    np.testing.assert_allclose(values, [0.918, 0.0, 0.034, 0.952, 0.952, 0.098], atol=1e-12)
    assert claims["embedding-raises-hierarchical"]["estimate"]["n"] == 5
    table = pd.read_csv(study.folder / "conditions.csv").set_index("condition")
    assert table["learned_runs"].to_dict() == {RIGHT: 4, CENTER: 5} and table["runs"].tolist() == [5, 5]
    assert table.loc[CENTER, "object_gap"] == pytest.approx(0.0) and table.loc[RIGHT, "linear"] == pytest.approx(0.966)


def test_the_gate_drops_the_pair_in_which_one_run_did_not_learn(project):
    center, right = ends(clear_case(), "hierarchical", gated=True)
    np.testing.assert_allclose(center, [0.9, 1.0, 0.92, 0.99])
    np.testing.assert_allclose(right, [0.0, 0.1, 0.0, 0.02])
    study = report(clear_case())
    table = pd.read_csv(study.folder / "differences.csv").set_index(["measure", "runs"])
    assert table.loc[("hierarchical", "learned in both"), "pairs"] == 4
    assert table.loc[("hierarchical", "learned in both"), "difference"] == pytest.approx((center - right).mean())
    expected = stats.mannwhitneyu(*ends(clear_case(), "hierarchical")).pvalue
    assert table.loc[("hierarchical", "all"), "mann_whitney_p"] == pytest.approx(expected)


def test_nothing_learned_leaves_empty_cells_that_are_explained(project):
    frame = clear_case().assign(id_accuracy=0.4)
    study = report(frame)
    written = json.loads((study.folder / "study.json").read_text())
    caption = next(table["caption"] for table in written["tables"] if table["name"] == "differences")
    assert "Empty cells: no replicate learned" in caption
    equal = next(claim for claim in written["claims"] if claim["id"] == "equally-learned")
    assert equal["verdict"] == "undecided"  # identical accuracies are known to 1 / 20 only, wider than the margin


def test_rank_test_is_mann_whitney_and_certain_of_nothing_where_all_is_equal():
    assert rank_test(np.zeros(4), np.zeros(4)) == 1.0
    assert rank_test(np.array([1.0, 2.0, 3.0]), np.array([4.0, 5.0, 6.0])) == pytest.approx(0.1)  # 2 of 20 orders


def test_points_are_the_ends_of_the_shares_and_the_arms():
    scale = SimpleNamespace(**{**TINY, "extra_arms": ["questions only", "natural mix"]})
    points = condition_points(scale, 7)
    assert list(points) == [RIGHT, CENTER, "questions only", "natural mix"]
    assert [points[RIGHT], points[CENTER]] == share_points(scale, 7, [0.0, 1.0])
    assert points["questions only"]["mixes"][0]["questions"] == 1.0
    assert "center_embedded" not in points["natural mix"]["mixes"][0]
    assert all(point["members"] == points[RIGHT]["members"] for point in points.values())
    with pytest.raises(ValueError, match="extra_arms holds 'poems'; accepted are 'questions only'"):
        condition_points(SimpleNamespace(**{**TINY, "extra_arms": ["poems"]}), 7)
    for preset, values in SCALES.items():
        made = condition_points(SimpleNamespace(**values, extra_arms=list(result.EXTRA_ARMS)), 0)
        assert len(made) == 6, preset


def as_arrays(outcome: dict) -> dict:
    return {
        name: {key: value.numpy() for key, value in item.items()} if isinstance(item, dict) else item.numpy()
        for name, item in outcome.items()
    }


@pytest.fixture(scope="module")
def trained():
    scale = SimpleNamespace(**{**TINY, "extra_arms": ["questions only", "natural mix"]})
    torch.set_num_threads(1)
    points = condition_points(scale, 10_000)
    return points, [as_arrays(grammar_population(**point)) for point in points.values()]


def test_a_small_study_reports_and_replays_to_the_same_bytes(project, trained):
    points, results = trained
    runs = condition_runs(points, results)
    assert len(runs) == 4 * 5 * 4 and runs["condition"].unique().tolist() == list(points)
    ood = ood_set("question", "full", 23, 40, 10_000)
    assert set(runs["object_gap_items"]) == {int((ood.subject == 3).sum())}
    study = report(runs, {**TINY, "extra_arms": ["questions only", "natural mix"]})
    before = {path.name: path.read_bytes() for path in study.folder.iterdir()}
    assert {"trajectories.png", "finals.svg", "conditions.csv", "differences.csv"} < set(before)
    replayed = Study.replay(study.folder)
    replayed.declare(result.CLAIMS)
    for write in result.REPORT:
        write(replayed, replayed.runs())
    replayed.done()
    assert {path.name: path.read_bytes() for path in study.folder.iterdir()} == before


def assert_same_as_the_test_set(point: dict, outcome: dict) -> None:
    """A typed sentence gets the answer that the same sentence got as a test question at the last checkpoint."""
    codes = {"neither": NEITHER, "hierarchical": HIERARCHICAL, "linear": LINEAR}
    ood, known = ood_set("question", "full", 23, 40, 10_000), vocabulary_of("question", "full")
    for item in range(40):
        sentence = known.decode(ood.tokens[item, : ood.query[item] - 1])  # before the full stop and the task word
        typed = result.kept_answers(point, outcome, sentence)["follows"]
        assert [codes[rule] for rule in typed] == outcome["ood"][:, -1, item].tolist(), sentence


def test_kept_runs_answer_a_sentence(trained):
    points, results = trained
    answers = result.kept_answers(points[RIGHT], results[0], "the baker that the pilot does help doesn't dance")
    assert answers["replicate"].tolist() == [0, 1, 2, 3, 4]
    shares = answers[["does", "do", "doesn't", "don't"]]
    assert (shares.idxmax(axis=1) == answers["answer"]).all() and (shares.sum(axis=1) < 1).all()
    assert_same_as_the_test_set(points[CENTER], results[1])
    rules = {"doesn't": "hierarchical", "does": "linear"}
    assert answers["follows"].tolist() == [rules.get(answer, "neither") for answer in answers["answer"]]
    for words in ("the baker does dance", "the ghost does dance"):
        if "ghost" in words:
            with pytest.raises(ValueError, match="ghost"):
                result.kept_answers(points[RIGHT], results[0], words)
        else:
            both = result.kept_answers(points[RIGHT], results[0], words)
            assert set(both["follows"]) <= {"both", "neither"}


def test_the_answer_is_read_where_the_test_questions_are_asked():
    """A network whose head prefers one auxiliary answers it with all its weight, at every sentence."""
    config_of = {"width": 8, "layers": 1, "heads": 2, "feedforward": 16, "norm": "post", "dropout": 0.0}
    known = vocabulary_of("question", "full")
    config = TransformerConfig(vocabulary=known.size, **config_of)
    weights = initial_weights(config, [torch.Generator().manual_seed(0)])
    weights["head.bias"][0, known.id("don't")] = 50.0
    point = {"mixes": [{"lexicon": "full"}], "members": [[0, 9, 9]], "architecture": config_of}
    kept = {f"weights/{name}": weight.numpy() for name, weight in weights.items()}
    row = result.kept_answers(point, kept, "my doctors who don't praise our singer do work").iloc[0]
    assert (row["replicate"], row["answer"], row["follows"]) == (9, "don't", "linear")
    assert row["don't"] == pytest.approx(1.0)


def test_drawings_keep_colours_apart_and_show_every_kept_run(trained):
    colours = {style.color for style in plotting.STYLES.values()}
    assert len(colours) == len(plotting.STYLES) and set(result.EXTRA_ARMS) < set(plotting.STYLES)
    assert plotting.share_color(0.0) == plotting.STYLES[RIGHT].color
    with pytest.raises(ValueError, match="share = 1.5"):
        plotting.share_color(1.5)
    points, results = trained
    sentence = "your poet near the tailors does whistle"
    answers = {name: result.kept_answers(points[name], results[i], sentence) for i, name in enumerate((RIGHT, CENTER))}
    figure = plotting.answers_figure(sentence, answers)
    assert [len(ax.get_yticks()) for ax in figure.axes] == [5, 5] and sentence in figure.get_suptitle()
