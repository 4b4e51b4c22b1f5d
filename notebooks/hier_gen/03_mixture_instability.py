# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Mixed data make runs unstable
#
# **Paper.** T. Qin, N. Saphra and D. Alvarez-Melis, *Sometimes I am a Tree: Data Drives Unstable Hierarchical
# Generalization*, EMNLP 2025 ([arXiv 2412.04619](https://arxiv.org/abs/2412.04619)).
#
# **What is regenerated.** How stable the rule of a network is over training, and how far equal recipes end apart,
# against the share of centre-embedded sentences among those it copies.
#
# **The claim in one sentence.** Copies of one kind, right-branching or centre-embedded, give stable runs; a mixture of
# the two gives runs that waver between the rules and seeds that disagree.
#
# **Time.** quick: about 80 CPU seconds or less on one core, of which `02_center_embedding` shares the larger part.
# gpu: meant for at most 6 minutes on one large GPU. paper: many GPU hours.

# %% tags=["parameters"]
preset: str = "quick"  # scale: "quick" (laptop), "gpu" (one GPU) or "paper" (the authors' sizes)
seed: int = 0  # base seed of all draws; 0 is the reported run
device: str = "auto"  # "auto", "cpu", "cuda", "cuda:1", "mps"

# %% [markdown]
# ## The idea
#
# `02_center_embedding` has two conditions: networks that copy right-branching sentences only, and networks that copy
# centre-embedded ones only. Here a share $p$ of the copied sentences is centre-embedded, from 0 to 1. Let $a_t$ be the
# share of test questions that a run answers by the hierarchical rule at checkpoint $t$. Its **total variation** is the
# mean step of this curve,
#
# $$\mathrm{TV} = \frac{1}{T - 1} \sum_{t=2}^{T} |a_t - a_{t-1}| ,$$
#
# taken over the last two thirds of training: in the first third every run moves, from chance to an answer. A run that
# has committed itself to a rule has a total variation near 0, whichever rule it is. One that wavers has a large one.
#
# The authors' picture is an **inverted U**: stable at both ends, unstable between. That is two statements, mixtures
# above the left end *and* above the right end, and both are tested. If centre-embedded sentences as such destabilise,
# total variation rises with $p$ all the way instead; the third claim asks for that.
#
# Disagreement of seeds is a different thing from wavering: runs may each be stable and yet end at different rules. It
# is measured by how far a run's final share lies from the median of its condition.

# %%
import pandas as pd
from twelvefold.core.display import show_table
from twelvefold.core.explore import explore
from twelvefold.core.study import Study
from twelvefold.papers.hier_gen import mixture_instability
from twelvefold.papers.hier_gen.mixture_instability import classes
from twelvefold.papers.hier_gen.shares.plotting import classes_figure
from twelvefold.tasks.grammar_populations import sweep_populations
from twelvefold.tasks.grammar_shares import SCALES, share_points, share_runs
from twelvefold.tasks.rule_following import total_variation

study = Study("hier_gen/03_mixture_instability", preset, seed, device)

# %% [markdown]
# ## The method on four curves
#
# Total variation does not see where a curve lies, only how far it travels: standing still at either rule counts as
# nothing, a slow drift as little.

# %%
curves = {
    "committed to the linear rule": [0.0, 0.0, 0.0, 0.0, 0.0],
    "committed to the hierarchical rule": [1.0, 1.0, 1.0, 1.0, 1.0],
    "drifting": [0.2, 0.3, 0.4, 0.5, 0.6],
    "wavering": [0.2, 0.7, 0.3, 0.8, 0.6],
}
show_table(
    pd.DataFrame(
        {"curve": name, "values": " ".join(map(str, values)), "total variation": float(total_variation(values))}
        for name, values in curves.items()
    ),
    "Total variation of four curves of five checkpoints.",
)

# %% [markdown]
# ## The claims
#
# "Mixed" is the mean over *all* trained shares between 0 and 1 of a run's value: the most unstable share would be
# picked after its result is known, which alone would put it above both ends. Every difference is within pairs of runs
# with the same initial weights, dropout and order.

