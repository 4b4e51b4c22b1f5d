"""Study: one notebook's run, from its parameters to study.json.

The order is fixed: `scale`, `declare`, then the sweeps, `runs`, and from these rows alone `table`, `figure` and
`decide`; `done` writes study.json last, so a folder without it is unfinished.
"""

from __future__ import annotations

import json
import platform
import time
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import torch
from matplotlib.figure import Figure

from . import determinism, display, frames, plotting
from .claims import DETERMINISTIC, Claim, Estimate
from .folder import empty as empty_folder
from .folder import results_folder, root_above, sha256, write_bytes
from .frames import read_runs
from .presets import check_preset, resolve_device
from .schema import StudyError, check_study, check_values, plain
from .verdicts import Verdicts

__all__ = ["Study", "StudyError", "read_runs"]


class Study:
    """One result of one paper at one preset.

    Args:
        name: `<paper>/<NN_result>`.
        preset: "quick", "gpu" or "paper".
        seed: base seed, 0 for the reported run; 10000 and larger explore.
        device: "auto", "cpu", "mps", "cuda" or "cuda:<index>".

    Attributes:
        name, preset, seed: as given.
        device: the torch device that computes.
        dtype: type of the numbers (a name or a torch dtype), "float32"; set it where a notebook computes in another.
        root: folder of the project.
        folder: where the files of this study go.
        parameters: the notebook's parameters as they were given.
        scale_values: the values of the preset, after `scale`.
        replaying: whether this study is rebuilt from a finished one.

    Raises:
        PresetError, DeviceError, ProjectError: unknown preset, device or name, or no project around the working folder.
        StudyError: a seed that is not a whole number of at least 0.
    """

    def __init__(self, name: str, preset: str = "quick", seed: int = 0, device: str = "auto") -> None:
        from .project import check_name, find_root
        from .sources import content_key

        self._clock = time.monotonic()
        started = datetime.now(UTC).isoformat(timespec="seconds")
        self.name = check_name(name)
        self.preset = check_preset(preset)
        if isinstance(seed, bool) or not isinstance(seed, int | np.integer) or seed < 0:
            raise StudyError(f"seed = {seed!r}; a whole number, 0 or larger, is needed.")
        self.seed = int(seed)
        self.device = resolve_device(device, preset)
        determinism.setup(self.device)
        plotting.use_style()
        self.root = find_root()
        self.folder = results_folder(self.root, preset) / name
        self.parameters: dict[str, Any] = {"preset": preset, "seed": self.seed, "device": device}
        self.dtype: str | torch.dtype = "float32"
        self._base: dict[str, Any] = {
            "content_key": content_key(self.root, name), "threads": torch.get_num_threads(),
            "versions": determinism.versions(), "run": {"started": started},
        }
        self._start(replaying=False)
        empty_folder(self.folder)

    def _start(self, replaying: bool) -> None:
        self.replaying = replaying
        self.scale_values: SimpleNamespace | None = None
        self._scale: dict[str, Any] | None = None
        self._verdicts = Verdicts()
        self._runs: dict[str, str] | None = None
        self._tables: dict[str, dict[str, Any]] = {}
        self._figures: dict[str, dict[str, Any]] = {}
        self._shapes: list[str] = []
        self._finished = False

    @classmethod
    def replay(cls, folder: Path | str) -> Study:
        """Rebuild a study from its folder, to make its tables, figures and decisions again from its runs.csv.

        Seed, device, versions, content key, scale and the `run` record are those of the finished study; nothing is
        computed or shown. `runs()` returns the recorded rows.

        Raises:
            StudyError: no study.json, or a runs.csv that is missing or differs from the recorded checksum.
            SchemaError: a study.json that is not of the agreed form.
        """
        path = Path(folder).resolve()
        if not (path / "study.json").is_file():
            raise StudyError(f"folder = {str(path)!r} holds no study.json; run the notebook first.")
        recorded = json.loads((path / "study.json").read_text(encoding="utf-8"))
        check_study(recorded)
        study = cls.__new__(cls)
        study.name, study.preset, study.seed = recorded["name"], recorded["preset"], recorded["seed"]
        study.device, study.dtype = torch.device(recorded["device"]), recorded["dtype"]
        study.parameters = recorded["parameters"]
        study.root, study.folder = root_above(path), path
        study._base = recorded
        study._start(replaying=True)
        study._scale = recorded["scale"]
        study.scale_values = SimpleNamespace(**recorded["scale"])
        study._check_runs(recorded["runs"])
        plotting.use_style()
        return study

    def _check_runs(self, recorded: dict[str, str]) -> None:
        path = self.folder / recorded["file"]
        if not path.is_file():
            raise StudyError(f"{path} is missing; run the notebook again.")
        if sha256(path.read_bytes()) != recorded["sha256"]:
            raise StudyError(f"{path} differs from the checksum in study.json; restore it, or run the notebook again.")
        self._runs = dict(recorded)

    @property
    def level(self) -> float:
        """Confidence level of every interval behind a claim: 1 - 0.05 / m for m stochastic claims."""
        return self._verdicts.level

    def scale(
        self, quick: Mapping[str, Any], gpu: Mapping[str, Any], paper: Mapping[str, Any]
    ) -> SimpleNamespace:
        """Return the values of this study's preset, and record them.

        Args:
            quick, gpu, paper: per preset the same names with their values (numbers, texts, bools, None, lists).

        Raises:
            StudyError: a second call, or presets that differ in their names.
            SchemaError: a value that JSON cannot hold.
        """
        if self._scale is not None:
            raise StudyError("study.scale was called already; a study has one scale.")
        scales = {"quick": dict(quick), "gpu": dict(gpu), "paper": dict(paper)}
        for preset, values in scales.items():
            if set(values) != set(scales["quick"]):
                odd = ", ".join(sorted(map(str, set(values) ^ set(scales["quick"]))))
                raise StudyError(f"scale: presets quick and {preset} must name the same values; they differ in {odd}.")
            scales[preset] = plain(values)
            check_values(f"scale.{preset}", scales[preset])
        self._scale = scales[self.preset]
        self.scale_values = SimpleNamespace(**self._scale)
        return SimpleNamespace(**self._scale)

    def declare(self, claims: Iterable[Claim]) -> None:
        """Declare the claims, before anything is computed: shows them and fixes `level`.

        Raises:
            StudyError: a second call, no claim, something that is not a Claim, or an id used twice.
        """
        self._verdicts.declare(claims)
        if not self.replaying:
            display.show_table(self._verdicts.declared_table(), self._verdicts.level_sentence())

    def runs(self, frame: pd.DataFrame | None = None) -> pd.DataFrame:
        """Write runs.csv, one row per unit and checkpoint, and return its rows as read back from the file.

        Args:
            frame: the raw rows, without an index that means something; left out (and ignored) when replaying.

        Raises:
            StudyError: a second call, a call before `declare`, no rows, or cells that a CSV file cannot hold.
        """
        if self.replaying:
            return read_runs(self.folder / "runs.csv")
        if self._runs is not None:
            raise StudyError("study.runs was called already; put all rows into one frame.")
        if not self._verdicts.claims:
            raise StudyError("study.runs was called before study.declare; declare before computing.")
        rows = frames.check_frame("runs", frame)
        self._runs = {"file": "runs.csv", "sha256": self._write("runs.csv", frames.runs_bytes(rows))}
        self._shapes.append(frames.shape_line("runs", rows))
        return read_runs(self.folder / "runs.csv")

    def table(
        self, frame: pd.DataFrame, name: str, caption: str, tolerance: float | str, empty: str = ""
    ) -> None:
        """Write `<name>.csv` with nine significant digits and show it rounded.

        Args:
            frame: the table, without an index that means something.
            name: made of a-z, 0-9 and "_".
            caption: what the table shows.
            tolerance: how far another machine may differ: a number (absolute), "summary" (every estimated column `x`
                has its standard error in `x_se`), or "same machine".
            empty: what an empty cell means; needed when there are any, and added to the caption.

        Raises:
            StudyError: a bad name, caption or tolerance, a name used twice, unexplained empty cells.
        """
        self._check_open()
        frames.check_file_name("table", name, self._tables)
        if name == "runs":
            raise StudyError("table name = 'runs'; runs.csv holds the raw rows, choose another name.")
        frames.check_text(f"caption of table {name}", caption)
        frames.check_frame(f"table {name}", frame)
        frames.check_table_cells(name, frame, empty)
        limit = frames.check_tolerance(name, frame, tolerance)
        caption = f"{caption.strip()} Empty cells: {empty}" if empty else caption.strip()
        file, checksum = f"{name}.csv", self._write(f"{name}.csv", frames.table_bytes(frame))
        self._tables[name] = {"name": name, "file": file, "sha256": checksum, "caption": caption, "tolerance": limit}
        self._shapes.append(frames.shape_line(f"table {name}", frame))
        if not self.replaying:
            display.show_table(frame, f"**{name}.** {caption}")

    def figure(self, fig: Figure, name: str, caption: str, alt: str) -> None:
        """Write `<name>.png` and `<name>.svg`, show the picture with its caption below, and close the figure.

        Args:
            fig: a matplotlib figure, best from `plotting.subplots`.
            name: made of a-z, 0-9 and "_".
            caption: what is drawn; names the interval of every error band, its unit and n.
            alt: what is to be seen, for readers who cannot see it.

        Raises:
            StudyError: a bad name, an empty text, a name used twice, or something that is not a figure.
        """
        import matplotlib.pyplot as plt

        self._check_open()
        frames.check_file_name("figure", name, self._figures)
        frames.check_text(f"caption of figure {name}", caption)
        frames.check_text(f"alt of figure {name}", alt)
        if not isinstance(fig, Figure):
            raise StudyError(f"figure {name}: fig is a {type(fig).__name__}; a matplotlib Figure is needed.")
        files = [f"{name}.png", f"{name}.svg"]
        self._write(files[0], plotting.png_bytes(fig, dpi=150))
        self._write(files[1], plotting.svg_bytes(fig))
        self._figures[name] = {"name": name, "files": files, "caption": caption.strip(), "alt": alt.strip()}
        self._shapes.append(f"figure {name}")
        if not self.replaying:
            display.show_png(plotting.png_bytes(fig, dpi=100), alt.strip())
            display.show_markdown(f"**{name}.** {caption.strip()}")
        plt.close(fig)

    def decide(self, id: str, estimate: Estimate | None, note: str = "") -> str:
        """Decide a declared claim and return its verdict.

        Args:
            id: id of the claim.
            estimate: its estimate, None when this preset cannot decide it. A claim about training runs with fewer
                than five of them becomes "not tested".
            note: a sentence shown beside the verdict.

        Raises:
            StudyError: an unknown or already decided claim, an estimate of another unit or level, or of width zero
                where chance is involved.
        """
        self._check_open()
        if estimate is None and not note:
            note = f"not decidable at preset {self.preset}"
        return self._verdicts.decide(id, estimate, note)

    def done(self, seeds: Sequence[int] | None = None) -> None:
        """Write study.json and show the verdicts.

        Args:
            seeds: the replicates that were computed; default the list `seeds` of the scale, else the base seed.

        Raises:
            StudyError: something declared is missing: no claim, an undecided one, no runs, no scale.
            SchemaError: something that study.json cannot hold, e.g. NaN; names the field.
        """
        self._check_open()
        self._check_complete()
        self._check_files()
        payload = self._payload(seeds)
        check_study(payload)
        if self.replaying:
            self._remove_stale()
        text = json.dumps(payload, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
        self._write("study.json", text.encode())
        self._finished = True
        if not self.replaying:
            title = f"**Verdicts** of {self.name} at preset {self.preset}, base seed {self.seed}."
            display.show_table(self._verdicts.verdict_table(), title)

    def deterministic_verdicts(self) -> list[str]:
        """Return `id: verdict` of every decided claim that involves no chance: equal on every machine."""
        certain = [decision for decision in self._verdicts.decisions() if decision.claim.unit == DETERMINISTIC]
        return [f"{decision.claim.id}: {decision.verdict}" for decision in certain]

    def shapes(self) -> list[str]:
        """Return one line per file group: rows and columns of runs and tables, names of figures."""
        return list(self._shapes)

    def print_checks(self) -> None:
        """Print claim ids, shapes and deterministic verdicts: what a notebook test may compare literally."""
        print("claims:", ", ".join(self._verdicts.claims))
        print("\n".join(self._shapes + self.deterministic_verdicts()))

    def _check_open(self) -> None:
        if self._finished:
            raise StudyError("study.done() was called already; nothing can be added to a finished study.")

    def _check_complete(self) -> None:
        missing = []
        if self._scale is None:
            missing.append("no scale: call study.scale(quick=..., gpu=..., paper=...)")
        if not self._verdicts.claims:
            missing.append("no claim: call study.declare(claims)")
        if self._runs is None:
            missing.append("no runs: call study.runs(frame)")
        missing += [f"claim {id!r} is not decided" for id in self._verdicts.undecided_ids()]
        if missing:
            raise StudyError("the study is not complete: " + "; ".join(missing) + ".")

    def _check_files(self) -> None:
        for path in [self.folder / name for name in self._files()]:
            if not path.is_file():
                raise StudyError(f"{path} was written by this study and is gone; did another run start meanwhile?")

    def _files(self) -> list[str]:
        figures = [file for figure in self._figures.values() for file in figure["files"]]
        return ["runs.csv", *[table["file"] for table in self._tables.values()], *figures]

    def _payload(self, seeds: Sequence[int] | None) -> dict[str, Any]:
        base = self._base
        return {
            "name": self.name, "preset": self.preset, "seed": self.seed, "seeds": self._seeds(seeds),
            "device": str(self.device), "dtype": str(self.dtype).removeprefix("torch."), "threads": base["threads"],
            "content_key": base["content_key"], "versions": base["versions"], "parameters": self.parameters,
            "scale": self._scale, "runs": self._runs, "tables": list(self._tables.values()),
            "figures": list(self._figures.values()),
            "claims": self._verdicts.entries(),
            "run": base["run"] if self.replaying else self._run_record(),
        }

    def _seeds(self, seeds: Sequence[int] | None) -> list[int]:
        if seeds is not None:
            return list(plain(list(seeds)))
        if self.replaying:
            return list(self._base["seeds"])
        listed = (self._scale or {}).get("seeds")
        return list(listed) if isinstance(listed, list) else [self.seed]

    def _run_record(self) -> dict[str, Any]:
        from .sweep import costs

        cold = costs()
        return {
            "started": self._base["run"]["started"], "seconds": round(time.monotonic() - self._clock, 3),
            "cpu_seconds": round(determinism.cpu_seconds() + cold.cpu_seconds, 3),
            "peak_rss_mb": round(max(determinism.peak_rss_mb(), cold.peak_rss_mb), 1),
            "cpu": determinism.cpu_name(), "gpu": determinism.gpu_name(self.device),
            "commit": determinism.git_commit(self.root), "python": platform.python_version(),
        }

    def _write(self, file: str, data: bytes) -> str:
        self.folder.mkdir(parents=True, exist_ok=True)
        return write_bytes(self.folder / file, data)

    def _remove_stale(self) -> None:
        """Remove what the recorded study held and this replay did not make."""
        recorded = [table["file"] for table in self._base["tables"]]
        recorded += [file for figure in self._base["figures"] for file in figure["files"]]
        for file in set(recorded) - set(self._files()):
            (self.folder / file).unlink(missing_ok=True)
