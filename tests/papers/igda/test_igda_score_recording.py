"""Scores of any wording under any names, what is recorded of them, and how it is found again."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from safetensors import safe_open
from torch import Tensor
from twelvefold.core import data
from twelvefold.core.seeds import torch_generator
from twelvefold.nn.pretrained import BUNDLED, LanguageModel
from twelvefold.papers.igda import edge_scoring, score_recording
from twelvefold.papers.igda.edge_scoring import Wording, renamed, scored_by_prompt, scored_by_wording, wording_scores
from twelvefold.papers.igda.logit_model import score_matrix
from twelvefold.papers.igda.prompt_update import density_of, updated_by_prompt
from twelvefold.papers.igda.prompts import VERSION, effect_texts
from twelvefold.papers.igda.replay import MissingAnswer
from twelvefold.papers.igda.score_recording import (
    ANSWERS,
    SCORES,
    answering_model,
    asked_pairs,
    recorded_scores,
    recordings,
)
from twelvefold.papers.igda.wordings import COUNTS, WORDINGS, WORDINGS_VERSION
from twelvefold.tasks.causal_graphs import graph_of, load_graph

from tests.nn.language_model_cases import tiny_llama, tiny_tokenizer

HILL = graph_of("hill", ["rain", "wet", "tea"], [("rain", "wet")],
                {"rain": "the rain", "wet": "wet ways uphill", "tea": "tea sold at 12"})  # fmt: skip
TEMPLATE = "{% for m in messages %}<|im_start|>{{ m.role }} {{ m.content }} {% endfor %}<|im_start|>assistant "
NOTHING = torch.Generator()


@pytest.fixture(scope="module")
def llama() -> LanguageModel:
    tokenizer = tiny_tokenizer()
    tokenizer.chat_template = TEMPLATE
    return LanguageModel(tiny_llama(max_position_embeddings=4096), tokenizer, "tiny")


@pytest.fixture
def loaded(llama: LanguageModel, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Names of models that were loaded; every one of them is the tiny one."""
    asked: list[str] = []

    def load(name: str, **options: Any) -> LanguageModel:
        asked.append(name)
        return replace(llama, name=name)

    edge_scoring._loaded.cache_clear()
    monkeypatch.setattr("twelvefold.papers.igda.edge_scoring.load_language_model", load)
    monkeypatch.setattr("twelvefold.papers.igda.prompt_update.load_language_model", load)
    monkeypatch.setattr("twelvefold.papers.igda.score_recording.load_language_model", load)
    yield asked
    edge_scoring._loaded.cache_clear()


def plain_score(model: LanguageModel, text: str, phrase: str) -> float:
    """Mean log p of the tokens of a phrase after a text, from one plain pass."""
    start, whole = (model.tokenizer(t)["input_ids"] for t in (text, f"{text} {phrase}"))
    with torch.no_grad():
        found = model.model(torch.tensor([whole])).logits[0].double().log_softmax(-1)
    return float(torch.stack([found[t - 1, whole[t]] for t in range(len(start), len(whole))]).mean())


class TestWordings:
    @pytest.mark.parametrize("wording", [Wording("{cause} moves", "it moves"), Wording("12 {cause} then", "then")])
    def test_against_plain_passes(self, llama: LanguageModel, wording: Wording) -> None:
        expected = torch.zeros(3, 3)
        for i, cause in enumerate(HILL.phrases):
            for j, phrase in enumerate(HILL.phrases):
                if i != j:
                    named = plain_score(llama, wording.named.format(cause=cause), phrase)
                    expected[i, j] = named - plain_score(llama, wording.plain, phrase)
        for size in (1, 2048):
            found = wording_scores(llama, wording, HILL, batch_tokens=size)
            assert found.dtype == torch.float32
            torch.testing.assert_close(found, expected, atol=1e-4, rtol=0)

    def test_the_first_is_the_registered_one(self, llama: LanguageModel) -> None:
        assert effect_texts(HILL, 0, 1) == (WORDINGS[0].named.format(cause=HILL.phrases[0]), WORDINGS[0].plain)
        torch.testing.assert_close(wording_scores(llama, WORDINGS[0], HILL), score_matrix(llama, "pmi", HILL),
                                   atol=1e-4, rtol=0)  # fmt: skip

    def test_all_differ_and_are_well_formed(self) -> None:
        assert len(set(WORDINGS)) == len(WORDINGS) >= max(COUNTS.values())
        for named, plain in WORDINGS:
            assert named.count("{cause}") == 1 and "{" not in plain
            assert named.split()[-1] == plain.split()[-1]  # what the phrase follows is the same

    @pytest.mark.parametrize("wording", [Wording("it moves", "it"), Wording("{cause}", "{cause}")])
    def test_bad_wording(self, llama: LanguageModel, wording: Wording) -> None:
        with pytest.raises(ValueError, match="needed is {cause} in the first text and not in the second"):
            wording_scores(llama, wording, HILL)