# %%
study.declare(mixture_instability.CLAIMS)

# %% [markdown]
# ## The scale
#
# The populations at shares 0 and 1 are those of `02_center_embedding` (same points, trained once; the reasons for their
# sizes stand there).
#
# - `shares`: 0, 1 and at least one between. quick has time for one, in the middle, and so cannot place a maximum. gpu
#   and paper have more of them at small shares, where the kinds of copies are most unequal and the change is expected
#   to be fastest.
# - `runs`: at least 5 a share; the spread between runs is itself a result here.
# - `records`: a checkpoint for every point of a curve. Total variation depends on their distance, so it is compared
#   between shares of one preset only, never between presets.
# - `ood_items`: the same questions at every checkpoint, so a run that does not change has no variation at all; with few
#   questions small changes go unseen.

# %%
scale = study.scale(quick=SCALES["quick"], gpu=SCALES["gpu"], paper=SCALES["paper"])

# %% [markdown]
# ## The experiment

# %%
points = share_points(scale, study.seed)
results = sweep_populations(points, scale.shard, device=study.device, label="training networks")
runs = study.runs(share_runs(points, results))

# %% [markdown]
# ## The result

# %%
variation_figure, trajectories_figure, finals_figure, shares_table, contrasts_table, decisions = (
    mixture_instability.REPORT
)
variation_figure(study, runs)

# %%
trajectories_figure(study, runs)

# %%
finals_figure(study, runs)

# %% [markdown]
# The same in numbers. Runs that never learned the task waver for another reason, so their number stands in the table,
# and total variation is given without them, too.

# %%
shares_table(study, runs)

# %%
contrasts_table(study, runs)

# %% [markdown]
# The rows of all runs decide the claims; the closing table shows their intervals.

# %%
decisions(study, runs)

# %% tags=["nbval-check-output"]
study.print_checks()

# %% [markdown]
# ## The verdict
#
# The closing table gives each claim with its interval. How to read the possible outcomes:
#
# - Both *less stable* claims about mixtures hold: an inverted U. Only the first holds and *embedded less stable* holds,
#   too: instability rises with the share, and nothing is seen of the return to stability at the hierarchical end. That
#   return needs runs that have settled on the hierarchical rule, see `02_center_embedding`.
# - Nothing is decided: the runs differ more between seeds than between shares at this scale.
# - *Mixtures split seeds* may hold without the others (each run stable, but at another rule) and the others without it
#   (all runs waver about one value).
# - Where few runs learned the task, the gated rows of the tables of shares and contrasts count.
#
# **What differs from the paper.** Own sentences from the published grammar, smaller networks and fewer updates at quick
# and gpu, and other checkpoints; the authors' threshold of a stable run and their grid of shares are not known. No
# number of the paper could be read, so only directions are compared.

# %% [markdown]
# ## Explore
#
# Choose a share and the largest total variation that still counts as stable: each run's curve in the colour of its
# class. Move the threshold to see how the number of stable runs hangs on it.

# %%
trained = sorted(scale.shares, key=lambda p: abs(p - 0.5))  # the list opens at the most even mixture


def classify(share: float, stable: float):
    """Curves of the runs of one share of centre-embedded copies, coloured by class"""
    return classes_figure(runs, classes(runs, share, stable), share, stable)


explore(classify, share=trained, stable=(0.0, 0.1, 0.005))

# %% [markdown]
# ## References
#
# - T. Qin, N. Saphra, D. Alvarez-Melis, arXiv 2412.04619 (2024, EMNLP 2025): the paper.
# - R. T. McCoy, R. Frank, T. Linzen, *Does syntax need to grow on trees? Sources of hierarchical inductive bias in
#   sequence-to-sequence networks*, TACL 2020: the task and its grammar.
# - M. B. Brown, A. B. Forsythe, *Robust tests for the equality of variances*, JASA 1974: distances from the median as a
#   measure of spread.

# %%
study.done(seeds=range(scale.runs))
