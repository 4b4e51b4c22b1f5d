"""run_all.sh itself, on a small project with a build backend of its own, so that pip needs no network."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from twelvefold.run import pins

ROOT = Path(__file__).resolve().parents[2]
BACKEND = '''\
import base64, hashlib, pathlib, time, zipfile


def _wheel(folder):
    root = pathlib.Path.cwd()
    if (root / "slow").exists():
        (root / "slow").rename(root / "reached")
        time.sleep(60)
    name = "toy-0-py3-none-any.whl"
    files = {"toy.pth": str(root / "lib") + "\\n",
             "toy-0.dist-info/METADATA": "Metadata-Version: 2.1\\nName: toy\\nVersion: 0\\n",
             "toy-0.dist-info/WHEEL": "Wheel-Version: 1.0\\nGenerator: toy\\n"
             "Root-Is-Purelib: true\\nTag: py3-none-any\\n"}
    record = []
    with zipfile.ZipFile(pathlib.Path(folder, name), "w") as archive:
        for path, text in files.items():
            archive.writestr(path, text)
            digest = base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=").decode()
            record.append(f"{path},sha256={digest},{len(text.encode())}\\n")
        archive.writestr("toy-0.dist-info/RECORD", "".join(record) + "toy-0.dist-info/RECORD,,\\n")
    return name


def build_editable(folder, config_settings=None, metadata_directory=None):
    return _wheel(folder)


build_wheel = build_editable
'''
MAIN = '''\
import os, sys

print("CALLED", os.getcwd(), os.environ["TWELVEFOLD_CALLER_DIR"], sys.prefix, *sys.argv[1:], sep="|")
sys.exit(7 if "seven" in sys.argv else 0)
'''


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project that the script can set up: its package is called twelvefold, its backend is a file of its own."""
    root = tmp_path / "a project"
    (root / "lib/twelvefold/run").mkdir(parents=True)
    for name in ("lib/twelvefold/__init__.py", "lib/twelvefold/run/__init__.py"):
        (root / name).write_text("")
    (root / "lib/twelvefold/__main__.py").write_text(MAIN)
    shutil.copy(ROOT / "lib/twelvefold/run/pins.py", root / "lib/twelvefold/run/pins.py")
    shutil.copy(ROOT / "run_all.sh", root / "run_all.sh")
    (root / "backend.py").write_text(BACKEND)
    (root / "pyproject.toml").write_text(
        '[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n'
        '[project]\nname = "toy"\nversion = "0"\n')
    (root / "requirements.txt").write_text("# nothing\n")
    (root / "requirements-data.txt").write_text("# nothing\n")
    return root


def environment(**more: str) -> dict[str, str]:
    hidden = ("VIRTUAL_ENV", "CONDA_PREFIX", "PYTHONPATH", "TWELVEFOLD_")
    kept = {key: value for key, value in os.environ.items() if not key.startswith(hidden)}
    base = Path(sys.base_prefix) / "bin"  # not the environment of this test run: only a bare Python
    return kept | {"PATH": f"{base}{os.pathsep}{os.environ['PATH']}", "PIP_NO_INDEX": "1"} | more


def start(project: Path, *words: str, cwd: Path | None = None, **more: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        ["bash", str(project / "run_all.sh"), *words], cwd=cwd or project, env=environment(**more), text=True,
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True,
    )


