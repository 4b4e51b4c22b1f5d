"""From scores to plans, baselines without training, and the anatomy of a plan."""

from __future__ import annotations

import math
from dataclasses import replace

import ot
import pytest
import torch
from twelvefold.core.seeds import torch_generator
from twelvefold.papers.s2t2.anatomy import Share, effective_sources, share_of_single, support, top_sources
from twelvefold.papers.s2t2.baselines import gaussian_vectors, piece_plan
from twelvefold.papers.s2t2.plans import (
    PlanModel,
    draw_scores,
    marginals_of,
    plan_of,
    uniform_marginals,
    vectors_of,
)
from twelvefold.papers.s2t2.tokenization import tokens_made_of, train_bpe
from twelvefold.papers.s2t2.translation import Vectors, translate

from tests.papers.s2t2.language_models import drawn

KINDS = ("sparse_sinkhorn", "column_softmax", "entropic_sinkhorn")
MARGINALS = uniform_marginals(20, 5)
SOURCE = train_bpe(["abcab abd", "xyz"], 262)


def test_uniform_masses() -> None:
    assert MARGINALS.source.tolist() == [0.25] * 20 and MARGINALS.target.tolist() == [1.0] * 5


@pytest.mark.parametrize("kind", KINDS)
def test_every_column_has_its_mass_and_rows_where_they_must(kind: str) -> None:
    plan = plan_of(PlanModel(kind=kind, iterations=300), drawn(20, 5), MARGINALS).weights
    torch.testing.assert_close(plan.sum(0), MARGINALS.target)
    rows_fit = torch.allclose(plan.sum(1), MARGINALS.source, atol=1e-5)
    assert rows_fit == (kind != "column_softmax")
    assert bool((plan >= 0).all()) and bool((plan == 0).any()) == (kind == "sparse_sinkhorn")


def test_plans_are_those_of_pot() -> None:
    scores, mu, nu = drawn(20, 5).double(), torch.full((20,), 0.05).double(), torch.full((5,), 0.2).double()
    made = plan_of(PlanModel(iterations=2_000), scores, uniform_marginals(20, 5)._replace(source=5 * mu, target=5 * nu))
    # masses are u times those of a joint distribution: P(C) = u P'(C / u)
    expected = ot.smooth.smooth_ot_dual(mu.numpy(), nu.numpy(), -scores.numpy() / 5, reg=1.0, reg_type="l2",
                                        numItermax=20_000, stopThr=1e-14)  # fmt: skip
    torch.testing.assert_close(made.weights / 5, torch.from_numpy(expected), atol=1e-6, rtol=0)
    dense = plan_of(PlanModel(kind="entropic_sinkhorn", regularisation=0.5, iterations=2_000), scores, MARGINALS_64)
    entropic = ot.sinkhorn(5 * mu.numpy(), 5 * nu.numpy(), -scores.numpy(), 0.5, method="sinkhorn_log", stopThr=1e-12)
    torch.testing.assert_close(dense.weights, torch.from_numpy(entropic), atol=1e-8, rtol=0)


MARGINALS_64 = type(MARGINALS)(*(m.double() for m in MARGINALS))


@pytest.mark.parametrize("kind", ["sparse_sinkhorn", "entropic_sinkhorn"])
def test_a_projection_goes_on_from_its_potentials(kind: str) -> None:
    model = PlanModel(kind=kind, iterations=4)
    first = plan_of(model, drawn(20, 5), MARGINALS)
    second = plan_of(model, drawn(20, 5), MARGINALS, first.potentials)
    whole = plan_of(replace(model, iterations=8), drawn(20, 5), MARGINALS)
    torch.testing.assert_close(second.weights, whole.weights, atol=1e-6, rtol=1e-5)
    assert first.potentials is not None and not any(p.requires_grad for p in first.potentials)


