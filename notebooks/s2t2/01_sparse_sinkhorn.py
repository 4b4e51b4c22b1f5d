# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # From a dense matrix to a sparse transport plan
#
# **Paper.** Z. Feng, T. Marwah, N. Fusi, D. Alvarez-Melis and L. Mackey, *Adapting Language Models via Token
# Translation*, 2024 ([arXiv 2411.00593](https://arxiv.org/abs/2411.00593)).
#
# **What is regenerated.** The right half of figure 1: a dense matrix becomes a sparse joint distribution of source and
# target tokens, by sparsemax of columns and rows in turn.
#
# **The claim in one sentence.** The iteration, done right, finds the nearest plan with the wanted marginals; the plan
# is sparse; and gradients through it are good enough to learn a translation whose answer is known.
#
# **Time.** quick: within 80 CPU seconds on one core. gpu and paper: meant for at most 4 minutes on one large GPU.

# %% tags=["parameters"]
preset: str = "quick"  # scale: "quick" (laptop), "gpu" (one GPU) or "paper" (the paper's vocabulary size)
seed: int = 0  # base seed of all draws; 0 is the reported run
device: str = "auto"  # "auto", "cpu", "cuda", "cuda:1", "mps"

# %% [markdown]
# ## The idea
#
# A language model knows $v$ source tokens: an embedding $E \in \mathbb{R}^{v \times d}$ and an output matrix
# $L \in \mathbb{R}^{v \times d}$. A new domain gets a tokenizer of its own with $u$ target tokens. One matrix
# $P \in \mathbb{R}^{v \times u}$, rows source, columns target, says how much of each source token goes into each target
# token. It is a joint distribution with given marginals:
#
# $$P \ge 0, \qquad P\,\mathbf 1_u = \mu \in \mathbb{R}^v, \qquad P^\top \mathbf 1_v = \nu \in \mathbb{R}^u.$$
#
# The target token $t$ gets the embedding $E'_t = \sum_s \frac{P_{st}}{\nu_t} E_s$, a mean of source embeddings.
#
# $P$ is not trained itself. What is trained is a dense matrix of scores $C \in \mathbb{R}^{v \times u}$, and $P$ is the
# plan nearest to it,
#
# $$P = \arg\min_P \tfrac12 \|P - C\|_F^2 = \arg\min_P \langle -C, P\rangle + \tfrac12 \|P\|_F^2
#   \quad \text{over all such plans.}$$
#
# That is optimal transport with cost $-C$ and a *quadratic* regulariser. The familiar entropic regulariser makes every
# entry positive; this one sets most of them to exactly zero.
#
# **How it is computed.** Projecting one vector $x$ onto $\{p \ge 0, \sum_i p_i = m\}$ is easy: $p = [x - \tau]_+$ with
# the threshold $\tau$ that gives the mass $m$ (for $m = 1$ this is called *sparsemax*). So rows alone are easy, and
# columns alone are easy. The plan lies in the intersection of the two sets. Three iterations offer themselves:
#
# - **Alternation**: project rows, then columns, again and again. It ends at *some* plan with these marginals.
# - **Dykstra's algorithm**: the same, but each projection first adds back what its last visit took away. It ends at
#   the *nearest* plan.
# - **Dual ascent**: the nearest plan has the form $P_{st} = [C_{st} + a_s + b_t]_+$. Update all $a_s$ so that the rows
#   are right, then all $b_t$ so that the columns are right, and repeat. Only two vectors are kept from step to step.
#
# **Scale.** With masses that sum to one, entries of $P$ are near $1/(uv)$, a number for which neither learning rates
# nor float32 are made. Everything below has columns of mass 1 and rows of mass $u/v$: the same plan, times $u$.

# %%
import pandas as pd
import torch
from twelvefold.core.display import show_table
from twelvefold.core.explore import explore
from twelvefold.core.study import Study
from twelvefold.core.sweep import sweep
from twelvefold.ot.polytope import project_polytope
from twelvefold.ot.simplex import project_simplex
from twelvefold.papers.s2t2 import sparse_sinkhorn
from twelvefold.papers.s2t2.plots.sparse_sinkhorn import solvers_figure
from twelvefold.papers.s2t2.projections import error_runs, iterate_runs, single_problem, support_runs
from twelvefold.papers.s2t2.relabelling_study import relabelling_runs

study = Study("s2t2/01_sparse_sinkhorn", preset, seed, device)

# %% [markdown]
# ## The method on a matrix small enough to print
#
# First sparsemax on one vector: the threshold is 0.4, and what lies below it becomes zero.

# %%
project_simplex(torch.tensor([1.0, 0.8, 0.3, -0.5]))

# %% [markdown]
# Three source tokens, two target tokens. Columns have mass 1, so that rows have mass $2/3$.

