"""core.sources: closures agree with grimp, keys change with the code and the data and with nothing else."""

import importlib
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import grimp
import pytest
import twelvefold
from hypothesis import given, settings
from hypothesis import strategies as st
from twelvefold.core import sources
from twelvefold.core.sources import (
    SourceError,
    canonical,
    closure,
    content_key,
    display_key,
    environment_key,
    forbidden_imports,
    function_key,
)
from twelvefold.core.syntax import parse

LIB = Path(twelvefold.__file__).parents[1]
CORE = LIB / "twelvefold" / "core"

# Everything that versions of Python have cut or filled in differently: f-strings, default fields, unusual constants.
AWKWARD = '''
"""Docstring."""
from __future__ import annotations
import a.b as c
x: int = 1; y = 1.0; z = 1j; w = b"\\x00\\xff"; big = 123456789012345678901234567890; e = ...; neg = -0.0
s = f"{x!r:>{y}} and {z=} {{}} {x:}" f"tail" "plain" f"{'nested'}" "\\u00e9\\U0001F600"
def f(a, /, b=1, *c, d, e=None, **g) -> dict[str, int]: return {**g, "k": a} if b else {}
async def h():
    async with q as r, t: await r
    return [i async for i in u if i]
class K(B, metaclass=M):
    """Docstring."""
    @property
    def p(self): "docstring"; global G; return lambda *a, k=2: (yield)
match x:
    case [1, *rest] | {"k": 2, **more} if rest: pass
    case K(p=3) as k: del k
    case None | _: raise
try: assert x, "no"
except* ValueError as v: raise v from None
else: x @= y
finally: print(x[1:2, ::3], *y, sep="")
for i in x: continue
while (n := x): break
'''
AWKWARD_DIGEST = "024e32bf47b7ccc5a0fc894eb664e19ba2b7e8e449a946a55c068aa765a43a8a"


def write(root: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(text), encoding="utf-8")


@pytest.fixture
def toy(tmp_path):
    """A project with a package of modules that import each other in every way Python has."""
    write(
        tmp_path,
        {
            "pyproject.toml": "",
            "requirements.txt": "numpy==2.0\n",
            "lib/toylib/__init__.py": "",
            "lib/toylib/base.py": "import os\ndef area(r):\n    return 3 * r\n",
            "lib/toylib/lazy.py": "def f():\n    from . import late\n    return late\n",
            "lib/toylib/late.py": "X = 1\n",
            "lib/toylib/sub/__init__.py": "from ..extra import thing\n",
            "lib/toylib/sub/one.py": "from .two import name\nfrom .. import base\n",
            "lib/toylib/sub/two.py": "name = 1\n",
            "lib/toylib/extra.py": "thing = 2\n",
            "lib/toylib/plotting.py": "from toylib import colours\n",
            "lib/toylib/colours.py": "RED = 'r'\n",
            "lib/toylib/alone.py": "Y = 1\n",
            "lib/other/__init__.py": "import toylib.alone\n",
            "lib/single.py": "import other\n",
            "notebooks/paper/01_a.py": "# %% [markdown]\n# prose\n# %%\nfrom toylib import base\nprint(base.area(2))\n",
            "notebooks/paper/02_b.py": "import toylib.sub.one, toylib.lazy\nimport toylib.plotting\n",
        },
    )
    return tmp_path


def names(found):
    return {name.removeprefix("toylib.") for name in found}


