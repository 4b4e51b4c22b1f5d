# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # From a small model to a large one: does the plan travel?
#
# **Paper.** Z. Feng, T. Marwah, N. Fusi, D. Alvarez-Melis and L. Mackey, *Adapting Language Models via Token
# Translation*, 2024 ([arXiv 2411.00593](https://arxiv.org/abs/2411.00593)).
#
# **What is regenerated.** The paper's second contribution, weak-to-strong transfer: a translation learnt on OLMo-1B is
# put into OLMo-7B.
#
# **The claim in one sentence.** A plan learnt on a small model gives a larger model with the same source tokenizer most
# of the benefit, at the cost of the small one.
#
# **Time.** quick: within 80 CPU seconds on one core. gpu: meant for about 3 minutes on one large GPU. paper: many hours
# on one GPU of 140 GB.

# %% tags=["parameters"]
preset: str = "quick"  # scale: "quick" (laptop), "gpu" (one GPU) or "paper" (the paper's models and data)
seed: int = 0  # base seed of all draws; 0 is the reported run
device: str = "auto"  # "auto", "cpu", "cuda", "cuda:1", "mps"

# %% [markdown]
# ## The idea
#
# `01_sparse_sinkhorn` explains how a plan $P \in \mathbb{R}^{v \times u}$ from $v$ source to $u$ target tokens is
# learnt: a matrix of scores is projected onto the matrices with given marginals, and the scores are trained on target
# texts through the frozen model. The plan then makes the vectors of the target tokens from those of the source tokens,
#
# $$E'_t = \sum_{s=1}^{v} P(s \mid t)\, E_s \in \mathbb{R}^{d}, \qquad
#   L'_t = \sum_{s=1}^{v} P(s \mid t)\, L_s \in \mathbb{R}^{d}, \qquad P(s \mid t) = P_{st} / \nu_t .$$
#
# Nothing in $P$ depends on the width $d$. A plan says *which source tokens* a target token is made of, and every model
# with these source tokens can read that. So learn $P$ where that is cheap, on a small model with $d$, and use it in a
# large one with its own $E, L$ and its own $d$:
#
# $$P \;=\; \text{learnt with } (E^{\text{small}}, L^{\text{small}}), \qquad
#   E'^{\,\text{large}}_t = \sum_s P(s \mid t)\, E^{\text{large}}_s .$$
#
# **Why it might fail.** The plan is fitted to the geometry of the small model, and many plans make nearly the same
# vectors there: a target token has $v$ weights, of which only a $d$-dimensional combination counts. Which of these
# plans learning finds is up to its start, and they need not make the same vectors in *another* model. What both models
# do share is what they have learnt about English: which tokens are frequent, and which are alike.
#
# **What to compare with.** In the large model, always the same one:
#
# | name | the vectors of the target tokens |
# |---|---|
# | plan of the large model | a plan learnt on the large model itself: what there is to gain |
# | plan of the small model | the transferred plan |
# | ... like tokens exchanged | the transferred plan, but tokens of like frequency have exchanged their columns |
# | ... all tokens exchanged | the same among all tokens: equally sparse, the same use of source tokens, wrong tokens |
# | untrained plan | the plan that learning on the small model began with |
# | mean of pieces | mean of the source tokens that spell the target token; needs no learning |
# | random vectors | drawn from the normal distribution that fits the source vectors |
#
# The two exchanges ask what it is that travels. If it were frequencies alone, exchanging the columns of tokens of like
# frequency would do no harm.

# %%
import pandas as pd
import torch
from twelvefold.core.display import show_table
from twelvefold.core.explore import explore
from twelvefold.core.study import Study
from twelvefold.core.sweep import sweep
from twelvefold.papers.s2t2 import weak_to_strong
from twelvefold.papers.s2t2.plan_agreement import overlap
from twelvefold.papers.s2t2.plots.weak_to_strong import token_figure
from twelvefold.papers.s2t2.translation import Vectors, translate
from twelvefold.papers.s2t2.weak_to_strong_study import (
    ARMS,
    agreement_runs,
    arm_runs,
    frequent_tokens,
    plan_runs,
    reference_runs,
    token_sources,
)

