"""One set of versions: the pins satisfy the declared bounds, and conda's torch is pip's torch."""

from __future__ import annotations

import tomllib
from typing import Any

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.quality.tree import ROOT


def pins() -> dict[str, str]:
    """Canonical name to version, from requirements.txt."""
    lines = [line.split("#")[0].strip() for line in (ROOT / "requirements.txt").read_text().splitlines()]
    requirements = [Requirement(line) for line in lines if line and not line.startswith("-")]
    versions = {}
    for requirement in requirements:
        (pin,) = requirement.specifier
        assert pin.operator == "==" and "*" not in pin.version, f"{requirement} is not an exact pin"
        assert versions.setdefault(canonicalize_name(requirement.name), pin.version) == pin.version
    return versions


def project() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def environment() -> list[Any]:
    return yaml.safe_load((ROOT / "environment.yml").read_text())["dependencies"]


def declared() -> list[Requirement]:
    lines = project()["dependencies"] + [r for extra in project()["optional-dependencies"].values() for r in extra]
    return [r for r in map(Requirement, lines) if canonicalize_name(r.name) != "twelvefold"]


@pytest.mark.parametrize("requirement", declared(), ids=str)
def test_the_pins_satisfy_the_declared_bounds(requirement: Requirement) -> None:
    version = pins().get(canonicalize_name(requirement.name))
    assert version is not None, f"requirements.txt does not pin {requirement.name}"
    assert requirement.specifier.contains(version, prereleases=True)


def test_torch_is_the_same_version_in_both_environments() -> None:
    conda = [entry.split("=") for entry in environment() if isinstance(entry, str)]
    torch = [parts for parts in conda if parts[0].strip() in ("pytorch", "pytorch-cpu")]
    assert torch and all(list(filter(None, parts))[1] == pins()["torch"] for parts in torch)


def test_the_environment_uses_the_oldest_supported_python() -> None:
    conda = [entry.replace("==", "=").split("=") for entry in environment() if isinstance(entry, str)]
    (python,) = [parts[1] for parts in conda if parts[0] == "python"]
    assert python == "3.11" and project()["requires-python"] == ">=3.11"


def test_the_environment_installs_the_same_files_as_the_shell_script() -> None:
    (pip,) = [entry["pip"] for entry in environment() if isinstance(entry, dict)]
    script = (ROOT / "run_all.sh").read_text()
    for name in ("requirements.txt", "requirements-data.txt"):
        assert any(name in line for line in pip) or name in "".join(map(str, pip)), name
        assert name in script
