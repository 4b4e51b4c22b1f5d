# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Two groups of runs on a continuous score, too
#
# **Paper.** R. Zhao, T. Qin, D. Alvarez-Melis, S. Kakade and N. Saphra, *Random Scaling of Emergent Capabilities*,
# 2025 ([arXiv 2502.17356](https://arxiv.org/abs/2502.17356)).
#
# **What is regenerated.** The paper's section 3.3: distributions over training runs of scores that change continuously,
# and the distance between the distributions of neighbouring scales. Added here: simulated runs that have nothing but a
# sharp metric.
#
# **The claim in one sentence.** That runs fall into two groups is no artefact of scoring by exact match: loss and the
# probability of the worst token show the groups as well, at times more clearly.
#
# **Time.** quick: at most 80 CPU seconds on one core, nearly all of it shared with `02_bimodality` and
# `03_mode_vs_probability`. gpu: meant for at most 6 minutes on one large GPU. paper: many GPU hours.

# %% tags=["parameters"]
preset: str = "quick"  # scale: "quick" (laptop), "gpu" (one GPU) or "paper" (the authors' sizes)
seed: int = 0  # base seed of all draws; 0 is the reported run
device: str = "auto"  # "auto", "cpu", "cuda", "cuda:1", "mps"

# %% [markdown]
# ## The idea
#
# **An objection.** Suppose a run gets each token of an answer right with probability $a$, independently. The whole
# answer of $n$ tokens is right with probability $a^n$. While $a$ rises slowly from .7 to .99, $a^8$ leaps from .06 to
# .92: the *score* is sharp, the network is not. Schaeffer, Miranda and Koyejo (2023) call such an emergence a
# **mirage** and advise to look at continuous scores instead.
#
# **The answer.** So do that, for the same runs. For a prompt $x$ and the true continuation $y_1 \dots y_n$ take
#
# $$\ell = -\sum_{t=1}^{n} \log p(y_t \mid x, y_{<t}), \qquad
#   w = \min_t\, p(y_t \mid x, y_{<t}),$$
#
# the **sequence loss** and the probability of the **worst token**, both averaged over prompts. In a mirage $w = a$,
# and $\ell = -n \log a$ is $n$ times the loss of one token: a change of unit. The power is gone. If the runs form two
# groups in these scores, the length of the answer has not made them.
#
# **When are there two groups?** Cut the range of the score into three equal parts. A density with one peak can hold
# less in the middle part than in one outer part, never less than in both. So two differences, lower minus middle and
# upper minus middle, are estimated over runs; both above zero refutes a single peak. Where a peak lies, and even
# whether there is one, depends on the scale of measurement. A *gap* does not: an interval without runs stays empty
# under any increasing transformation.
#
# **How far apart are two scales?** Let $x_{(i)}$ and $y_{(i)}$ be the sorted scores of $R$ runs at two neighbouring
# scales. Their 2-Wasserstein distance is
#
# $$W_2^2 = \frac{1}{R} \sum_{i=1}^{R} \bigl(x_{(i)} - y_{(i)}\bigr)^2 .$$
#
# It is positive even for two samples of one distribution. The yardstick comes from the data: put all $2R$ runs into one
# pot, divide it at random, and see how large $W_2$ gets in 95 % of the divisions.

# %%
import numpy as np
import pandas as pd
from twelvefold.core.display import show_table
from twelvefold.core.explore import explore
from twelvefold.core.seeds import numpy_generator
from twelvefold.core.study import Study
from twelvefold.papers.random_scaling import continuous_metric
from twelvefold.papers.random_scaling.continuous_metric import TRAINED, rows_of_kind, rows_of_study
from twelvefold.papers.random_scaling.metrics.plotting import power_figure, score_figure
from twelvefold.papers.random_scaling.mirage import scores_of, token_accuracies
from twelvefold.papers.random_scaling.populations import (
    SCALES,
    axis_points,
    main_point,
    runs_of,
    train_populations,
)

