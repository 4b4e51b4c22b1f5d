# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # What does a new tokenizer save, and what is a learnt plan made of?
#
# **Paper.** Z. Feng, T. Marwah, N. Fusi, D. Alvarez-Melis and L. Mackey, *Adapting Language Models via Token
# Translation*, 2024 ([arXiv 2411.00593](https://arxiv.org/abs/2411.00593)).
#
# **What is regenerated.** The reason for a new tokenizer, in bytes per token; and the sparse plan of figure 1, opened:
# how many source tokens a target token uses, which ones, and what three choices of the method change.
#
# **The claim in one sentence.** A few hundred target tokens pack a protein into fewer tokens than the tokenizer of a
# language model does, and learning makes the plan, which mixes source tokens into each of them, sparser.
#
# **Time.** quick: within 80 CPU seconds on one core. gpu: meant for at most 4 minutes on one large GPU. paper: many
# hours.

# %% tags=["parameters"]
preset: str = "quick"  # scale: "quick" (laptop), "gpu" (one GPU) or "paper" (the paper's model and data)
seed: int = 0  # base seed of all draws; 0 is the reported run
device: str = "auto"  # "auto", "cpu", "cuda", "cuda:1", "mps"

# %% [markdown]
# ## The idea
#
# **A tokenizer fits one domain.** Byte-pair encoding starts with single characters and adds, again and again, the pair
# of neighbouring tokens that occurs most often. Trained on English it has a token for " the"; a protein such as
# `MKVLLQ...` falls apart into single letters and chance pairs. The measure is *bytes per token* (a residue, one amino
# acid, is one letter and one byte). More bytes per token mean shorter sequences, for the same proteins.
#
# Is a larger vocabulary always better? It makes sequences shorter, but the plan $P \in \mathbb{R}^{v \times u}$ larger,
# and tokens rarer. A model without any context shows the other side: if target tokens are drawn independently, with the
# probabilities $p(t)$ that they have in training texts, a held-out text of $B$ residues costs
# $-\frac1B \sum_i \log_2 p(t_i)$ bits per residue. Only a language in which neighbours depend on each other gains by
# merging them.
#
# **A plan can be read.** $P$ has a row per source token and a column per target token, row sums $\mu$, column sums
# $\nu$. Column $t$, divided by its sum, is a distribution $P(s \mid t)$ over source tokens. Questions to it:
#
# - *support*: how many $s$ have a positive weight? Fewer means sparser. The entropy $H$ of the column tells the same
#   with weights: $e^{H}$ source tokens, the *effective* number.
# - *which*: amino-acid letters (tokens such as `K`), tokens that share a letter with $t$, or English fragments?
#
# One thing no training can change is the marginal. Uniform $\mu$ gives every source token the same mass, so that
# letters have the share (number of letter tokens) / $v$ of the *mass*, whatever is learnt. Learning can only decide
# which target tokens get them: frequent ones, or rare ones. Therefore the share below counts target tokens by how
# often they occur. A column softmax, which knows no row marginal, is the control.
#
# It also sets a limit to sparsity. No entry exceeds its row sum $u/v$ (columns of mass 1), so that a target token has
# at least $v/u$ source tokens: 8 at quick, 96 for SmolLM2's 49,152 and 512 target tokens. A target token that *is* one
# source token is possible only where that source token has mass enough, as with unigram marginals.
#
# **Three normalisations.** The paper's text and figure speak of convex combinations; its formula for $E'$ divides by
# $\mu$ instead of $\nu$:
#
# | name | embedding $E'_t$ | output row $L'_t$ |
# |---|---|---|
# | convex | $\sum_s P_{st}/\nu_t\, E_s$ | $\sum_s P_{st}/\nu_t\, L_s$ |
# | printed | $\sum_s P_{st}/\mu_s\, E_s$ | $\sum_s P_{st}/\nu_t\, L_s$ |
# | Bayes | $\sum_s P_{st}/\nu_t\, E_s$ | $\sum_s P_{st}/\mu_s\, L_s$ |
#
# With uniform marginals, division by $\mu$ makes vectors $v/u$ times as long as convex ones.

