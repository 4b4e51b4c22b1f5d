# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Names or numbers: how many rows of data is an expert worth?
#
# **Paper.** A. Havrilla, D. Alvarez-Melis and N. Fusi, *IGDA: Interactive Graph Discovery through Large Language Model
# Agents*, 2025 ([arXiv 2502.17189](https://arxiv.org/abs/2502.17189)).
#
# **What is regenerated.** The comparison with numerical methods: the paper adapts one that learns from data. Here an
# expert who knows what variables mean (*simulated*, in the place of the language model) meets two methods that learn
# from $N$ rows of data, in the same loop of tests.
#
# **The claim in one sentence.** Against rows that were only observed, an expert of ordinary skill is worth a few
# hundred to a few thousand of them on `asia`; most of what rows lack is the direction of edges, which experiments give.
#
# **Time.** quick: within 75 CPU seconds on one core. gpu: some minutes, most of them hill climbing on the CPU; paper:
# about twice as long.

# %% tags=["parameters"]
preset: str = "quick"  # scale: "quick" (laptop), "gpu" (larger networks) or "paper" (more draws; see the scale)
seed: int = 0  # base seed of all draws; 0 is the reported run
device: str = "auto"  # "auto", "cpu", "cuda", "cuda:1", "mps"

# %% [markdown]
# ## The idea
#
# IGDA needs from its expert one thing: a belief $p_{ij}$ in each edge $i \to j$. A method that learns a graph from data
# can give that too, and then take part in the same loop: test the most uncertain pairs, count tests, measure F1.
#
# **Hill climbing.** $N$ rows $x \in \prod_j \{1, \dots, r_j\}$ are observed. An acyclic graph is scored by
#
# $$\mathrm{BIC} = \sum_j \Big[ \sum_{\text{rows}} \log \hat P(x_j \mid \text{parents of } j)
# - \tfrac{\log N}{2}\, q_j (r_j - 1) \Big],$$
#
# with $q_j$ the number of combinations of values of the parents. The search adds, deletes or turns round one edge at a
# time as long as that helps. Doing it on $B$ resamples of the rows (drawn with replacement, a *bootstrap*) gives
# $p_{ij}$: the share of the $B$ graphs that have the edge.
#
# **What observed rows cannot say.** $a \to b \to c$ and $a \leftarrow b \leftarrow c$ imply the same independences and
# have the same BIC, whatever the data. Graphs that agree in this way form an *equivalence class*; within it, the search
# returns whichever graph it happens to meet first. That has two consequences.
#
# - Beliefs can be read in two ways: count edges *as found*, or count an edge half in each direction where the class
#   leaves its *direction open* ($p_{ij} = p_{ji} = \frac12$ says: joined, but I do not know how).
# - What "first" means depends on the order of the columns. The published networks list causes before effects. Here
#   every resample is searched under random names of the variables; a control shows what happens otherwise.
#
# **Learning anew.** After a round of tests the search can be repeated with edges that were found required and the
# others forbidden. Since no graph may have a cycle, one known edge can fix the direction of others.
#
# **Interventions.** Set variable $k$ at random, and its effects change while its causes do not. *ENCO-lite* learns from
# such rows: $p_{ij} = \sigma(\gamma_{ij})\,\sigma(\theta_{ij})$, with $\theta_{ij} = -\theta_{ji}$ for the direction.
# Networks learn $P(x_j \mid \text{parents})$ under graphs drawn from $p$; then $\gamma$ and $\theta$ move along the
# gradient of the loss on interventional rows. Its pairs can also be tested in the order of those gradients, which is
# how GIT chooses interventions.

# %%
import pandas as pd
from twelvefold.core.display import show_table
from twelvefold.core.explore import explore
from twelvefold.core.study import Study
from twelvefold.core.sweep import sweep
from twelvefold.papers.igda import numerical
from twelvefold.papers.igda.numerical_study import (
    ONE_WAY,
    climbing_runs,
    drawn_resamples,
    enco_runs,
    expert_runs,
    rows_of_study,
    walked,
)
from twelvefold.papers.igda.plots.numerical import beliefs_figure
from twelvefold.papers.igda.structure_learning import Climbing, class_shares, frequencies
from twelvefold.tasks.bayesian_networks import drawn_rows, load_network

