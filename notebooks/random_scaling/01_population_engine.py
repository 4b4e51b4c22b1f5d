# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Hundreds of networks as one tensor program
#
# **Paper.** R. Zhao, T. Qin, D. Alvarez-Melis, S. Kakade and N. Saphra, *Random Scaling of Emergent Capabilities*, 2025
# ([arXiv 2502.17356](https://arxiv.org/abs/2502.17356)).
#
# **What is regenerated.** No figure: the instrument behind all figures of this paper. Its statements are about
# hundreds of training runs that differ in their seed alone, so they need a way to train hundreds of small networks.
#
# **The claim in one sentence.** Networks that train together, as one tensor program, are exactly the networks that
# would have trained one at a time.
#
# **Time.** quick: less than 25 CPU seconds on one core. gpu and paper: a few minutes on one GPU.

# %% tags=["parameters"]
preset: str = "quick"  # scale: "quick" (laptop), "gpu" (one GPU) or "paper" (larger networks, more of them)
seed: int = 0  # base seed of all draws; 0 is the reported run
device: str = "auto"  # "auto", "cpu", "cuda", "cuda:1", "mps"

# %% [markdown]
# ## The idea
#
# A network of width 32 is too small for any computer. Most of the time of a training step goes into *starting*
# operations, not into multiplying. But the same operation on $P$ networks can be started once. Stack the weights of one
# linear map of all networks into a tensor $W$ of shape $[P, d_\text{in}, d_\text{out}]$ and their inputs into $X$ of
# shape $[P, N, d_\text{in}]$ ($N$ tokens each); then
#
# $$ Y_p = X_p\, W_p \quad (p = 1, \dots, P) \qquad\text{is one batched product}\qquad Y = \mathrm{bmm}(X, W). $$
#
# Attention has no weights of its own, so there the members simply count as further sequences of the batch. The losses
# $\ell_1, \dots, \ell_P$ are added up, and one backward pass serves all: since $\ell_p$ does not depend on the weights
# $\theta_q$ of another member,
#
# $$ \nabla_{\theta_p} \sum_{q=1}^{P} \ell_q = \nabla_{\theta_p}\, \ell_p . $$
#
# AdamW works entry by entry, so that one optimiser over the stacked tensors is $P$ optimisers. A single step mixes the
# entries of a network: clipping the gradient by its norm. That norm is taken member by member.
#
# All this is exact algebra, and it should stay exact in floating point: a member should not notice its neighbours. That
# is not free. The last entries of a tensor are computed by other instructions than those before, which round otherwise,
# so the engine pads its tensors until that remainder is never a weight.

# %%
import pandas as pd
from twelvefold.core.explore import explore
from twelvefold.core.study import Study
from twelvefold.core.sweep import sweep
from twelvefold.papers.random_scaling import population_engine
from twelvefold.papers.random_scaling.bimodal.engine import (
    alone_and_together,
    decoded_point,
    decoded_rows,
    engine_points,
    engine_rows,
    train_by_way,
)
from twelvefold.papers.random_scaling.bimodal.plotting import product_drawing, show_drawing, two_curves
from twelvefold.tasks.prompt_populations import prompt_population

study = Study("random_scaling/01_population_engine", preset, seed, device)
show_drawing(product_drawing(), "Three stacks of matrices: inputs times weights equals outputs, one layer per network.")

# %% [markdown]
# ## The method on three networks that fit on the screen
#
# One linear map of three networks: as one product, as three products of the same program with $P = 1$, and as three
# ordinary matrix products. The ordinary ones are right, too, but may round otherwise. Then the gradient of the *sum* of
# three losses beside the gradient of the second loss alone.

# %%
import torch

generator = torch.Generator().manual_seed(10_000)
X, W = torch.randn(3, 4, 2, generator=generator), torch.randn(3, 2, 2, generator=generator)
together = torch.bmm(X, W)
alone = torch.cat([torch.bmm(X[p : p + 1], W[p : p + 1]) for p in range(3)])
ordinary = torch.stack([X[p] @ W[p] for p in range(3)])
print("differences from the one product:", float((alone - together).abs().max()), "with P = 1,",
      float((ordinary - together).abs().max()), "with ordinary products")  # fmt: skip
of_the_sum = torch.func.grad(lambda weights: (torch.bmm(X, weights) ** 2).sum())(W)
of_one = torch.func.grad(lambda weights: (torch.bmm(X[1:2], weights) ** 2).sum())(W[1:2])
print("gradient of the second network, from the sum and alone:", of_the_sum[1].tolist(), of_one[0].tolist(), sep="\n")

# %% [markdown]
# ## The claims
#
# None of them involves chance, and all are about this engine, hence `mechanism`. Two kinds:
#
# - **Exactly equal** (difference 0): the engine against itself, when a network trains alone, in a chunk of any size, or
#   in another order. This is promised for one thread of one kind of CPU. On CUDA the libraries choose their kernels by
#   the size of the tensors, so that there these claims are *not tested*.
# - **Equal up to rounding**: the engine against two programs that share no line with it. One builds a network from the
#   modules of `torch.nn` and trains it with `torch.optim.AdamW` and `clip_grad_norm_`; the other puts `torch.func.vmap`
#   around that module. They add numbers in another order, so the last digits differ. The bound of $10^{-6}$ of the loss
#   is about eight times the spacing of float32 numbers.
#
# The last claim is about the *score* of all later notebooks. A continuation is an **exact match** if greedy decoding
# writes every token of it. Decoding is slow, and not needed: if the most likely token is right at every place *given
# the true tokens before it* (teacher forcing), then by induction greedy decoding takes exactly these tokens; and if it
# is wrong somewhere, greedy decoding goes wrong at the first such place.

