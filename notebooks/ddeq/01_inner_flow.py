# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Does the flow find an equilibrium?
#
# **Paper.** J. Geuter, C. Bonet, A. Korba and D. Alvarez-Melis, *DDEQs: Distributional Deep Equilibrium Models through
# Wasserstein Gradient Flows*, AISTATS 2025 ([arXiv 2503.01140](https://arxiv.org/abs/2503.01140)).
#
# **What is regenerated.** The inner loop: the residual $\mathrm{MMD}^2(Z, F(Z))$ along the Wasserstein gradient flow,
# which the authors' code logs. Added here: the solvers that the paper argues against, at equal cost.
#
# **The claim in one sentence.** An equilibrium of *measures* is found by minimising a distance between measures,
# because solvers that compare rows cannot work up to a permutation of the particles.
#
# **Time.** quick: within 80 CPU seconds on one core, most of them for the training that `02_classification_mnist` and
# `05_steps_tradeoff` share. gpu: meant for at most 6 minutes on one large GPU. paper: hours.

# %% tags=["parameters"]
preset: str = "quick"  # scale: "quick" (laptop), "gpu" (one GPU) or "paper" (the authors' sizes)
seed: int = 0  # base seed of all draws; 0 is the reported run
device: str = "auto"  # "auto", "cpu", "cuda", "cuda:1", "mps"

# %% [markdown]
# ## The idea
#
# The hidden state of the model is a measure made of $N$ **particles** $Z = (z_1, \dots, z_N) \in \mathbb{R}^{N \times
# d}$. Given a cloud $X$, a network $F = F_\theta(\cdot\,; X): \mathbb{R}^{N \times d} \to \mathbb{R}^{N \times d}$
# moves them, and it is equivariant: permuted particles have permuted images. Wanted is a state that $F$ does not
# change *as a measure*:
#
# $$\frac1N \sum_i \delta_{z_i} = \frac1N \sum_i \delta_{F(Z)_i}
#   \quad\Longleftrightarrow\quad z_i = F(Z)_{p(i)} \text{ for some permutation } p .$$
#
# **Solvers of rows.** Ordinary equilibrium models solve $Z = F(Z)$ row by row: by fixed-point iteration
# $Z \leftarrow F(Z)$, or by Anderson acceleration, which combines the last few iterates. They look for $p = $ identity
# only. Take two particles at $+1$ and $-1$ and $F(z) = -z$: as a measure nothing changes, yet iteration swaps the two
# for ever, and the only solution by rows is both at 0.
#
# **The flow.** Measure instead how far two clouds are apart as measures, and go downhill. With the kernel
# $k(x, y) = -\lVert x - y \rVert$,
#
# $$G(Z) = \tfrac12\, \mathrm{MMD}^2(Z, F(Z)), \qquad \mathrm{MMD}^2(Z, W) = \frac{1}{N^2} \sum_{i,j}
#   \bigl[ k(z_i, z_j) + k(w_i, w_j) - 2 k(z_i, w_j) \bigr],$$
#
# which is the energy distance. The **Wasserstein gradient** at particle $i$, $g_i \in \mathbb{R}^d$, is
#
# $$g_i = N \frac{\partial G}{\partial z_i} = \Bigl[\nabla f(Z) - J_F^\top \nabla f(F(Z))\Bigr]_i, \qquad
#   f(z) = \frac1N \sum_j k(z, z_j) - \frac1N \sum_j k(z, F(Z)_j),$$
#
# with the **witness function** $f: \mathbb{R}^d \to \mathbb{R}$ held fixed while it is differentiated, $\nabla f$ taken
# at each of the $N$ rows, and $J_F \in \mathbb{R}^{Nd \times Nd}$ the Jacobian of $F$. A step is
# $z_i \leftarrow z_i - \eta g_i$; the authors take $\eta = 5$.
#
# **Two things to expect.** (1) The kernel has a kink at 0. Near an equilibrium the pull of an image on its particle
# does not fade: its size stays of order $1/N$ (of order 1 where all images lie on one point), as the slope of
# $\lvert x \rvert$ stays 1. A constant step must then overshoot and oscillate, the wider the longer it is, and a step
# that decays should do better. (2) If $F$ is a **contraction**,
# $\lVert F(Z) - F(W) \rVert \le q \lVert Z - W \rVert$ with $q < 1$, iteration converges like $q^t$ by Banach's
# theorem, and permutations cannot matter: the fixed point is unique, and its permutations are fixed points, too, so all
# its rows are equal. The equilibrium of a contraction is **one point with $N$ particles on it**.

# %%
import pandas as pd
import torch
from twelvefold.core.display import show_table
from twelvefold.core.explore import explore
from twelvefold.core.study import Study
from twelvefold.core.sweep import sweep
from twelvefold.ot.assignment import matched_residual
from twelvefold.papers.ddeq import inner_flow
from twelvefold.papers.ddeq.equilibrium import Solver, residual
from twelvefold.papers.ddeq.inner_solves import (
    arms_of,
    inner_checks,
    inner_solves,
    one_cloud,
    third_of_a_turn,
    turning_paths,
    visited,
)
from twelvefold.papers.ddeq.plots.inner_flow import plane_figure, show_drawing, turning_figure
from twelvefold.papers.ddeq.populations import SCALES, ddeq_points, networks