study = Study("s2t2/04_weak_to_strong", preset, seed, device)

# %% [markdown]
# ## The method on three source tokens
#
# One plan, two models. The small one has vectors of width 1, the large one of width 2 (embedding and output matrix are
# the same matrix). Target token t1 is one source token, t2 a mean of two.
#
# Another plan can make the same vectors in the small model and others in the large one. In the second plan, t1 is a
# half of the second and a half of the third source token, which in the small model is 2, as before. This is what could
# keep a plan from travelling.

# %%
plan = torch.tensor([[1.0, 0.0], [0.0, 0.5], [0.0, 0.5]])
small, large = torch.tensor([[2.0], [0.0], [4.0]]), torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.0, 3.0]])
made = [translate(plan, Vectors(matrix, matrix)).embedding for matrix in (small, large)]
show_table(
    pd.DataFrame({
        "target token": ["t1", "t2"], "in the small model": [str(row.tolist()) for row in made[0]],
        "in the large model": [str(row.tolist()) for row in made[1]],
    }),
    "The vectors that one plan makes in two models.",
)  # fmt: skip
other = torch.tensor([[0.0, 0.0], [0.5, 0.5], [0.5, 0.5]])
print("the other plan in the small model:", [row.tolist() for row in translate(other, Vectors(small, small)).embedding])
print("and in the large one:", [row.tolist() for row in translate(other, Vectors(large, large)).embedding])
print("mass that the columns of both plans share:", overlap(plan, other).tolist())

# %% [markdown]
# ## The claims
#
# All differences are paired: one training run has one pair of models, one split of the proteins, one tokenizer and one
# order of texts for all kinds of vectors. The paper gives no numbers that could be read; its statements are in words.

# %%
study.declare(weak_to_strong.CLAIMS)

# %% [markdown]
# ## The scale
#
# **Models.** quick and gpu: a tiny English model of width 48 and one of width 96, three layers each, with one
# byte-pair tokenizer of $v = 1024$ tokens; five of each, trained here on technical English, one pair per training run.
# No second real model with the bundled one's tokenizer comes with the packages, so gpu uses the same pairs, with more
# of everything else. paper: OLMo-1B and OLMo-7B, one pair for all runs.
#
# **Texts.** Pieces of `length` residues of training proteins, at quick each seen once in learning; one piece of every
# held-out protein is scored. 50 held-out proteins a run are enough where differences are paired, and tenths of a bit.
#
# **Learning.** quick: 12 updates of 4 pieces, in which the loss falls from 4.8 to about 4.35 bits and is nearly level.
# Learning rate 0.002: of 0.001, 0.002 and 0.004 the best in exploring runs on the model that learns, and the same for
# both models; what the plan does after the transfer was not looked at. `iterations`: row and column updates of a
# projection. gpu: 250 updates of 64 pieces at half the rate.
#
# **Finetuning.** 6 updates, on the same texts for all arms. The rates differ: for each arm the best of 0.0005, 0.001,
# 0.002, 0.004 and 0.008 in exploring runs of 8 updates (random vectors were also tried at 0.016 and 0.032). The worse
# the vectors, the larger the steps that pay. Only arms with a claim are finetuned, and the large model's own plan. gpu
# keeps these rates, since there was no GPU to explore on.
#
# **group.** 8 tokens count as of like frequency.
#
# **paper.** Length 512 and batch 16 are those of the paper as remembered, not verified; steps and rates are guesses.
# The large model is finetuned in float32 with bfloat16 products: about 110 GB of weights, gradients and moments, of
# which a checkpoint is written once an hour.

