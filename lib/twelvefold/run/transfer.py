"""`pack` and `import`: carry results between machines in a tar file, all checked before anything is written."""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
import shutil
import tarfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from twelvefold.core.presets import PRESETS
from twelvefold.core.project import ProjectError, check_name, notebook_path
from twelvefold.core.schema import SchemaError, check_study
from twelvefold.core.sources import SourceError, content_key
from twelvefold.run.jobs import RunError, discover
from twelvefold.run.ledger import read_entries, write_ledger
from twelvefold.run.lock import runner_lock
from twelvefold.run.publish import explain, publish_results, study_files

SCHEMA = 1
MANIFEST = "MANIFEST.json"
LARGEST_FILE = 20_000_000
LARGEST_ARCHIVE = 1_000_000_000
MOST_MEMBERS = 50_000
_FILE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*\.(png|svg|csv|json)")


class TransferError(RunError):
    """An archive that cannot be written, or that must not be imported."""

    exit_code = 1


def pack(root: Path, file: Path, preset: str | None = None, only: str | None = None) -> int:
    """Write the results that fit into a tar file; equal results give equal bytes. Returns how many results.

    Raises:
        RunError: nothing fits, or a result is damaged: it does not agree with the checksums in its study.json.
    """
    chosen = {notebook.name for notebook in discover(root, only)}
    entries = [entry for p in (PRESETS if preset is None else (preset,)) for entry in read_entries(root, p)
               if entry.name in chosen]
    if not entries:
        raise TransferError("no result to pack: no study.json in figures/ fits")
    files: dict[str, bytes] = {}
    results = {}
    for entry in entries:
        folder = f"figures/{entry.preset}/{entry.name}"
        found = _read_result(root / folder, entry.study)
        _check_sums(folder, entry.study, found)
        files |= {f"{folder}/{name}": data for name, data in found.items()}
        results[f"{entry.preset}/{entry.name}"] = entry.study["content_key"]
    manifest = {"schema": SCHEMA, "results": results, "files": {name: _sha256(files[name]) for name in sorted(files)}}
    _write_tar(file, {MANIFEST: (json.dumps(manifest, indent=1) + "\n").encode()} | dict(sorted(files.items())))
    return len(entries)


def _read_result(folder: Path, study: dict[str, Any]) -> dict[str, bytes]:
    try:
        return {name: (folder / name).read_bytes() for name in ["study.json", *study_files(study)]}
    except FileNotFoundError as error:
        raise TransferError(f"{error.filename} is missing: run the notebook again") from None


def _check_sums(folder: str, study: dict[str, Any], files: dict[str, bytes]) -> None:
    for item in [study["runs"], *study["tables"]]:
        if _sha256(files[item["file"]]) != item["sha256"]:
            raise TransferError(f"{folder}/{item['file']} differs from its checksum in study.json: it is damaged")


def _write_tar(file: Path, members: dict[str, bytes]) -> None:
    temporary = file.with_name(f".{file.name}.{os.getpid()}.tmp")
    with explain(file):
        try:
            with tarfile.open(temporary, "w", format=tarfile.USTAR_FORMAT) as archive:
                for name, data in members.items():
                    member = tarfile.TarInfo(name)  # owner, group and times are zero: equal content, equal bytes
                    member.size = len(data)
                    archive.addfile(member, io.BytesIO(data))
            os.replace(temporary, file)
        except FileNotFoundError:
            raise TransferError(f"the folder {file.parent} does not exist") from None
        finally:
            temporary.unlink(missing_ok=True)


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def import_results(root: Path, file: Path, older: bool = False) -> list[str]:
    """Put the results of a tar file into figures/ and return one line for each.

    Everything is checked before the first file is written: member names and kinds, sizes, checksums, the form of each
    study.json, and its content key against this tree.

    Args:
        root: the project.
        file: what `pack` wrote.
        older: take results that other code has computed, too; the ledger marks them.

    Raises:
        TransferError: the archive cannot be read, is not what `pack` writes, or holds results of other code.
    """
    results = check_archive(root, read_archive(file), older)
    lines = []
    with runner_lock(root):
        for (preset, name), (files, note) in sorted(results.items()):
            with _stage(root, files) as stage:
                publish_results(stage, root / "figures" / preset / name)
            lines.append(f"{preset} {name}: imported{note}")
        for preset in sorted({preset for preset, _ in results}):
            write_ledger(root, preset)
    return lines


@contextmanager
def _stage(root: Path, files: dict[str, bytes]) -> Iterator[Path]:
    stage = root / ".twelvefold" / "staging" / uuid.uuid4().hex
    try:
        with explain(stage):
            stage.mkdir(parents=True)
            for name, data in files.items():
                (stage / name).write_bytes(data)
        yield stage
    finally:
        shutil.rmtree(stage, ignore_errors=True)


