"""Image tasks with several training domains and held-out ones: the MNIST stand-in (rotations and corruptions)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor

from twelvefold.core import data as datasets
from twelvefold.core import seeds

TRAINING_ANGLES = (0, 15, 30, 45)  # degrees; the training domains
# images of one replicate: pretraining (upright only), fine-tuning, validation; the rest is test
SPLIT = {"pretraining": 1000, "training": 400, "validation": 1000}
CORRUPTIONS = ("blur", "contrast", "noise")


@dataclass(frozen=True)
class Labelled:
    """Images `inputs [n, C, H, W]` with `labels [n]` and the domain number of each image, `domains [n]`."""

    inputs: Tensor
    labels: Tensor
    domains: Tensor

    def __len__(self) -> int:
        return self.labels.shape[0]


@dataclass(frozen=True)
class Task:
    """One replicate's data. Selection sees `validation` only; `tests["id"]` and `tests["ood"]` (and further shifts) are
    for reporting.

    pretraining is None where the initial weights come from elsewhere. Tests share their source images, so differences
    between columns are paired.
    """

    pretraining: Labelled | None
    training: Labelled
    validation: Labelled
    tests: Mapping[str, Labelled]
    classes: int
    augment: bool = False


def rotate(images: Tensor, degrees: float) -> Tensor:
    """Rotate `images [n, H, W]` counter-clockwise about their centres by `degrees`, bilinear, zeros outside."""
    if images.ndim != 3:
        raise ValueError(f"images has shape {tuple(images.shape)}; needed is [n, height, width]")
    if degrees == 0:
        return images
    cosine, sine = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    # affine_grid maps output to input positions, with y pointing down
    matrix = torch.tensor([[[cosine, -sine, 0.0], [sine, cosine, 0.0]]], dtype=images.dtype)
    grid = F.affine_grid(matrix, [1, 1, *images.shape[1:]], align_corners=False)
    # the images are the channels of one picture: one grid serves all
    return F.grid_sample(images[None], grid, mode="bilinear", padding_mode="zeros", align_corners=False)[0]


def corrupt(images: Tensor, kind: str, generator: torch.Generator) -> Tensor:
    """One of the corruptions of `images [n, H, W]` in [0, 1]: Gaussian blur (sigma 2 px), contrast of 70 %, additive
    noise (sigma 0.3, clipped)."""
    if kind == "blur":
        return _blur_matrix(images.shape[1]) @ images @ _blur_matrix(images.shape[2])
    if kind == "contrast":
        return 0.15 + 0.7 * images
    if kind == "noise":
        return (images + 0.3 * torch.randn(images.shape, generator=generator)).clamp(0, 1)
    raise ValueError(f"kind is {kind!r}; known are {list(CORRUPTIONS)}")


def _blur_matrix(size: int, sigma: float = 2.0) -> Tensor:
    """Gaussian weights `[size, size]` between positions of a row; normalised over the whole line, so zeros lie
    outside."""
    positions = torch.arange(size, dtype=torch.float32)
    weights = torch.exp(-((positions[:, None] - positions) ** 2) / (2 * sigma**2))
    return weights / (sigma * math.sqrt(2 * math.pi))


def resize(images: Tensor, size: int) -> Tensor:
    """`images [n, 28, 28]` as `[n, 1, size, size]`: unchanged for 28, average-pooled for 14 or 7; ValueError
    otherwise."""
    if size not in (28, 14, 7):
        raise ValueError(f"size is {size}; accepted are 28, 14 and 7 pixels (28 divided by the pooling window)")
    window = 28 // size
    return images[:, None] if window == 1 else F.avg_pool2d(images[:, None], window)


def _labelled(images: Tensor, labels: Tensor, domains: Tensor, size: int) -> Labelled:
    return Labelled(resize(images, size), labels, domains)


@lru_cache(maxsize=1)
def _digits() -> tuple[Tensor, Tensor]:
    raw = datasets.load("mnist5k")
    return torch.from_numpy(raw["images"]).float() / 255.0, torch.from_numpy(raw["labels"]).long()


@lru_cache(maxsize=1)  # a replicate's population and the experiment on it ask one after the other
def mnist_task(seed: int, replicate: int, size: int) -> Task:
    """Split the 5,000 MNIST images of one replicate and build the domains.

    1,000 upright images for pretraining; 400 for fine-tuning, 1,000 for validation and 2,600 for the ID test, each
    spread evenly over rotations of 0, 15, 30 and 45 degrees. OOD tests are the same 2,600 images rotated by 60 ("ood")
    and 75 degrees, or the ID test images blurred, with low contrast, with noise.
    """
    images, labels = _digits()
    order = torch.from_numpy(seeds.numpy_generator(seed, replicate, "split").permutation(len(labels)))
    pretraining, training, validation, test = order.split([*SPLIT.values(), len(labels) - sum(SPLIT.values())])

    def mixed(indices: Tensor) -> tuple[Tensor, Tensor]:
        turned = images[indices]
        for domain, angle in enumerate(TRAINING_ANGLES):  # every fourth image belongs to one domain
            turned[domain :: len(TRAINING_ANGLES)] = rotate(turned[domain :: len(TRAINING_ANGLES)], angle)
        return turned, torch.arange(len(indices)) % len(TRAINING_ANGLES)

    def labelled(indices: Tensor) -> Labelled:
        turned, domains = mixed(indices)
        return _labelled(turned, labels[indices], domains, size)

    upright = _labelled(images[pretraining], labels[pretraining], torch.zeros(len(pretraining), dtype=torch.long), size)
    turned, domains = mixed(test)
    noise = seeds.torch_generator(seed, replicate, "noise")
    tests = {"id": turned, "ood": rotate(images[test], 60.0), "rotation 75": rotate(images[test], 75.0)}
    tests |= {kind: corrupt(turned, kind, noise) for kind in CORRUPTIONS}
    columns = {name: _labelled(shown, labels[test], domains, size) for name, shown in tests.items()}
    return Task(upright, labelled(training), labelled(validation), columns, classes=10)
