# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Maps of ingredients and of the way their averages take
#
# **Paper.** A. Rojas and D. Alvarez-Melis, *Understanding the Role of Functional Diversity in Weight-Ensembling with
# Ingredient Selection and Multidimensional Scaling*, ICML 2024 Workshop on Foundation Models in the Wild
# ([arXiv 2409.02347](https://arxiv.org/abs/2409.02347)).
#
# **What is regenerated.** The planar maps of ingredients with the paths of the selection algorithms, and a measure of
# how far such maps can be trusted.
#
# **The claim in one sentence.** A planar map of the distances between networks shows how each selection algorithm
# moves, to the extent that a plane can hold these distances at all.
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
# A network is a point in a space of thousands of dimensions. To see where the ingredients lie, and where their averages
# go while a selection adds one after the other, one draws a map: points $x_1, \dots, x_n \in \mathbb{R}^2$ whose
# distances come as close as possible to the given ones. With $\delta_{ij}$ the distance between networks $i$ and $j$
# (weight distance $d_E$ or ratio-error $d_D$), **metric multidimensional scaling** minimises the raw stress
#
# $$\sigma(X) = \sum_{i<j} \bigl( \delta_{ij} - \lVert x_i - x_j \rVert \bigr)^2 .$$
#
# The algorithm SMACOF bounds $\sigma$ from above by a parabola that touches it at the current map $Z$, and jumps to the
# parabola's minimum; for $n$ points that is one matrix product,
#
# $$X \leftarrow \tfrac{1}{n} B(Z) Z, \qquad B_{ij} = - \frac{\delta_{ij}}{\lVert z_i - z_j \rVert} \;(i \ne j), \qquad
# B_{ii} = - \sum_{j \ne i} B_{ij},$$
#
# so the stress can never rise. Classical scaling (eigenvectors of the centred squared distances) gives the start, so
# the map does not depend on chance. All points go into **one** map: ingredients, the initial weights $\theta_0$ and
# every intermediate average of every algorithm; maps made apart cannot be compared, because rotation, reflection and
# position are arbitrary.
#
# How good is a map? **Stress-1** relates what was missed to what is shown,
#
# $$\sqrt{ \frac{\sum_{i<j} (\delta_{ij} - \lVert x_i - x_j \rVert)^2}{\sum_{i<j} \lVert x_i - x_j \rVert^2} } ,$$
#
# with 0.05 called good and 0.2 poor. There is a reason for doubt: independent directions in high dimension are nearly
# orthogonal, so ingredients tend to be *equally* far from each other, and a plane holds at most three equidistant
# points. Two checks follow. The **null**: deal the same distances to other pairs. Nothing of the geometry is left, only
# the histogram, and a map that is no better than this shows nothing. And the **Shepard diagram**: distance on the map
# against true distance, pair by pair.

# %%
import pandas as pd
import torch
from twelvefold.core.display import show_table
from twelvefold.core.explore import explore
from twelvefold.core.study import Study
from twelvefold.core.sweep import sweep
from twelvefold.papers.weight_ensembles import mds
from twelvefold.papers.weight_ensembles.distances import euclidean
from twelvefold.papers.weight_ensembles.embedding import pair_distances, smacof
from twelvefold.papers.weight_ensembles.experiments import bench_of, mds_runs
from twelvefold.papers.weight_ensembles.plotting import settling_figure
from twelvefold.papers.weight_ensembles.populations import SCALES, population, population_points
from twelvefold.papers.weight_ensembles.recipes import SELECTIONS, cook
from twelvefold.papers.weight_ensembles.soup import averages

study = Study("weight_ensembles/04_mds", preset, seed, device)

# %% [markdown]
# ## The method on two small examples
#
# A square lies in the plane, so its map is exact. Four mutually equidistant points (a tetrahedron) do not fit.

# %%
square = pair_distances(torch.tensor([[0.0, 0.0], [1.0, 0.0], [1.0, 1.0], [0.0, 1.0]]).double())
tetrahedron = torch.ones(4, 4).double() - torch.eye(4).double()
rows = []
for name, matrix in (("square", square), ("tetrahedron", tetrahedron)):
    places, stress = smacof(matrix)
    shown = pair_distances(places)[torch.triu_indices(4, 4, offset=1).unbind()]
    distances = " ".join(f"{x:.2f}" for x in shown.tolist())
    rows.append({"example": name, "distances on the map": distances, "stress-1": round(float(stress), 4)})
