# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Discovering a graph by asking and testing
#
# **Paper.** A. Havrilla, D. Alvarez-Melis and N. Fusi, *IGDA: Interactive Graph Discovery through Large Language Model
# Agents*, 2025 ([arXiv 2502.17189](https://arxiv.org/abs/2502.17189)).
#
# **What is regenerated.** The form of the main result, F1 against the number of edge experiments for several policies;
# with a *simulated* expert in the place of the language model.
#
# **The claim in one sentence.** Testing the edges that the expert is least sure of, and asking it again about their
# neighbours, finds a graph with fewer tests than testing at random; both parts contribute.
#
# **Time.** quick: within 30 CPU seconds on one core. gpu: meant for at most 3 minutes on one large GPU; paper: about
# five times as long.

# %% tags=["parameters"]
preset: str = "quick"  # scale: "quick" (laptop), "gpu" (all networks) or "paper" (more replicates; see the scale)
seed: int = 0  # base seed of all draws; 0 is the reported run
device: str = "auto"  # "auto", "cpu", "cuda", "cuda:1", "mps"

# %% [markdown]
# ## The idea
#
# There are $n$ variables with names and descriptions, and a true graph $G^*$ of which variable directly causes which:
# labels $y_{ij} \in \{0, 1\}$ for the $n(n-1)$ ordered pairs $i \ne j$. No measurements are given. An expert who
# understands the descriptions, in the paper a large language model, states for every pair a belief
# $p_{ij} \in [0, 1]$ that the edge $i \to j$ is there. The predicted graph has the edges with $p_{ij} > \frac12$.
#
# Edges can be *tested*: an experiment tells $y_{ij}$. Each of $R$ rounds allows $I$ tests. One round:
#
# 1. **Select** the $I$ untested pairs of which the expert is least sure, by the uncertainty
#    $u_{ij} = 1 - |2p_{ij} - 1|$.
# 2. **Test** them, and set $p_{ij} = y_{ij}$ for good.
# 3. **Update locally**: ask the expert again about untested pairs that share the cause or the effect with a pair of
#    this round, and tell it the answers so far.
#
# Quality is $F1 = 2TP / (2TP + FP + FN)$ over all ordered pairs, a budget's worth is the **mean F1 over rounds**
# $0, \dots, R$. Tested pairs count as known, so that *every* policy that tests true edges gains; F1 over the untested
# pairs is reported beside it.
#
# **The simulated expert.** To see what the two parts of the loop do, the expert's errors must be known. Its evidence
# on a pair is
#
# $$x_{ij} = d'\,(y_{ij} - \tfrac12) + a_i + b_j + \varepsilon_{ij},\qquad
#   a_i \sim N(0, \rho_s),\; b_j \sim N(0, \rho_t),\; \varepsilon_{ij} \sim N(0, 1 - \rho_s - \rho_t).$$
#
# $d'$ is its skill. $a_i$ is an error that all effects of $i$ share ("it overrates everything that smoking causes"),
# $b_j$ one that all causes of $j$ share. With $\pi$ the density of the graph, its first belief
# $p_{ij} = \sigma(\mathrm{logit}\,\pi + d' x_{ij})$ is calibrated. A test reveals $a_i + b_j + \varepsilon_{ij}$, and
# when it is asked again, it answers with the posterior given all tests and its own evidence on the pair.

# %%
from twelvefold.core.display import show_table
from twelvefold.core.explore import explore
from twelvefold.core.study import Study
from twelvefold.core.sweep import sweep
from twelvefold.papers.igda import discovery
from twelvefold.papers.igda.discovery_study import discovery_runs, experiments_per_round, rows_of_points
from twelvefold.papers.igda.plots.discovery import graph_figure
from twelvefold.papers.igda.plots.policies import POLICIES
from twelvefold.papers.igda.simulated_expert import Skill
from twelvefold.papers.igda.walkthrough import judged_edges, moved_beliefs, steps, tests_made
from twelvefold.tasks.causal_graphs import known_graphs, load_graph

study = Study("igda/01_discovery", preset, seed, device)

# %% [markdown]
# ## The method on a graph small enough to print
#
# `asia` is a made-up clinic with eight variables and eight edges. Two of its 56 pairs are tested in each round. All
# tests of the first four rounds, with the belief that made them uncertain and the answer:

# %%
asia = load_graph("asia")
walk = steps(seed, asia, "uncertainty+local", rounds=4, experiments=2, skill=Skill(1.5, 0.25, 0.25))
show_table(tests_made(walk, asia), "Tests on asia in the order of rounds.")

# %% [markdown]
# After the first round the expert is asked again about pairs that share a cause or an effect with the two it has
# learnt about. The beliefs that moved most:

# %%
show_table(moved_beliefs(walk[0], walk[1], asia, most=6), "Beliefs before and after the first local update.")

# %% [markdown]
# ## The claims
#
# One per network and comparison, all about the mechanism: nothing made with a simulated expert can reproduce a
# number of the paper.
#
# - *igda-beats-random*: the whole method against random tests without updates.
# - *update-helps*: the whole method against the same selection without updates; for the networks with at least eleven
#   variables, because `asia` has so few pairs that an exploring run could not tell the gain from zero.

# %%
study.declare(discovery.CLAIMS)