# %%
study.declare(population_engine.CLAIMS)

# %% [markdown]
# ## The scale
#
# - `members`, `width`, `layers`: a population of the size that later notebooks train; gpu and paper as wide as theirs.
# - `networks`: attention alone (as in the copying task later) and a full block, by hidden units of its two-layer
#   network.
# - `settings`: strings of 5 and of 6 letters, so that sequences are padded and starts of positions are drawn.
# - `updates` of all ways of the engine; `compared`: updates of the other programs.
# - `learning_rate`: a tenth of what the task is trained with later. Training enlarges rounding differences, and at
#   $10^{-2}$ two correct programs are $3 \cdot 10^{-6}$ apart after twelve updates (seen in exploration), which would
#   say something about training and nothing about the programs.
# - `epsilon` of AdamW: AdamW divides a gradient by its own size, so an entry whose gradient is nothing but rounding
#   noise would take a full step in a random direction. A larger $\varepsilon$ than the usual $10^{-8}$ leaves it where
#   it is.
# - `decoded_...`: strings of 2 and 3 letters, trained until networks are right on about two thirds of the prompts. On
#   networks that are always right, or never, the two ways to judge could hardly disagree.

# %%
small = {
    "members": 16, "width": 32, "layers": 2, "heads": 1, "networks": {"attention only": 0, "full block": 64},
    "settings": {"alphabet": 12, "lengths": [[5, 1], [6, 1]]}, "batch": 8, "updates": 24, "compared": 12,
    "learning_rate": 1e-3, "epsilon": 1e-6, "decoded_settings": {"alphabet": 12, "lengths": [[2, 1], [3, 1]]},
    "decoded_length": 3, "decoded_updates": 300, "decoded_rate": 1e-2, "prompts": 100,
}  # fmt: skip
large = {"members": 64, "width": 64, "heads": 4, "networks": {"attention only": 0, "full block": 256}}
scale = study.scale(quick=small, gpu={**small, **large}, paper={**small, **large, "layers": 4})

# %% [markdown]
# ## The experiment
#
# The same members, seven times: together, alone, in chunks, reversed, and by the two other programs. Then a population
# that has half learned its task, decoded in both ways.

# %%
points = engine_points(scale, study.seed, study.device)
results = sweep(train_by_way, points, device=study.device, label="training the same networks")
decoded = decoded_point(scale, study.seed)
(half_trained,) = sweep(prompt_population, [decoded], device=study.device, label="training for decoding")
rows = [engine_rows(list(scale.networks), points, results), decoded_rows(decoded, half_trained)]
runs = study.runs(pd.concat(rows, ignore_index=True))

# %% [markdown]
# ## Differences from the population

# %%
differences_figure, ways_table, decoding_table, decisions = population_engine.REPORT
differences_figure(study, runs)

# %%
ways_table(study, runs)

# %% [markdown]
# ## Teacher forcing against greedy decoding

# %%
decoding_table(study, runs)

# %%
decisions(study, runs)

# %% tags=["nbval-check-output"]
study.print_checks()

# %% [markdown]
# ## The verdict
#
# How to read the possible outcomes:
#
# - *Exactly equal* fails with a difference near $10^{-7}$: some kernel rounds by the size of the population. Results
#   would still be right, but a run could not be repeated alone, and chunks that follow the free memory would change
#   them.
# - *Exactly equal* fails with a large difference: members share something that they should not, such as a draw of data
#   or the norm of the gradient. No statement over seeds could be trusted.
# - *Equal up to rounding* fails with a difference that grows from update to update: rounding, enlarged by training. A
#   large one at the first update means two different networks, one from the second update on two different optimisers.
# - A disagreement between teacher forcing and decoding would be a tie of two tokens, or a mistake in one of the two.
#
# **Speed** is not measured here, because seconds depend on the machine and its load. The benchmarks under
# `figures/bench` compare one update of a population with a loop over modules, side by side in one process; on one core
# the gain is largest for many small networks with small batches, and gone where a single network fills the processor.
#
# **What differs from the paper.** How its runs were trained is not known. That a population is trained together changes
# nothing about a run, which is what this notebook shows.

# %% [markdown]
# ## Explore
#
# Train a population of another size for a few updates: how far is its first member from the same network trained alone?

# %%
def first_member(members: int, updates: int):
    """Losses of one network trained alone and as the first of a population"""
    return two_curves(*alone_and_together(points[0], members, updates))


explore(first_member, members=(2, 24), updates=(4, 24))

# %% [markdown]
# ## References
#
# - R. Zhao, T. Qin, D. Alvarez-Melis, S. Kakade, N. Saphra, arXiv 2502.17356 (2025): the paper.
# - I. Loshchilov, F. Hutter, *Decoupled weight decay regularization*, ICLR 2019: AdamW.
# - R. Pascanu, T. Mikolov, Y. Bengio, *On the difficulty of training recurrent neural networks*, ICML 2013: clipping
#   the gradient by its norm.

# %%
study.done(seeds=range(scale.members))