@pytest.mark.parametrize("kind", [*KINDS, "unconstrained"])
def test_gradients_of_all_kinds(kind: str) -> None:
    model = PlanModel(kind=kind, iterations=3)
    source = Vectors(drawn(20, 6).double(), drawn(20, 6, purpose="head").double())
    weights = drawn(2, 5, 6, purpose="weights").double()

    def value(scores: torch.Tensor) -> torch.Tensor:
        vectors = vectors_of(model, plan_of(model, scores, MARGINALS_64), source)
        return (weights[0] * vectors.embedding + weights[1] * vectors.head).sum()

    assert torch.autograd.gradcheck(value, (drawn(20, 5).double().requires_grad_(),))


def test_unigram_masses() -> None:
    mu, nu = torch.tensor([0.5, 0.3, 0.2]), torch.tensor([0.9, 0.1])
    made = marginals_of(mu, nu)
    torch.testing.assert_close(made.source, 2 * mu)
    torch.testing.assert_close(made.target, 2 * nu)
    plan = plan_of(PlanModel(iterations=200), drawn(3, 2), made).weights
    torch.testing.assert_close(plan.sum(1), made.source, atol=1e-5, rtol=1e-5)


def test_unconstrained_weights_start_at_the_sparse_plan() -> None:
    model, generator = PlanModel(), [torch_generator(10_000, 0, "scores") for _ in range(2)]
    sparse = plan_of(model, draw_scores(model, MARGINALS, generator[0]), MARGINALS).weights
    free = draw_scores(replace(model, kind="unconstrained"), MARGINALS, generator[1])
    assert torch.equal(sparse, free)
    source = Vectors(drawn(20, 6), drawn(20, 6, purpose="head"))
    unbound = replace(model, kind="unconstrained")
    plan = plan_of(unbound, free, MARGINALS)
    made, tied = vectors_of(unbound, plan, source), vectors_of(unbound, plan, Vectors(source[0], source[0]))
    torch.testing.assert_close(made.embedding, translate(sparse, source).embedding)
    torch.testing.assert_close(made.head, translate(sparse, source).head)
    assert tied.tied and not made.tied


def test_scores_have_their_spread() -> None:
    made = draw_scores(PlanModel(spread=0.3), uniform_marginals(200, 50), torch_generator(10_000, 0, "scores"))
    assert made.std() == pytest.approx(0.3, rel=0.05) and abs(made.mean()) < 0.02


def test_pieces_of_target_tokens() -> None:
    target = train_bpe(["abcabd"], 7, alphabet="abcd")
    plan = piece_plan(SOURCE, target)
    torch.testing.assert_close(plan.sum(0), torch.ones(7))
    for column, piece in enumerate(target.pieces):
        used = {SOURCE.pieces[int(s)] for s in plan[:, column].nonzero()[:, 0]}
        assert b"".join(sorted(used)) == bytes(sorted(piece)) or used == {piece}
    pair = train_bpe(["cdcdcd"], 6, alphabet="abcd")
    halves = piece_plan(SOURCE, pair)[:, pair.pieces.index(b"cd")]
    assert {SOURCE.pieces[int(s)]: float(halves[s]) for s in halves.nonzero()[:, 0]} == {b"c": 0.5, b"d": 0.5}
    kept = tokens_made_of(SOURCE, "abcd")
    assert torch.equal(piece_plan(SOURCE, target, kept), plan[kept])
    with pytest.raises(ValueError, match="not all among the 1 kept"):
        piece_plan(SOURCE, target, kept[:1])


def test_pieces_of_half_a_character_are_bytes() -> None:
    target = train_bpe(["\u20ac"], 257)  # one merge: the first two of the three bytes
    (column,) = [i for i, piece in enumerate(target.pieces) if len(piece) == 2]
    plan = piece_plan(SOURCE, target)
    assert sorted(SOURCE.pieces[int(s)] for s in plan[:, column].nonzero()[:, 0]) == [b"\x82", b"\xe2"]


