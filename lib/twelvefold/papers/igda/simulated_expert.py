"""An expert with exact statistics: noisy evidence on every edge, with errors that edges share.

Evidence on pair (i, j) is x = d' (y - 1/2) + a_i + b_j + e, with y = 1 for an edge and 0 for none, a_i ~ N(0, rho_s),
b_j ~ N(0, rho_t) and e ~ N(0, 1 - rho_s - rho_t). The expert overrates everything that i causes when a_i is large, and
all causes of j when b_j is. Its first belief is calibrated when the bias beta is 0:

    p = sigmoid(logit(density) + beta + d' x).

A tested pair reveals r = x - d' (y - 1/2) = a_i + b_j + e, from which a and b can be learnt. The update is Bayes' rule
for what tests reveal and the pair's own evidence. It does not weigh why a pair was left untested: where tests go to
pairs whose evidence is strong, those that remain are edges more often than their beliefs say.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from twelvefold.papers.igda.beliefs import voted
from twelvefold.papers.igda.feedback import Feedback, pairs


@dataclass(frozen=True)
class Skill:
    """How good the expert is.

    Attributes:
        separation: d'; its ranking has an AUROC of Phi(d' / sqrt 2), .76 at 1, .86 at 1.5, .92 at 2.
        shared_source, shared_target: rho_s and rho_t, the shares of the variance of its errors that pairs with the same
            cause, and with the same effect, have in common.
        bias: beta, in logits; above 0 it says yes too often.
        votes: K answers are sampled and their share is the belief; None: the belief itself is told.
        temperature: its logits are divided by it; above 1 it is too unsure, below 1 too sure.
    """

    separation: float = 1.5
    shared_source: float = 0.25
    shared_target: float = 0.25
    bias: float = 0.0
    votes: int | None = None
    temperature: float = 1.0

    def __post_init__(self) -> None:
        if not (self.separation >= 0 and self.shared_source >= 0 and self.shared_target >= 0 and self.temperature > 0):
            raise ValueError(f"{self}; separation and shares of at least 0 and a temperature above 0 are needed")
        if not self.shared_source + self.shared_target < 1 or not math.isfinite(self.bias):
            raise ValueError(f"{self}; shares that sum to less than 1 and a finite bias are needed")
        if self.votes is not None and self.votes < 1:
            raise ValueError(f"{self}; at least one vote, or None, is needed")

    @property
    def own_variance(self) -> float:
        """Variance of the errors that pairs do not share, sigma^2."""
        return 1 - self.shared_source - self.shared_target


class SimulatedExpert(NamedTuple):
    """S replicates of an expert on the same graph; an `Expert` of the loop.

    Attributes:
        skill: how good it is.
        edges: the true graph `[n, n]`.
        evidence: x `[S, n, n]`, float64.
        generator: draws votes.
    """

    skill: Skill
    edges: Tensor
    evidence: Tensor
    generator: torch.Generator

    def beliefs(self, asked: Tensor, feedback: Feedback) -> Tensor:
        """Beliefs `[S, n, n]` that the expert states when it is asked about all pairs with the feedback at hand.

        Args:
            asked: pairs that count `[S, n, n]`; simulating the others costs nothing. feedback: all answers so far.
        """
        means, variances = shared_errors(self.skill, self.evidence, self.edges, feedback)
        skill, density = self.skill, _density(self.edges)
        # log-odds of y = 1 against y = 0 under N(d'/2 + m, v) against N(-d'/2 + m, v)
        logits = skill.separation * (self.evidence - means) / variances
        logits = (math.log(density / (1 - density)) + skill.bias + logits) / skill.temperature
        stated = voted(torch.sigmoid(logits), skill.votes, self.generator)
        return torch.where(asked, stated, 0.0)


def draw_expert(skill: Skill, edges: Tensor, replicates: int, generator: torch.Generator) -> SimulatedExpert:
    """Draw the evidence of S experts on a graph `[n, n]`.

    Raises:
        ValueError: fewer than one replicate, or a graph without edges or with all of them (its density has no logit).
    """
    n = len(edges)
    if replicates < 1 or not 0 < _density(edges) < 1:
        raise ValueError(f"replicates = {replicates}, density = {_density(edges)}; at least 1, and a density between "
                         "0 and 1, are needed")  # fmt: skip
    normal = [
        torch.randn(replicates, *shape, generator=generator, dtype=torch.float64) for shape in ((n, 1), (1, n), (n, n))
    ]
    scales = (skill.shared_source, skill.shared_target, skill.own_variance)
    noise = sum(math.sqrt(variance) * drawn for variance, drawn in zip(scales, normal, strict=True))
    evidence = skill.separation * (edges.double().cpu() - 0.5) + noise
    return SimulatedExpert(skill, edges, evidence.to(edges.device), generator)


def _density(edges: Tensor) -> float:
    n = len(edges)
    return float(edges.sum()) / (n * (n - 1))


def shared_errors(skill: Skill, evidence: Tensor, edges: Tensor, feedback: Feedback) -> tuple[Tensor, Tensor]:
    """Mean m and variance v `[S, n, n]` of the error of each pair that was not tested, given those that were.

    With a = sqrt(rho_s) alpha, b = sqrt(rho_t) gamma and psi_ij = (sqrt(rho_s) e_i, sqrt(rho_t) e_j) in R^2n,

        Lambda = I + sigma^-2 sum_tested psi psi^T,   mu = Lambda^-1 sigma^-2 sum_tested psi r,
        m = psi^T mu,   v = sigma^2 + psi^T Lambda^-1 psi.

    Without shared errors m is 0 and v is 1, exactly.
    """
    variance = skill.own_variance
    tested = feedback.tested.double()  # [S, n, n]
    source, target = math.sqrt(skill.shared_source), math.sqrt(skill.shared_target)
    residual = torch.where(feedback.tested, evidence - skill.separation * (edges.double() - 0.5), 0.0)  # r
    # Lambda = [[diag(alpha), B], [B^T, diag(gamma)]]: only the Schur complement of alpha, [n, n], has to be inverted
    alpha = 1 + source**2 / variance * tested.sum(2)  # [S, n]
    gamma = 1 + target**2 / variance * tested.sum(1)
    cross = source * target / variance * tested  # B [S, n, n]
    scaled = cross / alpha[:, :, None]  # diag(alpha)^-1 B
    schur = torch.diag_embed(gamma) - cross.transpose(1, 2) @ scaled
    lower = torch.cholesky_inverse(torch.linalg.cholesky(schur))  # covariance of gamma [S, n, n]
    mixed = -scaled @ lower  # covariance of alpha with gamma [S, n, n]
    upper = 1 / alpha - (mixed * scaled).sum(2)  # variances of alpha [S, n]
    # mu = Lambda^-1 total, with alpha's part from its own row of Lambda
    totals = source * residual.sum(2) / variance, target * residual.sum(1) / variance
    of_target = ((totals[1] - (scaled * totals[0][:, :, None]).sum(1))[:, None, :] @ lower)[:, 0]
    of_source = totals[0] / alpha - (scaled * of_target[:, None, :]).sum(2)
    means = source * of_source[:, :, None] + target * of_target[:, None, :]
    own = source**2 * upper[:, :, None] + target**2 * lower.diagonal(dim1=1, dim2=2)[:, None, :]
    return means, variance + own + 2 * source * target * mixed


def all_pairs(expert: SimulatedExpert) -> Tensor:
    """Every pair of different variables, in every replicate `[S, n, n]`."""
    return pairs(len(expert.edges), expert.edges.device).expand_as(expert.evidence)
