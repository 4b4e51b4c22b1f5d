"""The translation problem with a known answer, and that sparse Sinkhorn finds it."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from twelvefold.core.seeds import numpy_generator, torch_generator
from twelvefold.nn.training_recipe import Recipe
from twelvefold.papers.s2t2.adaptation import exported, finetune, learn_plan
from twelvefold.papers.s2t2.bits_per_byte import score
from twelvefold.papers.s2t2.body import source_vectors
from twelvefold.papers.s2t2.descent import draw_order
from twelvefold.papers.s2t2.plans import PlanModel, draw_scores, uniform_marginals, vectors_of
from twelvefold.papers.s2t2.relabelling import (
    Relabelling,
    documents_of,
    draw_relabelling,
    entropy_rate,
    recovered,
    source_texts,
    stationary,
    target_texts,
    tiny_model,
    write_vectors,
)
from twelvefold.papers.s2t2.translation import translate

BY_HAND = Relabelling(torch.tensor([[0.5, 0.5], [0.25, 0.75]]).double(), torch.tensor([1, 0, 0, 1]))


def test_stationary_distribution_and_entropy_rate_by_hand() -> None:
    torch.testing.assert_close(stationary(BY_HAND), torch.tensor([1 / 3, 2 / 3]).double())
    assert entropy_rate(BY_HAND) == pytest.approx(1 / 3 + 2 / 3 * (0.25 * 2 - 0.75 * math.log2(0.75)))


def test_texts_follow_the_chain() -> None:
    texts = source_texts(BY_HAND, 200, 200, numpy_generator(10_000, 0, "texts"))
    classes = target_texts(BY_HAND, texts)
    assert texts.shape == (200, 200) and classes.unique().tolist() == [0, 1]
    ones = classes == 1
    assert float(ones[:, 0].double().mean()) == pytest.approx(2 / 3, abs=0.1)
    for start in (0, 1):
        after = ones[:, 1:][classes[:, :-1] == start].double().mean()
        assert float(after) == pytest.approx(float(BY_HAND.transition[start, 1]), abs=0.02)
    shares = torch.bincount(texts.flatten(), minlength=4) / texts.numel()
    torch.testing.assert_close(shares, torch.tensor([1 / 3, 1 / 6, 1 / 6, 1 / 3]), atol=0.02, rtol=0)


def test_classes_have_equal_sizes_and_rows_sum_to_one() -> None:
    problem = draw_relabelling(12, 4, numpy_generator(10_000, 0, "problem"))
    assert torch.bincount(problem.classes).tolist() == [3, 3, 3, 3]
    torch.testing.assert_close(problem.transition.sum(1), torch.ones(4).double())


def test_recovery_is_a_share_of_target_symbols() -> None:
    plan = torch.tensor([[0.0, 0.6], [0.5, 0.4], [0.5, 0.0], [0.0, 0.0]])
    assert recovered(plan, BY_HAND.classes) == 1.0
    assert recovered(plan.flip(1), BY_HAND.classes) == 0.0
    assert recovered(plan + torch.tensor([[0.9, 0.0]] + [[0.0, 0.0]] * 3), BY_HAND.classes) == 0.5


def test_the_tiny_model_draws_from_its_generator_alone() -> None:
    torch.manual_seed(1)
    before = torch.random.get_rng_state()
    one, other = (tiny_model(6, torch_generator(10_000, 0, "weights")) for _ in range(2))
    assert torch.equal(torch.random.get_rng_state(), before)
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), other.parameters(), strict=True))
    write_vectors(one, torch.ones(6, 32), 2 * torch.ones(6, 32))
    assert torch.equal(source_vectors(one).head, 2 * torch.ones(6, 32))
    assert not source_vectors(one).tied


def test_sparse_sinkhorn_recovers_the_relabelling() -> None:
    """A source model, trained, then a plan learnt from target texts alone: each target symbol finds its class."""
    v, u, problem = 12, 6, draw_relabelling(12, 6, numpy_generator(10_000, 0, "problem"))
    texts = numpy_generator(10_000, 0, "texts")
    source, target, held_out = (source_texts(problem, n, 32, texts) for n in (512, 512, 64))
    model = tiny_model(v, torch_generator(10_000, 0, "weights"))
    order = draw_order(512, 150, 16, torch_generator(10_000, 0, "order"))
    recipe = Recipe(steps=150, learning_rate=0.01, warmup=10)
    made = finetune(model, source_vectors(model), documents_of(source), order, recipe, micro=16)
    write_vectors(model, *made.vectors)
    vectors, marginals, how = source_vectors(model), uniform_marginals(v, u), PlanModel()
    scores = draw_scores(how, marginals, torch_generator(10_000, 0, "scores"))
    found = learn_plan(model, vectors, how, marginals, scores, documents_of(target_texts(problem, target)), order[:100],
                       Recipe(steps=100, learning_rate=0.05, clip=None), micro=16)  # fmt: skip
    plan = exported(how, found, marginals)
    bits = [score(model, made_of, documents_of(target_texts(problem, held_out))).bits_per_byte for made_of in (
        vectors_of(how, plan, vectors),
        translate((problem.classes[:, None] == torch.arange(u)).float(), vectors),  # the right plan
    )]  # fmt: skip
    assert recovered(plan.weights, problem.classes) == 1.0
    assert bits[0] == pytest.approx(bits[1], abs=0.1)
    assert bits[0] == pytest.approx(entropy_rate(problem), abs=0.2)
    assert bits[0] < math.log2(u) - 0.3


def test_bad_input_is_refused() -> None:
    generator = numpy_generator(10_000, 0, "problem")
    for arguments in ((7, 3), (4, 1), (2, 4)):
        with pytest.raises(ValueError, match=f"sources = {arguments[0]}"):
            draw_relabelling(*arguments, generator)
    with pytest.raises(ValueError, match="concentration = 0"):
        draw_relabelling(4, 2, generator, concentration=0)
    with pytest.raises(ValueError, match="ratio = 1.5"):
        draw_relabelling(4, 2, generator, ratio=1.5)
    with pytest.raises(ValueError, match="length = 1"):
        source_texts(BY_HAND, 3, 1, generator)
    with pytest.raises(ValueError, match=r"shape \(3, 2\)"):
        recovered(torch.ones(3, 2), BY_HAND.classes)
    with pytest.raises(ValueError, match="width = 6"):
        tiny_model(4, torch_generator(10_000, 0, "weights"), width=6)
    assert np.isfinite(entropy_rate(BY_HAND))