# %%
pairs = {"small": "english small {member}", "large": "english large {member}", "runs": 5, "group": 8}
problem = {"dataset": "pyhmmer_proteome", "limit": None, "targets": 128, "length": 96, "training": 48, "held_out": 50,
           "tokenizer_proteins": 300}  # fmt: skip
learning = {"steps": 12, "batch": 4, "micro": 4, "rate": 2e-3, "precision": "float32", "iterations": 5}
finetuning = {"steps": 6, "batch": 4, "micro": 4, "precision": "float32"}
rates = {"own": 5e-4, "transferred": 1e-3, "pieces": 4e-3, "gaussian": 8e-3}
more = {"training": None, "targets": 512, "length": 256, "held_out": 200, "tokenizer_proteins": None}
longer = {**learning, "steps": 250, "batch": 64, "micro": 64, "rate": 1e-3}
olmo = {"dataset": "uniref50", "limit": 100_000, "targets": 512, "length": 512, "training": 40_000, "held_out": 500,
        "tokenizer_proteins": 20_000}  # fmt: skip
real = {"steps": 2_000, "batch": 16, "micro": 4, "rate": 1e-3, "precision": "bfloat16", "iterations": 5}
scale = study.scale(
    quick={
        **pairs, "problem": problem, "learning": {"small": learning, "large": learning}, "finetuning": finetuning,
        "rates": rates, "checkpoint_every": 60.0,
    },
    gpu={
        **pairs, "problem": {**problem, **more}, "learning": {"small": longer, "large": longer},
        "finetuning": {**finetuning, "steps": 100, "batch": 64, "micro": 64},
        "rates": rates, "checkpoint_every": 60.0,
    },
    paper={
        **pairs, "small": "olmo_1b", "large": "olmo_7b", "problem": olmo, "learning": {"small": real, "large": real},
        "finetuning": {"steps": 500, "batch": 16, "micro": 2, "precision": "bfloat16"},
        "rates": {"own": 1e-5, "transferred": 1e-5, "pieces": 1e-5, "gaussian": 1e-4}, "checkpoint_every": 3600.0,
    },
)  # fmt: skip

# %% [markdown]
# ## The experiment
#
# First the plans, on both models of every run; then every kind of vectors in the large model.

# %%
shared = {name: getattr(scale, name) for name in ("small", "large", "problem", "learning", "group")}
drawn = [{"seed": study.seed, "replicate": r, **shared} for r in range(scale.runs)]
asked = [(r, role) for r in range(scale.runs) for role in ("small", "large")]
where = {"device": study.device, "checkpoint_every": scale.checkpoint_every}
points = [{"run": drawn[r], "role": role, "start": 0} for r, role in asked]
plans = sweep(plan_runs, points, label="plans", **where)

# %%
wanted = [(r, arm) for r in range(scale.runs) for arm in ARMS]
trained = {arm: {**scale.finetuning, "rate": rate} for arm, rate in scale.rates.items()}
arms = sweep(arm_runs, [{"run": drawn[r], "arm": arm, "finetuning": trained.get(arm)} for r, arm in wanted],
             label="arms", **where)  # fmt: skip
agreements = sweep(agreement_runs, [{"run": run} for run in drawn], label="agreement", **where)
references = sweep(reference_runs, [{"run": run} for run in drawn], label="references")
runs = study.runs(weak_to_strong.rows_of_study(
    [(*key, made) for key, made in zip(asked, plans, strict=True)],
    [(*key, made) for key, made in zip(wanted, arms, strict=True)], agreements, references,
))  # fmt: skip

# %% [markdown]
# ## The result
#
# Both models learn a plan from the same texts:

# %%
(
    learning_figure, bits_figure, bits_table, agreement_figure, agreement_table, costs_table, decisions,
) = weak_to_strong.REPORT  # fmt: skip
learning_figure(study, runs)

# %% [markdown]
# What the large model makes of them:

