"""Learning plans and finetuning: against plain loops, whatever the micro-batch, resumed after a stop, carried over."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from twelvefold.core.checkpoint import Checkpoint
from twelvefold.core.seeds import torch_generator
from twelvefold.nn.training_recipe import Recipe
from twelvefold.papers.s2t2 import adaptation
from twelvefold.papers.s2t2.adaptation import Learnt, body_parameters, exported, finetune, learn_plan, transfer
from twelvefold.papers.s2t2.bits_per_byte import document_nats, score
from twelvefold.papers.s2t2.body import source_vectors
from twelvefold.papers.s2t2.descent import descend, draw_order, micro_batches
from twelvefold.papers.s2t2.plans import PlanModel, draw_scores, plan_of, uniform_marginals, vectors_of
from twelvefold.papers.s2t2.tokenization import Vocabulary, train_bpe
from twelvefold.papers.s2t2.translation import Vectors, translate

from tests.papers.s2t2.language_models import drawn, drawn_documents, small_model

TARGETS = 8
MARGINALS = uniform_marginals(40, TARGETS)
DOCUMENTS = drawn_documents(10, TARGETS)
RECIPE = Recipe(steps=4, learning_rate=0.05, clip=None)
ORDER = draw_order(10, 4, 3, torch_generator(10_000, 0, "order"))


def learnt(family: str = "llama free", kind: str = "sparse_sinkhorn", **options: Any) -> Learnt:
    model, how = small_model(family), PlanModel(kind=kind, spread=0.2)
    scores = draw_scores(how, MARGINALS, torch_generator(10_000, 0, "scores"))
    return learn_plan(model, source_vectors(model), how, MARGINALS, scores, DOCUMENTS, ORDER, RECIPE, **options)


def vectors_of_targets(tied: bool) -> Vectors:
    embedding = 0.2 * drawn(TARGETS, 16, purpose="embedding")
    return Vectors(embedding, embedding if tied else 0.2 * drawn(TARGETS, 16, purpose="head"))


def test_the_first_update_is_adam_s_on_the_gradient_of_nats_per_byte() -> None:
    """One step of Adam moves every entry with a gradient by the rate against its sign."""
    model, how = small_model("llama free"), PlanModel(spread=0.2)
    scores = draw_scores(how, MARGINALS, torch_generator(10_000, 0, "scores"))
    leaf = scores.clone().requires_grad_()
    batch = [DOCUMENTS[int(i)] for i in ORDER[0]]
    vectors = vectors_of(how, plan_of(how, leaf, MARGINALS), source_vectors(model))
    loss = document_nats(model, vectors, batch).sum() / sum(d.predicted_bytes for d in batch)
    (expected,) = torch.autograd.grad(loss, leaf)
    made = learn_plan(model, source_vectors(model), how, MARGINALS, scores, DOCUMENTS, ORDER[:1],
                      Recipe(steps=1, learning_rate=0.05, clip=None))  # fmt: skip
    assert made.losses[0] == pytest.approx(float(loss.detach()), rel=1e-5)
    large = expected.abs() > 1e-5
    assert large.float().mean() > 0.3
    torch.testing.assert_close((scores - made.scores)[large], 0.05 * expected.sign()[large], atol=1e-3, rtol=0)


def test_a_projection_goes_on_from_the_step_before() -> None:
    """With a rate too small to move the scores, two steps of T iterations end where 2 T iterations do."""
    model, how = small_model("llama free"), PlanModel(spread=0.2, iterations=2)
    scores = draw_scores(how, MARGINALS, torch_generator(10_000, 0, "scores"))
    recipe = Recipe(steps=2, learning_rate=1e-9, clip=None)
    made = learn_plan(model, source_vectors(model), how, MARGINALS, scores, DOCUMENTS, ORDER[:2], recipe)
    expected = plan_of(PlanModel(iterations=4), scores, MARGINALS).potentials
    torch.testing.assert_close(made.potentials, expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("family", ["llama tied", "gpt2 tied", "llama free"])
@pytest.mark.parametrize("kind", ["sparse_sinkhorn", "column_softmax", "entropic_sinkhorn", "unconstrained"])
def test_the_loss_falls_for_every_kind_and_model(family: str, kind: str) -> None:
    same = torch.zeros(4, 1, dtype=torch.int64)
    model, how = small_model(family), PlanModel(kind=kind, spread=0.2)  # type: ignore[arg-type]
    scores = draw_scores(how, MARGINALS, torch_generator(10_000, 0, "scores"))
    made = learn_plan(model, source_vectors(model), how, MARGINALS, scores, DOCUMENTS, same, RECIPE)
    assert made.losses[-1] < made.losses[0]
    assert made.scores.shape == (40, TARGETS) and not made.scores.requires_grad


def test_a_frozen_model_does_not_change() -> None:
    model = small_model("llama tied")
    before = copy.deepcopy(model.state_dict())
    learn_plan(model, source_vectors(model), PlanModel(), MARGINALS, drawn(40, TARGETS), DOCUMENTS, ORDER, RECIPE)
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())


@pytest.mark.parametrize("family", ["llama tied", "llama free"])
def test_micro_batches_do_not_matter(family: str) -> None:
    one, three = (learnt(family, micro=micro) for micro in (1, 3))
    np.testing.assert_allclose(one.losses, three.losses, rtol=1e-5)
    torch.testing.assert_close(one.scores, three.scores, atol=1e-3, rtol=1e-3)


def test_learning_is_reproducible() -> None:
    assert torch.equal(learnt().scores, learnt().scores)


def finetuned(tied: bool, **options: Any) -> tuple[Any, adaptation.Finetuned]:
    model = small_model("llama free")
    return model, finetune(model, vectors_of_targets(tied), DOCUMENTS, ORDER, RECIPE, **options)


@pytest.mark.parametrize("tied", [True, False])
def test_finetuning_changes_body_and_vectors_and_leaves_the_model_s_own(tied: bool) -> None:
    before = small_model("llama free")
    model, made = finetuned(tied)
    assert made.vectors.tied == tied and made.losses[-1] < made.losses[0]
    changed = {name for name, p in body_parameters(model).items() if not torch.equal(p, body_parameters(before)[name])}
    assert changed == {*body_parameters(model)} and len(changed) == len(list(model.parameters())) - 2
    for own in ("get_input_embeddings", "get_output_embeddings"):
        assert torch.equal(getattr(model, own)().weight, getattr(before, own)().weight)
    assert not torch.equal(made.vectors.head, vectors_of_targets(tied).head)


@pytest.mark.parametrize("tied", [True, False])
def test_finetuning_with_the_source_tokens_is_finetuning_the_model_itself(tied: bool) -> None:
    """Against a plain loop over the model of transformers, with its own embedding and loss."""
    family = "llama tied" if tied else "llama free"
    plain, model = small_model(family), small_model(family)
    documents = [d for d in drawn_documents(20, 40, "source") if len(d.ids) == 5] or drawn_documents(3, 40, "source")
    order = torch.zeros(3, 1, dtype=torch.int64)
    optimiser = torch.optim.AdamW(plain.parameters(), lr=0.01, weight_decay=0.0)
    for _ in range(3):
        ids = documents[0].ids[None]
        loss = plain(input_ids=ids, labels=ids).loss * (ids.shape[1] - 1) / documents[0].predicted_bytes
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    recipe = Recipe(steps=3, learning_rate=0.01, clip=None, decay="constant")
    found = finetune(model, source_vectors(model), documents, order, recipe).vectors
    expected = source_vectors(plain)
    torch.testing.assert_close(found.embedding, expected.embedding, atol=1e-4, rtol=1e-3)
    torch.testing.assert_close(found.head, expected.head, atol=1e-4, rtol=1e-3)


def test_bfloat16_finetuning_is_near_float32() -> None:
    exact = finetuned(True)[1]
    model = small_model("llama free")
    recipe = Recipe(steps=4, learning_rate=0.05, clip=None, precision="bfloat16")
    fast = finetune(model, vectors_of_targets(True), DOCUMENTS, ORDER, recipe)
    np.testing.assert_allclose(fast.losses, exact.losses, rtol=0.1)
    assert fast.vectors.embedding.dtype == torch.float32


class Stopped(Exception):
    pass


def stopping(monkeypatch: pytest.MonkeyPatch, after: int) -> None:
    calls, original = [0], adaptation._add_gradients

    def counted(*arguments: Any) -> float:
        calls[0] += 1
        if calls[0] > after:
            raise Stopped
        return original(*arguments)

    monkeypatch.setattr(adaptation, "_add_gradients", counted)


@pytest.mark.parametrize(
    "run", [lambda **o: learnt(**o).scores, lambda **o: learnt(kind="entropic_sinkhorn", **o).scores,
            lambda **o: finetuned(False, **o)[1].vectors.embedding, lambda **o: finetuned(True, **o)[1].vectors.head],
)  # fmt: skip
def test_a_stopped_run_goes_on_to_the_same_bits(
    run: Callable[..., torch.Tensor], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = run()
    with monkeypatch.context() as patch:
        stopping(patch, after=2)
        with pytest.raises(Stopped):
            run(checkpoint=Checkpoint(tmp_path / "state.npz", every=0))
    with monkeypatch.context() as patch:
        stopping(patch, after=2)  # the two steps that are left, and no more
        assert torch.equal(run(checkpoint=Checkpoint(tmp_path / "state.npz", every=0)), whole)


def test_a_plan_is_carried_to_a_wider_model() -> None:
    vocabulary = train_bpe(["abc"], 258)
    rows = torch.arange(97, 117)
    small, large = small_model("llama free", tokens=258), small_model("gpt2 tied", tokens=258, width=32)
    how, marginals = PlanModel(spread=0.2), uniform_marginals(20, TARGETS)
    scores = draw_scores(how, marginals, torch_generator(10_000, 0, "scores"))
    made = learn_plan(small, source_vectors(small, rows), how, marginals, scores, DOCUMENTS, ORDER, RECIPE)
    plan = exported(how, made, marginals).weights
    vectors = transfer(plan, vocabulary, train_bpe(["abc"], 258), large, kept=rows)
    assert vectors.embedding.shape == (TARGETS, 32) and vectors.tied
    torch.testing.assert_close(vectors.embedding, translate(plan, source_vectors(large, rows)).embedding)
    assert np.isfinite(score(large, vectors, DOCUMENTS).bits_per_byte)
    with pytest.raises(ValueError, match="plan has 20 rows; one for each of 258"):
        transfer(plan, vocabulary, vocabulary, large)
    with pytest.raises(ValueError, match="258 and 259 tokens"):
        transfer(plan, vocabulary, other_vocabulary(), large, kept=rows)


def other_vocabulary() -> Vocabulary:
    return train_bpe(["abcd"], 259)


def test_an_exported_plan_continues_the_last_projection() -> None:
    made, how = learnt(), PlanModel(spread=0.2)
    last = exported(PlanModel(iterations=300), made, MARGINALS).weights
    assert not last.requires_grad
    exact = plan_of(PlanModel(iterations=1_000), made.scores, MARGINALS).weights
    torch.testing.assert_close(last, exact, atol=1e-5, rtol=1e-4)
    started, fresh = (exported(how, m, MARGINALS).weights for m in (made, made._replace(potentials=None)))
    assert (started - exact).abs().max() < (fresh - exact).abs().max()


def test_an_order_visits_every_document_once_a_pass() -> None:
    order = draw_order(6, 5, 3, torch_generator(10_000, 0, "order"))
    assert order.shape == (5, 3)
    flat = order.flatten().tolist()
    assert sorted(flat[:6]) == sorted(flat[6:12]) == list(range(6)) and flat[:6] != flat[6:12]


def test_a_step_is_cut_into_micro_batches() -> None:
    parts = micro_batches(DOCUMENTS, torch.tensor([4, 1, 7]), 2)
    assert [[id(d) for d in part] for part in parts] == [[id(DOCUMENTS[4]), id(DOCUMENTS[1])], [id(DOCUMENTS[7])]]


def test_matrices_decay_and_vectors_do_not() -> None:
    leaves = {"matrix": torch.ones(2, 2), "vector": torch.ones(2)}

    def nothing(step: int) -> float:
        for leaf in leaves.values():
            leaf.grad = torch.zeros_like(leaf)
        return 0.0

    descend(leaves, nothing, Recipe(steps=1, learning_rate=0.1, weight_decay=0.5))
    torch.testing.assert_close(leaves["matrix"], torch.full((2, 2), 0.95))
    assert torch.equal(leaves["vector"], torch.ones(2))


def test_a_loss_that_is_not_finite_stops_the_run() -> None:
    leaf = torch.ones(2)
    with pytest.raises(FloatingPointError, match="the loss of step 0 is nan"):
        descend({"leaf": leaf}, lambda step: float("nan"), Recipe(steps=2, learning_rate=0.1))


def test_bad_input_is_refused() -> None:
    generator = torch_generator(10_000, 0, "order")
    with pytest.raises(ValueError, match="batch = 0"):
        draw_order(5, 5, 0, generator)
    with pytest.raises(ValueError, match="micro = 0"):
        micro_batches(DOCUMENTS, ORDER[0], 0)
    model = small_model("llama free")
    source = source_vectors(model)
    for order in (ORDER[:3], ORDER + 8, ORDER[0]):
        with pytest.raises(ValueError, match="order has shape"):
            learn_plan(model, source, PlanModel(), MARGINALS, drawn(40, TARGETS), DOCUMENTS, order, RECIPE)
        with pytest.raises(ValueError, match="order has shape"):
            finetune(model, vectors_of_targets(True), DOCUMENTS, order, RECIPE)
    with pytest.raises(ValueError, match="torch.bfloat16"):
        finetune(model.bfloat16(), vectors_of_targets(True), DOCUMENTS, ORDER, RECIPE)