class TestClosure:
    def test_imports_of_a_notebook(self, toy):
        assert names(closure(toy, toy / "notebooks/paper/01_a.py")) == {"toylib", "base"}

    def test_relative_lazy_and_parent_imports(self, toy):
        found = closure(toy, toy / "notebooks/paper/02_b.py")
        expected = {"toylib", "sub", "sub.one", "sub.two", "base", "extra", "lazy", "late", "plotting", "colours"}
        assert names(found) == expected
        assert list(found) == sorted(found)
        assert found["toylib.sub"] == toy / "lib/toylib/sub/__init__.py"

    def test_every_package_under_lib_counts_and_plain_modules_too(self, toy):
        assert set(closure(toy, "single")) == {"single", "other", "toylib", "toylib.alone"}

    def test_a_file_inside_lib_is_its_module(self, toy):
        for module, file in (("toylib.sub.one", "toylib/sub/one.py"), ("toylib.sub", "toylib/sub/__init__.py")):
            assert closure(toy, toy / "lib" / file) == closure(toy, module)
            assert module in closure(toy, module)

    def test_from_a_import_b_adds_both(self, toy):
        write(toy, {"n.py": "from toylib.sub import two"})
        assert names(closure(toy, toy / "n.py")) == {"toylib", "sub", "sub.two", "extra"}

    def test_a_star_a_cycle_and_a_folder_without_init(self, toy):
        write(toy, {"n.py": "from space.deep.mod import *", "lib/space/deep/mod.py": "from space.deep import back",
                    "lib/space/deep/back.py": "import space.deep.mod"})
        assert set(closure(toy, toy / "n.py")) == {"space.deep.mod", "space.deep.back"}

    def test_a_relative_import_beyond_the_package_is_no_dependency(self, toy):
        write(toy, {"lib/toylib/bad.py": "def f():\n    from ...other import x\n"})
        assert names(closure(toy, "toylib.bad")) == {"toylib", "bad"}

    def test_importlib_with_a_written_name_is_followed(self, toy):
        write(toy, {"n.py": "import importlib\nm = importlib.import_module('toylib.late')\n"})
        assert names(closure(toy, toy / "n.py")) == {"toylib", "late"}

    def test_errors_name_the_file_and_the_line(self, toy):
        write(toy, {"lib/toylib/broken.py": "x = 1\ndef (:\n", "n.py": "import toylib.broken"})
        with pytest.raises(SourceError, match=r"broken\.py, line 2"):
            closure(toy, toy / "n.py")
        with pytest.raises(SourceError, match="nowhere.py"):
            closure(toy, toy / "nowhere.py")
        with pytest.raises(SourceError, match="toylib.missing.*other, single, toylib"):
            closure(toy, "toylib.missing")
        write(toy, {"nul.py": "x = '\0'"})
        with pytest.raises(SourceError, match="nul.py"):
            closure(toy, toy / "nul.py")

    def test_agrees_with_grimp_on_twelvefold(self):
        graph = grimp.build_graph("twelvefold", cache_dir=None)
        root = LIB.parent
        assert len(graph.modules) > 10
        for module in graph.modules:
            assert set(closure(root, module)) == grimp_closure(graph, module), module

    def test_agrees_with_grimp_on_the_toy(self, toy, monkeypatch):
        monkeypatch.syspath_prepend(str(toy / "lib"))
        graph = grimp.build_graph("toylib", cache_dir=None)
        for module in graph.modules:
            assert set(closure(toy, module)) == grimp_closure(graph, module), module


def grimp_closure(graph, module):
    """Everything upstream of `module`, where importing a module runs its parents too."""
    found, todo = set(), [module]
    while todo:
        name = todo.pop()
        if name not in found and name in graph.modules:
            found.add(name)
            todo.extend(graph.find_modules_directly_imported_by(name))
            todo.append(name.rpartition(".")[0])
    return found


