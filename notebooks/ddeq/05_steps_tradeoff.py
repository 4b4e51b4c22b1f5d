# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # What do inner steps buy?
#
# **Paper.** J. Geuter, C. Bonet, A. Korba and D. Alvarez-Melis, *DDEQs: Distributional Deep Equilibrium Models through
# Wasserstein Gradient Flows*, AISTATS 2025 ([arXiv 2503.01140](https://arxiv.org/abs/2503.01140)).
#
# **What is regenerated.** The effect of the inner solver's precision: the authors' configuration goes over to more and
# smaller inner steps late in training, and logs the accuracy of two outputs.
#
# **The claim in one sentence.** A more precise inner solve makes a better classifier.
#
# **Time.** quick: within 80 CPU seconds on one core, nearly all of it shared with `02_classification_mnist`. gpu: meant
# for at most 6 minutes on one large GPU. paper: many hours.

# %% tags=["parameters"]
preset: str = "quick"  # scale: "quick" (laptop), "gpu" (one GPU) or "paper" (the authors' sizes)
seed: int = 0  # base seed of all draws; 0 is the reported run
device: str = "auto"  # "auto", "cpu", "cuda", "cuda:1", "mps"

# %% [markdown]
# ## The idea
#
# A DDEQ computes its output by an inner optimisation (`01_inner_flow`): $T$ steps of a gradient flow that move
# particles $Z \in \mathbb{R}^{N \times d}$ towards $F(Z; X) = Z$, as measures. The number $T$ is a knob that an
# ordinary network does not have, and it can be turned **after** training: the weights do not know it. Three outputs are
# worth looking at:
#
# | output | meaning |
# |---|---|
# | $F(Z_0)$ | no solver: one application of $F$ to random particles |
# | $Z_T$ | the particles as the flow leaves them ("evaluation mode" in the authors' code) |
# | $F(Z_T)$ | one more application, the output whose loss was minimised ("training mode") |
#
# If $Z_T$ is an equilibrium, $Z_T$ and $F(Z_T)$ are the same measure and a classifier that ignores the order of
# particles gives the same answer for both. The gap between their accuracies is therefore a test of how far from
# equilibrium the network is used, in the only unit that matters to a user.
#
# Why might a longer solve *not* help? The gradient of training sees $F$ at $Z_T$ for the $T$ of training only. The
# weights may adapt to particles that are half-way, and $G(Z) = \tfrac12 \mathrm{MMD}^2(Z, F(Z))$ may have other minima
# than equilibria: the flow can then run to where the classifier has never been trained. The residual alone does not
# tell, so accuracy and residual are shown side by side.
#
# The cost of $T$ steps, in passes of the network: one step needs $F$ forward (1) and a product with its Jacobian (2),
# the last application 1, so $3T + 1$.

# %%
import pandas as pd
import torch
from twelvefold.core.display import show_table
from twelvefold.core.explore import explore
from twelvefold.core.study import Study
from twelvefold.papers.ddeq import steps_tradeoff
from twelvefold.papers.ddeq.cloud_batches import particles
from twelvefold.papers.ddeq.equilibrium import Solver, solve
from twelvefold.papers.ddeq.plots.steps_tradeoff import response_figure
from twelvefold.papers.ddeq.populations import SCALES, ddeq_points, networks, score_arm, train_populations

study = Study("ddeq/05_steps_tradeoff", preset, seed, device)

# %% [markdown]
# ## The method on three particles
#
# A map that is known exactly: $F(z) = z/2 + c$ moves everything half-way towards $2c$, its only equilibrium. The flow
# with step size 1 and plain iteration $Z \leftarrow F(Z)$, from the same three particles:

# %%
def halfway(z: torch.Tensor) -> torch.Tensor:
    """F(z) = z / 2 + c with c = (1, 0)."""
    return z / 2 + torch.tensor([1.0, 0.0])


three = torch.tensor([[[[0.0, 1.0], [0.0, -1.0], [4.0, 0.0]]]])  # [P = 1, B = 1, N = 3, d = 2]
methods = {"flow": Solver(12, step_size=1.0), "iteration": Solver(12, method="iteration")}
values = {name: solve(halfway, three, solver, record=True).values.flatten() for name, solver in methods.items()}
show_table(
    pd.DataFrame({"inner step": range(13), **{name: part.numpy() for name, part in values.items()}}).iloc[::3],
    "MMD^2(Z, F(Z)) along two inner solvers.",
)  # fmt: skip

