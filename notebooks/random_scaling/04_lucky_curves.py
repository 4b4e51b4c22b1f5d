# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Lucky curves
#
# **Paper.** R. Zhao, T. Qin, D. Alvarez-Melis, S. Kakade, N. Saphra, *Random Scaling of Emergent Capabilities*
# ([arXiv 2502.17356](https://arxiv.org/abs/2502.17356), 2025).
#
# **What is regenerated.** The paper's Figure 1, two seeds of one recipe with scaling curves of opposite shape, here on
# a task of our own that can be trained on one core. Added: how far the shapes of all curves lie apart, for single runs
# and for averages.
#
# **The claim in one sentence.** Whether a scaling curve looks emergent or nearly linear is decided by the seeds that
# happened to be trained.
#
# **Time.** quick: about 80 CPU seconds or less on one core, all but a few of them for populations that
# `03_mode_vs_probability` reads again. gpu: meant for at most 6 minutes on one large GPU. paper: many GPU hours.

# %% tags=["parameters"]
preset: str = "quick"  # scale: "quick" (laptop), "gpu" (one GPU) or "paper" (the authors' scale)
seed: int = 0  # base seed of all draws; 0 is the reported run
device: str = "auto"  # "auto", "cpu", "cuda", "cuda:1", "mps"

# %% [markdown]
# ## The idea
#
# A **scaling curve** $y_1, \dots, y_m$ is usually made of one run per scale, since runs are expensive. Where the scores
# of runs are bimodal, each $y_k$ is nearly a coin toss between "fails" and "succeeds", with a coin that gets better
# with scale. Equal recipes then give curves that never rise, that jump early or late, that come back down, and now and
# then one that climbs evenly. Show a jump, and the capability is *emergent*; show the even one, and it is
# *predictable*.
#
# Two numbers of the benchmark BIG-bench describe the shape. With the steps $d_k = y_{k+1} - y_k$ and the signed range
# $I = \pm (\max y - \min y)$, negative if the maximum comes first,
#
# $$L = \frac{I}{\sqrt{\operatorname{mean}_k d_k^2}} \quad \text{(linearity)}, \qquad
#   B = \frac{I}{\sqrt{\operatorname{median}_k d_k^2}} \quad \text{(breakthroughness)}.$$
#
# $L$ is largest, $m - 1$, when all steps are equal. $B$ is large when the range is made by *few* steps, so that the
# median step is small. Both see the order of the scales, not the distances between them. Three things to know:
#
# - $B$ has no bound: it is cut at 100. A curve with more than half of its steps exactly 0 reaches the cut.
# - A curve that never moves has $B = L = 0$ by convention. It is neither emergent nor linear.
# - With $m = 3$ scales there are two steps, and the median of two squares is their mean: $B = L$. At least four scales
#   are needed to tell the two shapes apart.
#
# If luck makes the shape, the cure is to average over runs. So the **spread** of $B$ and $L$ over curves, from the
# 10th to the 90th percentile, should be smaller for averages of 16 runs than for single ones.

# %%
import pandas as pd
from twelvefold.core.display import show_table
from twelvefold.core.explore import explore
from twelvefold.core.study import Study
from twelvefold.papers.random_scaling import lucky_curves
from twelvefold.papers.random_scaling.curves.measures import compared_labels, compared_scores, curve_rows
from twelvefold.papers.random_scaling.curves.plotting import two_curves
from twelvefold.papers.random_scaling.populations import SCALES, axis_points, train_populations
from twelvefold.papers.random_scaling.scaling_curves import breakthroughness, improvement, linearity

study = Study("random_scaling/04_lucky_curves", preset, seed, device)

# %% [markdown]
# ## The method on six made curves
#
# Four scales each. Compare the first two rows, then look at how little is needed to move $B$.

# %%
made = {
    "one jump": [0, 0, 0, 1],
    "even steps": [0, 1 / 3, 2 / 3, 1],
    "a jump and a little": [0, 0.05, 0.1, 1],
    "up, down, up": [0, 0.9, 0, 0.9],
    "succeeds too early": [0.9, 0, 0, 0],
    "never": [0, 0, 0, 0],
}
show_table(
    pd.DataFrame(
        {"curve": name, "I": float(improvement(y)), "B": float(breakthroughness(y)), "L": float(linearity(y))}
        for name, y in made.items()
    ),
    "Signed range, breakthroughness and linearity of six made curves.",
)

# %% [markdown]
# ## The claims
#
# Curves take the runs of one replicate at every scale: in the paper's Figure 1, too, a curve belongs to a seed. The
# intervals resample whole replicates; every resample has its own single-run curves and its own averages. Claims need
# three compared scales and 20 runs.
#
# Averages vary less than single runs wherever runs differ at all, with one group or with two. So these claims are about
# how much a single curve can be trusted; they are no evidence for two modes.
#
# Averages are drawn *with* replacement. An average of 16 out of only 24 runs without replacement would hardly vary,
# because most of the runs are in it each time, and the claims would hold for that reason alone: its variance is a third
# of that of 16 fresh runs. The table *spreads* shows both.

# %%
study.declare(lucky_curves.CLAIMS)