# %%
import pandas as pd
import torch
from twelvefold.core.display import show_markdown, show_table
from twelvefold.core.explore import explore
from twelvefold.core.study import Study
from twelvefold.core.sweep import sweep
from twelvefold.ot.polytope import project_polytope
from twelvefold.ot.transport_plan import unit_columns
from twelvefold.papers.s2t2 import compression_and_anatomy
from twelvefold.papers.s2t2.anatomy import effective_sources, support
from twelvefold.papers.s2t2.anatomy_study import VARIANTS, anatomy_run, target_vocabulary, weighted
from twelvefold.papers.s2t2.compression_and_anatomy_rows import chosen, rows_of_study
from twelvefold.papers.s2t2.compression_study import compression_run, segments, source_vocabulary
from twelvefold.papers.s2t2.tokenization import bytes_per_token, train_bpe
from twelvefold.papers.s2t2.translation import Vectors, translate

study = Study("s2t2/05_compression_and_anatomy", preset, seed, device)

# %% [markdown]
# ## The method on texts small enough to print
#
# A tokenizer with one token more at a time, trained on one short text; the dots show where tokens end.

# %%
text = "AKAKAKGGAKGG"
trained = {size: train_bpe([text], size, alphabet="AGK") for size in (4, 5, 6, 7)}
show_table(pd.DataFrame([{"tokens": size, "text": segments(made, text),
                          "bytes per token": bytes_per_token(made, [text])}
                         for size, made in trained.items()]), "The separator is a token too.")  # fmt: skip

# %% [markdown]
# A plan of four source and two target tokens, with uniform marginals, so that $v/u = 2$; and the first target vector
# under the three normalisations, for embeddings $E_s$ that are the unit vectors (it then shows its own weights).

# %%
scores = torch.tensor([[0.9, 0.0], [0.6, 0.1], [0.1, 0.2], [0.0, 0.9]])
plan = project_polytope(scores, *unit_columns(4, 2), iterations=50).plan
unit = Vectors(torch.eye(4), torch.eye(4))
show_table(pd.DataFrame({"source": ["s1", "s2", "s3", "s4"], "t1": plan[:, 0].tolist(), "t2": plan[:, 1].tolist()}),
           f"P; support {support(plan).tolist()}, effective {[round(x, 2) for x in effective_sources(plan).tolist()]}.")
show_table(pd.DataFrame([{"norm": norm, "E' of t1": [round(x, 2) for x in made.embedding[0].tolist()],
                          "L' of t1": [round(x, 2) for x in made.head[0].tolist()]}
                         for norm in ("convex", "printed", "bayes")
                         for made in [translate(plan, unit, norm=norm)]]))  # fmt: skip

# %% [markdown]
# ## The claims
#
# Two about tokenizers, over data draws; four about plans, over training runs. A data draw splits the proteins anew,
# and a training run has, beside its data draw, a source model of its own at quick.
#
# The margin of the claim about $T$ is 0.05 bits, about one per cent of the cost of a residue (4.1 to 4.4 bits in every
# row of the tables below): less than what separates the methods that this paper compares.

# %%
study.declare(compression_and_anatomy.CLAIMS)