study = Study("random_scaling/05_continuous_metric", preset, seed, device)

# %% [markdown]
# ## The method on five made runs
#
# Five runs whose accuracy per token rises evenly. Raised to the eighth power they bunch at the lower end; the loss of
# eight tokens is eight times that of one, for every run.

# %%
accuracy = np.array([0.55, 0.65, 0.75, 0.85, 0.95])
one, eight = scores_of(accuracy, 1), scores_of(accuracy, 8)
show_table(
    pd.DataFrame({
        "accuracy per token": accuracy,
        "exact match, 8 tokens": eight["exact"],
        "loss of 1 token (nats)": one["sequence_loss"],
        "loss of 8 tokens (nats)": eight["sequence_loss"],
    }),
    "Scores of five made runs under a mirage.",
)  # fmt: skip

# %% [markdown]
# ## The claims
#
# The first two are about one population, the main scale: the range of its sequence loss is cut into thirds. They need
# 32 runs and a scale at which *every* run has mastered what it was trained on; otherwise they are not tested. The next
# two compare the first two such scales of the axis. A distance as such is never evidence, so what has to be above zero
# is the distance minus the 95 % quantile of permuted runs. With its own interval on top this asks for much: at the 24
# runs of quick it takes a second group of about half of the runs.
#
# Which continuous score the claims name was chosen on exploration seeds. The *logarithm* of the loss was tried as well
# and left: it stretches the small losses of the successful runs over half of its range. For the distances it is the
# worst token, because the loss of failures, a hundred nats and more, moves along the axis for reasons of its own.
#
# The last claim is the control: simulated runs with one peak of per-token accuracy and a sharp metric should *not* pass
# the criterion of the first two. For the simulated family (Beta distributions with both parameters at least 1) the
# exact match provably has one peak, too; the claim is about samples of 32 runs.

# %%
study.declare(continuous_metric.CLAIMS)

# %% [markdown]
# ## The scale
#
# Networks, task and axis are those of `02_bimodality` and `03_mode_vs_probability`, trained once; the reasons for their
# sizes stand there. The task is ours: copy a string of different letters. Strings of two lengths are trained and longer
# ones tested. Added here:
#
# - `mirage_concentration` 50: the mirage's runs differ in per-token accuracy by a few hundredths. Fifty lets their
#   exact match spread over most of its range, so that a second group would have room.
# - `mirage_populations` 300 of each family: enough to tell a share of 1 % from the 5 % of the claim.

# %%
mirage = {"mirage_concentration": 50.0, "mirage_populations": 300}
scale = study.scale(
    quick={**SCALES["quick"], **mirage}, gpu={**SCALES["gpu"], **mirage}, paper={**SCALES["paper"], **mirage}
)

# %% [markdown]
# ## The experiment
#
# The axis, with some more runs at its main scale: those of one population must number at least 32. The mirage follows
# the mean exact match of the trained runs from scale to scale, so its scaling curve is the same by construction. Only
# the distribution over runs differs; at the main scale it is drawn.

# %%
points = axis_points(scale, study.seed) | {scale.main: main_point(scale, study.seed)}
results = train_populations(points, scale.shard, study.device)
runs = study.runs(rows_of_study(runs_of(points, results), scale, study.seed))

# %% [markdown]
# ## Three scores of the same runs
#
# The top row is the control: on sequences drawn as in training the runs should be alike. Below it the strings get
# longer. A colour shows which of two rules a run follows, found on swapped training-length sequences
# (`02_bimodality`), so the colour does not depend on any score.

# %%
(scores_figure, dips_table, distances_figure, distances_table, mirage_figure, mirage_table, decisions) = (
    continuous_metric.REPORT
)
scores_figure(study, runs)

# %% [markdown]
# Compare exact match and loss at the greater length. Where successful runs lose accuracy there, their exact match
# slides towards the failures and the valley fills; the loss of most failures, around a hundred nats because they are
# sure of a wrong token, stays far from that of the successes. Then accuracy hides the groups. The dip test in the table
# says whether this can be seen in samples of this size. A score with a floor, as exact match at 0, can alarm the dip
# test alone by its point mass.

