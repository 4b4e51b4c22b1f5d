"""Result 1: counts read off words, the checks on template frequencies and that they can fail, and the whole report."""

import json
from collections import Counter
from functools import cache

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from twelvefold.core.study import Study
from twelvefold.core.sweep import sweep
from twelvefold.papers.hier_gen import rules_and_data
from twelvefold.papers.hier_gen.rules import composition, draws, plotting
from twelvefold.papers.hier_gen.rules_and_data import chi_square, distance_by_chance, distances, doctored
from twelvefold.tasks import question_formation as questions
from twelvefold.tasks import tense_inflection as tenses
from twelvefold.tasks.items import SUBJECTS
from twelvefold.tasks.question_templates import TEMPLATES
from twelvefold.tasks.sentence_templates import letters_of

TINY = {"items": 3_000, "tested": 120, "ngram_items": 600, "orders": 3}


@cache
def drawn() -> pd.DataFrame:
    points = [{"seed": 10_000, "replicate": replicate, **TINY} for replicate in range(2)]
    return rules_and_data.frame(points, [draws.data_draw(**point) for point in points])


def test_templates_read_off_the_words_are_those_that_were_drawn():
    task = draws.tasks()[0]
    items = questions.training_items(questions.QuestionMix(), 2_000, 10_000, 0)
    kept = Counter((("quest", "decl")[task], TEMPLATES[template].name)
                   for task, template in zip(items.task, items.template, strict=True))  # fmt: skip
    assert draws.template_counts(items, task) == kept
    items = tenses.training_items(tenses.TenseMix(), 500, 10_000, 0)
    found = draws.template_counts(items, draws.tasks()[1])
    parts = draws.sentences(items, tenses.vocabulary())
    by_words = Counter((mark, letters_of(given[:-1], 2)) for given, mark, _ in parts)
    assert found == by_words and found.total() == 500


def test_sentences_are_the_halves_of_a_sequence():
    items = questions.ood_questions(3, 10_000, 0)
    for given, mark, output in draws.sentences(items, questions.vocabulary()):
        assert given[-1] == "." and mark == "quest" and output[-1] == "?"
        assert sorted(given[:-1]) == sorted(output[:-1])


def test_a_wrong_answer_of_a_rule_is_counted():
    task = draws.tasks()[0]
    items = questions.ood_questions(40, 10_000, 0)
    honest = {(row["kind"], row["name"]): row["value"] for row in draws.rule_rows(items, task, "OOD")}
    assert honest["rule: tested word", "hierarchical"] == 40 and honest["rule: tested word", "linear"] == 0
    broken = items.take(np.arange(40))
    for row in range(4):  # another first word in some outputs
        broken.tokens[row, broken.query[row] + 1] = broken.linear[row]
    broken.hierarchical[:] = broken.linear
    rows = {(row["kind"], row["name"]): row["value"] for row in draws.rule_rows(broken, task, "OOD")}
    assert rows["rule: tested word", "hierarchical"] == 36 and rows["rule: tested word", "linear"] == 4
    assert rows["rule: as recorded", "hierarchical"] == 0


def test_total_variation_and_chance_by_hand():
    published = {("quest", "DNAI"): 3, ("decl", "DNAI"): 1}
    classes = [*published, ("decl", "DNATDN")]
    counts = np.array([[6.0, 2.0, 0.0], [2.0, 2.0, 4.0]])
    np.testing.assert_allclose(distances(counts, classes, published), [0.0, 0.5])
    assert distance_by_chance(published, 100) == pytest.approx(np.sqrt(2 * 0.1875 / (np.pi * 100)))


def test_chance_accounts_for_the_distance_of_an_honest_sample():
    published = composition.published_templates()
    share = np.array(list(published.values())) / 11_000
    samples = np.random.default_rng(1).multinomial(11_000, share, size=300)
    measured = distances(samples.astype(float), list(published), published).mean()
    assert distance_by_chance(published, 11_000) == pytest.approx(measured, rel=0.02)
    assert measured > rules_and_data.CLOSE  # why a draw is larger than the published table


def test_the_generator_passes_both_checks_and_a_doctored_table_fails_both():
    items = questions.training_items(questions.QuestionMix(), 100_000, 10_000, 3)
    found = draws.template_counts(items, draws.tasks()[0])
    published = composition.published_templates()
    counts = np.array([[float(found[name]) for name in published]])
    assert counts.sum() == 100_000  # no template that was not published
    assert distances(counts, list(published), published)[0] < rules_and_data.CLOSE
    assert distances(counts, list(published), doctored(published))[0] > rules_and_data.CLOSE
    assert chi_square(counts[0], published)[1] > 1e-3
    assert chi_square(counts[0], doctored(published))[1] < 1e-6
    share = np.array(list(published.values())) / 11_000
    assert chi_square(counts[0], published)[0] == pytest.approx(((counts[0] - 1e5 * share) ** 2 / (1e5 * share)).sum())
    assert stats.chi2.sf(chi_square(counts[0], published)[0], 41) == pytest.approx(chi_square(counts[0], published)[1])


