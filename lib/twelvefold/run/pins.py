"""Which environment runs the project: one that has the pinned packages, found or made.

Standard library only: `run_all.sh` executes this file before anything is installed.

    python -P pins.py check ROOT     one line per problem of the running environment, exit status 1 when there is one
    python -P pins.py ensure ROOT    makes or repairs ROOT/.venv where needed; prints the python to use
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

PINS = "requirements.txt"
DATA_PINS = "requirements-data.txt"
MINIMUM = (3, 11)
_LINE = re.compile(r"(?P<name>[A-Za-z0-9][A-Za-z0-9._-]*)(?:\[[^\]]*\])?\s*==\s*(?P<version>[^\s;#]+)")
_NETWORK = ("NewConnectionError", "name resolution", "Network is unreachable", "ConnectTimeout", "ProxyError",
            "No matching distribution found", "Connection refused", "ReadTimeout")


class SetupError(RuntimeError):
    """The environment cannot be made; the message names the cure."""


@dataclass(frozen=True)
class Pin:
    """One line `name==version` of a requirement file."""

    name: str
    version: str


def read_pins(text: str) -> list[Pin]:
    """Return the pins of a requirement file; comments and blank lines are left out.

    Raises:
        SetupError: for a line that is not `name==version`: everything in these files is pinned exactly.
    """
    pins = []
    for line in (raw.strip() for raw in text.splitlines()):
        if not line or line.startswith("#"):
            continue
        match = _LINE.match(line)
        if match is None:
            raise SetupError(f"requirement line {line!r} is no exact pin: expected name==version")
        pins.append(Pin(match["name"], match["version"]))
    return pins


def satisfies(installed: str, pinned: str) -> bool:
    """Whether an installed version meets a pin; a local suffix (torch's +cpu, +cu130) does not count."""
    return installed == pinned or ("+" not in pinned and installed.partition("+")[0] == pinned)


def installed_version(name: str) -> str | None:
    """Return the version of an installed distribution, None when there is none."""
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def pin_problems(pins: Sequence[Pin], version_of: Callable[[str], str | None] = installed_version) -> list[str]:
    """Return one line per pin that the environment does not meet."""
    problems = []
    for pin in pins:
        found = version_of(pin.name)
        if found is None:
            problems.append(f"{pin.name}=={pin.version} is missing")
        elif not satisfies(found, pin.version):
            problems.append(f"{pin.name}=={pin.version} is wanted, {found} is installed")
    return problems


def all_pins(root: Path) -> list[Pin]:
    """Return the pins of both requirement files of the project at `root`."""
    pins = root / PINS
    if not pins.is_file():
        raise SetupError(f"{pins} is missing: restore it from version control (`python -m twelvefold lock` writes it)")
    data = root / DATA_PINS
    return read_pins(pins.read_text()) + (read_pins(data.read_text()) if data.is_file() else [])


def packages(root: Path) -> list[str]:
    """Return the import names of the packages below `root/lib`."""
    return sorted(path.parent.name for path in (root / "lib").glob("*/__init__.py"))


def import_problems(root: Path) -> list[str]:
    """Return one line per package of the project that this environment does not import from this tree."""
    problems = []
    for name in packages(root):
        spec = importlib.util.find_spec(name)
        if spec is None or spec.origin is None:
            problems.append(f"the project ({name}) is not installed")
        elif Path(spec.origin).resolve() != (root / "lib" / name / "__init__.py").resolve():
            problems.append(f"{name} is imported from {Path(spec.origin).parent}, not from this tree")
    return problems


def check(root: Path) -> list[str]:
    """Return everything that keeps the running environment from running the project at `root`."""
    if sys.version_info < MINIMUM:
        return [f"Python {'.'.join(map(str, MINIMUM))} or newer is needed, this is {sys.version.split()[0]}"]
    return pin_problems(all_pins(root)) + import_problems(root)


def python_of(prefix: Path) -> Path:
    """Return the interpreter of the environment at `prefix`."""
    return prefix / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


def problems_of(python: Path, root: Path) -> list[str]:
    """Return what `check` says in another environment; an interpreter that does not start is a problem, too."""
    command = [str(python), "-P", __file__, "check", str(root)]
    try:
        result = subprocess.run(command, capture_output=True, text=True)
    except OSError as error:
        return [f"{python} does not start: {error.strerror}"]
    if result.returncode == 0:
        return []
    lines = result.stdout.splitlines() if result.returncode == 1 else []
    return lines or [f"{python} cannot be used: {(result.stderr.strip().splitlines() or ['no message'])[-1]}"]


def active_prefixes(environ: Mapping[str, str], root: Path) -> list[Path]:
    """Return the environments that the caller has activated, the project's own `.venv` left out."""
    named = [Path(environ[key]) for key in ("VIRTUAL_ENV", "CONDA_PREFIX") if environ.get(key)]
    return [prefix for prefix in named if prefix.resolve() != (root / ".venv").resolve()]


def ensure(root: Path, environ: Mapping[str, str] = os.environ) -> Path:
    """Return the python that runs the project: an active environment that fits, else `.venv`, made where needed.

    Raises:
        SetupError: when `.venv` cannot be made.
    """
    for prefix in active_prefixes(environ, root):
        problems = problems_of(python_of(prefix), root)
        if not problems:
            return python_of(prefix)
        more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
        _say(f"the active environment {prefix} does not fit: {problems[0]}{more}; using .venv")
    python = python_of(root / ".venv")
    if _fits(root, python):
        return python
    with _setup_lock(root) as lock:
        if not _fits(root, python):  # another start may have made it meanwhile
            _make(root, python, lock)
    return python


def _fits(root: Path, python: Path) -> bool:
    return python.exists() and not _marker(root).exists() and not problems_of(python, root)


def _marker(root: Path) -> Path:
    """Exists from before the first change of `.venv` until the last: a killed set-up leaves it behind."""
    return root / ".twelvefold" / "setup.unfinished"


def _make(root: Path, python: Path, lock: IO[bytes]) -> None:
    """Create or update `.venv`. After a killed set-up it is made anew: pip cannot repair half a package."""
    all_pins(root)
    fresh = _marker(root).exists() or not python.exists()
    _say("setting up .venv: about 2 minutes and 2.5 GB" if fresh else "updating .venv to the pinned versions")
    _marker(root).touch()
    if fresh:
        _create(root, lock)
    pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    try:
        _call([*pip, "-r", PINS], root, lock)
        if read_pins((root / DATA_PINS).read_text() if (root / DATA_PINS).is_file() else ""):
            _call([*pip, "--no-deps", "-r", DATA_PINS], root, lock)
        _call([*pip, "--no-deps", "-e", "."], root, lock)
    except SetupError:
        _marker(root).unlink()  # pip ended by itself and left whole packages: nothing to clear away
        raise
    _marker(root).unlink()
    left = problems_of(python, root)
    if left:
        raise SetupError(f".venv still does not fit: {left[0]}. Cure: delete .venv and start again")
    _say(".venv is ready")


def _create(root: Path, lock: IO[bytes]) -> None:
    if importlib.util.find_spec("ensurepip") is None:
        raise SetupError(f"{sys.executable} has no ensurepip, so no .venv can be made: install the venv package of "
                         "this Python (Debian, Ubuntu: apt-get install python3-venv)")
    _call([sys.executable, "-m", "venv", "--clear", str(root / ".venv")], root, lock)


def _call(command: list[str], root: Path, lock: IO[bytes]) -> None:
    """Run a command with its output in .twelvefold/setup.log; the child holds the lock even when we are killed."""
    log = root / ".twelvefold" / "setup.log"
    with log.open("a") as stream:
        stream.write(f"$ {' '.join(command)}\n")
        stream.flush()
        done = subprocess.run(command, cwd=root, stdin=subprocess.DEVNULL, stdout=stream, stderr=subprocess.STDOUT,
                              pass_fds=[lock.fileno()] if os.name == "posix" else [])
    if done.returncode:
        output = log.read_text(errors="replace").rpartition("$ " + " ".join(command) + "\n")[2]
        raise SetupError(_failure(output, log))


def _failure(output: str, log: Path) -> str:
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    errors = [line for line in lines if line.startswith("ERROR")]
    text = (errors or lines or ["no message"])[-1]
    if any(word in output for word in _NETWORK):
        cure = "is a network there? PIP_INDEX_URL names a mirror; an active environment with these packages serves too"
    elif "No space left" in output:
        cure = "free 6 GB of disk space"
    else:
        cure = "mend what the log tells, or delete .venv, and start again"
    return f"the environment could not be set up: {text} (full log: {log}). Cure: {cure}"


@contextmanager
def _setup_lock(root: Path) -> Iterator[IO[bytes]]:
    """Let one start at a time change `.venv`; a second one says that it waits."""
    folder = root / ".twelvefold"
    try:
        folder.mkdir(exist_ok=True)
        stream = (folder / "setup.lock").open("ab")
    except OSError as error:
        raise SetupError(f"{folder} cannot be written ({error.strerror}): make the tree writable, or activate an "
                         "environment that has the pinned packages and this project") from None
    with stream:
        try:
            import fcntl
        except ImportError:  # Windows: no lock, the marker still tells of a set-up under way
            yield stream
            return
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            _say("another start is setting up .venv: waiting for it")
            fcntl.flock(stream, fcntl.LOCK_EX)
        yield stream


def _say(text: str) -> None:
    print(f"run_all.sh: {text}", file=sys.stderr, flush=True)


def main(arguments: Sequence[str]) -> int:
    """Run `check ROOT` or `ensure ROOT`; return the exit status."""
    if len(arguments) != 2 or arguments[0] not in ("check", "ensure"):
        _say("pins.py: expected `check ROOT` or `ensure ROOT`")
        return 2
    root = Path(arguments[1]).resolve()
    try:
        if arguments[0] == "ensure":
            print(ensure(root))
            return 0
        problems = check(root)
    except SetupError as error:
        _say(str(error))
        return 3 if arguments[0] == "check" else 1
    except KeyboardInterrupt:
        return 130
    print("\n".join(problems), end="\n" if problems else "")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
