# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Only a plan is learnt: which plan?
#
# **Paper.** Z. Feng, T. Marwah, N. Fusi, D. Alvarez-Melis and L. Mackey, *Adapting Language Models via Token
# Translation*, 2024 ([arXiv 2411.00593](https://arxiv.org/abs/2411.00593)).
#
# **What is regenerated.** The comparison of translations on proteins, without finetuning: bits per byte of an English
# language model whose body stays as it is.
#
# **The claim in one sentence.** A sparse plan with both marginals, learnt from proteins alone, makes an English model
# a better model of proteins than its own tokenizer does, and than other ways to combine its token vectors.
#
# **Time.** quick: within 80 CPU seconds on one core. gpu: meant for at most 6 minutes on one large GPU. paper: hours.

# %% tags=["parameters"]
preset: str = "quick"  # scale: "quick" (laptop), "gpu" (one GPU) or "paper" (the paper's model and data)
seed: int = 0  # base seed of all draws; 0 is the reported run
device: str = "auto"  # "auto", "cpu", "cuda", "cuda:1", "mps"

# %% [markdown]
# ## The idea
#
# A language model has three parts: an embedding $E \in \mathbb{R}^{v \times d}$ that turns $v$ source tokens into
# vectors, a body $h$ that turns the vectors of a text so far into a state in $\mathbb{R}^d$, and an output matrix
# $L \in \mathbb{R}^{v \times d}$ that turns a state into logits of the next token. Only $E$ and $L$ know the tokenizer.
# For a new domain, train a tokenizer of $u$ tokens on it, keep $h$, and make new matrices from the old ones:
#
# $$E' = W^\top E \in \mathbb{R}^{u \times d}, \qquad L' = W^\top L \in \mathbb{R}^{u \times d}, \qquad
#   W \in \mathbb{R}^{v \times u}.$$
#
# Column $t$ of $W$ says which source tokens the target token $t$ is made of. All arms below learn scores
# $C \in \mathbb{R}^{v \times u}$ by descent on the loss of proteins; they differ in how $C$ becomes $W$:
#
# | arm | $W$ | column sums | row sums | zeros |
# |---|---|---|---|---|
# | sparse Sinkhorn (the paper) | plan nearest to $C$, see `01_sparse_sinkhorn` | 1 | $u/v$ | many |
# | entropic Sinkhorn | $\mathrm{diag}(a)\, e^{C/\varepsilon}\, \mathrm{diag}(b)$ | 1 | $u/v$ | none |
# | column softmax | $W_{st} = e^{C_{st}} / \sum_{s'} e^{C_{s't}}$ | 1 | free | none |
# | unconstrained | $W = C$ | free | free | none |
#
# Nothing is learnt in three more: the **source tokenizer** itself; the **mean of pieces**, in which column $t$ is
# uniform on the source tokens of $t$'s letters; and the **random sparse plan** that sparse Sinkhorn starts from.
#
# **What would fool us.** Three things lower the cost of proteins without any understanding of them, and each has a
# control here:
#
# - *The alphabet.* The source model gives probability to tokens that no protein contains. Restricting its softmax to
#   tokens made of the 20 amino-acid letters removes that, from the same pass of the model.
# - *Frequencies.* A model that ignores the text so far and gives each residue its frequency needs about 4.1 bits. Only
#   below that line has the frozen body been of use.
# - *The start.* Convex combinations of all embeddings are a tame start; weights that are unconstrained but start there
#   share that advantage, and those that start from normal numbers do not.
#
# **Bits per residue.** Tokenizers cut texts differently, so that loss per token compares nothing. Counted is
# $\frac{1}{B} \sum_i -\log_2 p(\text{token}_i)$ with $B$ the number of residues: a residue is a letter is a byte.

# %%
import pandas as pd
from twelvefold.core.display import show_table
from twelvefold.core.explore import explore
from twelvefold.core.study import Study
from twelvefold.core.sweep import sweep
from twelvefold.papers.s2t2 import frozen_body
from twelvefold.papers.s2t2.anatomy import support, top_sources
from twelvefold.papers.s2t2.baselines import piece_plan
from twelvefold.papers.s2t2.frozen_body_rows import rows_of_study
from twelvefold.papers.s2t2.frozen_body_study import (
    LEARNT,
    Learning,
    arm_points,
    arm_runs,
    draw_bench,
    initial_plan,
    learning_curve,
    reference_points,
    reference_runs,
)
from twelvefold.papers.s2t2.plots.frozen_body import explore_figure
from twelvefold.papers.s2t2.tokenization import encode

study = Study("s2t2/02_frozen_body", preset, seed, device)

# %% [markdown]
# ## The method on one protein
#
# A tiny English model with 1,024 tokens, and a tokenizer of 64 tokens trained on 300 proteins. How each of them cuts
# the first residues of a protein:

# %%
sizes = {"targets": 64, "length": 60, "training": 200, "held_out": 16, "tokenizer_proteins": 300}
bench = draw_bench(10_000, 0, "english small 0", {"name": "pyhmmer_proteome", "limit": 500}, False, 8, sizes)
protein = bench.problem.held_out[0][:24]
for name, vocabulary in (("source", bench.source.vocabulary), ("target", bench.problem.target)):
    print(f"{name}: {' '.join(vocabulary.pieces[i].decode() for i in encode(vocabulary, protein))}")

# %% [markdown]
# And what the last token of the target tokenizer is made of, in the two plans that need no learning. The plan of pieces
# knows its letters; the plan of random scores is a mean of about a hundred English tokens, none with much weight.

# %%
few = Learning(steps=20, batch=4, micro=4, regularisation=0.1, precision="float32")
pieces = piece_plan(bench.source.vocabulary, bench.problem.target)
plans = {"mean of pieces": pieces, "random sparse plan": initial_plan(bench, few, 10_000, 0)}
token = len(bench.problem.target) - 1
show_table(
    pd.DataFrame([
        {"plan": name, "source tokens": int(support(plan)[token]), "heaviest": ", ".join(
            f"{share.source.decode(errors='replace')!r} {share.weight:.3f}"
            for share in top_sources(plan, token, bench.source.vocabulary, count=3))}
        for name, plan in plans.items()
    ]),
    f"Target token {bench.problem.target.pieces[token].decode()!r}.",
)  # fmt: skip

# %% [markdown]
# ## The claims

# %%
study.declare(frozen_body.CLAIMS)

# %% [markdown]
# ## The scale
#
# **Training runs.** Each has its own split of the proteins, tokenizer, order of texts and initial scores, and at quick
# its own source model; all arms of a run share them.
#
# - quick: tiny English models ($v = 1024$, $d = 48$, three layers), so that five runs of everything fit a laptop.
#   `problem`: u = 64 target tokens; texts of 60 residues; 64 held-out proteins a run.
# - `learning`: 14 steps of 4 texts, after which the curves are nearly level. They are not at their end: at another seed
#   100 steps took the plans and the weights that start from one lower by 0.05 to 0.07 bits, and still not below the
#   frequencies of residues.
# - `rates`: sought at other seeds, in half decades for every arm, from where learning is too slow to where it jumps.
#   Each arm keeps its best rate and the next best, and in every run 32 validation texts, neither learnt from nor held
#   out, choose between the two. $\varepsilon$ needs no search: $\varepsilon = 1$, 0.1 and 0.03 gave the same bits at
#   the same ratio of rate and $\varepsilon$.
# - gpu: SmolLM2-135M, all of its 49,152 tokens, u = 512, texts of 512 residues, the body in bfloat16. A step takes
#   about 70 ms by estimate, a third of it the projection of 25 million scores; 5 runs of 5 arms with 3 rates leave 40
#   steps. Rates were not sought there. Unconstrained weights are near $1/v$, so theirs go down to $10^{-6}$ in decades.
# - paper: OLMo-1B and UniRef50, of which 200,000 sequences are read; 1,000 steps.
#
# **One real model.** At quick, `network` is SmolLM2-135M in one training run: its source tokens are cut down to the 736
# made of amino-acid letters, u = 128, 4 steps of 2 texts, 20 held-out proteins of 48 residues. Such a run cannot decide
# a claim about a method; its table says what this one plan does on other proteins. gpu and paper need no such part.

# %%
tiny = {
    "sources": [f"english small {r}" for r in range(5)], "proteins": {"name": "pyhmmer_proteome"}, "letters": False,
    "validation": 32,
    "problem": {"targets": 64, "length": 60, "training": 400, "held_out": 64, "tokenizer_proteins": 300},
    "learning": {"steps": 14, "batch": 4, "micro": 4, "regularisation": 0.1, "precision": "float32"},
    "rates": {
        "sparse_sinkhorn": [0.001, 0.003], "column_softmax": [0.1, 0.3], "entropic_sinkhorn": [0.01, 0.03],
        "unconstrained": [1e-4, 3e-4], "unconstrained_normal": [3e-4, 1e-3],
    },
}  # fmt: skip
network = {
    "source": "smollm2_135m", "proteins": {"name": "pyhmmer_proteome"}, "letters": True, "validation": 1,
    "problem": {"targets": 128, "length": 48, "training": 100, "held_out": 20, "tokenizer_proteins": 300},
    "learning": {"steps": 4, "batch": 2, "micro": 1, "regularisation": 0.1, "precision": "float32"},
    "arms": [["source", None], ["pieces", None], ["start", None], ["sparse_sinkhorn", 0.02]],
}  # fmt: skip

