# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Tense inflection: prepositions or relative clauses in the subject
#
# **Paper.** T. Qin, N. Saphra and D. Alvarez-Melis, *Sometimes I am a Tree: Data Drives Unstable Hierarchical
# Generalization*, EMNLP 2025 ([arXiv 2412.04619](https://arxiv.org/abs/2412.04619)).
#
# **What is regenerated.** The comparison of training mixes in the second task: subjects with a prepositional phrase
# (PP) against subjects with a relative clause (RC). We know the mixes from the authors' code and no numbers of the
# figure.
#
# **The claim in one sentence.** The more of the training subjects contain a clause, the more often the main verb agrees
# with the head of the subject and not with the nearest noun.
#
# **Time.** quick: about 80 CPU seconds or less on one core. gpu: meant for at most 6 minutes on one large GPU.
# paper: hours.

# %% tags=["parameters"]
preset: str = "quick"  # scale: "quick" (laptop), "gpu" (one GPU) or "paper" (the authors' network)
seed: int = 0  # base seed of all draws; 0 is the reported run
device: str = "auto"  # "auto", "cpu", "cuda", "cuda:1", "mps"

# %% [markdown]
# ## The idea
#
# The input is a sentence in the past; after `PRESENT` the network writes it in the present. Past-tense verbs do not
# show a number, present-tense verbs do, so each has to find its subject. The main verb is tested: two forms, singular
# and plural, and the likelier one is the answer.
#
# - Hierarchical rule: the verb agrees with the head noun of the subject.
# - Linear rule: it agrees with the nearest noun before it.
#
# In training both give the same form on every `PRESENT` item, because head and nearest noun have the same number. In
# the out-of-distribution (OOD) items they never have, in three kinds of subjects:
#
# | kind | example | linear rule |
# |---|---|---|
# | PP | *the **poets** near my **baker** laughed* | laughs |
# | subject gap | *the **poets** who helped my **baker** laughed* | laughs |
# | object gap | *the **poets** who my **baker** helped laughed* | laughs |
#
# The measure is $H$, the share of OOD items with the form that agrees with the head: 1 is the hierarchical, 0 the
# linear rule. Since there are two forms, a network that guesses has $H \approx 1/2$.
#
# What is varied is how often the subjects of `PRESENT` items have a PP and how often an RC. The total of the two is
# constant, so a mix has a share of PP subjects $q$ and of RC subjects $0.9 - q$; the remaining tenth has a plain
# subject. From the other task one expects clauses to pull towards the tree: the head of *the poets who my baker helps*
# is found by skipping a clause, while a PP can be got used to as two more words.
#
# A **training run** has its own initial weights, dropout and data order; all runs of a mix read one data set. Run $r$
# starts from the same weights and has the same order in every mix, so mixes are compared within runs.

# %%
import pandas as pd
from twelvefold.core.display import show_table
from twelvefold.core.explore import explore
from twelvefold.core.study import Study
from twelvefold.papers.hier_gen import tense
from twelvefold.papers.hier_gen.rules.plotting import forms_figure, sentence_figure
from twelvefold.tasks.grammar_populations import sweep_populations
from twelvefold.tasks.grammar_shares import SCALES
from twelvefold.tasks.items import SUBJECTS
from twelvefold.tasks.tense_inflection import TenseMix, ood_items, training_items, vocabulary

study = Study("hier_gen/06_tense", preset, seed, device)

# %% [markdown]
# ## The method on a few sentences
#
# The first training items that change tense, in the two extreme mixes, and the first OOD items.

# %%
known, rows = vocabulary(), []
for name, pp in {"PP-heavy": 0.855, "RC-heavy": 0.045}.items():
    items = training_items(TenseMix(past=0.0, plain=0.1, pp=pp, rc=round(0.9 - pp, 6), longest=23), 3, seed, 0)
    rows += [(name, SUBJECTS[kind], known.decode(row)) for kind, row in zip(items.subject, items.tokens, strict=True)]
items = ood_items(3, seed, 0, longest=23)
rows += [("OOD", SUBJECTS[kind], known.decode(row)) for kind, row in zip(items.subject, items.tokens, strict=True)]
show_table(pd.DataFrame(rows, columns=["set", "subject", "sequence"]), "Training and test sequences.")

# %% [markdown]
# ## The claims
#
# The first two are conditions for the others: a network that has not learned the task follows no rule. The direction
# is claimed twice, on all OOD items and on object gaps alone. In *the poets who my baker helps ...* the nearest noun
# and the verb before the main verb both are singular: whoever goes by neighbouring words, nouns or verbs, answers
# wrongly there.

# %%
study.declare(tense.CLAIMS)

# %% [markdown]
# ## The scale
#
# As in `02_center_embedding`, where the reasons for the sizes of network and training stand, with these differences:
#
# - `pp_shares` of PP subjects among the items that change tense; one population is trained for each. The smallest and
#   largest are the ends of the authors' series, and quick has these two alone. paper: nine steps, of which the inner
#   ones are those of another series in the authors' code.
# - `layers` at paper: the authors use fewer layers for this task than for question formation.
# - Of all items one in ten is a copy (`PAST`), as in this series: the contrast must come from the items that change
#   tense.
# - `steps` at quick: a few more, since this task is learned later.
# - `longest` at quick leaves sentences of nine words, enough for every kind of subject.
# - `runs`: at least five, without which a claim about training is not tested.

