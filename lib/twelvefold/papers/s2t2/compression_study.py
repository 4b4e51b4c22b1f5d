"""How many bytes a token stands for: tokenizers of the target domain by size, beside those of source models."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Sequence
from functools import cache
from typing import Any

from twelvefold.core import data
from twelvefold.nn.converted_models import converted_folder
from twelvefold.papers.s2t2.english_models import load_english_vocabulary
from twelvefold.papers.s2t2.protein_problem import Problem, draw_problem
from twelvefold.papers.s2t2.tokenization import Vocabulary, bytes_per_token, encode, vocabulary_of
from twelvefold.tasks.proteins import compressed_bits, load_proteins, unigram_bits


def compression_run(
    seed: int, replicate: int, *, sources: list[str], sizes: list[int], proteins: str, limit: int | None,
    length: int, training: int, held_out: int, tokenizer_proteins: int | None,
) -> dict[str, Any]:  # fmt: skip
    """Bytes per token on held-out proteins, and what a unigram model of the tokens costs, in one data draw.

    The tokenizers of a draw are cuts of the largest one: byte-pair encoding adds one token after the other.

    Args:
        seed, replicate: of the draw: split, texts, and the proteins that tokenizers are trained on.
        sources: models whose tokenizers are asked too (see `source_vocabulary`).
        sizes: numbers u of target tokens.
        proteins: name of the dataset. limit: read so many of its proteins; None: all.
        length: residues of a text. training: texts whose tokens are counted. held_out: texts to encode.
        tokenizer_proteins: how many training proteins a tokenizer sees; None: all.

    Returns:
        columns: kind ("target" or "source"), name, tokens (u or v), bytes_per_token, bits (per residue, of the token
        unigram; None for a source). references: bits per residue of independent residues ("unigram") and of "gzip".

    Raises:
        ValueError: as `draw_problem`, `first_tokens` and `source_vocabulary`.
    """
    problem = draw_problem(load_proteins(proteins, limit).sequences, seed, replicate, targets=max(sizes),
                           length=length, training=training, held_out=held_out,
                           tokenizer_proteins=tokenizer_proteins)  # fmt: skip
    rows = [_target_row(first_tokens(problem.target, size), problem) for size in sizes]
    for name in sources:
        vocabulary = source_vocabulary(name)
        rows.append({"kind": "source", "name": name, "tokens": len(vocabulary), "bits": None,
                     "bytes_per_token": bytes_per_token(vocabulary, problem.held_out)})  # fmt: skip
    others = {"unigram": unigram_bits(problem.proteins, problem.held_out),
              "gzip": compressed_bits(problem.held_out, "gzip")}  # fmt: skip
    return {"columns": {name: [row[name] for row in rows] for name in rows[0]}, "references": others}


def _target_row(target: Vocabulary, problem: Problem) -> dict[str, Any]:
    return {"kind": "target", "name": f"{len(target)} target tokens", "tokens": len(target),
            "bits": token_unigram_bits(target, problem.training, problem.held_out),
            "bytes_per_token": bytes_per_token(target, problem.held_out)}  # fmt: skip


def first_tokens(vocabulary: Vocabulary, size: int) -> Vocabulary:
    """The byte-pair encoding of `size` tokens whose further merges made `vocabulary`: what training it would give.

    Raises:
        ValueError: a size outside the number of single characters to that of all tokens.
    """
    from tokenizers import Tokenizer

    stated = json.loads(vocabulary.tokenizer.to_str())
    model = stated["model"]
    singles = len(model["vocab"]) - len(model["merges"])
    if not singles <= size <= len(model["vocab"]):
        raise ValueError(f"size = {size}; {singles} to {len(model['vocab'])} is needed")
    # tokens are numbered in the order in which they were merged
    model["vocab"] = {token: number for token, number in model["vocab"].items() if number < size}
    model["merges"] = model["merges"][: size - singles]
    return vocabulary_of(Tokenizer.from_str(json.dumps(stated)), separator=vocabulary.separator)


def token_unigram_bits(vocabulary: Vocabulary, training: Sequence[str], held_out: Sequence[str]) -> float:
    """Bits per residue of independent tokens: p(t) = (n_t + 1) / (n + u), counted in the training texts.

    The same as "token_unigram" of `protein_problem.references`, for any vocabulary.

    Raises:
        ValueError: no text to predict.
    """
    if not held_out:
        raise ValueError("held_out is empty; at least one text is needed")
    counts, asked = _counts(vocabulary, training), _counts(vocabulary, held_out)
    total = counts.total() + len(vocabulary)
    bits = sum(-n * math.log2((counts[i] + 1) / total) for i, n in asked.items())
    return bits / sum(len(text.encode()) for text in held_out)


def _counts(vocabulary: Vocabulary, texts: Sequence[str]) -> Counter[int]:
    encoded = vocabulary.tokenizer.encode_batch(list(texts), add_special_tokens=False)
    return Counter(number for made in encoded for number in made.ids)


@cache
def source_vocabulary(name: str) -> Vocabulary:
    """The tokenizer of a source model, without the model's weights.

    Args:
        name: "english" (that of all tiny English models), or a language model of the data registry.

    Raises:
        KeyError: an unknown name. DataMissing: it is not on this machine. ImportError: a package is missing.
    """
    from tokenizers import Tokenizer

    if name == "english":
        return load_english_vocabulary()
    place = data.path(name)
    folder = place if place.is_dir() else converted_folder(place, name)
    return vocabulary_of(Tokenizer.from_file(str(folder / "tokenizer.json")))


def segments(vocabulary: Vocabulary, text: str, separator: str = " · ") -> str:
    """A text with a separator between its tokens, as a reader can see where they end.

    Raises:
        ValueError: as `encode`.
    """
    pieces = [vocabulary.pieces[i] for i in encode(vocabulary, text)]
    return separator.join(piece.decode(errors="backslashreplace") for piece in pieces)