class TestCanonical:
    CODE = "import os\n\ndef f(x, y=1):\n    z = x + y\n    return {'a': z}\n"

    def digest(self, text):
        return parse(textwrap.dedent(text).encode(), "<text>").digest

    def test_comments_docstrings_and_layout_do_not_count(self):
        dressed = '''
            """What this is."""
            # a comment
            import os


            def f(x,
                  y = 1):   # another
                """Docstring."""
                z = (x + y)
                """a bare string is prose too"""
                return {"a": z,}
            '''
        assert self.digest(self.CODE) == self.digest(dressed)

    @pytest.mark.parametrize(
        ("old", "new"),
        [("y=1", "y=2"), ("y=1", "y=1.0"), ("y=1", "y=True"), ("y=1", "y='1'"), ("x + y", "x - y"), ("x + y", "y + x"),
         ("'a'", "'b'"), ("'a'", "b'a'"), ("def f", "def g"), ("def f", "async def f"), ("z = ", "z: int = "),
         ("import os", "import sys"), ("import os", "from . import os"), ("{'a': z}", "{**z}"), ("x, y=1", "x, /, y=1"),
         ("x, y=1", "x, *, y=1"), ("return {'a': z}", "yield {'a': z}"), ("z = x + y", "z = x + y\n    del x")],
    )
    def test_any_change_of_the_code_counts(self, old, new):
        assert old in self.CODE
        assert self.digest(self.CODE) != self.digest(self.CODE.replace(old, new))

    def test_strings_cannot_imitate_structure(self):
        assert self.digest("x = ['a', 'b']") != self.digest("""x = ["a,s1:b"]""")

    def test_equal_on_all_versions_of_python(self):
        # Computed with 3.11, 3.12 and 3.13: whichever version runs this test has to agree.
        assert parse(AWKWARD.encode(), "<awkward>").digest == AWKWARD_DIGEST

    def test_file_and_cache(self, tmp_path):
        path = tmp_path / "m.py"
        path.write_text("x = 1\n")
        first = canonical(path)
        assert isinstance(first, bytes) and canonical(path) is first
        path.write_text("x = 2\n")
        os.utime(path, ns=(1, 1))
        assert canonical(path) != first
        with pytest.raises(SourceError, match="none.py"):
            canonical(tmp_path / "none.py")

    @given(st.text(max_size=30), st.floats(), st.integers(), st.binary(max_size=8))
    @settings(max_examples=60, deadline=None)
    def test_constants_are_told_apart_exactly(self, text, real, whole, data):
        sources_of = [repr(text), repr(data), str(whole), repr(float(whole)) if abs(whole) < 2**52 else "0j"]
        digests = {self.digest(f"x = {item}") for item in sources_of}
        assert len(digests) == len(sources_of)


def test_computed_imports_are_found(tmp_path):
    write(tmp_path, {"m.py": """
        import importlib
        from importlib import import_module
        good = importlib.import_module("json"), __import__("os")
        a = importlib.import_module(name)
        b = import_module("." + name, package)
        c = __import__(f"x{y}")
        d = importlib.import_module(".relative", package)
        """})
    lines = forbidden_imports(tmp_path / "m.py")
    assert [int(line.split(":")[1]) for line in lines] == [5, 6, 7, 8]


def test_the_library_has_no_computed_imports():
    files = [path for path in (LIB / "twelvefold").rglob("*.py") if "run" not in path.relative_to(LIB).parts]
    assert [line for path in files for line in forbidden_imports(path)] == []