study = Study("igda/06_numerical", preset, seed, device)

# %% [markdown]
# ## The method, small enough to print
#
# Five rows of `asia`, eight questions to a patient of a lung clinic, drawn from its published conditional tables:

# %%
network = load_network("asia")
rows = drawn_rows(network, 500, seed, draw=0)
words = {v: [network.categories[j][k] for k in rows[:5, j]] for j, v in enumerate(network.graph.variables)}
show_table(pd.DataFrame(words), "The first five of 500 rows.")

# %% [markdown]
# Ten resamples of the 500 rows give ten graphs. The pairs that most of them join, and the belief in each direction,
# read in both ways:

# %%
graphs = [resample.graph() for resample in drawn_resamples(network, seed, 0, 500, Climbing(resamples=10))]
found, left_open = frequencies(graphs), frequencies([class_shares(graph) for graph in graphs])
names, pairs_of = network.graph.variables, []
for i, j in (found + found.T).triu().gt(0.5).nonzero().tolist():
    true = network.graph.edges
    truth = "forward" if true[i, j] else "backward" if true[j, i] else "no edge"
    pairs_of.append({"pair": f"{names[i]}, {names[j]}", "truth": truth,
                     "found forward": float(found[i, j]), "found backward": float(found[j, i]),
                     "open forward": float(left_open[i, j]), "open backward": float(left_open[j, i])})  # fmt: skip
show_table(pd.DataFrame(pairs_of), "Beliefs in joined pairs: first variable to second (forward), and back.")

# %% [markdown]
# ## The claims
#
# All are about the mechanism; the expert is simulated, and which numerical method the paper adapts is not known.
#
# - The first five place the crossing of hill climbing and expert: with few rows the expert should be ahead, with many
#   the rows, and later for the more skilled expert ($d' = 1, 1.5, 2$: its ranking has an AUROC of .76, .86, .92).
# - *more-rows-help* is no matter of course: more rows sharpen the skeleton, but not directions within a class.
# - *uncertain-tests-help-hill-climbing* asks whether the paper's rule for tests serves a numerical method too, and
#   *learning-anew-helps* whether answers should reach it.
# - *order-of-columns-decides* is the control for directions: a method that only sees numbers should not care about the
#   order of its columns. The margin, 0.1, is the size of the differences between methods here.
# - *open-directions-help* and *open-directions-cost* compare the two ways to read the graphs that the searches return,
#   on a network where independences fix many directions and on one where they fix hardly any.
# - The last two are about ENCO-lite: interventional against observed rows in equal number, and its own choice of tests.

# %%
study.declare(numerical.CLAIMS)

# %% [markdown]
# ## The scale
#
# - Loop as in the other notebooks: $R = 8$ rounds that test 30 % of the pairs. The paper's values are not known.
# - 20 data draws: claims are about differences of 0.05 to 0.2 with standard deviations near 0.1. A draw of $N$ rows is
#   the beginning of one of more rows, so that sizes are compared on the same draws.
# - `each`: experts whose mean stands beside a data draw, so that their chance hardly adds to that of the draw.
# - $B = 10$ resamples; `few` = 5 where each resample is searched after every round, and for the control of columns.
#   `cut`: `sachs`, whose searches take three times as long, has 5 resamples and 10 draws; `fewer` draws for the control
#   of columns and the larger ENCO-lite.
# - ENCO-lite: 300 observed rows and 25 for each of the eight variables set at random, 500 in all; or 400 and 200 each,
#   2,000 in all. Small networks, few steps, higher rates than the defaults of ENCO: the first sizes tried, which at
#   exploring seeds did as well as `enco.QUICK` in two thirds of the time.
# - gpu: one more network, up to 50,000 rows for the small ones, and networks of the width of ENCO's public code, with
#   fewer steps. Most of the time goes to hill climbing, which no GPU speeds up.
# - paper: what the paper compares needs a strong language model, whose answers are not at hand; with the simulated
#   expert it is the gpu scale with 40 draws, on eight networks.

