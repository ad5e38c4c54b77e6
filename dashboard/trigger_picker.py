"""Which trigger the pages stamp: a suspect's own, one that a search found, a user's own, a preset; and its editor."""

from dataclasses import replace
from typing import Any

import streamlit as st

from dashboard import links, own_triggers, resources, state
from dashboard.own_triggers import FILE, LOGO, PAINTED
from projlens_core.cases.case import Case
from projlens_core.inputs.images import NamedImage
from projlens_core.inputs.trigger_spec import PAPER_RESOLUTION
from projlens_core.inputs.triggers import KINDS, NUMBERS, POSITIONS, PRESETS, TriggerSpec

OWN, FOUND = "The suspect's own trigger", "The trigger that was found"
FIXED = ("image", "cells")  # of a trigger, what no widget edits
# Number inputs step by these; the rest by 1.
STEPS = {"ratio": 0.01, "alpha": 0.05, "radius": 0.5, "frequency": 0.5}
LABELS = {
    "px": "Size (px)",
    "ratio": "Size (share of side)",
    "std": "Noise, standard deviation",
    "dyn_ratio": "Dynamic ratio",
}


def chosen(case: Case, on: NamedImage | None = None) -> TriggerSpec:
    """The trigger chosen and edited; the same on every page. on: the image to paint one on.

    NotFound, with what to do, while there is none.
    """
    its_own, found = own(case.suspect), st.session_state.get(state.FOUND_TRIGGERS, {}).get(case.suspect)
    first = {name: spec for name, spec in ((OWN, its_own), (FOUND, found)) if spec is not None}
    names = [*first, *PRESETS, LOGO, PAINTED, FILE]
    name = st.selectbox(
        "Trigger",
        names,
        key=links.option(state.TRIGGER, names, names[0]),
        persist_state="session",
        label_visibility="collapsed",
    )
    made = name in (LOGO, PAINTED, FILE)
    if made:
        resolution = (its_own and its_own.resolution) or PAPER_RESOLUTION
        spec = own_triggers.chosen(name, resolution, on)
    else:
        spec = first[name] if name in first else PRESETS[name]
    scope = f"{case.suspect if name in first else ''} {name}{spec.key if made or name == FOUND else ''}"
    with st.expander("Parameters", icon=":material/tune:", key="parameters", on_change="rerun") as parameters:
        edited = _editor(spec, scope) if parameters.open else _edited(spec, scope)
    if made or parameters.open:
        _files(edited)
    return edited


def own(suspect: str) -> TriggerSpec | None:
    """The trigger that a zoo suspect was made for; None for any other model."""
    entry = resources.zoo_entry(suspect)
    return TriggerSpec.from_file(entry.trigger) if entry and entry.trigger else None


def _edited(spec: TriggerSpec, scope: str) -> TriggerSpec:
    """`spec` with the parameters the user set, while their widgets are out of sight, which cost each page 30 ms."""
    keys = {name: _key(name, value, scope) for name, value in _parameters(spec).items()}
    return replace(spec, **{name: st.session_state[key] for name, key in keys.items() if key in st.session_state})


def _key(name: str, value: Any, scope: str) -> str:
    """The key of a parameter's widget, whether or not it is in sight: the address holds it either way."""
    key, named = f"{scope} {name}", f"{state.TRIGGER}_{name}"
    if name == "colour":
        return links.text(named, value, key, "#[0-9a-fA-F]{6}")
    if name == "position":
        return links.option(named, _places(value), _places(value)[0] if isinstance(value, list) else value, key)
    allowed = NUMBERS[name]
    kind = int if allowed.whole else float
    return links.number(named, kind(allowed.low), kind(allowed.high), kind(value), key)


def _places(value: str | list[float]) -> list[str | tuple[float, float]]:
    """The named places; a pair of coordinates from a spec stays on offer before them."""
    own_place: list[str | tuple[float, float]] = [] if isinstance(value, str) else [(value[0], value[1])]
    return [*own_place, *POSITIONS]


def _editor(spec: TriggerSpec, scope: str) -> TriggerSpec:
    """The parameters to edit; widget keys hold `scope`, so another trigger starts afresh."""
    changed: dict[str, Any] = {}
    for name, value in _parameters(spec).items():
        key, label = _key(name, value, scope), LABELS.get(name, name.replace("_", " ").capitalize())
        if name == "colour":
            changed[name] = st.color_picker(label, value, key=key, persist_state="session")
        elif name == "position":
            places = _places(value)
            first = places.index(value) if isinstance(value, str) else 0
            changed[name] = st.selectbox(label, places, first, str, key, persist_state="session")
        else:
            allowed = NUMBERS[name]
            kind = int if allowed.whole else float
            changed[name] = st.number_input(
                label,
                kind(allowed.low),
                kind(allowed.high),
                kind(value),
                step=kind(STEPS.get(name, 1)),
                key=key,
                help=allowed.meaning.capitalize() + ".",
                persist_state="session",
            )
    return replace(spec, **changed)


def _files(spec: TriggerSpec) -> None:
    """What holds the trigger: its JSON and, if it shows one, its image; every page and command takes them."""
    files = [("Save as JSON", spec.to_json().encode(), "trigger.json", "application/json")]
    if spec.image is not None and spec.image_path is not None:
        files.append(("Save its image, to lie beside", spec.image_path.read_bytes(), spec.image, "image/png"))
    with st.container(horizontal=True, gap="xsmall"):
        for label, data, name, kind in files:
            st.download_button(
                label, data, name, kind, icon=":material/download:", on_click="ignore", key=f"save {label}"
            )
    st.caption(f"Content hash `{spec.digest[:12]}`")


def _parameters(spec: TriggerSpec) -> dict[str, Any]:
    """What of a trigger can be edited, by name."""
    values = spec.to_dict()
    return {n: values[n] for n in (*KINDS[spec.kind].defaults, "resolution", "seed") if n not in FIXED and n in values}
