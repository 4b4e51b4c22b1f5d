# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Is a learnt plan the best start for finetuning all weights?
#
# **Paper.** Z. Feng, T. Marwah, N. Fusi, D. Alvarez-Melis and L. Mackey, *Adapting Language Models via Token
# Translation*, 2024 ([arXiv 2411.00593](https://arxiv.org/abs/2411.00593)).
#
# **What is regenerated.** The comparison with continual finetuning: a translation is learnt first, then everything is
# finetuned, against direct finetuning with the original and with a new tokenizer.
#
# **The claim in one sentence.** For the same number of bytes read, finetuning that starts from a learnt plan is ahead
# of direct finetuning, with the old tokenizer and with the new one. (That is the paper's claim; which part of it is
# borne out at the scale of a preset, the closing table says.)
#
# **Time.** quick: within 45 CPU seconds on one core. gpu: meant for at most 4 minutes on one large GPU. paper: hours.

# %% tags=["parameters"]
preset: str = "quick"  # scale: "quick" (laptop), "gpu" (one GPU) or "paper" (the paper's models and data)
seed: int = 0  # base seed of all draws; 0 is the reported run
device: str = "auto"  # "auto", "cpu", "cuda", "cuda:1", "mps"

# %% [markdown]
# ## The idea
#
# A language model consists of an embedding $E \in \mathbb{R}^{v \times d}$, a body $h$, and an output matrix
# $L \in \mathbb{R}^{v \times d}$, for $v$ source tokens. For a new domain (here: proteins) we train a new tokenizer
# with $u$ tokens. Then $E$ and $L$ no longer fit, and something must take their place:
#
# | arm | tokenizer | what finetuning starts from |
# |---|---|---|
# | source tokenizer | old | $E$, $L$ and $h$ as they are |
# | random vectors | new | $E', L'$ drawn from a normal distribution with mean and covariance of the rows of $E$; $h$ |
# | mean of pieces | new | $E'_t$ = mean of the rows of $E$ for the old tokens of the text of $t$; $h$ |
# | sparse Sinkhorn | new | $E'_t = \sum_s \frac{P_{st}}{\nu_t} E_s$, the plan $P$ learnt while $h$ is frozen; $h$ |
# | no pretraining | new | random vectors, and a body drawn at random: the control |
#
# From there on all arms do the same: AdamW on **all** weights, the same texts in the same order, the same number of
# texts an update.
#
# **What is compared.** Tokens of two tokenizers cannot be compared, so everything is in bits per residue (a residue is
# one letter, one byte). With $B$ residues in the held-out texts,
#
# $$\text{bits per residue} = \frac{1}{B \ln 2} \sum_{\text{tokens}} -\ln p(\text{token} \mid \text{those before it}).$$
#
# The horizontal axis is the number of residues *read so far*. **Learning the plan reads texts too, and these count**:
# the curve of sparse Sinkhorn begins with the frozen phase, and its finetuning of all weights starts that much later. A
# whole curve is summed up by its mean height, the area under it over its width; a low area means that a model is good
# *early*. The other number is the height at the end.
#
# **Cost.** A finetuning update on $n$ tokens takes about $6 n (N + u d)$ operations, with $N$ weights in the matrices
# of the body: two for each product, forward, and twice that backward. A step of learning the plan takes
# $n (4 N + 6 u d) + 4 v u d$: the frozen body needs no gradient of its weights, and the plan is multiplied with $E$
# once. An old tokenizer that cuts the same residues into more tokens pays for it in every update.

# %%
import pandas as pd
from twelvefold.core.display import show_table
from twelvefold.core.explore import explore
from twelvefold.core.study import Study
from twelvefold.core.sweep import sweep
from twelvefold.papers.s2t2 import continual_finetuning
from twelvefold.papers.s2t2.continual_finetuning_study import ARMS, LEARNT, finetuning_runs, live_runs, reference_runs
from twelvefold.papers.s2t2.plots.continual_finetuning import live_figure

study = Study("s2t2/03_continual_finetuning", preset, seed, device)

# %% [markdown]
# ## The method on a few updates
#
# A tiny English model and two arms. First a plan is learnt in 4 updates (`frozen` is 1), then all weights are
# finetuned in 8 more; the direct arm spends all 12 on finetuning. `residues` and `gflops` count from the beginning.
# (The example has a seed of its own: nothing of the experiment is seen before the claims stand.)