# %% [markdown]
# ## The scale
#
# **Common.**
#
# - data: 2,086 proteins of one bacterial genome, a stand-in for UniRef50 (at paper).
# - `length`: texts of 120 residues at quick, 512 on a GPU, the length that the paper is said to use.
# - `held_out`: 80 texts (9,600 residues) at quick; differences are paired, within texts and runs.
# - `tokenizer_proteins`: 400 at quick, 0.13 M residues; all training proteins otherwise.
#
# **Compression.** Vocabularies of 32 to 4,096 tokens, 5 data draws. The first source is the one of the claims.
#
# **Plans.**
#
# - source: at quick, tiny English models trained here, one per training run (v = 1,024), a stand-in for OLMo-1B; they
#   have no token of several amino-acid letters. gpu: SmolLM2, v = 49,152, body in bfloat16.
# - `targets`: 128 at quick, where the plan is 131,000 weights; 512 otherwise.
# - `steps`, `batch`: 10 steps of 6 texts (7,200 residues) are what fits at quick. A GPU sees 0.25 M residues.
# - `rates`, by variant: at quick the best of 0.0003, 0.001, 0.003, 0.01 and 0.03 in two runs at another base seed
#   (for T = 20 of the middle three); it is 0.003 for all but Bayes'. Elsewhere each variant is learnt at every rate,
#   and the one with the least cost on `validation` texts, which are neither learnt nor held out, counts.
# - variants: quick leaves out T = 1, T = 2 and the column softmax for time.
# - `english`: packages whose docstrings tell how frequent source tokens are; none means Python's help topics alone.

# %%
data = {"proteins": "pyhmmer_proteome", "limit": None}
small = {**data, "length": 120, "held_out": 80, "tokenizer_proteins": 400}
large = {**data, "length": 512, "held_out": 200, "tokenizer_proteins": None}
sizes = [32, 128, 256, 512, 1024, 2048, 4096]
tiny = {
    "source": "english small", "targets": 128, "training": 200, "validation": 0, "english": [], "steps": 10,
    "batch": 6, "micro": 6, "watched": [3, 6, 10], "precision": "float32",
}  # fmt: skip
real = {
    "source": "smollm2_135m", "targets": 512, "training": 900, "validation": 64, "english": ["numpy", "scipy"],
    "steps": 30, "batch": 16, "micro": 16, "watched": [5, 10, 20, 30], "precision": "bfloat16",
}  # fmt: skip
scale = study.scale(
    quick={"runs": 5, "common": small, "sources": ["smollm2_135m", "english"], "sizes": sizes, "counted": 400,
           "learning": tiny,
           "rates": {**dict.fromkeys(["convex", "printed", "bayes", "T20", "unigram"], [0.003]), "bayes": [0.001]}},
    gpu={"runs": 5, "common": large, "sources": ["smollm2_135m"], "sizes": sizes, "counted": 900,
         "learning": real, "rates": dict.fromkeys(VARIANTS, [0.003, 0.02])},
    # UniRef50 is cut at 200,000 proteins, so that a tokenizer is trained within minutes; 1,000 steps see 8 M residues
    paper={"runs": 5, "common": {**large, "proteins": "uniref50", "limit": 200_000, "held_out": 1000},
           "sources": ["olmo_1b"], "sizes": sizes, "counted": 20_000,
           "rates": dict.fromkeys(VARIANTS, [0.001, 0.005, 0.02]),
           "learning": {**real, "source": "olmo_1b", "training": 50_000, "validation": 500, "steps": 1000, "micro": 4,
                        "watched": [50, 100, 200, 500, 1000]}},
)  # fmt: skip

# %% [markdown]
# ## The experiment

# %%
draws = [{"seed": study.seed, "replicate": r, **scale.common} for r in range(scale.runs)]
extra = {"sources": scale.sources, "sizes": scale.sizes, "training": scale.counted}
compressed = sweep(compression_run, [{**draw, **extra} for draw in draws], label="tokenizers")
plan_points = [
    {**draw, **scale.learning, "variant": dict(VARIANTS[name]), "rate": rate}
    for draw in draws for name, rates in scale.rates.items() for rate in rates
]  # fmt: skip
learnt = chosen(plan_points, sweep(anatomy_run, plan_points, device=study.device, label="plans"))
runs = study.runs(rows_of_study(compressed, learnt))

# %% [markdown]
# ## The result
#
# What does a new tokenizer save?

# %%
(
    compression_figure, compression_table, training_figure, anatomy_table, tokens_table, variants_figure, bits_table,
    decisions,
) = compression_and_anatomy.REPORT  # fmt: skip
compression_figure(study, runs)
compression_table(study, runs)