class TestNames:
    def test_real(self) -> None:
        assert renamed("asia", "real", 3).phrases == load_graph("asia").phrases

    def test_anonymised(self) -> None:
        asia, found = load_graph("asia"), [renamed("asia", "anonymised", draw) for draw in (0, 0, 1)]
        for graph in found:
            assert sorted(graph.phrases) == [f"V{k}" for k in range(1, 9)] and graph.phrases == graph.variables
            assert torch.equal(graph.edges, asia.edges) and "tuberculosis" not in graph.domain
        assert found[0].phrases == found[1].phrases != found[2].phrases

    def test_fictional(self) -> None:
        asia, found = load_graph("asia"), [renamed("asia", "fictional", draw) for draw in (0, 0, 1)]
        assert found[0].phrases == found[1].phrases != found[2].phrases
        for i, j in asia.edges.nonzero().tolist():
            assert found[0].variables[i] in found[0].phrases[j]
        assert not {*asia.variables} & {*found[0].variables}

    def test_unknown(self) -> None:
        with pytest.raises(ValueError, match=r"names = 'none'; known are \['real', 'anonymised', 'fictional'\]"):
            renamed("asia", "none", 0)


@pytest.mark.parametrize(("variables", "wanted"), [(5, 0.25), (21, 0.05), (2, 0.5)])
def test_density(variables: int, wanted: float) -> None:
    assert density_of(variables, 1.0) == wanted
    if wanted < 0.5:
        assert wanted * variables * (variables - 1) == pytest.approx(variables)


def test_functions_of_the_sweep(loaded: list[str], llama: LanguageModel) -> None:
    by_wording = scored_by_wording("cancer", "fictional", 2, list(WORDINGS[1]), "m")["scores"]
    assert torch.equal(by_wording, wording_scores(llama, WORDINGS[1], renamed("cancer", "fictional", 2)))
    by_prompt = scored_by_prompt("cancer", "pmi", "m")["scores"]
    assert torch.equal(by_prompt, score_matrix(llama, "pmi", load_graph("cancer")))
    assert loaded == ["m"]  # once for both


