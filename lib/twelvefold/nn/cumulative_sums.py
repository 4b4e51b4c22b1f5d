"""Running sums that are the same on every device and in every run."""

from __future__ import annotations

from torch import Tensor


def cumulative_sums(x: Tensor) -> Tensor:
    """Sums of the entries up to and with each one, along the last axis of `[..., k]`.

    On CUDA torch adds floating-point numbers of a running sum in an order of its own, and refuses to in the
    deterministic mode in which studies run. There the sums are made on the CPU: meant for small tensors, such as the
    probabilities that a draw by inversion needs.
    """
    if x.is_cuda and x.is_floating_point():
        return x.cpu().cumsum(-1).to(x.device)
    return x.cumsum(-1)
