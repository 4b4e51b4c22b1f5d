"""core.store and core.checkpoint: what is written comes back exactly, damage is noticed, a full disk harms nothing."""

import errno
import itertools
import json
import os
import subprocess
import sys
import time
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from twelvefold.core import store as store_module
from twelvefold.core.checkpoint import Checkpoint
from twelvefold.core.store import CacheError, CacheWarning, Cost, Store, write_atomically

KEY = "ab" + "0" * 62
COST = Cost(1.5, 200.0)


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "cache")


def put(store, key=KEY, **values):
    values = values or {"n": 1, "x": np.arange(100.0), "s": "text"}
    store.write(key, values, COST, {"other": Cost(2.0, 3.0)}, {"function": "f"})


class TestStore:
    def test_round_trip(self, store):
        fortran = np.asfortranarray(np.eye(3))
        put(store, b=[1, None, {"k": 0.1}], x=np.arange(6.0).reshape(2, 3), a=float("nan"), y=fortran)
        entry = store.read(KEY)
        assert list(entry.values) == ["b", "x", "a", "y"]
        assert entry.values["b"] == [1, None, {"k": 0.1}] and entry.values["a"] != entry.values["a"]
        np.testing.assert_array_equal(entry.values["x"], np.arange(6.0).reshape(2, 3))
        assert entry.values["y"].flags.f_contiguous
        assert entry.cost == COST and entry.nested == {"other": Cost(2.0, 3.0)}

    @given(array=hnp.arrays(st.sampled_from(["f4", "f8", "i8", "u1", "?", "c8", "f2"]), hnp.array_shapes(min_dims=0)))
    @settings(max_examples=30, deadline=None)
    def test_arrays_come_back_bit_for_bit(self, tmp_path_factory, array):
        store = Store(tmp_path_factory.getbasetemp() / "hypothesis")
        put(store, **{"a name / with\\any : character": array})
        found = store.read(KEY).values["a name / with\\any : character"]
        assert found.dtype == array.dtype and found.shape == array.shape and found.tobytes() == array.tobytes()

    def test_absent_is_none(self, store):
        assert store.read(KEY) is None

    def test_equal_values_make_equal_bytes(self, tmp_path):
        stores = Store(tmp_path / "a"), Store(tmp_path / "b")
        for store in stores:
            put(store)
        for suffix in (".json", ".npz"):
            assert len({store.file(KEY, suffix).read_bytes() for store in stores}) == 1

    @pytest.mark.parametrize("suffix", [".json", ".npz"])
    @pytest.mark.parametrize("damage", ["flip", "cut", "empty", "remove"])
    def test_damage_is_noticed(self, store, suffix, damage):
        put(store)
        path = store.file(KEY, suffix)
        data = path.read_bytes()
        middle = len(data) // 2
        flipped = data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :]
        changed = {"flip": flipped, "cut": data[:-1], "empty": b""}
        path.unlink() if damage == "remove" else path.write_bytes(changed[damage])
        if damage == "remove" and suffix == ".json":
            assert store.read(KEY) is None  # as good as never written
            return
        with pytest.warns(CacheWarning, match="damaged.*computed again"):
            assert store.read(KEY) is None
        put(store)
        assert store.read(KEY) is not None

    def test_every_byte_of_the_json_is_guarded(self, store):
        put(store)
        path = store.file(KEY, ".json")
        data = path.read_bytes()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            for place in range(0, len(data), 7):
                path.write_bytes(data[:place] + bytes([data[place] ^ 4]) + data[place + 1 :])
                assert store.read(KEY) is None

    def test_arrays_of_another_result_are_damage(self, store):
        put(store, x=np.zeros(9))
        other = store.file(KEY, ".npz").read_bytes()
        put(store, x=np.ones(9))
        store.file(KEY, ".npz").write_bytes(other)
        with pytest.warns(CacheWarning, match="recorded checksum"):
            assert store.read(KEY) is None

    def test_an_entry_filed_under_another_key_is_damaged(self, store):
        put(store)
        other = "ab" + "1" * 62
        for suffix in (".json", ".npz"):
            os.replace(store.file(KEY, suffix), store.file(other, suffix))
        with pytest.warns(CacheWarning):
            assert store.read(other) is None

    def test_no_pickle_is_read(self, store):
        put(store)
        path = store.file(KEY, ".npz")
        with open(path, "wb") as file:
            np.savez(file, a0=np.array([{}], dtype=object))
        record = json.loads(store.file(KEY, ".json").read_text())
        del record["checksum"]
        record["arrays_sha256"] = store_module._sha256(path)
        record["checksum"] = store_module._checksum(record)
        store.file(KEY, ".json").write_text(json.dumps(record))
        with pytest.warns(CacheWarning, match="allow_pickle"):
            assert store.read(KEY) is None

    @pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
    @pytest.mark.parametrize("replacement", [0, 1])
    def test_a_full_disk_names_folder_need_and_cure_and_loses_nothing(self, store, monkeypatch, code, replacement):
        put(store)
        before = {path: path.read_bytes() for path in store.folder.rglob("*.*")}
        calls, replace = itertools.count(), os.replace

        def full(source, target):
            if next(calls) >= replacement:
                raise OSError(code, os.strerror(code))
            replace(source, target)

        monkeypatch.setattr(os, "replace", full)
        other = "ab" + "1" * 62
        with pytest.raises(CacheError, match=r"is full.*needs 8\.0 MB.*MB are free.*TWELVEFOLD_CACHE") as caught:
            put(store, other, x=np.zeros(1_000_000))
        assert str(store.folder) in str(caught.value)
        monkeypatch.undo()
        assert store.read(other) is None and not list(store.folder.rglob("*.tmp"))
        assert {path: path.read_bytes() for path in before} == before

    def test_a_disk_that_fills_while_writing(self, store, monkeypatch):
        def full(file, **arrays):
            file.write(b"some")
            raise OSError(errno.ENOSPC, "No space left on device")

        monkeypatch.setattr(np, "savez", full)
        with pytest.raises(CacheError, match="is full"):
            put(store)
        assert not [path for path in store.folder.rglob("*") if path.is_file()]

    @pytest.mark.parametrize("code", [errno.EROFS, errno.EACCES])
    def test_a_read_only_folder_can_be_read_and_says_so_when_written(self, store, monkeypatch, code):
        put(store)

        def refuse(*args, **kwargs):
            raise OSError(code, os.strerror(code))

        monkeypatch.setattr(os, "replace", refuse)
        assert store.read(KEY).values["n"] == 1
        with pytest.raises(CacheError, match="cannot write to the cache folder.*TWELVEFOLD_CACHE"):
            put(store)

    def test_a_cache_below_a_file_is_refused(self, tmp_path):
        (tmp_path / "file").touch()
        with pytest.raises(CacheError, match="TWELVEFOLD_CACHE"):
            put(Store(tmp_path / "file" / "cache"))

    def test_leftovers_of_this_key_alone_are_removed(self, store):
        put(store)
        mine, other = store.file(KEY, ".npz.12.tmp"), store.file("ab" + "1" * 62, ".npz.12.tmp")
        mine.touch(), other.touch()
        store.remove_leftovers(KEY)
        assert not mine.exists() and other.exists() and store.read(KEY)


