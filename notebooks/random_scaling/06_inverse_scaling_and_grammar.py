# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # More successes, or better ones?
#
# **Paper.** R. Zhao, T. Qin, D. Alvarez-Melis, S. Kakade and N. Saphra, *Random Scaling of Emergent Capabilities*,
# 2025 ([arXiv 2502.17356](https://arxiv.org/abs/2502.17356)).
#
# **What is regenerated.** The case of *inverse scaling*, in which the probability of success falls along an axis of
# scale while the successful runs improve; the populations that generalise by grammar; and, at preset paper, the study
# of a pretrained language model.
#
# **The claim in one sentence.** How often a run succeeds and how well a successful run does are two quantities, and
# scale can move them in opposite directions.
#
# **Time.** quick: about 70 CPU seconds on one core, of which other notebooks share a third. gpu: meant for at most 6
# minutes on one large GPU. paper: many GPU hours.

# %% tags=["parameters"]
preset: str = "quick"  # scale: "quick" (laptop), "gpu" (one GPU) or "paper" (the authors' sizes)
seed: int = 0  # base seed of all draws; 0 is the reported run
device: str = "auto"  # "auto", "cpu", "cuda", "cuda:1", "mps"

# %% [markdown]
# ## The idea
#
# Let $s_r$ be the score of run $r$ on inputs unlike those of training, and let a run *succeed* when $s_r > 0.2$. The
# mean over runs is a mixture,
#
# $$\mathbb{E}[s] = P\,\mu_1 + (1 - P)\,\mu_0 ,\qquad
#   P = \Pr(s > 0.2),\quad \mu_1 = \mathbb{E}[s \mid s > 0.2],\quad \mu_0 = \mathbb{E}[s \mid s \le 0.2] .$$
#
# Whoever plots the mean, or a single run, against a scale sees $P$ and $\mu_1$ mixed. They need not move together. A
# larger network, or one with more varied data, may carry out a rule more exactly ($\mu_1$ rises) and yet find a
# shortcut that works in training more often ($P$ falls). The mean may then rise, fall or do neither. This is what the
# paper calls inverse scaling in the probability of success. As a number: the least-squares slope of $P$ and of $\mu_1$
# against the number of the size, with a bootstrap over runs.
#
# Nothing in this asks that the axis be size or the task be copying. So the same functions read two other populations:
#
# - **Grammar.** Networks learn to turn declaratives into questions ("my walrus that does laugh can move" becomes "can
#   my walrus that does laugh move?"). The training questions allow two rules: front the *first* auxiliary, or the
#   *main* one. New questions tell them apart, and the score is the share answered by the second, hierarchical rule. The
#   axis is the data: the share of centre-embedded sentences among those that the network merely copies. The runs are
#   those of the notebooks `hier_gen`, trained once for both.
# - **A language model.** Qwen2.5-0.5B with a new last attention layer and a new head is trained on web text with a
#   share of MMLU questions, 80 times a share. The score is the accuracy on MMLU.

# %%
from types import SimpleNamespace

import pandas as pd
from twelvefold.core.display import show_table
from twelvefold.core.explore import explore
from twelvefold.core.study import Study
from twelvefold.core.sweep import sweep
from twelvefold.papers.random_scaling import inverse_scaling_and_grammar as inverse_scaling
from twelvefold.papers.random_scaling import language_model as lm
from twelvefold.papers.random_scaling.decomposition import decomposition
from twelvefold.papers.random_scaling.metrics import run_rows
from twelvefold.papers.random_scaling.metrics.plotting import parts_figure
from twelvefold.papers.random_scaling.populations import SCALES, runs_of, size_points, train_populations
from twelvefold.papers.random_scaling.reporting import scales_of
from twelvefold.tasks import grammar_shares as grammar
from twelvefold.tasks.grammar_populations import sweep_populations

study = Study("random_scaling/06_inverse_scaling_and_grammar", preset, seed, device)

# %% [markdown]
# ## The method on two made sizes
#
# Eight runs at a small scale and eight at a large one. Fewer large ones succeed, but each of these does better. The
# means are equal: the scaling curve of the mean is flat and hides both changes.

# %%
small, large = [0, 0, 0, 0.5, 0.5, 0.6, 0.6, 0.6], [0, 0, 0, 0, 0, 0.9, 0.95, 0.95]
parts = [decomposition(scores) for scores in (small, large)]
show_table(
    pd.DataFrame({
        "size": ["small", "large"],
        "P(success)": [part.p for part in parts],
        "mean of successes": [part.success_mean for part in parts],
        "mean of all runs": [part.mean for part in parts],
    }),
    "Two made populations of eight runs.",
)  # fmt: skip

