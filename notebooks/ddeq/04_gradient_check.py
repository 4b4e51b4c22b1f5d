# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # How good is the gradient that the training uses?
#
# **Paper.** J. Geuter, C. Bonet, A. Korba and D. Alvarez-Melis, *DDEQs: Distributional Deep Equilibrium Models through
# Wasserstein Gradient Flows*, AISTATS 2025 ([arXiv 2503.01140](https://arxiv.org/abs/2503.01140)).
#
# **What is regenerated.** No figure: the statement that a distributional equilibrium has the backward pass of an
# ordinary one, and the shortcut through it that the training takes.
#
# **The claim in one sentence.** The implicit gradient is the gradient of the equilibrium's loss, and a single
# application of the network at the particles found already points the same way.
#
# **Time.** quick: within 20 CPU seconds on one core. gpu and paper: meant for at most 6 minutes on one large GPU.

# %% tags=["parameters"]
preset: str = "quick"  # scale: "quick" (laptop), "gpu" (one GPU) or "paper" (here the same as gpu)
seed: int = 0  # base seed of all draws; 0 is the reported run
device: str = "auto"  # "auto", "cpu", "cuda", "cuda:1", "mps"

# %% [markdown]
# ## The idea
#
# A network $F_\theta$ maps $N$ particles $Z \in \mathbb{R}^{N \times d}$ to $N$ new ones, given an input cloud. The
# output of the model is an equilibrium $Z^* = F_\theta(Z^*)$, and the loss is $L(Z^*)$. How does $L$ change with the
# weights $\theta$? The equilibrium moves when they do. Differentiating the equation gives
# $\mathrm{d}Z^* = J\,\mathrm{d}Z^* + \partial_\theta F\,\mathrm{d}\theta$ with the Jacobian
# $J = \partial F/\partial Z \in \mathbb{R}^{Nd \times Nd}$, so that
#
# $$\frac{\mathrm{d}L}{\mathrm{d}\theta} = u^\top \frac{\partial F}{\partial \theta}, \qquad
#   u = c + J^\top u = \sum_{j \ge 0} (J^\top)^j c, \qquad c = \frac{\partial L}{\partial Z^*} \in \mathbb{R}^{Nd}.$$
#
# This is the **implicit gradient**. It does not matter how $Z^*$ was found; $u$ is found by iterating
# $u \leftarrow c + J^\top u$, one vector-Jacobian product a step. This converges when the spectral radius of $J$, the
# largest modulus of its eigenvalues, is below 1.
#
# **The shortcut.** Find $Z^*$ without a graph, apply $F$ to it $k$ more times with a graph, and differentiate: the
# **k-step** or phantom gradient. At an equilibrium it is the sum cut after $j = k - 1$. Training uses $k = 1$, that is
# $u = c$: it sees how $F$ depends on the weights, not how the equilibrium follows.
#
# **Equilibria of measures.** The particles stand for the measure $\frac1N \sum_i \delta_{z_i}$, in which their order
# means nothing. So it suffices that $F(Z^*) = P Z^*$ for some permutation $P$ of the rows. Then
# $Z^* = P^\top F(Z^*)$ is an ordinary fixed point of another map, with the Jacobian $P^\top J$. If $L$ ignores the
# order of the rows, as a maximum or mean over particles does, everything above holds with $P^\top F$ in place of $F$.
#
# **Where are the equilibria?** One observation explains much of what follows. $F$ treats all particles alike:
# permuting the rows of $Z$ permutes those of $F(Z)$. If $F$ is a contraction, its fixed point is the only one; since a
# permuted fixed point is a fixed point again, it equals all its permutations, and *all its particles lie at one place*.
# Particles that stay apart need an $F$ that is not a contraction.

# %%
import pandas as pd
import torch
from twelvefold.core.display import show_table
from twelvefold.core.explore import explore
from twelvefold.core.study import Study
from twelvefold.core.sweep import sweep
from twelvefold.papers.ddeq import gradient_check
from twelvefold.papers.ddeq.gradient_problems import found_at
from twelvefold.papers.ddeq.gradient_study import example_slopes, flow_runs, gradient_runs
from twelvefold.papers.ddeq.gradients import implicit_gradient, phantom_gradient
from twelvefold.papers.ddeq.plots.gradient_check import slopes_figure

study = Study("ddeq/04_gradient_check", preset, seed, device)
study.dtype = "float64"

# %% [markdown]
# ## The method on two particles that change places
#
# Let $F(z) = -\theta \tanh z$ on the line, for each particle alone. With $\theta = 2$ the particles $b$ and $-b$ with
# $b = \theta \tanh b$ are mapped to each other: an equilibrium as a measure, not by rows. For the loss
# $L = \frac12 \sum_i z_i^2 = b^2$ the derivative is known in closed form,
# $\mathrm{d}L/\mathrm{d}\theta = 2 b \tanh b / (1 - \theta / \cosh^2 b)$.

