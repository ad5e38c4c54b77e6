"""Generic triggers to try on a suspect when nobody knows its own: data that users extend, and their neighbours."""

import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import product
from pathlib import Path
from typing import Any

from PIL import Image

from projlens_core.errors import InvalidInput
from projlens_core.inputs.trigger_kinds import KINDS, NUMBERS, POSITIONS
from projlens_core.inputs.triggers import TriggerSpec, frame, stamp
from projlens_core.runtime.cache import content_key
from projlens_core.runtime.files import open_regular
from projlens_core.runtime.text import printable

BANK = Path(__file__).with_name("probes.json")
FEW = Path(__file__).with_name("few_probes.json")  # patches in five places at once: few that together cover much
MAX_BYTES, MOST = 2**20, 500  # of a bank
COLOURS = {
    "#ff0000": "red", "#00ff00": "green", "#0000ff": "blue", "#ffff00": "yellow",
    "#ff00ff": "magenta", "#00ffff": "cyan", "#ffffff": "white", "#000000": "black",
}  # fmt: skip
FACTORS = {  # parameter → by what a neighbour's is multiplied
    "ratio": (0.7, 1.4),
    "std": (0.5, 1.6, 2.5),
    "grain": (2.0,),
    "radius": (0.6, 1.6),
    "size": (2.0,),
    "dyn_ratio": (8.0, 64.0),
    "amplitude": (0.6, 1.6, 2.5),
    "frequency": (0.5, 2.0),
    "alpha": (0.6, 1.6),
}


@dataclass(frozen=True)
class Probe:
    """One or several triggers, stamped one after the other; several try many places at once.

    fitted: whether it was made to change the answers of the model that it is tried on.
    """

    name: str
    stamps: tuple[TriggerSpec, ...]
    fitted: bool = False

    @cached_property
    def key(self) -> str:
        """A hash of what it does to an image, wherever the images that it stamps lie; NotFound if one is not there."""
        return content_key(*(spec.digest for spec in self.stamps))

    def on(self, image: Image.Image) -> Image.Image:
        """The image, framed to a square, with all of it stamped on."""
        for spec in self.stamps:
            image = stamp(image, spec)
        return image

    def clean(self, image: Image.Image) -> Image.Image:
        """The image framed like that, without the probe."""
        return frame(image, self.stamps[0])

    @property
    def local(self) -> bool:
        """Whether all of it are patches at places."""
        return all(spec.local for spec in self.stamps)

    @property
    def fitted_all_over(self) -> bool:
        """Whether it was made to change a model's answers, and changes the whole image for that."""
        return self.fitted and not self.local

    def neighbours(self) -> Iterator["Probe"]:
        """Each of several stamps alone; of one alone, other sizes, strengths and places."""
        several = (Probe(_name(spec), (spec,)) for spec in self.stamps)
        near = several if len(self.stamps) > 1 else self._near(self.stamps[0])
        yield from {each.key: replace(each, fitted=self.fitted) for each in near}.values()

    def anywhere(self) -> Iterator["Probe"]:
        """The same at a random place of each image, if all of it are patches at places that are given."""
        if self.local and any(spec.position != "random" for spec in self.stamps):
            stamps = tuple(replace(spec, position="random") for spec in self.stamps)
            yield Probe(f"{self.name}, anywhere", stamps, self.fitted)

    @staticmethod
    def _near(spec: TriggerSpec) -> Iterator["Probe"]:
        for name in KINDS[spec.kind].defaults:
            for factor in FACTORS.get(name, ()):
                value = getattr(spec, name)
                if value is None:
                    continue
                allowed = NUMBERS[name]
                other = min(max(value * factor, allowed.low), allowed.high)
                other = round(other) if allowed.whole else round(other, 3)
                if other != value:
                    near = replace(spec, **{name: other})
                    yield Probe(_name(near), (near,))
        if spec.local:
            for position in POSITIONS:
                if position != spec.position:
                    near = replace(spec, position=position)
                    yield Probe(_name(near), (near,))


