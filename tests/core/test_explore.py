"""Controls: their default, the static picture, and the same default in the widgets."""

from __future__ import annotations

import sys
from typing import Any

import matplotlib.pyplot as plt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from twelvefold.core import display, explore, plotting
from twelvefold.core.explore import ExploreError


class Drawing:
    """A line that gets steeper."""

    def __init__(self) -> None:
        self.calls: list[dict[str, Any]] = []

    def __call__(self, **values: Any) -> Any:
        self.calls.append(values)
        fig, ax = plotting.subplots()
        ax.plot([0, 1])
        return fig


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    alts: list[str] = []
    monkeypatch.setattr(display, "show_png", lambda data, alt: alts.append(alt))
    monkeypatch.delenv("TWELVEFOLD_BATCH", raising=False)
    return alts


@pytest.fixture
def widgets(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What a front end would be given to show."""
    import IPython.display

    given: list[Any] = []
    monkeypatch.setattr(display, "in_kernel", lambda: True)
    monkeypatch.setattr(IPython.display, "display", given.append)
    return given


CONTROLS: dict[str, Any] = {"members": (2, 24), "rate": (0.0, 1.0, 0.1), "rule": ["greedy", "all"], "ties": True,
                            "words": "a b"}  # fmt: skip
DEFAULTS = {"members": 13, "rate": 0.5, "rule": "greedy", "ties": True, "words": "a b"}


def test_defaults_by_hand() -> None:
    assert {name: explore.default(name, control) for name, control in CONTROLS.items()} == DEFAULTS
    assert explore.default("x", (0, 10, 3)) == 3
    assert explore.default("x", (0.0, 1.0)) == 0.5
    assert explore.default("x", False) is False


@given(st.integers(-50, 50), st.integers(1, 60), st.integers(1, 9))
def test_a_default_lies_on_the_grid_of_its_range(low: int, length: int, step: int) -> None:
    if step <= length:
        value = explore.default("x", (low, low + length, step))
        assert isinstance(value, int)
        assert low <= value <= low + length
        assert (value - low) % step == 0


def test_a_script_shows_the_static_picture_once(shown: list[str]) -> None:
    draw = Drawing()
    explore.explore(draw, **CONTROLS)
    assert draw.calls == [DEFAULTS]
    assert shown == ["A line that gets steeper, at members = 13, rate = 0.5, rule = greedy, ties = True, words = a b."]
    assert plt.get_fignums() == []


def test_a_batch_run_has_no_widgets(shown: list[str], widgets: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TWELVEFOLD_BATCH", "1")
    draw = Drawing()
    explore.explore(draw, members=(2, 24))
    assert (len(draw.calls), len(shown), widgets) == (1, 1, [])


def test_a_reader_gets_the_static_picture_and_then_widgets_at_the_same_default(
    shown: list[str], widgets: list[Any]
) -> None:
    draw = Drawing()
    explore.explore(draw, **CONTROLS)
    assert draw.calls == [DEFAULTS, DEFAULTS]  # the picture that stays, and the one that moves
    (interactive,) = widgets
    assert {widget.description: widget.value for widget in interactive.kwargs_widgets} == DEFAULTS


def test_moving_a_widget_draws_again(shown: list[str], widgets: list[Any]) -> None:
    draw = Drawing()
    explore.explore(draw, members=(2, 24))
    (interactive,) = widgets
    interactive.kwargs_widgets[0].value = 7
    interactive.update()
    assert draw.calls[-1] == {"members": 7}
    assert isinstance(draw.calls[-1]["members"], int)


def test_what_a_reader_types_wrongly_is_answered_in_words(
    shown: list[str], widgets: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    texts: list[str] = []
    monkeypatch.setattr(display, "show_markdown", texts.append)

    def draw(words: str) -> Any:
        if "x" in words:
            raise ValueError("'x' is not a word of the lexicon")
        return plotting.subplots()[0]

    explore.explore(draw, words="a b")
    (interactive,) = widgets
    interactive.kwargs_widgets[0].value = "a x"
    assert texts == ["Not accepted: 'x' is not a word of the lexicon"]
    interactive.kwargs_widgets[0].value = "b a"
    assert len(texts) == 1 and shown[-1].endswith("words = b a.")


def test_without_ipywidgets_the_picture_stays(
    shown: list[str], widgets: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    texts: list[str] = []
    monkeypatch.setattr(display, "show_markdown", texts.append)
    monkeypatch.setitem(sys.modules, "ipywidgets", None)
    explore.explore(Drawing(), members=(2, 24))
    assert (len(shown), widgets) == (1, [])
    assert "ipywidgets" in texts[0]


def test_a_drawing_may_show_itself(shown: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    explore.explore(lambda n: print("n is", n), n=[3, 4])
    assert capsys.readouterr().out == "n is 3\n"
    assert shown == []


@pytest.mark.parametrize(
    "control",
    [3, 0.5, None, [], (), (1,), (2, 1), (1, 1), (0, 1, 0), (0, 1, 2), (0, 1, -1), (0, 1, 1, 1),
     ("a", "b"), (True, 3)],
)
def test_bad_controls_are_refused_by_name(control: Any) -> None:
    draw = Drawing()
    with pytest.raises(ExploreError, match="control members"):
        explore.explore(draw, members=control)
    assert draw.calls == []


def test_no_control_and_no_function_are_refused() -> None:
    with pytest.raises(ExploreError, match="at least one control"):
        explore.explore(Drawing())
    with pytest.raises(ExploreError, match="function"):
        explore.explore("draw", x=[1])  # type: ignore[arg-type]
