"""The problem on proteins, source models by name, and what models without a network need."""

from __future__ import annotations

import math
from collections import Counter

import pytest
import torch
from twelvefold.core.seeds import numpy_generator
from twelvefold.nn.pretrained import LanguageModel
from twelvefold.papers.s2t2 import source_models
from twelvefold.papers.s2t2.protein_problem import (
    Problem,
    draw_problem,
    references,
    target_documents,
    token_frequencies,
)
from twelvefold.papers.s2t2.source_models import load_source, source_documents
from twelvefold.papers.s2t2.tokenization import decode, document, train_bpe
from twelvefold.tasks.proteins import AMINO_ACIDS

from tests.papers.s2t2.language_models import small_model

DRAWN = numpy_generator(10_000, 1, "proteins")
PROTEINS = ["".join(DRAWN.choice(list(AMINO_ACIDS), size=n)) for n in DRAWN.integers(30, 200, size=60)]
SIZES = {"targets": 40, "length": 50, "training": 80, "held_out": 12}


def test_nothing_of_a_held_out_protein_is_trained_on() -> None:
    made = draw_problem(PROTEINS, 10_000, 0, **SIZES)
    unseen = [p for p in PROTEINS if p not in made.proteins]
    assert len(unseen) == len(made.held_out) == 12 and len(made.training) == 80 and len(made.target) == 40
    assert all(any(text in whole for whole in unseen) for text in made.held_out)
    assert all(any(text in whole for whole in made.proteins) for text in made.training)
    assert not any(text in whole for text in made.training for whole in unseen)


def test_texts_are_of_the_length_and_at_least_half() -> None:
    made = draw_problem(PROTEINS, 10_000, 0, **{**SIZES, "training": None})
    assert {len(t) for t in made.training} <= {*range(25, 51)}
    assert len(made.training) == sum(len(p) // 50 + (len(p) % 50 >= 25) for p in made.proteins)
    assert all(len(text) == min(50, len(whole)) for text, whole in
               zip(made.held_out, [p for p in PROTEINS if p not in made.proteins], strict=True))  # fmt: skip


def test_replicates_split_anew_and_repeat_exactly() -> None:
    first, again, other = (draw_problem(PROTEINS, 10_000, r, **SIZES) for r in (0, 0, 1))
    assert first.training == again.training and first.held_out == again.held_out
    assert first.target.pieces == again.target.pieces
    assert {*first.held_out} != {*other.held_out} and first.training != other.training


def test_a_tokenizer_of_few_proteins_sees_those_alone() -> None:
    few = draw_problem(PROTEINS, 10_000, 0, **SIZES, tokenizer_proteins=3)
    whole = draw_problem(PROTEINS, 10_000, 0, **SIZES)
    assert few.target.pieces != whole.target.pieces
    assert few.training == draw_problem(PROTEINS, 10_000, 0, **SIZES, tokenizer_proteins=4).training


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"length": 1}, "length = 1"),
        ({"training": 0}, "training = 0"),
        ({"training": 10_000}, "training = 10000; the training proteins give"),
        ({"held_out": 60}, "held_out = 60"),
        ({"targets": 5}, "size = 5"),
    ],
)
def test_bad_numbers_of_a_problem(change: dict[str, int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        draw_problem(PROTEINS, 10_000, 0, **{**SIZES, **change})


def test_a_letter_that_no_protein_has() -> None:
    with pytest.raises(ValueError, match="'Z'"):
        draw_problem([*PROTEINS, "ACZ" * 20, "AZC" * 20], 10_000, 0, **{**SIZES, "held_out": 1})


def test_unigram_of_tokens_by_hand() -> None:
    target = train_bpe(["ACAC"], 22, alphabet=AMINO_ACIDS)  # 20 letters, the separator and AC
    made = Problem(target, ["ACACA"], ["ACC"], ("ACACA",))
    # training tokens AC AC A; held out AC C: p = (2 + 1) / 25 and (0 + 1) / 25, over 3 residues
    assert references(made)["token_unigram"] == pytest.approx(-(math.log2(3 / 25) + math.log2(1 / 25)) / 3)
    # residues: A 3, C 2 of 5, one added to each of 20 letters: (4/25) (3/25) (3/25)
    assert references(made)["unigram"] == pytest.approx(-(math.log2(4 / 25) + 2 * math.log2(3 / 25)) / 3)
    assert {*references(made)} == {"unigram", "token_unigram", "gzip", "lzma"}


def test_target_documents_count_residues() -> None:
    made = draw_problem(PROTEINS, 10_000, 0, **SIZES)
    documents = target_documents(made, made.held_out)
    assert [d.predicted_bytes for d in documents] == [len(t) for t in made.held_out]
    assert [decode(made.target, d.ids[1:]) for d in documents] == made.held_out


def test_token_frequencies_by_hand() -> None:
    target = train_bpe(["ACAC"], 22, alphabet=AMINO_ACIDS)
    found = token_frequencies(target, ["ACACA", "C"])
    counts = Counter(i for text in ("ACACA", "C") for i in document(target, text).ids.tolist())
    assert float(found.sum()) == pytest.approx(1)
    assert found.tolist() == pytest.approx([(counts[i] + 1) / (6 + 22) for i in range(22)])


def test_an_english_source_in_all_its_tokens() -> None:
    source = load_source("english small 1")
    assert source.kept.tolist() == list(range(1024)) and source.vectors.embedding.shape == (1024, 48)
    assert source.vectors.tied and not source.model.training
    texts = ["MKLVINGK", "ACDEFGHIKL"]
    made = source_documents(source, texts)
    assert [decode(source.vocabulary, d.ids[1:]) for d in made] == texts
    assert all(torch.equal(d.ids, document(source.vocabulary, t).ids) for d, t in zip(made, texts, strict=True))


def test_a_source_cut_down_to_letters() -> None:
    source, whole = load_source("english large 0", letters=AMINO_ACIDS), load_source("english large 0")
    pieces = [source.vocabulary.pieces[i] for i in source.kept.tolist()]
    assert all({*piece.decode()} <= {*AMINO_ACIDS} or piece == b"\n" for piece in pieces) and 21 <= len(pieces) < 200
    assert torch.equal(source.vectors.embedding, whole.vectors.embedding[source.kept])
    made = source_documents(source, ["MKLV"])[0]
    written = [pieces[i] for i in made.ids.tolist()]
    assert b"".join(written) == b"\nMKLV"
    with pytest.raises(ValueError, match="is not among the"):
        source_documents(source, ["the function"])


def test_surplus_rows_of_a_model_are_no_tokens(monkeypatch: pytest.MonkeyPatch) -> None:
    padded = small_model("llama tied", tokens=1030)
    vocabulary = load_source("english small 0").vocabulary
    loaded = LanguageModel(padded, None, "padded")
    monkeypatch.setattr(source_models, "load_language_model", lambda name, device, dtype: loaded)
    monkeypatch.setattr(source_models, "vocabulary_of", lambda tokenizer: vocabulary)
    found = load_source("some folder")
    assert found.vectors.embedding.shape == (1024, 16) and len(found.kept) == 1024


@pytest.mark.parametrize("name", ["english small", "english tiny 0", "english small x", "no such model"])
def test_unknown_sources(name: str) -> None:
    with pytest.raises(ValueError, match=r"name = |size = |name_or_path = "):
        load_source(name)
