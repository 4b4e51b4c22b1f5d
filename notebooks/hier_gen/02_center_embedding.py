# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Which copied sentences lead to the hierarchical rule
#
# **Paper.** T. Qin, N. Saphra and D. Alvarez-Melis, *Sometimes I am a Tree: Data Drives Unstable Hierarchical
# Generalization*, EMNLP 2025 ([arXiv 2412.04619](https://arxiv.org/abs/2412.04619)).
#
# **What is regenerated.** The comparison of networks that differ in one thing alone: the kind of sentences they copy
# beside learning to form questions.
#
# **The claim in one sentence.** Copying sentences with a clause inside the subject leads a network to the hierarchical
# rule for questions, copying sentences without one leads it to the linear rule.
#
# **Time.** quick: about 80 CPU seconds or less on one core. gpu: meant for at most 6 minutes on one large GPU,
# shared with `03_mixture_instability`. paper: many GPU hours.

# %% tags=["parameters"]
preset: str = "quick"  # scale: "quick" (laptop), "gpu" (one GPU) or "paper" (the authors' sizes)
seed: int = 0  # base seed of all draws; 0 is the reported run
device: str = "auto"  # "auto", "cpu", "cuda", "cuda:1", "mps"

# %% [markdown]
# ## The idea
#
# A network reads a declarative sentence, then one of two task words. After `quest` it writes the question, after
# `decl` it copies. Two rules form the question:
#
# - **linear**: move the *first* auxiliary to the front;
# - **hierarchical**: move the auxiliary of the *main clause* to the front.
#
# On all questions of the training set the two agree, because none has a relative clause on its subject. The test
# questions have one, and there the rules differ. With $h_i = 1$ if the network's first word on test question $i$ is the
# main auxiliary (the likeliest of the four auxiliaries counts), the measure is
#
# $$H = \frac{1}{n} \sum_{i=1}^{n} h_i , \qquad 0 \text{: linear}, \quad 1 \text{: hierarchical}.$$
#
# A guess among the four auxiliaries gives $H \approx 1/4$: one of them is the hierarchical answer, one the linear one,
# and two follow neither rule.
#
# The questions do not say which rule to take, so whatever does must come from elsewhere. The authors' answer: from the
# copied sentences. To predict each next word of *the baker that the pilots do help doesn't dance*, a network must
# know that `doesn't` belongs to `baker`, across the **centre-embedded** clause in between: a reason to represent the
# sentence as a tree. A **right-branching** sentence has no clause inside its subject, and what decides its next word is
# mostly near. (The name covers everything else here, subjects with a preposition included: in *the baker near the
# pilots doesn't dance* the auxiliary is one phrase away from its noun.)
#
# **A trap.** "Move the first auxiliary that does not directly follow a relativiser" is a shallow rule which needs no
# tree. It moves the main auxiliary wherever the relative clause has a *subject gap* (`who does ...`), but not where it
# has an *object gap* (`that the pilots do ...`). The latter are the stronger evidence, so $H$ is always given for both.
# (Other shallow cues exist, see the n-grams of `01_rules_and_data`; those do not answer the trained questions.)
#
# A **training run** has its own initial weights, dropout (where there is any) and data order, numbered $r$. All runs of
# a condition read one data set, drawn from the base seed. Run $r$ starts from the same weights in all conditions and
# sees the same questions: conditions are compared within pairs.

# %%
import pandas as pd
from twelvefold.core.display import show_table
from twelvefold.core.explore import explore
from twelvefold.core.study import Study
from twelvefold.papers.hier_gen import center_embedding
from twelvefold.papers.hier_gen.center_embedding import (
    CENTER,
    EXTRA_ARMS,
    RIGHT,
    condition_points,
    condition_runs,
    kept_answers,
)
from twelvefold.papers.hier_gen.shares.plotting import answers_figure
from twelvefold.tasks.grammar_populations import sweep_populations
from twelvefold.tasks.grammar_shares import SCALES
from twelvefold.tasks.items import COPY, TRANSFORM
from twelvefold.tasks.question_formation import (
    QuestionMix,
    hierarchical_rule,
    linear_rule,
    training_items,
    vocabulary,
)

