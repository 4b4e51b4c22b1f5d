# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # How accuracy grows while ingredients are added
#
# **Paper.** A. Rojas and D. Alvarez-Melis, *Understanding the Role of Functional Diversity in Weight-Ensembling with
# Ingredient Selection and Multidimensional Scaling*, ICML 2024 Workshop on Foundation Models in the Wild
# ([arXiv 2409.02347](https://arxiv.org/abs/2409.02347)).
#
# **What is regenerated.** The curves of accuracy against the number of ingredients.
#
# **The claim in one sentence.** Adding at each step the network that helps the average most gains accuracy in fewer
# additions than adding the most diverse one.
#
# **Time.** quick: within 80 CPU seconds on one core. gpu: meant for at most 6 minutes on one large GPU. paper: days of
# GPU time, spread over many GPUs.

# %% tags=["parameters"]
preset: str = "quick"  # scale: "quick" (laptop), "gpu" (one GPU) or "paper" (the paper's own data and network)
seed: int = 0  # base seed of all draws; 0 is the reported run
device: str = "auto"  # "auto", "cpu", "cuda", "cuda:1", "mps"

# %% [markdown]
# ## The idea
#
# A selection that may stop hides what it would have done next. To compare *orders* we therefore take the brake off:
# every rule must add ingredients up to a fixed number, whether or not the validation accuracy $A_{val}$ falls. With
# chosen ingredients $i_1, i_2, \dots$ the average is updated in place,
#
# $$\bar\theta_1 = \theta_{i_1}, \qquad \bar\theta_{k+1} = \bar\theta_k + \frac{\theta_{i_{k+1}} - \bar\theta_k}{k + 1}
# \in \mathbb{R}^P .$$
#
# All rules start from the same network, the best single one. They differ in who comes next:
#
# | rule | next ingredient |
# |---|---|
# | top-k | the next best by its own $A_{val}$ |
# | greedier | the one whose addition gives the largest $A_{val}(\bar\theta_{k+1})$ |
# | greedier, replacement | the same, but members may be added again, which weights them more |
# | farthest $d_D$ | the one whose errors differ most from those of $\bar\theta_k$ (forced diversity, "R2") |
# | farthest $d_E$ | the one farthest from $\bar\theta_k$ in weight space |
# | nearest $d_D$ | the functionally most similar one (control: no diversity) |
# | random | anyone (control: averaging as such) |
#
# Here $d_D$ is the ratio-error: images on which exactly one of the two networks errs, over images on which both do.
# Step sizes shrink: the $k$-th addition moves the average by a $k$-th of the way to the newcomer, so the curves must
# flatten. To have one number per rule we take the **area** under accuracy $a_k$ from one to four ingredients, divided
# by its width,
#
# $$\frac{1}{3} \sum_{k=1}^{3} \frac{a_k + a_{k+1}}{2} .$$

# %%
import pandas as pd
import torch
from twelvefold.core.display import show_table
from twelvefold.core.explore import explore
from twelvefold.core.plotting import subplots
from twelvefold.core.study import Study
from twelvefold.core.sweep import sweep
from twelvefold.papers.weight_ensembles import dynamics
from twelvefold.papers.weight_ensembles.experiments import bench_of, dynamics_runs, tidy
from twelvefold.papers.weight_ensembles.plotting import label_of, style_of
from twelvefold.papers.weight_ensembles.populations import SCALES, population, population_points
from twelvefold.papers.weight_ensembles.recipes import FORCED, cook
from twelvefold.papers.weight_ensembles.soup import averages, soup

study = Study("weight_ensembles/02_dynamics", preset, seed, device)

# %% [markdown]
# ## The method on four ingredients
#
# Four "networks" with two weights each; the score is closeness to a point. The running averages of greedier and of the
# farthest-first rule, both forced to take three ingredients:

# %%
toy = torch.tensor([[3.0, 0.0], [0.0, 0.0], [2.0, 3.0], [3.0, 2.0]])  # [4 members, 2 weights]
goal = torch.tensor([1.2, 0.8])


def closeness(rows: torch.Tensor) -> torch.Tensor:
    """A stand-in for validation accuracy: [R, 2] -> [R]."""
    return -(rows - goal).norm(dim=1)


