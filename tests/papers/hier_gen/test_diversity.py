"""Notebook 05: contrasts and regimes with known answers, tests on seen and unseen trees, the report on made runs."""

import json
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from twelvefold.core.study import Study
from twelvefold.nn.transformer import forward, initial_weights
from twelvefold.nn.transformer_config import TransformerConfig
from twelvefold.papers.hier_gen import diversity, tree_tests
from twelvefold.papers.hier_gen.seeds import plotting
from twelvefold.papers.hier_gen.seeds.regimes import conditions, most_frequent, regime
from twelvefold.tasks.grammar_populations import BOTH, HIERARCHICAL, LINEAR
from twelvefold.tasks.grammar_shares import SCALES, share_points
from twelvefold.tasks.question_formation import QuestionMix, id_questions, kept_trees, vocabulary
from twelvefold.tasks.sharding import shards

SCALE = {**SCALES["quick"], "longest": 23, "shares": [0.0, 1.0], "trees": [4, 10], "runs": 6, "tree_runs": 5,
         "records": 4, "ood_items": 100, "id_items": 50}  # fmt: skip
STEPS = np.arange(0, 13)


def run(share, trees, replicate, final, swing, seen, unseen, accuracy):
    """Rows of one run, whose curve alternates between final and final + swing: its total variation is swing."""
    curve = np.where((STEPS[-1] - STEPS) % 2 == 0, final, final + swing)
    last = STEPS == STEPS[-1]
    return pd.DataFrame({
        "share": share, "trees": trees, "all_trees": trees == 30, "replicate": replicate, "step": STEPS,
        "hierarchical": curve, "hierarchical_subject_gap": curve, "hierarchical_object_gap": curve / 2,
        "id_accuracy": accuracy, "seen": np.where(last, seen, np.nan), "unseen": np.where(last, unseen, np.nan),
    })  # fmt: skip


def made(levels=(4, 10, 30), turned=False):
    """At share 1 memorising, unstable and committed runs at 4, 10 and 30 trees (`turned`: the reverse of all that the
    claims say); at share 0 every run follows the linear rule."""
    rows = []
    for replicate in range(5):
        jitter = 0.002 * replicate
        numbers = {4: (0.4, 0.01 + jitter, 1.0, 0.6 + jitter, 0.65), 10: (0.5, 0.2 - jitter, 1.0, 0.98, 0.99),
                   30: (0.9, 0.02, 1.0, np.nan, 1.0 - jitter)}  # fmt: skip
        if turned:
            numbers = {4: (0.4, 0.3 + jitter, 0.6 - jitter, 1.0, 1.0), 10: (0.5, 0.1, 1.0, 0.9, 0.9),
                       30: (0.9, 0.2 + jitter, 0.7, np.nan, 0.7)}  # fmt: skip
        for level in levels:
            rows += [run(1.0, level, replicate, *numbers[level]), run(0.0, level, replicate, 0.0, 0.01, 1, 1, 1)]
    return pd.concat(rows, ignore_index=True)


def reported(runs):
    study = Study("hier_gen/05_diversity", "quick", 10_000, "cpu")
    study.scale(quick=SCALE, gpu=SCALE, paper=SCALE)
    study.declare(diversity.CLAIMS)
    runs = study.runs(runs)
    for write in diversity.REPORT:
        write(study, runs)
    study.done(seeds=range(5))
    return json.loads((study.folder / "study.json").read_text()), study


def test_made_runs_get_the_verdicts_they_were_made_for(project):
    written, study = reported(made())
    assert {claim["verdict"] for claim in written["claims"]} == {"holds"}
    values = {claim["id"]: claim["estimate"]["value"] for claim in written["claims"]}
    assert values["seen-trees-answered-better"] == pytest.approx(0.4 - 0.004)
    assert values["more-trees-close-the-gap"] == pytest.approx(0.4 - 0.004 - 0.02)
    assert values["all-trees-beat-few"] == pytest.approx(0.35 - 0.004)
    assert values["memorising-runs-are-stable"] == pytest.approx(0.014 - 0.196)
    before = {path.name: path.read_bytes() for path in study.folder.iterdir()}
    replayed = Study.replay(study.folder)
    replayed.declare(diversity.CLAIMS)
    for write in diversity.REPORT:
        write(replayed, replayed.runs())
    replayed.done()
    assert {path.name: path.read_bytes() for path in study.folder.iterdir()} == before