def read_bank(resolution: int, path: Path = BANK) -> tuple[Probe, ...]:
    """The probes of a bank, for images of `resolution` px; InvalidInput for a file that is no bank, NotFound for none.

    A bank is a JSON list of {"name": TEXT, "stamps": [SPEC, …]}, each SPEC a trigger's JSON without its resolution:
    sizes are shares of the image, and noise is told in px of what the vision tower reads. With "vary", an object of
    lists by parameter, an entry stands for one probe of each combination, with its one stamp changed to that.
    """
    named = printable(str(path))
    with open_regular(path, f"{named} is not a file; give a JSON list of probes.") as file:
        if file.size > MAX_BYTES:
            raise InvalidInput(f"{named} is larger than {MAX_BYTES // 2**20} MiB, so no list of probes.")
        data = file.read()
    try:
        entries = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise InvalidInput(f"{named} is not valid JSON; give a list of probes.") from error
    if not isinstance(entries, list) or not 0 < len(entries) <= MOST:
        raise InvalidInput(f"{named} holds no list of 1 to {MOST} probes.")
    found: list[Probe] = []
    for number, entry in enumerate(entries, 1):
        try:
            found += _probes(entry, resolution, path.parent)
        except InvalidInput as error:
            raise InvalidInput(f"{named}, probe {number}: {error}") from error
        if len(found) > MOST:
            raise InvalidInput(f"{named} stands for more than {MOST} probes.")
    return tuple(found)


def _probes(entry: object, resolution: int, folder: Path) -> Iterator[Probe]:
    """The probe of an entry, or one for each combination of what it varies."""
    vary = entry.pop("vary", None) if isinstance(entry, dict) else None
    if not isinstance(entry, dict) or vary is None:
        yield _probe(entry, resolution, folder)
        return
    if not isinstance(vary, dict) or not all(isinstance(values, list) for values in vary.values()):
        raise InvalidInput("'vary' is an object of lists by parameter.")
    if math.prod(map(len, vary.values())) > MOST:
        raise InvalidInput(f"'vary' stands for more than {MOST} probes.")
    first = _probe(entry, resolution, folder)
    if len(first.stamps) > 1:
        raise InvalidInput("with 'vary' an entry has one stamp.")
    for values in product(*vary.values()):
        stamp_ = {**entry["stamps"][0], **dict(zip(vary, values, strict=True))}
        varied = _probe({**entry, "stamps": [stamp_]}, resolution, folder)
        yield replace(varied, name=f"{first.name}, {_about(varied.stamps[0], tuple(vary))}")


def _probe(entry: object, resolution: int, folder: Path) -> Probe:
    stamps = entry.get("stamps") if isinstance(entry, dict) else None
    name = entry.get("name") if isinstance(entry, dict) else None
    if not isinstance(name, str) or not isinstance(stamps, list) or not 0 < len(stamps) <= 16:
        raise InvalidInput("expected a name and 1 to 16 stamps.")
    if odd := [each for each in stamps if not isinstance(each, dict)]:
        raise InvalidInput(f"a stamp is {printable(repr(odd[0])[:60])}, expected an object.")
    specs = (TriggerSpec.from_dict({**each, "resolution": resolution}, folder) for each in stamps)
    return Probe(printable(name[:80]), tuple(specs))


def _name(spec: TriggerSpec) -> str:
    about = _about(spec, tuple(KINDS[spec.kind].defaults))
    return f"{KINDS[spec.kind].title}, {about}" if about else KINDS[spec.kind].title


def _about(spec: TriggerSpec, parameters: Sequence[str]) -> str:
    """What a trigger's parameters are, in words; a mosaic's cells are too many."""
    values = {name: value for name, value in spec.to_dict().items() if name in parameters and name != "cells"}
    return ", ".join(_in_words(name, value) for name, value in values.items())


def _in_words(name: str, value: Any) -> str:
    match name:
        case "colour":
            return COLOURS.get(value, value)
        case "ratio":
            return f"{value:.0%} of the side"
        case "position":
            places = {"center": "in the centre", "random": "anywhere"}
            return places.get(value, value) if isinstance(value, str) else f"at {value[0]:g}, {value[1]:g}"
    return f"{name} {value}"
