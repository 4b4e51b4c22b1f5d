"""OfficeHome, read from a folder that the user supplies: `<folder>/<domain>/<class>/<image>`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from twelvefold.core import data as datasets
from twelvefold.core import seeds
from twelvefold.papers.weight_ensembles.images import Labelled, Task

SUFFIXES = (".jpg", ".jpeg", ".png")
SHARES = {"training": 0.6, "validation": 0.2}  # of each source domain; the rest is the ID test
DRAWS = 8  # uniform numbers that one augmentation uses


def scan(domains: Mapping[str, Path], classes: Sequence[str]) -> list[tuple[Path, int, int]]:
    """(file, label, domain number) of every image in the folders `<domain>/<class>`, sorted by name.

    Raises ValueError when there are fewer than two domains or a class of a domain has no image.
    """
    if len(domains) < 2:
        raise ValueError(f"domains are {list(domains)}; leaving one out needs at least two")
    files: list[tuple[Path, int, int]] = []
    for number, (domain, folder) in enumerate(domains.items()):
        for label, name in enumerate(classes):
            images = sorted(path for path in (folder / name).glob("*") if path.suffix.lower() in SUFFIXES)
            if not images:
                raise ValueError(f"domain {domain!r} has no image of class {name!r}; accepted are files {SUFFIXES}")
            files += [(path, label, number) for path in images]
    return files


@lru_cache(maxsize=1)
def load_images(size: int) -> tuple[int, int, Labelled]:
    """Numbers of domains and classes, and all images as bytes `[n, 3, size, size]` (about 2.3 GB at 224 pixels).

    Raises DataMissing, saying what to type, when the user has not supplied the folder.
    """
    from PIL import Image

    found = datasets.load("officehome")
    files = scan(found["domains"], found["classes"])
    pixels = torch.empty(len(files), 3, size, size, dtype=torch.uint8)
    for index, (path, _, _) in enumerate(files):
        with Image.open(path) as image:
            shown = image.convert("RGB").resize((size, size), Image.Resampling.BILINEAR)
            pixels[index] = torch.from_numpy(np.array(shown)).permute(2, 0, 1)
    labels, numbers = (torch.tensor([entry[column] for entry in files]) for column in (1, 2))
    return len(found["domains"]), len(found["classes"]), Labelled(pixels, labels, numbers)


def _take(images: Labelled, indices: Sequence[Tensor]) -> Labelled:
    chosen = torch.cat(list(indices))
    return Labelled(images.inputs[chosen], images.labels[chosen], images.domains[chosen])


def officehome_task(seed: int, replicate: int, size: int) -> Task:
    """Leave one domain out: replicate r has the target domain r mod (number of domains) and its own split of the
    others.

    Of every source domain 60 % are for training, 20 % for validation and 20 % for the ID test (DomainBed splits 80/20
    and reports the validation part; a test of its own is needed so that selection never sees it).
    """
    domains, classes, images = load_images(size)
    target = replicate % domains
    generator = seeds.numpy_generator(seed, replicate, "split")
    parts: dict[str, list[Tensor]] = {"training": [], "validation": [], "id": []}
    for domain in range(domains):
        own = (images.domains == domain).nonzero()[:, 0]
        order = own[torch.from_numpy(generator.permutation(len(own)))]
        if domain == target:
            continue
        first, second = int(SHARES["training"] * len(own)), int((SHARES["training"] + SHARES["validation"]) * len(own))
        for name, part in zip(parts, (order[:first], order[first:second], order[second:]), strict=True):
            parts[name].append(part)
    tests = {"id": _take(images, parts["id"]), "ood": _take(images, [(images.domains == target).nonzero()[:, 0]])}
    return Task(
        None, _take(images, parts["training"]), _take(images, parts["validation"]), tests, classes, augment=True
    )


def augment(images: Tensor, draws: Tensor) -> Tensor:
    """DomainBed's augmentation as one batched function: crop of 70-100 % of the area, flip, brightness, contrast and
    saturation within 30 %, greyscale in 1 of 10.

    `images [n, 3, H, W]` (bytes or [0, 1]), `draws [n, 8]` uniform in [0, 1); returns floats in [0, 1]. A function of
    its draws alone, so that it is the same on every device.
    """
    if draws.shape != (images.shape[0], DRAWS):
        raise ValueError(f"draws has shape {tuple(draws.shape)}; needed is [{images.shape[0]}, {DRAWS}]")
    pixels = images.float() / 255.0 if images.dtype == torch.uint8 else images
    scale = (0.7 + 0.3 * draws[:, 0]).sqrt()
    shift = (1 - scale)[:, None] * (2 * draws[:, 1:3] - 1)
    flip = torch.where(draws[:, 3] < 0.5, -1.0, 1.0)
    zero = torch.zeros_like(scale)
    matrix = torch.stack(
        [torch.stack([scale * flip, zero, shift[:, 0]], 1), torch.stack([zero, scale, shift[:, 1]], 1)], 1
    )
    pixels = F.grid_sample(
        pixels,
        F.affine_grid(matrix, list(pixels.shape), align_corners=False),
        align_corners=False,
        padding_mode="reflection",
    )
    strength = (0.7 + 0.6 * draws[:, 4:7])[:, :, None, None, None]
    pixels = (pixels * strength[:, 0]).clamp(0, 1)
    pixels = (pixels.mean((1, 2, 3), keepdim=True).lerp(pixels, strength[:, 1])).clamp(0, 1)
    weights = torch.tensor([0.299, 0.587, 0.114], dtype=pixels.dtype, device=pixels.device).view(1, 3, 1, 1)
    grey = (pixels * weights).sum(1, keepdim=True).expand_as(pixels)
    pixels = grey.lerp(pixels, strength[:, 2]).clamp(0, 1)
    return torch.where((draws[:, 7] < 0.1)[:, None, None, None], grey, pixels)