def test_the_other_way_round_every_claim_fails(project):
    written, _ = reported(made(turned=True))
    assert {claim["verdict"] for claim in written["claims"]} == {"fails"}


def test_two_numbers_of_trees_cannot_bend(project):
    written, _ = reported(made(levels=(4, 30)))
    assert {claim["id"]: claim["verdict"] for claim in written["claims"]} == {
        "seen-trees-answered-better": "holds", "more-trees-close-the-gap": "not tested", "all-trees-beat-few": "holds",
        "instability-peaks-inside": "not tested", "memorising-runs-are-stable": "not tested",
    }  # fmt: skip


def test_tables_name_regimes_and_repeat_the_claims_for_learned_runs(project):
    runs = made()
    weak = (runs["replicate"] == 0) & (runs["trees"] == 10) & (runs["share"] == 1) & runs["seen"].notna()
    runs.loc[weak, "seen"] = 0.5
    _, study = reported(runs)
    regimes = pd.read_csv(study.folder / "regimes.csv").set_index(["share", "question_trees"])
    assert regimes.loc[(1.0, 4), "memorises"] == 5 and regimes.loc[(0.0, 4), "linear rule"] == 5
    assert regimes.loc[(1.0, 10), ["not learned", "unstable"]].tolist() == [1, 4]
    assert regimes.loc[(1.0, 30), "hierarchical rule"] == 5
    variants = pd.read_csv(study.folder / "variants.csv").set_index(["claim", "runs_taken"])
    stable = variants.loc["memorising-runs-are-stable"]
    assert stable.loc["all, share 1", "runs"] == 5 and stable.loc["learned at every number of trees", "runs"] == 4
    assert stable.loc["object-gap questions only", "mean"] == pytest.approx(stable.loc["all, share 1", "mean"] / 2)
    table = pd.read_csv(study.folder / "conditions.csv").set_index(["share", "question_trees"])
    assert np.isnan(table.loc[(1.0, 30), "unseen"]) and table.loc[(1.0, 4), "H_object_gap"] == pytest.approx(0.2)
    assert table.loc[(1.0, 10), "learned"] == 4


def test_no_learned_run_leaves_empty_cells_not_an_error(project):
    runs = made()
    runs.loc[runs["seen"].notna(), "seen"] = 0.5
    _, study = reported(runs)
    variants = pd.read_csv(study.folder / "variants.csv").set_index("runs_taken")
    assert (variants.loc["learned at every number of trees", "runs"] == 0).all()
    assert variants.loc["learned at every number of trees", "mean"].isna().all()


def test_the_quadratic_contrast_is_the_curvature_in_the_logarithm():
    levels = [4, 10, 30, 102]
    x = np.log(levels)
    values = np.stack([3 + 2 * x, x**2, -(x**2) + x, np.ones(4)])
    contrast = diversity.quadratic_contrast(levels, values)
    np.testing.assert_allclose(contrast[[0, 3]], 0, atol=1e-12)
    assert contrast[1] > 0 and contrast[2] == pytest.approx(-contrast[1])
    # three levels with equal ratios: mean of the ends minus the middle
    np.testing.assert_allclose(diversity.quadratic_contrast([4, 20, 100], np.array([[0.02, 0.10, 0.04]])), [-0.07])
    for bad in ([4, 10], [4, 4, 10], [0, 4, 10]):
        with pytest.raises(ValueError, match="at least three distinct"):
            diversity.quadratic_contrast(bad, np.zeros((1, len(bad))))
    with pytest.raises(ValueError, match="one per column"):
        diversity.quadratic_contrast([4, 10, 30], np.zeros((1, 4)))


