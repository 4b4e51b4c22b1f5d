"""The tiny English models: that they are there, speak English, and are made by the command that is named."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from twelvefold.core import data
from twelvefold.core.seeds import numpy_generator
from twelvefold.papers.s2t2 import english_models, english_training
from twelvefold.papers.s2t2.bits_per_byte import score
from twelvefold.papers.s2t2.body import source_vectors
from twelvefold.papers.s2t2.english_models import (
    MEMBERS,
    SHAPES,
    file_name,
    load_english_model,
    load_english_vocabulary,
)
from twelvefold.papers.s2t2.tokenization import decode, document, encode

ENGLISH = (
    "The default is to return a new array, and the values of the input are not changed by this function.",
    "If the parameter is given, it must be a number that is larger than zero; otherwise an error is raised.",
)
PROTEIN = "MKLVINGKTLKGEITIEAVDAATAEKVFKQYANDNGIDGEWTYDDATKTFTVTE"


@pytest.mark.parametrize("size", SHAPES)
@pytest.mark.parametrize("member", range(MEMBERS))
def test_every_model_knows_english_better_than_a_compressor_could(size: str, member: int) -> None:
    made = load_english_model(size, member)
    documents = [document(made.vocabulary, text) for text in ENGLISH]
    english = score(made.model, source_vectors(made.model), documents).bits_per_byte
    scrambled = [document(made.vocabulary, text[::-1]) for text in ENGLISH]
    assert english < 2.3 < score(made.model, source_vectors(made.model), scrambled).bits_per_byte


def test_models_of_a_size_differ_and_share_a_shape() -> None:
    weights = [load_english_model("small", r).model.state_dict() for r in range(MEMBERS)]
    assert len({tuple(w["model.embed_tokens.weight"][5].tolist()) for w in weights}) == MEMBERS
    assert {tuple(w["model.embed_tokens.weight"].shape) for w in weights} == {(1024, 48)}
    large = load_english_model("large", 0).model
    assert large.config.hidden_size == 96 and large.lm_head.weight is large.model.embed_tokens.weight


def test_all_weights_come_from_the_file() -> None:
    model, files = load_english_model("large", 2).model, {f.name: f for f in data.load("english_llamas")["files"]}
    stored = load_file(files[file_name("large", 2)])
    named = {name: p for name, p in model.state_dict().items() if name != "lm_head.weight"}
    assert {*named} == {*stored}
    assert all(torch.equal(named[name], tensor.float()) for name, tensor in stored.items())


def test_the_tokenizer_writes_any_text() -> None:
    vocabulary = load_english_vocabulary()
    assert len(vocabulary) == english_models.TOKENS
    for text in (*ENGLISH, PROTEIN, "naïve €"):
        assert decode(vocabulary, encode(vocabulary, text)) == text


@pytest.mark.parametrize(("size", "member"), [("medium", 0), ("small", 5), ("large", -1)])
def test_unknown_models_are_refused(size: str, member: int) -> None:
    with pytest.raises(ValueError, match="small.*large.*0 to 4"):
        load_english_model(size, member)


def test_a_file_that_lacks_a_weight_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from safetensors.torch import save_file

    files = {f.name: f for f in data.load("english_llamas")["files"]}
    stored = load_file(files[file_name("small", 0)])
    stored.pop("model.norm.weight")
    save_file(stored, tmp_path / file_name("small", 0))
    monkeypatch.setattr(english_models.data, "load", lambda name: {"files": (tmp_path / file_name("small", 0),)})
    with pytest.raises(ValueError, match="model.norm.weight"):
        load_english_model("small", 0)


def test_the_command_writes_models_that_load(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    words = "the function returns an array of numbers and raises an error when axis is out of bounds for it".split()
    drawn = torch.randint(len(words), (400, 30), generator=torch.Generator().manual_seed(1))
    paragraphs = [" ".join(words[i] for i in row) for row in drawn.tolist()]
    monkeypatch.setattr(english_training, "docstring_paragraphs", lambda: paragraphs)
    monkeypatch.setattr(english_training, "STEPS", {"small": 30, "large": 30})
    monkeypatch.setattr(english_training, "HELD_OUT", 20)
    assert english_training.main([str(tmp_path), "--size", "small", "--member", "3"]) == 0
    assert sorted(file.name for file in tmp_path.iterdir()) == ["english_small_3.safetensors", "english_tokenizer.json"]
    files = tuple(tmp_path.iterdir())
    monkeypatch.setattr(english_models.data, "load", lambda name: {"files": files})
    made = load_english_model("small", 3)
    text = document(made.vocabulary, paragraphs[0])
    assert score(made.model, source_vectors(made.model), [text]).bits_per_byte < 3


def test_the_corpus_keeps_held_out_paragraphs_apart() -> None:
    drawn = numpy_generator(10_000, 0, "paragraphs")
    paragraphs = ["".join(drawn.choice(list("abcdefghij "), size=300)) for _ in range(120)]
    texts = english_training.corpus(paragraphs, held_out=10)
    held = {decode(texts.vocabulary, d.ids[1:]) for d in texts.held_out}
    assert not held & {decode(texts.vocabulary, d.ids[1:]) for d in texts.training}
    with pytest.raises(ValueError, match="held_out = 0; needed is 1 to 119"):
        english_training.corpus(paragraphs, held_out=0)