# %%
tiny = {
    "model": "english small", "dataset": "pyhmmer_proteome", "limit": None, "letters": None, "targets": 128,
    "length": 48, "texts": 128, "validation": 2, "held_out": 16, "tokenizer_proteins": 150,
}  # fmt: skip
few = {
    "steps": 12, "batch": 8, "micro": 8, "warmup": 2, "precision": "float32", "batch_tokens": 2_048,
    "moments": [0, 2, 4, 8, 12],
}  # fmt: skip
example = {"seed": 10_000, "replicate": 0, "problem": tiny, "training": few}
for arm in (LEARNT, "source"):
    curve = pd.DataFrame(live_runs(arm, 0.003, 0.003, 4, example)["columns"])
    show_table(curve[curve["step"] <= 12].drop(columns="validation"), f"The beginning of the curve of {arm}.")

# %% [markdown]
# ## The claims
#
# About paired differences between arms, over training runs. The last three are controls: whether pretraining on English
# matters at all here, and what the new tokenizer costs a model that does not look at context.

# %%
study.declare(continual_finetuning.CLAIMS)

# %% [markdown]
# ## The scale
#
# **Problem.** `model`, and `letters`: all source tokens are rows of the plan (None). `targets`: 256 tokens at quick, a
# quarter of the $v = 1024$ source tokens; 512 at gpu and paper, a plausible size, as the paper's is not known.
# `length`: 64 residues a text at quick, since the time of an update grows with it; 256 and 512 with the large models.
# `held_out`: 40 proteins, enough for paired differences of a few hundredths of a bit. `validation`: texts that choose
# among learning rates; where an arm has one rate, they choose nothing. `tokenizer_proteins`: 300 make nearly the
# tokenizer of all proteins, in a fifth of the time.
#
# **Training.** 20 updates of 8 texts at quick, about 7,500 residues: the curves are nearly flat by then, and more does
# not fit the time. The rate is constant after a warm-up of 4 updates. So every point of a curve is the end of a
# training of that length, and reading the curve of the arm with a plan before its own end is fair to it. `moments` are
# the updates after which models are scored, dense where curves are steep.
#
# **Learning rates** at quick: for every arm the one of the grid 0.001, 0.003, 0.01, 0.03, 0.1 with the smallest area on
# validation texts at an exploring seed. The plan has two parameters more. Its rate is from the same grid, by the end of
# the frozen phase; of 2, 4 and 8 updates for it, 2 and 4 gave the same area and 8 a larger one. gpu and paper try
# several rates inside each training run, the same for every arm, and keep the one with the smallest area on the
# validation texts; the grids lie lower than at quick, as usual for models of that size. The plan's rate there, 0.02, is
# from a small trial with SmolLM2.
#
# **gpu.** SmolLM2-135M: 32 updates of 32 texts of 256 residues, 260,000 residues a curve, two rates, matrix products
# of the body in bfloat16; 50 curves of about 3 seconds each, and their scoring. **paper.** 2,000 updates of 16 texts
# of 512 residues, 16 million residues a curve; the plan gets a quarter of the updates in both.

# %%
small = {**tiny, "targets": 256, "texts": 192, "validation": 4, "held_out": 40, "tokenizer_proteins": 300}
short = {**few, "steps": 20, "warmup": 4, "moments": [0, 2, 4, 8, 16, 20]}
best = {"source": [0.01], "gaussian": [0.01], "pieces": [0.003], LEARNT: [0.003], "no_pretraining": [0.03]}
large = {
    "dataset": "pyhmmer_proteome", "limit": None, "letters": None, "targets": 512, "texts": None, "validation": 32,
    "tokenizer_proteins": None,
}  # fmt: skip
half = {
    "steps": 32, "batch": 32, "micro": 32, "warmup": 4, "precision": "bfloat16", "batch_tokens": 16_384,
    "moments": [0, 2, 4, 8, 16, 24, 32],
}  # fmt: skip
long = {
    "steps": 2_000, "batch": 16, "micro": 4, "warmup": 100, "precision": "bfloat16", "batch_tokens": 8_192,
    "moments": [0, 50, 100, 200, 500, 1_000, 1_500, 2_000],
}  # fmt: skip
uniref = {**large, "model": "olmo_1b", "dataset": "uniref50", "limit": 200_000, "length": 512, "held_out": 1_000}
scale = study.scale(
    quick={"problem": small, "training": short, "plan": {"steps": 4, "rate": 0.003}, "rates": best, "training_runs": 5},
    gpu={"problem": {**large, "model": "smollm2_135m", "length": 256, "held_out": 128}, "training": half,
         "plan": {"steps": 8, "rate": 0.02}, "rates": {arm: [3e-4, 1e-3] for arm in ARMS}, "training_runs": 5},
    paper={"problem": {**uniref, "tokenizer_proteins": 20_000}, "training": long, "plan": {"steps": 500, "rate": 0.02},
           "rates": {arm: [1e-5, 3e-5, 1e-4] for arm in ARMS}, "training_runs": 5},
)  # fmt: skip

