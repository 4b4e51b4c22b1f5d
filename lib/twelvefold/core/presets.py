"""The three presets and the device a run computes on.

| preset | machine | purpose |
|---|---|---|
| quick | laptop, CPU | the default: every notebook within 80 CPU seconds |
| gpu | one GPU | the full phenomenon with real statistics |
| paper | many GPUs | the scale and the data of the paper |
"""

from __future__ import annotations

import difflib
import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # torch takes a second to import and the command line needs only the names
    import torch

PRESETS: tuple[str, ...] = ("quick", "gpu", "paper")
_DEVICE = re.compile(r"cpu|mps|cuda(:\d+)?")


class PresetError(ValueError):
    """An unknown preset."""


class DeviceError(ValueError):
    """An unknown device, or one that this machine does not have."""


def check_preset(preset: str) -> str:
    """Return `preset` when it is a known one.

    Raises:
        PresetError: otherwise; the message lists the known presets and names the nearest.
    """
    if isinstance(preset, str) and preset in PRESETS:
        return preset
    near = difflib.get_close_matches(str(preset).lower(), PRESETS, n=1)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    raise PresetError(f"preset = {preset!r} is unknown; the presets are {', '.join(PRESETS)}.{hint}")


def resolve_device(device: str, preset: str) -> torch.device:
    """Return the torch device that a study computes on.

    At preset quick, `"auto"` is the CPU even where there is a GPU, so that quick results agree between machines.
    At gpu and paper, `"auto"` is CUDA, and refused where there is none. MPS is taken only when it is asked for.

    Args:
        device: `"auto"`, `"cpu"`, `"mps"`, `"cuda"` or `"cuda:<index>"`.
        preset: one of `PRESETS`.

    Raises:
        PresetError: unknown preset.
        DeviceError: unknown device, one that is not there, or preset gpu or paper on `"auto"` without CUDA.
    """
    import torch

    check_preset(preset)
    if device == "auto":
        return _automatic_device(preset)
    if not isinstance(device, str) or not _DEVICE.fullmatch(device):
        accepted = "'auto', 'cpu', 'mps', 'cuda' and 'cuda:<index>'"
        raise DeviceError(f"device = {device!r} is unknown; accepted are {accepted}.")
    resolved = torch.device(device)
    if resolved.type == "mps" and not torch.backends.mps.is_available():
        raise DeviceError("device = 'mps', but this machine has no Metal GPU that torch can use; use device = 'cpu'.")
    if resolved.type == "cuda":
        _require_cuda(resolved)
    return resolved


def _automatic_device(preset: str) -> torch.device:
    import torch

    if preset == "quick":
        return torch.device("cpu")
    if torch.cuda.is_available():
        return torch.device("cuda")
    raise DeviceError(
        f"preset = {preset!r} needs a CUDA GPU and torch sees none on this machine. Use preset = 'quick', "
        "or name a device yourself: device = 'cpu' runs it on the CPU, slowly."
    )


def _require_cuda(device: torch.device) -> None:
    import torch

    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if count == 0:
        raise DeviceError(f"device = '{device}', but torch {torch.__version__} sees no CUDA GPU; use device = 'cpu'.")
    if device.index is not None and device.index >= count:
        raise DeviceError(f"device = '{device}', but this machine has {count} CUDA GPU(s): cuda:0 to cuda:{count - 1}.")
