# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Where does the uncertainty come from, and can it be trusted?
#
# **Paper.** A. Havrilla, D. Alvarez-Melis and N. Fusi, *IGDA: Interactive Graph Discovery through Large Language Model
# Agents*, 2025 ([arXiv 2502.17189](https://arxiv.org/abs/2502.17189)).
#
# **What is regenerated.** The source of the confidence: according to reviews of the paper, 16 sampled answers per edge.
# How many are needed is asked here of a *simulated* expert in the place of the language model.
#
# **The claim in one sentence.** One answer tells nothing about uncertainty, sixteen tell nearly all that is useful, and
# being too sure or too unsure matters only because the answers are few.
#
# **Time.** quick: within 40 CPU seconds on one core. gpu: meant for at most 3 minutes on one large GPU; paper: about
# five times as long.

# %% tags=["parameters"]
preset: str = "quick"  # scale: "quick" (laptop), "gpu" (all networks) or "paper" (more replicates; see the scale)
seed: int = 0  # base seed of all draws; 0 is the reported run
device: str = "auto"  # "auto", "cpu", "cuda", "cuda:1", "mps"

# %% [markdown]
# ## The idea
#
# IGDA tests the pairs with the largest uncertainty $u = 1 - |2p - 1|$, where $p$ is the belief that an edge is there.
# A language model that is asked for text states no $p$. Ask it $K$ times and let it vote:
#
# $$\hat p = \frac{\text{number of yes}}{K}, \qquad K \hat p \sim \mathrm{Binomial}(K, p).$$
#
# $\hat p$ takes only $K + 1$ values. With $K = 1$ it is 0 or 1, $u = 0$ everywhere, and ties are broken at random: the
# method becomes random testing. With $K = 4$ there are three degrees of uncertainty (0, 1/2 and 1). In a sparse graph
# that is worse than it sounds: a pair with $p = 0.1$ gets four times no with probability $0.9^4 = 0.66$ and then looks
# as certain as one with $p = 0.001$.
#
# **Two roles.** $\hat p$ decides labels ($\hat p > \frac12$) and the order of tests. To tell them apart, two experts on
# the same evidence are combined: the belief lies on the side of $\frac12$ that the one states, as far from it as the
# other states.
#
# **Too sure, too unsure.** Dividing the log-odds by a temperature $T$ gives beliefs
# $\sigma(T^{-1}\,\mathrm{logit}\, p)$. The side of $\frac12$ and the order of $|2p - 1|$ stay: whoever uses exact
# beliefs for labels and order only will never notice. Votes are *drawn* from the beliefs, and there $T$ matters.
#
# **Calibration.** Beliefs can be taken at their word when among pairs with belief near $p$ a share $p$ are edges. The
# *expected calibration error* is the mean distance of the two over bins of pairs. The simulated expert (notebook 01)
# has evidence $x_{ij} = d'(y_{ij} - \frac12) + a_i + b_j + \varepsilon_{ij}$, is calibrated before any test when it has
# no bias, and after tests answers with the posterior given the errors that tests reveal.

# %%
import pandas as pd
from twelvefold.core.display import show_table
from twelvefold.core.explore import explore
from twelvefold.core.study import Study
from twelvefold.core.sweep import sweep
from twelvefold.papers.igda import confidence
from twelvefold.papers.igda.beliefs import uncertainty
from twelvefold.papers.igda.confidence_rows import GRAPH, rows_of_study
from twelvefold.papers.igda.confidence_study import (
    confidence_runs,
    reliability_runs,
    stated_beliefs,
    temperature_runs,
)
from twelvefold.papers.igda.plots.confidence import stated_figure
from twelvefold.tasks.causal_graphs import known_graphs, load_graph

study = Study("igda/04_confidence", preset, seed, device)

# %% [markdown]
# ## Votes, small enough to print
#
# One expert on `asia`, and the eight of its 56 pairs of which it is most unsure. What remains of that with 4 and with
# 16 votes?

# %%
columns = {}
for votes in (None, 1, 4, 16):
    made = stated_beliefs("asia", votes, temperature=1.0, replicates=1, seed=seed)
    name = "exact" if votes is None else f"K = {votes}"
    columns |= {f"belief, {name}": made.stated, f"uncertainty, {name}": uncertainty(made.stated)}
first = pd.DataFrame({name: values.numpy() for name, values in columns.items()})
show_table(first.sort_values("uncertainty, exact", ascending=False).head(8), "Beliefs and uncertainties.")

# %% [markdown]
# ## The claims
#
# All are about the mechanism: nothing made with a simulated expert can reproduce a number of the paper.
#
# - The first four are about the number of votes. That one vote is chance is a claim of no difference; its margin, 0.02,
#   is a tenth of what four votes gain (0.2 at exploring seeds).
# - *ranking-alone-gains* holds labels exact, so that votes matter for the order of tests only.
# - Three are about temperature: for exact beliefs nothing may change; with 16 votes both directions should cost.
# - The last two are about calibration after testing. `child` has edges in 6.6 % of its pairs; a margin of 0.005 is less
#   than a tenth of that.

