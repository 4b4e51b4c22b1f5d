# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Few kinds of sentences are memorised, many give a rule
#
# **Paper.** T. Qin, N. Saphra, D. Alvarez-Melis, *Sometimes I am a Tree: Data Drives Unstable Hierarchical
# Generalization*, EMNLP 2025 ([arXiv 2412.04619](https://arxiv.org/abs/2412.04619)).
#
# **What is regenerated.** The idea of the paper's Figure 1, drawn from our own runs: the plane of data diversity and
# data complexity with the behaviour of training runs in it; and the figures behind it, stability and accuracy on seen
# and unseen trees against the number of trees.
#
# **The claim in one sentence.** Networks that see few syntax trees memorise them and are stable without a rule, an
# intermediate number makes them unstable, and many trees make them follow a rule.
#
# **Time.** quick: about 80 CPU seconds or less on one core. gpu: meant for at most 6 minutes on one large GPU.
# paper: many GPU hours.

# %% tags=["parameters"]
preset: str = "quick"  # scale: "quick" (laptop), "gpu" (one GPU) or "paper" (the authors' scale)
seed: int = 0  # base seed of all draws; 0 is the reported run
device: str = "auto"  # "auto", "cpu", "cuda", "cuda:1", "mps"

# %% [markdown]
# ## The idea
#
# A **tree** is here what the paper calls one: a sentence with every word replaced by its class and every noun marked as
# singular or plural. With other words of the same classes a sentence keeps its tree; with a plural in place of a
# singular it has another. The number $K$ of distinct trees that the training questions have is the **diversity** of the
# data; the copied declaratives keep as many of theirs. The number of sentences and the words stay what they were. The
# share of centre-embedded declaratives is their **complexity**.
#
# A network can answer questions of $K$ trees without any rule: it recognises the tree and knows the place of the
# auxiliary to move. It is found out by questions of trees that it has not seen. So every run is tested on three sets:
# fresh questions of its own trees (**seen**), fresh questions of the other trees (**unseen**), both of which either
# rule answers correctly; and the out-of-distribution questions that tell the rules apart, of which the share H is
# answered by the hierarchical rule.
#
# The paper expects three regimes as $K$ grows: *memorising* (right on seen trees, wrong on unseen ones, the share H is
# stable at some value), *unstable* (H keeps moving, measured by its total variation TV), and *a rule* (H settles near 0
# or 1). TV should then be small at both ends and large between them, an inverted U. With levels $K_1 < \dots < K_m$
# (the last one: all trees) and TV $v_1, \dots, v_m$, the **quadratic contrast**
#
# $$q = \sum_j w_j v_j, \qquad w \propto (\log K)^2 \text{ without its part in } 1 \text{ and } \log K, \qquad
#   \sum_{w_j > 0} w_j = 1,$$
#
# is the ends minus the middle; for an inverted U it is negative.

# %%
import numpy as np
import pandas as pd
from twelvefold.core.display import show_table
from twelvefold.core.explore import explore
from twelvefold.core.study import Study
from twelvefold.core.sweep import sweep
from twelvefold.papers.hier_gen import diversity
from twelvefold.papers.hier_gen.seeds.plotting import condition_figure
from twelvefold.papers.hier_gen.tree_tests import tree_accuracy
from twelvefold.tasks.grammar_populations import grammar_population, mix_of, sweep_populations
from twelvefold.tasks.grammar_shares import SCALES
from twelvefold.tasks.question_formation import QuestionMix, id_questions, kept_trees, tree_name, vocabulary
from twelvefold.tasks.sharding import shards

study = Study("hier_gen/05_diversity", preset, seed, device)

# %% [markdown]
# ## The method on two trees
#
# A mix that keeps two trees for questions, with one fresh question of each kind. In a tree's name each letter is a word
# (D determiner, N noun, A auxiliary, I or T verb, P preposition, R relativiser), `s` and `p` stand after a singular and
# a plural noun.

# %%
small = QuestionMix(question_trees=2, declarative_trees=2, longest=21)
rows = []
for part in ("seen", "unseen"):
    items = id_questions(small, 40, seed=1, replicate=0, trees=part)
    for index in np.unique(items.tree)[:4]:
        row = int(np.flatnonzero(items.tree == index)[0])
        words = vocabulary().decode(items.tokens[row][: items.lengths[row]])
        rows.append({"trees": part, "tree": tree_name(int(index)), "an item": words})
show_table(pd.DataFrame(rows), f"{len(kept_trees(small)[0])} trees kept for questions, and some of the others.")

# %% [markdown]
# The quadratic contrast of three made rows of TV at 4, 20 and 100 trees: an inverted U, a straight line, a U.

# %%
made = np.array([[0.02, 0.10, 0.04], [0.02, 0.04, 0.06], [0.10, 0.02, 0.08]])
contrasts = diversity.quadratic_contrast([4, 20, 100], made)
show_table(pd.DataFrame(made, columns=["TV, 4", "TV, 20", "TV, 100"]).assign(contrast=contrasts.round(6) + 0.0))