class TestContentKey:
    def keys(self, toy):
        return content_key(toy, "paper/01_a"), content_key(toy, "paper/02_b")

    def test_prose_comments_and_docstrings_do_not_count(self, toy):
        before = self.keys(toy)
        change(toy / "notebooks/paper/01_a.py", "# prose", "# better prose")
        change(toy / "lib/toylib/base.py", "    return", "    '''Area of what.'''\n    # why\n    return")
        assert self.keys(toy) == before

    def test_the_colab_cell_does_not_count(self, toy):
        before = self.keys(toy)
        cell = '# %% tags=["colab"]\nimport toylib_from_there\n\n'
        change(toy / "notebooks/paper/01_a.py", "# %%\n", cell + "# %%\n")
        assert self.keys(toy) == before
        change(toy / "notebooks/paper/01_a.py", '["colab"]', '["other"]')
        assert self.keys(toy) != before

    @pytest.mark.parametrize(
        ("file", "old", "new", "changed"),
        [("lib/toylib/base.py", "3", "4", (True, True)), ("lib/toylib/late.py", "1", "2", (False, True)),
         ("lib/toylib/sub/__init__.py", "thing", "thing as t", (False, True)),
         ("notebooks/paper/01_a.py", "area(2)", "area(3)", (True, False)),
         ("lib/toylib/alone.py", "1", "2", (False, False)),
         ("lib/toylib/plotting.py", "colours", "colours, base", (False, False))],
    )
    def test_exactly_the_dependants_change(self, toy, file, old, new, changed):
        before = self.keys(toy)
        change(toy / file, old, new)
        assert tuple(a != b for a, b in zip(before, self.keys(toy), strict=True)) == changed

    def test_display_key_is_the_rest(self, toy):
        before = display_key(toy, "paper/01_a"), display_key(toy, "paper/02_b")
        change(toy / "notebooks/paper/01_a.py", "# prose", "# better prose")
        change(toy / "lib/toylib/plotting.py", "colours", "colours as c")
        change(toy / "lib/toylib/base.py", "3", "4")
        after = display_key(toy, "paper/01_a"), display_key(toy, "paper/02_b")
        assert after[0] != before[0] and after[1] != before[1]
        change(toy / "lib/toylib/base.py", "4", "5")
        assert (display_key(toy, "paper/01_a"), display_key(toy, "paper/02_b")) == after

    def test_data_of_the_tree_counts_for_those_who_name_it(self, toy):
        write(toy, {"lib/toylib/data/registry.yaml": """
            heights: {title: t, source: s, licence: l, size: 4, loader: table_csv,
                      files: [{name: heights.csv, size: 4, tree: data/heights.csv}]}
            """, "data/heights.csv": "h\n1\n", "lib/toylib/late.py": "NAME = 'heights'\n"})
        before = self.keys(toy)
        write(toy, {"data/heights.csv": "h\n2\n"})
        after = self.keys(toy)
        assert after[0] == before[0] and after[1] != before[1]
        change(toy / "lib/toylib/data/registry.yaml", "title: t", "title: u")
        assert self.keys(toy)[0] == before[0] and self.keys(toy)[1] != after[1]
        (toy / "data/heights.csv").unlink()
        assert self.keys(toy)[1] not in (before[1], after[1])

    def test_a_dataset_called_like_a_variable_or_in_prose_does_not_count(self, toy):
        change(toy / "notebooks/paper/01_a.py", "print", "mnist5k = print  # mnist5k\n'''mnist5k'''\nprint")
        before = content_key(toy, "paper/01_a")
        change(toy / "notebooks/paper/01_a.py", "area(2)", "area(2), 'mnist5k'")
        strings = sources.read_source(toy / "notebooks/paper/01_a.py").strings
        assert "mnist5k" in strings and content_key(toy, "paper/01_a") != before

    def test_installed_registry_counts_in_a_toy_tree(self, toy, monkeypatch):
        from twelvefold.core import data

        change(toy / "notebooks/paper/01_a.py", "area(2)", "area(2), 'mnist5k'")
        before = content_key(toy, "paper/01_a")
        entries = data.registry(toy)
        changed = {**entries, "mnist5k": type(entries["mnist5k"])(**{**vars(entries["mnist5k"]), "raw": {"size": 1}})}
        monkeypatch.setattr(data, "registry", lambda root=None: changed)
        assert content_key(toy, "paper/01_a") != before

    def test_unknown_notebooks_are_refused(self, toy):
        with pytest.raises(SourceError, match="03_c.py"):
            content_key(toy, "paper/03_c")
        with pytest.raises(Exception, match="<NN_result>"):
            content_key(toy, "03_c")

    def test_it_costs_little(self, toy, monkeypatch):
        """Files are parsed once: a second key of the same tree parses nothing."""
        self.keys(toy)
        monkeypatch.setattr("twelvefold.core.syntax.parse", lambda *args: pytest.fail("parsed again"))
        self.keys(toy)


def change(path: Path, old: str, new: str) -> None:
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new), encoding="utf-8")


class TestEnvironmentKey:
    def test_changes_with_the_lock_file_the_device_and_the_versions(self, toy, monkeypatch):
        keys = [environment_key(toy, "cpu"), environment_key(toy, "cuda")]
        write(toy, {"requirements.txt": "numpy==2.1\n"})
        keys.append(environment_key(toy, "cpu"))
        monkeypatch.setattr(sources, "_version", lambda name: "0.0")
        keys.append(environment_key(toy, "cpu"))
        (toy / "requirements.txt").unlink()
        keys.append(environment_key(toy, "cpu"))
        assert len(set(keys)) == 5 and environment_key(toy, "cpu") == keys[-1]

    def test_unknown_device_class(self, toy):
        with pytest.raises(ValueError, match="tpu.*cpu.*cuda.*mps"):
            environment_key(toy, "tpu")

    def test_torch_is_not_imported_for_a_key(self, toy):
        code = f"""
import sys
from pathlib import Path
from twelvefold.core.sources import content_key, environment_key
content_key(Path({str(toy)!r}), "paper/01_a"), environment_key(Path({str(toy)!r}), "cpu")
assert not {{"torch", "pandas", "matplotlib", "grimp"}} & set(sys.modules)
"""
        subprocess.run([sys.executable, "-c", code], check=True)


def _hidden():
    pass


