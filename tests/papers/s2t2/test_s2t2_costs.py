"""Operations of a training step against torch's own counter of matrix products."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode
from twelvefold.nn.training_recipe import Recipe
from twelvefold.papers.s2t2.adaptation import finetune, learn_plan
from twelvefold.papers.s2t2.body import source_vectors
from twelvefold.papers.s2t2.costs import body_weights, finetuning_flops, learning_flops
from twelvefold.papers.s2t2.plans import PlanModel, uniform_marginals
from twelvefold.papers.s2t2.tokenization import Document
from twelvefold.papers.s2t2.translation import Vectors

from tests.papers.s2t2.language_models import drawn, small_model

DOCUMENT = Document(torch.tensor([0, 1, 2, 3, 4]), 4)  # four predicted tokens
ORDER = torch.zeros(1, 1, dtype=torch.int64)
RECIPE = Recipe(steps=1, learning_rate=0.01)


def test_weights_of_a_body_by_hand() -> None:
    # two layers: queries and output 16 x 16, keys and values 16 x 8, three matrices 16 x 24
    assert body_weights(small_model("llama tied")) == 2 * (2 * 256 + 2 * 128 + 3 * 384)
    # GPT-2, one layer: 16 x 48, 16 x 16, and 16 x 64 twice
    assert body_weights(small_model("gpt2 tied")) == 768 + 256 + 2 * 1024


def counted(run: Any) -> int:
    """Operations of matrix products; those of attention are not counted in the modules' names of torch."""
    with FlopCounterMode(display=False) as counter:
        run()
    products = counter.get_flop_counts()["Global"]
    return sum(number for kind, number in products.items() if str(kind) in ("aten.mm", "aten.addmm"))


@pytest.mark.parametrize("family", ["llama tied", "llama free"])
def test_finetuning(family: str) -> None:
    model = small_model(family)
    vectors = Vectors(drawn(8, 16), drawn(8, 16))
    found = counted(lambda: finetune(model, vectors, [DOCUMENT], ORDER, RECIPE))
    assert finetuning_flops(model, vectors, 4) == pytest.approx(found, rel=1e-6)


@pytest.mark.parametrize("family", ["llama tied", "llama free"])
def test_learning_a_plan(family: str) -> None:
    model, marginals = small_model(family), uniform_marginals(40, 8)
    source = source_vectors(model)
    vectors = Vectors(drawn(8, 16), drawn(8, 16))
    vectors = Vectors(vectors.embedding, vectors.embedding) if source.tied else vectors
    found = counted(lambda: learn_plan(model, source, PlanModel(), marginals, drawn(40, 8), [DOCUMENT], ORDER, RECIPE))
    assert learning_flops(model, vectors, 40, 4) == pytest.approx(found, rel=1e-6)


def test_bad_numbers_are_refused() -> None:
    model = small_model("llama tied")
    vectors = source_vectors(model)
    with pytest.raises(ValueError, match="tokens = -1"):
        finetuning_flops(model, vectors, -1)
    with pytest.raises(ValueError, match="sources = 0"):
        learning_flops(model, vectors, 0, 4)
