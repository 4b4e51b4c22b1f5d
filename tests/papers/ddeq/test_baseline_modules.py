"""The baselines against the same networks written with torch.nn modules, one cloud or one member at a time."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from twelvefold.core.seeds import torch_generator
from twelvefold.nn.batch_norm import Recorder
from twelvefold.nn.stacked import stack
from twelvefold.papers.ddeq.baselines import deepsets, pcn, point_transformer, pointnet

Weights = dict[str, Tensor]


def drawn(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch_generator(10_000, len(shape), "clouds"))


def shaken(member: Weights) -> Weights:
    """Weights of one member as a population, moved away from ones and zeros."""
    generator = torch_generator(10_000, 0, "shake")
    return stack([{name: weight + 0.1 * torch.randn(weight.shape, generator=generator)
                   for name, weight in member.items()}])  # fmt: skip


def linear(weights: Weights, name: str) -> nn.Linear:
    matrix, bias = weights[f"{name}.weight"][0], weights.get(f"{name}.bias")
    layer = nn.Linear(matrix.shape[0], matrix.shape[1], bias=bias is not None)
    layer.weight.data = matrix.T
    if bias is not None:
        layer.bias.data = bias[0]
    return layer


class Norm(nn.BatchNorm1d):
    """BatchNorm1d over the last axis, that keeps the moments of the last batch."""

    def __init__(self, weights: Weights, name: str) -> None:
        super().__init__(weights[f"{name}.scale"].shape[1], momentum=1.0)
        self.weight.data, self.bias.data = weights[f"{name}.scale"][0], weights[f"{name}.shift"][0]

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.reshape(-1, x.shape[-1])).view(x.shape)


def layers(weights: Weights, *names: str) -> nn.Sequential:
    parts: list[nn.Module] = []
    for name in names:
        parts += [linear(weights, name), Norm(weights, name), nn.ReLU()]
    return nn.Sequential(*parts)


class Transform(nn.Module):
    def __init__(self, weights: Weights, name: str) -> None:
        super().__init__()
        self.points = layers(weights, f"{name}.points.0", f"{name}.points.1", f"{name}.points.2")
        self.head = layers(weights, f"{name}.head.0", f"{name}.head.1")
        self.out = linear(weights, f"{name}.out")

    def forward(self, x: Tensor) -> Tensor:
        matrix = self.out(self.head(self.points(x).max(1).values)).view(len(x), x.shape[2], x.shape[2])
        return torch.bmm(x, matrix + torch.eye(x.shape[2]))


class PointNetModule(nn.Module):
    def __init__(self, weights: Weights, feature_transform: bool) -> None:
        super().__init__()
        self.transform = Transform(weights, "transform")
        self.feature_transform = Transform(weights, "feature_transform") if feature_transform else nn.Identity()
        self.first, self.others = layers(weights, "points.0"), layers(weights, "points.1", "points.2")
        self.head, self.logits = layers(weights, "head.0", "head.1"), linear(weights, "logits")

    def forward(self, x: Tensor) -> Tensor:
        x = self.others(self.feature_transform(self.first(self.transform(x))))
        return self.logits(self.head(x.max(1).values))


class PCNModule(nn.Module):
    """Concatenates where the library splits the matrix."""

    def __init__(self, weights: Weights, grid: Tensor) -> None:
        super().__init__()
        self.grid = grid
        self.first = nn.Sequential(layers(weights, "points.in"), linear(weights, "points.out"))
        self.second = nn.Sequential(layers(weights, "shared.in"), linear(weights, "shared.out"))
        self.decoder = nn.Sequential(linear(weights, "decoder.0"), nn.ReLU(), linear(weights, "decoder.1"), nn.ReLU(),
                                     linear(weights, "decoder.2"))  # fmt: skip
        self.fold = nn.Sequential(layers(weights, "folding.0", "folding.1"), linear(weights, "folding.out"))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        x = self.first(x)
        x = self.second(torch.cat([x.max(1, keepdim=True).values.expand_as(x), x], 2))
        code = x.max(1).values
        coarse = self.decoder(code).view(len(x), -1, 3)
        centre = coarse.repeat_interleave(len(self.grid), 1)  # [B, S C, 3]
        grid = self.grid.repeat(coarse.shape[1], 1).expand(len(x), -1, -1)
        code = code[:, None].expand(-1, centre.shape[1], -1)
        return coarse, centre + self.fold(torch.cat([code, centre, grid], 2))


class Block(nn.Module):
    def __init__(self, weights: Weights, name: str, k: int) -> None:
        super().__init__()
        self.k = k
        self.first, self.last = layers(weights, f"{name}.in"), layers(weights, f"{name}.out")
        self.query, self.key, self.value = (linear(weights, f"{name}.{part}") for part in ("query", "key", "value"))
        self.position = nn.Sequential(layers(weights, f"{name}.position.in"), linear(weights, f"{name}.position.out"))
        self.weight = nn.Sequential(Norm(weights, f"{name}.attention.norm"), nn.ReLU(),
                                    layers(weights, f"{name}.attention.in"),
                                    linear(weights, f"{name}.attention.out"))  # fmt: skip
        self.attended = Norm(weights, f"{name}.attended")

    def forward(self, p: Tensor, x: Tensor) -> Tensor:
        near = nearest(p, p, self.k)
        y = self.first(x)
        delta = self.position(p[:, :, None] - at(p, near))
        attention = F.softmax(self.weight(self.query(y)[:, :, None] - at(self.key(y), near) + delta), 2)
        y = (attention * (at(self.value(y), near) + delta)).sum(2)
        return F.relu(x + self.last(F.relu(self.attended(y))))


class PointTransformerModule(nn.Module):
    def __init__(self, weights: Weights, config: point_transformer.PointTransformer) -> None:
        super().__init__()
        self.config, stages = config, range(len(config.channels))
        self.input = layers(weights, "input.0", "input.1")
        self.blocks = nn.ModuleList(Block(weights, f"{stage}", config.neighbours) for stage in stages)
        self.down = nn.ModuleList(layers(weights, f"{stage}.down.0", f"{stage}.down.1") for stage in stages[1:])
        self.head = nn.Sequential(layers(weights, "head"), linear(weights, "logits"))

    def forward(self, p: Tensor) -> Tensor:
        x = self.blocks[0](p, self.input(p))
        for stage, stride in enumerate(self.config.strides[1:], 1):
            kept = torch.stack([torch.tensor(farthest(cloud.numpy(), len(cloud) // stride)) for cloud in p])
            fewer = at(p, kept)
            near = nearest(fewer, p, self.config.neighbours)
            x = torch.cat([at(p, near) - fewer[:, :, None], at(x, near)], 3)
            p, x = fewer, self.down[stage - 1](x).max(2).values
            x = self.blocks[stage](p, x)
        return self.head(x.mean(1))


def nearest(queries: Tensor, points: Tensor, k: int) -> Tensor:
    return torch.stack([((q[:, None] - p) ** 2).sum(2).argsort(1)[:, :k] for q, p in zip(queries, points, strict=True)])


def at(values: Tensor, positions: Tensor) -> Tensor:
    return torch.stack([value[position] for value, position in zip(values, positions, strict=True)])


def farthest(cloud: np.ndarray, size: int) -> list[int]:
    """Farthest point sampling, with all distances computed anew at every step."""
    taken = [0]
    while len(taken) < size:
        rest = [i for i in range(len(cloud)) if i not in taken]
        taken.append(max(rest, key=lambda i: np.linalg.norm(cloud[i] - cloud[taken], axis=1).min()))
    return taken


def same_in_both_modes(ours: object, module: nn.Module, x: Tensor) -> None:
    """Training with the batch's moments; then evaluation with those moments, on other clouds."""
    assert callable(ours)
    recorder, other = Recorder(), x.flip(1)[1:] * 1.3
    torch.testing.assert_close(ours(x[None], recorder), module(x), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(ours(other[None], recorder.moments), module.eval()(other), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("feature_transform", [False, True])
def test_pointnet(feature_transform: bool) -> None:
    config = pointnet.PointNet(3, 4, (6, 7, 9), (8, 6), transform_head=(7, 5), feature_transform=feature_transform)
    weights = shaken(pointnet.draw(config, torch_generator(10_000, 0, "weights")))
    same_in_both_modes(lambda x, moments: pointnet.classify(config, weights, x, None, moments)[0],
                       PointNetModule(weights, feature_transform), drawn(5, 11, 3))  # fmt: skip


def test_pointnet_starts_without_a_transform() -> None:
    config = pointnet.PointNet(3, 4, (6, 7, 9), (8, 6), transform_head=(7, 5))
    weights = stack([pointnet.draw(config, torch_generator(10_000, 0, "weights"))])
    module = PointNetModule(weights, False)
    module.transform = nn.Identity()  # type: ignore[assignment]
    x = drawn(5, 11, 3)
    torch.testing.assert_close(pointnet.classify(config, weights, x[None], None, Recorder())[0], module(x))


def test_completion() -> None:
    config = pcn.PCN(3, dense=36, latent=9, point_widths=(5, 6), shared_width=7, decoder=(8, 7), folding=(6, 5), grid=3)
    weights = shaken(pcn.draw(config, torch_generator(10_000, 0, "weights")))
    side = (-0.05, 0.0, 0.05)
    module = PCNModule(weights, torch.tensor([(a, b) for b in side for a in side]))

    def ours(x: Tensor, moments: Recorder) -> tuple[Tensor, Tensor]:
        coarse, fine = pcn.complete(config, weights, x, None, moments)
        assert coarse.shape[2:] == (4, 3) and fine.shape[2:] == (36, 3)
        return coarse[0], fine[0]

    same_in_both_modes(ours, module, drawn(5, 11, 3))


def test_block_of_the_point_transformer() -> None:
    weights = shaken(point_transformer.draw_block("b", 3, 6, torch_generator(10_000, 0, "weights")))
    config = point_transformer.PointTransformer(3, 4, channels=(6,), strides=(1,), neighbours=4)
    p, x = drawn(5, 11, 3), drawn(1, 5, 11, 6)[0].relu()
    (level,) = point_transformer.levels(config, p[None], None)
    recorder, module = Recorder(), Block(weights, "b", 4)
    y = point_transformer.block(weights, "b", level, x[None], recorder)[0]
    torch.testing.assert_close(y, module(p, x), rtol=1e-5, atol=1e-5)
    y = point_transformer.block(weights, "b", level, 2 * x[None], recorder.moments)[0]
    torch.testing.assert_close(y, module.eval()(p, 2 * x), rtol=1e-5, atol=1e-5)


def test_whole_point_transformer() -> None:
    config = point_transformer.PointTransformer(3, 4, channels=(5, 6, 7), strides=(1, 2, 3), neighbours=4, head=6)
    weights = shaken(point_transformer.draw(config, torch_generator(10_000, 0, "weights")))
    same_in_both_modes(lambda x, moments: point_transformer.classify(config, weights, x, None, moments)[0],
                       PointTransformerModule(weights, config), drawn(5, 14, 3))  # fmt: skip


@pytest.mark.parametrize("pooling", ["mean", "sum", "max"])
def test_deepsets(pooling: deepsets.Pooling) -> None:
    config = deepsets.DeepSets(3, 4, (6, 7), (5,), pooling)
    weights = shaken(deepsets.draw(config, torch_generator(10_000, 0, "weights")))
    phi = nn.Sequential(linear(weights, "points.0"), nn.ReLU(), linear(weights, "points.1"), nn.ReLU())
    rho = nn.Sequential(linear(weights, "head.0"), nn.ReLU(), linear(weights, "head.1"))
    x, mask = drawn(3, 6, 3), torch.arange(6) < torch.tensor([6, 4, 1])[:, None]
    pools = {"mean": lambda t: t.mean(0), "sum": lambda t: t.sum(0), "max": lambda t: t.max(0).values}
    expected = torch.stack([rho(pools[pooling](phi(cloud[valid]))) for cloud, valid in zip(x, mask, strict=True)])
    torch.testing.assert_close(deepsets.classify(config, weights, x[None], mask[None])[0], expected)


def flat(values: Tensor | None, number: int) -> np.ndarray:
    """The values of one cloud of a batch `[P, B, ...]`."""
    assert values is not None
    return values.flatten(0, 1)[number].numpy()


def test_samples_and_neighbours_are_valid_points() -> None:
    config = point_transformer.PointTransformer(2, 3, channels=(4, 4, 4), strides=(1, 4, 2), neighbours=5)
    x, mask = drawn(2, 3, 13, 2), torch.rand(2, 3, 13, generator=torch_generator(10_000, 0, "mask")) < 0.6
    mask[0, 0], mask[1, 1] = True, torch.arange(13) == 7
    found = point_transformer.levels(config, x.masked_fill(~mask[..., None], 0), mask)
    for number in range(6):
        cloud = flat(x, number)[flat(mask, number)]  # the valid points that should be in the level
        for level, stride in zip(found, (4, 2, None), strict=True):
            points, valid, neighbours, near = (flat(part, number) for part in level[:4])
            assert np.array_equal(points[valid], cloud)
            here = valid.nonzero()[0]
            for i in here:
                order = here[np.argsort(np.linalg.norm(cloud - points[i], axis=1))][:5]
                assert np.array_equal(neighbours[i][near[i]], order)
            if stride is not None:
                taken = farthest(cloud, max(1, len(cloud) // stride))
                assert np.array_equal(flat(level.kept, number)[: len(taken)], here[taken])
                cloud = cloud[taken]


def test_coinciding_points_are_taken_once_each_and_ties_go_to_the_first() -> None:
    points = torch.tensor([[0.0, 0.0], [1.0, 0.0], [1.0, 0.0], [-1.0, 0.0]])
    apart = torch.cdist(points, points)[None, None]
    assert point_transformer.farthest_points(apart, None, 4).tolist() == [[[0, 1, 3, 2]]]
    mask = torch.tensor([False, True, True, True])[None, None]
    assert point_transformer.farthest_points(apart, mask, 3).tolist() == [[[1, 3, 2]]]
