"""Gradients of a loss at an equilibrium: k more applications of F, the implicit gradient, finite differences.

At a fixed point Z* = F(Z*; theta) the loss L(Z*(theta)) has the gradient

    dL/dtheta = u^T dF/dtheta,    u = c + J^T u,    c = dL/dZ*,  J = dF/dZ at Z*,

so u is the sum over j of (J^T)^j c. Applying F k times more with a graph, the k-step (phantom) gradient, keeps the
first k terms. An equilibrium of MEASURES obeys F(Z*) = P Z* for some permutation P of the rows. Then Z* is a fixed
point of P^T F, which has the Jacobian P^T J, and for a loss that ignores the order of the rows all of this holds with
P^T F.

Particles are `[P, B, N, d]`: P members with weights `{name: [P, *shape]}` of their own, B clouds, N particles.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from numbers import Integral

import torch
from torch import Tensor

from twelvefold.nn.stacked import Weights, layout
from twelvefold.ot.assignment import matched_residual

Apply = Callable[[Tensor], Tensor]
Loss = Callable[[Tensor], Tensor]
Gradient = dict[str, Tensor]


@dataclass(frozen=True)
class Implicit:
    """The implicit gradient and how its equation was solved.

    Attributes:
        gradient: dL/dtheta, `{name: [P, *shape]}`.
        cotangent: u `[P, B, N, d]`.
        steps: iterations of each problem, int64 `[P, B]`; 0 for the dense solve.
        residual: ||c + J^T u - u|| / ||c|| `[P, B]`; not small where the iteration did not converge.
    """

    gradient: Gradient
    cotangent: Tensor
    steps: Tensor
    residual: Tensor


def phantom_gradient(
    apply: Apply, weights: Weights, particles: Tensor, loss: Loss, *, applications: int = 1, damping: float = 1.0
) -> Gradient:
    """Gradient of the loss after k applications of Z <- tau F(Z) + (1 - tau) Z, begun at particles without a graph.

    Args:
        apply: Z -> F(Z), with a graph to `weights`.
        weights: `{name: [P, *shape]}`, which require gradients.
        particles: Z* `[P, B, N, d]`.
        loss: Z -> `[P]`, one number per member.
        applications: k >= 1; 1 is the one-step gradient that the paper trains with.
        damping: tau, in (0, 1].

    Raises:
        ValueError: k or tau out of range, particles, weights or a loss that do not fit.
    """
    _check_whole("applications", applications)
    if not 0 < damping <= 1:
        raise ValueError(f"damping = {damping!r}; a number in (0, 1] is needed")
    _check(weights, particles)
    z = particles.detach()
    for _ in range(applications):
        z = damping * apply(z) + (1 - damping) * z
    return _differentiated(_members(loss(z), particles).sum(), weights)


def implicit_gradient(
    apply: Apply, weights: Weights, particles: Tensor, loss: Loss, *, permutation: Tensor | None = None,
    steps: int = 200, tolerance: float = 1e-10, dense: bool = False,
) -> Implicit:  # fmt: skip
    """Gradient through the equation Z* = P^T F(Z*), by a fixed-point iteration of vector-Jacobian products.

    The loss is taken at P^T F(Z*), as in training, which is Z* at an equilibrium; stopped after no iteration this is
    the one-step gradient. A problem that has converged stays as it is while others go on.

    Args:
        apply, weights, particles, loss: as in `phantom_gradient`.
        permutation: int64 `[P, B, N]` from `equilibrium_permutation`, row i of P^T F(Z) is row permutation[i] of F(Z);
            None leaves the rows where they are.
        steps: at most so many iterations u <- c + J^T u.
        tolerance: on the relative residual of each problem.
        dense: solve with the whole Jacobian `[N d, N d]` instead: an oracle for small problems.

    Raises:
        ValueError: numbers out of range, particles, weights, a permutation or a loss that do not fit.
    """
    _check_whole("steps", steps)
    if not tolerance >= 0:
        raise ValueError(f"tolerance = {tolerance!r}; a number of at least 0 is needed")
    _check(weights, particles)
    z = particles.detach().requires_grad_()
    image = permuted(apply(z), permutation)  # P^T F(Z)
    at = image.detach().requires_grad_()
    (c,) = torch.autograd.grad(_members(loss(at), particles).sum(), at)

    def pulled_back(u: Tensor) -> Tensor:
        (found,) = torch.autograd.grad(image, z, u, retain_graph=True)  # (P^T J)^T u
        return found

    if dense:
        matrix = _jacobian(image, z)
        eye = torch.eye(matrix.shape[-1], dtype=c.dtype, device=c.device)
        u = torch.linalg.solve(eye - matrix.mT, c.flatten(2)[..., None])[..., 0].view(c.shape)
        made = torch.zeros(c.shape[:2], dtype=torch.int64, device=c.device)
    else:
        u, made = _iterated(pulled_back, c, steps, tolerance)
    gradient = _differentiated(image, weights, u)  # u^T dF/dtheta
    return Implicit(gradient, u, made, _relative(c + pulled_back(u) - u, c))


def _iterated(pulled_back: Apply, c: Tensor, steps: int, tolerance: float) -> tuple[Tensor, Tensor]:
    """u <- c + J^T u from u = c, every problem `[N, d]` until its own residual is small; u and the steps `[P, B]`."""
    u, made = c, torch.zeros(c.shape[:2], dtype=torch.int64, device=c.device)
    for _ in range(steps):
        following = c + pulled_back(u)
        open_ = _relative(following - u, c) >= tolerance
        u, made = torch.where(open_[..., None, None], following, u), made + open_
        if not bool(open_.any()):
            break
    return u, made


def _relative(difference: Tensor, c: Tensor) -> Tensor:
    """Norm of each problem `[P, B]`, relative to that of c (a cotangent of 0 has the solution 0)."""
    size = c.flatten(2).norm(dim=-1).clamp(min=torch.finfo(c.dtype).tiny)
    return difference.flatten(2).norm(dim=-1) / size


def jacobian(apply: Apply, particles: Tensor) -> Tensor:
    """dF/dZ at the particles, `[P, B, N d, N d]`: entry (a, b) is the derivative of image a by coordinate b.

    Raises:
        ValueError: particles that are not `[P, B, N, d]`.
    """
    _check_particles(particles)
    z = particles.detach().requires_grad_()
    return _jacobian(apply(z), z)


def _jacobian(image: Tensor, z: Tensor) -> Tensor:
    flat = image.flatten(2)
    rows = [torch.autograd.grad(flat[..., a].sum(), z, retain_graph=True)[0].flatten(2) for a in range(flat.shape[-1])]
    return torch.stack(rows, 2)


def spectral_radius(matrices: Tensor) -> Tensor:
    """Largest modulus of an eigenvalue of each matrix `[..., n, n]`: below 1, iteration converges near the equilibrium.

    Raises:
        ValueError: matrices that are not square.
    """
    if matrices.ndim < 2 or matrices.shape[-1] != matrices.shape[-2]:
        raise ValueError(f"matrices has shape {tuple(matrices.shape)}; square ones [..., n, n] are needed")
    return torch.linalg.eigvals(matrices.cpu()).abs().amax(-1).to(matrices.device)


def equilibrium_permutation(particles: Tensor, image: Tensor) -> Tensor:
    """The permutation in Z = P^T F(Z), int64 `[P, B, N]`: where z_i = F(Z)_p(i), it holds p(i) at place i.

    The best matching is taken only where it has less than half the residual of the rows as they stand. Otherwise, as
    when all particles nearly coincide and any matching will do, rows stay in place.

    Args:
        particles, image: Z and F(Z), `[P, B, N, d]`.

    Raises:
        ValueError: unequal shapes, or numbers that are not finite.
    """
    matching, order = matched_residual(particles, image)
    by_rows = (particles - image).detach().square().sum(-1).mean(-1).sqrt().cpu()
    unmoved = torch.arange(particles.shape[-2]).expand_as(order)
    return torch.where((matching < 0.5 * by_rows)[..., None], order, unmoved).to(particles.device)


def permuted(rows: Tensor, permutation: Tensor | None) -> Tensor:
    """P^T rows, `[P, B, N, d]`: row permutation[i] comes to place i; None returns the rows themselves.

    Raises:
        ValueError: a permutation that is not int64 `[P, B, N]`.
    """
    if permutation is None:
        return rows
    if permutation.dtype != torch.int64 or permutation.shape != rows.shape[:-1]:
        raise ValueError(f"permutation is {permutation.dtype} {tuple(permutation.shape)}; int64 "
                         f"{tuple(rows.shape[:-1])} is needed")  # fmt: skip
    return rows.gather(-2, permutation[..., None].expand_as(rows))


def finite_differences(
    losses: Callable[[Gradient], Tensor], weights: Weights, directions: Tensor, step: float
) -> Tensor:
    """Central differences (L(theta + e v) - L(theta - e v)) / (2 e) of every member along its directions, `[P, D]`.

    Args:
        losses: weights of 2 D P members `{name: [2 D P, *shape]}` -> their losses `[2 D P]`, each solved anew. Member p
            of the population comes at the places 2 D p to 2 D (p + 1) - 1.
        weights: theta, `{name: [P, *shape]}`.
        directions: v `[P, D, n]` in the order of `nn.stacked.layout(weights)`.
        step: e, positive.

    Raises:
        ValueError: directions or losses of another shape, or a step that is not positive.
    """
    if not step > 0:
        raise ValueError(f"step = {step!r}; a positive number is needed")
    places = layout(weights)
    _check_directions(directions, len(next(iter(weights.values()))), places.total)
    theta = places.pack({name: weight.detach() for name, weight in weights.items()})[:, None]  # [P, 1, n]
    moved = torch.cat([theta + step * directions, theta - step * directions], 1)  # [P, 2 D, n]
    found = losses(places.unpack(moved.flatten(0, 1)))
    if found.shape != (moved.shape[0] * moved.shape[1],):
        raise ValueError(f"losses gave {tuple(found.shape)}; [{moved.shape[0] * moved.shape[1]}] is needed")
    up, down = found.view(moved.shape[:2]).chunk(2, 1)
    return (up - down) / (2 * step)


def slopes(gradient: Mapping[str, Tensor], directions: Tensor) -> Tensor:
    """Directional derivatives g . v of every member, `[P, D]`, for directions `[P, D, n]`; ValueError as above."""
    flat = layout(gradient).pack(gradient)
    _check_directions(directions, *flat.shape)
    return (directions @ flat[..., None])[..., 0]


def cosine(first: Mapping[str, Tensor], second: Mapping[str, Tensor]) -> Tensor:
    """Cosine of two gradients over all weights of each member, `[P]`; NaN where one is 0.

    Raises:
        ValueError: gradients with other names.
    """
    if set(first) != set(second):
        raise ValueError(f"the gradients have the names {sorted(first)} and {sorted(second)}; equal ones are needed")
    product, one, other = (
        torch.stack([(a[name] * b[name]).reshape(len(a[name]), -1).sum(1) for name in first]).sum(0)
        for a, b in ((first, second), (first, first), (second, second))
    )
    return product / (one * other).sqrt()


def _differentiated(value: Tensor, weights: Weights, cotangent: Tensor | None = None) -> Gradient:
    """Gradient of a value, or of the product with a cotangent, by all weights; 0 for those it does not depend on."""
    found = torch.autograd.grad(
        value, list(weights.values()), cotangent, retain_graph=True, allow_unused=True, materialize_grads=True
    )
    return dict(zip(weights, found, strict=True))


def _members(values: Tensor, particles: Tensor) -> Tensor:
    if values.shape != particles.shape[:1]:
        raise ValueError(f"loss gave {tuple(values.shape)}; one number per member, [{particles.shape[0]}], is needed")
    return values


def _check_whole(name: str, number: int) -> None:
    if isinstance(number, bool) or not isinstance(number, Integral) or number < 1:
        raise ValueError(f"{name} = {number!r}; a whole number, at least 1, is needed")


def _check_particles(particles: Tensor) -> None:
    if particles.ndim != 4 or not particles.is_floating_point() or 0 in particles.shape:
        raise ValueError(f"particles is {particles.dtype} {tuple(particles.shape)}; floating [P, B, N, d] is needed")


def _check(weights: Weights, particles: Tensor) -> None:
    _check_particles(particles)
    wrong = [name for name, weight in weights.items() if not weight.requires_grad or len(weight) != len(particles)]
    if wrong or not weights:
        raise ValueError(f"weights {wrong}: at least one weight is needed, every one [{len(particles)}, ...] and "
                         "requiring gradients")  # fmt: skip


def _check_directions(directions: Tensor, members: int, total: int) -> None:
    if directions.ndim != 3 or (directions.shape[0], directions.shape[2]) != (members, total) or 0 in directions.shape:
        raise ValueError(f"directions has shape {tuple(directions.shape)}; [{members}, D, {total}] is needed, D >= 1")