def test_results_enter_the_prompt(loaded: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[int] = []
    real = edge_scoring.score_matrix.__globals__["edge_scores"]
    monkeypatch.setitem(edge_scoring.score_matrix.__globals__, "edge_scores",
                        lambda *args, **more: told.append(len(args[4])) or real(*args, **more)
                        if len(args) > 4 else real(*args, **more))  # fmt: skip
    made = updated_by_prompt("cancer", "pmi", 1.0, False, 3, 0.3, "m")
    assert told == [2, 4, 6] and made["f1"].shape == made["f1_untested"].shape == (4,)
    assert made["f1"].dtype == torch.float64 and bool(((made["f1"] >= 0) & (made["f1"] <= 1)).all())


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A recording of a few matrices of the smallest network, in a project of its own."""
    for name, value in (("CHOOSING", ("cancer",)), ("PROMPTS", ("pmi",)), ("ROUNDS", 2),
                        ("COUNTS", {("cancer", "anonymised"): 2})):  # fmt: skip
        monkeypatch.setattr(score_recording, name, value)
    monkeypatch.setattr(score_recording.data, "status", lambda name: SimpleNamespace(sha256="abc"))
    monkeypatch.setenv("TWELVEFOLD_CACHE", str(tmp_path / "cache"))
    return tmp_path / "derived"


class TestTheCommand:
    def test_writes_all_and_goes_on_where_it_ended(self, small: Path, loaded: list[str], llama: LanguageModel,
                                                   monkeypatch: pytest.MonkeyPatch) -> None:  # fmt: skip
        calls: list[Any] = []
        real = edge_scoring.score_matrix
        monkeypatch.setattr(edge_scoring, "score_matrix", lambda *args: calls.append(args) or real(*args))
        assert score_recording.main([str(small)]) == 0
        with safe_open(small / SCORES, "pt") as file:
            keys, about = set(file.keys()), json.loads(file.metadata()["made with"])
            matrix = file.get_tensor("cancer/pmi/anonymised/1")
        assert keys == {"cancer/pmi/real", "cancer/pmi/anonymised/0", "cancer/pmi/anonymised/1",
                        "cancer/pmi/updated/f1", "cancer/pmi/updated/f1_untested"}  # fmt: skip
        assert about == {"model": BUNDLED, "weights": "abc", "prompts": VERSION, "wordings": WORDINGS_VERSION,
                         "dtype": "float32"}  # fmt: skip
        assert torch.equal(matrix, wording_scores(llama, WORDINGS[1], renamed("cancer", "anonymised", 1)))
        before, times = {p.name: p.read_bytes() for p in small.iterdir()}, len(calls)
        assert score_recording.main([str(small)]) == 0
        assert {p.name: p.read_bytes() for p in small.iterdir()} == before and len(calls) == times
        lines = [json.loads(line) for line in (small / ANSWERS).read_text().splitlines()]
        assert len(lines) == 16 and {line["model"] for line in lines} == {f"{BUNDLED} (float32)"}
        replayed = answering_model(path=small / ANSWERS).beliefs(load_graph("cancer"), asked_pairs(), [], NOTHING)
        assert replayed.samples is not None and replayed.samples.shape == (8, 2, 2)


class TestTheRecording:
    """The committed files."""

    def test_holds_every_matrix_and_nothing_else(self) -> None:
        kept, expected = recorded_scores(), dict[str, tuple[int, ...]]()
        for recording in recordings():
            n, rounds = load_graph(recording.point["network"]).size, recording.point.get("rounds")
            expected |= dict.fromkeys(recording.keys.values(), (n, n) if rounds is None else (rounds + 1,))
        assert {key: tuple(values.shape) for key, values in kept.items()} == expected

    def test_matrices_are_scores(self) -> None:
        for key, values in recorded_scores().items():
            assert values.dtype == torch.float32 and bool(values.isfinite().all()), key
            if values.ndim == 2:
                assert not bool(values.diagonal().any()) and off_diagonal(values).unique().numel() > 2, key

    def test_says_what_it_was_made_with(self) -> None:
        files = {file.name: file for file in data.load("edge_scores")["files"]}
        with safe_open(files[SCORES], "pt") as file:
            about = json.loads(file.metadata()["made with"])
        assert about == {"model": BUNDLED, "weights": data.registry()[BUNDLED].sha256, "prompts": VERSION,
                         "wordings": WORDINGS_VERSION, "dtype": "float32"}  # fmt: skip

    def test_the_registered_wording_is_the_first_of_both(self) -> None:
        """The same text was scored for the choice and as wording number 0, on no network twice."""
        networks = {key.split("/")[0]: len(key.split("/")) for key in recorded_scores()}
        assert {*networks} == {"cancer", "sachs", "insurance", *(network for network, _ in COUNTS)}

    def test_answers_are_replayed(self) -> None:
        model, graph = answering_model(), load_graph("cancer")
        assert graph.edges[tuple(asked_pairs().T)].tolist() == [True] * 4 + [False] * 4  # edges and their reverses
        found = model.beliefs(graph, asked_pairs(), [], NOTHING)
        assert found.samples is not None and found.samples.shape == (8, 2, 2)
        again = model.beliefs(graph, asked_pairs(), [], torch_generator(10_000, 0, "whatever the seed"))
        assert again.samples is not None and torch.equal(again.samples.nan_to_num(9), found.samples.nan_to_num(9))
        missing = torch.tensor([[1, 0]])
        assert not bool((asked_pairs() == missing).all(1).any())
        with pytest.raises(MissingAnswer, match="templates"):
            model.beliefs(graph, missing, [], NOTHING)


def off_diagonal(matrix: Tensor) -> Tensor:
    return matrix[~torch.eye(len(matrix), dtype=torch.bool)]