class TestFunctionKey:
    @pytest.fixture
    def module(self, toy, monkeypatch):
        monkeypatch.syspath_prepend(str(toy / "lib"))
        importlib.invalidate_caches()
        yield importlib.import_module("toylib.base")
        for name in [name for name in sys.modules if name.split(".")[0] in ("toylib", "other", "single")]:
            del sys.modules[name]
            sources._loaded.pop(name, None)

    def test_same_code_same_key_other_function_other_key(self, toy, module):
        key = function_key(module.area)
        assert key == function_key(module.area)
        change(toy / "lib/toylib/base.py", "def area", "def volume(r):\n    return r\ndef area")
        importlib.reload(module)
        assert len({key, function_key(module.area), function_key(module.volume)}) == 3

    def test_dependencies_count_except_plotting(self, toy, module):
        change(toy / "lib/toylib/base.py", "import os", "import os\nimport toylib.plotting")
        importlib.reload(module)
        key = function_key(module.area)
        plotting = importlib.import_module("toylib.plotting")
        change(toy / "lib/toylib/plotting.py", "colours", "colours, alone as again")
        importlib.reload(plotting)
        with_alone = function_key(module.area)
        assert with_alone != key  # the new module is a dependency now, the plotting module itself is not
        change(toy / "lib/toylib/plotting.py", "alone as again", "alone as anew")
        importlib.reload(plotting)
        assert function_key(module.area) == with_alone

    def test_code_edited_after_its_import_is_refused_until_it_is_reloaded(self, toy, module):
        key = function_key(module.area)
        change(toy / "lib/toylib/base.py", "return", "# a comment is no edit\n    return")
        assert function_key(module.area) == key
        change(toy / "lib/toylib/base.py", "3 * r", "30 * r")
        with pytest.raises(SourceError, match="toylib.base.*restart the kernel"):
            function_key(module.area)
        importlib.reload(module)
        assert function_key(module.area) != key

    def test_twelvefold_is_a_dependency_of_code_outside_its_tree(self, toy, module):
        change(toy / "lib/toylib/base.py", "import os", "from twelvefold.core import project")
        scope = sources._function_scope(module, toy / "lib/toylib/base.py")
        assert "twelvefold.core.project" in sources._closure(scope, "toylib.base")

    def test_datasets_that_the_code_names_count(self, toy, module):
        write(toy, {"lib/toylib/data/registry.yaml": """
            heights: {title: t, source: s, licence: l, size: 4, loader: table_csv,
                      files: [{name: heights.csv, size: 4, tree: data/heights.csv}]}
            """, "data/heights.csv": "h\n1\n"})
        without = function_key(module.area)
        change(toy / "lib/toylib/base.py", "3 * r", "3 * r + len('heights')")
        importlib.reload(module)
        keys = {without, function_key(module.area)}
        write(toy, {"data/heights.csv": "h\n23\n"})
        keys.add(function_key(module.area))
        change(toy / "lib/toylib/data/registry.yaml", "size: 4", "size: 5")
        keys.add(function_key(module.area))
        assert len(keys) == 4

    @pytest.mark.parametrize(
        "fn", [lambda: 0, _hidden, len, TestCanonical().digest, TestCanonical, "name", None, textwrap.TextWrapper.fill]
    )
    def test_only_public_functions_of_modules(self, fn):
        with pytest.raises(TypeError, match="fn: .*public function at the top level"):
            function_key(fn)

    def test_functions_of_a_notebook_and_nested_ones_are_refused(self, module):
        def nested():
            pass

        with pytest.raises(TypeError, match="nested"):
            function_key(nested)
        namespace = {"__name__": "__main__"}
        exec("def cell(): pass", namespace)
        with pytest.raises(TypeError, match="__main__"):
            function_key(namespace["cell"])

    def test_a_function_that_its_module_does_not_hold_under_its_name_is_refused(self, module, monkeypatch):
        original = module.area
        monkeypatch.setattr(module, "area", None)
        with pytest.raises(TypeError, match="decorated"):
            function_key(original)

    def test_installed_packages_do_not_drag_in_their_neighbours(self):
        import joblib

        scope = sources._function_scope(joblib.hashing, Path(joblib.hashing.__file__))
        assert set(scope) == {"joblib", "twelvefold"}
        assert len(function_key(joblib.hashing.hash)) == 64
