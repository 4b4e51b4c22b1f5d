"""Train the tiny English language models: `python -m twelvefold.papers.s2t2.english_training FOLDER`.

The command writes a tokenizer and a file of float16 weights per model, and prints bits per byte of held-out English. It
takes about 50 minutes on one core. Weights depend on the versions of the packages whose docstrings are read, on
Python's and on the processor's rounding, so a second run makes models like the committed ones, not the same bytes.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch

from twelvefold.core.seeds import numpy_generator, torch_generator
from twelvefold.nn.training_recipe import Recipe
from twelvefold.papers.s2t2.adaptation import finetune
from twelvefold.papers.s2t2.bits_per_byte import score
from twelvefold.papers.s2t2.body import source_vectors
from twelvefold.papers.s2t2.descent import draw_order
from twelvefold.papers.s2t2.english_models import MEMBERS, SHAPES, TOKENIZER, TOKENS, english_llama, file_name
from twelvefold.papers.s2t2.tokenization import Document, Vocabulary, document, train_bpe, windows
from twelvefold.tasks.docstring_prose import docstring_paragraphs

SEED = 20_000  # of the models, apart from the seeds of every study
LENGTH = 384  # characters of a text
HELD_OUT = 300  # texts
BATCH = 16  # texts of an update
STEPS = {"small": 1000, "large": 1200}
RATE = {"small": 6e-3, "large": 4e-3}


class Corpus(NamedTuple):
    """The tokenizer, and texts in its tokens: those to train on, and those held out."""

    vocabulary: Vocabulary
    training: list[Document]
    held_out: list[Document]


def corpus(paragraphs: Sequence[str], held_out: int = HELD_OUT) -> Corpus:
    """Split paragraphs, train the tokenizer on the larger part, and cut both into texts.

    Args:
        paragraphs: of prose. held_out: how many paragraphs are not trained on.

    Raises:
        ValueError: fewer paragraphs than `held_out` + 1, or too little text for the tokenizer.
    """
    if not 0 < held_out < len(paragraphs):
        raise ValueError(f"held_out = {held_out}; needed is 1 to {len(paragraphs) - 1}")
    order = numpy_generator(SEED, 0, "english texts").permutation(len(paragraphs))
    shuffled = [paragraphs[i] for i in order]
    learning = windows(shuffled[held_out:], LENGTH)
    vocabulary = train_bpe(learning, TOKENS)
    unseen = windows(shuffled[:held_out], LENGTH)
    return Corpus(vocabulary, *([document(vocabulary, text) for text in texts] for texts in (learning, unseen)))


def train_english_model(size: str, member: int, texts: Corpus, steps: int | None = None) -> Any:
    """Train one model from its own weights and order; returned frozen, in evaluation mode.

    Args:
        size: "small" or "large". member: which one. texts: of `corpus`.
        steps: updates; None: as for the committed ones.
    """
    model = english_llama(SHAPES[size])
    drawn = torch_generator(SEED, member, f"english weights {size}")
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim >= 2:
                parameter.normal_(0, 0.02, generator=drawn)
    steps = STEPS[size] if steps is None else steps
    recipe = Recipe(steps=steps, learning_rate=RATE[size], warmup=steps // 20, beta2=0.98, weight_decay=0.05)
    order = draw_order(len(texts.training), steps, BATCH, torch_generator(SEED, member, "english order"))
    made = finetune(model, source_vectors(model), texts.training, order, recipe, micro=BATCH, label=f"{size} {member}")
    with torch.no_grad():
        model.get_input_embeddings().weight.copy_(made.vectors.embedding)
    return model


def main(arguments: Sequence[str] | None = None) -> int:
    """Train all models and write them to a folder."""
    from safetensors.torch import save_file

    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("folder", type=Path, help="where the files go, e.g. data/derived")
    parser.add_argument("--size", choices=sorted(SHAPES), action="append", help="only this size")
    parser.add_argument("--member", type=int, choices=range(MEMBERS), action="append", help="only this member")
    chosen = parser.parse_args(arguments)
    chosen.folder.mkdir(parents=True, exist_ok=True)
    texts = corpus(docstring_paragraphs())
    texts.vocabulary.tokenizer.save(str(chosen.folder / TOKENIZER), pretty=False)
    for size in chosen.size or SHAPES:
        for member in chosen.member or range(MEMBERS):
            model = train_english_model(size, member, texts)
            weights = {name: tensor.to(torch.float16).contiguous() for name, tensor in model.state_dict().items()
                       if name != "lm_head.weight"}  # fmt: skip
            save_file(weights, chosen.folder / file_name(size, member))
            bits = score(model, source_vectors(model), texts.held_out).bits_per_byte
            print(f"{file_name(size, member)}: {bits:.3f} bits per byte of held-out English", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