study = Study("ddeq/01_inner_flow", preset, seed, device)

# %% [markdown]
# ## The method on three particles in the plane
#
# $F(z) = Rz$ turns every particle by a third of a turn around 0. Any equilateral triangle around 0 is an equilibrium
# as a measure: its corners change places. Iteration is a rotation without end, and because a rotation keeps all
# distances, its residual stays *exactly* where it started. Anderson acceleration solves $z = Rz$, which only $z = 0$
# does: it throws the three particles onto one point. The flow moves them a little, to the nearest triangle. In each
# panel a particle keeps its colour.

# %%
start = torch.tensor([[1.2, 0.3], [-0.2, 0.9], [-0.5, -0.3]], dtype=torch.float64)
paths = turning_paths(start, 61)
images = {name: third_of_a_turn(path[-1]) for name, path in paths.items()}
show_drawing(turning_figure(paths, images), "Three panels: a closed orbit, a collapse to 0, and a triangle.")

# %% [markdown]
# On the right, the image of each particle lies on *another* particle: by rows this is no fixed point, as a measure it
# is.

# %%
show_table(
    pd.DataFrame(
        {"solver": name, "MMD^2(Z, F(Z))": float(residual(path[-1], images[name])),
         "distance to own image": float((path[-1] - images[name]).square().sum(-1).mean().sqrt()),
         "after the best permutation": float(matched_residual(path[-1], images[name])[0])}
        for name, path in paths.items()
    ),
    "Three particles after 61 steps, F a third of a turn; distances are root mean squares over particles.",
)  # fmt: skip

# %% [markdown]
# ## The claims
#
# The motivation of the paper, as a measurement: at equal numbers of evaluations of $F$ the flow should end with the
# smaller residual. A step of the flow differentiates through $F$; a backward pass costs about two forward passes, so it
# counts as **3 evaluations**. A step of iteration or of Anderson counts as 1, as does one of the flow with a detached
# target, which treats $F(Z)$ as a constant. Whatever a solver works with, it is judged by the residual with the kernel
# above.
#
# Residuals span many orders of magnitude, so claims compare mean natural logarithms over test clouds. In float32 a
# residual below about $10^{-5}$ is rounding (unit $1.2 \cdot 10^{-7}$, distances up to about 20) and may even come
# out as 0 or negative: smaller ones count as $10^{-5}$, so that no solver wins by rounding. The floor is safely below
# the tolerance of the last claim, a residual of a few times $10^{-4}$.
#
# The claims about iteration and Anderson were written knowing that a contractive $F$ decides them against the flow;
# they stand because they are what the paper's motivation says.

# %%
study.declare(inner_flow.CLAIMS)

# %% [markdown]
# ## The scale
#
# The networks are the DDEQ classifiers of `02_classification_mnist` (same points, trained once; the reasons for their
# sizes stand there): five training runs, before the first update and after the last. Added here:
#
# - `checkpoints`: evaluations of $F$; the last pays for $T$ = 40 (quick), 1,000 (gpu) or 200 steps (paper) of the flow.
#   600 evaluations are the 200 steps of the authors' configurations.
# - `clouds`: test clouds of each run, the first so many. Intervals are over runs, and within a run the log residual
#   varies by about half a unit from cloud to cloud: 32 clouds bring that down to a tenth.
# - `probes`: clouds of each run whose Jacobian $[Nd, Nd]$ is taken; it has 96 rows at quick, 1,280 otherwise.
#
# The step $\eta$ is the one of training (5). *Small step*: 1, which the authors switch to late. *Decaying step*: from
# 5 geometrically to a fiftieth, 0.1, at the end. *Gaussian*: $k = e^{-\lVert x-y \rVert^2 / 2\sigma^2}$ with $\sigma
# = \sqrt{d}$, fixed beforehand: start particles are $\mathcal{N}(0, I_d)$, two of them are $\sqrt{2d}$ apart, and
# $2\sigma^2$ is the square of that. A much narrower kernel would hardly be felt at that distance. Its step is 5 as
# well; its slopes are gentler, so it moves less per step.

# %%
scale = study.scale(
    quick={**SCALES["quick"], "checkpoints": [0, 3, 6, 15, 30, 60, 120], "clouds": 32, "probes": 4},
    # not measured: about a minute for the trained networks; half of the test clouds to keep it so
    gpu={**SCALES["gpu"], "checkpoints": [0, 3, 6, 15, 30, 60, 150, 300, 600, 1500, 3000], "clouds": 500, "probes": 1},
    paper={**SCALES["paper"], "checkpoints": [0, 3, 6, 15, 30, 60, 150, 300, 600], "clouds": 4096, "probes": 4},
)

# %% [markdown]
# ## The experiment
#
# Every solver starts from the same random particles on the same clouds. Dropout is off, and no stop rule ends a run
# early.