def test_published_shares_are_those_of_the_published_counts():
    shares = {(task, what): (values, known) for task, what, values, known in composition.question_shares(drawn())}
    name = composition.QUESTION
    known = {what: value for (_, what), (_, value) in shares.items()}
    assert known["decl, subject: object-gap"] == pytest.approx(998 / 6560)
    assert known["quest, auxiliaries: 1"] + known["quest, auxiliaries: 2"] == pytest.approx(1)
    lengths = [known[f"words and marks in a sequence, {which}"] for which in ("shortest", "longest")]
    assert lengths == [11, 35]
    assert len(shares[name, "questions among items"][0]) == 2  # one value per draw
    assert shares[name, "quest, subject: object-gap"][0].tolist() == [0.0, 0.0]
    tense = {what: known for _, what, _, known in composition.tense_shares(drawn())}
    assert tense["PAST among items"] == pytest.approx(0.58816)
    for task, what, values, published in composition.question_shares(drawn()) + composition.tense_shares(drawn()):
        spread = 0.15 if what.startswith("OOD") else 0.05  # 120 and 3,000 items
        assert "words" in what or np.abs(values - published).max() < spread, (task, what)


@pytest.mark.parametrize("subject", SUBJECTS)
def test_composed_sentences_parse_and_split_the_rules_where_they_should(subject):
    for task in draws.tasks():
        words = draws.composed(task.name, subject, "singular", "plural", negative=True)
        place = draws.tested_place(words, task)
        hierarchical, linear = (task.rules[name](words)[place] for name in ("hierarchical", "linear"))
        same = subject == "plain" or (subject == "pp" and task.name == "question formation")
        assert (hierarchical == linear) == same
        assert plotting.sentence_figure(task.name, words).axes


@pytest.mark.parametrize("subject", ["subject-gap", "object-gap"])
def test_a_composed_clause_has_the_opposite_polarity(subject):
    words = draws.composed("question formation", subject, "singular", "singular", negative=True)
    assert questions.hierarchical_rule(words)[0] == "doesn't" and questions.linear_rule(words)[0] == "does"


def test_bad_input():
    with pytest.raises(ValueError, match="ngram_items = 9"):
        draws.data_draw(10_000, 0, 8, 4, 9, 2)
    good = {"task": "tense inflection", "subject": "pp", "number": "plural", "other": "singular", "negative": True}
    for name in ("task", "subject", "number", "other"):
        with pytest.raises(ValueError, match=f"{name} = 'x'"):
            draws.composed(**{**good, name: "x"})


def test_the_result_reports_and_replays_to_the_same_bytes(project):
    study = Study("hier_gen/01_rules_and_data", "quick", 10_000, "cpu")
    scale = {"draws": 2, **TINY}
    study.scale(quick=scale, gpu=scale, paper=scale)
    study.declare(rules_and_data.CLAIMS)
    points = [{"seed": 10_000, "replicate": replicate, **TINY} for replicate in range(2)]
    runs = study.runs(rules_and_data.frame(points, sweep(draws.data_draw, points)))
    for write in rules_and_data.REPORT:
        write(study, runs)
    study.done(seeds=range(2))
    folder = project / "out" / "hier_gen" / "01_rules_and_data"
    claims = {claim["id"]: claim for claim in json.loads((folder / "study.json").read_text())["claims"]}
    assert [claims[claim.id]["verdict"] for claim in rules_and_data.CLAIMS[:-1]] == ["holds"] * 8
    assert claims["qf-linear-ood"]["estimate"]["value"] == 0 and claims["qf-linear-ood"]["estimate"]["n"] == 240
    assert claims["templates-as-published"]["estimate"]["unit"] == "data draw"
    examples = pd.read_csv(folder / "examples.csv")
    follow = ["both rules", "neither: a copy", "hierarchical rule", "hierarchical rule"]
    assert examples["output_follows"].tolist() == follow * 2
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    replayed = Study.replay(folder)
    replayed.declare(rules_and_data.CLAIMS)
    for write in rules_and_data.REPORT:
        write(replayed, replayed.runs())
    replayed.done()
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_a_rule_that_is_wrong_once_fails_its_claim(project):
    study = Study("hier_gen/01_rules_and_data", "quick", 10_000, "cpu")
    study.scale(quick=TINY, gpu=TINY, paper=TINY)
    study.declare(rules_and_data.CLAIMS)
    runs = drawn().copy()
    where = (runs["kind"] == "rule: tested word") & (runs["data"] == "ID") & (runs["name"] == "linear")
    runs.loc[where & (runs["task"] == "tense inflection") & (runs["replicate"] == 0), "value"] -= 1
    rules_and_data.decisions(study, study.runs(runs))
    assert study.deterministic_verdicts().count("ti-linear-id: fails") == 1
    assert sum(line.endswith(": holds") for line in study.deterministic_verdicts()) == 7
