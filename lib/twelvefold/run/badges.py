"""Colab and Binder badges in README and notebooks, all made from one place: `[tool.twelvefold] repository`."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

from twelvefold.run.jobs import RunError, discover
from twelvefold.run.ledger import replace_block, write_atomically

_GITHUB = re.compile(r"https://github\.com/(?P<slug>[A-Za-z0-9-]+/[A-Za-z0-9._-]+?)(\.git)?/?")
_COLAB = "[![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)]"
_BINDER = "[![Open in Binder](https://mybinder.org/badge_logo.svg)]"
_LINE = re.compile(r"#\n# \[!\[Open in Colab\][^\n]*\n")
_CELL_MARK = '# %% tags=["colab"]\n'
_CELL = re.compile(r'# %% tags=\["colab"\]\n.*?(?=^# %%)', re.DOTALL | re.MULTILINE)
_MARKER = re.compile(r"^# %%", re.MULTILINE)


class BadgeError(RunError):
    """A repository address or a notebook that no badge can be made for."""


def repository(root: Path) -> str:
    """Return the public address of the repository, empty when there is none yet.

    Raises:
        BadgeError: for an address that Colab and Binder do not know.
    """
    settings = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))
    address = settings.get("tool", {}).get("twelvefold", {}).get("repository", "")
    if address and not _GITHUB.fullmatch(address):
        raise BadgeError(f"repository = {address!r} in pyproject.toml: expected https://github.com/<owner>/<name>")
    return str(address)


def badge_line(address: str, name: str) -> str:
    """Return both badges of a notebook as one line of Markdown; empty for an empty address."""
    match = _GITHUB.fullmatch(address)
    if match is None:
        return ""
    notebook = f"notebooks/{name}.ipynb"
    colab = f"{_COLAB}(https://colab.research.google.com/github/{match['slug']}/blob/main/{notebook})"
    binder = f"{_BINDER}(https://mybinder.org/v2/gh/{match['slug']}/HEAD?urlpath=lab/tree/{notebook})"
    return f"{colab} {binder}"


def colab_cell(address: str) -> str:
    """Return the code of the cell that makes a fresh Colab machine ready; elsewhere it does nothing.

    It clones the repository and installs the project with its wide bounds, while a constraints file keeps Colab's own
    torch and numpy as they are.
    """
    return f'''\
# On Colab: fetch the project and install what it needs beside Colab's torch and numpy. Elsewhere: nothing.
import os
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

if "google.colab" in sys.modules and not Path("lib/twelvefold").is_dir():
    tree = Path("twelvefold").resolve()
    if not tree.exists():
        subprocess.run(["git", "clone", "--quiet", "--depth", "1", {address!r}, str(tree)], check=True)
    kept = tree / "colab-constraints.txt"
    _ = kept.write_text("".join(f"{{name}}=={{version(name)}}\\n" for name in ("torch", "numpy")))
    install = [sys.executable, "-m", "pip", "install", "--quiet", "--constraint", str(kept)]
    subprocess.run([*install, "--editable", f"{{tree}}[notebooks]"], check=True)
    sys.path.insert(0, str(tree / "lib"))  # an editable install is seen only after a restart
    os.chdir(tree)
'''


def with_badges(text: str, address: str, name: str) -> str:
    """Return the text of a notebook with the badges and the Colab cell of `address`; without both when it is empty.

    Raises:
        BadgeError: when the text has no title cell followed by another cell.
    """
    text = _CELL.sub("", _LINE.sub("", text, count=1), count=1)
    if not address:
        return text
    title = text.find("# %% [markdown]")
    following = [match.start() for match in _MARKER.finditer(text) if match.start() > title]
    if title < 0 or not following:
        raise BadgeError(f"{name}: expected a title cell (# %% [markdown]) and a cell after it")
    head, rest = text[: following[0]].rstrip("\n"), text[following[0] :]
    return f"{head}\n#\n# {badge_line(address, name)}\n\n{_CELL_MARK}{colab_cell(address)}\n{rest}"


def update_badges(root: Path, write: bool = True) -> list[str]:
    """Bring README and all notebooks (.py) in line with the address; return the files that differed.

    Raises:
        RunError: a wrong address, a notebook without title cell, a README without its markers.
    """
    address = repository(root)
    notebooks = discover(root)
    readme = root / "README.md"
    wanted = {
        readme: replace_block(readme.read_text(encoding="utf-8"), "badges", badge_line(address, notebooks[0].name))
    }
    for notebook in notebooks:
        wanted[notebook.source] = with_badges(notebook.source.read_text(encoding="utf-8"), address, notebook.name)
    changed = [path for path, text in wanted.items() if path.read_text(encoding="utf-8") != text]
    for path in changed if write else []:
        write_atomically(path, wanted[path].encode())
    return [path.relative_to(root).as_posix() for path in changed]
