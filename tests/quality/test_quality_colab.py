"""The first cell on Colab, with a faked google.colab, a recorded pip, a local clone and no network."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from twelvefold.run.badges import colab_cell

from tests.quality.tree import ROOT, project_files, relative

FAKE_PIP = """\
import json, os, sys
from pathlib import Path

words = sys.argv[1:]
constraints = [Path(words[i + 1]).read_text() for i, word in enumerate(words) if word in ("-c", "--constraint")]
record = Path(os.environ["PIP_RECORD"])
calls = json.loads(record.read_text()) if record.exists() else []
record.write_text(json.dumps([*calls, {"words": words, "constraints": "\\n".join(constraints)}]))
"""
# Any attempt to reach another machine is an error in every Python of the test.
NO_NETWORK = """\
import socket


def refuse(*args, **kwargs):
    raise OSError("this test allows no network")


socket.socket.connect = socket.create_connection = socket.getaddrinfo = refuse
"""
AFTERWARDS = """
import json, os, sys
import twelvefold
from twelvefold.core.project import find_root
print("FOUND", json.dumps({"root": str(find_root()), "library": twelvefold.__file__, "cwd": os.getcwd()}))
"""


@pytest.fixture(scope="module")
def remote(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A git repository with this tree's text files, standing for the public one."""
    folder = tmp_path_factory.mktemp("remote")
    for file in project_files():
        if relative(file).startswith(("lib/", "notebooks/", "pyproject.toml", "README.md", "LICENSE")):
            target = folder / relative(file)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(file, target)
    (folder / "notebooks").mkdir(exist_ok=True)
    (folder / "notebooks/.keep").touch()
    who = ["-c", "user.name=test", "-c", "user.email=test@example.org"]
    for words in (["init", "--quiet"], ["add", "--all"], [*who, "commit", "--quiet", "-m", "one"]):
        subprocess.run(["git", "-C", str(folder), *words], check=True, capture_output=True)
    return folder


@pytest.fixture
def machine(tmp_path: Path) -> dict[str, str]:
    """The environment of a Colab look-alike: fakes before everything else, git without a network."""
    fakes = tmp_path / "fakes"
    for package, text in (("google/colab/__init__.py", ""), ("google/__init__.py", ""), ("pip/__init__.py", ""),
                          ("pip/__main__.py", FAKE_PIP), ("sitecustomize.py", NO_NETWORK)):
        (fakes / package).parent.mkdir(parents=True, exist_ok=True)
        (fakes / package).write_text(text)
    settings = {"PYTHONPATH": str(fakes), "PIP_RECORD": str(tmp_path / "pip.json"), "GIT_ALLOW_PROTOCOL": "file"}
    return {k: v for k, v in os.environ.items() if not k.startswith(("TWELVEFOLD", "PYTHON"))} | settings


def run_cell(address: str, folder: Path, environment: dict[str, str], before: str) -> dict[str, str]:
    """Execute the cell in `folder` as a kernel would; return where the project is found afterwards."""
    folder.mkdir(exist_ok=True)
    code = f"{before}\nexec(compile({colab_cell(address)!r}, 'cell', 'exec'))\n{AFTERWARDS}"
    answer = subprocess.run([sys.executable, "-c", code], cwd=folder, env=environment, capture_output=True, text=True)
    assert answer.returncode == 0, answer.stderr
    return dict(json.loads(answer.stdout.split("FOUND", 1)[1]))


def test_colab_gets_a_clone_and_an_install_that_leaves_torch_and_numpy_alone(
    remote: Path, tmp_path: Path, machine: dict[str, str]
) -> None:
    content = tmp_path / "content"
    found = run_cell(f"file://{remote}", content, machine, "import google.colab")
    clone = Path(found["root"])
    assert clone.is_relative_to(content) and found["cwd"] == str(clone)
    assert Path(found["library"]).is_relative_to(clone), "a fresh editable install is seen only after a restart"
    calls = json.loads(Path(machine["PIP_RECORD"]).read_text())
    assert len(calls) == 1 and calls[0]["words"][0] == "install"
    pinned = {canonicalize_name(r.name): str(r.specifier) for r in map(Requirement, calls[0]["constraints"].split())}
    assert pinned["torch"] == f"=={version('torch')}" and pinned["numpy"] == f"=={version('numpy')}"
    replacing = {"--upgrade", "-U", "--force-reinstall", "--ignore-installed", "-I", "-r", "--requirement"}
    assert not (replacing | {"torch", "numpy"}) & set(calls[0]["words"]), "wide bounds, nothing replaced"
    assert any(word.startswith(str(clone)) for word in calls[0]["words"])


def test_a_second_execution_uses_the_clone_that_is_there(
    remote: Path, tmp_path: Path, machine: dict[str, str]
) -> None:
    first = run_cell(f"file://{remote}", tmp_path / "content", machine, "import google.colab")
    again = run_cell("file:///nowhere", tmp_path / "content", machine, "import google.colab")
    assert again["root"] == first["root"]


def test_elsewhere_the_cell_does_nothing(tmp_path: Path, machine: dict[str, str]) -> None:
    where = tmp_path / "anywhere"
    where.mkdir()
    answer = subprocess.run([sys.executable, "-c", colab_cell("file:///nowhere")], cwd=where, env=machine,
                            capture_output=True, text=True)
    assert (answer.returncode, answer.stdout, answer.stderr) == (0, "", "")
    assert not list(where.iterdir()) and not Path(machine["PIP_RECORD"]).exists()


def test_the_bounds_that_colab_installs_are_wide() -> None:
    """Exact pins would replace half of Colab; every bound is a lower one."""
    import tomllib

    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    needed = project["dependencies"] + project["optional-dependencies"]["notebooks"]
    assert {s.operator for line in needed for s in Requirement(line).specifier} <= {">="}