def test_gaussian_vectors_have_the_moments_of_the_source() -> None:
    mixed = drawn(400, 5) @ drawn(5, 5, purpose="mix") + 3
    made = gaussian_vectors(Vectors(mixed, mixed), 20_000, torch_generator(10_000, 0, "gaussian"))
    assert made.tied
    torch.testing.assert_close(made.embedding.mean(0), mixed.mean(0), atol=0.1, rtol=0.05)
    torch.testing.assert_close(torch.cov(made.embedding.T), torch.cov(mixed.T), atol=0.3, rtol=0.1)
    free = gaussian_vectors(Vectors(mixed, 2 * mixed), 100, torch_generator(10_000, 0, "gaussian"))
    assert not free.tied and not torch.equal(free.head, 2 * free.embedding)


def test_gaussian_vectors_of_fewer_tokens_than_dimensions_stay_in_their_span() -> None:
    few = drawn(3, 6)
    made = gaussian_vectors(Vectors(few, few), 50, torch_generator(10_000, 0, "gaussian")).embedding
    assert torch.linalg.matrix_rank(torch.cat([few, made]), rtol=1e-4) == 3


def test_anatomy_of_a_plan_by_hand() -> None:
    plan = torch.tensor([[0.5, 0.0, 0.2], [0.5, 1.0, 0.1], [0.0, 0.0, 0.1]])
    assert support(plan).tolist() == [2, 1, 3]
    assert share_of_single(plan) == pytest.approx(1 / 3)
    assert effective_sources(plan)[:2].tolist() == pytest.approx([2.0, 1.0])
    assert float(effective_sources(plan)[2]) == pytest.approx(math.exp(0.5 * math.log(2) + 0.5 * math.log(4)))
    kept = torch.tensor([SOURCE.pieces.index(p) for p in (b"a", b"b", b"ab")])
    assert top_sources(plan, 1, SOURCE, kept=kept) == [Share(b"b", 1.0)]
    named = top_sources(plan, 2, SOURCE, count=2, kept=kept)
    assert named[0] == Share(b"a", pytest.approx(0.5)) and named[1].weight == pytest.approx(0.25) and len(named) == 2


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"kind": "dense"}, "kind = 'dense'"), ({"norm": "none"}, "norm = 'none'"),
        ({"gradient": "no"}, "gradient = 'no'"), ({"iterations": 0}, "iterations = 0"),
        ({"regularisation": 0.0}, "regularisation = 0.0"),
        ({"spread": -1.0}, "spread = -1.0"),
    ],
)  # fmt: skip
def test_bad_models_are_refused(change: dict, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        PlanModel(**change)


@pytest.mark.parametrize(
    ("source", "target", "says"),
    [
        ([0.5, 0.6], [1.0], "source sums to 1.1"),
        ([0.5, 0.5], [0.0, 1.0], "target has .* smallest entry 0.0"),
        ([1.5, -0.5], [1.0], "source has .* smallest entry -0.5"),
        ([float("nan"), 1.0], [1.0], "source has .* smallest entry nan"),
        ([], [1.0], r"source has shape \(0,\)|source sums to 0.0"),
    ],
)
def test_bad_marginals_are_refused(source: list, target: list, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        marginals_of(torch.tensor(source), torch.tensor(target))


def test_other_bad_input_is_refused() -> None:
    with pytest.raises(ValueError, match="sources = 0"):
        uniform_marginals(0, 3)
    with pytest.raises(ValueError, match=r"shape \(5, 20\); \(20, 5\)"):
        plan_of(PlanModel(), drawn(5, 20), MARGINALS)
    with pytest.raises(ValueError, match="size = 0"):
        gaussian_vectors(Vectors(drawn(3, 2), drawn(3, 2)), 0, torch_generator(10_000, 0, "gaussian"))
    with pytest.raises(ValueError, match=r"shape \(3,\)"):
        support(drawn(3))
    with pytest.raises(ValueError, match="token = 5"):
        top_sources(drawn(262, 5), 5, SOURCE)
    with pytest.raises(ValueError, match="262 rows"):
        top_sources(drawn(3, 5), 0, SOURCE)