# %%
theta = {"theta": torch.tensor([2.0], dtype=torch.float64, requires_grad=True)}
b = torch.tensor(1.0, dtype=torch.float64)
for _ in range(200):
    b = 2 * torch.tanh(b)
pair = torch.stack([b, -b]).view(1, 1, 2, 1)  # [P, B, N, d]


def swap(z: torch.Tensor) -> torch.Tensor:
    """F(Z) for one member."""
    return -theta["theta"][:, None, None, None] * torch.tanh(z)


def half_square(z: torch.Tensor) -> torch.Tensor:
    """The loss of one member, [P]."""
    return 0.5 * z.square().flatten(1).sum(1)


found = found_at(swap, pair)
print("particles:", [round(x, 4) for x in pair.flatten().tolist()], "order:", found.permutation.flatten().tolist())

# %%
by_measure = implicit_gradient(swap, theta, pair, half_square, permutation=found.permutation)
by_rows = implicit_gradient(swap, theta, pair, half_square)
steps = {k: phantom_gradient(swap, theta, pair, half_square, applications=k) for k in (1, 2, 10)}
values = {
    "closed form": 2 * b * torch.tanh(b) / (1 - 2 / torch.cosh(b) ** 2),
    "implicit, with the permutation": by_measure.gradient["theta"],
    "implicit, rows as they stand": by_rows.gradient["theta"],
    **{f"{k} application{'s' * (k > 1)} of F": made["theta"] for k, made in steps.items()},
}
table = pd.DataFrame({"gradient": list(values), "dL/dtheta": [float(value) for value in values.values()]})
show_table(table, "Derivative of the loss by the weight.")

# %% [markdown]
# Without the permutation the equation is that of another equilibrium. The k-step gradient needs none: it follows the
# particles wherever $F$ sends them, and the loss does not see their order.
#
# ## The claims
#
# All of them are about *untrained* random networks, since it is on these that training starts. A replicate is one
# network with one cloud, start and readout. Gradients can only be compared where the equilibrium is known, so the
# first four claims are about replicates that converge, and the last one about how many do.

# %%
study.declare(gradient_check.CLAIMS)

# %% [markdown]
# ## The scale
#
# The **small** network is the same at every preset, because only there finite differences and the Jacobian as a matrix
# can be had:
#
# - width 6, 4 particles: a Jacobian of 24 by 24. Clouds of 8 standard normal points.
# - Three families: weights *as drawn* (all claims); *doubled* weight matrices; *repelling* networks, whose
#   self-attention subtracts from each particle the mean it attends to ($W_V W_O = -I$), so that particles stay apart.
# - step $\eta = 1$: the paper's $\eta = 5$ for particles on a sphere of radius $\sqrt{128}$, scaled to $\sqrt 6$.
# - flow steps up to 100, among them the 5 that the classifiers here are trained with; then 300 iterations
#   $Z \leftarrow P^\top F(Z)$, with $P$ as the end of the flow suggests: enough for a spectral radius of 0.93.
# - at the equilibrium $u$ is iterated to a relative residual of $10^{-10}$; after $T$ flow steps, where the iteration
#   need not converge, at most 40 times.
# - `directions` 4 and `difference` $10^{-4}$: slopes along four random directions of length 1 in weight space. The
#   error of a central difference is then about $10^{-8}$, from curvature; rounding adds far less in float64.
#
# The **large** network (gpu and paper) has the sizes of the paper's MNIST classifier: width 128, 10 particles, 770,000
# weights, $\eta = 5$, and 5 or 200 flow steps. Its 512 replicates are computed 64 at a time (0.4 GB of weights); they
# give a mean cosine to about 0.01.

# %%
small = {
    "families": ["as drawn", "doubled", "repelling"],
    "network": {"width": 6, "narrow": 4, "heads": 2, "hidden": 12}, "particles": 4, "points": 8,
    "flow_steps": [0, 5, 20, 100], "step_size": 1.0, "polish": 300, "applications": [1, 2, 5, 10],
    "backward": 200, "truncated": 40, "directions": 4, "difference": 1e-4, "solves": 100,
}  # fmt: skip
large = {
    "families": ["as drawn"], "network": {"width": 128}, "particles": 10, "points": 150,  # a digit's number of points
    "flow_steps": [5, 200], "step_size": 5.0, "polish": 300, "applications": [1, 2, 5, 10],
    "backward": 300, "truncated": 40,
}  # fmt: skip
flows_alone = {"flow_replicates": 16, "constant_steps": 160, "decaying_steps": 400, "decay": 0.985}
common = {"replicates": 32, "small": small, **flows_alone}
scale = study.scale(
    quick={**common, "large": None, "large_replicates": 0, "at_a_time": 64},
    gpu={**common, "large": large, "large_replicates": 512, "at_a_time": 64},
    paper={**common, "large": large, "large_replicates": 512, "at_a_time": 64},
)

# %% [markdown]
# ## The experiment
#
# The flow of 16 of the drawn networks is also followed on its own, with a constant step and with one that shrinks by
# 1.5 % a step: to a four-hundredth after 400 steps, while the steps still add up to a path of 66, far longer than the
# sphere is wide.

