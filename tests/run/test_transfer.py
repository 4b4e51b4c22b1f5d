"""Carrying results: equal bytes, a round trip, and every kind of archive that must not be imported."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest
from twelvefold.run import transfer
from twelvefold.run.jobs import UnknownNotebook
from twelvefold.run.transfer import MANIFEST, TransferError, import_results, pack

from tests.run.madeup import claim, make_result, make_tree, sha256, snapshot

FOLDER = "figures/quick/toy/01_alpha"
Members = dict[str, bytes]


@pytest.fixture
def here(tmp_path: Path) -> Path:
    tree = make_tree(tmp_path / "here")
    make_result(tree, "toy/01_alpha")
    return tree


@pytest.fixture
def there(tmp_path: Path) -> Path:
    return make_tree(tmp_path / "there")


def read(file: Path) -> Members:
    with tarfile.open(file) as archive:
        return {m.name: archive.extractfile(m).read() for m in archive.getmembers()}  # type: ignore[union-attr]


def write(file: Path, members: Members, signed: bool = True) -> Path:
    """Write an archive; `signed` makes the manifest agree with the members, as a careful forger would."""
    members = dict(members)
    if signed:
        manifest = json.loads(members[MANIFEST])
        manifest["files"] = {name: sha256(data) for name, data in members.items() if name != MANIFEST}
        members[MANIFEST] = json.dumps(manifest).encode()
    with tarfile.open(file, "w") as archive:
        for name, data in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return file


def test_a_round_trip_brings_the_same_files_and_a_ledger(here: Path, there: Path, tmp_path: Path) -> None:
    make_result(here, "toy/02_beta", "gpu", claims=[claim(says="on a GPU")])
    assert pack(here, tmp_path / "x.tar") == 2
    lines = import_results(there, tmp_path / "x.tar")
    assert lines == ["gpu toy/02_beta: imported", "quick toy/01_alpha: imported"]
    for folder in (FOLDER, "figures/gpu/toy/02_beta"):
        assert snapshot(there / folder) == snapshot(here / folder)
    assert "on a GPU" in (there / "figures/gpu/LEDGER.md").read_text()


def test_equal_results_make_equal_archives(here: Path, tmp_path: Path) -> None:
    pack(here, tmp_path / "a.tar")
    (here / FOLDER / "curve.png").touch()
    pack(here, tmp_path / "b.tar")
    assert (tmp_path / "a.tar").read_bytes() == (tmp_path / "b.tar").read_bytes()
    assert [path.name for path in tmp_path.glob(".*")] == []


def test_pack_takes_what_was_asked_for(here: Path, tmp_path: Path) -> None:
    make_result(here, "toy/02_beta", "gpu")
    assert pack(here, tmp_path / "x.tar", preset="gpu") == 1
    assert all("gpu/toy/02_beta" in name for name in read(tmp_path / "x.tar") if name != MANIFEST)
    assert pack(here, tmp_path / "x.tar", only="toy/01*") == 1
    with pytest.raises(TransferError, match="no result to pack"):
        pack(here, tmp_path / "x.tar", preset="paper")
    with pytest.raises(UnknownNotebook):
        pack(here, tmp_path / "x.tar", only="nothing/*")
    with pytest.raises(TransferError, match="does not exist"):
        pack(here, tmp_path / "no" / "x.tar")


def test_damaged_results_are_not_packed(here: Path, tmp_path: Path) -> None:
    (here / FOLDER / "runs.csv").write_text("replicate,x\n0,9\n")
    with pytest.raises(TransferError, match="runs.csv differs from its checksum"):
        pack(here, tmp_path / "x.tar")
    (here / FOLDER / "runs.csv").unlink()
    with pytest.raises(TransferError, match="runs.csv is missing"):
        pack(here, tmp_path / "x.tar")
    assert not (tmp_path / "x.tar").exists()


def test_results_of_other_code_need_a_word(here: Path, there: Path, tmp_path: Path) -> None:
    pack(here, tmp_path / "x.tar")
    (there / "lib/toylib/made.py").write_text("VALUE = 2\n")
    with pytest.raises(TransferError, match=r"other code \(commit 0123456789abcdef\); --older"):
        import_results(there, tmp_path / "x.tar")
    assert not (there / "figures").exists()
    assert import_results(there, tmp_path / "x.tar", older=True) == ["quick toy/01_alpha: imported (older code)"]
    assert "older code" in (there / "figures/quick/LEDGER.md").read_text()


def renamed(name: str) -> Callable[[Members], Members]:
    return lambda members: members | {name: b"x"}


def changed(file: str, data: bytes) -> Callable[[Members], Members]:
    return lambda members: members | {f"{FOLDER}/{file}": data}


def without(file: str) -> Callable[[Members], Members]:
    return lambda members: {name: data for name, data in members.items() if not name.endswith(file)}


def study(**changes: object) -> Callable[[Members], Members]:
    def change(members: Members) -> Members:
        text = json.loads(members[f"{FOLDER}/study.json"]) | changes
        return members | {f"{FOLDER}/study.json": json.dumps(text).encode()}

    return change


@pytest.mark.parametrize(("forge", "words"), [
    (renamed("figures/quick/toy/../../../evil.csv"), "not of the form"),
    (renamed("/tmp/evil.csv"), "not of the form"),
    (renamed(f"{FOLDER}/run.sh"), "not of the form"),
    (renamed(f"{FOLDER}/.hidden.csv"), "not of the form"),
    (renamed("figures/huge/toy/01_alpha/x.csv"), "not of the form"),
    (renamed("notebooks/toy/01_alpha.py"), "not of the form"),
    (renamed(f"{FOLDER}/more.csv"), "files and study.json differ in more.csv"),
    (without("curve.svg"), "files and study.json differ in curve.svg"),
    (without("study.json"), "study.json is missing"),
    (changed("study.json", b"{"), "study.json is missing or damaged"),
    (changed("runs.csv", b"replicate,x\n0,9\n"), "runs.csv differs from its checksum in study.json"),
    (study(seed=7), "seed 7"),
    (study(name="toy/02_beta"), "its study.json is of quick toy/02_beta"),
    (study(claims=[]), "study.json is missing or damaged"),
    (study(claims=[claim(verdict="fails")]), "study.json is missing or damaged"),
])
def test_forged_archives_are_refused_whole(
    here: Path, there: Path, tmp_path: Path, forge: Callable[[Members], Members], words: str
) -> None:
    pack(here, tmp_path / "x.tar")
    file = write(tmp_path / "forged.tar", forge(read(tmp_path / "x.tar")))
    before = snapshot(there)
    with pytest.raises(TransferError, match=words):
        import_results(there, file)
    assert snapshot(there) == before


@pytest.mark.parametrize(("change", "words"), [
    (lambda m: m | {f"{FOLDER}/curve.png": b"other"}, "differs from its checksum in the manifest"),
    (without("curve.png"), "manifest and members differ"),
    (renamed(f"{FOLDER}/more.csv"), "manifest and members differ"),
    (without(MANIFEST), "no MANIFEST.json"),
    (lambda m: m | {MANIFEST: b"{"}, "cannot be read"),
    (lambda m: m | {MANIFEST: json.dumps(json.loads(m[MANIFEST]) | {"schema": 99}).encode()}, "schema 99"),
])
def test_archives_that_disagree_with_their_manifest_are_refused(
    here: Path, there: Path, tmp_path: Path, change: Callable[[Members], Members], words: str
) -> None:
    pack(here, tmp_path / "x.tar")
    file = write(tmp_path / "forged.tar", change(read(tmp_path / "x.tar")), signed=False)
    with pytest.raises(TransferError, match=words):
        import_results(there, file)


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE])
def test_links_and_devices_are_refused(there: Path, tmp_path: Path, kind: bytes) -> None:
    with tarfile.open(tmp_path / "x.tar", "w") as archive:
        member = tarfile.TarInfo(f"{FOLDER}/runs.csv")
        member.type, member.linkname = kind, "/etc/passwd"
        archive.addfile(member)
    with pytest.raises(TransferError, match="no plain file"):
        import_results(there, tmp_path / "x.tar")


def test_a_member_that_occurs_twice_is_refused(there: Path, tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "x.tar", "w") as archive:
        for _ in range(2):
            archive.addfile(tarfile.TarInfo(f"{FOLDER}/runs.csv"))
    with pytest.raises(TransferError, match="twice"):
        import_results(there, tmp_path / "x.tar")


def test_large_members_are_refused(here: Path, there: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pack(here, tmp_path / "x.tar")
    monkeypatch.setattr(transfer, "LARGEST_FILE", 10)
    with pytest.raises(TransferError, match="too large"):
        import_results(there, tmp_path / "x.tar")


def test_files_that_are_no_archive_are_refused(here: Path, there: Path, tmp_path: Path) -> None:
    with pytest.raises(TransferError, match="does not exist"):
        import_results(there, tmp_path / "none.tar")
    (tmp_path / "text.tar").write_text("not a tar file")
    with pytest.raises(TransferError, match="no readable tar file"):
        import_results(there, tmp_path / "text.tar")
    pack(here, tmp_path / "x.tar")
    data = (tmp_path / "x.tar").read_bytes()
    for length in (700, len(data) // 2, 3000):
        (tmp_path / "cut.tar").write_bytes(data[:length])
        with pytest.raises(TransferError):
            import_results(there, tmp_path / "cut.tar")
    assert not (there / "figures").exists()


def test_an_unknown_notebook_is_refused(here: Path, there: Path, tmp_path: Path) -> None:
    pack(here, tmp_path / "x.tar")
    (there / "notebooks/toy/01_alpha.py").unlink()
    with pytest.raises(TransferError, match="no such notebook"):
        import_results(there, tmp_path / "x.tar", older=True)
