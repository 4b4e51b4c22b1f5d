"""How every policy of choosing and updating looks, in all figures of the paper."""

from __future__ import annotations

from collections.abc import Mapping

from twelvefold.core import plotting

POLICIES: Mapping[str, str] = {
    "uncertainty+local": "uncertain, local update (IGDA)",
    "uncertainty": "uncertain, no update",
    "top": "most probable, no update",
    "confident": "most certain, no update",
    "random": "random, no update",
    "random+local": "random, local update",
    "uncertainty+global": "uncertain, global update",
}
# for experts that can choose by themselves, which those of most studies cannot
CHOOSING: Mapping[str, str] = {"expert+global": "the expert's own choice, global update"}
STYLES = plotting.styles([*POLICIES, *CHOOSING])