greedier = soup(toy, closeness, "gain", "always", size=3)
farthest = soup(toy, closeness, "farthest", "always", size=3, distance=lambda mean: (toy - mean).norm(dim=1))
show_table(
    pd.DataFrame(
        {"rule": name, "step": step + 1, "added": trace.chosen[step],
         "average": str([round(x, 2) for x in mean.tolist()]), "score": trace.values[step]}
        for name, trace in (("greedier", greedier), ("farthest d_E", farthest))
        for step, mean in enumerate(averages(toy, trace.chosen))
    ),
    "Running averages on the toy ingredients.",
)  # fmt: skip

# %% [markdown]
# ## The claims

# %%
study.declare(dynamics.CLAIMS)

# %% [markdown]
# ## The scale
#
# The populations are those of `01_selection` (same points, trained once; the reasons for their sizes stand there).
# `largest` is the number of ingredients to which every rule is driven: eight, twice the range of the claims, so that
# one sees what comes after.

# %%
scale = study.scale(
    quick={**SCALES["quick"], "largest": 8},
    gpu={**SCALES["gpu"], "largest": 8},
    paper={**SCALES["paper"], "largest": 8},
)

# %% [markdown]
# ## The experiment
#
# At quick and gpu: rotated MNIST digits stand in for OfficeHome; 0 to 45 degrees are the training domains (ID),
# 60 degrees the unseen one (OOD).

# %%
populations = population_points(scale, study.seed)
_ = sweep(population, populations, device=study.device, label="training ingredients")
points = [{"ingredients": point, "largest": scale.largest} for point in populations]
results = sweep(dynamics_runs, points, device=study.device, label="adding ingredients")
runs = study.runs(tidy(points, results))

# %% [markdown]
# ## The result

# %%
curves_figure, differences_figure, areas_table, curves_table, decisions = dynamics.REPORT
curves_figure(study, runs)

# %% [markdown]
# All curves of a panel start in one point, the best single network. A curve that climbs and then falls belongs to a
# rule that has used up the ingredients that help. The bands contain the differences in level between training runs,
# which all rules share; the next figure takes them out by comparing the rules within each run.

# %%
differences_figure(study, runs)

# %%
areas_table(study, runs)

# %%
curves_table(study, runs)

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
# - *greedier over forced diversity*: if it holds, diversity by itself is not what to select for; if it fails, the most
#   different networks were also good ones.
# - *greedier over top-k*: an undecided verdict says that looking for the best average gains little over taking the
#   individually best networks; the interval bounds by how much.
# - *diversity over similarity* is the other half of the paper's statement: at equal numbers, different members are
#   better than alike ones. If it holds together with the first, diversity helps without being sufficient.
#
# **What differs from the paper.** Data, network and number of ingredients (see `01_selection`), and the additions are
# forced, so that all rules can be compared at equal numbers. The paper's curves could not be read as numbers, so only
# directions are compared.

# %% [markdown]
# ## Explore
#
# One training run: the path of any rule, on validation data (what the rule sees) and on test data (what it does not).

# %%
bench = bench_of(populations[0], study.device)


def path(rule: str, ingredients: int):
    """Accuracy along forced additions in one training run"""
    trace = cook(bench, FORCED[rule], size=ingredients)
    rows = averages(bench.weights, trace.chosen)
    figure, ax = subplots(height=2.5)
    curves = {"validation": trace.values, "ID test": bench.test(rows), "OOD test": bench.test(rows, "ood")}
    for name, values in curves.items():
        ax.plot(range(1, ingredients + 1), values, marker=style_of(rule).marker, label=name)
    ax.set_title(label_of(rule))
    ax.set_xlabel("number of ingredients")
    ax.set_ylabel("accuracy")
    ax.legend()
    return figure


explore(path, rule=["greedier", *(name for name in FORCED if name != "greedier")], ingredients=(2, 12))

# %% [markdown]
# ## References
#
# - A. Rojas, D. Alvarez-Melis, arXiv 2409.02347 (2024): the paper.
# - M. Wortsman et al., *Model soups*, ICML 2022: greedy soups.
# - M. Aksela, *Comparison of classifier selection methods for improving committee performance*, MCS 2003: ratio-error.

# %%
study.done(seeds=range(scale.replicates))