show_table(pd.DataFrame(rows), "Maps of four points.")

# %% [markdown]
# ## The claims
#
# The paper reads its maps qualitatively. What can be decided is whether they carry information (against the null),
# whether they pass the usual mark, and whether one path is longer than another.

# %%
study.declare(mds.CLAIMS)

# %% [markdown]
# ## The scale
#
# The populations are those of `01_selection` (same points, trained once; the reasons for their sizes stand there).
#
# - `copies`: permuted matrices per map for the null; twenty give its mean to a few percent.
# - `path_size`: ingredients up to which path lengths are compared, as in `02_dynamics`.

# %%
scale = study.scale(
    quick={**SCALES["quick"], "copies": 20, "path_size": 4},
    gpu={**SCALES["gpu"], "copies": 20, "path_size": 4},
    paper={**SCALES["paper"], "copies": 20, "path_size": 4},
)

# %% [markdown]
# ## The experiment
#
# At quick and gpu: rotated MNIST digits stand in for OfficeHome. Functional distances are measured on the validation
# images. Note that $d_D$ between a member and an average that contains it is not independent of that member.

# %%
populations = population_points(scale, study.seed)
_ = sweep(population, populations, device=study.device, label="training ingredients")
points = [{"ingredients": point, "copies": scale.copies, "path_size": scale.path_size} for point in populations]
results = sweep(mds_runs, points, device=study.device, label="drawing maps")
runs = study.runs(mds.frame(points, results))

# %% [markdown]
# ## The result

# %%
maps_figure, shepard_figure, stress_table, paths_table, decisions = mds.REPORT
maps_figure(study, runs)

# %% [markdown]
# Each path begins at the best single ingredient and moves, by ever smaller steps, towards the middle of those that were
# added. If the averages crowd together, part of that is arithmetic, since a mean of many is always inside. How much of
# the picture is true?

# %%
shepard_figure(study, runs)

# %%
stress_table(study, runs)

# %%
paths_table(study, runs)

# %% [markdown]
# From these rows alone every claim is decided; the table of verdicts closes the notebook.

# %%
decisions(study, runs)

# %% tags=["nbval-check-output"]
# the number of rows of runs.csv depends on how many ingredients the selections took, so it is left out here
print("claims:", ", ".join(claim.id for claim in mds.CLAIMS))
print("\n".join(line for line in study.shapes() if not line.startswith("runs")))

# %% [markdown]
# ## The verdict
#
# The closing table gives each claim with its interval. How to read the possible outcomes:
#
# - If the maps beat the null, they show something of the true geometry; if they do not, they should not be printed.
# - If the stress is not below the mark for a poor fit, single distances must not be read off the map: only coarse
#   statements (near or far, inside or outside) survive. The Shepard diagram shows for which distances.
# - The path lengths are measured in the full space and need no map. If *greedier travels further* is undecided, the two
#   rules take steps of about equal length, and the paper's "distinct regions" cannot be seen in this number.
#
# **What differs from the paper.** Data, network and number of ingredients (see `01_selection`); the paper reports no
# stress that we could read, so the criterion and the null are ours.

# %% [markdown]
# ## Explore
#
# One training run: watch the map settle as the iterations go on. At zero one sees classical scaling.

# %%
bench = bench_of(populations[0], study.device)
trace = cook(bench, SELECTIONS["greedier"])
everything = torch.cat([bench.weights, averages(bench.weights, trace.chosen)[1:]])
matrices = {"with averages": euclidean(everything).cpu(), "ingredients only": euclidean(bench.weights).cpu()}


def settling(points: str, iterations: int):
    """Map of one population after some iterations of SMACOF"""
    places, stress = smacof(matrices[points], iterations=iterations, tolerance=0.0)
    return settling_figure(places, bench.individual, float(stress))


explore(settling, points=list(matrices), iterations=(0, 60))

# %% [markdown]
# ## References
#
# - A. Rojas, D. Alvarez-Melis, arXiv 2409.02347 (2024): the paper.
# - J. de Leeuw, *Applications of convex analysis to multidimensional scaling*, 1977: SMACOF.
# - J. B. Kruskal, *Multidimensional scaling by optimizing goodness of fit to a nonmetric hypothesis*, Psychometrika
#   1964.

# %%
study.done(seeds=range(scale.replicates))
