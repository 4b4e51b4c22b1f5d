"""core.sweep: computed once, found again when nothing it depends on changed, unharmed by death at any moment."""

import errno
import importlib
import json
import math
import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import joblib
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from twelvefold.core import sources, store, tasks
from twelvefold.core import sweep as sweep_module
from twelvefold.core.costing import Ledger, Spent, frame, frames
from twelvefold.core.points import normal_point, point_key, stored_values
from twelvefold.core.store import Cost
from twelvefold.core.sweep import CacheError, CacheWarning, SweepError, costs, sweep

# A library as a project has one: its functions write a line per call, so that calls can be counted over processes.
LIBRARY = '''
import os, time
import numpy as np
import torch
from twelvefold.core.sweep import sweep

def called(line):
    with open(os.environ["CALLS"], "a") as file:
        file.write(line + "\\n")

def burn(seconds):
    """Use CPU time, whatever else the machine does."""
    end = time.thread_time() + seconds
    while time.thread_time() < end:
        pass

def square(x, scale=1):
    called(f"square {x!r} {scale!r}")
    return {"y": x * x * scale, "array": np.full(3, float(x)), "tensor": torch.tensor([x]), "text": str(x)}

def picky(x):
    called(f"picky {x}")
    if x % 2:
        raise ValueError(f"{x} is odd")
    return {"y": x}

def surroundings(x, device, dtype):
    return {"device": str(device), "dtype": dtype, "threads": torch.get_num_threads(), "pid": os.getpid(),
            "deterministic": torch.are_deterministic_algorithms_enabled()}

def slow(x, seconds):
    called(f"begin {x}")
    time.sleep(seconds)
    called(f"end {x}")
    return {"y": np.arange(1000) + x}

def work(x, seconds):
    burn(seconds)
    return {"x": x}

def outer(x, seconds):
    inner = sweep(work, [{"x": i, "seconds": seconds} for i in range(3)])
    burn(seconds)
    return {"sum": x + sum(row["x"] for row in inner)}

def endless(x):
    return sweep(endless, [{"x": x}])[0]

def returns(what):
    return {"list": [1], "object": {"a": object()}, "keys": {1: 2}, "nested": {"a": [np.ones(2)]},
            "objects": {"a": np.array([None])}, "fine": {"nan": float("nan"), "t": (1, 2), "f": np.float32(0.5)}}[what]

def train(steps, pause, checkpoint):
    """A toy trainer whose result depends on every step it took and on its generator."""
    generator, value, step = np.random.default_rng(0), np.zeros(4), 0
    state = checkpoint.load()
    if state is not None:
        generator.bit_generator.state, value, step = state["generator"], state["value"], state["step"]
    while step < steps:
        value = np.tanh(value + generator.normal(size=4))
        step += 1
        called(f"step {step}")
        time.sleep(pause)
        if checkpoint.save({"generator": generator.bit_generator.state, "value": value, "step": step}):
            called(f"saved {step}")
    return {"value": value}
'''


