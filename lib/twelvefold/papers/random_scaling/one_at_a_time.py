"""The same transformer written a second time, from the modules of torch.nn: one network at a time, and under vmap.

Nothing here shares code with the population engine but the description of the network and of the recipe, so that equal
numbers say something. It is also the network to look into: torch's attention hands back its weights.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call, grad_and_value, vmap

from twelvefold.nn.training_recipe import Batch, Recipe
from twelvefold.nn.transformer import Weights
from twelvefold.nn.transformer_config import TransformerConfig
from twelvefold.nn.transformer_training import Batches

_IGNORED = -100  # target of a next token that does not enter the loss


class Block(nn.Module):
    """Causal self-attention and, unless `config.feedforward` is 0, a two-layer network, each behind a LayerNorm."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        d, hidden, bias = config.width, config.feedforward, config.feedforward_bias
        self.norm = nn.LayerNorm(d, config.epsilon)
        self.attention = nn.MultiheadAttention(d, config.heads, bias=config.attention_bias, batch_first=True)
        self.feedforward = nn.Sequential(
            nn.LayerNorm(d, config.epsilon), nn.Linear(d, hidden, bias), nn.GELU(), nn.Linear(hidden, d, bias)
        ) if hidden else None  # fmt: skip

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """`x [B, T, d]` after the block, and where its heads looked `[B, heads, T, T]` (query, key)."""
        normal, length = self.norm(x), x.shape[1]
        future = torch.ones(length, length, dtype=torch.bool, device=x.device).triu(1)
        # asking for the weights also avoids the fused kernel, which vmap cannot batch on a CPU
        mixed, looked = self.attention(
            normal, normal, normal, attn_mask=future, need_weights=True, average_attn_weights=False
        )
        x = x + mixed
        return (x if self.feedforward is None else x + self.feedforward(x)), looked


class CausalTransformer(nn.Module):
    """One pre-LayerNorm transformer language model.

    Args:
        config: with "pre" norm, "learned" or no positions, exact GELU, an own head, no dropout, no scaled embedding.

    Raises:
        ValueError: another kind of network.
    """

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        _check(config)
        self.embedding = nn.Embedding(config.vocabulary, config.width)
        self.positions = nn.Embedding(config.longest, config.width) if config.longest else None
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.layers))
        self.final = nn.LayerNorm(config.width, config.epsilon)
        self.head = nn.Linear(config.width, config.vocabulary, config.head_bias)

    def forward(self, tokens: Tensor, starts: Tensor | None = None) -> Tensor:
        """Logits of the next token `[B, T, V]` from ids `[B, T]` and first rows of the position table `[B]` (None:
        0)."""
        return self.look(tokens, starts)[0]

    def look(self, tokens: Tensor, starts: Tensor | None = None) -> tuple[Tensor, list[Tensor]]:
        """Logits `[B, T, V]`, and per layer where its heads look `[B, heads, T, T]`."""
        x, maps = self.embedding(tokens), []
        if self.positions is not None:
            first = torch.zeros_like(tokens[:, :1]) if starts is None else starts[:, None]
            x = x + self.positions(first + torch.arange(tokens.shape[1], device=tokens.device))
        for block in self.blocks:
            x, looked = block(x)
            maps.append(looked)
        return self.head(self.final(x)), maps


def _check(config: TransformerConfig) -> None:
    needed = {"norm": "pre", "activation": "gelu", "tied_head": False, "scaled_embedding": False, "dropout": 0.0}
    for name, value in needed.items():
        if getattr(config, name) != value:
            raise ValueError(f"{name} = {getattr(config, name)!r}; only {value!r} is built here")
    if config.positions not in ("learned", "none"):
        raise ValueError(f"positions = {config.positions!r}; only 'learned' and 'none' are built here")