# %% [markdown]
# ## The scale
#
# - five published networks with 8 to 37 variables, the sizes that a language model can be asked about pair by pair.
#   gpu and paper take all networks at hand with at least 8 variables, up to 107; claims remain about these five.
# - $d' = 1.5$: a true edge outranks an absent one with probability 0.86. $\rho_s = \rho_t = 0.25$: half of the error
#   variance is shared.
# - $R = 8$ rounds that test 30 % of the pairs. The paper's values could not be read.
# - 100 replicates, each an expert with its own errors; all policies meet the same experts, so that differences are
#   paired, and tests at random are the same with and without updates. gpu: 2,000, and 500 above 40 variables.
# - `block`: with so many replicates, areas are kept as means of 100 (paper: 500) replicates; those are the units then.
# - paper: what the paper does needs a strong language model, whose answers are not at hand; with the simulated expert
#   it is the gpu scale with five times the replicates.

# %%
common = {
    "policies": list(POLICIES), "rounds": 8, "tested_share": 0.3,
    "skill": {"separation": 1.5, "shared_source": 0.25, "shared_target": 0.25},
}  # fmt: skip
every = [name for name in known_graphs() if load_graph(name).size >= 8]
scale = study.scale(
    quick={**common, "graphs": list(discovery.GRAPHS), "replicates": 100, "large_replicates": 100, "block": 1},
    gpu={**common, "graphs": every, "replicates": 2_000, "large_replicates": 500, "block": 100},
    paper={**common, "graphs": every, "replicates": 10_000, "large_replicates": 2_500, "block": 500},
)

# %% [markdown]
# ## The experiment

# %%
same = {"seed": study.seed, "policies": scale.policies, "skill": scale.skill, "rounds": scale.rounds,
        "tested_share": scale.tested_share, "block": scale.block}  # fmt: skip
counts = {name: scale.replicates if load_graph(name).size <= 40 else scale.large_replicates for name in scale.graphs}
points = [{**same, "graph": name, "replicates": counts[name]} for name in scale.graphs]
study.dtype = "float64"
made = sweep(discovery_runs, points, device=study.device, dtype=study.dtype, label="networks")
named = [{"graph": name} for name in scale.graphs]
runs = study.runs(rows_of_points(zip(named, made, strict=True), curves=discovery.SHOWN))

# %% [markdown]
# ## The result
#
# How fast is the graph found?

# %%
curves_figure, gains_figure, gains_table, ends_table, decisions = discovery.REPORT
curves_figure(study, runs)

# %% [markdown]
# Read the lower row with care. Where uncertain pairs are tested, F1 over untested pairs *falls*, on the larger networks
# to nearly zero: after some rounds most pairs that the expert would call an edge have been tested, and what remains is
# predicted absent, save a few edges that nobody suspects. So the update does not help there by better predictions of
# untested pairs; it helps by a better choice of what to test next, which shows in the hits of the last table. Where
# tests are random, the update does improve the predictions.
#
# What does each part contribute?

# %%
gains_figure(study, runs)
gains_table(study, runs)

# %%
ends_table(study, runs)

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
# - *igda-beats-random* is about selection and update together; the left panel of the second figure separates them.
#   Selection is by far the larger part.
# - *update-helps* rests on shared errors: the expert's mistakes about pairs with a common cause or effect must be
#   alike, or feedback on one says nothing about the other. Whether those of a language model are alike is a question
#   about that model.
# - **Most probable first** is the control to look at. In a sparse network a calibrated belief rarely exceeds one half;
#   so the least certain pair is mostly the most probable one, and the two rules test nearly the same pairs. The gain
#   over random tests is therefore hardly evidence for uncertainty *as such*; only on the two small, denser networks is
#   it clearly ahead of the most probable first. The next notebook parts the two rules.
# - **Most certain first** is worse than random: it spends its tests on pairs that are absent and known to be.
# - **Global updates** ask about all untested pairs and gain next to nothing over local ones, which ask less. How much
#   less depends on $I$: with many tests a round nearly every pair has a tested neighbour, and local is almost global.
#
# **What differs from the paper.** Its expert is a language model that answers in words, sampled 16 times a pair; here
# it is a formula with known errors, calibrated and updated by Bayes' rule, which is kinder than any real one. Budget,
# number of rounds, networks and all numbers of the paper could not be read. Its numerical baseline is not here.

# %% [markdown]
# ## Explore
#
# Step through the rounds of one replicate. Yellow: the pairs of the present round.


# %%
def discovering(network: str, after_round: int):
    """A causal graph with edges that are confirmed, predicted, missed and wrong"""
    graph = load_graph(network)
    experiments = experiments_per_round(graph.size, 8, 0.3)
    step = steps(seed, graph, "uncertainty+local", after_round, experiments)[-1]
    tests, wrong = int(step.tests[-1]), int(step.distance[0, -1])
    title = f"{network} after round {after_round}: {tests} tests, F1 = {float(step.f1[0, -1]):.2f}, distance {wrong}"
    return graph_figure(graph.variables, graph.edges.nonzero().tolist(), judged_edges(step, graph), title)


explore(discovering, network=["asia", "sachs", "child"], after_round=(0, 8))

# %% [markdown]
# ## References
#
# - A. Havrilla, D. Alvarez-Melis, N. Fusi, arXiv 2502.17189 (2025): the paper.
# - S. L. Lauritzen, D. J. Spiegelhalter, *Local computations with probabilities on graphical structures*, J. R. Stat.
#   Soc. B 50 (1988): `asia`. K. Sachs et al., Science 308 (2005): `sachs`. The networks come from the repository of
#   M. Scutari's bnlearn.
# - D. D. Lewis, W. A. Gale, *A sequential algorithm for training text classifiers*, SIGIR 1994: uncertainty sampling.

# %%
study.done(seeds=range(max(counts.values())))