def test_regimes_are_asked_in_order():
    assert regime(0.9, 0.1, 0.0, 0.0) == "not learned"
    assert regime(1.0, 0.9, 0.0, 0.0) == "memorises"
    assert regime(1.0, 1.0, 0.5, 0.06) == "unstable"
    assert [regime(1.0, float("nan"), final, 0.01) for final in (0.1, 0.9, 0.5)] == [
        "linear rule", "hierarchical rule", "no rule",
    ]  # fmt: skip
    assert most_frequent(pd.Series(["unstable", "memorises", "unstable"])) == ("unstable", 2)
    assert most_frequent(pd.Series(["unstable", "memorises"])) == ("memorises", 1)


def test_points_pair_with_the_shared_populations_and_draw_trees_per_run():
    scale = SimpleNamespace(**SCALE)
    points = diversity.tree_points(scale, 10_000)
    assert [(p["mixes"][0]["center_embedded"], p["mixes"][0]["question_trees"]) for p in points] == [
        (0.0, 4), (0.0, 10), (1.0, 4), (1.0, 10),
    ]  # fmt: skip
    assert points[0]["members"] == [[r, r, r] for r in range(5)] and points[0]["kept"] == 5
    assert [mix["tree_draw"] for mix in points[0]["mixes"]] == [10_000 + r for r in range(5)]
    assert diversity.all_tree_points(scale, 10_000) == share_points(scale, 10_000, [0.0, 1.0])
    drawn = [tuple(kept_trees(QuestionMix(**mix))[0]) for mix in points[0]["mixes"]]
    assert len(set(drawn)) == 5


@pytest.mark.parametrize(("changes", "message"), [
    ({"trees": [10, 4]}, "rising"), ({"tree_runs": 7}, "1 to runs = 6"), ({"trees": [4, 30]}, "must stay unseen"),
    ({"trees": [4, 20]}, "declarative_trees = 20"),
])  # fmt: skip
def test_numbers_of_trees_that_cannot_be_kept_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        diversity.tree_points(SimpleNamespace(**{**SCALE, **changes}), 10_000)


def results_of(point):
    """What `grammar_population` could have returned: member m follows the hierarchical rule on m + 1 items, and is
    right on as many in distribution."""
    members, times = len(point["members"]), len(point["record_at"])
    ood = np.full((members, times, point["ood_items"]), LINEAR, dtype=np.uint8)
    known = np.full((members, times, point["id_items"]), LINEAR, dtype=np.uint8)
    for member in range(members):
        ood[member, :, : member + 1], known[member, :, : member + 1] = HIERARCHICAL, BOTH
    return {"ood": ood, "id": known, "loss": np.zeros((members, times)), "exact": np.zeros((members, times))}


def test_rows_join_curves_with_the_tests_on_trees():
    scale = SimpleNamespace(**SCALE)
    points, every = diversity.tree_points(scale, 10_000), diversity.all_tree_points(scale, 10_000)
    results, all_results = [results_of(point) for point in points], [results_of(point) for point in every]
    tests = [{"seen": np.linspace(0.5, 0.9, 5), "unseen": np.linspace(0.1, 0.5, 5)} for _ in points]
    frame = diversity.diversity_runs(points, results, tests, every, all_results)
    assert sorted(frame["trees"].unique()) == [4, 10, 30] and set(frame.loc[frame["all_trees"], "trees"]) == {30}
    assert frame.groupby(["share", "trees"])["replicate"].nunique().eq(5).all()  # five of the six on all trees
    table = conditions(frame).set_index(["share", "trees", "replicate"])
    np.testing.assert_allclose(table.loc[(1.0, 4, 2), ["seen", "unseen"]].astype(float), [0.7, 0.3])
    assert table.loc[(1.0, 30, 2), "seen"] == pytest.approx(3 / 50) and np.isnan(table.loc[(1.0, 30, 2), "unseen"])
    assert table.loc[(0.0, 10, 4), "final"] == pytest.approx(0.05)
    assert frame["seen"].notna().sum() == 6 * 5  # at the last checkpoint alone


