"""Notebook 05: tokenizers cut from larger ones, plans looked at while learnt, and the report from rows alone."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from twelvefold.core.checkpoint import Checkpoint
from twelvefold.core.study import Study
from twelvefold.core.sweep import sweep
from twelvefold.papers.s2t2 import anatomy_study, compression_and_anatomy
from twelvefold.papers.s2t2.anatomy_study import (
    VARIANTS,
    anatomy_run,
    composition,
    marginals_by_name,
    name_of,
    prepared,
    printed,
    target_vocabulary,
    token_classes,
)
from twelvefold.papers.s2t2.compression_and_anatomy_rows import chosen, rows_of_study
from twelvefold.papers.s2t2.compression_study import (
    compression_run,
    first_tokens,
    segments,
    source_vocabulary,
    token_unigram_bits,
)
from twelvefold.papers.s2t2.descent import Watching
from twelvefold.papers.s2t2.protein_problem import draw_problem, references
from twelvefold.papers.s2t2.source_models import member_name
from twelvefold.papers.s2t2.tokenization import bytes_per_token, encode, train_bpe
from twelvefold.tasks.proteins import AMINO_ACIDS, load_proteins

SEED = 10_000
COMMON = {"proteins": "pyhmmer_proteome", "limit": 60, "length": 40, "held_out": 6, "tokenizer_proteins": 20}
COMPRESSION = {**COMMON, "sources": ["english"], "sizes": [21, 32, 64], "training": 30}
LEARNING = {
    "source": "english small", "targets": 32, "training": 20, "validation": 3, "english": [], "steps": 4, "batch": 2,
    "micro": 1, "rate": 0.01, "watched": [1, 3, 4], "precision": "float32",
}  # fmt: skip
POINT = {"seed": SEED, "replicate": 0, **COMMON, **LEARNING}


def learnt(**changes: Any) -> dict[str, Any]:
    return anatomy_run(**{**POINT, "variant": {}, **changes})


def case() -> anatomy_study.Case:
    return prepared("english small 0", "cpu", SEED, 0, "pyhmmer_proteome", 60, 32, 40, 23, 6, 20)


@pytest.fixture(scope="module")
def proteins() -> tuple[str, ...]:
    return load_proteins(limit=60).sequences


# compression


@pytest.mark.parametrize("size", [21, 22, 50, 64])
def test_the_first_tokens_of_a_tokenizer_are_the_smaller_one(proteins: tuple[str, ...], size: int) -> None:
    cut = first_tokens(train_bpe(proteins, 64, alphabet=AMINO_ACIDS), size)
    trained = train_bpe(proteins, size, alphabet=AMINO_ACIDS)
    assert cut.pieces == trained.pieces and cut.separator_id == trained.separator_id
    assert [encode(cut, text) for text in proteins] == [encode(trained, text) for text in proteins]


@pytest.mark.parametrize("size", [20, 65])
def test_a_size_outside_the_tokenizer_is_refused(proteins: tuple[str, ...], size: int) -> None:
    with pytest.raises(ValueError, match=f"size = {size}; 21 to 64"):
        first_tokens(train_bpe(proteins, 64, alphabet=AMINO_ACIDS), size)


def test_independent_tokens_cost_what_counting_by_hand_says() -> None:
    """Tokens: separator, A, K, AK. Training AK AK A, held out AK K: p = 3/7 and 1/7, over 3 residues."""
    made = train_bpe(["AKAK"], 4, alphabet="AK")
    expected = -(np.log2(3 / 7) + np.log2(1 / 7)) / 3
    assert token_unigram_bits(made, ["AKAKA"], ["AKK"]) == pytest.approx(expected)
    with pytest.raises(ValueError, match="held_out is empty"):
        token_unigram_bits(made, ["AK"], [])


def test_a_data_draw_agrees_with_the_problem_it_belongs_to(proteins: tuple[str, ...]) -> None:
    made = compression_run(SEED, 1, **COMPRESSION)
    rows = pd.DataFrame(made["columns"])
    problem = draw_problem(proteins, SEED, 1, targets=32, length=40, training=30, held_out=6, tokenizer_proteins=20)
    known = references(problem)
    row = rows[rows["tokens"] == 32].iloc[0]
    assert row["bytes_per_token"] == pytest.approx(bytes_per_token(problem.target, problem.held_out))
    assert row["bits"] == pytest.approx(known["token_unigram"])
    assert made["references"] == {name: known[name] for name in ("unigram", "gzip")}
    assert rows["bytes_per_token"][0] == 1  # 20 letters and the separator: no merge
    assert list(rows["kind"]) == ["target"] * 3 + ["source"] and rows["bits"].isna().sum() == 1


def test_a_text_shows_where_its_tokens_end() -> None:
    assert segments(train_bpe(["AKAK"], 4, alphabet="AK"), "AKKA") == "AK · K · A"
    assert segments(source_vocabulary("english"), "the the", "|").replace("|", "") == "the the"
    with pytest.raises(ValueError, match="'Z' is not in the tokenizer"):
        segments(train_bpe(["AKAK"], 4, alphabet="AK"), "AZ")


def test_an_unknown_source_is_refused() -> None:
    with pytest.raises(KeyError):
        source_vocabulary("no_such_model")


# plans


def test_a_plan_that_does_not_learn_stays_as_it_was() -> None:
    made = learnt(rate=1e-9)
    columns = pd.DataFrame(made["columns"])
    assert list(columns["step"]) == [0, 1, 3, 4]
    assert columns["support"].std() < 0.2 and columns["letters"].std() < 1e-4
    assert made["embedding_scale"] == made["head_scale"]  # tied


def test_equal_points_give_equal_results_and_learning_lowers_the_cost() -> None:
    first, again = learnt(), learnt()
    assert first == again
    longer = {"steps": 12, "batch": 6, "training": 40, "watched": [12]}
    assert learnt(rate=0.003, **longer)["bits"] < learnt(rate=1e-9, **longer)["bits"] - 0.05
    assert first["columns"]["support"][-1] < first["columns"]["support"][0]


def test_variants_share_their_start_and_differ_afterwards() -> None:
    made = {name: learnt(variant=dict(VARIANTS[name])) for name in ("convex", "printed", "bayes", "T1")}
    starts = [{name: values[0] for name, values in one["columns"].items()} for one in made.values()]
    assert starts[0] == starts[1] == starts[2] and len({one["bits"] for one in made.values()}) == 4
    size = 1024 / 32  # v / u, by which the printed embeddings and the output rows of Bayes are longer
    convex, printed_, bayes = (made[name] for name in ("convex", "printed", "bayes"))
    assert printed_["embedding_scale"] / printed_["head_scale"] == pytest.approx(size, rel=0.1)
    assert bayes["head_scale"] / bayes["embedding_scale"] == pytest.approx(size, rel=0.1)
    assert convex["head_scale"] == convex["embedding_scale"]
    with pytest.raises(ValueError, match="norm = 'swapped'"):
        learnt(variant={"norm": "swapped"})


def test_composition_of_a_plan_made_by_hand() -> None:
    """Every target token takes half its weight from K and half from a token without letters, all from two rows."""
    given = case()
    pieces = given.source.vocabulary.pieces
    plan = torch.zeros(len(pieces), 32)
    plan[[pieces.index(b"K"), pieces.index(b".")]] = 0.5
    found = composition(plan, marginals_by_name("uniform", given, []), given, token_classes(given))
    with_k = [b"K" in piece for piece in given.problem.target.pieces]
    assert found["support"] == found["effective"] == pytest.approx(2) and found["single"] == 0
    assert found["letters"] == found["letters_of_mass"] == pytest.approx(0.5)
    assert found["shared"] == pytest.approx(float(given.frequencies[torch.tensor(with_k)].sum()) / 2, rel=1e-5)
    assert found["misplaced"] == pytest.approx(1 - 2 / 1024)


def test_uniform_marginals_fix_the_mass_on_letters_and_unigram_ones_the_weight() -> None:
    letters = 20 / 1024
    made = learnt(variant={"iterations": 40}, rate=0.01)["columns"]
    np.testing.assert_allclose(made["letters_of_mass"], letters, rtol=1e-2)
    assert abs(made["letters"][-1] - letters) > 1e-4
    given = case()
    masses = marginals_by_name("unigram", given, [])
    torch.testing.assert_close(masses.target, 32 * given.frequencies.float())
    pieces = given.source.vocabulary.pieces
    assert masses.source[pieces.index(b"K")] < masses.source[pieces.index(b"A")]
    with pytest.raises(ValueError, match="marginals = 'zipf'"):
        marginals_by_name("zipf", given, [])


def test_target_tokens_come_with_their_heaviest_sources() -> None:
    made = learnt()
    tokens = made["tokens"]
    assert len(tokens) == 32 and sum(one["frequency"] for one in tokens) == pytest.approx(1)
    assert [one["frequency"] for one in tokens] == sorted((one["frequency"] for one in tokens), reverse=True)
    for one in tokens:
        weights = [weight for _, weight in one["sources"]]
        assert weights == sorted(weights, reverse=True) and 0 < sum(weights) <= 1 + 1e-5
    assert target_vocabulary(made).pieces == case().problem.target.pieces


def test_tokens_are_printed_so_that_they_can_be_seen() -> None:
    assert [printed(piece) for piece in (b"the", b" the", b"\n", b"\x07", b"\xc8")] == [
        "the", "' the'", "'\\n'", "'\\x07'", "'\\xc8'",
    ]  # fmt: skip


def test_a_stopped_run_goes_on_and_remembers_what_it_saw(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole, save = learnt(), Watching.save

    def killed(watch: Watching, state: dict[str, Any], force: bool = False) -> bool:
        written = save(watch, state, force)
        if state["step"] == 2:
            raise KeyboardInterrupt
        return written

    monkeypatch.setattr(Watching, "save", killed)
    with pytest.raises(KeyboardInterrupt):
        learnt(checkpoint=Checkpoint(tmp_path / "state", every=0))
    monkeypatch.setattr(Watching, "save", save)
    calls: list[int] = []
    monkeypatch.setattr(Watching, "save", lambda *given: calls.append(given[1]["step"]) or save(*given))
    assert learnt(checkpoint=Checkpoint(tmp_path / "state", every=0)) == whole
    assert calls == [3, 4]


def test_the_sweeps_take_json_points(project: Path) -> None:
    (compressed,) = sweep(compression_run, [{"seed": SEED, "replicate": 0, **COMPRESSION}])
    (made,) = sweep(anatomy_run, [{**POINT, "variant": {}, "precision": "bfloat16", "micro": 2}])
    assert compressed["columns"]["tokens"][:3] == [21, 32, 64] and made["validation_bits"] > 0


def test_training_runs_have_models_of_their_own() -> None:
    assert [member_name("english small", r) for r in (0, 4, 5)] == [f"english small {r}" for r in (0, 4, 0)]
    assert member_name("smollm2_135m", 3) == "smollm2_135m"


def test_every_variant_is_found_by_its_fields() -> None:
    assert [name_of(fields) for fields in VARIANTS.values()] == list(VARIANTS)
    with pytest.raises(ValueError, match="'iterations': 7"):
        name_of({"iterations": 7})


# the report


def test_the_rate_with_the_least_validation_cost_is_chosen() -> None:
    points = [{"replicate": r, "variant": {}, "rate": rate} for r in (0, 1) for rate in (0.1, 0.3)]
    results = [{"validation_bits": bits} for bits in (4.3, 4.2, 4.1, 4.2)]
    assert [one["rate"] for one in chosen(points, results)] == [0.3, 0.1]
    with pytest.raises(ValueError, match=r"'convex' was learnt at rates 0.1 and 0.3"):
        chosen(points, [{"validation_bits": None}] * 4)


def made_up(good: bool) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Results of five draws and runs, in which every claim holds, or fails."""
    sign, compressed, runs = (1 if good else -1), [], []
    for r in range(5):
        little = 0.001 * r
        values = {512: 1.6 + sign * 0.2 + little, 128: 1.6 - sign * 0.2 + little}
        columns = {"kind": ["target", "target", "source"], "name": ["large", "small", "smollm2_135m"],
                   "tokens": [512, 128, 49_152], "bytes_per_token": [values[512], values[128], 1.6],
                   "bits": [4.3, 4.2 + little, None]}  # fmt: skip
        compressed.append({"columns": columns, "references": {"unigram": 4.1 + little, "gzip": 4.8}})
        bits = {"convex": 4.4, "printed": 4.4 + sign * 0.1, "T20": 4.41 if good else 4.6}
        for name, value in bits.items():
            series = [100.0, 100 - sign * 50 + r]
            part = {"step": [0, 9], "support": series, "effective": series, "single": [0.0, 0.0],
                    "misplaced": [0.0, 0.001], "letters": [0.02, 0.02 + sign * 0.01 + 1e-4 * r],
                    "shared": [0.01, 0.01], "letters_of_mass": [0.02, 0.02]}  # fmt: skip
            tokens = [{"token": "K", "frequency": 0.1, "sources": [["' a'", 0.5], ["K", 0.25]]}]
            result = {"columns": part, "bits": value + little * (1 if name == "convex" else 1.1), "first_bits": 4.8,
                      "embedding_scale": 0.5, "head_scale": 0.5, "tokens": tokens}  # fmt: skip
            runs.append({"replicate": r, "name": name, "rate": 0.1, "result": result})
    return compressed, runs