study = Study("hier_gen/02_center_embedding", preset, seed, device)

# %% [markdown]
# ## The method on three sentences
#
# What each rule makes of a sentence, with the shallow rule beside. On the first the three agree, as on everything in
# training; only the last tells the hierarchical rule from the shallow one.

# %%
AUXILIARIES, RELATIVISERS = ("do", "does", "don't", "doesn't"), ("who", "that")


def shallow_rule(words: list[str]) -> str:
    """The first auxiliary that does not directly follow a relativiser."""
    pairs = zip(words[:-1], words[1:], strict=True)
    return next(word for before, word in pairs if word in AUXILIARIES and before not in RELATIVISERS)


shown = {
    "right-branching": "the bakers do help the pilot who doesn't dance",
    "centre-embedded, subject gap": "the pilot who does help the bakers doesn't dance",
    "centre-embedded, object gap": "the pilot that the bakers do help doesn't dance",
}
show_table(
    pd.DataFrame(
        {"kind": kind, "sentence": sentence, "linear": linear_rule(sentence.split())[0],
         "shallow": shallow_rule(sentence.split()), "hierarchical": hierarchical_rule(sentence.split())[0]}
        for kind, sentence in shown.items()
    ),
    "The word that each rule moves to the front.",
)  # fmt: skip

# %% [markdown]
# And what the two conditions read: their first question, which is the same, and their first two copies, which are not.

# %%
rows = []
for name, share in {RIGHT: 0.0, CENTER: 1.0}.items():
    items = training_items(QuestionMix(center_embedded=share), 40, seed, 0)
    first = [(items.task == TRANSFORM).argmax(), *(items.task == COPY).nonzero()[0][:2]]
    rows += [{"condition": name, "sequence": vocabulary().decode(items.tokens[row])} for row in first]
show_table(pd.DataFrame(rows), "Training sequences of the two conditions.")

# %% [markdown]
# ## The claims
#
# The first two compare the conditions, the next two ask whether a condition as a whole takes one rule. The last two are
# controls. If the shift is the work of the shallow rule, it shows on subject gaps and not on object gaps. And if one
# condition were slower to learn questions at all, its runs would sit halfway for that reason alone; the margin is what
# separates perfect accuracy from the gate below which a run counts as *not learned*.

# %%
study.declare(center_embedding.CLAIMS)

# %% [markdown]
# ## The scale
#
# The populations are those of `03_mixture_instability` at its two ends (same points, trained once).
#
# - `lexicon`, `longest`: all words of the grammar, since a small vocabulary makes copying too easy to need structure;
#   quick drops long sentences (more ids than `longest`), which cost the most time.
# - `width`, `layers`, `heads`: as small as the budget of the preset asks for; paper has the authors' network.
# - `norm`, `activation`, `tied_head`, `dropout`: the authors' block has its normalisation behind each sub-layer, ReLU,
#   an output tied to the embedding, and dropout. gpu and paper keep it. quick departs from it to learn questions in few
#   updates: normalisation before each sub-layer, GELU, a free output, no dropout.
# - `steps`, `learning_rate`, `warmup`: the rule is settled long after the questions are answered correctly, so steps
#   count for more than size. The learning rate falls linearly to 0, as in the paper; it is higher for smaller networks.
# - `items`, `batch`: the authors' batch of 8, at quick 16 (see the search below); where a run reads fewer items than
#   they have, the set is smaller. `beta2` of AdamW: a shorter memory where there are few updates.
# - `runs`: at least 5, without which a claim about training runs is not tested; more narrow the interval, and the
#   spread between runs is large here.
# - `shard`: members that one call trains. paper cuts its populations so that a cluster can share them; a member does
#   not depend on its shard.
# - `records`, `ood_items`, `id_items`: points of a curve, and questions behind each point.
# - `precision`: of the matrix products; gpu takes the short type that its device multiplies fastest, weights stay long.
# - `extra_arms`: four conditions without a claim: *questions only* (no copies at all), the *natural mix* of copies, and
#   centre-embedded copies with one kind of gap only. quick has no time for them.