# %% [markdown]
# ## The claims

# %%
study.declare(steps_tradeoff.CLAIMS)

# %% [markdown]
# ## The scale
#
# Networks, data and recipe are those of `02_classification_mnist` (same points, trained once; the reasons for their
# sizes stand there). Added here:
#
# - `trained_steps`: numbers of inner steps in training. At quick 5 and, as control, 0 (one application); more does not
#   fit the time, so the last claim is not tested there.
# - `steps`: numbers of inner steps in evaluation, up to eight times the trained number at quick. The step size stays as
#   in training and constant, so that 10 steps are 5 and then 5 more.

# %%
scale = study.scale(
    quick={**SCALES["quick"], "trained_steps": [5, 0], "steps": [0, 1, 2, 5, 10, 20, 40]},
    gpu={**SCALES["gpu"], "trained_steps": [50, 20, 5, 1, 0], "steps": [0, 1, 5, 20, 50, 200]},
    paper={**SCALES["paper"], "trained_steps": [200, 50, 10, 1, 0], "steps": [0, 1, 10, 50, 200, 1_000]},
)

# %% [markdown]
# ## The experiment

# %%
arms = {number: ddeq_points(scale, study.seed, steps=number) for number in scale.trained_steps}
_ = train_populations({str(number): points for number, points in arms.items()}, study.device)
scoring = {"steps": scale.steps, "solver": {"step_size": scale.solver["step_size"]}}
scores = {number: score_arm(points, study.device, **scoring) for number, points in arms.items()}
runs = study.runs(steps_tradeoff.tidy(arms, scores, scale.steps))

# %% [markdown]
# ## The result

# %%
curves_figure, steps_table, training_figure, decisions = steps_tradeoff.REPORT
curves_figure(study, runs)

# %% [markdown]
# At 0 steps, $Z$ is random and knows nothing of the input: its accuracy is chance. The first steps carry the
# information about the digit into the particles. What happens beyond the dotted line is what the claims are about.

# %%
steps_table(study, runs)

# %%
training_figure(study, runs)

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
# - *Residual falls beyond the trained steps*: the flow goes on towards an equilibrium. If it fails, the flow with this
#   step size has stopped improving: it hovers at a distance set by $\eta$, or sits in a minimum that is no equilibrium
#   (`01_inner_flow` has the arms that tell which).
# - *Accuracy rises with steps*, of $Z$ and of $F(Z)$: more solving makes a better classifier. If the residual falls and
#   the accuracy of $F(Z)$ does not rise, precision of the solve is not what limits this classifier.
# - *Outputs approach each other*: the gap that is left is the price of stopping early.
# - *Accuracy rises with training steps* needs at least three numbers of steps, which quick does not train.
#
# **What differs from the paper.** Sizes and data as in `02_classification_mnist`. The authors make the late switch
# inside one training run; here the number of steps is varied in evaluation and between training runs, which separates
# the two effects. No number of the paper could be read.

# %% [markdown]
# ## Explore
#
# One digit of run 0: the probability of its true class, read from $Z$ and from $F(Z)$, while the particles flow. Try a
# smaller step size.

# %%
config, network, test = networks(arms[scale.trained_steps[0]][:1], study.device)[0]
first = {name: value[:1] for name, value in network.items()}
z = particles(study.seed, [0], "explore", (1, scale.particles, config.width)).to(study.device)


def response(number: int, step_size: float):
    """Probability of the true class and residual along the inner steps, for one digit"""
    one = test.part(slice(number, number + 1)).first()
    chances, residuals = steps_tradeoff.along_flow(config, first, one, z, step_size, 30)
    return response_figure(range(31), chances, residuals, int(one.labels[0, 0]))


explore(response, number=(0, 99), step_size=(0.5, 9.5, 0.5))

# %% [markdown]
# ## References
#
# - J. Geuter, C. Bonet, A. Korba, D. Alvarez-Melis, arXiv 2503.01140, PMLR 258 (2025): the paper.
# - S. Bai, J. Z. Kolter, V. Koltun, *Deep equilibrium models*, NeurIPS 2019.

# %%
study.done(seeds=range(scale.runs))