# %%
common = {name: {key: value for key, value in sizes.items() if key != "shares"} for name, sizes in SCALES.items()}
scale = study.scale(
    quick={**common["quick"], "steps": 900, "pp_shares": [0.855, 0.045]},
    gpu={**common["gpu"], "pp_shares": [0.855, 0.72, 0.45, 0.18, 0.045]},
    paper={
        **common["paper"],
        "layers": 4,
        "pp_shares": [0.855, 0.81, 0.72, 0.63, 0.45, 0.27, 0.18, 0.09, 0.045],
    },
)

# %% [markdown]
# ## The experiment

# %%
points = tense.tense_points(scale, study.seed)
results = sweep_populations(points, scale.shard, device=study.device, label="training networks")
runs = study.runs(tense.tense_runs(points, results))

# %% [markdown]
# ## The result

# %%
trajectories, finals, mixes, differences, decisions = tense.REPORT
trajectories(study, runs)

# %%
finals(study, runs)

# %%
mixes(study, runs)

# %% [markdown]
# Runs that did not learn the task stay in the means above and in the claims. The next table gives each difference for
# all runs and for those that learned it in both mixes.

# %%
differences(study, runs)

# %% [markdown]
# From the rows of runs.csv alone every claim is decided; the table of verdicts closes the notebook.

# %%
decisions(study, runs)

# %% tags=["nbval-check-output"]
study.print_checks()

# %% [markdown]
# ## The verdict
#
# The closing table gives each claim with its interval. How to read the possible outcomes:
#
# - If *learned* fails or stays undecided for a mix, the comparison of $H$ says little, since an undecided run sits
#   near one half. The gated rows of the table of differences are then the ones to look at.
# - If $H$ rises with the RC share on all items and on object gaps, the mix moves networks towards the head of the
#   subject as the paper's account of question formation would have it.
# - If it rises on subject gaps only, a shallow rule explains it. In *the poets who help my baker ...* the verb of the
#   clause already shows the head's number, and "repeat the form of the verb before" is right on every subject gap,
#   wrong on every object gap, and says nothing about PP subjects.
# - If $H$ is *higher* in the PP-heavy mix, on gaps and at or below one half, look at the confound below: networks that
#   rarely met a clause in this place may guess between the two forms instead of following a rule.
# - An $H$ near 0 in both mixes is the linear rule; the difference may then be undecided for want of room.
#
# **A confound that this design cannot remove.** The mix changes two things at once: how complex training subjects are,
# and which OOD items look familiar. In the RC-heavy mix a PP before the main verb is rare, in the PP-heavy mix a
# relative clause is, so part of any difference may be practice with a structure and not a change of rule. The panels
# by kind of subject help: a change of rule should show on PP items *too*, where the RC-heavy mix has the disadvantage;
# practice alone would raise $H$ on gaps and not on PPs.
#
# **A limit of the task.** In this grammar the head is always the first noun of the sentence. "Agree with the first
# noun" is a rule without any structure, and on the main verb it cannot be told from the hierarchical one. So $H = 1$
# is weaker evidence for trees here than in question formation.
#
# **What differs from the paper.** Our own sentences, at quick and gpu smaller networks and fewer steps; the answer is
# read from the two forms of the verb at its position with the right words before it, where the authors decode
# greedily. Half of the RC items in training have an intransitive clause, in which head and nearest noun are the same
# word: among clauses only the other half gives any practice in skipping a noun.

# %% [markdown]
# ## Explore
#
# Type a sentence in the past, of words from the lexicon, and see how likely the kept runs of the two extreme mixes find
# the form that agrees with the head. To try: *the poets who helped my baker laughed* (subject gap), *the poets near my
# baker laughed* (PP), *the poets near my bakers laughed* (both rules agree).

# %%
extremes = {"PP-heavy": (points[0], results[0]), "RC-heavy": (points[-1], results[-1])}


def forms_of(sentence: str):
    """How likely single networks find the verb form that agrees with the head, for two training mixes"""
    answers = {name: tense.kept_forms(*pair, sentence) for name, pair in extremes.items()}
    return forms_figure(sentence, answers)


explore(forms_of, sentence="the poets who my baker helped laughed")

# %% [markdown]
# And what the two rules say about the same sentence:


# %%
def rules_of(sentence: str):
    """A sentence with an arc for each rule and both answers"""
    return sentence_figure("tense inflection", [*sentence.split(), "."])


explore(rules_of, sentence="the poets who my baker helped laughed")

# %% [markdown]
# ## References
#
# - T. Qin, N. Saphra, D. Alvarez-Melis, arXiv 2412.04619 (2024), EMNLP 2025: the paper.
# - R. T. McCoy, R. Frank, T. Linzen, *Does syntax need to grow on trees? Sources of hierarchical inductive bias in
#   sequence-to-sequence networks*, TACL 2020: the task and its grammar.
# - K. Ahuja et al., *Learning syntax without planting trees: understanding hierarchical generalization in
#   transformers*, arXiv 2404.16367 (2024): language models on both tasks.
# - T. Linzen, E. Dupoux, Y. Goldberg, *Assessing the ability of LSTMs to learn syntax-sensitive dependencies*, TACL
#   2016: agreement across attracting nouns.

# %%
study.done(seeds=range(scale.runs))
