"""Tokenizers as the translation needs them: what bytes each token stands for, and how many bytes are predicted.

A document is a separator followed by a text. The separator is one token of every tokenizer and is never predicted, so
all tokenizers predict the same bytes, those of the text, and bits per byte can be compared between them.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor

if TYPE_CHECKING:
    from tokenizers import Tokenizer

SEPARATOR = "\n"


class Document(NamedTuple):
    """Token numbers `[T]` of a separator and a text, and how many bytes tokens 1, ..., T - 1 stand for."""

    ids: Tensor
    predicted_bytes: int


@dataclass(frozen=True, eq=False)
class Vocabulary:
    """A tokenizer and the bytes of each of its tokens.

    Attributes:
        tokenizer: of the `tokenizers` library.
        pieces: `pieces[i]` is what token i stands for; empty for a number without a token.
        separator: the character that starts a document; always a token of its own.
        separator_id: number of that token.
    """

    tokenizer: Tokenizer
    pieces: tuple[bytes, ...]
    separator: str
    separator_id: int

    def __len__(self) -> int:
        """Number of token numbers, u (or v for the source)."""
        return len(self.pieces)


def train_bpe(
    texts: Iterable[str], size: int, *, alphabet: str | None = None, separator: str = SEPARATOR
) -> Vocabulary:
    """Train a byte-pair encoding with exactly `size` tokens; the same texts give the same tokens, in any order.

    Args:
        texts: of the target domain, without the separator. size: number of tokens, u.
        alphabet: the characters of the domain, e.g. the amino-acid letters; each is a token, so that every string of
            them can be encoded, and no other. None: all 256 bytes are tokens, so that any string can be encoded.
        separator: one character; it is added to the tokens and never merged.

    Raises:
        ValueError: a text with a character outside the alphabet, no text, a size below the number of single
            characters, or texts in which there are not enough different pairs to merge.
    """
    from tokenizers import pre_tokenizers, trainers

    texts = list(texts)
    letters = sorted(pre_tokenizers.ByteLevel.alphabet() if alphabet is None else {*alphabet, separator})
    if alphabet is not None:
        _check_letters(texts, {*letters} - {separator})
    if not texts or size < len(letters):
        raise ValueError(f"texts: {len(texts)}, size = {size}; at least one text, and a token for each of the "
                         f"{len(letters)} single characters are needed")  # fmt: skip
    tokenizer = _untrained(separator, byte_level=alphabet is None)
    trainer = trainers.BpeTrainer(vocab_size=size, initial_alphabet=letters, show_progress=False, special_tokens=[])
    tokenizer.train_from_iterator(texts, trainer)
    if tokenizer.get_vocab_size() != size:
        raise ValueError(f"size = {size}; the texts have pairs to merge for {tokenizer.get_vocab_size()} tokens only")
    return vocabulary_of(tokenizer, separator=separator)


def _untrained(separator: str, byte_level: bool) -> Tokenizer:
    """A BPE without tokens, in which a text between two separators is one word."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers

    tokenizer = Tokenizer(models.BPE())
    alone = pre_tokenizers.Split(separator, "isolated")
    # the stubs of the library allow fewer types here than the library does
    tokenizer.pre_tokenizer = alone  # type: ignore[assignment]
    if byte_level:
        whole = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
        tokenizer.pre_tokenizer = pre_tokenizers.Sequence([alone, whole])  # type: ignore[assignment, list-item]
        tokenizer.decoder = decoders.ByteLevel()  # type: ignore[assignment]
    return tokenizer


def _check_letters(texts: Sequence[str], letters: set[str]) -> None:
    for place, text in enumerate(texts):
        if strange := sorted({*text} - letters):
            raise ValueError(f"texts[{place}] holds {strange[0]!r}, which is not in the alphabet "
                             f"{''.join(sorted(letters))}; drop such texts, add the character, or take alphabet=None "
                             "for any string")  # fmt: skip