# %% [markdown]
# ## The claims
#
# All at the larger share of the scale, fixed before anything is computed: with centre-embedded declaratives training
# shows the construction that the out-of-distribution questions have. Differences are taken within a replicate: its runs
# have the same initial weights and data order at every number of trees. The runs of a limited number of trees
# have trees of their own each, so that an interval over runs covers the choice of trees.

# %%
study.declare(diversity.CLAIMS)

# %% [markdown]
# ## The scale
#
# Networks and training are those of `02_center_embedding` (the reasons stand there), and so are, at gpu and paper, the
# runs on all trees. quick has to train six populations here and takes fewer `steps` for all of them.
#
# - `shares` of centre-embedded declaratives, the rows of the picture: the two ends.
# - `trees` kept, once among the trees of questions and once among those of declaratives. The smallest is few enough to
#   be known by heart. The largest must leave some question tree unseen, and there must be as many declarative trees of
#   every kind that the share asks for; both get scarce where `longest` drops long sentences (the full grammar has 102
#   question trees). Steps of about a factor of two, so that no number stands almost at its neighbour or at "all". With
#   one number alone the inverted U is not tested.
# - `tree_runs`: training runs per limited number of trees, at most `runs`; five are the least for a claim.

# %%
scale = study.scale(
    quick={**SCALES["quick"], "steps": 400, "shares": [0.0, 1.0], "trees": [3, 8], "tree_runs": 6},
    gpu={**SCALES["gpu"], "shares": [0.0, 1.0], "trees": [4, 10, 25, 50], "tree_runs": 16},
    paper={**SCALES["paper"], "shares": [0.0, 0.5, 1.0], "trees": [4, 10, 20, 40, 70], "tree_runs": 50},
)

# %% [markdown]
# ## The experiment
#
# Train on a limited number of trees, then let the final networks answer fresh questions of seen and of unseen trees;
# then train on all trees, or read those populations from the cache.

# %%
points = [part for point in diversity.tree_points(scale, study.seed) for part in shards(point, scale.shard)]
results = sweep(grammar_population, points, device=study.device, label="training on few trees")
test_points = [{"population": point, "items": scale.id_items} for point in points]
tests = sweep(tree_accuracy, test_points, device=study.device, label="seen and unseen trees")
all_points = diversity.all_tree_points(scale, study.seed)
all_results = sweep_populations(all_points, scale.shard, device=study.device, label="training on all trees")
runs = study.runs(diversity.diversity_runs(points, results, tests, all_points, all_results))

# %% [markdown]
# ## The plane of diversity and complexity

# %%
regimes_figure, regimes_table, diversity_figure, conditions_table, variants_table, decisions = diversity.REPORT
regimes_figure(study, runs)

# %%
regimes_table(study, runs)

# %% [markdown]
# ## Memorisation and stability against the number of trees

# %%
diversity_figure(study, runs)

# %%
conditions_table(study, runs)

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
# - The first three claims are about **memorisation**. If seen trees are answered better with few trees, and the gap
#   closes with more, diversity does what the paper says at its low end. If there is no gap even with the fewest trees,
#   the network has found a rule that covers the unseen trees from these alone.
# - The last two are about **stability**. If memorisation is there and the inverted U is not, either the numbers of
#   trees lie on one side of the peak, or runs on all trees have not settled in the updates they had: total variation
#   falls only after a rule is found.
# - A low total variation may also mean that a run has not begun to learn. The table *conditions* gives the number of
#   runs that learned their seen trees, and *variants* the same differences for these.
# - The names in the picture depend on thresholds. A run whose total variation is near the one for *unstable* could as
#   well have another name, so look at the curves first. *Memorises* is asked before *unstable*: such a run may move.
# - A run that memorises follows no rule, and its H may lie anywhere; H near 0 with few trees is not the linear rule.
#
# **What differs from the paper.** Small networks and few updates. Trees are kept at random, questions and declaratives
# apart, and $K$ counts those of questions (the paper's numbers go up to 374, which is both together). Words are drawn
# anew, so that sentences seldom repeat. How the paper drew its sets of trees, and which mixes its figure uses, could
# not be read. Where `longest` is set, the number of all trees is smaller than the paper's.

# %% [markdown]
# ## Explore
#
# One condition: the curves of its runs, and which question trees its first run was shown.

# %%
shown = {(point["mixes"][0]["center_embedded"], point["mixes"][0].get("question_trees")): point["mixes"][0]
         for point in [*points, *all_points]}  # fmt: skip


def condition(trees: object, share: float):
    """Share H over training of the runs on a number of trees, with the trees of the first run"""
    kept = kept_trees(mix_of("question", shown[share, None if trees == "all" else trees]))[0]
    return condition_figure(runs, share, len(kept), [tree_name(int(index)) for index in kept])


explore(condition, trees=[*scale.trees, "all"], share=sorted(scale.shares, reverse=True))

# %% [markdown]
# ## References
#
# - T. Qin, N. Saphra, D. Alvarez-Melis, arXiv 2412.04619 (2024, EMNLP 2025): the paper.
# - R. T. McCoy, R. Frank, T. Linzen, *Does syntax need to grow on trees?*, TACL 8 (2020): the grammar and the task.
# - K. Ahuja et al., *Learning syntax without planting trees*, arXiv 2404.16367 (2024): the task for language models.

# %%
study.done(seeds=range(scale.tree_runs))
