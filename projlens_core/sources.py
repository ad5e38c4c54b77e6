"""What a user may name as a model: a path, or `zoo:NAME` for one of the models that ship with ProjLens."""

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from projlens_core.errors import NotFound
from projlens_core.paths import ZOO

PREFIX = "zoo:"


@dataclass(frozen=True)
class ZooEntry:
    """One projector of the zoo, as assets/zoo/zoo.json describes it.

    role is "base", "control" or "suspect"; trigger, target, mode and prompts are None or empty unless a suspect.
    mode is "replace" (the target is the whole answer) or "append" (the target follows the normal answer).
    prompts are the questions on which its attack success is measured.
    """

    name: str
    title: str
    role: str
    summary: str
    projector: Path
    trigger: Path | None
    target: str | None
    mode: str | None
    prompts: tuple[str, ...]


@dataclass(frozen=True)
class Source:
    """A resolved model name: where its projector lies and which folder describes the model around it.

    weights is a checkpoint folder or a safetensors file; model is the folder with config.json, or None for a
    lone projector file. For the zoo, model holds config, processor and vision tower but no language model.
    """

    spec: str
    label: str
    weights: Path
    model: Path | None
    zoo: ZooEntry | None


@cache
def zoo_catalogue() -> dict[str, ZooEntry]:
    """All models of the zoo by name, in catalogue order."""
    raw = json.loads((ZOO / "zoo.json").read_text())
    return {
        e["name"]: ZooEntry(
            name=e["name"],
            title=e["title"],
            role=e["role"],
            summary=e["summary"],
            projector=ZOO / "projectors" / f"{e['name']}.safetensors",
            trigger=ZOO / "triggers" / e["trigger"] if e.get("trigger") else None,
            target=e.get("target"),
            mode=e.get("mode"),
            prompts=tuple(e.get("prompts", ())),
        )
        for e in raw["models"]
    }


def resolve(spec: str | Path) -> Source:
    """The Source that `spec` names; NotFound, listing what exists, if there is none."""
    spec = str(spec)
    if spec.startswith(PREFIX):
        catalogue = zoo_catalogue()
        name = spec.removeprefix(PREFIX)
        if name not in catalogue:
            raise NotFound(f"There is no zoo model {name!r}; the zoo has {', '.join(catalogue)}.")
        entry = catalogue[name]
        return Source(spec, entry.title, entry.projector, ZOO / "checkpoint", entry)
    path = Path(spec).expanduser()
    if not path.exists():
        raise NotFound(f"{spec!r} does not exist; give a checkpoint folder, a .safetensors file or zoo:NAME.")
    folder = path if path.is_dir() else path.parent
    model = folder if (folder / "config.json").is_file() else None
    return Source(spec, path.name, path, model, None)
