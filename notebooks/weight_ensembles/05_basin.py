# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Why all ingredients must come from one initialisation
#
# **Paper.** A. Rojas and D. Alvarez-Melis, *Understanding the Role of Functional Diversity in Weight-Ensembling with
# Ingredient Selection and Multidimensional Scaling*, ICML 2024 Workshop on Foundation Models in the Wild
# ([arXiv 2409.02347](https://arxiv.org/abs/2409.02347)).
#
# **What is regenerated.** No figure of the paper, but the ground it stands on: that networks fine-tuned from one
# initialisation lie in one basin.
#
# **The claim in one sentence.** On the straight line between two networks accuracy stays up when both were fine-tuned
# from the same initial weights, and collapses when they were not.
#
# **Time.** quick: within 80 CPU seconds on one core. gpu and paper: meant for at most 6 minutes on one large GPU.

# %% tags=["parameters"]
preset: str = "quick"  # scale: "quick" (laptop), "gpu" (one GPU) or "paper" (here as gpu, see the scale)
seed: int = 0  # base seed of all draws; 0 is the reported run
device: str = "auto"  # "auto", "cpu", "cuda", "cuda:1", "mps"

# %% [markdown]
# ## The idea
#
# The average of two networks $\theta_a, \theta_b \in \mathbb{R}^P$ is the middle of the segment
#
# $$\theta(\alpha) = (1 - \alpha)\, \theta_a + \alpha\, \theta_b, \qquad 0 \le \alpha \le 1 .$$
#
# Walk along it and measure the accuracy $A(\alpha)$. If it never drops below the straight line between its ends, the
# two networks are **linearly connected**: they lie in one basin of the loss. The **barrier** is the deepest drop,
#
# $$\max_{\alpha} \; (1 - \alpha) A(0) + \alpha A(1) - A(\alpha) \; \ge \; 0 .$$
#
# For two networks trained from *different* random weights one expects a high barrier, for a simple reason. The hidden
# units of a layer can be permuted without changing the function, and nothing makes two trainings choose the same order:
# unit 5 of one network has nothing to do with unit 5 of the other. Averaging them weight by weight mixes unrelated
# features, and the middle is a network that was never trained. Two networks fine-tuned from a *common* start have kept
# the order of their units, and, if they did not go far, the loss between them is nearly a parabola in which the middle
# lies lower than the ends: then averaging does not only do no harm, it helps.
#
# So the experiment has two arms. In both, ingredient $k$ has the same hyperparameters, images and batches. In the
# *shared* arm all are fine-tuned from one pretrained network; in the *different* arm each has its own random weights
# and its own pretraining on the same images. Whatever separates the arms is due to the initialisation.

# %%
import numpy as np
import pandas as pd
import torch
from twelvefold.core.display import show_table
from twelvefold.core.explore import explore
from twelvefold.core.plotting import subplots
from twelvefold.core.study import Study
from twelvefold.core.sweep import sweep
from twelvefold.nn.functional_population import predict
from twelvefold.papers.weight_ensembles import basin
from twelvefold.papers.weight_ensembles.experiments import basin_runs, bench_of, tidy
from twelvefold.papers.weight_ensembles.populations import SCALES, population, population_points

study = Study("weight_ensembles/05_basin", preset, seed, device)

# %% [markdown]
# ## The method on one hidden layer
#
# The argument about permuted units, in four numbers. A network $f(x) = v^\top \max(0, w x)$ with two hidden units, and
# the same network with its units exchanged: the same function, at another place in weight space. Their average is
# neither.

# %%
w, v = torch.tensor([2.0, -1.0]), torch.tensor([1.0, 0.5])  # input and output weights of two units
inputs = torch.tensor([-2.0, -1.0, 1.0, 2.0])