def read_archive(file: Path) -> dict[str, bytes]:
    """Return the members of a tar file after checking kinds and sizes, and their checksums against the manifest.

    Raises:
        TransferError: naming the member at fault.
    """
    try:
        with tarfile.open(file, "r:") as archive:
            members = dict(_members(archive))
    except FileNotFoundError:
        raise TransferError(f"{file} does not exist") from None
    except (tarfile.TarError, OSError, EOFError) as error:
        raise TransferError(f"{file} is no readable tar file: {error}") from None
    sums = _manifest(members.pop(MANIFEST, None))["files"]
    if set(sums) != set(members):
        odd = sorted(set(sums) ^ set(members))
        raise TransferError(f"manifest and members differ in {', '.join(map(repr, odd[:5]))}: the archive is damaged")
    for name, data in members.items():
        if _sha256(data) != sums[name]:
            raise TransferError(f"{name} differs from its checksum in the manifest: the archive is damaged")
    return members


def _members(archive: tarfile.TarFile) -> Iterator[tuple[str, bytes]]:
    total, seen = 0, set()
    for member in archive:
        if not member.isreg() or member.issparse():
            raise TransferError(f"member {member.name!r} is no plain file (a link or a device?)")
        if member.name in seen:
            raise TransferError(f"member {member.name!r} occurs twice")
        seen.add(member.name)
        total += member.size
        if member.size > LARGEST_FILE or total > LARGEST_ARCHIVE or len(seen) > MOST_MEMBERS:
            raise TransferError(f"member {member.name!r} is too large, or the archive is")
        stream = archive.extractfile(member)
        data = stream.read() if stream is not None else b""
        if len(data) != member.size:
            raise TransferError(f"member {member.name!r} is cut short: the archive is damaged")
        yield member.name, data


def split_member(path: str) -> tuple[str, str, str]:
    """Return preset, name and file of a member `figures/<preset>/<paper>/<NN_result>/<file>`.

    Raises:
        TransferError: for any other path, be it absolute, with `..`, or with a file of an unexpected kind.
    """
    words = path.split("/")
    try:
        if len(words) == 5 and words[0] == "figures" and words[1] in PRESETS and _FILE.fullmatch(words[4]):
            return words[1], check_name(f"{words[2]}/{words[3]}"), words[4]
    except ProjectError:
        pass
    raise TransferError(f"member {path!r} is not of the form figures/<preset>/<paper>/<NN_result>/<file>")


def _manifest(data: bytes | None) -> dict[str, Any]:
    if data is None:
        raise TransferError(f"the archive has no {MANIFEST}: `pack` did not write it")
    try:
        manifest = json.loads(data)
        known = manifest["schema"] == SCHEMA and isinstance(manifest["files"], dict)
    except (ValueError, KeyError, TypeError):
        raise TransferError(f"its {MANIFEST} cannot be read: the archive is damaged") from None
    if not known:
        raise TransferError(f"its {MANIFEST} is of schema {manifest['schema']!r}, this tree reads {SCHEMA}: update the "
                            "tree that is older")
    return dict(manifest)


def check_archive(
    root: Path, members: dict[str, bytes], older: bool
) -> dict[tuple[str, str], tuple[dict[str, bytes], str]]:
    """Group members by preset and name and check each result; the text tells of results that other code computed.

    Raises:
        TransferError: naming the result at fault.
    """
    grouped: dict[tuple[str, str], dict[str, bytes]] = {}
    for path, data in members.items():
        preset, name, file = split_member(path)
        grouped.setdefault((preset, name), {})[file] = data
    if not grouped:
        raise TransferError("the archive holds no result")
    return {key: (files, _check_result(root, *key, files, older)) for key, files in grouped.items()}


def _check_result(root: Path, preset: str, name: str, files: dict[str, bytes], older: bool) -> str:
    where = f"{preset} {name}"
    try:
        study = json.loads(files["study.json"])
        check_study(study)
    except (KeyError, ValueError, SchemaError) as error:
        raise TransferError(f"{where}: study.json is missing or damaged: {error}") from None
    if (study["preset"], study["name"], study["seed"]) != (preset, name, 0):
        raise TransferError(f"{where}: its study.json is of {study['preset']} {study['name']}, seed {study['seed']}")
    if set(files) != {"study.json", *study_files(study)}:
        odd = sorted(set(files) ^ {"study.json", *study_files(study)})
        raise TransferError(f"{where}: its files and study.json differ in {', '.join(odd)}")
    _check_sums(where, study, files)
    if not notebook_path(root, name).is_file():
        raise TransferError(f"{where}: this tree has no such notebook")
    try:
        if study["content_key"] == content_key(root, name):
            return ""
    except SourceError as error:
        raise TransferError(f"{where}: {error}") from None
    if not older:
        raise TransferError(f"{where}: it was computed by other code (commit {study['run']['commit'] or 'not known'}); "
                            "--older takes it all the same, and the ledger says so")
    return " (older code)"