# %%
scale = study.scale(
    quick={**SCALES["quick"], "extra_arms": []},
    gpu={**SCALES["gpu"], "extra_arms": list(EXTRA_ARMS)},
    paper={**SCALES["paper"], "extra_arms": list(EXTRA_ARMS)},
)

# %% [markdown]
# **How quick was found.** All of the following are exploratory runs at base seeds from 10,000 on, typed here for
# whoever wants to go on; they are no results. Given are the number of runs per condition, the mean of $H$ with
# right-branching and with centre-embedded copies, and the latter on object gaps.
#
# | base seed | block, width, layers | words | batch x updates | runs | right | centre | object gaps |
# |---|---|---|---|---|---|---|---|
# | 10000 | authors', 64, 4 | up to 9 | 8 x 4,000 | 5 | .03 | .08 | .00 |
# | 10002 | authors', 64, 4 | all | 8 x 6,000 | 6 | .03 | .38 | .00 |
# | 10003 | authors', 64, 4 | up to 12 | 8 x 3,000 | 6 | .05 | .21 | .00 |
# | 10014 | authors' without dropout, 48, 4 | up to 12 | 8 x 1,500 | 5 | .01 | .38 | .04 |
# | 10017 | authors' without dropout, 32, 4 | up to 9 | 16 x 800 | 6 | .13 | .19 | .02 |
# | 10001 | norm first, dropout, 32, 4 | up to 9 | 8 x 2,500 | 8 | not learned | not learned | |
# | 10004 | quick's, 32, 4 | up to 9 | 8 x 1,500 | 6 | .07 | .10 | .09 |
# | 10010 | quick's, 32, 4 | all | 8 x 1,500 | 6 | .09 | .16 | .13 |
# | 10020 | quick's, 32, 4 | up to 9 | 8 x 1,000 | 7 | .04 | .13 | .00 |
# | 10006 | quick's with weight decay .3, 32, 4 | up to 9 | 8 x 3,000 | 8 | .06 | .14 | .00 |
# | 10005 | quick's, 32, 6 | up to 9 | 8 x 5,000 | 8 | .19 | .31 | .06 |
# | 10015 | quick's, 32, 4 | up to 9 | 16 x 1,300 | 5 | .07 | .31 | .01 |
# | 10016 | quick's, 32, 4 | up to 9 | 16 x 800 | 6 | .04 | .16 | .06 |
# | 10031 | quick's, 32, 4 | up to 9 | 16 x 900 | 6 | .11 | .31 | .04 |
#
# The order of the two conditions is the paper's in every row that was learned. With one draw of a few runs a row, this
# says little about how large the shift is; it seemed to depend on how much a network reads after it has learned to
# copy, and on how many kinds of sentences, more than on its block. Trials before these, with other settings (a smaller
# grammar, two or three layers, smaller batches), had often shown no shift, and some the reverse order.
#
# The shift sits on subject gaps: on object gaps no mean in the table is above .13. What a network copies decides
# that, too. With the authors' block, all sentences and 3,500 updates (base seed 10013, five runs each), centre-
# embedded copies with *subject gaps only* ended at $H$ = .61 on subject gaps and .06 on object gaps; with *object
# gaps only* at .31 and .30, with single runs (all clauses) from .01 to .89. So copies with an object gap may be
# what leads past the shallow rule; two of the `extra_arms` ask that at gpu.
#
# quick is the smallest setting that seemed able to show a shift within its budget. (Its first run at base seed 0 had
# 900 updates, 500 in `05_diversity`. That took too long, so both were cut; no verdict of 02 and 03 changed, in 05 *all
# trees beat few* went from undecided to holds.)

