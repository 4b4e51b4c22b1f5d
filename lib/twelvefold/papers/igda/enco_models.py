"""Networks for the distribution of each categorical variable given any subset of the others, for P draws of data at
once, and the draws that train them.

Variable j of draw p has its own network. Its input are the other variables one-hot, those that are no parents set to 0;
its output are logits of the C categories of j:

    z_0 = b_0 + sum_i m_ij W_0[i, x_i],   z_l = b_l + W_l leaky_relu(z_(l-1)),   log p(x_j | ...) = log_softmax(z_L).

All P n networks are stacked, so that a layer is one batched product. Sources: Lippe, Cohen and Gavves (2022),
"Efficient Neural Causal Discovery without Acyclicity Constraints" (ENCO; arXiv 2107.10483), section 3.2.

What is drawn is a function of (key of the data draw, stream, step, element) alone: no generator has a state, so a data
draw sees the same numbers alone, among others, on every device and after a pause.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from twelvefold.nn.counter_random import mix
from twelvefold.nn.functional_population import EVALUATION_BYTES
from twelvefold.nn.stacked import linear

SLOPE = 0.1  # of leaky ReLU below 0, as in ENCO
_STREAM, _STEP, _ELEMENT = -0x61C8864680B583EB, 0x5851F42D4C957F2D, -0x2E66CA1A97D4AD0B  # odd: steps never collide
_FORBIDDEN = -1e9  # logit of a category that a variable does not have


def draw_keys(generator: torch.Generator, draws: int) -> Tensor:
    """Keys `[P]`, int64, on the CPU; the p-th is what the generator gives after p earlier ones."""
    return torch.randint(-(2**63), 2**63 - 1, (draws,), generator=generator)


def uniforms(keys: Tensor, stream: int, step: int | Tensor, elements: int) -> Tensor:
    """Uniform draws in [0, 1) `[P, elements]`, float32, for keys `[P]`, a stream and a step (or one per key, `[P]`)."""
    stream_at, step_at = (torch.as_tensor(x, dtype=torch.int64, device=keys.device) + 1 for x in (stream, step))
    starts = mix(mix(keys + stream_at * _STREAM) + step_at * _STEP)  # [P]; products wrap, as they should
    counters = torch.arange(1, -(-elements // 2) + 1, device=keys.device).mul_(_ELEMENT)
    lanes = mix(starts[:, None] + counters).view(torch.int32)[:, :elements]  # 32 bits each
    return (lanes >> 8).float().add_(2.0**23).mul_(2.0**-24)  # 24 bits, all of float32


@dataclass(frozen=True)
class Architecture:
    """Sizes of the networks.

    Attributes:
        draws: P. categories: of each of the n variables. hidden: widths of the hidden layers.
    """

    draws: int
    categories: tuple[int, ...]
    hidden: tuple[int, ...]

    @property
    def variables(self) -> int:
        """n."""
        return len(self.categories)

    @property
    def most(self) -> int:
        """C, the largest number of categories."""
        return max(self.categories)

    @property
    def widths(self) -> tuple[int, ...]:
        """Width of the input n C, of each hidden layer, and of the output C."""
        return (self.variables * self.most, *self.hidden, self.most)

    @property
    def scales(self) -> tuple[float, ...]:
        """Half widths of the uniform distributions of initial matrices: variance 4 / n first, then 2 / width (ENCO)."""
        deviations = (2 / math.sqrt(self.variables), *(math.sqrt(2 / width) for width in self.hidden))
        return tuple(math.sqrt(3) * deviation for deviation in deviations)


class Data(NamedTuple):
    """P draws of rows of n categorical variables.

    Attributes:
        rows: `[P, n M + N, n]`, int64: M rows with variable 0 set at random, ..., M with n - 1, then N observed rows.
        counts: rows that are there of each kind `[P, n + 1]`; of M those beyond are never read.
        capacity: M. categories: number of categories of each variable.
    """

    rows: Tensor
    counts: Tensor
    capacity: int
    categories: tuple[int, ...]

    @property
    def observations(self) -> Tensor:
        """Observed rows `[P, N, n]`."""
        return self.rows[:, len(self.categories) * self.capacity :]


def checked_data(
    observations: Tensor, interventions: Tensor, categories: Tensor | Sequence[int], counts: Tensor | None = None
) -> Data:  # fmt: skip
    """Data from observed rows `[P, N, n]` and interventional `[P, n, M, n]`; arguments and errors as `enco.fit`."""
    if observations.ndim != 3 or min(observations.shape) < 1 or observations.shape[2] < 2:
        raise ValueError(f"observations has shape {tuple(observations.shape)}; [draws, rows, variables] with at least "
                         "one draw, one row and two variables is needed")  # fmt: skip
    draws, observed, n = observations.shape
    if interventions.ndim != 4 or (*interventions.shape[:2], interventions.shape[3]) != (draws, n, n):
        raise ValueError(f"interventions has shape {tuple(interventions.shape)}; {(draws, n, 'rows', n)} is needed")
    sizes = torch.as_tensor(categories)
    if tuple(sizes.shape) != (n,) or sizes.dtype != torch.int64 or int(sizes.min()) < 2:
        raise ValueError(f"categories = {sizes.tolist()}; {n} whole numbers of at least 2 are needed")
    for name, rows in (("observations", observations), ("interventions", interventions)):
        if rows.dtype != torch.int64:
            raise ValueError(f"{name} is {rows.dtype}; int64 is needed")
        if bool(((rows < 0) | (rows >= sizes.to(rows.device))).any()):
            raise ValueError(f"{name} holds a category out of range; from 0 to below {sizes.tolist()} is needed")
    most = interventions.shape[2]
    counts = torch.full((draws, n), most, device=observations.device) if counts is None else counts
    if tuple(counts.shape) != (draws, n) or bool(((counts < 0) | (counts > most)).any()):
        raise ValueError(f"counts has shape {tuple(counts.shape)}; {(draws, n)} numbers from 0 to {most} are needed")
    all_counts = torch.cat([counts.long(), torch.full_like(counts[:, :1], observed, dtype=torch.int64)], 1)
    return Data(torch.cat([interventions.flatten(1, 2), observations], 1), all_counts, most, tuple(sizes.tolist()))


def rows_of(data: Data, target: Tensor, drawn: Tensor) -> Tensor:
    """Rows `[P, B, n]` with the targets `[P]` set at random (n: observed rows), drawn with replacement by the uniform
    numbers `[P, B]`."""
    count = data.counts.gather(1, target[:, None])
    place = target[:, None] * data.capacity + (drawn.double() * count).long()  # [P, B]
    return data.rows.gather(1, place[:, :, None].expand(-1, -1, data.rows.shape[2]))


class Networks(NamedTuple):
    """P n networks.

    Attributes:
        architecture: their sizes.
        flat: all matrices and biases in one vector, float32, layer by layer.
    """

    architecture: Architecture
    flat: Tensor

    @property
    def weights(self) -> dict[str, Tensor]:
        """Views "l.weight" `[P n, d_in, d_out]` and "l.bias" `[P n, d_out]` of layers l = 0, 1, ...; logits of
        categories that a variable does not have are moved to minus infinity."""
        sizes = self.architecture
        count, widths, found, start = sizes.draws * sizes.variables, sizes.widths, {}, 0
        for layer, (width, out) in enumerate(zip(widths, widths[1:], strict=False)):
            for name, shape in (("weight", (count, width, out)), ("bias", (count, out))):
                found[f"{layer}.{name}"] = self.flat[start : start + math.prod(shape)].view(shape)
                start += math.prod(shape)
        last = f"{len(sizes.hidden)}.bias"
        found[last] = found[last] + _forbidden(sizes, self.flat.device).repeat(sizes.draws, 1)
        return found


def _forbidden(sizes: Architecture, device: torch.device) -> Tensor:
    """0 for each category of a variable and a huge negative number beyond, `[n, C]`."""
    categories = torch.tensor(sizes.categories, device=device)
    return _FORBIDDEN * (torch.arange(sizes.most, device=device) >= categories[:, None]).float()


def draw_networks(sizes: Architecture, keys: Tensor, stream: int) -> Networks:
    """Initial networks: uniform matrices and no biases, each data draw from its own key `[P]`."""
    n, widths, parts = sizes.variables, sizes.widths, []
    for layer, (width, out, scale) in enumerate(zip(widths, widths[1:], sizes.scales, strict=False)):
        drawn = uniforms(keys, stream, layer, n * width * out)
        parts += [(2 * drawn - 1).flatten() * scale, torch.zeros(sizes.draws * n * out, device=keys.device)]
    return Networks(sizes, torch.cat(parts))


def logits_of_rows(networks: Networks, rows: Tensor, masks: Tensor) -> Tensor:
    """Logits `[P, n, B, C]` of every variable in every row when each row has a graph of its own.

    Args:
        rows: categories `[P, B, n]`, int64. masks: 1 where i is a parent of j `[P, B, n, n]`, float32.
    """
    sizes = networks.architecture
    shown = F.one_hot(rows, sizes.most).float()  # [P, B, i, C]
    inputs = shown[:, None] * masks.permute(0, 3, 1, 2)[..., None]  # [P, j, B, i, C]
    hidden, weights = inputs.reshape(-1, rows.shape[1], sizes.widths[0]), networks.weights
    for layer in range(len(sizes.hidden)):
        hidden = F.leaky_relu(linear(weights, str(layer), hidden), SLOPE)
    logits = linear(weights, str(len(sizes.hidden)), hidden)
    return logits.view(sizes.draws, sizes.variables, rows.shape[1], sizes.most)


def losses_of_rows(networks: Networks, rows: Tensor, masks: Tensor) -> Tensor:
    """Negative log-likelihood `[P, n, B]` of every variable in every row, in nats; arguments as `logits_of_rows`."""
    logits = logits_of_rows(networks, rows, masks).log_softmax(-1)
    return -logits.gather(-1, rows.transpose(1, 2)[..., None])[..., 0]


@torch.no_grad()
def losses_of_graphs(networks: Networks, rows: Tensor, graphs: Tensor) -> Tensor:
    """Mean over rows of the negative log-likelihood of every variable under each of K graphs `[P, K, n]`, in nats.

    Args:
        rows: categories `[P, B, n]`, int64. graphs: 1 where i is a parent of j `[P, K, n, n]`, float32.
    """
    sizes = networks.architecture
    (draws, batch, n), count = rows.shape, graphs.shape[1]
    parents = graphs.permute(0, 3, 1, 2).contiguous()  # [P, j, K, i]
    parents.diagonal(dim1=1, dim2=3).fill_(1.0)  # no variable is its own parent: that place is taken by the bias
    parents = parents.view(draws * n, count, n)
    places = rows.transpose(1, 2) + torch.arange(n, device=rows.device)[:, None] * sizes.most  # [P, i, B]
    networks_at = torch.arange(draws * n, device=rows.device).view(draws, n, 1, 1) * sizes.widths[0]
    places = (networks_at + places[:, None]).reshape(draws * n, n * batch)
    targets = rows.transpose(1, 2).reshape(draws * n, 1, batch)
    weights, results = networks.weights, []
    terms = weights["0.weight"].clone()  # W_0[i, x_i] [P j, i C, h]
    own = terms.view(draws, n, n, sizes.most, -1).diagonal(dim1=1, dim2=2)  # [P, C, h, j]
    own.copy_(weights["0.bias"].view(draws, n, -1).transpose(1, 2)[:, None])
    # whole networks are cut, never the graphs of one: each product has the same shape however many draws there are
    one = 4 * count * batch * max(*sizes.hidden, sizes.most)
    chunk = max(1, EVALUATION_BYTES.get(rows.device.type, EVALUATION_BYTES["cpu"]) // one)
    for first in range(0, draws * n, chunk):
        cut = slice(first, first + chunk)
        part = {name: weight[cut] for name, weight in weights.items()}
        shown = terms.flatten(0, 1)[places[cut].flatten()].view(-1, n, batch * sizes.hidden[0])
        results.append(_losses(part, shown, parents[cut], targets[cut]))
    return torch.cat(results).view(draws, n, count).transpose(1, 2)


def _losses(weights: dict[str, Tensor], shown: Tensor, parents: Tensor, targets: Tensor) -> Tensor:
    """Losses `[c, K]` of c networks: first-layer terms `[c, i, B h]`, parents `[c, K, i]`, categories `[c, 1, B]`."""
    (networks, count, _), batch = parents.shape, targets.shape[-1]
    # b_0 + sum_i m_ij W_0[i, x_i] for all graphs and rows: [c, K, i] x [c, i, B h]
    hidden = F.leaky_relu_(parents @ shown, SLOPE).view(networks, count * batch, -1)
    last = len(weights) // 2 - 1
    for layer in range(1, last):
        hidden = F.leaky_relu_(linear(weights, str(layer), hidden), SLOPE)
    logits = weights[f"{last}.weight"].transpose(1, 2) @ hidden.transpose(1, 2)  # [c, C, K B]
    logits = (logits + weights[f"{last}.bias"][:, :, None]).view(networks, -1, count, batch)
    chosen = logits.gather(1, targets[:, :, None].expand(-1, -1, count, -1))[:, 0]  # [c, K, B]
    return (logits.logsumexp(1) - chosen).mean(-1)


class Moments(NamedTuple):
    """Running averages of Adam and the number of steps that went into them, per entry or one for all."""

    first: Tensor
    second: Tensor
    steps: Tensor


def no_moments(value: Tensor, counted: Tensor) -> Moments:
    """Moments before the first step; steps are counted in a tensor like `counted`."""
    return Moments(torch.zeros_like(value), torch.zeros_like(value), torch.zeros_like(counted))


def adam(
    value: Tensor, gradient: Tensor, moments: Moments, moved: Tensor, rate: float, decays: tuple[float, float]
) -> tuple[Tensor, Moments]:  # fmt: skip
    """One step of Adam (Kingma and Ba 2015) for the entries that are `moved` (bool); others stay, and so do their
    moments, as ENCO does for theta."""
    count = moments.steps + moved
    first = torch.where(moved, moments.first.lerp(gradient, 1 - decays[0]), moments.first)
    second = torch.where(moved, moments.second.lerp(gradient.square(), 1 - decays[1]), moments.second)
    scale = (second / (1 - decays[1] ** count)).sqrt() + 1e-8
    step = rate * first / (1 - decays[0] ** count) / scale  # 0 / 0 where nothing ever moved
    return torch.where(moved, value - step, value), Moments(first, second, count)


def train(
    networks: Networks, moments: Moments, observations: Tensor, probabilities: Tensor, keys: Tensor, stream: int,
    steps: range, batch: int, rate: float,
) -> tuple[Networks, Moments]:  # fmt: skip
    """Train the networks on observed rows, each under a graph of its own: ENCO's distribution fitting.

    Args:
        networks: P n of them. moments: of Adam. observations: `[P, N, n]`. probabilities: of each edge `[P, n, n]`.
        keys, stream: of the draws of rows and graphs. steps: their numbers. batch: rows per step. rate: of Adam.
    """
    (count, rows, n), flat = observations.shape, networks.flat
    all_move = torch.ones(1, dtype=torch.bool, device=flat.device)
    for step in steps:
        drawn = uniforms(keys, stream, step, batch * (1 + n * n))
        place = (drawn[:, :batch].double() * rows).long()
        chosen = observations.gather(1, place[:, :, None].expand(-1, -1, n))
        masks = (drawn[:, batch:].view(count, batch, n, n) < probabilities[:, None]).float()
        flat = flat.detach().requires_grad_()
        loss = losses_of_rows(Networks(networks.architecture, flat), chosen, masks).mean((1, 2)).sum()
        (slope,) = torch.autograd.grad(loss, flat)
        flat, moments = adam(flat.detach(), slope, moments, all_move, rate, (0.9, 0.999))
    return Networks(networks.architecture, flat), moments
