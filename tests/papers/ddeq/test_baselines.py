"""What all baselines on point clouds have in common: sizes, invariances, padding, members, gradients, refusals."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from torch import Tensor
from twelvefold.core.seeds import torch_generator
from twelvefold.nn.batch_norm import Moments, Recorder
from twelvefold.nn.stacked import stack
from twelvefold.papers.ddeq.baselines import deepsets, pcn, point_transformer, pointnet
from twelvefold.papers.ddeq.baselines.deepsets import DeepSets
from twelvefold.papers.ddeq.baselines.pcn import PCN
from twelvefold.papers.ddeq.baselines.point_transformer import PointTransformer
from twelvefold.papers.ddeq.baselines.pointnet import PointNet

P, B, M = 3, 4, 12
TINY_PCN = PCN(2, dense=12, latent=7, point_widths=(4, 6), shared_width=5, decoder=(6, 5), folding=(6, 5), grid=2)
TINY_POINTNET = PointNet(2, 3, widths=(4, 6, 8), head=(7, 5), transform_head=(6, 5))
TINY_TRANSFORMER = PointTransformer(2, 3, channels=(4, 6, 8), strides=(1, 2, 2), neighbours=4, head=6)


class Network(NamedTuple):
    """One baseline: `run(weights, clouds, mask, moments)` gives one tensor `[P, B, ...]`."""

    config: Any
    draw: Callable[[Any, torch.Generator], dict[str, Tensor]]
    run: Callable[[dict[str, Tensor], Tensor, Tensor | None, Moments], Tensor]

    def weights(self) -> dict[str, Tensor]:
        """Weights of P members, moved away from ones and zeros."""
        generator = torch_generator(10_000, 0, "weights")
        drawn = stack([self.draw(self.config, generator) for _ in range(P)])
        noise = {name: torch.randn(weight.shape, generator=generator) for name, weight in drawn.items()}
        return {name: (weight + 0.2 * noise[name]).double() for name, weight in drawn.items()}


def classifier(module: Any, config: Any) -> Network:
    return Network(config, module.draw, lambda w, x, mask, moments: module.classify(config, w, x, mask, moments))


def deep_sets(pooling: deepsets.Pooling) -> Network:
    config = DeepSets(2, 3, widths=(6, 7), head=(5,), pooling=pooling)
    return Network(config, deepsets.draw, lambda w, x, mask, moments: deepsets.classify(config, w, x, mask))


NETWORKS = {
    "pointnet": classifier(pointnet, TINY_POINTNET),
    "pointnet with feature transform": classifier(pointnet, replace(TINY_POINTNET, feature_transform=True)),
    "deepsets mean": deep_sets("mean"),
    "deepsets sum": deep_sets("sum"),
    "deepsets max": deep_sets("max"),
    "point transformer": classifier(point_transformer, TINY_TRANSFORMER),
    "pcn": Network(TINY_PCN, pcn.draw, lambda w, x, mask, m: torch.cat(pcn.complete(TINY_PCN, w, x, mask, m), 2)),
}
every = pytest.mark.parametrize("network", NETWORKS.values(), ids=NETWORKS.keys())


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Sums depend on the number of threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def clouds() -> Tensor:
    return torch.randn(P, B, M, 2, generator=torch_generator(10_000, 0, "clouds"), dtype=torch.float64)


def sizes_mask() -> Tensor:
    """Clouds of 12, 1, 5 and 9 points, other numbers for other members."""
    sizes = torch.stack([torch.tensor([12, 1, 5, 9]).roll(member) for member in range(P)])
    return torch.arange(M) < sizes[..., None]


def close(ours: Tensor, theirs: Tensor) -> None:
    torch.testing.assert_close(ours, theirs, rtol=1e-8, atol=1e-9)


def fixed_moments(network: Network, weights: dict[str, Tensor]) -> dict[str, Tensor]:
    recorder = Recorder()
    network.run(weights, clouds(), sizes_mask(), recorder)
    return recorder.moments


def both_modes(network: Network, weights: dict[str, Tensor], x: Tensor, mask: Tensor | None) -> list[Tensor]:
    """Outputs and recorded moments in training, and the output in evaluation."""
    recorder = Recorder()
    trained = network.run(weights, x, mask, recorder)
    return [trained, *recorder.moments.values(), network.run(weights, x, mask, fixed_moments(network, weights))]


def numbers(drawn: dict[str, Tensor]) -> int:
    return sum(weight.numel() for weight in drawn.values())


@pytest.mark.parametrize(("dimension", "classes", "counts"), [
    (2, 10, (1_605_006, 3_462_350, 504_014, 3_475_946, 1_192_698)),
    (3, 40, (1_614_129, 3_471_473, 520_881, 3_485_640, 1_201_656)),
])  # fmt: skip
def test_parameter_counts_of_the_classifiers(dimension: int, classes: int, counts: tuple[int, ...]) -> None:
    generator = torch_generator(10_000, 0, "weights")
    assert counts == (
        numbers(pointnet.draw(PointNet(dimension, classes), generator)),
        numbers(pointnet.draw(PointNet(dimension, classes, feature_transform=True), generator)),
        numbers(pointnet.draw(pointnet.shallow(dimension, classes), generator)),
        numbers(point_transformer.draw(PointTransformer(dimension, classes), generator)),
        numbers(point_transformer.draw(point_transformer.small(dimension, classes), generator)),
    )


def test_parameter_counts_of_the_others() -> None:
    generator = torch_generator(10_000, 0, "weights")
    assert numbers(pcn.draw(PCN(2), generator)) == 5_813_634
    assert PCN(2).coarse == 1024
    # 2 -> 128 -> 128, 128 -> 128 -> 10
    expected = 3 * 128 + 129 * 128 + 129 * 128 + 129 * 10
    assert numbers(deepsets.draw(DeepSets(2, 10), generator)) == expected


@every
def test_every_parameter_is_used(network: Network) -> None:
    weights = {name: weight.requires_grad_() for name, weight in network.weights().items()}
    network.run(weights, clouds(), sizes_mask(), fixed_moments(network, weights)).square().sum().backward()
    assert [name for name, weight in weights.items() if weight.grad is None or not weight.grad.any()] == []


@every
def test_order_of_points_does_not_matter(network: Network) -> None:
    # farthest point sampling starts at the first point: that one stays
    order = torch.cat([torch.tensor([0]), 1 + torch.randperm(M - 1, generator=torch_generator(10_000, 0, "order"))])
    weights, x, mask = network.weights(), clouds(), sizes_mask()
    for ours, theirs in zip(both_modes(network, weights, x[:, :, order], mask[:, :, order]),
                            both_modes(network, weights, x, mask), strict=True):  # fmt: skip
        close(ours, theirs)


@every
def test_padding_changes_nothing(network: Network) -> None:
    weights, x = network.weights(), clouds()
    # five rows that are no points, anywhere but in front, with contents that would spoil everything
    places = (1 + torch.randperm(M + 4, generator=torch_generator(10_000, 0, "places")))[: M - 1].sort().values
    places = torch.cat([torch.tensor([0]), places])
    for own in (None, sizes_mask()):
        wide, mask = torch.full((P, B, M + 5, 2), torch.nan, dtype=x.dtype), torch.zeros(P, B, M + 5, dtype=torch.bool)
        wide[:, :, places], mask[:, :, places] = x, torch.ones(P, B, M, dtype=torch.bool) if own is None else own
        for ours, theirs in zip(both_modes(network, weights, wide, mask), both_modes(network, weights, x, own),
                                strict=True):  # fmt: skip
            close(ours, theirs)


@every
@pytest.mark.parametrize("mask", [None, sizes_mask()], ids=["full", "padded"])
def test_a_member_computes_what_it_computes_alone(network: Network, mask: Tensor | None) -> None:
    weights, x = network.weights(), clouds()
    together = network.run(weights, x, mask, Recorder())
    for member in range(P):
        one = slice(member, member + 1)
        own = {name: weight[one] for name, weight in weights.items()}
        alone = network.run(own, x[one], None if mask is None else mask[one], Recorder())
        # not bit for bit: on a few rows the rounding of torch.bmm depends on the number of members
        torch.testing.assert_close(together[one], alone, rtol=1e-11, atol=1e-12)


@every
def test_a_padded_cloud_in_evaluation_is_the_cloud_alone_without_padding(network: Network) -> None:
    weights, x, mask = network.weights(), clouds(), sizes_mask()
    fixed = fixed_moments(network, weights)
    together = network.run(weights, x, mask, fixed)
    for member, cloud in np.ndindex(P, B):
        own = {name: weight[member : member + 1] for name, weight in weights.items()}
        moments = {name: moment[member : member + 1] for name, moment in fixed.items()}
        alone = x[member, cloud][mask[member, cloud]][None, None]  # [1, 1, its number of points, d]
        close(network.run(own, alone, None, moments)[0, 0], together[member, cloud])


@every
def test_gradients_are_finite_with_all_but_one_point_masked(network: Network) -> None:
    weights = {name: weight.requires_grad_() for name, weight in network.weights().items()}
    x, mask = clouds(), torch.zeros(P, B, M, dtype=torch.bool)
    mask[:, :, 3] = True
    x[~mask] = torch.nan
    x.requires_grad_()
    network.run(weights, x, mask, Recorder()).square().sum().backward()
    assert all(weight.grad is not None and weight.grad.isfinite().all() for weight in weights.values())
    assert x.grad is not None and x.grad.isfinite().all() and not x.grad[~mask].any()


@every
def test_what_every_network_refuses(network: Network) -> None:
    weights, x, mask = network.weights(), clouds(), sizes_mask()
    fixed = fixed_moments(network, weights)
    for wrong in (x[0], x[..., :1], x[:2], x[:, :0], x[:, :, :0]):
        with pytest.raises(ValueError, match=r"clouds has shape .*\[3 members, clouds, points, 2\]"):
            network.run(weights, wrong, None, fixed)
    with pytest.raises(ValueError, match="mask is torch.float64"):
        network.run(weights, x, mask.double(), fixed)
    with pytest.raises(ValueError, match=r"mask is torch.bool with shape \(3, 4, 11\)"):
        network.run(weights, x, mask[..., 1:], fixed)
    with pytest.raises(ValueError, match=r"mask\[2, 1\] has no True"):
        network.run(weights, x, mask & torch.ones_like(mask).index_put_((torch.tensor(2), torch.tensor(1)),
                                                                        torch.tensor(False)), fixed)  # fmt: skip


@pytest.mark.parametrize("network", [NETWORKS["pointnet"], NETWORKS["point transformer"]])
def test_dropout_masks_multiply_the_input_of_the_last_layer(network: Network) -> None:
    weights, x, module = network.weights(), clouds(), pointnet if network is NETWORKS["pointnet"] else point_transformer
    fixed, width = fixed_moments(network, weights), network.config.dropout_width
    masks = torch.ones(P, B, width, dtype=x.dtype)
    plain = module.classify(network.config, weights, x, None, fixed)
    close(module.classify(network.config, weights, x, None, fixed, masks), plain)
    bias = weights["logits.bias"][:, None]
    close(module.classify(network.config, weights, x, None, fixed, 2 * masks), 2 * (plain - bias) + bias)
    with pytest.raises(ValueError, match="dropout has shape"):
        module.classify(network.config, weights, x, None, fixed, masks[:, :, 1:])


@pytest.mark.parametrize(("make", "says"), [
    (lambda: PointNet(0, 3), "dimension"),
    (lambda: PointNet(2, 3, widths=()), "widths"),
    (lambda: PointNet(2, 3, head=()), "head"),
    (lambda: PointNet(2, 3, transform_widths=(4, -1)), "transform_layers"),
    (lambda: PointNet(2, 3, dropout=1.0), "dropout"),
    (lambda: DeepSets(2, True), "classes"),
    (lambda: DeepSets(2, 3, widths=()), "widths"),
    (lambda: DeepSets(2, 3, pooling="median"), "pooling = 'median'"),  # type: ignore[arg-type]
    (lambda: PointTransformer(2, 3, channels=(4, 8)), "strides"),
    (lambda: PointTransformer(2, 3, channels=(4, 8), strides=(2, 2)), "the first 1"),
    (lambda: PointTransformer(2, 3, neighbours=0), "neighbours"),
    (lambda: PointTransformer(2, 3, dropout=-0.1), "dropout"),
    (lambda: PCN(2, dense=100), "dense = 100; a multiple of grid"),
    (lambda: PCN(2, point_widths=(4, 5, 6)), "two sizes"),  # type: ignore[arg-type]
    (lambda: PCN(2, half_width=-1.0), "half_width"),
    (lambda: PCN(2, latent=1.5), "latent"),  # type: ignore[arg-type]
])  # fmt: skip
def test_configurations_that_are_refused(make: Callable[[], object], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        make()
