"""`test`, `bench` and `lab`: which commands they start, in which environment, and what they make of the answers."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
from twelvefold.run import bench, lab, suite
from twelvefold.run.bench import BenchError
from twelvefold.run.publish import TreeProblem

from tests.run.madeup import make_tree


class Pytest:
    """Stands in for pytest: remembers arguments and environment, answers with prepared exit statuses."""

    def __init__(self) -> None:
        self.calls: list[list[str]] = []
        self.environments: list[dict[str, str]] = []
        self.statuses: list[int] = []

    def run(self, command: list[str], cwd: Path, env: dict[str, str]) -> Any:
        self.calls.append(command[3:])
        self.environments.append(env)
        return subprocess.CompletedProcess(command, self.statuses.pop(0) if self.statuses else 0)


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> Pytest:
    stand_in = Pytest()
    monkeypatch.setattr(suite.subprocess, "run", stand_in.run)
    monkeypatch.setenv("TWELVEFOLD_OUT", "of the caller")
    return stand_in


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    root = make_tree(tmp_path)
    for name in ("tests/notebooks", "tests/benchmarks", "tests/run"):
        (root / name).mkdir(parents=True)
    (root / "notebooks/toy/01_alpha.ipynb").write_text("{}")
    return root


def test_the_whole_suite_has_three_steps_and_notebooks_share_their_output(tree: Path, fake: Pytest) -> None:
    assert suite.run_suite(tree, []) == 0
    tests, notebooks, results = fake.calls
    assert {"tests", "--ignore=tests/notebooks", "--ignore=tests/benchmarks"} <= set(tests)
    assert "--nbval-lax" in notebooks and "notebooks" in notebooks
    assert "tests/notebooks" in results
    out = [env.get("TWELVEFOLD_OUT") for env in fake.environments]
    assert out[0] is None and out[1] == out[2] != "of the caller"
    assert fake.environments[1]["TWELVEFOLD_BATCH"] == "1"
    assert not Path(str(out[1])).exists(), "the folder is temporary"


@pytest.mark.parametrize(("statuses", "expected"), [
    ([0, 0, 0], 0), ([1, 0, 0], 1), ([0, 1, 0], 1), ([0, 0, 2], 2), ([5, 0, 0], 0), ([0, 3, 1], 3),
])
def test_a_failure_in_any_step_counts_and_later_steps_run(
    tree: Path, fake: Pytest, statuses: list[int], expected: int
) -> None:
    fake.statuses = list(statuses)
    assert suite.run_suite(tree, []) == expected
    assert len(fake.calls) == 3


def test_arguments_go_to_pytest_on_the_first_steps_tests(tree: Path, fake: Pytest) -> None:
    fake.statuses = [4]
    assert suite.run_suite(tree, ["-k", "name"]) == 4
    assert fake.calls == [["tests", "--ignore=tests/notebooks", "--ignore=tests/benchmarks", "-k", "name"]]
    suite.run_suite(tree, ["tests/run::test_x", "-x"])
    assert fake.calls[1] == ["tests/run::test_x", "-x"]


def test_a_tree_without_notebooks_has_one_step(tmp_path: Path) -> None:
    assert [title for title, _, _ in suite.steps(make_tree(tmp_path), "out")] == ["tests"]


REPORT = {"benchmarks": [
    {"name": "test_b", "extra_info": {"what": "a | b", "peer": "loop", "ours_seconds": 0.1, "peer_seconds": 0.55,
                                      "ratio": 5.5, "target": 5}},
    {"name": "test_a", "extra_info": {"ratio": 2.0}}, {"name": "test_c", "extra_info": {}},
]}


def test_benchmarks_become_three_files(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def run(root: Path, words: list[str], extra: dict[str, str]) -> int:
        Path(next(w for w in words if w.startswith("--benchmark-json="))[17:]).write_text(json.dumps(REPORT))
        assert words[-2:] == ["-k", "x"]
        return 1

    monkeypatch.setattr(bench, "pytest_status", run)
    assert bench.run_benchmarks(tree, ["-k", "x"]) == 1
    folder = tree / "figures/bench"
    assert "| a \\| b | loop | 0.1 | 0.55 | 5.50 | 5 |" in (folder / "bench.md").read_text()
    assert (folder / "bench.csv").read_text().splitlines() == [
        "benchmark,what,peer,ours_seconds,peer_seconds,ratio,target", "test_a,,,,,2.0,",
        "test_b,a | b,loop,0.1,0.55,5.5,5"]
    assert [row["benchmark"] for row in json.loads((folder / "bench.json").read_text())["benchmarks"]] == [
        "test_a", "test_b"]


def test_without_benchmarks_or_ratios_it_says_so(
    tree: Path, tmp_path_factory: pytest.TempPathFactory, fake: Pytest
) -> None:
    with pytest.raises(BenchError, match="no benchmark recorded a ratio"):
        bench.run_benchmarks(tree)
    assert not (tree / "figures/bench").exists()
    with pytest.raises(BenchError, match="has no benchmarks"):
        bench.run_benchmarks(make_tree(tmp_path_factory.mktemp("bare")))


def test_lab_listens_on_loopback_with_a_token_and_opens_texts_as_notebooks(tree: Path) -> None:
    command = lab.lab_command(tree, ["--no-browser"])
    assert "--ServerApp.ip=127.0.0.1" in command and f"--ServerApp.root_dir={tree}" in command
    assert command[-1] == "--no-browser" and not any("token" in word or "password" in word for word in command)
    given = {"TWELVEFOLD_OUT": "x", "TWELVEFOLD_BATCH": "1", "JUPYTER_CONFIG_PATH": "/a"}
    environment = lab.lab_environment(tree, given)
    assert "TWELVEFOLD_OUT" not in environment and "TWELVEFOLD_BATCH" not in environment
    first, second = environment["JUPYTER_CONFIG_PATH"].split(":")
    assert second == "/a"
    settings = json.loads(Path(first, "labconfig/default_setting_overrides.json").read_text())
    assert settings["@jupyterlab/docmanager-extension:plugin"]["defaultViewers"] == {"python": "Jupytext Notebook"}


def test_jupyterlab_reads_these_settings(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The layer of defaults is found through JUPYTER_CONFIG_PATH by JupyterLab's own code."""
    from jupyterlab_server.settings_utils import _get_overrides

    monkeypatch.setenv("JUPYTER_CONFIG_PATH", str(lab.write_settings(tree)))
    overrides, error = _get_overrides(str(tree / "no-such-folder"))
    assert not error
    assert overrides["@jupyterlab/docmanager-extension:plugin"]["defaultViewers"]["python"] == "Jupytext Notebook"


def test_a_tree_that_cannot_be_written_is_explained(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: Path, *args: Any, **options: Any) -> None:
        raise PermissionError(13, "Permission denied", str(self))

    monkeypatch.setattr(Path, "mkdir", refuse)
    with pytest.raises(TreeProblem, match="Permission denied"):
        lab.write_settings(tree)