# %% [markdown]
# ## The experiment
#
# A training run is a split of the proteins, a tokenizer of its training side, an order of the texts, and the draws of
# the random arms; at quick, run $r$ also has its own English model, trained from its own initial weights. The arms of a
# run share all of that.

# %%
shared = [{"seed": study.seed, "replicate": r, "problem": scale.problem} for r in range(scale.training_runs)]
points = [
    {**one, "arm": arm, "rate": rate, "training": scale.training, "plan": scale.plan if arm == LEARNT else None}
    for one in shared for arm in ARMS for rate in scale.rates[arm]
]  # fmt: skip
curves = sweep(finetuning_runs, points, label="curves", device=study.device)
references = sweep(reference_runs, shared, label="references", device=study.device)
runs = study.runs(continual_finetuning.rows_of_study(points, curves, references))

# %% [markdown]
# ## The result

# %%
curves_figure, arms_table, differences_figure, flops_table, costs_table, decisions = continual_finetuning.REPORT
curves_figure(study, runs)

# %% [markdown]
# What to look at: where each curve *starts* tells how well a model without any training on proteins fits the new
# tokens; how fast it falls, what finetuning has to repair; and where it ends, which of the two tokenizers suits a model
# of this size that has read this little.

# %%
arms_table(study, runs)

# %% [markdown]
# The same as differences within training runs, which is what the claims are about. Texts, order and model are the same
# on both sides, so these vary much less than the numbers themselves.

# %%
differences_figure(study, runs)

# %% [markdown]
# At equal cost instead of equal residues:

# %%
flops_table(study, runs)
costs_table(study, runs)

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
# - *area-below-source* and *area-below-random-vectors*: is a model with a plan good earlier? With the old tokenizer the
#   model expects English at first. But if that tokenizer cuts proteins into single letters (the table of costs tells),
#   only twenty tokens have to be learnt anew, each of which comes often; with the new one there are hundreds.
# - *area-below-pieces* asks the same against a start that costs no texts at all, so it is the strictest of the three.
# - *final-below-source* compares two tokenizers as much as two starts. *long-tokens-cost-bits* is the control for it:
#   if a model without context needs more bits with the new tokens than with the old ones, then every arm with the new
#   tokenizer has this gap to close by learning which tokens can follow each other, and a short training does not close
#   it. What the difference exceeds this gap by is not due to the tokens' frequencies.
# - *pretraining-helps* and *pretraining-helps-with-a-plan* say how much there was to gain. If a body drawn at random is
#   as good a start, no translation of English can be worth much. If only the second holds, a pretrained body is worth
#   something to those who speak its language, and vectors that mean nothing to it spoil it.
# - The *unigram of residues* is what a model must get below before it can be said to have learnt anything of proteins
#   beyond their composition. (It counts residues of all training proteins, more than an arm sees.)
#
# **What differs from the paper.** At quick, models of 130 thousand weights that were trained here on technical English,
# and 7,500 residues of proteins of one bacterium; at gpu, SmolLM2-135M, in its instruction-tuned form, and the same
# proteins. The paper adapts OLMo-1B on UniRef50. Its curves, learning rates, numbers of updates and tables were not
# seen; from its abstract it is known that a learnt plan followed by finetuning comes out best. The arm *mean of pieces*
# and all controls are added here. Uniform marginals, $T = 5$ iterations and scores $C \sim N(0, 0.02^2)$ are choices
# made here, as in `01_sparse_sinkhorn`.

# %% [markdown]
# ## Explore
#
# The example from above, live: choose an arm, and the learning rate of its finetuning. Open markers: the body is
# frozen.


# %%
def watch(arm: str, rate: float):
    """Held-out bits of one arm in 12 updates, learning a plan in 4 of them where it has one"""
    curve = pd.DataFrame(live_runs(arm, rate, 0.003, 4, example)["columns"])
    return live_figure({arm: curve[curve["step"] <= 12]}, known)


costs = reference_runs(example["seed"], 0, tiny)
known = {name: costs[name] for name in ("unigram", "token_unigram")}
explore(watch, arm=[LEARNT, *(arm for arm in ARMS if arm != LEARNT)], rate=[0.003, 0.001, 0.01, 0.03, 0.1])

# %% [markdown]
# ## References
#
# - Z. Feng, T. Marwah, N. Fusi, D. Alvarez-Melis, L. Mackey, arXiv 2411.00593 (2024): the paper.
# - L. Gee, A. Zugarini, L. Rigutini, P. Torroni, *Fast vocabulary transfer for language model compression*, EMNLP
#   industry track 2022: the mean of pieces.
# - S. Biderman et al., *Lessons from the trenches on reproducible evaluation of language models*, arXiv 2405.14782
#   (2024): bits per byte.

# %%
study.done(seeds=range(scale.training_runs))
