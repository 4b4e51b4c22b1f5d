"""Tokenizers: what they can encode, whose bytes are counted, and the cut-down source vocabulary."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, normalizers
from twelvefold.core.seeds import numpy_generator
from twelvefold.papers.s2t2.tokenization import (
    Document,
    Vocabulary,
    bytes_per_token,
    check_same_tokens,
    decode,
    document,
    encode,
    renumber,
    tokens_made_of,
    train_bpe,
    vocabulary_of,
    windows,
)

LETTERS = "ACDEFGHIKLMNPQRSTVWY"
PROTEINS = ["".join(row) for row in numpy_generator(10_000, 0, "proteins").choice(list(LETTERS), size=(40, 60))]
ENGLISH = ["the cat sat on the mat and the dog sat on the log", "a naïve café: 5 € for a crème brûlée"] * 3
LETTER_BPE = train_bpe(PROTEINS, 64, alphabet=LETTERS)
BYTE_BPE = train_bpe(ENGLISH, 280)


def wordless(pieces: list[str], **options: object) -> Tokenizer:
    return Tokenizer(models.BPE(vocab={piece: i for i, piece in enumerate(pieces)}, merges=[], **options))


def test_exactly_u_tokens_and_all_letters_among_them() -> None:
    assert len(LETTER_BPE) == LETTER_BPE.tokenizer.get_vocab_size() == 64
    assert {c.encode() for c in LETTERS + "\n"} <= {*LETTER_BPE.pieces}
    assert len({*LETTER_BPE.pieces}) == 64
    assert len(BYTE_BPE) == 280 and {bytes([b]) for b in range(256)} <= {*BYTE_BPE.pieces}


def test_training_does_not_depend_on_the_order_of_the_texts() -> None:
    again = train_bpe(reversed(PROTEINS), 64, alphabet=LETTERS)
    assert again.pieces == LETTER_BPE.pieces
    assert again.tokenizer.to_str() == LETTER_BPE.tokenizer.to_str()


def test_first_merge_is_the_most_frequent_pair() -> None:
    made = train_bpe(["ABABAB", "ABCA"], 5, alphabet="ABC")
    assert set(made.pieces) == {b"A", b"B", b"C", b"\n", b"AB"}
    assert [made.pieces[i] for i in encode(made, "CABBA")] == [b"C", b"AB", b"B", b"A"]


@settings(max_examples=50, deadline=None)
@given(st.text(LETTERS, max_size=50))
def test_every_string_of_the_domain_comes_back(text: str) -> None:
    assert decode(LETTER_BPE, encode(LETTER_BPE, text)) == text


@settings(max_examples=50, deadline=None)
@given(st.text(max_size=30).filter(lambda t: "\n" not in t))
def test_byte_level_tokens_encode_any_string(text: str) -> None:
    text = text.encode(errors="ignore").decode()
    assert decode(BYTE_BPE, encode(BYTE_BPE, text)) == text


@pytest.mark.parametrize("vocabulary", [LETTER_BPE, BYTE_BPE])
def test_all_tokenizers_predict_the_same_bytes(vocabulary: Vocabulary) -> None:
    text = PROTEINS[0]
    made = document(vocabulary, text)
    assert made.predicted_bytes == len(text) == 60
    assert made.ids[0] == vocabulary.separator_id
    assert sum(len(vocabulary.pieces[i]) for i in made.ids[1:]) == made.predicted_bytes


def test_bytes_are_those_of_utf8() -> None:
    assert document(BYTE_BPE, "5 €").predicted_bytes == 5


def test_compression_of_a_hand_made_case() -> None:
    made = train_bpe(["ABABAB", "ABCA"], 5, alphabet="ABC")
    assert bytes_per_token(made, ["CABBA", "AB"]) == 7 / 5


def test_more_tokens_compress_better() -> None:
    small = train_bpe(PROTEINS, 24, alphabet=LETTERS)
    assert bytes_per_token(small, PROTEINS) < bytes_per_token(LETTER_BPE, PROTEINS)


def test_windows_are_cut_by_characters() -> None:
    assert windows(["ABCDE", "FG", ""], 2) == ["AB", "CD", "E", "FG"]


def test_byte_fallback_tokens_stand_for_one_byte() -> None:
    pieces = ["<0x0A>", "a", "\u2581b", *(f"<0x{b:02X}>" for b in range(256) if b != 10)]
    tokenizer = wordless(pieces, byte_fallback=True)
    tokenizer.decoder = decoders.Sequence([decoders.ByteFallback(), decoders.Fuse()])
    made = vocabulary_of(tokenizer)
    assert made.pieces[:3] == (b"\n", b"a", b" b")
    assert decode(made, encode(made, "aé€")) == "aé€"


def test_added_tokens_stand_for_their_text() -> None:
    tokenizer = wordless(["\n", "a"])
    tokenizer.add_special_tokens(["<end>"])
    assert vocabulary_of(tokenizer).pieces == (b"\n", b"a", b"<end>")


def test_vocabulary_of_a_transformers_tokenizer() -> None:
    from transformers import PreTrainedTokenizerFast

    wrapped = PreTrainedTokenizerFast(tokenizer_object=LETTER_BPE.tokenizer)
    assert vocabulary_of(wrapped).pieces == LETTER_BPE.pieces


def test_tokens_made_of_letters_are_found_and_renumbered() -> None:
    kept = tokens_made_of(BYTE_BPE, "thea")
    pieces = [BYTE_BPE.pieces[i] for i in kept]
    assert b"at" in pieces and b"\n" in pieces and all(set(p) <= set(b"thea\n") for p in pieces)
    assert kept.tolist() == sorted(kept.tolist())
    before = document(BYTE_BPE, "theta")
    (after,) = renumber([before], kept, len(BYTE_BPE))
    assert torch.equal(kept[after.ids], before.ids) and after.predicted_bytes == before.predicted_bytes
    with pytest.raises(ValueError, match=r"documents\[1\] holds token \d+"):
        renumber([before, document(BYTE_BPE, "dog")], kept, len(BYTE_BPE))


def test_equal_and_different_vocabularies() -> None:
    check_same_tokens(LETTER_BPE, train_bpe(PROTEINS, 64, alphabet=LETTERS))
    with pytest.raises(ValueError, match="64 and 280 tokens"):
        check_same_tokens(LETTER_BPE, BYTE_BPE)
    with pytest.raises(ValueError, match="is b'.*' in one vocabulary"):
        check_same_tokens(LETTER_BPE, train_bpe([p[::-1] for p in PROTEINS], 64, alphabet=LETTERS))


@pytest.mark.parametrize(
    ("text", "says"), [("MKXL", r"text\[2\] = 'X' .* no bytes to fall back"), ("M\nK", "separator")]
)
def test_a_text_that_cannot_be_encoded_is_refused(text: str, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        encode(LETTER_BPE, text)


def test_a_tokenizer_that_changes_texts_is_refused() -> None:
    tokenizer = wordless(["\n", "a", "A"])
    tokenizer.normalizer = normalizers.Lowercase()
    made = vocabulary_of(tokenizer)
    with pytest.raises(ValueError, match="'A' is not in the tokenizer"):
        encode(made, "aA")
    tokenizer.normalizer = normalizers.Replace("aa", "a")
    with pytest.raises(ValueError, match="changes it"):
        encode(vocabulary_of(tokenizer), "aa")


@pytest.mark.parametrize(
    ("texts", "size", "alphabet", "says"),
    [
        (["ABZ"], 10, "AB", r"texts\[0\] holds 'Z'"),
        (["AB\n"], 10, "AB", r"texts\[0\] holds '\\n'"),
        (["AB"], 2, "AB", "each of the 3 single"),
        (["AB"], 200, None, "each of the 256 single"),
        ([], 10, "AB", "texts: 0"),
        (["AB"], 10, "AB", "4 tokens only"),
    ],
)
def test_bad_training_is_refused(texts: list[str], size: int, alphabet: str | None, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        train_bpe(texts, size, alphabet=alphabet)


def test_bad_arguments_are_refused() -> None:
    with pytest.raises(ValueError, match="tokenizer is a int"):
        vocabulary_of(3)
    with pytest.raises(ValueError, match="separator = '\\\\n' is encoded as \\[\\]"):
        vocabulary_of(wordless(["a"]))
    with pytest.raises(ValueError, match="ids hold 64"):
        decode(LETTER_BPE, [64])
    with pytest.raises(ValueError, match="text is empty"):
        document(LETTER_BPE, "")
    with pytest.raises(ValueError, match="length = 0"):
        windows(["A"], 0)
    with pytest.raises(ValueError, match="no characters"):
        bytes_per_token(LETTER_BPE, [""])
    with pytest.raises(ValueError, match="'Z', for which"):
        tokens_made_of(LETTER_BPE, "AZ")


def test_a_document_is_plain_data() -> None:
    assert Document(torch.tensor([0, 1]), 1)._fields == ("ids", "predicted_bytes")
    assert np.asarray(document(LETTER_BPE, "MK").ids).dtype == np.int64