def network(w: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
    """Outputs [4] of the small network at the four inputs."""
    return torch.relu(inputs[:, None] * w) @ v


show_table(
    pd.DataFrame(
        {"network": name, **{f"f({x:g})": value for x, value in zip(inputs.tolist(), outputs.tolist(), strict=True)}}
        for name, outputs in {
            "original": network(w, v),
            "units exchanged": network(w.flip(0), v.flip(0)),
            "average of the two": network((w + w.flip(0)) / 2, (v + v.flip(0)) / 2),
        }.items()
    ),
    "One function at two places in weight space, and their average.",
)

# %% [markdown]
# ## The claims
#
# "No barrier" needs a margin: two points of accuracy, the mark below which Frankle et al. call networks connected.

# %%
study.declare(basin.CLAIMS)

# %% [markdown]
# ## The scale
#
# The shared arm uses the populations of `01_selection` (same points, trained once; the reasons for their sizes stand
# there).
#
# - `pairs` of ingredients per training run and arm: the mean over a few pairs steadies a run's number; the different
#   arm needs a pretraining for each of its ingredients, which limits their number.
# - `points` of $\alpha$ from 0 to 1; odd, so that the middle is one of them.
# - paper: an ImageNet network exists in one copy, so "another initialisation" cannot be had there. The check is run at
#   the scale of gpu instead.

# %%
scale = study.scale(
    quick={**SCALES["quick"], "pairs": 4, "points": 11},
    gpu={**SCALES["gpu"], "pairs": 8, "points": 11},
    paper={**SCALES["gpu"], "pairs": 8, "points": 11},
)

# %% [markdown]
# ## The experiment
#
# Rotated MNIST digits, at every preset: 0 to 45 degrees are the training domains (ID), 60 degrees the unseen one (OOD).

# %%
populations = population_points(scale, study.seed)
_ = sweep(population, populations, device=study.device, label="training ingredients")
points = [{"ingredients": point, "pairs": scale.pairs, "points": scale.points} for point in populations]
results = sweep(basin_runs, points, device=study.device, label="walking segments")
runs = study.runs(tidy(points, results))

# %% [markdown]
# ## The result

# %%
segments_figure, barriers_table, decisions = basin.REPORT
segments_figure(study, runs)

# %%
barriers_table(study, runs)

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
# - If the barrier is larger for different starts, sharing the initialisation is what makes averages possible; if it
#   were not, the other notebooks would have to be read anew.
# - *No barrier inside the basin* and *the midpoint gains* are two steps: the first says that averaging does no harm,
#   the second that it helps. The first may hold without the second.
#
# **What differs from the paper.** The paper takes the shared start for granted. Here the ends of a segment are
# ingredients of a small network on rotated digits, whose pretraining is short; how deep the valley is will depend on
# width and training time, its presence should not.

# %% [markdown]
# ## Explore
#
# Twelve test images and what the network at $\alpha$ says about them, for both arms of one training run. The title
# gives its accuracy on all images.

# %%
own = {**populations[0], "members": 2 * scale.pairs, "initialisation": "different"}
arms = {"shared": bench_of(populations[0], study.device), "different": bench_of(own, study.device)}


def walk(alpha: float, initialisation: str):
    """Answers of the network on the segment between two ingredients"""
    bench = arms[initialisation]
    here = torch.lerp(bench.weights[0], bench.weights[1], alpha)[None]
    test = bench.task.tests["id"]
    answers = predict(bench.model, here, test.inputs)[0].argmax(-1).cpu()
    figure, axes = subplots(2, 6, width="column", height=1.7)
    for image, label, answer, ax in zip(test.inputs, test.labels, answers, np.ravel(axes), strict=False):
        ax.imshow(image[0].cpu(), cmap="gray_r")
        ax.set_title(str(int(answer)), color="#029e73" if answer == label else "#d55e00", loc="center", pad=2)
        ax.axis("off")
    accuracy = float(bench.test(here)[0])
    figure.suptitle(f"{initialisation} start, alpha = {alpha:.2f}: accuracy {accuracy:.3f}", fontsize=9)
    return figure


explore(walk, alpha=(0.0, 1.0, 0.1), initialisation=["different", "shared"])

# %% [markdown]
# ## References
#
# - A. Rojas, D. Alvarez-Melis, arXiv 2409.02347 (2024): the paper.
# - J. Frankle, G. K. Dziugaite, D. M. Roy, M. Carbin, *Linear mode connectivity and the lottery ticket hypothesis*,
#   ICML 2020: the barrier and its mark.
# - R. Entezari, H. Sedghi, O. Saukh, B. Neyshabur, *The role of permutation invariance in linear mode connectivity of
#   neural networks*, ICLR 2022.

# %%
study.done(seeds=range(scale.replicates))
