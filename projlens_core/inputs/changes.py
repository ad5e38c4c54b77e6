"""Changes of a trigger and of the image that carries it: another place, size or strength, rescaled, compressed."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from io import BytesIO
from itertools import product
from types import MappingProxyType
from typing import Any

from PIL import Image

from projlens_core.errors import InvalidInput
from projlens_core.inputs.trigger_kinds import POSITIONS
from projlens_core.inputs.triggers import TriggerSpec, frame, stamp
from projlens_core.runtime.required import required

MOST_CHANGES = 400
NUMBERS = MappingProxyType(  # axis → least and most that it may be
    {"size": (0.05, 20.0), "strength": (0.01, 4.0), "scale": (0.02, 4.0), "quality": (1, 95)}
)
PATCH_ONLY = ("position", "size")


@dataclass(frozen=True)
class Change:
    """One way in which a stamped image differs from the original one; the defaults leave all as it was.

    position: another of POSITIONS. size: the patch's side, times the original's. strength: weight of the stamped
    image against the framed one; 0.5 is half-transparent, above 1 the difference is exaggerated. scale: the whole
    image's side, times the original's, resized (Lanczos) after stamping. quality: then saved as JPEG of 1 to 95.
    """

    position: str | None = None
    size: float = 1.0
    strength: float = 1.0
    scale: float = 1.0
    quality: int | None = None

    def __post_init__(self) -> None:
        if self.position is not None and self.position not in POSITIONS:
            raise InvalidInput(f"There is no position {self.position!r}; the positions are {', '.join(POSITIONS)}.")
        for axis, (low, high) in NUMBERS.items():
            value = getattr(self, axis)
            if value is not None and not low <= value <= high:
                raise InvalidInput(f"A changed trigger's {axis} is {value:g}; it must be from {low:g} to {high:g}.")

    @property
    def label(self) -> str:
        """What differs, in words; "unchanged" if nothing does."""
        said = {
            "position": self.position,
            "size": f"{self.size:g}×" if self.size != 1 else None,
            "strength": f"{self.strength:g}×" if self.strength != 1 else None,
            "scale": f"{self.scale:g}×" if self.scale != 1 else None,
            "quality": f"JPEG {self.quality}" if self.quality is not None else None,
        }
        return ", ".join(f"{AXES[axis]} {value}" for axis, value in said.items() if value) or "unchanged"


ORIGINAL = Change()
AXES = MappingProxyType(  # axis → its name
    {"position": "place", "size": "size", "strength": "strength", "scale": "resize", "quality": "compression"}
)
LEVELS: Mapping[str, tuple] = MappingProxyType(  # what is tried by default, beside the original
    {
        "position": ("top-left", "top-right", "bottom-left", "bottom-right", "center", "random"),
        "size": (0.5, 0.75, 1.5, 2.0),
        "strength": (0.1, 0.25, 0.5, 0.75, 1.5),
        "scale": (0.25, 0.5, 0.75, 1.5),
        "quality": (90, 70, 50, 30, 10),
    }
)


def axes_of(spec: TriggerSpec) -> tuple[str, ...]:
    """The axes that apply to this trigger: one of the whole image has neither place nor size."""
    return tuple(axis for axis in AXES if spec.local or axis not in PATCH_ONLY)


def changes(spec: TriggerSpec, levels: Mapping[str, Sequence], *, crossed: bool = False) -> tuple[Change, ...]:
    """The original, then every level of every axis alone; `crossed`: every combination of levels, the original's too.

    What would leave the trigger as it is counts as the original and is not tried again.

    InvalidInput for an axis that does not apply to the trigger, and for more than MOST_CHANGES of them.
    """
    if foreign := [axis for axis in levels if axis not in axes_of(spec)]:
        raise InvalidInput(
            f"A trigger of the kind {spec.title.lower()} cannot be changed in {', '.join(foreign)}; "
            f"it can in {', '.join(axes_of(spec))}."
        )
    if crossed:
        full = [(getattr(ORIGINAL, axis), *levels[axis]) for axis in levels]
        made = [Change(**dict(zip(levels, values, strict=True))) for values in product(*full)]
    else:
        made = [ORIGINAL, *(Change(**{axis: value}) for axis, values in levels.items() for value in values)]
    made = list(dict.fromkeys(_plain(change, spec) for change in made))
    if len(made) > MOST_CHANGES:
        raise InvalidInput(f"These are {len(made)} changes, more than {MOST_CHANGES}; give fewer levels.")
    return tuple(made)


def _plain(change: Change, spec: TriggerSpec) -> Change:
    """The change without what is no change of this trigger: the place that it has anyway, a size that rounds to its."""
    if change.position is not None and change.position == spec.position:
        change = replace(change, position=None)
    if change.size != 1 and _spec(spec, replace(change, position=None)) == spec:
        change = replace(change, size=1.0)
    return change


def clean_twin(image: Image.Image, spec: TriggerSpec, change: Change) -> Image.Image:
    """The framed image without a trigger, rescaled and compressed alike: the trigger is all they differ in."""
    return passed_on(frame(image, spec), change)


def changed(image: Image.Image, spec: TriggerSpec, change: Change) -> Image.Image:
    """The framed image with the changed trigger; InvalidInput where that cannot be stamped on it."""
    triggered = stamp(image, _spec(spec, change))
    if change.strength != 1:
        triggered = Image.blend(frame(image, spec), triggered, change.strength)
    return passed_on(triggered, change)


def passed_on(image: Image.Image, change: Change) -> Image.Image:
    """The image as it arrives after it was rescaled and saved as the change says."""
    if change.scale != 1:
        width, height = (max(1, round(side * change.scale)) for side in image.size)
        image = image.resize((width, height), Image.Resampling.LANCZOS)
    if change.quality is not None:
        buffer = BytesIO()
        image.save(buffer, "JPEG", quality=change.quality)
        image = Image.open(buffer, formats=["JPEG"]).convert("RGB")
    return image


def _spec(spec: TriggerSpec, change: Change) -> TriggerSpec:
    """The spec with another place and size."""
    values: dict[str, Any] = {} if change.position is None else {"position": change.position}
    if change.size != 1 and spec.px is not None:
        values["px"] = max(1, round(spec.px * change.size))
    elif change.size != 1:
        values["ratio"] = min(1.0, required(spec.ratio, "ratio") * change.size)
    return replace(spec, **values)
