"""Point clouds with labels, padded to a common size: the lit pixels of images, random subsets of points, splits.

A cloud is a set: the order of its points means nothing. Each cloud is centred and each axis divided by the cloud's own
standard deviation along it, so that a digit's place, height and width tell nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from twelvefold.core import data as datasets
from twelvefold.tasks.examples import whole_number

MNIST_PARTS = {"mnist5k": ("train",), "mnist60k": ("train", "test")}


@dataclass(frozen=True)
class Clouds:
    """n clouds of at most M points in d dimensions.

    Attributes:
        points: float32 `[n, M, d]`, zeros where there is no point.
        mask: bool `[n, M]`, True where there is a point.
        labels: int64 `[n]`, the class of each cloud.
    """

    points: Tensor
    mask: Tensor
    labels: Tensor

    def __post_init__(self) -> None:
        check_points("points", self.points, self.mask)
        if self.labels.dtype != torch.int64 or self.labels.shape != self.points.shape[:1]:
            raise ValueError(f"labels is {self.labels.dtype} {tuple(self.labels.shape)}; int64 "
                             f"[{self.points.shape[0]}] is needed, one per cloud")

    def __len__(self) -> int:
        """Number of clouds."""
        return self.points.shape[0]

    def select(self, index: Tensor) -> Clouds:
        """The clouds whose numbers (or truth values) stand in `index`, in its order, with the same M."""
        return Clouds(self.points[index], self.mask[index], self.labels[index])

    def to(self, device: str | torch.device) -> Clouds:
        """The same clouds on a device."""
        return Clouds(self.points.to(device), self.mask.to(device), self.labels.to(device))


def check_points(name: str, points: Tensor, mask: Tensor) -> None:
    """Refuse points that are not floating numbers `[n, M, d]`, and a mask that is not bool `[n, M]` (ValueError)."""
    if points.ndim != 3 or not points.is_floating_point():
        raise ValueError(f"{name} is {points.dtype} {tuple(points.shape)}; floating numbers [n, M, d] are needed")
    if mask.dtype != torch.bool or mask.shape != points.shape[:2]:
        raise ValueError(f"the mask of {name} is {mask.dtype} {tuple(mask.shape)}; bool "
                         f"{list(points.shape[:2])} is needed, True where there is a point")


def moments(points: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and population standard deviation of each axis of each cloud, both `[n, 1, d]`.

    Args:
        points, mask: `[n, M, d]` and `[n, M]`; a cloud without points has mean and deviation 0.
    """
    check_points("points", points, mask)
    real = mask[..., None]
    count = real.sum(1, keepdim=True).clamp(min=1)  # [n, 1, 1]
    # offsets from one point of the cloud: a flat axis has exactly spread 0, that of a far cloud keeps its digits
    first = mask.int().argmax(1)[:, None, None].expand(-1, 1, points.shape[2])
    origin = points.gather(1, first)  # [n, 1, d]
    offsets = torch.where(real, points - origin, 0)
    centre = offsets.sum(1, keepdim=True) / count
    variance = torch.where(real, offsets - centre, 0).square().sum(1, keepdim=True) / count
    return torch.where(real.any(1, keepdim=True), origin + centre, 0), variance.sqrt()


def normalised(points: Tensor, mask: Tensor) -> Tensor:
    """Points `[n, M, d]` with mean 0 and population standard deviation 1 along each axis of each cloud; padding is 0.

    An axis along which all points of a cloud agree (a vertical stroke of one pixel, a flat mesh) is only centred.
    """
    mean, spread = moments(points, mask)
    scale = torch.where(spread > 0, spread, 1)
    return torch.where(mask[..., None], (points - mean) / scale, 0)


def clouds_of(members: Sequence[Tensor], labels: Sequence[int] | Tensor) -> Clouds:
    """Join clouds of different sizes `[m_i, d]`: M is the largest m_i, the rest is padding.

    Raises:
        ValueError: no cloud, one without points or not `[m, d]`, clouds of different dimensions, or another number
            of labels.
    """
    shapes = [tuple(member.shape) for member in members]
    if not shapes or any(len(shape) != 2 or not shape[0] or shape[1] != shapes[0][1] for shape in shapes):
        raise ValueError(f"members has the shapes {shapes[:5]}; at least one cloud [m, d] is needed, each with at "
                         "least one point and the same d")
    points = torch.nn.utils.rnn.pad_sequence([member.float() for member in members], batch_first=True)
    sizes = torch.tensor([shape[0] for shape in shapes])
    mask = torch.arange(points.shape[1]) < sizes[:, None]
    return Clouds(points, mask.to(points.device), torch.as_tensor(labels, dtype=torch.int64))


