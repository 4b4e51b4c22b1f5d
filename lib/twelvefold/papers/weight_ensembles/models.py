"""The networks that serve as ingredients, and their initial weights.

Every network is called as `model(inputs, mask=None)`; `mask` multiplies the activations at the dropout site (shape
`mask_shape`), so that dropout is an explicit input and a population can give each member its own rate and its own
draws.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from twelvefold.core import data as datasets

ARCHITECTURES = ("mlp", "cnn", "resnet50")
PRETRAINED = ("resnet50",)  # start from published weights instead of being pretrained on the task
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def unit_range(inputs: Tensor) -> Tensor:
    """Images in [0, 1]: bytes are divided by 255, floats are taken as they are."""
    return inputs.float() / 255.0 if inputs.dtype == torch.uint8 else inputs


def halve(images: Tensor) -> Tensor:
    """2x2 max pooling of `[..., H, W]` (an odd last row or column is dropped).

    Made of slices, because the backward pass of torch's own on CUDA adds in an order that changes from run to run.
    """
    height, width = images.shape[-2] // 2 * 2, images.shape[-1] // 2 * 2
    rows = torch.maximum(images[..., 0:height:2, :width], images[..., 1:height:2, :width])
    return torch.maximum(rows[..., 0::2], rows[..., 1::2])


class MLP(nn.Module):
    """Two hidden layers of 64 ReLU units on the flattened image; dropout on the input pixels."""

    def __init__(self, shape: tuple[int, int, int], classes: int, hidden: int = 64) -> None:
        super().__init__()
        self.mask_shape: tuple[int, ...] = shape
        self.first = nn.Linear(math.prod(shape), hidden)
        self.second = nn.Linear(hidden, hidden)
        self.head = nn.Linear(hidden, classes)

    def forward(self, inputs: Tensor, mask: Tensor | None = None) -> Tensor:
        """Logits `[B, classes]` of images `[B, C, H, W]`, with an optional mask of the images' shape."""
        pixels = unit_range(inputs)
        pixels = pixels if mask is None else pixels * mask
        return self.head(F.relu(self.second(F.relu(self.first(pixels.flatten(1))))))


class SmallCNN(nn.Module):
    """Two 3x3 convolutions (16, 32 channels), each followed by ReLU and 2x2 max pooling, and a linear head; dropout on
    the input pixels."""

    def __init__(self, shape: tuple[int, int, int], classes: int) -> None:
        super().__init__()
        channels, height, width = shape
        self.mask_shape: tuple[int, ...] = shape
        self.first = nn.Conv2d(channels, 16, 3, padding=1)
        self.second = nn.Conv2d(16, 32, 3, padding=1)
        self.head = nn.Linear(32 * (height // 4) * (width // 4), classes)

    def forward(self, inputs: Tensor, mask: Tensor | None = None) -> Tensor:
        """Logits `[B, classes]` of images `[B, C, H, W]`, with an optional mask of the images' shape."""
        pixels = unit_range(inputs)
        pixels = pixels if mask is None else pixels * mask
        hidden = halve(F.relu(self.first(pixels)))
        hidden = halve(F.relu(self.second(hidden)))
        return self.head(hidden.flatten(1))


class ResNet50(nn.Module):
    """torchvision's ResNet-50 with a new linear head; dropout on the 2,048 features, batch norm frozen by eval mode (as
    in DomainBed).

    Frozen statistics are buffers shared by all members, so averaging the parameters needs no re-estimation.
    """

    def __init__(self, classes: int) -> None:
        super().__init__()
        body = _torchvision().models.resnet50(weights=None)
        weights = datasets.load("resnet50_imagenet")
        body.load_state_dict({name: torch.as_tensor(value) for name, value in weights.items()})
        features = body.fc.in_features
        body.fc = nn.Identity()
        self.mask_shape: tuple[int, ...] = (features,)
        self.body = body
        self.head = nn.Linear(features, classes)
        self.mean: Tensor
        self.std: Tensor
        self.register_buffer("mean", torch.tensor(IMAGENET_MEAN).view(1, 3, 1, 1))
        self.register_buffer("std", torch.tensor(IMAGENET_STD).view(1, 3, 1, 1))

    def forward(self, inputs: Tensor, mask: Tensor | None = None) -> Tensor:
        """Logits `[B, classes]` of RGB images `[B, 3, H, W]`, with an optional mask `[B, 2048]` on the features."""
        features = self.body((unit_range(inputs) - self.mean) / self.std)
        return self.head(features if mask is None else features * mask)


def _torchvision():  # type: ignore[no-untyped-def]
    try:
        import torchvision
    except ImportError as error:
        raise ImportError(
            "architecture 'resnet50' needs the package torchvision, which is not installed: pip install torchvision "
            "(matching your torch)"
        ) from error
    return torchvision


def _reset(module: nn.Module, generator: torch.Generator) -> None:
    # torch's default for linear and convolutional layers, U(-1/sqrt(fan_in), 1/sqrt(fan_in)), from an explicit
    # generator
    for layer in module.modules():
        if isinstance(layer, (nn.Linear, nn.Conv2d)):
            bound = 1.0 / math.sqrt(layer.weight[0].numel())
            nn.init.uniform_(layer.weight, -bound, bound, generator=generator)
            if layer.bias is not None:
                nn.init.uniform_(layer.bias, -bound, bound, generator=generator)


def build(architecture: str, shape: tuple[int, int, int], classes: int, generator: torch.Generator) -> nn.Module:
    """A network in eval mode with fresh weights (for "resnet50": ImageNet weights and a fresh head).

    `shape` is that of one image [C, H, W]. The global random state is left as it was. Raises ValueError for an unknown
    architecture, ImportError when torchvision is missing, DataMissing when its weights are.
    """
    builders: dict[str, Callable[[], nn.Module]] = {
        "mlp": lambda: MLP(shape, classes),
        "cnn": lambda: SmallCNN(shape, classes),
        "resnet50": lambda: ResNet50(classes),
    }
    if architecture not in builders:
        raise ValueError(f"architecture is {architecture!r}; known are {list(ARCHITECTURES)}")
    with torch.random.fork_rng(devices=[]):
        model = builders[architecture]()
    _reset(model.head if isinstance(model, ResNet50) else model, generator)
    return model.eval()
