"""What a reader does with a notebook in JupyterLab, as functions of a Playwright page."""

from __future__ import annotations

from typing import Any

PANEL = ".jp-NotebookPanel:not(.lm-mod-hidden)"
CODE_CELLS = f"{PANEL} .jp-CodeCell"
OUTPUTS = f"{PANEL} .jp-OutputArea-output"
WIDGET_OUTPUT = f"{PANEL} .jupyter-widgets.widget-output"
# every cell that has code carries a number; an empty cell never gets one
FINISHED = """selector => {
    const cells = [...document.querySelectorAll(selector)];
    return cells.length > 0 && cells.every(cell =>
        cell.querySelector('.cm-content')?.textContent.trim() === '' ||
        /^\\[\\d+\\]/.test(cell.querySelector('.jp-InputPrompt').textContent.trim()));
}"""


def open_notebook(page: Any, address: str) -> None:
    """Open the address and wait until the kernel is connected and the notebook's cells are shown."""
    page.goto(address)
    page.locator(CODE_CELLS).first.wait_for()
    page.locator("#jp-main-statusbar").get_by_text("| Idle").wait_for(timeout=60_000)


def run_all(page: Any, timeout: float) -> None:
    """Run > Run All Cells, then wait (seconds) for a number at every code cell; an error output fails."""
    page.get_by_role("menuitem", name="Run", exact=True).click()
    page.get_by_role("menuitem", name="Run All Cells", exact=True).click()
    try:
        page.wait_for_function(FINISHED, arg=CODE_CELLS, timeout=1000 * timeout)
    finally:
        errors = page.locator(f"{OUTPUTS} [data-mime-type='application/vnd.jupyter.error'], "
                              f"{OUTPUTS}[data-mime-type='application/vnd.jupyter.error']").all_inner_texts()
        assert not errors, "\n".join(errors)[-3000:]


def figures(page: Any) -> int:
    """Number of images in outputs, each loaded and not empty."""
    images = page.locator(f"{OUTPUTS} img")
    images.first.wait_for()
    assert page.evaluate("s => [...document.querySelectorAll(s)].every(i => i.naturalWidth > 50)", f"{OUTPUTS} img")
    return int(images.count())


def widget_output(page: Any) -> str:
    """The text and images that the first interactive widget shows, once there are any."""
    shown = page.locator(WIDGET_OUTPUT).first
    shown.scroll_into_view_if_needed()
    page.wait_for_function("s => document.querySelector(s).querySelector('.jp-OutputArea-output')", arg=WIDGET_OUTPUT)
    return str(shown.inner_html())


def turn_control(page: Any) -> None:
    """Move the first slider by one step, or choose the next entry of the first list; wait for another output."""
    before = widget_output(page)
    slider = page.locator(f"{CODE_CELLS} .noUi-handle").first
    if slider.count():
        slider.focus()
        page.keyboard.press("ArrowRight")
    else:
        page.locator(f"{CODE_CELLS} .widget-dropdown select").first.select_option(index=1)
    changed = "([s, before]) => { const e = document.querySelector(s); return e.innerHTML !== before" \
        " && e.querySelector('.jp-OutputArea-output') !== null; }"
    page.wait_for_function(changed, arg=[WIDGET_OUTPUT, before], timeout=60_000)