def clouds_of_images(images: Tensor, labels: Tensor, normalise: bool = True) -> Clouds:
    """The pixels above 0 of each image as points (x, y): x to the right, y UP, so that a scatter plot stands upright.

    Args:
        images: uint8 `[n, H, W]`, row 0 at the top.
        labels: int64 `[n]`.
        normalise: apply `normalised`; otherwise coordinates are pixels, 0 to W - 1 and 0 to H - 1.

    Returns:
        Clouds with d = 2 and M = the largest number of lit pixels; points in the order of the rows from the top.

    Raises:
        ValueError: another shape or type, or an image without a pixel above 0 (it is named by its number).
    """
    if images.dtype != torch.uint8 or images.ndim != 3 or not images.numel():
        raise ValueError(f"images is {images.dtype} {tuple(images.shape)}; uint8 [n, H, W] is needed, n >= 1")
    image, row, column = images.nonzero(as_tuple=True)  # in the order of images, rows, columns
    sizes = torch.bincount(image, minlength=images.shape[0])
    if not bool(sizes.all()):
        raise ValueError(f"images[{int((sizes == 0).nonzero()[0])}] has no pixel above 0; every cloud needs a point")
    mask = torch.arange(int(sizes.max()), device=images.device) < sizes[:, None]
    points = torch.zeros(*mask.shape, 2, device=images.device)
    # the true places of the mask come in the same order as the lit pixels
    points[mask] = torch.stack([column, images.shape[1] - 1 - row], dim=1).float()
    return Clouds(normalised(points, mask) if normalise else points, mask, labels)


@lru_cache(maxsize=2)  # training and test part
def mnist_clouds(name: str, part: str = "train") -> Clouds:
    """The normalised clouds of MNIST digits; every caller gets the same tensors, which must not be changed.

    Args:
        name: "mnist5k" (5,000 digits without a test part of their own: see `split`) or "mnist60k".
        part: "train" or, of mnist60k, "test": 60,000 and 10,000 digits.

    Raises:
        ValueError: unknown name or part. DataMissing, DataDamaged: see `core.data.load`.
    """
    if part not in MNIST_PARTS.get(name, ()):
        known = "; ".join(f"{name} with {' or '.join(parts)}" for name, parts in MNIST_PARTS.items())
        raise ValueError(f"name = {name!r}, part = {part!r}; accepted are {known}")
    raw = datasets.load(name)
    prefix = "" if part == "train" else "test_"
    return clouds_of_images(torch.from_numpy(raw[f"{prefix}images"]), torch.from_numpy(raw[f"{prefix}labels"]))


def resampled(clouds: Clouds, points: int, generator: torch.Generator) -> Clouds:
    """Clouds with M = `points`: of a larger cloud a uniform random subset (every cloud its own, without replacement),
    of a smaller one all points, then padding. The points of each cloud come in random order.

    `clouds` may carry the mask of observed points instead of its own (`dataclasses.replace(clouds, mask=observed)`).

    Raises:
        ValueError: `points` is not a positive whole number.
    """
    whole_number("points", points)
    keys = torch.rand(clouds.mask.shape, generator=generator, device=generator.device).to(clouds.mask.device)
    # the largest keys of the real points are a uniform subset; padding has smaller keys and so comes last
    keys = torch.where(clouds.mask, keys, -1)
    chosen = keys.topk(min(points, keys.shape[1]), dim=1).indices
    missing = points - chosen.shape[1]
    mask = torch.nn.functional.pad(clouds.mask.gather(1, chosen), (0, missing))
    taken = clouds.points.gather(1, chosen[..., None].expand(-1, -1, clouds.points.shape[2]))
    taken = torch.nn.functional.pad(taken, (0, 0, 0, missing))
    return Clouds(torch.where(mask[..., None], taken, 0), mask, clouds.labels)


def split(n: int, sizes: Mapping[str, int], generator: torch.Generator) -> dict[str, Tensor]:
    """Disjoint random sets of the numbers 0 to n - 1, int64 `[size]` by name; what is left over belongs to none.

    Raises:
        ValueError: a size that is not a positive whole number, no size, or sizes that need more than n.
    """
    whole_number("n", n)
    counts = {name: whole_number(f"sizes[{name!r}]", size) for name, size in sizes.items()}
    needed = sum(counts.values())
    if not counts or needed > n:
        raise ValueError(f"sizes = {dict(sizes)} need {needed}; from 1 to n = {n} are accepted")
    order = torch.randperm(n, generator=generator, device=generator.device)
    return dict(zip(counts, order[:needed].split(list(counts.values())), strict=True))