def vocabulary_of(tokenizer: Any, *, separator: str = SEPARATOR) -> Vocabulary:
    """Read the bytes of every token of a byte-level, byte-fallback or plain BPE tokenizer.

    Args:
        tokenizer: of the `tokenizers` library, or a fast one of `transformers`.
        separator: one character that the tokenizer must encode as one token.

    Raises:
        ValueError: a tokenizer that is not backed by the `tokenizers` library, or that has no token for the separator.
    """
    backend = getattr(tokenizer, "backend_tokenizer", tokenizer)
    if not hasattr(backend, "get_vocab") or not hasattr(backend, "to_str"):
        raise ValueError(f"tokenizer is a {type(tokenizer).__name__}; one of the `tokenizers` library, or a fast one "
                         "of `transformers`, is needed")  # fmt: skip
    numbered = {number: token for token, number in backend.get_vocab(with_added_tokens=True).items()}
    added = {number: token.content for number, token in backend.get_added_tokens_decoder().items()}
    scheme = _scheme(backend)
    pieces = tuple(added[i].encode() if i in added else _piece(numbered.get(i, ""), scheme)
                   for i in range(max(numbered) + 1))  # fmt: skip
    found = backend.encode(separator, add_special_tokens=False).ids
    if len(separator) != 1 or [pieces[i] for i in found] != [separator.encode()]:
        raise ValueError(f"separator = {separator!r} is encoded as {[pieces[i] for i in found]}; one character that is "
                         "one token is needed")  # fmt: skip
    return Vocabulary(backend, pieces, separator, found[0])


def _scheme(tokenizer: Tokenizer) -> str:
    """How the tokenizer writes bytes: "bytes" (one printable character each), "fallback" (<0x0A>) or "plain"."""
    stated = json.loads(tokenizer.to_str())
    kinds = json.dumps([stated.get("decoder"), stated.get("pre_tokenizer"), stated["model"].get("byte_fallback")])
    if '"ByteLevel"' in kinds:
        return "bytes"
    return "fallback" if '"ByteFallback"' in kinds or stated["model"].get("byte_fallback") else "plain"


@cache
def _printed_bytes() -> Mapping[str, int]:
    """The byte that each character of a byte-level token stands for (Radford et al. 2019).

    Printable bytes stand for themselves; the others, in order, for the characters from 256 on.
    """
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in printable]
    return {chr(b): b for b in printable} | {chr(256 + n): b for n, b in enumerate(others)}


def _piece(token: str, scheme: str) -> bytes:
    if scheme == "bytes":
        table = _printed_bytes()
        return b"".join(bytes([table[c]]) if c in table else c.encode() for c in token)
    if scheme == "fallback" and len(token) == 6 and token.startswith("<0x") and token.endswith(">"):
        return bytes([int(token[3:5], 16)])
    return token.replace("\u2581", " ").encode() if scheme == "fallback" else token.encode()


def encode(vocabulary: Vocabulary, text: str) -> list[int]:
    """Token numbers of a text without separators.

    Raises:
        ValueError: the tokens do not stand for the text byte by byte: a character that the tokenizer lacks (named), or
            a tokenizer that changes texts.
    """
    if vocabulary.separator in text:
        raise ValueError(f"text holds the separator {vocabulary.separator!r} at {text.index(vocabulary.separator)}; "
                         "cut it there into several texts")  # fmt: skip
    ids: list[int] = vocabulary.tokenizer.encode(text, add_special_tokens=False).ids
    if b"".join(vocabulary.pieces[i] for i in ids) != text.encode():
        raise ValueError(_why(vocabulary, text))
    return ids


def _why(vocabulary: Vocabulary, text: str) -> str:
    for place, letter in enumerate(text):
        ids = vocabulary.tokenizer.encode(letter, add_special_tokens=False).ids
        if b"".join(vocabulary.pieces[i] for i in ids) != letter.encode():
            return (f"text[{place}] = {letter!r} is not in the tokenizer, which has no bytes to fall back on; drop the "
                    "text, or train a tokenizer with alphabet=None")
    return f"text = {text[:40]!r}: the tokenizer changes it (adds a space, normalises); its bytes cannot be counted"