# %%
common = {
    "rounds": 8, "tested_share": 0.3, "skill": {"shared_source": 0.25, "shared_target": 0.25}, "few": 5,
    "separations": [1.0, 1.5, 2.0], "claimed": 500,
}  # fmt: skip
small = {"hidden": [16], "rounds": 5, "model_steps": 60, "graph_steps": 60, "update_steps": 10, "batch": 64,
         "graphs": 16, "model_rate": 0.02, "gamma_rate": 0.1, "theta_rate": 0.2}  # fmt: skip
large = {"hidden": [64], "rounds": 8, "model_steps": 200, "graph_steps": 100, "update_steps": 20}
far = [100, 500, 2_000, 5_000, 50_000]
scale = study.scale(
    quick={**common, "draws": 20, "fewer": 10, "each": 50, "config": small,
           "whole": {"resamples": 10}, "cut": {"sachs": {"resamples": 5, "draws": 10}},
           "sizes": {"asia": [100, 500, 2_000, 5_000], "sachs": [5_000]}},
    gpu={**common, "draws": 20, "fewer": 20, "each": 100, "config": large, "whole": {"resamples": 10}, "cut": {},
         "sizes": {"asia": far, "sachs": far, "child": [5_000]}},
    paper={**common, "draws": 40, "fewer": 40, "each": 200, "config": large, "whole": {"resamples": 20}, "cut": {},
           "sizes": {name: far for name in ("cancer", "earthquake", "survey", "asia", "sachs", "child", "insurance",
                                            "alarm")}},
)  # fmt: skip

# %% [markdown]
# ## The experiment

# %%
same = {"seed": study.seed, "draws": scale.draws, "rounds": scale.rounds, "tested_share": scale.tested_share}
chosen, chance, igda, anew, own = "uncertainty", "random", "uncertainty+local", "uncertainty+global", "expert+global"
fixed = [chosen, chance, chosen + ONE_WAY]
experts = [{**same, "graph": graph, "skill": {**scale.skill, "separation": d}, "each": scale.each,
            "policies": [igda, chosen, chance, anew + ONE_WAY] if d == numerical.USUAL else [igda]}
           for graph in scale.sizes for d in scale.separations]  # fmt: skip
climbing = [{**same, "graph": graph, "rows": size, "policies": fixed, **scale.cut.get(graph, scale.whole)}
            for graph, sizes in scale.sizes.items() for size in sizes]  # fmt: skip
first = {**same, "graph": numerical.GRAPH, "rows": scale.claimed, "resamples": scale.few, "open_too": False}
few = [{**first, "policies": [chosen, chance, anew]},
       *({**first, "policies": [chosen], "draws": scale.fewer, "columns": c}
         for c in ("file", "reversed"))]  # fmt: skip
enco = {**same, "graph": numerical.GRAPH, "config": scale.config}
encos = [{**enco, "rows": 300, "intervened": 25, "policies": [chosen, chance, anew, own]},
         {**enco, "rows": 400, "intervened": 200, "policies": [chosen, chance], "draws": scale.fewer}]  # fmt: skip

# %%
study.dtype = "float64"
options = {"device": study.device, "dtype": study.dtype}
sweeps = {"expert": (expert_runs, experts), "climbing": (climbing_runs, climbing), "few": (climbing_runs, few),
          "enco": (enco_runs, encos)}  # fmt: skip
made = {kind: list(zip(of, sweep(run, of, label=kind, **options), strict=True)) for kind, (run, of) in sweeps.items()}
runs = study.runs(rows_of_study(made))

# %% [markdown]
# ## The result
#
# Mean F1 against the number of rows, and where hill climbing passes each expert.

# %%
(
    rows_figure, crossing_table, rounds_figure, policies_table, directions_figure, start_table, decisions,
) = numerical.REPORT  # fmt: skip
rows_figure(study, runs)
crossing_table(study, runs)

