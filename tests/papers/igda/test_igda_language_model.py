"""Notebook 05: beliefs of a language model in the loop, its controls, the endpoint, and the report from rows alone."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.metrics import roc_auc_score
from twelvefold.core.seeds import torch_generator
from twelvefold.core.study import Study
from twelvefold.papers.igda import language_model, language_model_endpoint, language_model_rows, language_model_study
from twelvefold.papers.igda.chat_backends import ChatBackend, Question, Sampling
from twelvefold.papers.igda.chat_model import ChatEdgeModel
from twelvefold.papers.igda.feedback import pairs
from twelvefold.papers.igda.language_model_endpoint import (
    asked_beliefs,
    endpoint_of_environment,
    endpoint_runs,
    split_beliefs,
)
from twelvefold.papers.igda.language_model_rows import recorded_rows, rows_of_study
from twelvefold.papers.igda.language_model_study import (
    ENDS,
    choice_runs,
    compared,
    permuted,
    qualities,
    shared_words,
    walked,
    word_beliefs,
    wording_runs,
)
from twelvefold.papers.igda.logit_model import beliefs_of_scores
from twelvefold.papers.igda.replay import RecordReplay
from twelvefold.papers.igda.wordings import PROMPT, WORDINGS
from twelvefold.tasks.causal_graphs import graph_of, load_graph

from tests.papers.igda.reports import check_replay, verdicts, written_study

ASIA, NAMES = load_graph("asia"), ("real", "anonymised", "fictional")
LOOP: dict[str, Any] = {"orders": 50, "rounds": 4, "tested_share": 0.5}
SCALE = {"expert": "m", "prompt": "pmi", "centred": False, "rounds": 4, "tested_share": 0.5}
CLAIMED = ("asia", "child", "alarm")


def noise(number: int, n: int) -> torch.Tensor:
    return torch.randn(n, n, generator=torch_generator(10_000, number, "noise")).fill_diagonal_(0)


@pytest.fixture
def recording(monkeypatch: pytest.MonkeyPatch) -> dict[str, torch.Tensor]:
    """Scores that know asia under real names, and nothing under others; of the choosing half, noise."""
    kept = {f"asia/{PROMPT}/{names}/{k}": noise(k, 8) + 4 * ASIA.edges * (names == "real")
            for k in range(3) for names in NAMES}  # fmt: skip
    kept |= {f"cancer/{prompt}/real": noise(9, 5) for prompt in ("chat", "few-shot", "pmi")}
    kept |= {f"child/{PROMPT}/{names}/0": noise(5, 20) for names in NAMES}
    kept |= {f"cancer/{PROMPT}/updated/{part}": torch.linspace(0, 0.8, 5) for part in ("f1", "f1_untested")}
    for module in (language_model_study, language_model_rows):
        monkeypatch.setattr(module, "recorded_scores", lambda: kept)
    return kept


class TestControls:
    def test_permuted_beliefs_are_the_same_elsewhere(self) -> None:
        beliefs = noise(0, 6).abs()
        dealt = permuted(beliefs, 400, torch_generator(10_000, 0, "deal"))
        assert dealt.shape == (400, 6, 6) and not bool(dealt.diagonal(dim1=1, dim2=2).any())
        for one in dealt[:5]:
            assert torch.equal(one[pairs(6)].sort().values, beliefs[pairs(6)].sort().values)
        # every pair gets every belief alike often
        assert float(dealt[:, pairs(6)].mean(0).std()) < 2 * float(beliefs[pairs(6)].std()) / 20

    def test_qualities_against_sklearn(self) -> None:
        scores = noise(1, 8)
        found, edges = qualities(scores, ASIA), ASIA.edges
        assert found["auroc"] == pytest.approx(roc_auc_score(edges[pairs(8)], scores[pairs(8)]))
        upper = torch.triu(torch.ones(8, 8), 1).bool()
        larger = torch.maximum(scores, scores.T)[upper]
        assert found["skeleton"] == pytest.approx(roc_auc_score((edges | edges.T)[upper], larger))
        unlike = (shared_words(ASIA) < 0.03) & pairs(8)
        assert 0 < int((edges & unlike).sum()) < int(edges.sum())  # "tuberculosis" and "tuberculosis or cancer" share
        assert found["unlike"] == pytest.approx(roc_auc_score(edges[unlike], scores[unlike]))
        assert qualities(edges.double(), ASIA) == {"auroc": 1, "unlike": 1, "skeleton": 1, "direction": 1}
        assert qualities(edges.T.double(), ASIA)["direction"] == 0
        assert qualities((edges | edges.T).double(), ASIA)["direction"] == 0.5

    def test_shared_words_by_hand(self) -> None:
        graph = graph_of("g", ["a", "b", "c", "d"], [], {
            "a": "the lungs", "b": "the Lungsful of air", "c": "the air", "d": "the rest"})  # fmt: skip
        found = shared_words(graph)
        assert torch.equal(found, found.T) and not bool(found.diagonal().any())
        two, one = np.log(4 / 2), np.log(4 / 1)  # weights of a word of two phrases and of one; "the" weighs nothing
        assert float(found[0, 1]) == pytest.approx(two / (2 * two + one))
        assert float(found[1, 2]) == pytest.approx(two / (2 * two + one))
        assert float(found[0, 2]) == float(found[0, 3]) == 0

    def test_word_beliefs_have_the_density_and_tie(self) -> None:
        beliefs = word_beliefs(load_graph("child"), 1.0)
        assert float(beliefs[pairs(20)].mean()) == pytest.approx(1 / 19)
        assert len(beliefs[pairs(20)].unique()) < 190


class TestTheLoop:
    def test_who_knows_the_graph_finds_it_at_once(self) -> None:
        right = torch.where(ASIA.edges, 0.4, 0.1).double().fill_diagonal_(0)
        made = compared(10_000, "asia", 0, {"real": right, "words": 0.3 - right / 2}, **LOOP)
        ends = pd.DataFrame(made["ends"]).set_index("condition")
        assert {*ends.index} == {"real", "words", "random", "permuted"} and {*ENDS} <= {*ends.columns}
        assert ends.loc["real", ["first", "last", "last_untested"]].tolist() == [0, 1, 1]
        assert ends.loc["words", "last"] == 0  # the edges come last
        assert ends.loc["real", "auroc"] == 1 and ends.loc["words", "auroc"] == 0
        assert bool(ends.loc[["random", "permuted"], ["auroc", "unlike", "skeleton", "direction"]].isna().all().all())
        # whoever tests by lot meets the edges as they come: half of them after half of the tests
        for control in ("random", "permuted"):
            assert ends.loc[control, "last"] == pytest.approx(2 * 4 / (8 + 4), abs=0.06)

    def test_curves(self) -> None:
        right = torch.where(ASIA.edges, 0.4, 0.1).double().fill_diagonal_(0)
        made = compared(10_000, "asia", 0, {"real": right}, **LOOP)
        curves, ends = pd.DataFrame(made["rounds"]), pd.DataFrame(made["ends"]).set_index("condition")
        for condition, part in curves.groupby("condition"):
            assert part["f1"].mean() == pytest.approx(ends.loc[condition, "area"])
            assert part["tested"].tolist() == pytest.approx([0, 0.125, 0.25, 0.375, 0.5])
            assert part["f1"].iloc[-1] == ends.loc[condition, "last"]
        for rounds in range(5):
            step = walked(right, ASIA.edges, rounds, 4, 0.5)
            real = curves[(curves["condition"] == "real") & (curves["round"] == rounds)]
            assert float(step.f1[0, -1]) == pytest.approx(real["f1"].item()) and len(step.tests) == rounds + 1

    def test_recorded_scores_become_beliefs(self, recording: dict[str, torch.Tensor]) -> None:
        found = wording_runs(10_000, "asia", 1, list(WORDINGS[1]), "recorded", 1.0, True, **LOOP)
        beliefs = {names: beliefs_of_scores(recording[f"asia/{PROMPT}/{names}/1"], 1 / 7, True) for names in NAMES}
        beliefs["words"] = word_beliefs(ASIA, 1.0)
        assert repr(found) == repr(compared(10_000, "asia", 1, beliefs, **LOOP))  # NaN is NaN
        area = pd.DataFrame(found["ends"]).set_index("condition")["area"]
        assert area["real"] > area[["random", "permuted", "anonymised", "fictional"]].max() + 0.1
        del recording[f"asia/{PROMPT}/fictional/1"]
        fewer = wording_runs(10_000, "asia", 1, list(WORDINGS[1]), "recorded", 1.0, True, **LOOP)
        assert {*found["ends"]["condition"]} - {*fewer["ends"]["condition"]} == {"fictional"}

    def test_scored_anew(self, recording: dict[str, torch.Tensor], monkeypatch: pytest.MonkeyPatch) -> None:
        asked: list[dict[str, Any]] = []

        def sweep(function: Any, points: list[dict[str, Any]], **options: Any) -> list[dict[str, Any]]:
            asked.extend(points)
            assert function is language_model_study.scored_by_wording and options == {"device": "d", "dtype": "t"}
            return [{"scores": recording[f"asia/{PROMPT}/{p['names']}/{p['draw']}"].numpy()} for p in points]

        monkeypatch.setattr(language_model_study, "sweep", sweep)
        arguments = (10_000, "asia", 1, list(WORDINGS[1]))
        anew = wording_runs(*arguments, "folder", 1.0, True, **LOOP, device="d", dtype="t")
        assert repr(anew) == repr(wording_runs(*arguments, "recorded", 1.0, True, **LOOP))
        assert [p["names"] for p in asked] == list(NAMES) and asked[0]["wording"] == list(WORDINGS[1])
        assert {(p["model"], p["network"]) for p in asked} == {("folder", "asia")}

    def test_the_choice_is_made_by_the_gain(self, recording: dict[str, torch.Tensor]) -> None:
        found = choice_runs(10_000, "cancer", "pmi", False, 1.0, **LOOP)
        beliefs = beliefs_of_scores(recording["cancer/pmi/real"], 0.25)
        both = pd.DataFrame(compared(10_000, "cancer", 0, {"real": beliefs}, **{**LOOP, "orders": 3000})["ends"])
        area = both.set_index("condition")["area"]
        assert found["gain"] == pytest.approx(area["real"] - area["random"], abs=0.03)
        assert found["auroc"] == pytest.approx(both["auroc"].iloc[0])


class Sure(ChatBackend):
    """Answers by the number of letters of the question and by the sample; every third sample is no answer."""

    def __init__(self, *endpoint: Any) -> None:
        self.endpoint = endpoint

    @property
    def identity(self) -> dict[str, str]:
        return {"model": "sure"}

    def answers(self, questions: Sequence[Question], sampling: Sampling) -> Iterator[tuple[int, str]]:
        for place, question in enumerate(questions):
            said = "no" if (len(question.messages[-1]["content"]) + question.sample // 2) % 2 else "yes"
            text = f'{{"answer": "{said}", "confidence": {60 + question.sample}}}'
            yield place, "well ..." if question.sample % 3 == 2 else text


class TestTheEndpoint:
    def test_sets_of_answers(self) -> None:
        nan = torch.nan
        samples = torch.tensor([[[1, 0.9], [0, 0.8], [nan, nan], [nan, nan]], [[0, 1], [0, 1], [1, 0.7], [nan, nan]]])
        found = split_beliefs(samples.double(), 2, 0.25)
        torch.testing.assert_close(found, torch.tensor([[0.55, 0.0], [0.25, 0.7]], dtype=torch.float64))

    def test_runs(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        monkeypatch.setattr(language_model_endpoint, "HTTPChat", Sure)
        monkeypatch.setenv("TWELVEFOLD_CACHE", str(tmp_path))
        monkeypatch.delenv("TWELVEFOLD_CHAT_KEY", raising=False)
        found = endpoint_runs(10_000, "cancer", "http://x", "a/b", 2, 3, 10, 10, 1.0, **LOOP)
        ends = pd.DataFrame(found["ends"])
        assert sorted(ends["number"].unique()) == [0, 1, 2] and len(ends) == 3 * 6
        assert {*ends["condition"]} == {*NAMES, "words", "random", "permuted"}
        assert {len(values) for values in found["rounds"].values()} == {3 * 6 * 5}
        (file,) = (tmp_path / "edge_answers").glob("*.jsonl")
        # real names once with all samples; each other renaming with its own
        assert file.name == "a_b.jsonl" and len(file.read_text().splitlines()) == 20 * 2 * 3 + 2 * 3 * 20 * 2
        monkeypatch.setattr(Sure, "answers", None)  # everything is kept
        beliefs = asked_beliefs(RecordReplay("sure", file), load_graph("cancer"), 2, 3, 0.25)
        assert not torch.equal(beliefs[0], beliefs[1])
        assert ends[ends["condition"] == "real"].sort_values("number")["auroc"].tolist() == pytest.approx(
            [qualities(own, load_graph("cancer"))["auroc"] for own in beliefs])  # fmt: skip
        assert repr(endpoint_runs(10_000, "cancer", "http://x", "a/b", 2, 3, 10, 10, 1.0, **LOOP)) == repr(found)

    def test_the_environment(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delenv("TWELVEFOLD_CHAT_URL", raising=False)
        monkeypatch.setenv("TWELVEFOLD_CHAT_MODEL", "big")
        with pytest.raises(ValueError, match="TWELVEFOLD_CHAT_URL = '', .* preset paper asks a chat model: set"):
            endpoint_of_environment()
        monkeypatch.setenv("TWELVEFOLD_CHAT_URL", " http://localhost:8000/v1 ")
        assert endpoint_of_environment() == {"base_url": "http://localhost:8000/v1", "model": "big"}


def made_rows(recording: dict[str, torch.Tensor], better: float) -> pd.DataFrame:
    """Rows of a study in which real names, hints and the ranking are worth so much."""
    draws = np.random.default_rng(0)
    units = []
    for network in CLAIMED:
        for number in range(6):
            level = {"real": 0.5 + better, "anonymised": 0.5 - better, "words": 0.5, "random": 0.5, "permuted": 0.5}
            level |= {} if network == "alarm" else {"fictional": 0.5}  # not every condition on every network
            area = {name: value + 0.01 * draws.random() for name, value in level.items()}
            ends = [{"condition": name, "area": a, "first": 0.0, "last": a, "last_untested": 0.1, "auroc": a,
                     "unlike": a, "skeleton": a, "direction": a} for name, a in area.items()]  # fmt: skip
            curves = [{"condition": name, "round": r, "tested": r / 8, "f1": a * r / 4} for name, a in area.items()
                      for r in range(5)]  # fmt: skip
            result = {name: pd.DataFrame(rows).to_dict("list") for name, rows in (("ends", ends), ("rounds", curves))}
            units.append(({"network": network, "number": number, "expert": "m"}, result))
    points = [{"network": "cancer", "prompt": p, "centred": c, "edges_per_variable": 1.0, "seed": 1, **LOOP}
              for p in ("chat", "pmi") for c in (False, True)]  # fmt: skip
    recorded = recorded_rows("child", 1.0, False, 4, 0.5, ChatEdgeModel(Sure(), 0.5, samples=2))
    return rows_of_study(units, [(point, choice_runs(**point)) for point in points], recorded)


def reported(runs: pd.DataFrame) -> tuple[dict[str, Any], Study]:
    return written_study("igda/05_language_model", language_model, SCALE, runs)


def decided(runs: pd.DataFrame) -> dict[str, Any]:
    return written_study("igda/05_language_model", language_model, SCALE, runs, [language_model.decisions])[0]


class TestTheReport:
    def test_every_claim_is_decided_and_rows_alone_give_the_same_bytes(
        self, project: Path, recording: dict[str, torch.Tensor]
    ) -> None:
        written, study = reported(made_rows(recording, 0.1))
        assert set(verdicts(written).values()) == {"holds"}
        assert {figure["name"] for figure in written["figures"]} == {"curves", "auroc", "matrix"}
        estimates = {claim["id"]: claim["estimate"] for claim in written["claims"]}
        assert estimates["real-beat-anonymised-alarm"]["value"] == pytest.approx(0.2, abs=0.01)
        assert {(e["unit"], e["n"]) for e in estimates.values()} == {("test item", 6)}
        tables = {table["name"]: pd.read_csv(study.folder / table["file"]) for table in written["tables"]}
        assert tables["answers"]["answers"].item() == 16 and len(tables["update"]) == 2
        assert tables["choice"]["mean_gain"].is_monotonic_decreasing
        check_replay(study, language_model)

    def test_the_opposite_of_every_claim_fails(self, project: Path, recording: dict[str, torch.Tensor]) -> None:
        assert set(verdicts(decided(made_rows(recording, -0.1))).values()) == {"fails"}

    def test_units_that_one_condition_lacks_are_left_out(
        self, project: Path, recording: dict[str, torch.Tensor]
    ) -> None:
        runs = made_rows(recording, 0.1)
        lacking = (runs["network"] == "alarm") & (runs["condition"] == "anonymised") & (runs["number"] > 2)
        claims = decided(runs[~lacking])["claims"]
        sizes = {claim["id"]: claim["estimate"]["n"] for claim in claims}
        assert sizes["real-beat-anonymised-alarm"] == 3 and sizes["uncertain-beats-random-alarm"] == 6

    def test_one_unit_decides_nothing(self, project: Path, recording: dict[str, torch.Tensor]) -> None:
        runs = made_rows(recording, 0.1)
        kept = runs["number"].isna() | (runs["number"] == 0)
        assert set(verdicts(decided(runs[kept])).values()) == {"not tested"}