# %% [markdown]
# Each doubling of the vocabulary adds less. And independent tokens cost no less than independent residues: proteins
# are close to random sequences of letters, so that merging pairs shortens the text without making it more predictable.
#
# What becomes of a plan while it is learnt, and which tokens does it use? The column *letters_of_mass* is what the
# marginals fix.

# %%
training_figure(study, runs)
anatomy_table(study, runs)
tokens_table(study, runs)

# %% [markdown]
# What do normalisation, iterations and marginals change?

# %%
variants_figure(study, runs)
bits_table(study, runs)

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
# - *new-tokens-compress-better* and *few-tokens-compress-worse*: a new tokenizer shortens proteins only from a few
#   hundred tokens on, because SmolLM2's tokenizer, by chance, has many short pieces of capital letters. Below that it
#   makes sequences longer than they were, and any gain must come from better vectors. The tiny English tokenizer
#   of quick knows no such pieces; against it every target vocabulary is shorter.
# - *plan-gets-sparser*: no term of the loss asks for sparsity. Scores grow as they are learnt, and the projection of
#   larger scores has fewer entries (`01_sparse_sinkhorn`), so that support falls with steps times learning rate; and
#   the rate is chosen for bits, not for sparsity. Uniform marginals end the fall at $v/u$.
# - *printed-normalisation-costs-more*: with uniform marginals the printed $E'$ is the convex one times $v/u$, 8 at
#   quick and 96 with SmolLM2's tokens. Two things soften that. A Llama normalises what each of its layers reads, which
#   hides the length of an embedding; but longer embeddings still drown what layers add to them. And steps of Adam do
#   not depend on the scale of gradients. Bayes' rule puts the same factor on the logits, where nothing hides it.
# - *five-iterations-suffice*: a projection starts from the potentials of the step before, so that few iterations a step
#   add up to many. *misplaced* tells what error is left.
# - *letters-are-preferred*: the marginal leaves little room, and at quick letters are 20 rows of 1,024. Where it does
#   not hold, the column softmax (gpu) tells whether the marginal forbids it or nothing asks for it. In any case most of
#   the weight of a target token lies on tokens without any relation to it that a reader could name: the plan spans a
#   space of vectors, and is no dictionary.
#
# **What differs from the paper.** Which tokenizers were compared, and whether plans were looked at like this, could not
# be read, nor any number. Proteins come from one genome instead of UniRef50, and at quick source models are tiny and
# learning is short, so that all costs stay above that of independent residues. Iterations, marginals, initial scores
# and learning rates are choices made here.

# %% [markdown]
# ## Explore
#
# Type a protein, or any string of the twenty letters ACDEFGHIKLMNPQRSTVWY: how do the source's tokenizer and the new
# one cut it, and what are its target tokens made of in the plan of the first training run?

# %%
first = learnt[0]["result"]
sources_of = {made["token"]: made["sources"] for made in first["tokens"]}
tokenizers = {name: source_vocabulary(name) for name in scale.sources} | {"proteins": target_vocabulary(first)}


def tokens_of(protein: str):
    """A protein in source and in target tokens, and the source tokens that its target tokens are made of"""
    for name, made in tokenizers.items():
        show_markdown(f"**{name}**, {bytes_per_token(made, [protein]):.2f} bytes per token: {segments(made, protein)}")
    used = list(dict.fromkeys(segments(tokenizers["proteins"], protein).split(" · ")))[:12]
    show_table(pd.DataFrame([{"target token": token, "source tokens": weighted(sources_of[token])} for token in used]))


explore(tokens_of, protein="MKVLLQIAGEKDYSNPLKELIKDFGIDVTEE")

# %% [markdown]
# ## References
#
# - Z. Feng, T. Marwah, N. Fusi, D. Alvarez-Melis, L. Mackey, arXiv 2411.00593 (2024): the paper.
# - R. Sennrich, B. Haddow, A. Birch, *Neural machine translation of rare words with subword units*, ACL 2016: byte-pair
#   encoding.
# - S. Biderman et al., arXiv 2405.14782 (2024): bits per byte.

# %%
study.done(seeds=range(scale.runs))