# %%
whole = {"targets": 512, "length": 512, "training": None, "held_out": 128, "tokenizer_proteins": None}
fast = {"steps": 40, "batch": 16, "micro": 16, "regularisation": 0.1, "precision": "bfloat16"}
wide = {
    "sparse_sinkhorn": [0.001, 0.003, 0.01], "column_softmax": [0.03, 0.1, 0.3],
    "entropic_sinkhorn": [0.003, 0.01, 0.03], "unconstrained": [1e-6, 1e-5, 1e-4],
    "unconstrained_normal": [1e-6, 1e-5, 1e-4],
}  # fmt: skip
scale = study.scale(
    quick={**tiny, "network": network},
    gpu={
        **tiny, "sources": ["smollm2_135m"] * 5, "problem": whole, "learning": fast, "rates": wide, "network": None,
    },
    paper={
        **tiny, "sources": ["olmo_1b"] * 5, "proteins": {"name": "uniref50", "limit": 200_000},
        "problem": {**whole, "held_out": 512}, "learning": {**fast, "steps": 1_000, "micro": 4},
        "rates": wide, "network": None,
    },
)  # fmt: skip

# %% [markdown]
# ## The experiment

# %%
points = arm_points(scale, study.seed)
results = sweep(arm_runs, points, device=study.device, label="training runs")
costs = sweep(reference_runs, reference_points(points), label="references")
one = [] if scale.network is None else [{"seed": study.seed, "replicate": 0, **scale.network}]
network_results = sweep(arm_runs, one, device=study.device, label="SmolLM2-135M")
network_costs = sweep(reference_runs, reference_points(one), label="references")
runs = study.runs(rows_of_study(points, results, costs, network_results, network_costs))

# %% [markdown]
# ## The result
#
# Every arm, with a frozen body:

# %%
arms_figure, arms_table, curves_figure, rates_table, network_figure, network_table, decisions = frozen_body.REPORT
arms_figure(study, runs)
arms_table(study, runs)

# %% [markdown]
# How the arms that learn got there, and what their learning rates did. Noise that all curves share comes from the
# texts, which are the same.

# %%
curves_figure(study, runs)
rates_table(study, runs)

# %% [markdown]
# The same comparison for one trained network of 135 million weights, which knows far more English than the tiny ones.
# Intervals here are over proteins and speak about this plan alone.

# %%
network_figure(study, runs)
network_table(study, runs)

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
# - *beats-source* alone would be cheap. How much of that gap is the alphabet, *beats-source-with-letters* shows: it
#   compares with what remains when the source model is told which letters there are.
# - *beats-its-start* says whether learning did anything. The random plan is no bad start: it mixes so many embeddings
#   that all target tokens are nearly alike, and the model hardly commits itself to any.
# - *beats-unconstrained* and *beats-unconstrained-normal* belong together. Where only the second holds, the advantage
#   is the start, a mean of embeddings of the right size, and not a constraint that is kept during learning; where both
#   hold, the constraint itself helps. Rates are chosen for all arms in the same way, so that a rate too high for
#   weights without constraints does not decide this.
# - *beats-column-softmax* and *beats-entropic* ask for the marginal of the source and for sparsity. There every
#   embedding is a convex combination in both arms; what differs is the geometry in which scores are learnt.
# - *beats-unigram* is the hard one. An arm that stays above the frequencies of residues has not yet shown that an
#   English body knows anything about proteins. The unigram of target tokens (in the table, no claim) is a lower mark:
#   a model over target tokens that ignores the text so far can hardly be better.
#
# **What differs from the paper.** The paper's experiments could be read in summaries only, so that no number stands
# beside ours. Its model is OLMo-1B and its data UniRef50; here they are tiny models of English and the proteins of one
# genome, and few steps. The start of the scores, the marginals (uniform), the number of iterations ($T = 5$), learning
# rates and the size of the target vocabulary are choices made here. What "unconstrained" starts from in the paper is
# not known; both starts are shown.
#
# ## Explore
#
# Learn a plan now: 20 steps with the tiny model and the tokenizer of 64 tokens from above. Which rates are too small,
# and which make the curve jump?

# %%
few_costs = reference_runs(10_000, 0, {"name": "pyhmmer_proteome", "limit": 500}, 8, sizes)


def learn_now(arm: str, rate: float):
    """Bits per residue while a plan is learnt, and of held-out proteins afterwards"""
    losses, bits = learning_curve(bench, few, 10_000, arm, rate)
    return explore_figure(losses, bits, arm, {name: few_costs[name] for name in ("unigram", "token_unigram")})


explore(learn_now, arm=list(LEARNT), rate=[0.001, 1e-4, 3e-4, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0])

# %% [markdown]
# ## References
#
# - Z. Feng, T. Marwah, N. Fusi, D. Alvarez-Melis, L. Mackey, arXiv 2411.00593 (2024): the paper.
# - S. Biderman et al., *Lessons from the Trenches on Reproducible Evaluation of Language Models*, arXiv 2405.14782
#   (2024): bits per byte.
# - L. Gee, A. Zugarini, L. Rigutini, P. Torroni, *Fast Vocabulary Transfer for Language Model Compression*, EMNLP 2022
#   industry track: the mean of pieces.
# - L. Ben Allal et al., *SmolLM2*, arXiv 2502.02737 (2025): the real model.

# %%
study.done(seeds=range(len(scale.sources)))