# %%
bits_figure(study, runs)
bits_table(study, runs)

# %% [markdown]
# Is it the same plan? Shared mass looks at the weights themselves; the correlation of vectors looks at what they do in
# the large model, where different weights can do the same.

# %%
agreement_figure(study, runs)
agreement_table(study, runs)

# %% [markdown]
# What it saves. Operations are counted, not timed; the projection of the scores is not among them, because it costs
# the same on both models. From the rows alone every claim is decided.

# %%
costs_table(study, runs)
decisions(study, runs)

# %% tags=["nbval-check-output"]
study.print_checks()

# %% [markdown]
# ## The verdict
#
# How to read the closing table:
#
# - The first three claims set the transferred plan beside what costs less: vectors drawn at random, a plan that was not
#   learnt, and means of pieces. *transferred-below-exchanged* asks whether it matters which column belongs to which
#   token. If it fails, any plan this sparse would do, and nothing was transferred.
# - *most-of-the-benefit* compares with the best that could be hoped for, a plan learnt on the large model itself. A
#   share of 1 means that nothing is lost by the transfer.
# - The last two claims ask what is left once the large model is finetuned. Here the baselines were given their own
#   learning rates; a short finetuning repairs much of what is wrong with a set of vectors, so these differences are
#   smaller than those before it.
#
# Two controls say what travels. **Like tokens exchanged** (table *bits*): tokens of like frequency swap columns. The
# nearer this row is to the transferred plan, the more of the transfer is the frequencies of the target tokens alone:
# frequent target tokens become mixtures of source tokens that both models hold to be likely. What exchanging costs
# beyond that is what the plan knows about single tokens. **Two starts** (table *agreement*): plans that one model
# learns from two random starts. If two models agree no less than two starts of one model do, then what separates the
# plans is the start, not the model. Shared mass must be read beside the rows of plans and their starts: what a plan
# still shares with its random start it has not learnt. Vectors can agree where weights do not.
#
# All bits must be read beside the last rows of that table. A tiny model of English knows little about proteins, and a
# plan that gives every token its frequency comes as far as the unigram model of target tokens.
#
# **What differs from the paper.** The pair has widths 48 and 96 instead of 2,048 and 4,096, and was trained on a small
# text; the proteins are of one genome. The paper's tokenizers, learning rates, numbers of steps, and its table could
# not be read, so its statements are tested, not its digits. The finetuning after the transfer, the means of pieces and
# both controls are added here. The table of costs counts operations; how much time a transfer saves depends on the
# projection, which costs the same for both models and dominates for models as small as these.

# %% [markdown]
# ## Explore
#
# Training run 0: which source tokens is a target token made of, in the plan of the small and in that of the large
# model? Hatched bars are in both lists. (Source tokens are pieces of English text.)

# %%
learnt = {role: made["plan"] for (r, role), made in zip(asked, plans, strict=True) if r == 0}


def sources(token: str, shown: int):
    """The source tokens with the largest weights in one target token, in the plans of two models"""
    found = {role: token_sources(drawn[0], role, weights, token, shown) for role, weights in learnt.items()}
    return token_figure(token, found)


explore(sources, token=frequent_tokens(drawn[0], 40), shown=(8, 20))

# %% [markdown]
# ## References
#
# - Z. Feng, T. Marwah, N. Fusi, D. Alvarez-Melis, L. Mackey, arXiv 2411.00593 (2024): the paper.
# - L. Gee, A. Zugarini, L. Rigutini, P. Torroni, *Fast vocabulary transfer for language model compression*, EMNLP
#   industry track 2022: means of pieces.
# - D. Groeneveld et al., *OLMo: accelerating the science of language models*, ACL 2024: the paper's models.
# - B. Suzek et al., *UniRef clusters*, Bioinformatics 31 (2015): the paper's proteins.

# %%
study.done(seeds=range(scale.runs))