# %%
training = ddeq_points(scale, study.seed)
points = inner_flow.solve_points(training, scale.checkpoints, scale.clouds)
solved = sweep(inner_solves, points, device=study.device, label="solving")
checks = inner_flow.check_points(points, scale.probes, scale.checkpoints[-1])
checked = sweep(inner_checks, checks, device=study.device, label="checking")
runs = study.runs(inner_flow.tidy(points, solved, checked))

# %% [markdown]
# ## The result
#
# Read each panel at one place of the horizontal axis: all solvers have then paid the same.

# %%
residual_figure, ends_table, networks_table, permutation_figure, falling_figure, decisions = inner_flow.REPORT
residual_figure(study, runs)

# %%
ends_table(study, runs)

# %% [markdown]
# Why do some solvers of rows do so well? Look at the derivative of $F$ where iteration ends. Its spectral radius is the
# factor by which iteration shrinks a small error at each evaluation.

# %%
networks_table(study, runs)

# %% [markdown]
# **Does the equilibrium come permuted?** In the plane it did: there the quotient of the left panel would be nearly 0.
# And how far are the particles apart from each other, that is, is the equilibrium a cloud or a point?

# %%
permutation_figure(study, runs)

# %% [markdown]
# **Is the flow a descent?** A gradient flow lowers its objective at every moment; a step of finite length need not.

# %%
falling_figure(study, runs)

# %% [markdown]
# From these rows alone every claim is decided; the table of verdicts closes the notebook.

# %%
decisions(study, runs)

# %% tags=["nbval-check-output"]
study.print_checks()

# %% [markdown]
# ## The verdict
#
# The closing table gives each claim with its interval. How to read the possible outcomes:
#
# - *Flow beats iteration*, *beats Anderson*: if they fail while the spectral radii are below 1 and the particles of
#   iteration have met in one point, then $F$ acts as a contraction. Iteration is then the right solver, and the
#   permutation that the paper guards against cannot occur, since a cloud of equal particles has no order. The
#   argument of the paper needs a network whose equilibrium is spread out, like the turning triangle; the claims test
#   whether ours are such networks, not whether the argument is right.
# - *Decaying step beats constant*: if it holds, a good part of the constant flow's residual is oscillation around an
#   equilibrium, not the lack of one. *Small steps descend* asks the same of the small step: where it fails, even steps
#   of size 1 are long against the distances at the end, so that many of them overshoot.
# - *Gradient through F matters*: if it holds, following the target without asking how the target moves is not enough.
# - *Flow reaches tolerance*: if it fails, a stop rule of 1e-4 never fires, and the cap on the steps ends every solve.
# - *Witness form* is a check of the formula in double precision; it must hold on every machine.
#
# **What differs from the paper.** At quick, the networks are small ($d = 16$, six particles, 32 points a cloud) and
# trained with five inner steps for a few epochs; the paper's have $d = 128$, ten particles and up to 200 steps in
# training. How contractive $F$ becomes may depend on that, and on nothing in the loss that would keep particles apart.
# The authors' attention also looks at padded rows; ours does not. Numbers of the paper for the inner loop are not known
# here, so only directions are compared. Counting a step of the flow as 3 is a convention; to count it as 1, compare
# the flow at the end of the axis with iteration at a third of the way.

# %% [markdown]
# ## Explore
#
# The particles of one digit under the trained network of the first run: choose a solver and a number of inner steps.
# Lines join each particle with its own image. (A step of a flow that differentiates through $F$ costs three times as
# much as one of the others; here steps are counted.)

# %%
apply, first = one_cloud(networks(training[:1], study.device)[0], scale.particles, study.seed, member=0, cloud=0)
choices = {arm["label"]: arm["solver"] for arm in arms_of(5.0, first.shape[-1], 120)}
with torch.no_grad():
    plane = torch.cat([first, apply(first)], 2)[0, 0]


def inner_solve(steps: int, solver: str):
    """Particles of one digit and their images after some inner steps, and the residual on the way"""
    states = visited(apply, first, Solver(**choices[solver], steps=steps))
    with torch.no_grad():
        mapped = [apply(z) for z in states]
    residuals = torch.stack([residual(z, image)[0, 0] for z, image in zip(states, mapped, strict=True)])
    return plane_figure(plane, states[-1, 0, 0], mapped[-1][0, 0], residuals, inner_flow.ROUNDING)


explore(inner_solve, steps=(0, 40), solver=list(choices))

# %% [markdown]
# ## References
#
# - J. Geuter, C. Bonet, A. Korba, D. Alvarez-Melis, AISTATS 2025, PMLR 258: the paper.
# - S. Bai, J. Z. Kolter, V. Koltun, *Deep equilibrium models*, NeurIPS 2019: equilibria by rows.
# - M. Arbel, A. Korba, A. Salim, A. Gretton, *Maximum mean discrepancy gradient flow*, NeurIPS 2019: the flow towards a
#   fixed target.
# - H. F. Walker, P. Ni, *Anderson acceleration for fixed-point iterations*, SIAM J. Numer. Anal. 49 (2011).
# - G. J. Szekely, M. L. Rizzo, *Energy statistics*, J. Stat. Plann. Inference 143 (2013): the distance.

# %%
study.done(seeds=range(scale.runs))
