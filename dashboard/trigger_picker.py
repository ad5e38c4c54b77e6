"""Which trigger the pages stamp: a suspect's own, one that a search found, one from a file, a preset; its editor."""

from dataclasses import replace
from typing import Any

import streamlit as st

from dashboard import resources, state
from projlens_core.cases.case import Case
from projlens_core.errors import InvalidInput, NotFound
from projlens_core.inputs.trigger_spec import MAX_JSON_BYTES
from projlens_core.inputs.triggers import KINDS, NUMBERS, POSITIONS, PRESETS, TriggerSpec

OWN = "The suspect's own trigger"
FOUND, FILE = "The trigger that was found", "A trigger from a file"
FIXED = ("image", "cells")  # of a trigger, what no widget edits
# Number inputs step by these; the rest by 1.
STEPS = {"ratio": 0.01, "alpha": 0.05, "radius": 0.5, "frequency": 0.5}
LABELS = {
    "px": "Size (px)",
    "ratio": "Size (share of side)",
    "std": "Noise, standard deviation",
    "dyn_ratio": "Dynamic ratio",
}


def chosen(case: Case) -> TriggerSpec:
    """The trigger chosen and edited; the same on every page."""
    its_own, found = own(case.suspect), st.session_state.get(state.FOUND_TRIGGERS, {}).get(case.suspect)
    offered = {OWN: its_own, FOUND: found} | dict(PRESETS)
    names = [*(name for name, spec in offered.items() if spec is not None), FILE]
    name = st.selectbox("Trigger", names, key=state.TRIGGER, bind="query-params", label_visibility="collapsed")
    spec = from_file() if name == FILE else offered[name]
    scope = f"{case.suspect if name in (OWN, FOUND) else ''} {name}{spec.key if name in (FOUND, FILE) else ''}"
    with st.expander("Parameters", icon=":material/tune:", key="parameters", on_change="rerun") as parameters:
        return _editor(spec, scope) if parameters.open else _edited(spec, scope)


def own(suspect: str) -> TriggerSpec | None:
    """The trigger that a zoo suspect was made for; None for any other model."""
    entry = resources.zoo_entry(suspect)
    return TriggerSpec.from_file(entry.trigger) if entry and entry.trigger else None


def from_file() -> TriggerSpec:
    """The trigger of an uploaded JSON file, as Save as JSON and the verdict write them; NotFound until there is one.

    It stays for other pages, where the uploader is empty again.
    """
    kept = st.session_state[state.FOUND_TRIGGERS]
    file = st.file_uploader("A trigger's JSON file", "json", key="trigger file")
    if file is not None:
        kept[FILE] = read_trigger(file.getvalue())
    if FILE not in kept:
        raise NotFound("Choose a trigger's JSON file.")
    return kept[FILE]


def read_trigger(data: bytes) -> TriggerSpec:
    """The trigger in a file's bytes; InvalidInput if it is none, or too large."""
    if len(data) > MAX_JSON_BYTES:
        raise InvalidInput(f"The file is larger than {MAX_JSON_BYTES // 1024} KiB, so not a trigger's JSON file.")
    try:
        return TriggerSpec.from_json(data.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        raise InvalidInput("The file is not UTF-8 text; give a trigger's JSON file.") from error


def _edited(spec: TriggerSpec, scope: str) -> TriggerSpec:
    """`spec` with the parameters the user set, while their widgets are out of sight, which cost each page 30 ms."""
    keys = {name: f"{scope} {name}" for name in _parameters(spec)}
    return replace(spec, **{name: st.session_state[key] for name, key in keys.items() if key in st.session_state})


def _editor(spec: TriggerSpec, scope: str) -> TriggerSpec:
    """The parameters to edit; widget keys hold `scope`, so another trigger starts afresh."""
    changed: dict[str, Any] = {}
    for name, value in _parameters(spec).items():
        key, label = f"{scope} {name}", LABELS.get(name, name.replace("_", " ").capitalize())
        if name == "colour":
            changed[name] = st.color_picker(label, value, key=key, persist_state="session")
        elif name == "position":
            changed[name] = _position(value, label, key)
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
    edited = replace(spec, **changed)
    st.download_button(
        "Save as JSON",
        edited.to_json(),
        "trigger.json",
        "application/json",
        icon=":material/download:",
        on_click="ignore",
    )
    return edited


def _parameters(spec: TriggerSpec) -> dict[str, Any]:
    """What of a trigger can be edited, by name."""
    values = spec.to_dict()
    return {n: values[n] for n in (*KINDS[spec.kind].defaults, "resolution", "seed") if n not in FIXED and n in values}


def _position(value: str | list[float], label: str, key: str) -> str | tuple[float, float]:
    """One of the named places; a pair of coordinates from a spec stays on offer beside them."""
    if isinstance(value, str):
        return st.selectbox(label, POSITIONS, POSITIONS.index(value), key=key, persist_state="session")
    places: list[str | tuple[float, float]] = [(value[0], value[1]), *POSITIONS]
    return st.selectbox(label, places, format_func=str, key=key, persist_state="session")