# %% [markdown]
# ## The experiment

# %%
points = condition_points(scale, study.seed)
results = sweep_populations(list(points.values()), scale.shard, device=study.device, label="training networks")
runs = study.runs(condition_runs(points, results))

# %% [markdown]
# ## The result
#
# The right panel comes first in reading: until a run answers the trained kinds of questions, its $H$ says nothing
# about rules.

# %%
trajectories_figure, finals_figure, conditions_table, differences_table, decisions = center_embedding.REPORT
trajectories_figure(study, runs)

# %%
finals_figure(study, runs)

# %%
conditions_table(study, runs)

# %% [markdown]
# The differences behind the claims, and each of them again for the runs alone that learned the task.

# %%
differences_table(study, runs)

# %%
decisions(study, runs)

# %% tags=["nbval-check-output"]
study.print_checks()

# %% [markdown]
# ## The verdict
#
# The closing table gives each claim with its interval. How to read the possible outcomes:
#
# - *Raises hierarchical* holds on all clauses but not on object gaps: the networks have left the linear rule, but a
#   shallow rule explains it. Both hold: what they have learned uses more than neighbouring words.
# - *Shallow rule* holds: what centre-embedded copies teach first is a cue next to the auxiliary, not the tree.
# - Neither difference is decided: at this scale the effect, if there is one, is smaller than the spread between runs.
#   Small networks and short training are the first suspects, since the rule is settled late; the larger presets ask
#   again.
# - *Right-branching goes linear* is about what the networks do in a place they were never trained on: with such copies
#   no training sequence has a clause inside the subject.
# - *Embedding goes hierarchical* fails while *raises hierarchical* holds: the copies pull towards the tree without
#   bringing the mean run there.
# - If *equally learned* fails, the gated rows of the table of differences count, not the others.
#
# **A side effect of the design.** With centre-embedded copies only, a clause inside the subject is always followed by
# `decl` and its absence by `quest`: the task word can be foreseen, as it cannot be with right-branching copies.
#
# **What differs from the paper.** Own sentences from the published grammar and frequencies; at quick and gpu smaller
# networks, fewer updates, and at quick short sentences. The paper's figures could not be read for numbers, so only
# directions are compared.

# %% [markdown]
# ## Explore
#
# Type a declarative sentence from words of the lexicon and see what the runs of each condition would put first in
# its question: the probability of every auxiliary, with a frame around the likeliest in the colour of the rule it
# follows. Sentences to try: *the baker who does laugh doesn't dance* (subject gap), *your poets that their tailors do
# trust don't yawn* (object gap), *your poet near the tailors does whistle* (no clause: both rules agree).


# %%
def ask(sentence: str):
    """Probability of each auxiliary as first word of the question, for kept runs of two conditions"""
    answers = {
        name: kept_answers(points[name], result, sentence)
        for name, result in zip(points, results, strict=True) if name in (RIGHT, CENTER)
    }  # fmt: skip
    return answers_figure(sentence, answers)


explore(ask, sentence="the baker that the pilot does help doesn't dance")

# %% [markdown]
# ## References
#
# - T. Qin, N. Saphra, D. Alvarez-Melis, arXiv 2412.04619 (2024, EMNLP 2025): the paper.
# - R. T. McCoy, R. Frank, T. Linzen, *Does syntax need to grow on trees? Sources of hierarchical inductive bias in
#   sequence-to-sequence networks*, TACL 2020: the task and its grammar.
# - K. Ahuja, V. Balachandran, M. Panwar, T. He, N. A. Smith, N. Goyal, Y. Tsvetkov, *Learning syntax without planting
#   trees: understanding hierarchical generalization in transformers*, arXiv 2404.16367 (2024): language modelling on
#   the whole sequence.
# - S. Murty, P. Sharma, J. Andreas, C. D. Manning, *Grokking of hierarchical structure in vanilla transformers*, ACL
#   2023: the rule is settled late.

# %%
study.done(seeds=range(scale.runs))