@pytest.fixture
def library(tmp_path, monkeypatch):
    """The toy library, imported, with a cache and a list of calls of its own."""
    name = f"lib_{tmp_path.name}".replace("-", "_")
    (tmp_path / "src").mkdir()
    (tmp_path / "src" / f"{name}.py").write_text(LIBRARY)
    monkeypatch.setenv("CALLS", str(tmp_path / "calls"))
    monkeypatch.setenv("TWELVEFOLD_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "src"))
    monkeypatch.delenv("TWELVEFOLD_JOBS", raising=False)
    monkeypatch.syspath_prepend(str(tmp_path / "src"))
    monkeypatch.setattr(sweep_module, "_ledger", Ledger())
    importlib.invalidate_caches()
    yield importlib.import_module(name)
    del sys.modules[name]
    sources._loaded.pop(name, None)


@pytest.fixture
def workers():
    """Fresh loky workers, which know the import path of this test."""
    from joblib.externals.loky import get_reusable_executor

    get_reusable_executor().shutdown(wait=True)
    yield
    get_reusable_executor().shutdown(wait=True, kill_workers=True)


def calls() -> list[str]:
    path = Path(os.environ["CALLS"])
    return path.read_text().splitlines() if path.exists() else []


def cache_files(suffix: str) -> list[Path]:
    return sorted(Path(os.environ["TWELVEFOLD_CACHE"]).rglob(f"*{suffix}"))


class TestResults:
    def test_values_in_order_and_the_same_from_the_store(self, library):
        points = [{"x": 3}, {"x": 1, "scale": 2}, {"x": 2}]
        cold = sweep(library.square, points)
        warm = sweep(library.square, points)
        assert [row["y"] for row in cold] == [9, 2, 4] and len(calls()) == 3
        for a, b in zip(cold, warm, strict=True):
            assert list(a) == list(b) == ["y", "array", "tensor", "text"]
            for row in (a, b):
                assert isinstance(row["tensor"], np.ndarray) and row["tensor"].dtype == np.int64
            np.testing.assert_array_equal(a["array"], b["array"])

    def test_equal_points_are_computed_once_and_do_not_share_arrays(self, library):
        a, b = sweep(library.square, [{"x": 1}, {"x": 1}])
        a["array"][0] = 7
        assert b["array"][0] == 1 and len(calls()) == 1

    def test_no_points(self, library):
        assert sweep(library.square, []) == [] and sweep(library.square, iter([])) == []

    def test_int_float_and_bool_are_different_points(self, library):
        rows = sweep(library.square, [{"x": 1}, {"x": 1.0}, {"x": True}])
        assert [row["text"] for row in rows] == ["1", "1.0", "True"] and len(calls()) == 3

    def test_numpy_scalars_are_pythons(self, library):
        rows = sweep(library.square, [{"x": 2}, {"x": np.int64(2)}, {"x": np.uint8(2)}])
        assert len(calls()) == 1 and rows[1]["y"] == 4

    def test_order_of_keys_does_not_matter(self, library):
        sweep(library.square, [{"x": 1, "scale": 2}, {"scale": 2, "x": 1}])
        assert len(calls()) == 1

    def test_device_and_dtype_are_passed_to_functions_that_take_them(self, library):
        row = sweep(library.surroundings, [{"x": 1}], dtype=torch.float64, device=torch.device("cpu"))[0]
        assert (row["device"], row["dtype"]) == ("cpu", "float64")

    def test_nan_tuples_and_numpy_scalars_as_results(self, library):
        row = sweep(library.returns, [{"what": "fine"}])[0]
        assert math.isnan(row["nan"]) and row["t"] == [1, 2] and row["f"] == 0.5 and type(row["f"]) is float

    @pytest.mark.parametrize(("what", "named"), [("list", "list"), ("object", r"\['a'\].*object"), ("keys", "key 1"),
                                                 ("nested", r"\['a'\]\[0\]"), ("objects", "dtype object")])
    def test_results_that_cannot_be_stored_are_named(self, library, what, named):
        with pytest.raises(SweepError, match=named):
            sweep(library.returns, [{"what": what}])


class TestBadInput:
    @pytest.mark.parametrize(
        ("point", "kind", "named"),
        [({"x": float("nan")}, ValueError, r"points\[0\]\['x'\]: nan"), ({"x": np.float32("inf")}, ValueError, "inf"),
         ({"x": object()}, TypeError, r"\['x'\]: a object"), ({"x": [1, {2}]}, TypeError, r"\['x'\]\[1\]: a set"),
         ({"x": np.ones(2)}, TypeError, "tolist"), ({"x": torch.ones(1)}, TypeError, "tolist"),
         ({1: 2}, TypeError, "key 1"),
         ([1], TypeError, "a list"), ("x", TypeError, "a str"), ({"y": 1}, TypeError, "missing.*'x'|unexpected.*'y'"),
         ({"x": 1, "z": 2}, TypeError, "'z'.*it accepts x, scale"), ({}, TypeError, "'x'"),
         ({"x": 1, "device": "cpu"}, TypeError, "device"), ({"x": 1, "checkpoint": 1}, TypeError, "checkpoint")],
    )
    def test_points(self, library, point, kind, named):
        with pytest.raises(kind, match=named):
            sweep(library.square, [point])
        assert calls() == []

    def test_a_bad_point_is_named_before_anything_is_computed(self, library):
        with pytest.raises(ValueError, match=r"points\[2\]\['x'\]"):
            sweep(library.square, [{"x": 1}, {"x": 2}, {"x": math.inf}])
        assert calls() == []

    def test_a_single_point_instead_of_a_list(self, library):
        with pytest.raises(TypeError, match=r"\[point\]"):
            sweep(library.square, {"x": 1})

    @pytest.mark.parametrize("device", ["auto", "tpu", 7.5, None, "meta"])
    def test_devices(self, library, device):
        with pytest.raises(ValueError, match="device: .*cuda"):
            sweep(library.square, [{"x": 1}], device=device)

    @pytest.mark.parametrize("dtype", ["int64", "real", "nn", None])
    def test_dtypes(self, library, dtype):
        with pytest.raises(ValueError, match="dtype: .*float32"):
            sweep(library.square, [{"x": 1}], dtype=dtype)

    @pytest.mark.parametrize("n_jobs", [0, 1.5, True, "2"])
    def test_jobs(self, library, n_jobs, monkeypatch):
        with pytest.raises(ValueError, match="n_jobs"):
            sweep(library.square, [{"x": 1}], n_jobs=n_jobs)
        monkeypatch.setenv("TWELVEFOLD_JOBS", "many")
        with pytest.raises(ValueError, match="TWELVEFOLD_JOBS.*many"):
            sweep(library.square, [{"x": 1}])

    def test_functions_of_the_caller(self):
        with pytest.raises(TypeError, match="lambda"):
            sweep(lambda x: {}, [{"x": 1}])

    def test_no_project_and_no_variable(self, library, monkeypatch, tmp_path):
        monkeypatch.delenv("TWELVEFOLD_CACHE")
        monkeypatch.chdir(tmp_path)
        with pytest.raises(Exception, match="TWELVEFOLD_CACHE"):
            sweep(library.square, [{"x": 1}])


VALUES = st.one_of(st.integers(), st.floats(allow_nan=False, allow_infinity=False), st.booleans(), st.none(),
                   st.text(max_size=4), st.lists(st.integers(), max_size=2))


class TestKey:
    def test_everything_the_result_depends_on_counts(self, library, monkeypatch):
        sweep(library.square, [{"x": 1}])
        sweep(library.square, [{"x": 1}], dtype="float64")
        with monkeypatch.context() as patch:
            patch.setattr(torch, "get_num_threads", lambda: 77)
            sweep(library.square, [{"x": 1}])
        for package in (torch, np):
            with monkeypatch.context() as patch:
                patch.setattr(package, "__version__", "0.0")
                sweep(library.square, [{"x": 1}])
        assert len(calls()) == 5 == len(cache_files(".json"))
        sweep(library.square, [{"x": 1}])
        assert len(calls()) == 5

    def test_code_counts_and_comments_do_not(self, library):
        sweep(library.square, [{"x": 1}])
        path = Path(library.__file__)
        path.write_text(LIBRARY + "\n# more prose\n")
        importlib.reload(library)
        sweep(library.square, [{"x": 1}])
        assert len(calls()) == 1
        path.write_text(LIBRARY.replace('"y": x * x * scale', '"y": x * x * scale + 1'))
        importlib.reload(library)
        assert sweep(library.square, [{"x": 1}])[0]["y"] == 2 and len(calls()) == 2

    @given(st.dictionaries(st.text(max_size=3), VALUES, max_size=3))
    @settings(max_examples=100, deadline=None)
    def test_normal_points_survive_json(self, point):
        normal = normal_point(point, "p")
        assert json.loads(json.dumps(normal)) == point and list(normal) == list(point)
        assert point_key(normal, {}) == point_key(json.loads(json.dumps(normal)), {})

    def test_surroundings_and_point_cannot_be_confused(self):
        assert point_key({"a": 1}, {"b": 2}) != point_key({"b": 2}, {"a": 1})

    def test_bfloat16_results_become_float32_exactly(self):
        tensor = torch.randn(9, generator=torch.Generator().manual_seed(0)).bfloat16()
        found = stored_values({"t": tensor.requires_grad_()}, "f")["t"]
        assert found.dtype == np.float32 and torch.equal(torch.from_numpy(found).bfloat16(), tensor.detach())


class TestFailures:
    def test_a_raising_point_is_named_and_the_others_are_kept(self, library):
        named = r"picky: 2 of 5 points.*points\[1\] \(also points\[3\]\).*1 is odd"
        with pytest.raises(SweepError, match=named) as caught:
            sweep(library.picky, [{"x": x} for x in range(5)])
        assert isinstance(caught.value.__cause__, ValueError) and "Traceback" in str(caught.value)
        assert "{'x': 1}" in str(caught.value)
        assert len(calls()) == 5
        assert [row["y"] for row in sweep(library.picky, [{"x": x} for x in (0, 2, 4)])] == [0, 2, 4]
        assert len(calls()) == 5

    def test_damaged_entries_are_computed_again_with_a_warning(self, library):
        sweep(library.square, [{"x": 1}, {"x": 2}])
        path = cache_files(".npz")[0]
        path.write_bytes(path.read_bytes()[:-3])
        with pytest.warns(CacheWarning, match="computed again"):
            assert [row["y"] for row in sweep(library.square, [{"x": 1}, {"x": 2}])] == [1, 4]
        assert len(calls()) == 3
        sweep(library.square, [{"x": 1}, {"x": 2}])
        assert len(calls()) == 3

    def test_a_full_disk_stops_the_sweep_and_keeps_what_is_stored(self, library, monkeypatch):
        sweep(library.square, [{"x": 1}])

        def full(*args, **kwargs):
            raise OSError(errno.ENOSPC, "No space left on device")

        with monkeypatch.context() as patch:
            patch.setattr(os, "replace", full)
            with pytest.raises(CacheError, match="is full.*TWELVEFOLD_CACHE"):
                sweep(library.square, [{"x": 1}, {"x": 2}, {"x": 3}])
        assert len(calls()) == 2  # the third was not even tried
        sweep(library.square, [{"x": 1}])
        assert len(calls()) == 2 and not cache_files(".tmp")

    def test_a_read_only_cache_serves_what_it_has(self, library, monkeypatch):
        sweep(library.square, [{"x": 1}])

        def refuse(*args, **kwargs):
            raise PermissionError(errno.EACCES, "Permission denied")

        monkeypatch.setattr(store.Path, "mkdir", refuse)
        assert sweep(library.square, [{"x": 1}])[0]["y"] == 1
        with pytest.raises(CacheError, match="cannot write to the cache folder.*Permission denied.*TWELVEFOLD_CACHE"):
            sweep(library.square, [{"x": 2}])

    def test_a_function_that_asks_for_itself(self, library):
        with pytest.raises(SweepError, match="asks for its own point"):
            sweep(library.endless, [{"x": 1}])

    def test_an_interrupt_passes_through_and_releases_the_lock(self, library, monkeypatch):
        def interrupt(*args):
            raise KeyboardInterrupt

        with monkeypatch.context() as patch:
            patch.setattr(library.np, "full", interrupt)
            with pytest.raises(KeyboardInterrupt):
                sweep(library.square, [{"x": 1}])
        assert frames() == [] and sweep(library.square, [{"x": 1}])[0]["y"] == 1


class TestSpreading:
    def test_loky_workers_compute_what_this_process_would(self, library, workers, monkeypatch):
        monkeypatch.setattr(torch, "get_num_threads", lambda: 1)
        torch.use_deterministic_algorithms(True)
        try:
            with joblib.parallel_config("loky", n_jobs=2):
                rows = sweep(library.surroundings, [{"x": x} for x in range(4)])
                with pytest.raises(SweepError, match=r"picky: 1 of 3 points failed.*points\[1\].*ValueError: 1 is odd"):
                    sweep(library.picky, [{"x": x} for x in range(3)])
                sums = [row["sum"] for row in sweep(library.outer, [{"x": x, "seconds": 0.0} for x in range(3)])]
        finally:
            torch.use_deterministic_algorithms(False)
        assert sums == [3, 4, 5] and os.getpid() not in {row["pid"] for row in rows}
        assert all(row["threads"] == 1 and row["deterministic"] for row in rows)
        assert sorted(calls()) == ["picky 0", "picky 1", "picky 2"]
        assert costs().peak_rss_mb > 10
        monkeypatch.undo()

    def test_a_worker_that_dies_is_explained_and_the_rest_is_kept(self, library, workers):
        path = Path(library.__file__)
        path.write_text(LIBRARY + "\ndef fatal(x):\n    if x == 1: os._exit(9)\n    return {'x': x}\n")
        importlib.reload(library)
        with pytest.raises(SweepError, match="(?s)worker process died.*TWELVEFOLD_JOBS"):
            sweep(library.fatal, [{"x": 0}, {"x": 1}], n_jobs=2)

    def test_threads(self, library):
        with joblib.parallel_config("threading", n_jobs=3):
            rows = sweep(library.square, [{"x": x} for x in range(6)])
        assert [row["y"] for row in rows] == [x * x for x in range(6)]
        assert len(calls()) == 6 and costs().cpu_seconds == 0  # all computed by this process

    def test_where_the_number_of_jobs_comes_from(self, monkeypatch):
        monkeypatch.setenv("TWELVEFOLD_JOBS", "3")
        assert sweep_module._jobs(None) == 3 and sweep_module._jobs(2) == 2 and sweep_module._jobs(-1) == -1
        with joblib.parallel_config("threading", n_jobs=5):
            assert sweep_module._jobs(None) == 5
        monkeypatch.setattr(tasks.worker_state, "in_worker", True)
        assert sweep_module._jobs(None) == 1
        monkeypatch.setattr(tasks.worker_state, "in_worker", False)
        monkeypatch.delenv("TWELVEFOLD_JOBS")
        assert sweep_module._jobs(None) == 1

    def test_a_second_process_waits_and_reads(self, library, tmp_path):
        code = (f"import {library.__name__} as m; from twelvefold.core.sweep import sweep; "
                "print(sweep(m.slow, [{'x': 1, 'seconds': 1.0}])[0]['y'].sum())")
        children = [subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) for _ in range(2)]
        outputs = [child.communicate(timeout=60)[0] for child in children]
        assert outputs[0] == outputs[1] and calls() == ["begin 1", "end 1"]


