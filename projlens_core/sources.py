"""What a user may name as a model: a path, `zoo:NAME` for one that ships with ProjLens, `hub:OWNER/NAME`, an upload."""

import json
import os
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from projlens_core.errors import InvalidInput, NotFound
from projlens_core.runtime.paths import ASSETS, ZOO, uploads_dir
from projlens_core.runtime.required import required
from projlens_core.runtime.roots import admit, admit_all
from projlens_core.runtime.text import printable

PREFIX = "zoo:"
TINY = ASSETS / "nursery" / "mechanism"  # a pair of the nursery that ships as a case of its own
HUB_PREFIX = "hub:"
UPLOAD_PREFIX = "upload:"
# hub:OWNER/NAME, then @REVISION (a branch, tag or commit), then :FILE for one file instead of the whole model.
_HUB = re.compile(r"hub:([\w.-]+/[\w.-]+)(?:@([\w./-]+))?(?::([\w./-]+))?")
_UPLOAD = re.compile(r"upload:[0-9a-f]{16}(/[^/\\.][^/\\]*)?")  # its content's hash, then the file if it is one alone


@dataclass(frozen=True)
class ZooEntry:
    """One projector of the zoo, as assets/zoo/zoo.json describes it.

    role is "base", "control" or "suspect"; trigger, target, mode and prompts are None or empty unless a suspect.
    mode is "replace" (the target is the whole answer) or "append" (the target follows the normal answer).
    prompts are the questions on which its attack success is measured. tiny: it has the nursery's language model, and
    goes with the base and the control that have it too; tower and world are the zoo's.
    """

    name: str
    title: str
    role: str
    summary: str
    projector: Path
    trigger: Path | None = None
    target: str | None = None
    mode: str | None = None
    prompts: tuple[str, ...] = ()
    tiny: bool = False


@dataclass(frozen=True)
class HubName:
    """A model on the Hub: repository, revision, and one file of it or None for all."""

    repository: str
    revision: str
    file: str | None


@dataclass(frozen=True)
class Source:
    """A resolved model name: where its projector lies and which folder describes the model around it.

    weights is a checkpoint folder or a weight file; model is the folder with config.json, or None for a
    lone projector file. family is what the user says it is, overruling its config and names; None leaves it to them.
    For the zoo, model holds config, processor and vision tower but no language model.
    hub is set for a model on the Hub, of which nothing lies here: weights is then its name alone, and model None.
    """

    spec: str
    label: str
    weights: Path
    model: Path | None
    zoo: ZooEntry | None
    family: str | None = None
    hub: HubName | None = None

    @property
    def folder(self) -> Path:
        """`model`, where it was found before that there is one; TypeError if there is none."""
        return required(self.model, f"the folder of {self.label}")


@cache
def zoo_catalogue() -> dict[str, ZooEntry]:
    """All models of the zoo by name, in catalogue order."""
    raw = json.loads((ZOO / "zoo.json").read_text())
    return {
        e["name"]: _entry(e, ZOO / "projectors" / f"{e['name']}.safetensors", ZOO / "triggers") for e in raw["models"]
    }


@cache
def shipped() -> dict[str, ZooEntry]:
    """All models that ship and that zoo:NAME names: the zoo's, then those that have the nursery's language model."""
    raw = json.loads((TINY / "catalogue.json").read_text())
    tiny = {e["name"]: _entry(e, TINY / e["projector"], TINY, tiny=True) for e in raw["models"]}
    return zoo_catalogue() | tiny


def _entry(raw: dict, projector: Path, triggers: Path, *, tiny: bool = False) -> ZooEntry:
    plain: dict[str, Any] = {key: raw.get(key) for key in ("name", "title", "role", "summary", "target", "mode")}
    trigger, prompts = raw.get("trigger"), tuple(raw.get("prompts", ()))
    found = triggers / trigger if trigger else None
    return ZooEntry(**plain, projector=projector, trigger=found, prompts=prompts, tiny=tiny)


def resolve(spec: str | Path) -> Source:
    """The Source that `spec` names; NotFound, listing what exists, if there is none; InvalidInput outside the roots.

    A path may end in #FAMILY, which says what the file is where its names and config do not.
    """
    spec = str(spec)
    if spec.startswith(PREFIX):
        catalogue = shipped()
        name = spec.removeprefix(PREFIX)
        if name not in catalogue:
            raise NotFound(f"There is no zoo model {name!r}; the zoo has {', '.join(catalogue)}.")
        entry = catalogue[name]
        return Source(spec, entry.title, entry.projector, ZOO / "checkpoint", entry)
    if spec.startswith(HUB_PREFIX):
        return _on_hub(spec)
    path, family = _place(spec), None
    if path is None and "#" in spec:
        named, _, family = spec.rpartition("#")
        path = _place(named)
    if path is None:
        raise NotFound(
            f"{spec[:200]!r} does not exist; give a checkpoint folder, a weight file, zoo:NAME or hub:OWNER/NAME."
        )
    folder = path if path.is_dir() else path.parent
    model = folder if os.path.isfile(folder / "config.json") else None
    return Source(spec, printable(path.name), path, model, None, family)


def _place(name: str) -> Path | None:
    """Where the name leads, None if nothing is there; InvalidInput, whether or not, if it leads out of the roots."""
    if _UPLOAD.fullmatch(name):
        path = uploads_dir() / name.removeprefix(UPLOAD_PREFIX)
        return path if os.path.exists(path) else None
    if "\0" in name:
        return None
    path = Path(os.path.expanduser(name))
    admit(path)
    if not os.path.exists(path):  # Path.exists would raise for a name too long
        return None
    folder = path if path.is_dir() else path.parent
    if path == folder or os.path.isfile(folder / "config.json"):
        admit_all(folder)  # a model: libraries read it, too, and follow links
    return path


def _on_hub(spec: str) -> Source:
    named, _, family = spec.partition("#")
    hit = _HUB.fullmatch(named)
    if hit is None or ".." in named:
        raise InvalidInput(
            f"{spec[:200]!r} is no model on the Hub; write hub:OWNER/NAME, hub:OWNER/NAME@REVISION:FILE."
        )
    name = HubName(hit[1], hit[2] or "main", hit[3])
    return Source(spec, named.removeprefix(HUB_PREFIX), Path(name.repository), None, None, family or None, name)
