"""Binder: repo2docker recognises the tree and writes a Dockerfile; nothing is built and no engine is needed."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.quality.tree import ROOT, project_files, relative

SOURCE_COPY, INSTALL = "COPY --chown=1000:1000 src/ ", "env update -p"


@pytest.fixture(scope="module")
def dockerfile(tmp_path_factory: pytest.TempPathFactory) -> str:
    """What `repo2docker --no-build` prints for a copy of this tree."""
    pytest.importorskip("repo2docker", reason="the Python package jupyter-repo2docker is not installed")
    copy = tmp_path_factory.mktemp("copy")
    for file in project_files():
        if file.stat().st_size < 200_000:
            target = copy / relative(file)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(file, target)
    command = [sys.executable, "-m", "repo2docker", "--no-build", "--debug", "--user-id", "1000"]
    environment = os.environ | {"DOCKER_HOST": "unix:///nonexistent/docker.sock"}
    answer = subprocess.run(
        [*command, "--user-name", "jovyan", str(copy)], env=environment, capture_output=True, text=True, timeout=120
    )
    assert answer.returncode == 0, answer.stderr[-3000:]
    return answer.stdout


def test_the_environment_file_is_the_one_that_binder_uses(dockerfile: str) -> None:
    assert dockerfile.lstrip().startswith("FROM ")
    assert "environment.py-3.11" in dockerfile.replace("-2e", ".").replace("-2d", "-")
    assert f'--file "{environment_file()}"' in dockerfile


def test_the_project_is_there_before_it_is_installed(dockerfile: str) -> None:
    """environment.yml installs files of the tree, so the tree must have been copied first."""
    assert SOURCE_COPY in dockerfile and INSTALL in dockerfile
    assert dockerfile.index(SOURCE_COPY) < dockerfile.rindex(INSTALL)


def test_the_data_wheels_are_installed_last_and_without_their_dependencies(dockerfile: str) -> None:
    """repo2docker runs postBuild in the tree, after the environment is made."""
    assert "./postBuild" in dockerfile and dockerfile.rindex("./postBuild") > dockerfile.rindex(INSTALL)
    post = environment_file().with_name("postBuild")
    assert os.access(ROOT / post, os.X_OK) and (ROOT / post).read_text().startswith("#!")


def test_post_build_stops_at_the_first_failure(tmp_path: Path) -> None:
    """Run with a `python` that fails, then with one that works: what was called, in which order."""
    log = tmp_path / "called"
    for name in ("python", "jupytext-config"):
        script = tmp_path / name
        script.write_text(f'#!/bin/sh\necho {name} "$@" >> {log}\nexit ${{STATUS:-0}}\n')
        script.chmod(0o755)
    environment = os.environ | {"PATH": f"{tmp_path}:{os.environ['PATH']}"}
    command = [str(ROOT / environment_file().with_name("postBuild"))]
    failed = subprocess.run(command, env=environment | {"STATUS": "3"}, cwd=ROOT)
    assert failed.returncode == 3 and log.read_text().count("\n") == 1
    log.unlink()
    assert subprocess.run(command, env=environment, cwd=ROOT).returncode == 0
    assert log.read_text().splitlines() == [
        "python -m pip install --no-cache-dir --no-deps -r requirements-data.txt",
        "jupytext-config set-default-viewer python",
    ]


def test_binder_gets_jupyterlab_and_the_project() -> None:
    dependencies = yaml.safe_load((ROOT / environment_file()).read_text())["dependencies"]
    (lines,) = [entry["pip"] for entry in dependencies if isinstance(entry, dict)]
    assert any("requirements.txt" in line for line in lines)
    assert any(line.split()[-1].removeprefix("--editable=").strip("/") in (".", "..") for line in lines)
    pinned = (ROOT / "requirements.txt").read_text().lower()
    for package in ("jupyterlab==", "jupytext==", "ipywidgets==", "ipykernel=="):
        assert package in pinned


def environment_file() -> Path:
    """binder/ wins over the root where it exists (repo2docker's own rule)."""
    folder = next((name for name in ("binder", ".binder") if (ROOT / name).is_dir()), ".")
    return Path(folder) / "environment.yml"
