# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Does diversity predict what averaging gains?
#
# **Paper.** A. Rojas and D. Alvarez-Melis, *Understanding the Role of Functional Diversity in Weight-Ensembling with
# Ingredient Selection and Multidimensional Scaling*, ICML 2024 Workshop on Foundation Models in the Wild
# ([arXiv 2409.02347](https://arxiv.org/abs/2409.02347)).
#
# **What is regenerated.** The study of diversity against the accuracy of the average.
#
# **The claim in one sentence.** The more two networks differ, the more their average gains over them; and yet the most
# diverse choice is not the best one.
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
# Take two ingredients $\theta_i, \theta_j \in \mathbb{R}^P$ with accuracies $a_i, a_j$, and their average
# $\theta_{ij} = (\theta_i + \theta_j)/2$ with accuracy $a_{ij}$. What averaging gave is the **gain**
#
# $$g_{ij} = a_{ij} - \frac{a_i + a_j}{2} .$$
#
# Two identical networks gain nothing, so some difference is necessary. How should it be measured? In **function**
# space, by the ratio-error on $n$ validation images: with the counts $N_{01}, N_{10}$ of images on which only the first
# or only the second errs, and $N_{00}$ on which both do,
#
# $$d_D(i, j) = \frac{N_{01} + N_{10}}{N_{00}}, $$
#
# or in **weight** space, by $d_E(i, j) = \lVert \theta_i - \theta_j \rVert_2$. All pairs at once are matrix products:
# with the table of errors $E \in \{0, 1\}^{N \times n}$, $N_{00} = E E^\top$ and $N_{01} + N_{10} = e_i + e_j - 2
# N_{00}$, where $e_i$ counts the errors of ingredient $i$.
#
# Now the catch. The accuracy of the average is $a_{ij} = \frac{a_i + a_j}{2} + g_{ij}$: the gain is only one of its two
# parts. A network that errs differently from all others is often one that errs *more*, so picking for a large $d_D$
# raises the second part and lowers the first. The paper's statement is exactly this qualified one: diversity helps, but
# more diversity alone does not give the best average; and being far away in weight space can serve as well as being
# functionally different.
#
# Two conventions. Where $N_{00} = 0$ the ratio has no value; the reference code then returns $2 (N_{01} + N_{10})/n$,
# which is on another scale. And with few common errors the ratio explodes, so the table below states the smallest
# $N_{00}$ that occurred.

# %%
import pandas as pd
import torch
from twelvefold.core.display import show_table
from twelvefold.core.explore import explore
from twelvefold.core.study import Study
from twelvefold.core.sweep import sweep
from twelvefold.papers.weight_ensembles import diversity
from twelvefold.papers.weight_ensembles.distances import error_counts, ranked_pairs, ratio_error
from twelvefold.papers.weight_ensembles.experiments import bench_of, pair_runs, tidy
from twelvefold.papers.weight_ensembles.plotting import pair_figure
from twelvefold.papers.weight_ensembles.populations import SCALES, population, population_points

study = Study("weight_ensembles/03_diversity", preset, seed, device)

# %% [markdown]
# ## The method on three classifiers
#
# Ten images, three classifiers; 1 is a right answer. A and B share most of their errors, C errs elsewhere.

# %%
correct = torch.tensor(
    [
        [1, 1, 1, 1, 1, 1, 0, 0, 0, 0],  # A
        [1, 1, 1, 1, 1, 0, 1, 0, 0, 0],  # B
        [0, 0, 1, 1, 1, 1, 1, 1, 0, 0],  # C
    ],
    dtype=torch.bool,
)
one_errs, both_err = error_counts(correct)
show_table(
    pd.DataFrame(
        {"pair": pair, "one errs": int(one_errs[i, j]), "both err": int(both_err[i, j]),
         "d_D": float(ratio_error(correct)[i, j])}
        for pair, (i, j) in {"A, B": (0, 1), "A, C": (0, 2), "B, C": (1, 2)}.items()
    ),
    "Ratio-error of three pairs.",
)  # fmt: skip

# %% [markdown]
# ## The claims
#
# The qualified statement of the paper becomes several claims: diversity predicts the gain; different beats alike; and
# still the most diverse choice is not the best. "Just as much" is a statement of no difference and needs a margin: half
# a point of accuracy, which is about the standard error of one accuracy measured on the stand-in's 2,600 test images.