# %% [markdown]
# ## The scale
#
# Task, networks and axis are those of `03_mode_vs_probability` (same points, trained once; the reasons stand there and
# in `02_bimodality`): strings of different letters are copied, the axis is the share of training strings with 5 letters
# instead of 6, the score is exact match at 7 letters. A scale is part of the curves only if *every* run masters fresh
# strings drawn as in training (exact match above .99).
#
# - `axis`: at least four scales, or $B$ and $L$ could not differ; gpu and paper have more.
# - `runs`: one curve per replicate. 10th and 90th percentiles need at least some twenty.

# %%
scale = study.scale(quick=SCALES["quick"], gpu=SCALES["gpu"], paper=SCALES["paper"])

# %% [markdown]
# ## The experiment

# %%
points = axis_points(scale, study.seed)
results = train_populations(points, scale.shard, device=study.device, label="training along the axis")
runs = study.runs(curve_rows(points, results, scale.score_length))

# %% [markdown]
# ## The luckiest curves
#
# They were **chosen** for their shape, out of all that are grey. That is the point of the figure: a reader who is shown
# one of them cannot know it.

# %%
lucky_figure, shapes_figure, spreads_table, pairing_table, variants_table, decisions = lucky_curves.REPORT
lucky_figure(study, runs)

# %% [markdown]
# ## How far shapes lie apart

# %%
shapes_figure(study, runs)

# %%
spreads_table(study, runs)

# %% [markdown]
# Which run at one scale belongs to which run at the next? Here a replicate has the same initial weights at every scale,
# because the networks have the same size, and data made from the same random numbers. For networks of different size
# nothing of the kind would be shared, and any pairing is arbitrary. If runs of one replicate tend to succeed together,
# curves of the same replicate are smoother than curves of independent ones.

# %%
pairing_table(study, runs)

# %% [markdown]
# ## Control: pairing and cut
#
# The claims with the other pairing, and with $B$ cut at 10 instead of 100: where single-run curves often reach the cut,
# their spread *is* the cut.

# %%
variants_table(study, runs)

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
# - Both claims about single runs hold: the shape of a single curve says little about the recipe, and averages of 16
#   would have agreed better.
# - *Linearity* holds and *breakthroughness* does not: averages of 16 still spread in $B$. That happens where the true
#   curve is flat somewhere: the median step of an average is then noise around zero, and a small denominator makes a
#   large, uncertain $B$. It is a weakness of $B$, not of the averages.
# - *Breakthroughness* holds and *linearity* does not: curves of coin tosses are all far from a line, so that their $L$
#   differs little, while averages come close to a line, some closer than others. $L$ then tells curves of averages
#   from curves of single runs by its median (*spreads*), not by its spread.
# - Neither holds: most single-run curves have one shape, as at the ends of an axis where (nearly) all runs fail or
#   succeed. Look at the number of constant curves in *spreads*.
# - *Three runs are few* holds: the usual three seeds leave the shape open. If it fails, three runs were as good as
#   sixteen for $B$ here, or both are noise for the reason above. *Undecided* says neither.
# - A variant decides otherwise than the claim: then the claim is about the convention (pairing or cut).
# - Runs of one replicate succeed together (a correlation far above 0 in *pairing*): then the draw that makes a curve
#   lucky is made once, with the initial weights and the random numbers behind the data, and not anew at every scale.
#   Whole curves stay at 0, which lowers the median of both $B$ and $L$; independent replicates give more of the curves
#   that go up and down.
#
# Training is not the same to the last bit on every kind of processor, and a run near the border between failure and
# success can then end on the other side. With 24 replicates that can move a claim to or from *undecided*: at quick,
# *linearity* has been seen on both sides of it. Take such a claim as one at the border.
#
# **What differs from the paper.** The task is ours and the axis is a share of training data, not the size of the
# networks. The curve of averages is added here, as is every interval. The paper's number of scales and its bound of $B$
# could not be read. Averages of 16 come from the runs at hand, so at quick they know 24 replicates only.

# %% [markdown]
# ## Explore
#
# Pick two replicates and compare their curves. The first list starts with the most emergent, the second with the most
# linear curve.

# %%
curves, names = compared_scores(runs).T, compared_labels(runs)


def compare(first: int, second: int):
    """Scaling curves of two replicates over those of all, with their breakthroughness and linearity"""
    chosen = [(number, lucky_curves.title_of(number, curves[number])) for number in (first, second)]
    return two_curves(curves, chosen, names, scale.axis_name)


if len(names) > 1:  # no curve where the gate leaves a single scale
    explore(compare, first=lucky_curves.ranked(curves, "B"), second=lucky_curves.ranked(curves, "L"))

# %% [markdown]
# ## References
#
# - R. Zhao, T. Qin, D. Alvarez-Melis, S. Kakade, N. Saphra, arXiv 2502.17356 (2025): the paper.
# - A. Srivastava et al., *Beyond the Imitation Game: quantifying and extrapolating the capabilities of language
#   models* (BIG-bench), arXiv 2206.04615 (2022): linearity and breakthroughness.
# - J. Wei et al., *Emergent abilities of large language models*, Transactions on Machine Learning Research (2022).
# - R. Schaeffer, B. Miranda, S. Koyejo, *Are emergent abilities of large language models a mirage?*, NeurIPS 2023
#   (arXiv 2304.15004).

# %%
study.done(seeds=range(scale.runs))