# %% [markdown]
# ## The claims
#
# The first two are about the sizes, and only sizes count at which *every* run has mastered what it was trained on. The
# three on grammar need 20 runs at two shares, or 32 runs at one; those on the language model need the models. Where a
# preset has fewer, a claim is *not tested*, and the figure shows what there is. Thirds: cut the range of the score into
# three equal parts; one peak cannot hold less in the middle part than in both others (`05_continuous_metric`).
# For grammar a run that has not learned its task is left out, not its whole share, as in the notebooks of `hier_gen`.

# %%
study.declare(inverse_scaling.CLAIMS)

# %% [markdown]
# ## The scale
#
# - `sizes`: the task and network of the main scale of `02_bimodality` with another number of learned positions. A
#   training sequence of at most 15 tokens starts at a random one of them, so more positions are more places at which it
#   is trained. The axis of the paper's case could not be read. This one was found by a search at other seeds: of width,
#   depth, training steps, alphabet, shares of the data and positions, only along the last did $P$ seem to fall while
#   the successes improved. At 2,000 updates (24 runs, one seed base) $P$ had no trend: .42, .38, .47, .33, .25, .58 at
#   18, 20, 28, 40, 56, 100 positions (18, 56 and 100 not mastered by every run). At 2,500 updates, three seed bases,
#   $P$ (mean of the successes): 20 positions .66 (.81), .53 (.73), .38 (.82); 28 positions .41 (.89), .41 (.91), .42
#   (.89); 40 positions .38 (.95), .22 (.92), not mastered by one run in either base; 36 positions in the third base .33
#   (.92), not mastered by one run. 32 runs each in the first two bases, 24 in the third. So the axis is a candidate, no
#   more, and its largest size may drop out. The run reported here uses fresh seeds. 18 positions are the fewest that
#   hold the longest test string. paper has two to seven layers, an axis that the paper names.
# - `runs`, `steps` and the rest as in `02_bimodality`, so that the size of 28 positions is trained once for both
#   notebooks.
# - `grammar`, `grammar_shares`: the populations of `hier_gen` at the same preset, at some of its shares. quick has time
#   for six runs at one share: not a distribution, but the reader sees what a study with six seeds would have seen.
# - `lm_...`: the language model. `lm_shares` is empty where it is not trained. Shares and number of runs are the
#   paper's, all else is our choice, with its reason beside each value in the package `language_model`.

# %%
no_model = {**lm.LANGUAGE_MODEL_SCALE, "lm_shares": []}
shares = {name: values["shares"] for name, values in grammar.SCALES.items()}
scale = study.scale(
    quick={**SCALES["quick"], "grammar": grammar.SCALES["quick"], "grammar_shares": [0.5], **no_model},
    gpu={**SCALES["gpu"], "grammar": grammar.SCALES["gpu"], "grammar_shares": shares["gpu"], **no_model},
    paper={
        **SCALES["paper"], "grammar": grammar.SCALES["paper"], "grammar_shares": shares["paper"],
        **lm.LANGUAGE_MODEL_SCALE,
    },
)  # fmt: skip

# %% [markdown]
# What the language model needs on the machine. It is not part of quick and gpu, and nothing stands in for it there: a
# smaller model from scratch would not be the same question. The code is complete and tested on a tiny random model.

# %%
show_table(lm.language_model_data(), "Data that preset paper reads from the folder `TWELVEFOLD_DATA`.")

# %% [markdown]
# ## The experiment
#
# The language model comes first, so that missing data are noticed before anything is trained.

# %%
points = lm.language_model_points(scale, study.seed) if scale.lm_shares else []
models = lm.language_model_runs(points, sweep(lm.language_model_run, points, device=study.device)) if points else None

# %%
sizes = size_points(scale, study.seed)
size_runs = runs_of(sizes, train_populations(sizes, scale.shard, study.device, "training sizes"))

grammar_scale = SimpleNamespace(**scale.grammar)
mixes = grammar.share_points(grammar_scale, study.seed, scale.grammar_shares)
curves = sweep_populations(mixes, grammar_scale.shard, device=study.device, label="training on grammar")

# %% [markdown]
# One row per run, whatever the population: its score, and what it does on data like those it was trained on.