def reported(rows: pd.DataFrame) -> tuple[dict[str, Any], Study]:
    study = Study("s2t2/05_compression_and_anatomy", "quick", SEED, "cpu")
    scale = {"common": {"proteins": "pyhmmer_proteome", "held_out": 6}, "sources": ["smollm2_135m"],
             "learning": {"source": "english small", "steps": 9, "targets": 128}}  # fmt: skip
    study.scale(quick=scale, gpu=scale, paper=scale)
    study.declare(compression_and_anatomy.CLAIMS)
    runs = study.runs(rows)
    for write in compression_and_anatomy.REPORT:
        write(study, runs)
    study.done()
    return json.loads((study.folder / "study.json").read_text()), study


@pytest.mark.parametrize(("good", "verdict"), [(True, "holds"), (False, "fails")])
def test_claims_are_decided_by_made_up_rows(project: Path, good: bool, verdict: str) -> None:
    written, study = reported(rows_of_study(*made_up(good)))
    assert {claim["id"]: claim["verdict"] for claim in written["claims"]} == {
        claim.id: verdict for claim in compression_and_anatomy.CLAIMS
    }
    estimates = {claim["id"]: claim["estimate"]["value"] for claim in written["claims"]}
    assert estimates["few-tokens-compress-worse"] == pytest.approx((-0.2 if good else 0.2) + 0.002, abs=1e-4)
    assert {figure["name"] for figure in written["figures"]} == {"compression", "training", "variants"}
    tokens = pd.read_csv(study.folder / "tokens.csv")
    assert tokens["sources"][0] == "' a' 0.500, K 0.250"


def test_rows_alone_give_the_same_bytes(project: Path) -> None:
    _, study = reported(rows_of_study(*made_up(True)))
    before = {path.name: path.read_bytes() for path in study.folder.iterdir()}
    again = Study.replay(study.folder)
    again.declare(compression_and_anatomy.CLAIMS)
    for write in compression_and_anatomy.REPORT:
        write(again, again.runs())
    again.done()
    assert before == {path.name: path.read_bytes() for path in study.folder.iterdir()}


def test_one_run_decides_no_claim(project: Path) -> None:
    compressed, runs = made_up(True)
    written, _ = reported(rows_of_study(compressed[:1], [one for one in runs if one["replicate"] == 0]))
    assert {claim["verdict"] for claim in written["claims"]} == {"not tested"}
