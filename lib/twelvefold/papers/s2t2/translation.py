"""Token embeddings and output rows of the target vocabulary, as combinations of those of the source vocabulary.

A plan P `[v, u]` has a row for each of v source tokens and a column for each of u target tokens; mu = P 1 `[v]` and
nu = P^T 1 `[u]` are its marginals. Three normalisations are offered, because the formulas printed in the paper do not
give the convex combinations that its text and its figure speak of (mu and nu seem exchanged there):

| norm | embedding of target token t | output row of target token t |
|---|---|---|
| convex | sum_s P_st / nu_t E_s | sum_s P_st / nu_t L_s |
| printed | sum_s P_st / mu_s E_s | sum_s P_st / nu_t L_s |
| bayes | sum_s P_st / nu_t E_s | sum_s P_st / mu_s L_s |

P_st / nu_t is the probability of s given t, and its sum over s is one; P_st / mu_s is that of t given s.
"""

from __future__ import annotations

import warnings
from typing import Literal, NamedTuple, get_args

import torch
from torch import Tensor

Norm = Literal["convex", "printed", "bayes"]
CSR_BELOW = 0.05  # density of a plan from which on a sparse product is the faster one


class Vectors(NamedTuple):
    """What a vocabulary gives a language model: embeddings `[n, d]` and output rows `[n, d]`; one tensor when tied."""

    embedding: Tensor
    head: Tensor

    @property
    def tied(self) -> bool:
        """Whether embedding and head are the same tensor."""
        return self.head is self.embedding


def source_given_target(plan: Tensor) -> Tensor:
    """P / nu `[v, u]` by the actual column sums of the plan `[v, u]`; every column sums to one.

    Raises:
        ValueError: a plan that is no matrix, or a column without mass or with NaN.
    """
    _check_matrix(plan)
    target_marginal = plan.sum(0)  # nu [u]
    if not bool((target_marginal > 0).all()):
        column = int((~(target_marginal > 0)).nonzero()[0])
        found = float(target_marginal[column])
        raise ValueError(f"plan: column {column} sums to {found}; every target token needs mass")
    return plan / target_marginal


def target_given_source(plan: Tensor) -> Tensor:
    """P / mu `[v, u]` by the actual row sums of the plan `[v, u]`; every row sums to one, or to zero without mass.

    Raises:
        ValueError: a plan that is no matrix.
    """
    _check_matrix(plan)
    source_marginal = plan.sum(1, keepdim=True)  # mu [v, 1]
    return plan / torch.where(source_marginal > 0, source_marginal, 1.0)


def _check_matrix(plan: Tensor) -> None:
    if plan.ndim != 2:
        raise ValueError(f"plan has shape {tuple(plan.shape)}; [v, u], source by target tokens, is needed")


def combine(weights: Tensor, matrix: Tensor) -> Tensor:
    """W^T M `[u, d]` for weights W `[v, u]` and source rows M `[v, d]`.

    Where no gradient is asked for and few weights differ from zero, W^T is stored by its rows without the zeros.

    Raises:
        ValueError: another number of rows in the two matrices.
    """
    if weights.shape[0] != matrix.shape[0]:
        raise ValueError(f"the plan has {weights.shape[0]} source tokens and the source matrix {matrix.shape[0]} rows; "
                         "equal numbers are needed")  # fmt: skip
    dense = torch.is_grad_enabled() and (weights.requires_grad or matrix.requires_grad)
    if dense or torch.count_nonzero(weights) > CSR_BELOW * weights.numel():
        return weights.T @ matrix
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Sparse CSR tensor support is in beta", UserWarning)
        return weights.T.to_sparse_csr() @ matrix


def translate(plan: Tensor, source: Vectors, *, norm: Norm = "convex") -> Vectors:
    """E' `[u, d]` and L' `[u, d]` of the target vocabulary (paper, section 2.1, and its caption of figure 1).

    Args:
        plan: P >= 0 `[v, u]`, of any total mass: its actual marginals normalise it.
        source: E and L `[v, d]`. Tied vectors stay tied under "convex", and only there.
        norm: see the table of this module.

    Raises:
        ValueError: an unknown norm, a negative weight, a column without mass, or matrices that do not fit.
    """
    if norm not in get_args(Norm):
        raise ValueError(f"norm = {norm!r}; known are {list(get_args(Norm))}")
    if bool((plan < 0).any()):
        raise ValueError(f"plan: its smallest entry is {float(plan.min())}; weights of at least 0 are needed")
    given_target = source_given_target(plan)
    given_source = given_target if norm == "convex" else target_given_source(plan)
    embedding = combine(given_source if norm == "printed" else given_target, source.embedding)
    if norm == "convex" and source.tied:
        return Vectors(embedding, embedding)
    return Vectors(embedding, combine(given_source if norm == "bayes" else given_target, source.head))
