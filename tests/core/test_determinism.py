"""Settings of the process, and the facts about the machine."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from twelvefold.core import determinism


@pytest.fixture(autouse=True)
def restored() -> Any:
    """Other tests of this process keep the settings they had."""
    before = torch.are_deterministic_algorithms_enabled(), torch.get_num_threads(), torch.get_default_dtype()
    environment = dict(os.environ)
    yield
    torch.use_deterministic_algorithms(before[0])
    torch.set_num_threads(before[1])
    torch.set_default_dtype(before[2])
    os.environ.clear()
    os.environ.update(environment)


def test_setup_sets_algorithms_threads_type_and_workspace() -> None:
    torch.use_deterministic_algorithms(False)
    torch.set_default_dtype(torch.float64)
    torch.set_num_threads(2)
    determinism.setup("cpu")
    assert torch.are_deterministic_algorithms_enabled()
    assert torch.get_default_dtype() == torch.float32
    assert torch.get_num_threads() == 1
    assert os.environ["CUBLAS_WORKSPACE_CONFIG"] == ":4096:8"
    assert os.environ["OMP_NUM_THREADS"] == "1"


def test_setup_limits_the_blas_of_numpy() -> None:
    import threadpoolctl

    threadpoolctl.threadpool_limits(limits=2)
    determinism.setup(torch.device("cpu"), threads=1)
    np.ones((2, 2)) @ np.ones((2, 2))
    assert {pool["num_threads"] for pool in threadpoolctl.threadpool_info()} == {1}


def test_a_cuda_study_turns_tf32_off() -> None:
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = torch.backends.cudnn.benchmark = True
    determinism.setup("cuda")
    assert not torch.backends.cuda.matmul.allow_tf32
    assert not torch.backends.cudnn.allow_tf32
    assert not torch.backends.cudnn.benchmark


@pytest.mark.parametrize("threads", [0, -1, 1.5, True, "2"])
def test_bad_thread_counts_are_refused(threads: Any) -> None:
    with pytest.raises(ValueError, match="threads = "):
        determinism.setup("cpu", threads=threads)


def test_two_processes_compute_the_same_bytes() -> None:
    code = (
        "import torch, hashlib; from twelvefold.core import determinism, seeds; determinism.setup('cpu');"
        "x = torch.randn(300, 300, generator=seeds.torch_generator(10000, 0, 'x'));"
        "print(hashlib.sha256((x @ x.T).cumsum(0).softmax(1).numpy().tobytes()).hexdigest())"
    )
    outputs = {
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True,
                       env=os.environ | {"PYTHONHASHSEED": hash_seed}).stdout
        for hash_seed in ("1", "2")
    }
    assert len(outputs) == 1


def test_versions_are_the_installed_ones() -> None:
    found = determinism.versions()
    assert found["numpy"] == np.__version__
    assert found["torch"] == torch.__version__
    assert {"scipy", "pandas", "matplotlib"} <= set(found)


def test_versions_leave_out_what_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(determinism, "_PACKAGES", ("numpy", "no-such-package-anywhere"))
    assert set(determinism.versions()) == {"numpy", "torch"}


def test_names_of_processor_and_gpu() -> None:
    assert determinism.cpu_name().strip()
    assert determinism.gpu_name(torch.device("cpu")) is None


def test_cpu_seconds_grow_with_work_here_and_in_children() -> None:
    before = determinism.cpu_seconds()
    subprocess.run([sys.executable, "-c", "sum(i * i for i in range(2_000_000))"], check=True)
    assert determinism.cpu_seconds() > before


@pytest.mark.skipif(platform.system() != "Linux", reason="reads VmHWM")
def test_peak_memory_starts_anew_in_a_child_of_a_large_process() -> None:
    ballast = np.ones(40_000_000)  # 320 MB
    code = "import json; from twelvefold.core.determinism import peak_rss_mb as p; print(json.dumps(p()))"
    child = json.loads(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout)
    assert determinism.peak_rss_mb() > 320
    assert 5 < child < 150
    assert ballast[0] == 1


def test_commit_of_a_repository_and_of_none(tmp_path: Path) -> None:
    assert determinism.git_commit(tmp_path) is None
    git = ["git", "-C", str(tmp_path), "-c", "user.name=a", "-c", "user.email=a@b"]
    subprocess.run([*git, "init", "-q"], check=True)
    assert determinism.git_commit(tmp_path) is None
    subprocess.run([*git, "commit", "-q", "--allow-empty", "-m", "x"], check=True)
    commit = determinism.git_commit(tmp_path)
    assert commit is not None and len(commit) == 40
    (tmp_path / "inner").mkdir()
    assert determinism.git_commit(tmp_path / "inner") is None