def decode(vocabulary: Vocabulary, ids: Iterable[int]) -> str:
    """The text of tokens.

    Raises:
        ValueError: a number that is no token, or tokens that end inside a character.
    """
    numbers = [int(i) for i in ids]
    if strange := [i for i in numbers if not 0 <= i < len(vocabulary)]:
        raise ValueError(f"ids hold {strange[0]}; numbers from 0 to {len(vocabulary) - 1} are needed")
    return b"".join(vocabulary.pieces[i] for i in numbers).decode()


def document(vocabulary: Vocabulary, text: str) -> Document:
    """The separator, then the text; all bytes of the text are predicted, whatever the tokenizer.

    Raises:
        ValueError: an empty text, and as `encode`.
    """
    if not text:
        raise ValueError("text is empty; at least one character is needed")
    return Document(torch.tensor([vocabulary.separator_id, *encode(vocabulary, text)]), len(text.encode()))


def windows(texts: Iterable[str], length: int) -> list[str]:
    """Cut texts into pieces of `length` characters (the last of a text is shorter), the same for every tokenizer.

    Raises:
        ValueError: a length below 1.
    """
    if length < 1:
        raise ValueError(f"length = {length}; at least 1 character is needed")
    return [text[start : start + length] for text in texts for start in range(0, len(text), length)]


def bytes_per_token(vocabulary: Vocabulary, texts: Iterable[str]) -> float:
    """Compression: bytes of all texts over the number of their tokens, separators not counted.

    Raises:
        ValueError: no bytes at all, and as `encode`.
    """
    counts = [(len(text.encode()), len(encode(vocabulary, text))) for text in texts]
    tokens = sum(n for _, n in counts)
    if tokens == 0:
        raise ValueError("texts hold no characters; at least one is needed")
    return sum(b for b, _ in counts) / tokens


def tokens_made_of(vocabulary: Vocabulary, characters: str) -> Tensor:
    """Numbers, ascending `[n]`, of the tokens that hold nothing but the given characters, and of the separator.

    A source vocabulary cut down to these makes a small translation problem.

    Raises:
        ValueError: a character for which there is no token of its own, so that not every string could be written.
    """
    allowed = {character.encode() for character in characters}
    if missing := sorted(allowed - {*vocabulary.pieces}):
        raise ValueError(f"characters hold {missing[0].decode()!r}, for which the vocabulary has no token of its own")
    single = {*characters}
    kept = [i for i, piece in enumerate(vocabulary.pieces) if piece and {*piece.decode(errors="replace")} <= single]
    return torch.tensor(sorted({*kept, vocabulary.separator_id}))


def renumber(documents: Sequence[Document], kept: Tensor, size: int) -> list[Document]:
    """Write documents in the numbers of a cut-down vocabulary: token `kept[i]` becomes i.

    Args:
        documents: in numbers of the whole vocabulary. kept: ascending `[n]`. size: of the whole vocabulary.

    Raises:
        ValueError: a document with a token that was not kept.
    """
    place = torch.full((size,), -1)
    place[kept] = torch.arange(len(kept))
    changed = [Document(place[d.ids], d.predicted_bytes) for d in documents]
    for number, made in enumerate(changed):
        if bool((made.ids < 0).any()):
            lost = documents[number].ids[made.ids < 0][0].item()
            raise ValueError(f"documents[{number}] holds token {lost}, which is not among the {len(kept)} kept ones")
    return changed


def check_same_tokens(first: Vocabulary, second: Vocabulary) -> None:
    """Refuse two vocabularies in which a number stands for different bytes.

    Raises:
        ValueError: names the first token that differs.
    """
    if len(first) != len(second):
        raise ValueError(f"the vocabularies have {len(first)} and {len(second)} tokens; equal ones are needed")
    for number, (one, other) in enumerate(zip(first.pieces, second.pieces, strict=True)):
        if one != other:
            raise ValueError(f"token {number} is {one!r} in one vocabulary and {other!r} in the other; equal ones are "
                             "needed to carry a plan over")  # fmt: skip
