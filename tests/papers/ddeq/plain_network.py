"""F of one member from torch's own modules, without anything that is clever: an oracle, and a peer in benchmarks."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from twelvefold.papers.ddeq.network import NetworkConfig


class PlainNetwork(nn.Module):
    """Maps particles `[B, N, d]` and clouds `[B, M, d_x]` to particles, following section 3 of the paper's description.

    The branch of the clouds is part of every call. `weights` are those of `draw_network`, stacked for one member.
    """

    def __init__(self, config: NetworkConfig, weights: Mapping[str, Tensor]) -> None:
        super().__init__()
        self.config = config
        own = {name: weight[0] for name, weight in weights.items()}
        self.bilinear = nn.Parameter(own["bilinear.weight"].clone())
        self.bias = nn.Parameter(own["bilinear.bias"].clone())
        self.parts = nn.ModuleDict()
        for name in sorted({name.rsplit(".", 1)[0] for name in own if not name.startswith("bilinear.")}):
            kinds = ("weight", "bias", "scale", "shift")
            part = {kind: own[f"{name}.{kind}"] for kind in kinds if f"{name}.{kind}" in own}
            if "scale" in part:
                self._add(name, _norm(part))
            elif not (".self." in name or name.startswith("cross.")) or ".feedforward" in name:
                self._add(name, _linear(part))
            elif name.endswith(".in"):
                self._add(name, _attention(config, part, own, name.removesuffix(".in")))
        self._add("bilinear.norm", _norm({kind: own[f"bilinear.norm.{kind}"] for kind in ("scale", "shift")}))

    def _add(self, name: str, part: nn.Module) -> None:
        self.parts[name.replace(".", "/")] = part

    def _at(self, name: str, x: Tensor) -> Tensor:
        mapped: Tensor = self.parts[name.replace(".", "/")](x)
        return mapped

    def _two(self, name: str, x: Tensor) -> Tensor:
        return self._at(f"{name}.out", self._at(f"{name}.in", x).relu())

    def _block(self, name: str, x: Tensor) -> Tensor:
        return self._at(f"{name}.norm", x + self._two(name, x))

    def _layer(self, name: str, target: Tensor, source: Tensor, padding: Tensor | None) -> Tensor:
        mixed, _ = self.parts[f"{name}.in".replace(".", "/")](
            target, source, source, key_padding_mask=padding, need_weights=False
        )
        return self._block(f"{name}.feedforward", self._at(f"{name}.norm", target + mixed))

    def forward(self, z: Tensor, x: Tensor, mask: Tensor | None = None) -> Tensor:
        padding = None if mask is None else ~mask
        first_z, first_x = (self._at(f"{side}.first.norm", self._two(f"{side}.first", part))
                            for side, part in (("z", z), ("x", x)))  # fmt: skip
        there = first_x if mask is None else first_x * mask[..., None]
        pooled = there.sum(1)
        if self.config.pooling == "mean":
            pooled = pooled / (x.shape[1] if mask is None else mask.sum(1, keepdim=True))
        mapped = torch.einsum("bnp,phd,bd->bnh", first_z, self.bilinear, pooled) + self.bias
        second = self._at("z.second.norm", first_z + self._at("bilinear.norm", mapped).relu())
        third_z = self._at("z.fourth.norm", self._at("z.third.norm", self._two("z.third", second)) + z)
        third_x = self._at("x.third.norm", self._two("x.third", first_x))
        for layer in range(self.config.self_layers):
            third_x = self._layer(f"x.self.{layer}", third_x, third_x, padding)
            third_z = self._layer(f"z.self.{layer}", third_z, third_z, None)
        for layer in range(self.config.cross_layers):
            third_z = self._layer(f"cross.{layer}", third_z, third_x, padding)
        return self._block("out", third_z)


def _linear(part: Mapping[str, Tensor]) -> nn.Linear:
    weight = part["weight"]
    layer = nn.Linear(*weight.shape, dtype=weight.dtype)
    with torch.no_grad():
        layer.weight.copy_(weight.T)
        layer.bias.copy_(part["bias"])
    return layer


def _norm(part: Mapping[str, Tensor]) -> nn.LayerNorm:
    layer = nn.LayerNorm(part["scale"].shape[0], dtype=part["scale"].dtype)
    with torch.no_grad():
        layer.weight.copy_(part["scale"])
        layer.bias.copy_(part["shift"])
    return layer


def _attention(
    config: NetworkConfig, part: Mapping[str, Tensor], own: Mapping[str, Tensor], name: str
) -> nn.MultiheadAttention:
    layer = nn.MultiheadAttention(config.width, config.heads, batch_first=True, dtype=part["weight"].dtype)
    with torch.no_grad():
        layer.in_proj_weight.copy_(part["weight"].T)
        layer.in_proj_bias.copy_(part["bias"])
        layer.out_proj.weight.copy_(own[f"{name}.mix.weight"].T)
        layer.out_proj.bias.copy_(own[f"{name}.mix.bias"])
    return layer