def test_write_atomically_leaves_the_old_file_when_the_writer_fails(tmp_path):
    path = tmp_path / "file"
    write_atomically(path, lambda file: file.write(b"old"))

    def fail(file):
        file.write(b"new")
        raise RuntimeError

    with pytest.raises(RuntimeError):
        write_atomically(path, fail)
    assert path.read_bytes() == b"old" and list(tmp_path.iterdir()) == [path]


class TestCheckpoint:
    def state(self):
        torch.manual_seed(0)
        model = torch.nn.Linear(3, 2)
        optimiser = torch.optim.AdamW(model.parameters())
        model(torch.ones(1, 3)).sum().backward()
        optimiser.step()
        return {
            "model": dict(model.state_dict()),
            "optimiser": optimiser.state_dict(),
            "torch": torch.Generator().get_state(),
            "numpy": np.random.default_rng(3).bit_generator.state,
            "half": torch.randn(4).bfloat16(),
            "scalar": torch.tensor(2.0, dtype=torch.float64),
            "array": np.arange(3),
            "misc": [1, 2.5, None, True, "text", (1, (2,)), np.float32(0.5), {}, [], {3: {"k": []}}],
        }

    def test_optimisers_generators_and_all_else_come_back_exactly(self, tmp_path):
        checkpoint, state = Checkpoint(tmp_path / "folder" / "c", every=0), self.state()
        assert checkpoint.save(state)
        loaded = checkpoint.load()
        assert_same(loaded, state)
        torch.optim.AdamW(torch.nn.Linear(3, 2).parameters()).load_state_dict(loaded["optimiser"])
        generator = np.random.default_rng(0)
        generator.bit_generator.state = loaded["numpy"]
        assert generator.random() == np.random.default_rng(3).random()
        torch.Generator().set_state(loaded["torch"])

    def test_absent_is_none_and_remove_is_idempotent(self, tmp_path):
        checkpoint = Checkpoint(tmp_path / "c", every=0)
        assert checkpoint.load() is None
        checkpoint.save({"a": 1})
        checkpoint.remove(), checkpoint.remove()
        assert checkpoint.load() is None and not list(tmp_path.iterdir())

    def test_writes_are_rate_limited_unless_forced(self, tmp_path, monkeypatch):
        now = [100.0]
        monkeypatch.setattr(time, "monotonic", lambda: now[0])
        checkpoint = Checkpoint(tmp_path / "c", every=60)
        assert not checkpoint.save({"step": 1})
        now[0] += 59.9
        assert not checkpoint.save({"step": 2}) and checkpoint.load() is None
        assert checkpoint.save({"step": 3}, force=True)
        now[0] += 59.9
        assert not checkpoint.save({"step": 4}) and checkpoint.load() == {"step": 3}
        now[0] += 0.1
        assert checkpoint.save({"step": 5}) and checkpoint.load() == {"step": 5}

    @pytest.mark.parametrize("part", [0.1, 0.5, 0.9, 1.0])
    def test_a_damaged_checkpoint_is_a_fresh_start(self, tmp_path, part):
        checkpoint = Checkpoint(tmp_path / "c", every=0)
        checkpoint.save(self.state())
        data = checkpoint.path.read_bytes()
        checkpoint.path.write_bytes(data[: int(len(data) * part) - 1])
        with pytest.warns(CacheWarning, match="starts anew"):
            assert checkpoint.load() is None

    @pytest.mark.parametrize(
        ("state", "place"),
        [({"a": {"b": object()}}, r"state\['a'\]\['b'\]"), ({"a": [1, {1, 2}]}, r"state\['a'\]\[1\]"),
         ({"a": np.array([None])}, r"state\['a'\].*object"), ({"a": {1.5: 1}}, r"state\['a'\].*1\.5"), ([1], "dict")],
    )
    def test_what_cannot_be_kept_is_named(self, tmp_path, state, place):
        with pytest.raises(TypeError, match=place):
            Checkpoint(tmp_path / "c", every=0).save(state)

    @pytest.mark.parametrize("every", [-1, float("nan")])
    def test_bad_intervals(self, tmp_path, every):
        with pytest.raises(ValueError, match="every"):
            Checkpoint(tmp_path / "c", every=every)

    def test_a_full_disk_costs_the_checkpoint_not_the_computation(self, tmp_path, monkeypatch):
        checkpoint = Checkpoint(tmp_path / "c", every=0)
        checkpoint.save({"step": 1})

        def full(*args):
            raise OSError(errno.ENOSPC, "No space left on device")

        monkeypatch.setattr(os, "replace", full)
        with pytest.warns(CacheWarning, match="no space"):
            assert not checkpoint.save({"step": 2})
        assert checkpoint.load() == {"step": 1} and len(list(tmp_path.iterdir())) == 1

    def test_a_folder_that_cannot_be_written_is_an_error(self, tmp_path):
        (tmp_path / "file").touch()
        with pytest.raises(CacheError, match="TWELVEFOLD_CACHE"):
            Checkpoint(tmp_path / "file" / "c", every=0).save({})

    def test_costs_add_up_over_lives(self, tmp_path):
        for life in range(1, 4):
            checkpoint = Checkpoint(tmp_path / "c", every=0, cost=lambda: Cost(2.0, 10.0))
            checkpoint.load()
            assert checkpoint.spent.cpu_seconds == 2.0 * (life - 1)
            checkpoint.save({})
            checkpoint.load()
            assert checkpoint.spent.cpu_seconds == 2.0 * (life - 1)  # own writes are not a predecessor's

    def test_a_killed_writer_leaves_the_last_whole_state(self, tmp_path):
        code = f"""
import torch
from pathlib import Path
from twelvefold.core.checkpoint import Checkpoint
checkpoint = Checkpoint(Path({str(tmp_path / "c")!r}), every=0)
step = 0
while True:
    step += 1
    checkpoint.save({{"step": step, "big": torch.full((300_000,), float(step))}})
    print(step, flush=True)
"""
        for _ in range(2):
            child = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
            lines = [child.stdout.readline() for _ in range(7)]
            child.kill()
            rest = child.stdout.read()
            child.wait()
            state = Checkpoint(Path(tmp_path / "c")).load()
            assert state["step"] >= int(lines[-1]) and len(rest) < 10_000
            assert torch.equal(state["big"], torch.full((300_000,), float(state["step"])))


def assert_same(a, b):
    if isinstance(b, np.generic):
        b = b.item()
    assert type(a) is type(b)
    if isinstance(b, dict):
        assert list(a) == list(b)
        [assert_same(a[key], b[key]) for key in b]
    elif isinstance(b, (list, tuple)):
        assert len(a) == len(b)
        [assert_same(x, y) for x, y in zip(a, b, strict=True)]
    elif isinstance(b, torch.Tensor):
        assert a.dtype == b.dtype and torch.equal(a, b)
    elif isinstance(b, np.ndarray):
        np.testing.assert_array_equal(a, b)
    else:
        assert a == b