class TestDeath:
    def run_child(self, code: str) -> subprocess.Popen:
        return subprocess.Popen([sys.executable, "-c", textwrap.dedent(code)], stderr=subprocess.DEVNULL)

    def wait_for(self, count: int) -> None:
        deadline = time.monotonic() + 60
        while len(calls()) < count:
            assert time.monotonic() < deadline, calls()
            time.sleep(0.005)

    @pytest.mark.parametrize(("lines", "delay"), [(1, 0.0), (2, 0.0), (2, 0.002), (4, 0.01), (5, 0.0)])
    def test_killed_mid_sweep_and_run_again(self, library, lines, delay):
        points = [{"x": x, "seconds": 0.05} for x in range(4)]
        child = self.run_child(f"""
            import {library.__name__} as m
            from twelvefold.core.sweep import sweep
            sweep(m.slow, {points!r})
            """)
        self.wait_for(lines)
        time.sleep(delay)
        child.send_signal(signal.SIGKILL)
        child.wait()
        stored, begun = len(cache_files(".json")), sum(line.startswith("begin") for line in calls())
        rows = sweep(library.slow, points)
        for x, row in enumerate(rows):
            np.testing.assert_array_equal(row["y"], np.arange(1000) + x)
        again = sum(line.startswith("begin") for line in calls()) - begun
        assert again == 4 - stored and begun - stored <= 1  # at most the point under way is repeated
        assert not cache_files(".tmp")
        # killed between storing and unlocking, an empty lock file may stay beside a whole entry, which needs no lock
        left = cache_files(".lock")
        assert len(left) <= 1 and all(lock.with_suffix(".json").is_file() and lock.stat().st_size == 0 for lock in left)

    def test_a_trainer_resumes_from_its_checkpoint(self, library):
        whole = sweep(library.train, [{"steps": 20, "pause": 0.0}])[0]["value"]
        Path(os.environ["CALLS"]).unlink()
        point = {"steps": 20, "pause": 0.02}
        code = f"""
            import {library.__name__} as m
            from twelvefold.core.sweep import sweep
            sweep(m.train, [{point!r}], checkpoint_every=0.05)
            """
        for lines in (6, 14):
            child = self.run_child(code)
            self.wait_for(lines)
            child.send_signal(signal.SIGKILL)
            child.wait()
        assert len(cache_files(".checkpoint")) == 1 == len(cache_files(".json"))  # the whole run's entry
        before = calls()
        resumed = sweep(library.train, [point], checkpoint_every=0.05)[0]["value"]
        assert resumed.tobytes() == whole.tobytes()
        last_saved = int([line for line in before if line.startswith("saved")][-1].split()[1])
        steps = [int(line.split()[1]) for line in calls()[len(before) :] if line.startswith("step")]
        assert steps[0] in (last_saved + 1, last_saved + 2) and steps[-1] == 20  # saved but not yet written down: + 2
        assert not cache_files(".checkpoint") and not cache_files(".tmp")
        assert costs().cpu_seconds > 0  # what the killed processes had spent is part of the cold cost