def _torch_name(name: str) -> str:
    """The name in `CausalTransformer` of a weight of the population."""
    if name in ("embedding", "positions"):
        return f"{name}.weight"
    for end, torch_end in ((".scale", ".weight"), (".shift", ".bias")):
        if name.endswith(end):
            name = name.removesuffix(end) + torch_end
    layer, _, rest = name.partition(".")
    if not layer.isdigit():
        return name
    inner = {
        "attention.norm": "norm", "attention.out": "attention.out_proj",
        "feedforward.norm": "feedforward.0", "feedforward.in": "feedforward.1", "feedforward.out": "feedforward.3",
    }  # fmt: skip
    part, _, kind = rest.rpartition(".")
    own = f"attention.in_proj_{kind}" if part == "attention.in" else f"{inner[part]}.{kind}"
    return f"blocks.{layer}.{own}"


def _turned(name: str, weight: Tensor) -> Tensor:
    """A weight in the other convention: torch's linear maps have their outputs first, `[..., d_out, d_in]`."""
    table = name in ("embedding", "positions") or not name.endswith("weight")
    return weight if table else weight.transpose(-1, -2)


def module_of(config: TransformerConfig, weights: Weights, member: int) -> CausalTransformer:
    """One member of a population as a module, with a copy of its weights.

    Args:
        config: the architecture.
        weights: `{name: [P, *shape]}`.
        member: its row, 0 to P - 1.

    Raises:
        ValueError: a kind of network that is not built here, or no such member.
    """
    members = weights["embedding"].shape[0]
    if not 0 <= member < members:
        raise ValueError(f"member = {member}; the population has the members 0 to {members - 1}")
    module = CausalTransformer(config).to(weights["embedding"].device)
    own = {_torch_name(name): _turned(name, weight[member].detach()) for name, weight in weights.items()}
    module.load_state_dict(own)
    return module


def _stacked(config: TransformerConfig, weights: Weights) -> dict[str, Tensor]:
    return {_torch_name(name): _turned(name, weights[name].detach()).clone() for name in config.shapes()}


def _as_population(config: TransformerConfig, parameters: dict[str, Tensor]) -> Weights:
    """Stacked parameters of modules under the names of the population, `{name: [P, *shape]}`, on the CPU."""
    found = {name: parameters[_torch_name(name)].detach() for name in config.shapes()}
    return {name: _turned(name, weight).contiguous().cpu() for name, weight in found.items()}


def _loss(logits: Tensor, tokens: Tensor, counted: Tensor | None) -> Tensor:
    """Mean cross-entropy of the counted next tokens, from logits `[B, T, V]` and tokens `[B, T + 1]`."""
    targets = tokens[:, 1:] if counted is None else tokens[:, 1:].masked_fill(~counted, _IGNORED)
    return F.cross_entropy(logits.flatten(0, 1), targets.flatten(), ignore_index=_IGNORED)


def _optimiser(
    recipe: Recipe, parameters: Iterable[Tensor], decayed: int
) -> tuple[torch.optim.AdamW, torch.optim.lr_scheduler.LambdaLR]:
    """AdamW whose weight decay acts on parameters of `decayed` dimensions, with linear warm-up and a cosine decay."""
    given, warmup, steps = list(parameters), recipe.warmup, recipe.steps
    groups = [{"params": [p for p in given if p.ndim == decayed], "weight_decay": recipe.weight_decay},
              {"params": [p for p in given if p.ndim != decayed], "weight_decay": 0.0}]  # fmt: skip

    def factor(step: int) -> float:
        if step < warmup:
            return (step + 1) / warmup
        return (1 + math.cos(math.pi * (step - warmup) / max(1, steps - warmup))) / 2

    optimiser = torch.optim.AdamW(groups, recipe.learning_rate, (recipe.beta1, recipe.beta2), recipe.epsilon)
    return optimiser, torch.optim.lr_scheduler.LambdaLR(optimiser, factor)


def _check_recipe(recipe: Recipe, updates: int) -> None:
    if recipe.decay != "cosine" or recipe.clip is None or recipe.precision != "float32":
        raise ValueError(f"recipe has decay = {recipe.decay!r}, clip = {recipe.clip!r}, precision = "
                         f"{recipe.precision!r}; 'cosine', a number and 'float32' are needed here")  # fmt: skip
    if not 1 <= updates <= recipe.steps:
        raise ValueError(f"updates = {updates!r}; a whole number from 1 to recipe.steps = {recipe.steps} is needed")