# %%
rows = {
    run_rows.SIZES: run_rows.size_rows(size_runs, scale),
    run_rows.GRAMMAR: run_rows.grammar_rows(grammar.share_runs(mixes, curves)),
}
if models is not None:
    rows[run_rows.LANGUAGE] = run_rows.language_rows(models)
runs = study.runs(run_rows.rows_of_study(rows))

# %% [markdown]
# ## Along the sizes
#
# Left the runs themselves, each with its score; then the two parts of their mean.

# %%
sizes_figure, grammar_figure, language_figure, parts_table, thirds_table, decisions = inverse_scaling.REPORT
sizes_figure(study, runs)

# %% [markdown]
# ## Grammar, read by the same functions
#
# At quick there are six runs: the interval of $P$ covers half of the axis, and the mean of successes may rest on two of
# them. Such a picture cannot tell two groups from a spread; it can only show that runs of one recipe differ.

# %%
grammar_figure(study, runs)

# %% [markdown]
# ## The language model, and the numbers
#
# A figure of the language model stands here only where it was trained. Its lower row is the paper's own control: over
# the same runs the pre-training loss should have one peak, so that two groups in accuracy are about the task. Below it
# are the numbers: the parts of the mean (not for the language model, whose chance level lies above .2), and the thirds
# of all populations.

# %%
language_figure(study, runs)
parts_table(study, runs)
thirds_table(study, runs)

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
# - *Probability falls* and *success mean rises* both hold: inverse scaling as in the paper, on another axis. The first
#   **fails**: along our axis runs succeed at least as often. This contradicts the paper's case only if the axes are the
#   same, and they are not; the paper itself has axes along which $P$ rises. *Undecided*: with 24 runs a size the slope
#   of $P$ is known to one or two tenths if three sizes are compared, to four tenths if two are.
# - Why the successes improve has a plain reading: with few positions a longer string reaches places that training used
#   for the ends of strings only, and a network that looks up content pays for that. Why fewer runs find that rule is
#   not known.
# - The mean of successes is a mean over fewer runs the smaller $P$ is. If it moves while $P$ stays, scale improves the
#   rule without making it easier to find.
# - Hollow marks belong to sizes that some run has not mastered. Its failure out of distribution says nothing about
#   rules, so the claims leave the size out.
# - For *grammar*, a rise of $P$ with the share says that the data choose the rule more often. The two *thirds* say
#   whether a run takes one rule or the other; if only one of them holds, most runs follow one rule and the rest are
#   spread.
# - For the *language model*, both thirds would support the histograms which the authors call roughly bimodal, and which
#   reviewers of the paper doubted. With most runs near chance only the lower one can hold.
#
# **What differs from the paper.** The task and the axis are ours; those that gave the paper its inverse scaling could
# not be read. In exploration width, depth, alphabet, updates and shares of the data gave none: where $P$ moved along
# them, it rose. At quick the grammar networks are small and trained briefly. The threshold of .2 is the paper's and
# was called arbitrary by its reviewers: move it below.

# %% [markdown]
# ## Explore
#
# Another threshold of success. Where runs form two groups, nothing changes while the threshold stays between them;
# where they are spread, every choice gives another curve.

# %%
populations = {name: run_rows.rows_of_kind(runs, name) for name in (run_rows.SIZES, run_rows.GRAMMAR)}


def threshold(population: str, success: float):
    """Runs, probability of success and mean of successes at another threshold of success"""
    chosen = populations[population]
    return parts_figure(chosen, dict.fromkeys(scales_of(chosen), True), "score", success)


explore(threshold, population=list(populations), success=(0.1, 0.9, 0.05))

# %% [markdown]
# ## References
#
# - R. Zhao, T. Qin, D. Alvarez-Melis, S. Kakade, N. Saphra, arXiv 2502.17356 (2025): the paper.
# - T. Qin, N. Saphra, D. Alvarez-Melis, *Sometimes I am a Tree*, EMNLP 2025
#   ([arXiv 2412.04619](https://arxiv.org/abs/2412.04619)): the grammar populations.
# - D. Hendrycks et al., *Measuring massive multitask language understanding*, ICLR 2021
#   ([arXiv 2009.03300](https://arxiv.org/abs/2009.03300)): MMLU.
# - Qwen team, *Qwen2.5 technical report*, 2024 ([arXiv 2412.15115](https://arxiv.org/abs/2412.15115)).

# %%
study.done(seeds=range(scale.runs))