def finish(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    out, err = process.communicate(timeout=180)
    return process.returncode, out, err


def calls(project: Path) -> list[str]:
    """What was called to set up, in order: venv, or pip's last argument."""
    log = project / ".twelvefold/setup.log"
    lines = [line.split() for line in log.read_text().splitlines() if line.startswith("$ ")] if log.exists() else []
    return ["venv" if "venv" in line else line[-1] for line in lines]


@pytest.mark.slow
def test_from_nothing_to_a_second_start_and_back_after_a_kill(project: Path, tmp_path: Path) -> None:
    both = [start(project, "run", "--only", "x y", cwd=tmp_path) for _ in range(2)]
    results = [finish(process) for process in both]
    for status, out, err in results:
        assert status == 0, err
        assert out == f"CALLED|{project}|{tmp_path}|{project / '.venv'}|run|--only|x y\n"
    assert any("another start is setting up .venv: waiting" in err for _, _, err in results)
    assert calls(project) == ["venv", "requirements.txt", "."], "the second of two starts at once must not set up again"

    status, out, err = finish(start(project, "seven"))
    assert (status, err) == (7, ""), "the command's exit status is handed on, and nothing is said"
    assert len(calls(project)) == 3, "a second start calls no pip"

    for stale in (project / ".venv").rglob("toy.pth"):
        stale.unlink()
    (project / "slow").touch()
    process = start(project)
    until = time.monotonic() + 120
    while not (project / "reached").exists() and time.monotonic() < until:
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGKILL)
    finish(process)
    assert (project / ".twelvefold/setup.unfinished").exists()
    before = len(calls(project))
    status, out, err = finish(start(project))
    assert status == 0 and "CALLED" in out, err
    assert calls(project)[before:] == ["venv", "requirements.txt", "."], "half a set-up is made anew"


def test_without_network_one_line_names_the_cure(project: Path) -> None:
    (project / "requirements.txt").write_text("no-such-package-anywhere==1\n")
    status, out, err = finish(start(project))
    assert status == 1 and out == ""
    last = err.strip().splitlines()[-1]
    assert last.startswith("run_all.sh: the environment could not be set up: ERROR: No matching distribution")
    assert "is a network there?" in last and "Traceback" not in err


@pytest.mark.parametrize("words", [("--help",), ("-h",), ("help",)])
def test_help_needs_no_environment(project: Path, words: tuple[str, ...]) -> None:
    status, out, err = finish(start(project, *words))
    assert (status, err) == (0, "") and out.startswith("Usage: ./run_all.sh")
    for command in ("run", "test", "lab", "status", "refresh", "redraw", "doctor", "bench", "script", "pack", "lock"):
        assert f"  {command} " in out
    assert not (project / ".venv").exists() and not (project / ".twelvefold").exists()


def bare_path(tmp_path: Path, *scripts: tuple[str, str]) -> str:
    """A PATH with bash's helpers and the given commands only."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for tool in ("bash", "dirname", "readlink", "cat"):
        (folder / tool).symlink_to(str(shutil.which(tool)))
    for name, text in scripts:
        (folder / name).write_text(text)
        (folder / name).chmod(0o755)
    return str(folder)


def test_without_python_it_says_so(project: Path, tmp_path: Path) -> None:
    old = "#!/bin/sh\nexit 1\n"  # a Python that is too old answers the question for its version like this
    status, out, err = finish(start(project, PATH=bare_path(tmp_path, ("python3", old), ("python", old))))
    assert (status, out) == (1, "") and "no Python 3.11 or newer found" in err and len(err.splitlines()) == 1


def test_a_newer_python_under_another_name_is_found(project: Path, tmp_path: Path) -> None:
    base = Path(sys.base_prefix) / "bin" / f"python{sys.version_info[0]}.{sys.version_info[1]}"
    scripts = ("python3", "#!/bin/sh\nexit 1\n"), ("python3.12", f'#!/bin/sh\nexec "{base}" "$@"\n')
    (project / "requirements.txt").unlink()
    status, _, err = finish(start(project, PATH=bare_path(tmp_path, *scripts)))
    assert status == 1 and "requirements.txt is missing" in err


def test_a_link_to_the_script_works(project: Path, tmp_path: Path) -> None:
    (project / "requirements.txt").unlink()
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere/run_all.sh").symlink_to(Path("../a project/run_all.sh"))
    status, _, err = finish(start(tmp_path / "elsewhere"))
    assert status == 1 and f"{project}/requirements.txt is missing" in err


@pytest.mark.skipif(bool(pins.check(ROOT)), reason="this environment does not have the pinned packages")
def test_an_active_environment_that_fits_is_used_from_any_folder(tmp_path: Path) -> None:
    process = start(ROOT, "run", "--preset", "enormous", cwd=tmp_path, VIRTUAL_ENV=sys.prefix)
    status, out, err = finish(process)
    assert (status, out) == (2, "")
    assert err == "twelvefold: preset = 'enormous' is unknown; the presets are quick, gpu, paper.\n"