# %%
scores = torch.tensor([[0.9, 0.1], [0.2, 0.3], [0.1, 0.8]], dtype=torch.float64)
masses = torch.full((3,), 2 / 3, dtype=torch.float64), torch.ones(2, dtype=torch.float64)
made = project_polytope(scores, *masses, iterations=50)
tokens = {"source token": ["s1", "s2", "s3"]}
show_table(pd.DataFrame({**tokens, "t1": made.plan[:, 0].tolist(), "t2": made.plan[:, 1].tolist()}), "The plan P.")
show_table(pd.DataFrame({**tokens, "a": made.source_potential.tolist()}), "Potentials of the rows; "
           f"those of the columns are b = {[round(x, 4) for x in made.target_potential.tolist()]}.")  # fmt: skip

# %% [markdown]
# Every positive entry is its score plus $a_s + b_t$, and where that sum is negative the entry is zero.
#
# ## The claims
#
# About the iteration, over random matrices; and about learning, over training runs on a problem that is described
# below.

# %%
study.declare(sparse_sinkhorn.CLAIMS)

# %% [markdown]
# ## The scale
#
# **Random matrices.**
#
# - 50 source by 20 target tokens, standard normal scores times a scale, in float64.
# - scale 0.1 for the claims: scores of a plan that is being learnt are of this size, and `iterations` up to 100, of
#   which the last counts. 160 matrices: a share of 1 then has the lower limit 0.96. Scale 1, with 40 matrices and
#   without POT, shows what larger scores cost.
# - the support is followed up to a scale of 1000 in 10 matrices, starting each projection where the last one ended.
# - gpu and paper add two matrices of 49,152 (SmolLM2) or 50,280 (OLMo) by 512, in float32, where rounding limits
#   the error to about $10^{-6}$; the reference there is a dual ascent of 500 iterations.
#
# **The relabelling problem.** Source texts are drawn from a Markov chain on $v = 12$ symbols. Each symbol belongs to
# one of $u = 6$ classes and behaves as its class does: the next class depends on the present class only, and every
# symbol of a class is equally likely. Target texts show the classes. A model of the source is then a perfect model of
# the target *once the plan knows which symbols form which class*, and nobody tells it.
#
# - source model: a Llama with one layer of width 32, trained for 150 steps of 16 texts of 32 symbols, at which its loss
#   is within 0.05 bits of the entropy rate.
# - plan: 100 steps with learning rate 0.05, $T = 5$ iterations in each; the model is frozen.
# - classes differ in frequency, each 0.7 times as frequent as the next (on average). Without that, learning often ends
#   in a local minimum.
# - 3 starts: about one start in five still does; so three plans are learnt, and the one with the smallest loss on the
#   texts it was learnt from is kept.
# - 5 training runs: each draws chain, texts, source model and scores anew.

# %%
small = {"sources": 50, "targets": 20}
relabelling = {
    "sources": 12, "targets": 6, "texts": 512, "held_out": 128, "length": 32, "width": 32, "layers": 1,
    "source_steps": 150, "source_rate": 0.01, "steps": 100, "rate": 0.05, "batch": 16, "starts": 3,
    "kinds": ["sparse_sinkhorn", "column_softmax"],
}  # fmt: skip
errors = {"iterations": [1, 2, 5, 10, 20, 50, 100]}
rising = [0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0, 1000.0]
supports = {"scales": rising, "tolerance": 1e-8, "iterations": 3000}
large_errors = {"scales": [0.1], "iterations": [1, 2, 5, 20, 100], "peer": False, "reference": 500}
large_supports = {"scales": [0.01, 0.03, 0.1, 0.3, 1.0], "tolerance": 1e-4, "iterations": 1000, "peer": False}
common = {
    "small": small, "errors": errors, "supports": supports, "relabelling": relabelling,
    "large_errors": large_errors, "large_supports": large_supports,
}  # fmt: skip
few = {"error_replicates": 160, "larger_replicates": 40, "support_replicates": 10, "training_runs": 5}
many = {"error_replicates": 400, "larger_replicates": 100, "support_replicates": 40, "training_runs": 10}
scale = study.scale(
    quick={**common, **few, "large_replicates": 0, "large": None},
    gpu={**common, **many, "large_replicates": 2, "large": {"sources": 49_152, "targets": 512}},
    paper={**common, **many, "large_replicates": 2, "large": {"sources": 50_280, "targets": 512}},
)

# %% [markdown]
# ## The experiment

