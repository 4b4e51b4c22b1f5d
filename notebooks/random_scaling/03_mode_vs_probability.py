# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # The mode jumps, the probability of success does not
#
# **Paper.** R. Zhao, T. Qin, D. Alvarez-Melis, S. Kakade, N. Saphra, *Random Scaling of Emergent Capabilities*
# ([arXiv 2502.17356](https://arxiv.org/abs/2502.17356), 2025).
#
# **What is regenerated.** The four panels of the paper's Figure 3: mode, mean, probability of success and mean of the
# successful runs against the scale, here on a task of our own that can be trained on one core.
#
# **The claim in one sentence.** What looks like a sudden capability is the mode of a mixture that changes sides, while
# the weight of the successful runs and their mean score change gradually.
#
# **Time.** quick: about 80 CPU seconds or less on one core, all but a few of them for populations that
# `04_lucky_curves` reads again. gpu: meant for at most 6 minutes on one large GPU. paper: many GPU hours.

# %% tags=["parameters"]
preset: str = "quick"  # scale: "quick" (laptop), "gpu" (one GPU) or "paper" (the authors' scale)
seed: int = 0  # base seed of all draws; 0 is the reported run
device: str = "auto"  # "auto", "cpu", "cuda", "cuda:1", "mps"

# %% [markdown]
# ## The idea
#
# Train the same recipe $R$ times with other seeds and give each run a score $s_r \in [0, 1]$: the share of strings, one
# letter longer than any in training, that it copies without an error (**exact match**). Call a run with $s_r > 0.2$ a
# **success** (the paper's threshold). The mean score then has three parts,
#
# $$\mathbb{E}[s] = P \, \mathbb{E}[s \mid \text{success}] + (1 - P) \, \mathbb{E}[s \mid \text{failure}],
#   \qquad P = P(\text{success}).$$
#
# With successes near one value and failures near 0, the scores have two modes, and the **mode** proper is the higher
# of the two. Nothing dramatic has to happen for it to move: as $P$ grows, the peak of the successes grows and that of
# the failures shrinks, until the first overtakes the second. The place of the highest peak leaps at that moment from
# one end of the range to the other, though neither group has moved. A single run does what most runs do, so its score
# seems to emerge at that scale.
#
# The **estimator** has a say in *when* this happens. The density is estimated here by Gaussian kernels of width $h$,
# reflected at 0 and 1 so that no mass leaves the range. Runs at exactly 0 meet their own reflections, which doubles
# their peak. If the successes have the standard deviation $\sigma$ around a value inside the range, the two peaks are
# equal at
#
# $$\frac{P}{\sqrt{h^2 + \sigma^2}} = \frac{2 (1 - P)}{h}
#   \quad \Longrightarrow \quad
#   P = \frac{2 \rho}{1 + 2 \rho}, \quad \rho = \sqrt{1 + \sigma^2 / h^2}.$$
#
# So the mode stays at 0 until **two thirds** of the runs succeed, and longer when their scores are scattered. Only
# successes that sit at 1, where they are doubled too, overtake the failures at one half. One number per scale that
# hangs so much on a convention needs a control; it is the table *estimators* below.

# %%
import numpy as np
import pandas as pd
from twelvefold.core.display import show_table
from twelvefold.core.explore import explore
from twelvefold.core.study import Study
from twelvefold.papers.random_scaling import mode_vs_probability
from twelvefold.papers.random_scaling.curves.measures import curve_rows
from twelvefold.papers.random_scaling.curves.plotting import scale_histogram
from twelvefold.papers.random_scaling.decomposition import decomposition
from twelvefold.papers.random_scaling.populations import SCALES, axis_points, train_populations
from twelvefold.papers.random_scaling.reporting import per_run, scales_of

study = Study("random_scaling/03_mode_vs_probability", preset, seed, device)

# %% [markdown]
# ## The method on made scores
#
# 24 runs, of which more and more succeed with scores from .85 to .95; the others score exactly 0. Read the columns
# downwards: $P$ and the mean take equal steps, the mean of the successes stands still, the mode takes one leap.

# %%
made = {k: np.concatenate([np.zeros(24 - k), np.linspace(0.85, 0.95, k)]) for k in range(2, 24, 3)}
show_table(
    pd.DataFrame({"successes of 24": k, **decomposition(scores)._asdict()} for k, scores in made.items()),
    "Parts of the mean score of eight made populations.",
)

# %% [markdown]
# ## The claims
#
# The first four are statements of the paper at a smaller scale. Their intervals range over training runs. Runs of one
# replicate share initial weights and random numbers at all scales, so they are resampled together.
#
# - *mode-jumps-more* compares two largest steps. The largest of several noisy steps is too large on average, for the
#   mode as for $P$. It needs three compared scales and 20 runs. In exploration $P$ at the last scale lay between .34
#   and .67, at or below the two thirds at which the reflected mode can leap. So at quick this claim is expected to
#   fail, whatever the paper's picture is worth. It stays because the paper states it.
# - *onset-before-majority* takes the first scale at which **any** run succeeds. Picking a scale because something was
#   seen there raises its $P$, which works against the claim. An axis that starts late, or one with few scales, has
#   its first success late: what fails then may be the axis. With many runs and a fine axis the opposite happens: the
#   first scale with a single success has few of them almost necessarily, and the claim then says little. Look at how
#   many scales lie between the first success and the majority.
# - *success-mean-rises* compares two different sets of runs, so it has no pairs (Welch's interval, or a bootstrap of
#   both groups). It needs five successes at two scales.