# %%
study.declare(diversity.CLAIMS)

# %% [markdown]
# ## The scale
#
# The populations are those of `01_selection` (same points, trained once; the reasons for their sizes stand there).
#
# - `pairs`: how many pairs of a population are averaged; all of them (None) where that is a few hundred, a random
#   sample where it would be thousands.
# - `shown`: pairs of each run that are kept for drawing; the correlations use all.
# - `set_size`: four, the size up to which averages still improve in `02_dynamics`'s range of claims.

# %%
scale = study.scale(
    quick={**SCALES["quick"], "pairs": None, "shown": 40, "set_size": 4},
    gpu={**SCALES["gpu"], "pairs": 1000, "shown": 30, "set_size": 4},
    paper={**SCALES["paper"], "pairs": 200, "shown": 40, "set_size": 4},
)

# %% [markdown]
# ## The experiment
#
# At quick and gpu: rotated MNIST digits stand in for OfficeHome; 0 to 45 degrees are the training domains (ID),
# 60 degrees the unseen one (OOD). Distances are measured on validation images, gains on test images.

# %%
populations = population_points(scale, study.seed)
_ = sweep(population, populations, device=study.device, label="training ingredients")
options = {"pairs": scale.pairs, "shown": scale.shown, "set_size": scale.set_size}
points = [{"ingredients": point, **options} for point in populations]
results = sweep(pair_runs, points, device=study.device, label="averaging pairs")
runs = study.runs(tidy(points, results))

# %% [markdown]
# ## The result

# %%
pairs_figure, correlations_table, sets_figure, sets_table, decisions = diversity.REPORT
pairs_figure(study, runs)

# %%
correlations_table(study, runs)

# %% [markdown]
# The last row is a control: the same distances dealt to other pairs must correlate with nothing.
#
# The clouds show the *gain*. The next figure shows the *accuracy*, for sets of four ingredients built by rules that
# pull in different directions: towards accuracy, towards diversity, away from it, or nowhere.

# %%
sets_figure(study, runs)

# %%
sets_table(study, runs)

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
# - If the correlations are positive, diversity predicts what averaging *adds*; whether it also predicts what one *ends
#   up with* is decided by the other claims.
# - *Most diverse pair / set not best*: if they hold, diversity is not to be maximised: the gain in the second part of
#   $a_{ij}$ was paid for with weaker members. Undecided means that the price and the gain were too close to tell apart
#   here; failing would mean that diversity alone was enough.
# - *Position as good as function* compares two forced rules with each other. If it holds, nothing was lost (beyond the
#   margin) by looking at weights only, which needs no predictions at all.
#
# **What differs from the paper.** Data, network and number of ingredients (see `01_selection`). Pairs are not
# independent, because each ingredient belongs to many of them: correlations are therefore computed inside each training
# run, and the interval ranges over runs. The paper's numbers could not be read, so only directions are compared.

# %% [markdown]
# ## Explore
#
# The pairs of one training run, sorted by $d_D$: move from the most similar to the most diverse pair.

# %%
bench = bench_of(populations[0], study.device)
ranked = ranked_pairs(bench.pairwise("d_D"))


def pair(rank: float):
    """Test accuracy of two ingredients and of their average, by the pair's rank in diversity"""
    i, j, distance = ranked[round(rank * (len(ranked) - 1))]
    rows = torch.stack([bench.weights[i], bench.weights[j], (bench.weights[i] + bench.weights[j]) / 2])
    return pair_figure(i, j, distance, {"ID": bench.test(rows, "id"), "OOD": bench.test(rows, "ood")})


explore(pair, rank=(0.0, 1.0, 0.05))

# %% [markdown]
# ## References
#
# - A. Rojas, D. Alvarez-Melis, arXiv 2409.02347 (2024): the paper.
# - M. Aksela, *Comparison of classifier selection methods for improving committee performance*, MCS 2003: ratio-error.
# - A. Rame et al., *Diverse weight averaging for out-of-distribution generalization* (DiWA), NeurIPS 2022.

# %%
study.done(seeds=range(scale.replicates))