# %%
options = {"device": study.device, "dtype": study.dtype}
replicates = list(range(scale.replicates))
schedules = {"constant": (1.0, scale.constant_steps), "decaying": (scale.decay, scale.decaying_steps)}
sizes = {name: scale.small[name] for name in ("network", "particles", "points", "step_size")}
base = {"seed": study.seed, "replicates": replicates[: scale.flow_replicates], "family": "as drawn", **sizes}
flow_points = [{**base, "decay": decay, "steps": steps, "every": 20} for decay, steps in schedules.values()]
flows = sweep(flow_runs, flow_points, label="flows", **options)
chunks = range(0, scale.large_replicates, scale.at_a_time)
large_points = [
    {**scale.large, "seed": study.seed, "replicates": list(range(first, first + scale.at_a_time))} for first in chunks
]
small_points = [{**scale.small, "seed": study.seed, "replicates": replicates}]
small_results = sweep(gradient_runs, small_points, label="small networks", **options)
large_results = sweep(gradient_runs, large_points, label="large networks", **options)
runs = study.runs(gradient_check.rows_of_study(small_results, large_results, dict(zip(schedules, flows, strict=True))))

# %% [markdown]
# ## The result
#
# First: does the flow find equilibria? Near one, all distances are small, but the gradient of a distance has length 1
# however small the distance is. With a constant step the particles therefore overshoot and oscillate, at a size set
# by $\eta$. With a shrinking step some replicates go on falling. The others stop at a discrepancy above 0, be it at a
# local minimum or because the step shrank too soon: these are no equilibria.

# %%
flow_figure, equilibria_table, cosines_figure, cosines_table, radius_figure, checks_table, decisions = (
    gradient_check.REPORT
)
flow_figure(study, runs)

# %% [markdown]
# Hence the equilibria below come from iteration begun where the flow ended.

# %%
equilibria_table(study, runs)

# %% [markdown]
# The column *coincide* shows where the argument about contractions applies: all particles at one place. *permuted*
# counts the equilibria that exist only as measures. Now the gradients, at particles that have flowed for $T$ steps and
# at the equilibrium.

# %%
cosines_figure(study, runs)
cosines_table(study, runs)

# %% [markdown]
# How much the first term of the sum says about the whole depends on the spectral radius of $J$: term $j$ shrinks like
# its $j$-th power.

# %%
radius_figure(study, runs)
checks_table(study, runs)

# %% [markdown]
# From these rows alone every claim is decided; the table of verdicts closes the notebook.

# %%
decisions(study, runs)

# %% tags=["nbval-check-output"]
study.print_checks()

# %% [markdown]
# ## The verdict
#
# How to read the possible outcomes in the closing table:
#
# - *implicit-is-exact* is a matter of calculus where the equilibrium is smooth in the weights; failing would mean an
#   error in the theory as stated above, or in the code.
# - If *one-step* and *more-applications* hold, training goes downhill on average, and how much it loses is a matter of
#   the spectral radius: compare the figure. Near radius 1 the sum for $u$ converges slowly, and its first term says
#   little about it.
# - *truncated-solve* is the case of practice: the particles are still far from the equilibrium. More applications of
#   $F$ do two things there: they add terms to the sum, and they carry the particles on towards the equilibrium. The
#   implicit equation does only the first, at the wrong place, and without any guarantee that it can be solved.
# - Where networks are contractive the equilibrium is one point, and the model with its $N$ particles is an ordinary
#   equilibrium model with one. Whether training leads away from that is asked in the other notebooks.
#
# **What differs from the paper.** Networks are untrained and clouds random, so nothing is said about gradients late in
# training; at quick the networks are tiny, too. The paper's bound for the averaged gradient is not tested. Its own
# solves run 100 or 200 steps with $\eta = 5$.

# %% [markdown]
# ## Explore
#
# One network with all its weight matrices multiplied by a factor: how fast does the k-step gradient approach the
# implicit one?


# %%
def compare(k: int, factor: float):
    """Slopes of the loss by the k-step and by the implicit gradient"""
    sizes = {name: small[name] for name in ("network", "particles", "points")}
    made, exact, cosine, radius = example_slopes(factor, k, seed=seed, **sizes)
    return slopes_figure(made, exact, k, f"cosine {cosine:.3f}, spectral radius {radius:.2f}")


explore(compare, k=[1, 2, 3, 5, 10], factor=(0.25, 1.75, 0.25))

# %% [markdown]
# ## References
#
# - J. Geuter, C. Bonet, A. Korba, D. Alvarez-Melis, arXiv 2503.01140 (2025): the paper.
# - S. Bai, J. Z. Kolter, V. Koltun, *Deep equilibrium models*, NeurIPS 2019: the implicit gradient.
# - S. W. Fung et al., *JFB: Jacobian-free backpropagation for implicit networks*, AAAI 2022: one application.
# - Z. Geng et al., *On training implicit models*, NeurIPS 2021: phantom gradients.

# %%
study.done(seeds=range(scale.replicates))
