"""Translated embeddings and output rows: the three normalisations, by hand and by their properties."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from twelvefold.core.seeds import torch_generator
from twelvefold.papers.s2t2.translation import (
    Norm,
    Vectors,
    combine,
    source_given_target,
    target_given_source,
    translate,
)

# three source tokens, two target tokens; mu = (2, 3, 1) / 6 and nu = (3, 3) / 6
PLAN = torch.tensor([[2.0, 0.0], [1.0, 2.0], [0.0, 1.0]]) / 6
E = torch.tensor([[6.0, 0.0], [0.0, 6.0], [3.0, 3.0]])
L = torch.tensor([[1.0, 0.0], [0.0, 2.0], [4.0, 4.0]])


def drawn(*shape: int, purpose: str = "values") -> Tensor:
    return torch.randn(*shape, generator=torch_generator(10_000, 0, purpose))


@pytest.mark.parametrize(
    ("norm", "embedding", "head"),
    [
        # nu: E'_0 = 2/3 E_0 + 1/3 E_1, E'_1 = 2/3 E_1 + 1/3 E_2, and the same for L'
        ("convex", [[4.0, 2.0], [1.0, 5.0]], [[2 / 3, 2 / 3], [4 / 3, 8 / 3]]),
        # mu in E': E'_0 = 1 E_0 + 1/3 E_1, E'_1 = 2/3 E_1 + 1 E_2
        ("printed", [[6.0, 2.0], [3.0, 7.0]], [[2 / 3, 2 / 3], [4 / 3, 8 / 3]]),
        # mu in L': L'_0 = 1 L_0 + 1/3 L_1, L'_1 = 2/3 L_1 + 1 L_2
        ("bayes", [[4.0, 2.0], [1.0, 5.0]], [[1.0, 2 / 3], [4.0, 16 / 3]]),
    ],
)
def test_a_case_computed_by_hand(norm: Norm, embedding: list, head: list) -> None:
    made = translate(PLAN, Vectors(E, L), norm=norm)
    torch.testing.assert_close(made.embedding, torch.tensor(embedding))
    torch.testing.assert_close(made.head, torch.tensor(head))


@pytest.mark.parametrize("norm", ["convex", "printed", "bayes"])
def test_the_total_mass_of_a_plan_does_not_matter(norm: Norm) -> None:
    one, other = (translate(scale * PLAN, Vectors(E, L), norm=norm) for scale in (1.0, 24.0))
    torch.testing.assert_close(one.embedding, other.embedding)
    torch.testing.assert_close(one.head, other.head)


def test_convex_weights_of_a_target_token_sum_to_one() -> None:
    plan = drawn(300, 40).exp()
    assert (source_given_target(plan).T.sum(1) - 1).abs().max() < 1e-6
    assert (target_given_source(plan).sum(1) - 1).abs().max() < 1e-6


def test_a_convex_combination_of_equal_rows_is_that_row() -> None:
    row = drawn(1, 8, purpose="row")
    made = translate(drawn(50, 7).relu() + 0.01, Vectors(row.expand(50, 8), row.expand(50, 8)))
    torch.testing.assert_close(made.embedding, row.expand(7, 8))


def test_tied_vectors_stay_tied_under_convex_alone() -> None:
    assert translate(PLAN, Vectors(E, E)).tied
    for norm in ("printed", "bayes"):
        made = translate(PLAN, Vectors(E, E), norm=norm)
        assert not made.tied and not torch.equal(made.embedding, made.head)
    assert not translate(PLAN, Vectors(E, E.clone())).tied


def test_printed_overscales_by_v_over_u_with_uniform_marginals() -> None:
    v, u = 12, 3
    plan = torch.full((v, u), 1 / (v * u))
    convex, printed = (translate(plan, Vectors(drawn(v, 4), drawn(v, 4)), norm=n) for n in ("convex", "printed"))
    torch.testing.assert_close(printed.embedding, convex.embedding * v / u)


def test_an_identity_plan_changes_nothing() -> None:
    made = translate(torch.eye(3), Vectors(E, L), norm="bayes")
    assert torch.equal(made.embedding, E) and torch.equal(made.head, L)


def test_a_source_token_without_mass_is_not_used() -> None:
    plan = torch.tensor([[0.0, 0.0], [1.0, 2.0], [1.0, 0.0]])
    for norm in ("convex", "printed", "bayes"):
        sources = (Vectors(torch.cat([first, E[1:]]), L) for first in (E[:1], 100 * E[:1]))
        one, other = (translate(plan, source, norm=norm) for source in sources)
        assert torch.equal(one.embedding, other.embedding) and one.embedding.isfinite().all()


def test_a_sparse_product_equals_the_dense_one() -> None:
    weights = drawn(200, 60) * (drawn(200, 60, purpose="support") > 2.2)
    assert 0 < (weights != 0).float().mean() < 0.05
    matrix = drawn(200, 16, purpose="matrix")
    made = combine(weights, matrix)
    torch.testing.assert_close(made, weights.T @ matrix)
    assert made.layout == torch.strided


def test_gradients_flow_through_the_plan() -> None:
    plan = drawn(5, 3).double().exp().requires_grad_()
    source = Vectors(drawn(5, 4).double(), drawn(5, 4, purpose="head").double())
    for norm in ("convex", "printed", "bayes"):
        assert torch.autograd.gradcheck(lambda p, n=norm: tuple(translate(p, source, norm=n)), (plan,))


def test_bad_input_is_refused() -> None:
    with pytest.raises(ValueError, match="norm = 'column'"):
        translate(PLAN, Vectors(E, L), norm="column")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="smallest entry is -"):
        translate(-PLAN, Vectors(E, L))
    with pytest.raises(ValueError, match="column 1 sums to 0.0"):
        translate(PLAN * torch.tensor([1.0, 0.0]), Vectors(E, L))
    with pytest.raises(ValueError, match="column 0 sums to nan"):
        translate(PLAN * torch.nan, Vectors(E, L))
    with pytest.raises(ValueError, match="2 source tokens and the source matrix 3 rows"):
        translate(PLAN[:2], Vectors(E, L))
    for function in (source_given_target, target_given_source):
        with pytest.raises(ValueError, match=r"shape \(3,\)"):
            function(PLAN[:, 0])
