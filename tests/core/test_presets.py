"""Presets and devices, with and without (faked) CUDA."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from twelvefold.core.presets import PRESETS, DeviceError, PresetError, check_preset, resolve_device


@pytest.fixture
def no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)


@pytest.fixture
def two_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)


def test_known_presets_pass() -> None:
    assert [check_preset(preset) for preset in PRESETS] == ["quick", "gpu", "paper"]


@pytest.mark.parametrize("preset", ["quik", "QUICK", "", None, 3])
def test_unknown_preset_is_refused_with_the_known_ones(preset: Any) -> None:
    with pytest.raises(PresetError, match="quick, gpu, paper") as caught:
        check_preset(preset)
    assert repr(preset) in str(caught.value)


def test_unknown_preset_names_the_nearest() -> None:
    with pytest.raises(PresetError, match="Did you mean 'paper'"):
        check_preset("papr")


def test_quick_is_a_cpu_preset_even_beside_a_gpu(two_gpus: None) -> None:
    assert resolve_device("auto", "quick") == torch.device("cpu")


@pytest.mark.parametrize("preset", ["gpu", "paper"])
def test_auto_takes_cuda(two_gpus: None, preset: str) -> None:
    assert resolve_device("auto", preset).type == "cuda"


@pytest.mark.parametrize("preset", ["gpu", "paper"])
def test_auto_without_cuda_is_refused_and_names_the_cure(no_gpu: None, preset: str) -> None:
    with pytest.raises(DeviceError, match="device = 'cpu'"):
        resolve_device("auto", preset)


def test_auto_never_takes_mps(no_gpu: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    assert resolve_device("mps", "quick").type == "mps"
    with pytest.raises(DeviceError):
        resolve_device("auto", "gpu")


@pytest.mark.parametrize("preset", PRESETS)
def test_a_named_device_is_taken_at_every_preset(no_gpu: None, preset: str) -> None:
    assert resolve_device("cpu", preset) == torch.device("cpu")


def test_a_cuda_index_must_exist(two_gpus: None) -> None:
    assert resolve_device("cuda:1", "gpu") == torch.device("cuda:1")
    with pytest.raises(DeviceError, match="cuda:0 to cuda:1"):
        resolve_device("cuda:2", "gpu")


@pytest.mark.parametrize("device", ["cuda", "cuda:0", "mps"])
def test_a_missing_device_is_refused(no_gpu: None, device: str) -> None:
    with pytest.raises(DeviceError, match="cpu"):
        resolve_device(device, "quick")


@pytest.mark.parametrize("device", ["", "gpu", "cuda:", "cuda:-1", "cpu:0", "xla", None, 0])
def test_an_unknown_device_is_refused(device: Any) -> None:
    with pytest.raises(DeviceError, match="accepted are 'auto', 'cpu', 'mps', 'cuda'"):
        resolve_device(device, "quick")


def test_an_unknown_preset_is_refused_before_the_device() -> None:
    with pytest.raises(PresetError):
        resolve_device("cpu", "fast")