# %%
study.declare(confidence.CLAIMS)

# %% [markdown]
# ## The scale
#
# - `child`: 20 variables, 25 edges. $d' = 1.5$, $\rho = 0.25$ for causes and for effects, $R = 8$ rounds that test 30 %
#   of the pairs. The paper's values could not be read, except for $K = 16$ (from reviews).
# - 800 replicates for the votes: at exploring seeds, 16 votes kept 87 to 90 % of the gain, and 800 tell that from 85 %
#   (half width 0.005 for an expected 0.01). `fewer` elsewhere, where effects are larger.
# - all policies meet the same experts, so that differences are paired; votes and ties are drawn independently.
# - temperature: a factor of 4 to either side; further down, beliefs of double precision round to 0. `checked`
#   replicates for the check that exact beliefs change nothing.
# - `manner`, added after the claims were decided: how an expert states a confidence with each answer. Nobody says "yes,
#   20 % sure", hence at least 0.5; people and models prefer round numbers, hence tenths. With 1 and with 16 answers.
# - `first_borders`, `borders`: of the bins of beliefs, before any test and after the last round, when hardly any
#   belief above 0.05 is left untested.
# - gpu: 2,000 replicates, kept as means of 50 (those are the units then), more votes and temperatures, and some votes
#   on all networks of at least 8 variables, with 100 replicates beyond `child`.
# - paper: what the paper does needs a strong language model, whose answers are not at hand; with the simulated expert
#   it is the gpu scale with five times the replicates.

# %%
common = {
    "rounds": 8, "tested_share": 0.3, "skill": {"separation": 1.5, "shared_source": 0.25, "shared_target": 0.25},
    "other_votes": [1, 4, 16, None], "first_borders": [k / 10 for k in range(11)],
    "borders": [0.0, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0],
    "manner": {"floor": 0.5, "step": 0.1},
}  # fmt: skip
others = [name for name in known_graphs() if load_graph(name).size >= 8 and name != GRAPH]
few = {"votes": [1, 4, 16, 64, None], "temperatures": [0.25, 0.5, 2.0, 4.0], "others": []}
many = {"votes": [1, 2, 4, 8, 16, 32, 64, 128, None], "others": others,
        "temperatures": [0.25, 0.35, 0.5, 0.71, 1.41, 2.0, 2.83, 4.0]}  # fmt: skip
scale = study.scale(
    quick={**common, **few, "replicates": 800, "fewer": 250, "checked": 60, "other_replicates": 0, "block": 1},
    gpu={**common, **many, "replicates": 2_000, "fewer": 2_000, "checked": 200, "other_replicates": 100, "block": 50},
    paper={**common, **many, "replicates": 10_000, "fewer": 10_000, "checked": 1_000, "other_replicates": 500,
           "block": 250},
)  # fmt: skip

# %% [markdown]
# ## The experiment

# %%
loop = {"seed": study.seed, "rounds": scale.rounds, "tested_share": scale.tested_share}
same = {**loop, "graph": GRAPH, "block": scale.block}
chosen, local, chance, mixed = "uncertainty", "uncertainty+local", "random", "random+local"


def voter(votes, temperature=1.0):
    return {**scale.skill, "votes": votes, "temperature": temperature}


points = [{**same, "policies": [chosen, chance], "skill": voter(k), "replicates": scale.replicates}
          for k in scale.votes]  # fmt: skip
points += [{**same, "policies": [local], "skill": voter(k), "replicates": scale.fewer} for k in scale.votes]
points += [{**same, "policies": [chosen], "skill": voter(k), "replicates": scale.fewer, "of": of}
           for k in scale.votes if k for of in ("labels", "ranking")]  # fmt: skip
points += [{**same, "policies": [chosen], "skill": voter(k, t), "replicates": scale.fewer}
           for k in (4, 16) for t in scale.temperatures]  # fmt: skip
points += [{**loop, "graph": name, "policies": [chosen, chance], "skill": voter(k),
            "replicates": scale.other_replicates} for name in scale.others for k in scale.other_votes]  # fmt: skip

# %%
study.dtype = "float64"
options = {"device": study.device, "dtype": study.dtype}
check = {**loop, "graph": GRAPH, "policies": [chosen, local, "top"], "temperatures": scale.temperatures,
         "skill": scale.skill, "replicates": scale.checked}  # fmt: skip
stated = [{}, {"votes": 4}, {"votes": 16}, {"temperature": 0.5}, {"temperature": 2.0}, {"bias": 2.0}]
fits = [{**same, "replicates": scale.fewer, "skill": {**scale.skill, **how}, "first_borders": scale.first_borders,
         "borders": scale.borders, "policies": [] if how else [chosen, local, mixed]} for how in stated]  # fmt: skip
