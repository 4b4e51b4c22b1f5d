"""The command line, built with typer: options are read and checked here, the work is done elsewhere."""

from __future__ import annotations

import importlib.metadata
import re
from typing import Annotated, Any

import typer

from twelvefold.core.presets import DeviceError, PresetError, check_preset, resolve_device
from twelvefold.core.project import find_root
from twelvefold.run.jobs import RunError

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None,
                  help="A runnable companion to twelve machine-learning papers. Without a command: run.")
_REST: dict[str, Any] = {"allow_extra_args": True, "ignore_unknown_options": True}
_DEVICE = re.compile(r"auto|cpu|mps|cuda(:\d+)?")
_CLUSTER = re.compile(r"(tcp|tls|ws|wss|ucx|ucxx)://([^\s:/\[\]]+|\[[0-9a-fA-F:]+\]):\d{1,5}/?")

Preset = Annotated[str, typer.Option(help="quick (laptop), gpu (one GPU) or paper (the paper's scale).")]
Only = Annotated[str | None, typer.Option(metavar="GLOB", help="Only notebooks that fit, like 'some_paper/*'.")]


def run_app(words: list[str]) -> int:
    """Run one command line; a wrong one becomes a RunError of one line (exit status 2)."""
    try:
        result = app(words, prog_name="twelvefold", standalone_mode=False)
    except Exception as error:  # typer's own errors: the module they live in changed between versions
        if isinstance(error.__cause__, KeyboardInterrupt):
            raise KeyboardInterrupt from None
        if not hasattr(error, "format_message"):
            raise
        message = " ".join(error.format_message().split())
        if message.startswith("No such command"):
            message += f" The commands are: {', '.join(command_names())}."
        raise RunError(message) from None
    return result if isinstance(result, int) else 0


def command_names() -> list[str]:
    """Return the names of all commands."""
    return [str(command.name or getattr(command.callback, "__name__", "")) for command in app.registered_commands]


def _check_preset(preset: str) -> None:
    try:
        check_preset(preset)
    except PresetError as error:
        raise RunError(str(error)) from None


def _check(preset: str, seed: int, jobs: int | None, device: str, cluster: str | None) -> None:
    _check_preset(preset)
    if not 0 <= seed < 2**63:
        raise RunError(f"seed = {seed}: expected a whole number from 0 to 2**63 - 1")
    if jobs is not None and jobs < 1:
        raise RunError(f"jobs = {jobs}: expected 1 or more")
    if not _DEVICE.fullmatch(device):
        raise RunError(f"device = {device!r}: expected auto, cpu, mps, cuda or cuda:<index>")
    if cluster is None and (preset != "quick" or device not in ("auto", "cpu")):
        _check_device(device, preset)
    if cluster is not None and not _CLUSTER.fullmatch(cluster):
        raise RunError(f"cluster = {cluster!r}: expected the address of a Dask scheduler, like tcp://host:8786")


def _check_device(device: str, preset: str) -> None:
    try:
        resolve_device(device, preset)
    except DeviceError as error:
        raise RunError(str(error)) from None


@app.command()
def run(
    preset: Preset = "quick",
    only: Only = None,
    jobs: Annotated[int | None, typer.Option(metavar="N", help="Notebooks at once (default: by cores).")] = None,
    force: Annotated[bool, typer.Option("--force", help="Run even what is up to date.")] = False,
    seed: Annotated[int, typer.Option(metavar="S", help="Base seed; not 0: results go to .twelvefold/scratch.")] = 0,
    device: Annotated[str, typer.Option(help="auto, cpu, mps, cuda or cuda:<index>.")] = "auto",
    cluster: Annotated[str | None, typer.Option(metavar="ADDRESS", help="A Dask scheduler: tcp://host:port.")] = None,
) -> int:
    """Execute notebooks and write figures/<preset>/; what is up to date is skipped."""
    _check(preset, seed, jobs, device, cluster)
    from twelvefold.run import ledger, schedule, status, terminal
    from twelvefold.run.jobs import discover

    root = find_root()
    notebooks = discover(root, only)
    parts = {notebook.name: status.parts(root, notebook.name) for notebook in notebooks}
    reporter = terminal.make_reporter()
    try:
        outcomes = schedule.run_notebooks(root, notebooks, preset=preset, seed=seed, device=device, jobs=jobs,
                                          force=force, cluster=cluster, reporter=reporter)
    finally:
        if isinstance(reporter, terminal.LiveReporter):
            reporter.close()
    if seed == 0:
        for outcome in outcomes:
            if outcome.status == "done":
                status.remember(root, preset, outcome.name, parts[outcome.name])
        ledger.write_ledger(root, preset)
    terminal.print_outcomes(outcomes, root)
    return 1 if any(outcome.status == "failed" for outcome in outcomes) else 0


@app.command(context_settings=_REST)
def test(context: typer.Context) -> int:
    """Run the whole test suite; with arguments, pytest with these arguments."""
    from twelvefold.run.suite import run_suite

    return run_suite(find_root(), context.args)


@app.command(context_settings=_REST)
def lab(context: typer.Context) -> int:
    """Open JupyterLab on this machine; a .py opens as a notebook. Further arguments are passed on."""
    from twelvefold.run.lab import run_lab

    return run_lab(find_root(), context.args)


@app.command()
def refresh(only: Only = None) -> int:
    """Write the executed notebooks of the last run at quick as .ipynb files, and the README's tables."""
    from twelvefold.run.refresh import refresh_all

    return refresh_all(find_root(), only)


@app.command(name="status")
def show_status(preset: Preset = "quick", only: Only = None) -> int:
    """Say for each notebook whether its results are up to date, and why not."""
    _check_preset(preset)
    from twelvefold.run.status import print_status

    return print_status(find_root(), preset, only)


@app.command(context_settings=_REST)
def bench(context: typer.Context) -> int:
    """Run the benchmarks and write figures/bench/. Further arguments go to pytest."""
    from twelvefold.run.bench import run_benchmarks

    return run_benchmarks(find_root(), context.args)


@app.command()
def doctor() -> int:
    """Print what a bug report needs: versions, device, data, permissions; with cures."""
    from twelvefold.run.doctor import print_report

    return print_report(find_root())


@app.command()
def badges(check: Annotated[bool, typer.Option("--check", help="Change nothing; 1 when they differ.")] = False) -> int:
    """Write the Colab and Binder badges from [tool.twelvefold] repository in pyproject.toml."""
    from twelvefold.run.badges import update_badges

    changed = update_badges(find_root(), write=not check)
    for path in changed:
        print(f"{path}: {'differs' if check else 'written'}")
    return 1 if check and changed else 0


def _light(name: str, about: str) -> None:
    """List a command that `twelvefold.__main__` reads itself, so that --help shows all of them."""

    def hand_over(context: typer.Context) -> int:
        from twelvefold.__main__ import LIGHT

        return LIGHT[name](context.args)

    app.command(name=name, help=about, context_settings=_REST, add_help_option=False)(hand_over)


_light("script", "Run notebooks as plain scripts; needs only torch and the core dependencies.")
_light("redraw", "Make figures, claims and the ledger again from runs.csv files.")
_light("pack", "Put results into FILE.tar.")
_light("import", "Take results from FILE.tar after checking them.")
_light("lock", "Write requirements.txt.")


def _version(value: bool) -> None:
    if value:
        print(f"twelvefold {importlib.metadata.version('twelvefold')}")
        raise typer.Exit()


@app.callback()
def _options(
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Print it.")] = False,
) -> None:
    """A runnable companion to twelve machine-learning papers. Without a command: run."""
