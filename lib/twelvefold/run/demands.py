"""What a notebook needs of a worker: a place, memory, graphics processors; declared in the header of its text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from twelvefold.run.jobs import ClusterProblem, RunError

QUICK_GB = 1.3  # no notebook may need more at preset quick
_KEYS = ("memory_gb", "gpu")


class DemandProblem(RunError):
    """A header that declares its demands in a form that is not understood."""


def read_demands(source: Path, preset: str, device_class: str) -> dict[str, float]:
    """Return the worker resources `NB`, `GPU` and `MEM` (in GB) that a notebook asks for, without those of amount 0.

    The header of the text (the YAML block between `# ---` lines) may say `twelvefold: {memory_gb: 4, gpu: 1}`, at the
    top level or below `jupyter`. It counts at presets gpu and paper: at quick every notebook fits any machine. A
    notebook that computes on CUDA needs one device unless it says otherwise.

    Raises:
        DemandProblem: unknown keys, or values that are not numbers of at least 0.
    """
    demands = {"NB": 1.0}
    if preset == "quick":
        return demands
    declared = _declared(source)
    if device_class == "cuda":
        demands["GPU"] = declared.get("gpu", 1.0)
    demands["MEM"] = declared.get("memory_gb", 0.0)
    return {name: amount for name, amount in demands.items() if amount > 0}


def refuse_unmet(demands: Mapping[str, Mapping[str, float]], workers: Mapping[str, Mapping[str, float]]) -> None:
    """Refuse demands (notebook -> resource -> amount) that no single worker (address -> resource -> amount) can meet.

    The scheduler itself would let such a notebook wait for ever, in silence.

    Raises:
        ClusterProblem: with the numbers and the cure.
    """
    unmet = [
        f"{name} needs {_amounts(need)}"
        for name, need in demands.items()
        if not any(all(has.get(key, 0.0) >= amount for key, amount in need.items()) for has in workers.values())
    ]
    if unmet:
        offers = "; ".join(sorted({_amounts(has) for has in workers.values()})) or "no worker at all"
        raise ClusterProblem(
            f"no worker can take {'; '.join(unmet)}. The workers offer: {offers}. Start workers with more "
            '(e.g. dask worker ADDRESS --resources "NB=1 GPU=1 MEM=32", MEM in GB), choose other notebooks with '
            "--only, or lower the demand in the notebook's header"
        )


def _declared(source: Path) -> dict[str, float]:
    import yaml

    try:
        header = yaml.safe_load("\n".join(_header(source.read_text(encoding="utf-8").splitlines()))) or {}
    except yaml.YAMLError as error:
        raise DemandProblem(f"{source.name}: its header is no YAML: {' '.join(str(error).split())}") from None
    found = header.get("twelvefold", (header.get("jupyter") or {}).get("twelvefold", {})) or {}
    fine = isinstance(found, dict) and all(key in _KEYS and _is_amount(value) for key, value in found.items())
    if not fine:
        accepted = "'twelvefold: {memory_gb: 4, gpu: 1}' with numbers of at least 0"
        raise DemandProblem(f"{source.name}: its header says twelvefold: {found!r}; accepted is {accepted}")
    return {key: float(value) for key, value in found.items()}


def _header(lines: Sequence[str]) -> list[str]:
    if not lines or lines[0].strip() != "# ---":
        return []
    ends = [number for number, line in enumerate(lines) if number and line.strip() == "# ---"]
    return [line.removeprefix("#").removeprefix(" ") for line in lines[1 : ends[0]]] if ends else []


def _is_amount(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < float("inf")


def _amounts(resources: Mapping[str, float]) -> str:
    return " ".join(f"{key}={amount:g}" for key, amount in sorted(resources.items())) or "no resources"