words = [{**same, "policies": [chosen, chance], "skill": voter(k), "replicates": scale.replicates,
          "manner": scale.manner} for k in (1, 16)]  # fmt: skip
sweeps = {"votes": (confidence_runs, points), "temperature": (temperature_runs, [check]),
          "reliability": (reliability_runs, fits), "stated": (confidence_runs, words)}  # fmt: skip
made = {what: list(zip(of, sweep(run, of, label=what, **options), strict=True)) for what, (run, of) in sweeps.items()}
runs = study.runs(rows_of_study(made))

# %% [markdown]
# ## The result
#
# How many votes are needed, and for what?

# %%
(
    votes_figure, votes_table, stated_table, temperature_figure, reliability_figure, calibration_table, decisions,
) = confidence.REPORT  # fmt: skip
votes_figure(study, runs)
votes_table(study, runs)
stated_table(study, runs)

# %% [markdown]
# The order of tests is what needs votes: with exact labels and a poor order, little is gained. Poor labels cost most
# before the tests; afterwards most of what counts has been tested.
#
# The second table is about an expert that states a confidence $q$ with each answer: its yes counts as $q$, its no as
# $1 - q$, and $\hat p$ is the mean. One such answer gains no less over random tests than 16 votes do: though rounded,
# it says of *every* pair how unsure the expert is, which one vote says of none. Its labels are poor before the first
# test, since a yes of which the expert is not sure counts as one half, and that is no edge. This expert knows how sure
# it is; a language model may not.
#
# Being too sure makes votes unanimous, and unanimous votes hide which pairs are uncertain. Being too unsure keeps the
# order of beliefs, but spreads the votes of all pairs around one half, where few votes cannot tell them apart.

# %%
temperature_figure(study, runs)

# %% [markdown]
# Can the stated beliefs be taken at their word? Before any test that depends on how they are stated. After the last
# round it depends on how tests were chosen: an update after *chosen* tests makes the expert far too sure of what is
# left.

# %%
reliability_figure(study, runs)
calibration_table(study, runs)

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
# - *temperature-alone-changes-nothing* is mathematics; failing would mean an error in the code. It also means that F1
#   says nothing about the calibration of an expert whose exact beliefs are used.
# - *one-vote-is-chance* is what makes sampling necessary for an expert that states only yes or no. An expert that
#   states a number with its answer, as the paper's does according to reviews, can do with fewer samples: see the
#   second table.
# - *chosen-tests-bias* is a warning about all interactive schemes. The expert learns from the errors that tests reveal
#   as if the tests had been drawn by lot. But it is unsure, in a sparse graph, where its evidence is high, and that is
#   where its errors point upwards: tested errors are not typical ones, the lesson is too strong, and what is left is
#   believed to hold fewer edges than it does. With tests at random the same update stays calibrated.
#
# **What differs from the paper.** The votes of a language model are not independent draws from a belief that it holds;
# temperature of sampling, wording, and number of tokens all play a part. The paper averages stated confidences over its
# samples; in the claims every vote counts as certain, the hardest case, and the table of stated confidences, added
# later, is about an expert that knows how sure it is. Prompts, models and numbers of the paper could not be read.

# %% [markdown]
# ## Explore
#
# Forty experts on `child`. Left: share of true edges among pairs by stated belief. Right: what is stated against the
# exact belief.


# %%
def state(votes: int, temperature: float):
    """Reliability of stated beliefs, and stated against exact beliefs"""
    made = stated_beliefs("child", None if votes == 0 else votes, temperature, replicates=40, seed=seed)
    told = {0: "exact beliefs", 1: "1 vote"}.get(votes, f"{votes} votes")
    return stated_figure(made.exact, made.stated, made.edge, f"{told}, temperature {temperature:g}")


explore(state, votes=[16, 1, 4, 64, 0], temperature=[1.0, 0.25, 0.5, 2.0, 4.0])

# %% [markdown]
# `votes` = 0 shows the beliefs themselves.
#
# ## References
#
# - A. Havrilla, D. Alvarez-Melis, N. Fusi, arXiv 2502.17189 (2025): the paper.
# - C. Guo, G. Pleiss, Y. Sun, K. Weinberger, *On Calibration of Modern Neural Networks*, ICML 2017: temperature,
#   reliability diagrams and expected calibration error.
# - X. Wang et al., *Self-Consistency Improves Chain of Thought Reasoning in Language Models*, ICLR 2023: votes of
#   sampled answers.
# - D. J. Spiegelhalter et al., *Bayesian analysis in expert systems*, Statistical Science 8 (1993): `child`.

# %%
study.done(seeds=range(max(scale.replicates, scale.fewer)))