# %%
study.declare(mode_vs_probability.CLAIMS)

# %% [markdown]
# ## The scale
#
# The task and all sizes are those of `02_bimodality`, where the reasons and the search behind them stand. Strings of
# different letters are copied; training strings have 5 or 6 letters, the score is exact match at 7. Two rules copy
# the training strings, by the *place* of a letter and by its *content*; only the second works at 7.
#
# - `axis`: the share of training strings with 5 letters instead of 6, from none (one length alone never taught a
#   network of ours the second rule) to one half. The paper varies the size of the networks. A share of data was taken
#   because networks of all sizes that fit into the budget must first master their training strings.
# - `runs`: 24 a scale at quick, which leaves $P$ uncertain by about a tenth. gpu and paper: 250, as the paper.
# - `steps`: enough for every run to master both training lengths.
#
# **The gate.** Scales are compared only where *every* run copies more than 99 % of fresh strings drawn as in training.
# Otherwise a failure at length 7 could be a failure to train. A scale that misses the gate is drawn hollow and enters
# no claim.

# %%
scale = study.scale(quick=SCALES["quick"], gpu=SCALES["gpu"], paper=SCALES["paper"])

# %% [markdown]
# ## The experiment

# %%
points = axis_points(scale, study.seed)
results = train_populations(points, scale.shard, device=study.device, label="training along the axis")
runs = study.runs(curve_rows(points, results, scale.score_length))

# %% [markdown]
# ## Four numbers per scale

# %%
parts_figure, histograms_figure, decomposition_table, estimators_table, practice_table, decisions = (
    mode_vs_probability.REPORT
)
parts_figure(study, runs)

# %% [markdown]
# A wide band of the mode is no accident. A bootstrap resample has its mode at one peak or at the other, so where the
# peaks are nearly equal the interval reaches from one to the other. The distributions behind the four numbers:

# %%
histograms_figure(study, runs)

# %%
decomposition_table(study, runs)

# %% [markdown]
# ## Control: how far the mode depends on its estimator
#
# Narrow and wide kernels, kernels that are not reflected (no doubling at the ends), and the fullest bin of a
# histogram. Two bins ask nothing but where the majority is. If the leap sits at another scale in every row, or in some
# rows only, then its *place* is a convention; the claim is about its *size*.

# %%
estimators_table(study, runs)

# %% [markdown]
# ## What usual practice would have shown
#
# One run per scale, or the average of three. Such a curve is a draw from the histograms above, and the next draw looks
# different; `04_lucky_curves` measures by how much.

# %%
practice_table(study, runs)

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
# - *Mode jumps more* holds: somewhere on the axis the mode moves by more than the share of successful runs ever does
#   between neighbours. Look into *estimators* whether it does so for every estimator.
# - It fails with a mode that stays at 0: the axis ends before the successes outnumber the failures by as much as the
#   doubling at 0 demands. On this axis the statement is then wrong, but the paper's picture is not refuted: the
#   transition that it describes has not been reached. The row *fullest of 2 bins* tells whether the majority has
#   changed sides nevertheless.
# - It fails or stays undecided with a mode that does move: $P$ takes a step of the same size, so the change is sudden
#   in the mixture itself. On an axis of few scales this is likely, because a coarse axis turns every rise into a
#   step. More scales between the two would tell.
# - It stays undecided with a wide interval: the two peaks are nearly equal at some scale, and the runs are too few to
#   say which is higher.
# - *Probability rises* and *success mean rises* may part ways. If only the first holds, the scale decides *whether* a
#   run finds the rule that extrapolates, not how well that rule then works.
# - *Onset before majority* fails when the first scale with successes has many. See the note beside the verdict, and
#   whether a scale without a success comes before it: only then is the onset on the axis at all.
#
# **What differs from the paper.** The task is ours, and the axis is a share of training data; the paper trains
# counting and addition and varies depth and width. Its sizes, learning rates and number of updates could not be read.
# The networks have a few thousand weights. Fewer scales and, at quick, a tenth of the runs stand behind every number.
# The paper's histograms and their mode are those of an unknown bin width or kernel.

# %% [markdown]
# ## Explore
#
# Drag the number of the scale and watch the histogram over runs; change the width of the kernels and watch the mode.

# %%
labels = scales_of(runs)


def one_scale(scale_number: int, width: float):
    """Histogram over training runs of exact match at one scale, with its kernel density and mode"""
    label = labels[scale_number]
    return scale_histogram(per_run(runs, label, scale.score_length), f"share {label}", width)


explore(one_scale, scale_number=(0, len(labels) - 1), width=(0.01, 0.09, 0.01))

# %% [markdown]
# ## References
#
# - R. Zhao, T. Qin, D. Alvarez-Melis, S. Kakade, N. Saphra, arXiv 2502.17356 (2025): the paper.
# - B. W. Silverman, *Density Estimation for Statistics and Data Analysis* (1986): kernels, and reflection at the ends
#   of a range.
# - E. B. Wilson, *Probable inference, the law of succession, and statistical inference*, Journal of the American
#   Statistical Association 22 (1927): the interval of a share.
# - B. L. Welch, *The generalization of "Student's" problem when several different population variances are involved*,
#   Biometrika 34 (1947): the interval of a difference of two groups.

# %%
study.done(seeds=range(scale.runs))