def test_shards_of_a_population_give_the_rows_of_the_whole():
    scale = SimpleNamespace(**SCALE)
    points, every = diversity.tree_points(scale, 10_000), diversity.all_tree_points(scale, 10_000)
    tests = [{"seen": np.linspace(0.5, 0.9, 5), "unseen": np.linspace(0.1, 0.5, 5)} for _ in points]
    results, all_results = [results_of(point) for point in points], [results_of(point) for point in every]
    whole = diversity.diversity_runs(points, results, tests, every, all_results)
    parts = [(part, first) for point in points for part, first in zip(shards(point, 2), (0, 2, 4), strict=True)]
    own = [{name: value[first : first + 2] for name, value in results_of(points[0]).items()} for _, first in parts]
    own_tests = [{name: value[first : first + 2] for name, value in tests[0].items()} for _, first in parts]
    cut = diversity.diversity_runs([part for part, _ in parts], own, own_tests, every, all_results)
    keys = ["all_trees", "share", "trees", "replicate", "step"]
    pd.testing.assert_frame_equal(*(frame.sort_values(keys, ignore_index=True) for frame in (whole, cut)))


def test_the_explored_picture_lists_the_kept_trees():
    figure = plotting.condition_figure(made(), 1.0, 4, [f"tree {i}" for i in range(20)])
    shown = figure.axes[1].texts[0].get_text().splitlines()
    assert shown[0] == "tree 0" and shown[-1] == "and 6 more"


def population(**changes):
    """A point of two members, each with two trees of its own."""
    scale = SimpleNamespace(**{**SCALE, "width": 8, "layers": 1, "trees": [2], "tree_runs": 2, "shares": [0.5]})
    return {**diversity.tree_points(scale, 10_000)[0], **changes}


def test_accuracy_on_seen_and_unseen_trees_is_that_of_each_members_answers(monkeypatch):
    point = population()
    config = TransformerConfig(vocabulary=vocabulary().size, **point["architecture"])
    weights = initial_weights(config, [torch.Generator().manual_seed(seed) for seed in (3, 4)])
    # larger than those of a fresh network, so that the answers depend on member and sentence
    weights = {name: weight + torch.randn(weight.shape, generator=torch.Generator().manual_seed(5))
               for name, weight in weights.items()}  # fmt: skip
    returned = {f"weights/{name}": weight.numpy() for name, weight in weights.items()}
    monkeypatch.setattr(tree_tests, "sweep", lambda *_, **__: [returned])
    found = tree_tests.tree_accuracy(point, 60)
    for member, settings in enumerate(point["mixes"]):
        mix = QuestionMix(**settings)
        own = {name: weight[[member]] for name, weight in weights.items()}
        for part in ("seen", "unseen"):
            items, right = id_questions(mix, 60, 10_000, 0, trees=part), []
            assert np.isin(items.tree, kept_trees(mix)[0]).all() == (part == "seen")
            for row in range(len(items)):
                words = vocabulary().decode(items.tokens[row][: items.lengths[row]]).split()
                start = words.index("quest")
                logits = forward(config, own, torch.from_numpy(items.tokens[[row]].astype(np.int64)))[0, 0, start + 1]
                options = [vocabulary().id(word) for word in ("do", "don't", "does", "doesn't")]
                best = max(options, key=lambda option, of=logits: of[option])
                right.append(best == vocabulary().id(words[start + 1]))
            assert found[part][member] == pytest.approx(np.mean(right)), (member, part)
    assert len(set(np.concatenate([found["seen"], found["unseen"]]))) > 1  # the answers are not constant


def test_tests_on_trees_refuse_what_has_no_weights_or_no_unseen_tree(monkeypatch):
    for changes, message in (({"task": "tense"}, "'tense'"), ({"kept": 0}, "kept = 0")):
        with pytest.raises(ValueError, match=message):
            tree_tests.tree_accuracy(population(**changes), 10)
    point = population(mixes=[{"longest": 23}, {"longest": 23}])
    config = TransformerConfig(vocabulary=vocabulary().size, **point["architecture"])
    weights = initial_weights(config, [torch.Generator().manual_seed(seed) for seed in (3, 4)])
    returned = {f"weights/{name}": weight.numpy() for name, weight in weights.items()}
    monkeypatch.setattr(tree_tests, "sweep", lambda *_, **__: [returned])
    with pytest.raises(ValueError, match="leaves no such question tree"):
        tree_tests.tree_accuracy(point, 10)