# %%
dips_table(study, runs)

# %% [markdown]
# ## Distance between neighbouring scales
#
# The two left panels are scores of longer strings. The right one is the control in the same unit: what the runs were
# trained for should hardly move. It may leave its band all the same: at share 0 only one length is trained, nothing is
# left to guess, and the worst token is a little surer still.

# %%
distances_figure(study, runs)
distances_table(study, runs)

# %% [markdown]
# ## What a mirage looks like
#
# Equal means on the left. In the middle and on the right are the runs behind one of these means.

# %%
mirage_figure(study, runs)

# %% [markdown]
# How often would the criterion raise a false alarm? The second family is a warning. Half of its runs lie on a broad
# shelf below the peak: still one peak per token, but the power presses the shelf against zero, and exact match *can*
# look like two groups. Its loss has a long tail instead.

# %%
mirage_table(study, runs)

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
# - Both claims about *thirds of the loss* hold: the runs form two groups on a score without floor and threshold. One
#   holds alone: most runs are at one end and the rest trails off, which is one group.
# - They fail or stay undecided although exact match shows two groups: then the objection is not answered for our runs.
#   The figure tells whether one group is merely small, or whether failures and successes touch.
# - A *distance beats permutation*: the distribution changes between the first two scales. It does not say how; the
#   histograms do. *Undecided* at quick says little: 24 runs a scale are few for it. Compare the size of the control.
# - If the *mirage* fails, that is, the criterion often sees two groups where there are none, the first two claims lose
#   their meaning, whatever they say.
#
# No score settles the matter alone: the table of simulated populations has a family that fools exact match at times.
# Two things stand outside of this dispute. A gap between the groups is a gap on any scale of measurement. And the
# colours come from a test of *how* the network finds its answer, not of how well it does. (Look also at the loss in
# distribution: even where the dip test finds one group there, the two rules need not have the same mean in it.)
#
# **What differs from the paper.** The task, the axis and the sizes are ours (`02_bimodality` says why); the paper
# varies depth and width on counting and addition. It tests by the dip; here the dip stands in a table, and the claims
# rest on thirds, whose differences have intervals. The distance is the paper's; how it drew the line between signal
# and chance could not be read.

# %% [markdown]
# ## Explore
#
# Choose a score and a test length, and see the runs of the main scale.

# %%
trained = rows_of_kind(runs, TRAINED)


def look(score: str, length: int):
    """Runs of the main scale by one score at one length, coloured by the rule they follow"""
    return score_figure(trained, scale.main, length, score)


explore(look, score=["sequence_loss", "exact", "worst_log", "worst", "margin"], length=[*scale.test_lengths[::-1], 0])

# %% [markdown]
# Now make a mirage yourself: how alike are the runs (concentration), how long is the answer (tokens)? The most frequent
# per-token accuracy is .9.

# %%
def power(tokens: int, concentration: float):
    """Per-token accuracy, exact match and loss of two thousand simulated runs"""
    generator = numpy_generator(0, 0, "explored mirage")
    return power_figure(token_accuracies(0.9, concentration, 2_000, generator), tokens)


explore(power, tokens=(1, 31), concentration=(5.0, 105.0, 5.0))

# %% [markdown]
# ## References
#
# - R. Zhao, T. Qin, D. Alvarez-Melis, S. Kakade, N. Saphra, arXiv 2502.17356 (2025): the paper.
# - R. Schaeffer, B. Miranda, S. Koyejo, *Are emergent abilities of large language models a mirage?*, NeurIPS 2023
#   ([arXiv 2304.15004](https://arxiv.org/abs/2304.15004)).
# - J. A. Hartigan, P. M. Hartigan, *The dip test of unimodality*, Annals of Statistics 13 (1985).

# %%
study.done(seeds=range(scale.main_runs))
