"""Controls under which a reader recomputes a small case, with a static picture for everybody else."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from . import display, plotting, progress

Control = tuple[float, ...] | list[Any] | bool | str
_DPI = 100


class ExploreError(ValueError):
    """A control that is neither a range nor a list nor a switch nor a text."""


def default(name: str, control: Control) -> Any:
    """Return the value at which a control starts: the middle step of a range, the first of a list, the switch or the
    text itself.

    Args:
        name: name of the control, for messages.
        control: `(low, high)` or `(low, high, step)`, a list of choices, a bool, or a text to be typed over.

    Raises:
        ExploreError: anything else.
    """
    if isinstance(control, bool | str):
        return control
    if isinstance(control, list):
        if not control:
            raise ExploreError(f"control {name} = []; a list needs at least one choice.")
        return control[0]
    low, high, step = _range(name, control)
    middle = low + step * (round((high - low) / step) // 2)
    return middle if isinstance(middle, int) else round(middle, 12)


def _range(name: str, control: Any) -> tuple[float, float, float]:
    numbers = isinstance(control, tuple) and all(type(x) in (int, float) for x in control)
    if not numbers or len(control) not in (2, 3):
        accepted = "accepted are a range (low, high) or (low, high, step), a list of choices, a bool, or a text"
        raise ExploreError(f"control {name} = {control!r}; {accepted}.")
    low, high = control[:2]
    whole = isinstance(low, int) and isinstance(high, int)
    step = control[2] if len(control) == 3 else (1 if whole else (high - low) / 20)
    if not (low < high and 0 < step <= high - low):
        raise ExploreError(f"control {name} = {control!r}; low < high and 0 < step <= high - low are needed.")
    return low, high, step


def _widget(name: str, control: Control) -> Any:
    import ipywidgets

    value = default(name, control)
    if isinstance(control, bool):
        return ipywidgets.Checkbox(value=value, description=name)
    if isinstance(control, str):
        wide = ipywidgets.Layout(width="95%")
        return ipywidgets.Text(value=value, description=name, continuous_update=False, layout=wide)
    if isinstance(control, list):
        return ipywidgets.Dropdown(options=control, value=value, description=name)
    low, high, step = _range(name, control)
    kind = ipywidgets.IntSlider if all(isinstance(x, int) for x in (low, high, step)) else ipywidgets.FloatSlider
    return kind(value=value, min=low, max=high, step=step, description=name, continuous_update=False)


def _alt(draw: Callable[..., Any], values: dict[str, Any]) -> str:
    text = draw.__doc__ or getattr(draw, "__name__", "picture").replace("_", " ")
    sentence = text.strip().splitlines()[0].rstrip(".")
    return f"{sentence}, at {', '.join(f'{name} = {value}' for name, value in values.items())}."


def _show(draw: Callable[..., Any], values: dict[str, Any]) -> None:
    import matplotlib.pyplot as plt
    from matplotlib.figure import Figure

    result = draw(**values)
    if isinstance(result, Figure):
        display.show_png(plotting.png_bytes(result, dpi=_DPI), _alt(draw, values))
        plt.close(result)


def _redraw(draw: Callable[..., Any], values: dict[str, Any]) -> None:
    """Draw a reader's setting; what `draw` does not accept is said in its own words, without a traceback."""
    try:
        _show(draw, values)
    except ValueError as error:
        display.show_markdown(f"Not accepted: {error}")


def explore(draw: Callable[..., Any], **controls: Control) -> None:
    """Show `draw` at the default setting, then, where somebody can move them, the controls that redraw it.

    In a batch run ($TWELVEFOLD_BATCH=1), in a plain script and without ipywidgets only the static picture is shown.
    `draw` computes a small case at once; it returns a matplotlib figure (shown and closed here) or shows something
    itself. It must not call a sweep, a table or a claim.

    Args:
        draw: called with one keyword argument per control. The first line of its docstring describes the picture.
        controls: per argument of `draw` a range `(low, high)` or `(low, high, step)`, a list of choices, a bool,
            or a text, over which the reader types; `draw` refuses what it does not understand with a ValueError.

    Raises:
        ExploreError: no control, or one of another kind.
    """
    if not callable(draw):
        raise ExploreError(f"draw = {draw!r}; a function is needed.")
    if not controls:
        raise ExploreError("explore needs at least one control, e.g. members=(2, 24).")
    values = {name: default(name, control) for name, control in controls.items()}
    _show(draw, values)
    if progress.in_batch() or not display.in_kernel():
        return
    try:
        import ipywidgets
    except ModuleNotFoundError:
        display.show_markdown("*Install ipywidgets to move the controls of this picture.*")
        return
    from IPython.display import display as show

    widgets = {name: _widget(name, control) for name, control in controls.items()}
    show(ipywidgets.interactive(lambda **chosen: _redraw(draw, chosen), **widgets))