def train_one_by_one(
    config: TransformerConfig, recipe: Recipe, weights: Weights, batches: Batches, updates: int
) -> tuple[Tensor, Weights]:
    """Make the first updates of every member, one network after the other, each a module with an AdamW of its own.

    Args:
        config, recipe: the network (see `CausalTransformer`) and its optimisation (cosine decay, clipping, float32).
        weights: initial weights `{name: [P, *shape]}`, on the device where to train.
        batches: as in `nn.transformer_training.train`.
        updates: how many, at most `recipe.steps`.

    Returns:
        Training loss before each update `[P, updates]`, and the weights after the last one, on the CPU.

    Raises:
        ValueError: a kind of network or recipe that is not built here, or impossible updates.
    """
    _check_recipe(recipe, updates)
    assert recipe.clip is not None  # checked above
    device, modules, losses = weights["embedding"].device, [], []
    for member in range(weights["embedding"].shape[0]):
        module, own = module_of(config, weights, member), []
        optimiser, schedule = _optimiser(recipe, module.parameters(), 2)
        for step in range(updates):
            batch = _batch(batches, step, member, device)
            loss = _loss(module(batch.tokens[:, :-1], batch.starts), batch.tokens, batch.counted)
            optimiser.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(module.parameters(), recipe.clip)
            optimiser.step()
            schedule.step()
            own.append(loss.detach())
        modules.append(dict(module.named_parameters()))
        losses.append(torch.stack(own))
    stacked = {name: torch.stack([module[name] for module in modules]) for name in modules[0]}
    return torch.stack(losses).cpu(), _as_population(config, stacked)


def _batch(batches: Batches, step: int, member: int, device: torch.device) -> Batch:
    """The batch of one member, without the population's axis."""
    return batches(step, slice(member, member + 1)).to(device).each(lambda part: part[0])


def _member_gradient(module: nn.Module, limit: float) -> Callable[..., tuple[dict[str, Tensor], Tensor]]:
    """A function of one member's parameters and batch that gives its gradient, clipped to the norm, and its loss."""

    def loss_of(own: dict[str, Tensor], tokens: Tensor, counted: Tensor | None, starts: Tensor | None) -> Tensor:
        return _loss(functional_call(module, own, (tokens[:, :-1], starts)), tokens, counted)

    def clipped(
        own: dict[str, Tensor], tokens: Tensor, counted: Tensor | None, starts: Tensor | None
    ) -> tuple[dict[str, Tensor], Tensor]:
        gradient, loss = grad_and_value(loss_of)(own, tokens, counted, starts)
        norm = torch.stack([(part**2).sum() for part in gradient.values()]).sum().sqrt()
        factor = (limit / (norm + 1e-6)).clamp(max=1.0)
        return {name: part * factor for name, part in gradient.items()}, loss

    return clipped


def train_vmapped(
    config: TransformerConfig, recipe: Recipe, weights: Weights, batches: Batches, updates: int
) -> tuple[Tensor, Weights]:
    """The same by `torch.func`: the module's gradient, batched over members by vmap, and one AdamW over all of them.

    Arguments, results and errors as `train_one_by_one`.
    """
    _check_recipe(recipe, updates)
    assert recipe.clip is not None  # checked above
    members, device = weights["embedding"].shape[0], weights["embedding"].device
    parameters = _stacked(config, weights)
    optimiser, schedule = _optimiser(recipe, parameters.values(), 3)
    gradient_of = _member_gradient(CausalTransformer(config).to(device), recipe.clip)
    losses = []
    for step in range(updates):
        batch = batches(step, slice(0, members)).to(device)
        given = tuple(None if part is None else 0 for part in batch[1:])
        gradients, loss = vmap(gradient_of, in_dims=(0, 0, *given))(parameters, *batch)
        for name, parameter in parameters.items():
            parameter.grad = gradients[name]
        optimiser.step()
        schedule.step()
        losses.append(loss.detach())
    return torch.stack(losses, dim=1).cpu(), _as_population(config, parameters)
