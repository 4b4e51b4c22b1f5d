"""JupyterLab as a reader uses it, in headless Chromium: open a paired notebook, run it, see a figure, move a slider."""

from __future__ import annotations

import json
import os
import shutil
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jupytext
import psutil
import pytest

from tests.browser.lab_server import Server, lab_server
from tests.browser.notebook_page import figures, open_notebook, run_all, turn_control, widget_output

ROOT = Path(__file__).resolve().parents[2]
TEXT = '''\
# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # A toy

# %% tags=["parameters"]
preset: str = "quick"  # size of the run

# %%
import matplotlib.pyplot as plt

from twelvefold.core.explore import explore

figure, axes = plt.subplots(figsize=(3, 2))
_ = axes.plot([0, 1, 4, 9])

# %%
def show(power: int) -> None:
    print("the value is", 3**power)


explore(show, power=(0, 4))

# %% [markdown]
# The end.
'''


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small project with one paired notebook and the real project's settings of jupytext.

    The .ipynb is newer than the text, as after `refresh`, and the text is not spaced as jupytext would space it.
    """
    root = tmp_path_factory.mktemp("tree")
    (root / "lib").mkdir()
    for settings in ("pyproject.toml", "jupytext.toml"):
        if (ROOT / settings).exists():
            shutil.copy(ROOT / settings, root)
    notebook = root / "notebooks/toy/01_first.py"
    notebook.parent.mkdir(parents=True)
    notebook.write_text(TEXT)
    jupytext.write(jupytext.reads(TEXT, fmt="py:percent"), notebook.with_suffix(".ipynb"))
    earlier = notebook.stat().st_mtime - 3600
    os.utime(notebook, (earlier, earlier))
    return root


@pytest.fixture(scope="module")
def server(tree: Path, tmp_path_factory: pytest.TempPathFactory, browser: Any) -> Iterator[Server]:
    with lab_server(tree, tmp_path_factory.mktemp("jupyter")) as running:
        yield running


def test_only_this_machine_with_a_token_can_reach_the_server(server: Server, page: Any) -> None:
    assert server.host in ("127.0.0.1", "localhost", "::1") and len(server.token) >= 16
    addresses = {c.laddr.ip for p in (psutil.Process(server.process.pid),) for q in (p, *p.children(recursive=True))
                 for c in q.net_connections(kind="tcp") if c.status == psutil.CONN_LISTEN}
    assert addresses and addresses <= {"127.0.0.1", "::1"}
    assert page.request.get(f"{server.url}api/contents").status == 403
    assert page.request.get(f"{server.url}api/contents?token={server.token}").status == 200


@pytest.mark.parametrize("suffix", [".py", ".ipynb"])
def test_a_notebook_opens_runs_shows_its_figure_and_answers_a_slider(
    server: Server, page: Any, suffix: str, tmp_path: Path
) -> None:
    open_notebook(page, server.page(f"notebooks/toy/01_first{suffix}"))
    run_all(page, timeout=60)
    page.screenshot(path=tmp_path / "after_run.png")
    assert figures(page) == 1
    assert "the value is 9" in widget_output(page)
    turn_control(page)
    page.screenshot(path=tmp_path / "after_slider.png")
    assert "the value is 27" in widget_output(page)


def test_saving_a_text_notebook_updates_its_pair_and_keeps_the_text(server: Server, page: Any, tree: Path) -> None:
    text = tree / "notebooks/toy/01_first.py"
    open_notebook(page, server.page("notebooks/toy/01_first.py"))
    run_all(page, timeout=60)
    with page.expect_response(lambda r: r.request.method == "PUT" and "/api/contents/" in r.url) as saved:
        page.keyboard.press("Control+s")
    assert saved.value.ok
    assert text.read_text() == TEXT
    cells = json.loads(text.with_suffix(".ipynb").read_text())["cells"]
    assert any("image/png" in output.get("data", {}) for cell in cells for output in cell.get("outputs", []))


def test_the_server_and_its_kernels_end_with_the_command(tree: Path, tmp_path: Path, page: Any) -> None:
    with lab_server(tree, tmp_path) as running:
        open_notebook(page, running.page("notebooks/toy/01_first.ipynb"))
        family = psutil.Process(running.process.pid).children(recursive=True)
        assert family, "no kernel was started"
        running.process.terminate()
        _, alive = psutil.wait_procs([psutil.Process(running.process.pid), *family], timeout=60)
        assert not alive
    with socket.socket() as probe, pytest.raises(ConnectionRefusedError):
        port = int(running.url.rstrip("/").rsplit(":", 1)[1])
        probe.connect(("127.0.0.1", port))