class TestCosts:
    def test_read_entries_cost_what_they_cost_when_computed(self, library, monkeypatch):
        sweep(library.work, [{"x": 0, "seconds": 0.2}])
        assert costs().cpu_seconds == 0  # in this process's own time already
        monkeypatch.setattr(sweep_module, "_ledger", Ledger())  # as in a new process
        for _ in range(2):
            sweep(library.work, [{"x": 0, "seconds": 0.2}])
            assert 0.2 <= costs().cpu_seconds < 0.35 and costs().peak_rss_mb > 10

    def test_nested_entries_count_once_and_not_in_their_parent(self, library, monkeypatch):
        points = [{"x": x, "seconds": 0.1} for x in range(2)]
        sweep(library.outer, points)  # 2 of its own, 3 shared nested ones
        assert costs().cpu_seconds == 0
        monkeypatch.setattr(sweep_module, "_ledger", Ledger())
        sweep(library.outer, points)
        assert 0.5 <= costs().cpu_seconds < 0.7
        sweep(library.work, [{"x": 1, "seconds": 0.1}])
        assert costs().cpu_seconds < 0.7

    def test_nested_entries_read_from_the_store_cost_too(self, library, monkeypatch):
        sweep(library.work, [{"x": i, "seconds": 0.1} for i in range(3)])
        monkeypatch.setattr(sweep_module, "_ledger", Ledger())
        sweep(library.outer, [{"x": 5, "seconds": 0.1}])
        assert 0.3 <= costs().cpu_seconds < 0.4  # its own 0.1 s are in this process's time
        monkeypatch.setattr(sweep_module, "_ledger", Ledger())
        sweep(library.outer, [{"x": 5, "seconds": 0.1}])
        assert 0.4 <= costs().cpu_seconds < 0.6

    def test_points_of_neighbouring_threads_do_not_count_for_each_other(self, library, monkeypatch):
        with joblib.parallel_config("threading", n_jobs=3):
            sweep(library.work, [{"x": x, "seconds": 0.15} for x in range(3)])
        monkeypatch.setattr(sweep_module, "_ledger", Ledger())
        sweep(library.work, [{"x": x, "seconds": 0.15} for x in range(3)])
        assert 0.45 <= costs().cpu_seconds < 0.75

    def test_frames_close_in_order_and_costs_are_never_negative(self):
        with frame("a") as outer:
            with frame("b") as inner:
                assert frames() == [outer, inner]
            inner.add_nested("c", Cost(1.0, 2.0), {"d": Cost(3.0, 4.0)}, Spent(9.0, 9.0))
            assert inner.cost().cpu_seconds == 0.0 and set(inner.nested) == {"c", "d"}
        assert frames() == []