# %% [markdown]
# In the course of testing:

# %%
rounds_figure(study, runs)
policies_table(study, runs)

# %% [markdown]
# Why are rows so slow to help? Hill climbing joins the right variables early. What it lacks is directions.

# %%
directions_figure(study, runs)
start_table(study, runs)

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
# - The crossing depends on the skill of the expert, which for a real language model has to be measured (notebook 05);
#   the table gives it for three skills.
# - *gradients-choose-better* carries GIT's idea from interventions to tests of edges. A large gradient says that the
#   data at hand pull on an edge, not that its answer is open: it need not be the better guide.
# - *order-of-columns-decides* is a warning. The same rows and the same search give a good or a very poor graph
#   according to how columns are numbered, because ties within a class are broken by number. Comparisons with a
#   numerical method that do not shuffle columns say nothing about data. (The search used here even keeps candidate
#   edges in an unordered set: with names for columns its result changes from one Python process to the next.)
# - More rows do not mend all directions. `asia` has a variable that is the *or* of two others without any noise; some
#   independences then hold that the graph does not imply, and a quarter of the joined edges keep pointing the wrong way
#   at 5,000 rows. Interventional rows settle them at 500.
# - Counting directions as found against leaving them open is a choice that F1 does not judge fairly. On `asia` some
#   directions follow from independences, and honesty pays. On `sachs` nearly all are open: honest beliefs of one half
#   are not "above one half", so that F1 before any test is low although the skeleton is nearly perfect, while guessing
#   is right half of the time; whether that still costs after the tests, *open-directions-cost* says.
# - Rows and names are complementary: rows give the skeleton, names or experiments the directions. A method that asks
#   the expert about directions only is the obvious next step.
#
# **What differs from the paper.** Expert: simulated; its skill is set, not measured. Numerical method: the paper's is
# an adaptation of an interactive one whose name and data are not known; the two here are obvious candidates. ENCO-lite
# is small. The expert does not use that graphs have no cycles; the table gives all methods with the simplest part of
# that knowledge ("one way"). Tests of edges are free of noise and counted alike for all.

# %% [markdown]
# ## Explore
#
# Hill climbing on `asia`: beliefs with true edges framed and tested pairs dotted, and F1 by round.


# %%
def climb(rows: int, sample: int, rounds: int):
    """Beliefs of hill climbing beside the true edges of asia, and F1 by round"""
    made = walked(seed, "asia", rows, sample, resamples=5, rounds=rounds, experiments=2)
    title = f"{rows} rows, data draw {sample}, after {rounds} rounds"
    return beliefs_figure(made.beliefs[0], network.graph.edges, made.f1[0], made.feedback.tested[0],
                          list(network.graph.variables), title)  # fmt: skip


explore(climb, rows=[500, 100, 2_000, 5_000], sample=(0, 8), rounds=(0, 8))

# %% [markdown]
# ## References
#
# - A. Havrilla, D. Alvarez-Melis, N. Fusi, arXiv 2502.17189 (2025): the paper.
# - N. Friedman, M. Goldszmidt, A. Wyner, *Data Analysis with Bayesian Networks: A Bootstrap Approach*, UAI 1999.
# - P. Lippe, T. Cohen, E. Gavves, *Efficient Neural Causal Discovery without Acyclicity Constraints*, ICLR 2022: ENCO.
# - M. Olko et al., *Trust Your ∇: Gradient-based Intervention Targeting for Causal Discovery*, NeurIPS 2023: GIT.
# - S. L. Lauritzen, D. J. Spiegelhalter, *Local Computations with Probabilities on Graphical Structures*, JRSS B
#   (1988): `asia`. K. Sachs et al., *Causal Protein-Signaling Networks*, Science 308 (2005): `sachs`.
# - A. Ankan, A. Panda, *pgmpy*, SciPy 2015: networks and hill climbing.

# %%
study.done(seeds=range(scale.draws))