# %%
exact = {"device": study.device, "dtype": "float64"}
single = {"device": study.device, "dtype": "float32"}
matrices = {"seed": study.seed, **scale.small}
error_points = [
    {**matrices, "replicates": list(range(scale.error_replicates)), "scales": [0.1], **scale.errors, "peer": True},
    {**matrices, "replicates": list(range(scale.larger_replicates)), "scales": [1.0], **scale.errors, "peer": False},
]
support_points = [{**matrices, "replicates": list(range(scale.support_replicates)), **scale.supports}]
iterate_point = {"seed": study.seed, "sources": 12, "targets": 5, "scale": 0.5, "iterations": [0, 1, 2, 5, 100]}
small_errors = sweep(error_runs, error_points, label="errors", **exact)
small_supports = sweep(support_runs, support_points, label="supports", **exact)
iterates = sweep(iterate_runs, [iterate_point], label="iterates", **exact)[0]

# %%
chosen = [{"seed": study.seed, "replicates": [r]} for r in range(scale.large_replicates)]
large_error_points = [{**one, **scale.large, **scale.large_errors} for one in chosen]
large_support_points = [{**one, **scale.large, **scale.large_supports} for one in chosen]
training_points = [{"seed": study.seed, "replicate": r, **scale.relabelling} for r in range(scale.training_runs)]
big_errors = sweep(error_runs, large_error_points, label="large errors", **single)
big_supports = sweep(support_runs, large_support_points, label="large supports", **single)
trained = sweep(relabelling_runs, training_points, label="training runs", **single)
found = {"small": small_errors, "large": big_errors}, {"small": small_supports, "large": big_supports}
runs = study.runs(sparse_sinkhorn.rows_of_study(*found, iterates, trained))

# %% [markdown]
# ## The result
#
# What the iteration does, on a problem small enough to see:

# %%
(
    iterates_figure, errors_figure, errors_table, support_figure, checks_table, plans_figure, relabelling_table,
    decisions,
) = sparse_sinkhorn.REPORT  # fmt: skip
iterates_figure(study, runs)

# %% [markdown]
# How fast? Both correct iterations reach the projection; the dual ascent needs fewer steps for the same error, because
# its threshold for a column looks at all scores, those of entries included that are zero at the moment. The
# alternation without corrections is level from the first steps on.

# %%
errors_figure(study, runs)
errors_table(study, runs)

# %% [markdown]
# How sparse? That depends on the scale of the scores, so that training, which lets them grow, makes the plan sparser.

# %%
support_figure(study, runs)
checks_table(study, runs)

# %% [markdown]
# Can it be learnt? The plans of the first training run, and what all of them cost:

# %%
plans_figure(study, runs)
relabelling_table(study, runs)

# %% [markdown]
# From these rows alone every claim is decided.

# %%
decisions(study, runs)

# %% tags=["nbval-check-output"]
study.print_checks()

# %% [markdown]
# ## The verdict
#
# How to read the closing table:
#
# - *solution-is-pots*, *dykstra-converges* and *support-of-a-vertex* are mathematics; failing would mean an error in
#   the code. A vertex of the transport polytope is a forest on $v + u$ nodes, which is why it has at most $v + u - 1$
#   entries.
# - *alternation-goes-elsewhere* is the warning: the picture of alternating sparsemax, taken literally, computes another
#   plan, and nothing in its marginals shows that.
# - The last two claims are about a problem of our own. That a plan can be learnt from target texts alone does not
#   follow from the mathematics: the loss has local minima, and a plan that mixes two classes can be one.
#
# **What differs from the paper.** Whether the authors use the corrections, how many iterations, which marginals, and
# how scores are initialised could not be read; $T = 5$, uniform marginals and $C \sim N(0, 0.02^2)$ are choices made
# here. Random scores stand for learnt ones in the first part.

# %% [markdown]
# ## Explore
#
# One problem of 12 by 5 tokens: how do the scale of the scores and the number of iterations change what the three
# solvers return?


# %%
def compare(scores_sd: float, iterations: int):
    """Scores, exact plan and the plans of three solvers"""
    scores, plans = single_problem(12, 5, scores_sd, iterations, seed=seed)
    return solvers_figure(scores, plans, iterations)


explore(compare, scores_sd=[0.5, 0.05, 0.1, 0.2, 1.0, 2.0, 5.0], iterations=(1, 41))

# %% [markdown]
# ## References
#
# - Z. Feng, T. Marwah, N. Fusi, D. Alvarez-Melis, L. Mackey, arXiv 2411.00593 (2024): the paper.
# - J. P. Boyle, R. L. Dykstra, in *Advances in Order Restricted Statistical Inference*, 1986: projections with
#   corrections.
# - A. F. T. Martins, R. F. Astudillo, *From softmax to sparsemax*, ICML 2016.
# - M. Essid, J. Solomon, *Quadratically regularized optimal transport on graphs*, SIAM J. Sci. Comput. 40 (2018).
# - M. Blondel, V. Seguy, A. Rolet, *Smooth and sparse optimal transport*, AISTATS 2018; R. Flamary et al., *POT*, JMLR
#   22 (2021): the peer.

# %%
study.done(seeds=range(max(scale.error_replicates, scale.training_runs)))
