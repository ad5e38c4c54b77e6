"""The table of a screening: one row per entry of the listing, put together from what lies in the result folder.

It is the same whatever order results came in, on whatever engine, after however many attempts.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

import pandas as pd

from projlens_core.errors import InvalidInput, NotFound
from projlens_core.report.spreadsheet import as_parquet
from projlens_core.runtime.atomic import write_atomically
from projlens_core.screen import plan as plans
from projlens_core.screen import stages as known
from projlens_core.screen.clusters import clusters
from projlens_core.screen.listing import CONTROL
from projlens_core.screen.store import ADVICE, Store
from projlens_core.screen.task import DONE

SUSPECTS, TABLE = "suspects.parquet", "table.parquet"
WAITING = "waiting"
CLUSTER, COPY = "cluster", "copy of"
_PLAIN = ("suspect", "role", "truth", "base", "identity", "trouble")

Table: TypeAlias = pd.DataFrame


@dataclass(frozen=True)
class Description:
    """What is screened: entries, a frame with the columns of _PLAIN; keys: by stage, the key of each entry's task, ""
    where it has none; reasons: by stage that a gate stands before, {identity: why it goes on or does not}.
    """

    stages: tuple[str, ...]
    entries: pd.DataFrame
    keys: dict[str, list[str]]
    reasons: dict[str, dict[str, str]] = field(default_factory=dict)


def write_description(described: Description, out: Path) -> None:
    """Write it into the result folder, where `read_description` finds it."""
    frame = described.entries.copy()
    for stage in described.stages:
        frame[f"key {stage}"] = described.keys[stage]
        if stage in described.reasons:
            frame[f"why {stage}"] = [described.reasons[stage].get(each) for each in frame["identity"]]
    write_atomically(out / SUSPECTS, as_parquet(frame), ADVICE)


def read_description(out: Path) -> Description:
    """What lies in a result folder; NotFound if it is none, InvalidInput if it is damaged."""
    path = out / SUSPECTS
    if not path.is_file():
        raise NotFound(f"{str(out)[:200]!r} is no result of a screening; give the folder that a screening wrote.")
    try:
        frame = pd.read_parquet(path)
        stages = tuple(name.removeprefix("key ") for name in frame.columns if name.startswith("key "))
        reasons = {
            stage: {i: why for i, why in zip(frame["identity"], frame[f"why {stage}"], strict=True) if why}
            for stage in stages
            if f"why {stage}" in frame
        }
        keys = {stage: list(frame[f"key {stage}"]) for stage in stages}
        return Description(stages, frame[list(_PLAIN)], keys, reasons)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InvalidInput(f"{path.name} in {str(out)[:200]!r} is damaged; give the same command again.") from error


def reasons(described: Description, store: Store, stage: str, gate: plans.Gate, seed: int) -> dict[str, str]:
    """Who goes on to `stage` through its gate, by identity; controls always do."""
    found = {
        row["key"]: json.loads(row["scores"])
        for row in store.rows(gate.after, ("key", "status", "scores"))
        if row["status"] == DONE
    }
    frame = described.entries
    scores: dict[str, dict[str, Any]] = {}
    controls: dict[str, dict[str, Any]] = {}
    for key, identity, role in zip(described.keys[gate.after], frame["identity"], frame["role"], strict=True):
        if key in found:
            (controls if role == CONTROL else scores)[identity] = found[key]
    chosen = plans.chosen(gate, stage, seed, scores, list(controls.values()))
    return chosen | dict.fromkeys(controls, plans.THRESHOLD)


def assemble(described: Description, store: Store) -> Table:
    """One row per entry: how each stage ended with it, why if not well, and its scores."""
    frame = described.entries[["suspect", "role", "truth", "base"]].copy()
    identities = list(described.entries["identity"])
    frame[COPY] = _copies(list(frame["suspect"]), identities)
    sentences = [[trouble] if trouble else [] for trouble in described.entries["trouble"]]
    directions: list[dict | None] = [None] * len(frame)
    for stage in described.stages:
        columns = ("key", "status", "sentence", "scores", *(("result",) if stage == known.WEIGHTS.key else ()))
        rows = {row["key"]: row for row in store.rows(stage, columns)}
        states, found = [], []
        for place, (key, identity) in enumerate(zip(described.keys[stage], identities, strict=True)):
            row = rows.get(key)
            why = described.reasons.get(stage, {}).get(identity)
            states.append(_state(key, row, why, gated=stage in described.reasons))
            found.append(json.loads(row["scores"]) if row else {})
            if row and row["sentence"]:
                sentences[place].append(row["sentence"])
            if row and row.get("result"):
                directions[place] = json.loads(row["result"]).get("direction")
        frame[stage] = states
        for name in known.find(stage).scores:
            frame[f"{stage}.{name}"] = pd.array([each.get(name) for each in found], dtype="Float64")
        for name in known.find(stage).labels:
            frame[f"{stage}.{name}"] = pd.array([each.get(name) for each in found], dtype="string")
        if stage in described.reasons:
            frame[f"{stage}.why"] = [described.reasons[stage].get(each) for each in identities]
    frame[CLUSTER] = pd.array(clusters(directions), dtype="Int64")
    frame["sentence"] = [" ".join(dict.fromkeys(each)) for each in sentences]
    return frame


def write(table: Table, out: Path) -> None:
    """Write the table into the result folder."""
    write_atomically(out / TABLE, as_parquet(table), ADVICE)


def _state(key: str, row: Mapping[str, Any] | None, why: str | None, *, gated: bool) -> str:
    if not key:
        return "failed"
    if row is not None:
        return row["status"]
    if gated and why not in plans.GOES_ON:
        return "not screened"
    return WAITING


def _copies(names: list[str], identities: list[str]) -> list[str | None]:
    """For each the first one of the same content, if that is another."""
    first: dict[str, str] = {}
    return [
        None if not identity or first.setdefault(identity, name) == name else first[identity]
        for name, identity in zip(names, identities, strict=True)
    ]
