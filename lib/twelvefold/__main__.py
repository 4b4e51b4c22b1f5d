"""`python -m twelvefold COMMAND`: hands over to the command line.

The commands that must work on a machine with only torch (script, pack, import, redraw) and the one that makes the
environment (lock) are read by argparse here; all others by typer in `twelvefold.run.cli`.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NoReturn

from twelvefold.core.presets import PRESETS
from twelvefold.core.project import ProjectError, find_root
from twelvefold.run.jobs import RunError

_HELP = ("-h", "--help", "--version")


class _Parser(argparse.ArgumentParser):
    """Reports a wrong argument in one line."""

    def error(self, message: str) -> NoReturn:
        raise RunError(f"{self.prog.split()[-1]}: {message}")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command line and return its exit status: 0, 1 some failed, 2 usage, 3 busy, 130 interrupted."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    if not words or (words[0].startswith("-") and words[0] not in _HELP):
        words.insert(0, "run")
    try:
        if words[0] in LIGHT:
            return LIGHT[words[0]](words[1:])
        return _typer(words)
    except RunError as error:
        return _complain(error, error.exit_code)
    except ProjectError as error:
        return _complain(error, 2)
    except KeyboardInterrupt:
        return _complain("interrupted", 130)


def _complain(problem: object, status: int) -> int:
    print(f"twelvefold: {problem}", file=sys.stderr)
    return status


def _typer(words: list[str]) -> int:
    try:
        from twelvefold.run import cli
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("twelvefold"):
            raise
        raise RunError(f"{words[0]} needs the package {error.name}: ./run_all.sh installs everything, "
                       "or pip install 'twelvefold[notebooks,run]'") from None
    return cli.run_app(words)


def user_path(text: str) -> Path:
    """Return a path that the user typed; run_all.sh changes into the tree and names the user's folder in a variable."""
    return Path(os.environ.get("TWELVEFOLD_CALLER_DIR") or ".", text)


def seed_number(text: str) -> int:
    """Return a seed as typed; raises argparse's error for anything but a non-negative whole number below 2**63."""
    if not text.isascii() or not text.isdigit() or int(text) >= 2**63:
        raise argparse.ArgumentTypeError(f"seed = {text!r}: expected a whole number from 0 to 2**63 - 1")
    return int(text)


def _parser(name: str, about: str) -> _Parser:
    return _Parser(prog=f"twelvefold {name}", description=about, allow_abbrev=False)


def _select(parser: argparse.ArgumentParser, preset: str | None, help_text: str) -> None:
    parser.add_argument("--preset", choices=PRESETS, default=preset, help=help_text)
    parser.add_argument("--only", metavar="GLOB", help="only notebooks whose name fits, like 'some_paper/*'")


def _script(words: list[str]) -> int:
    parser = _parser("script", "Run notebooks as plain scripts with this interpreter: no kernel, papermill or Dask.")
    parser.add_argument("notebook", help="name, path or glob, like some_paper/01_result")
    parser.add_argument("--preset", choices=PRESETS, default="quick")
    parser.add_argument("--seed", type=seed_number, default=0, help="base seed; not 0: results go to scratch")
    parser.add_argument("--device", default="auto", help="auto, cpu, mps, cuda or cuda:<index>")
    parser.add_argument("--force", action="store_true", help="run even when the results are up to date")
    args = parser.parse_args(words)
    from twelvefold.run.script import run_scripts

    return run_scripts(find_root(), args.notebook, preset=args.preset, seed=args.seed, device=args.device,
                       force=args.force)


def _pack(words: list[str]) -> int:
    parser = _parser("pack", "Put results into a tar file that another machine can import.")
    parser.add_argument("file", help="FILE.tar to write")
    _select(parser, None, "only this preset (default: all that have results)")
    args = parser.parse_args(words)
    from twelvefold.run.transfer import pack

    count = pack(find_root(), user_path(args.file), preset=args.preset, only=args.only)
    print(f"{args.file}: {count} result{'' if count == 1 else 's'}")
    return 0


def _import(words: list[str]) -> int:
    parser = _parser("import", "Take results from a tar file after checking checksums, schema and content key.")
    parser.add_argument("file", help="FILE.tar that pack wrote")
    parser.add_argument("--older", action="store_true", help="take results of other code, too; the ledger marks them")
    args = parser.parse_args(words)
    from twelvefold.run.transfer import import_results

    for line in import_results(find_root(), user_path(args.file), older=args.older):
        print(line)
    return 0


def _redraw(words: list[str]) -> int:
    parser = _parser("redraw", "Make figures, tables, claims and the ledger again from runs.csv; computes nothing.")
    _select(parser, None, "only this preset (default: all that have results)")
    args = parser.parse_args(words)
    from twelvefold.run.redraw import redraw_all

    return redraw_all(find_root(), preset=args.preset, only=args.only)


def _lock(words: list[str]) -> int:
    parser = _parser("lock", "Write requirements.txt: exact pins, resolved by pip from the extras in pyproject.toml.")
    parser.add_argument("--constraint", metavar="FILE", help="versions to stay with, a pip constraint file")
    args = parser.parse_args(words)
    from twelvefold.run.requirements import lock

    print(lock(find_root(), user_path(args.constraint) if args.constraint else None))
    return 0


LIGHT: dict[str, Callable[[list[str]], int]] = {
    "script": _script, "pack": _pack, "import": _import, "redraw": _redraw, "lock": _lock,
}

if __name__ == "__main__":
    sys.exit(main())
