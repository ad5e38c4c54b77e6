"""A trigger from none to full: fainter or, for a patch, smaller, everything else about it unchanged."""

from dataclasses import replace
from typing import Literal

from PIL import Image

from projlens_core.errors import InvalidInput
from projlens_core.inputs.triggers import TriggerSpec, frame, patch_box, stamp

DoseAxis = Literal["strength", "size"]


def dose_axes(spec: TriggerSpec) -> tuple[DoseAxis, ...]:
    """What can be dosed: the strength of any trigger, the size of a patch too."""
    return ("strength", "size") if spec.local else ("strength",)


def dosed(image: Image.Image, spec: TriggerSpec, axis: DoseAxis, dose: float) -> Image.Image:
    """The framed image with a share of the trigger: at 0 exactly frame(image, spec), at 1 exactly stamp(image, spec).

    strength: the weight of the stamped image against the framed one. size: the patch's side as a share of the full
    one, around the same centre, wherever the full patch would lie. InvalidInput for a dose outside 0 to 1, an axis that
    the trigger does not have, and whatever `stamp` refuses.
    """
    if not 0 <= dose <= 1:
        raise InvalidInput(f"The dose of a trigger is {dose:g}; it must be from 0 to 1.")
    if axis not in dose_axes(spec):
        allowed = " or ".join(dose_axes(spec))
        raise InvalidInput(f"A trigger of the kind {spec.title.lower()} cannot be dosed by {axis}, only by {allowed}.")
    if dose == 0:
        return frame(image, spec)
    if dose == 1:
        return stamp(image, spec)
    box = patch_box(image, spec)
    if axis == "strength" or box is None:
        return Image.blend(frame(image, spec), stamp(image, spec), dose)
    x, y, side = box
    small = max(1, round(side * dose))
    inset = (side - small) // 2
    return stamp(image, replace(spec, px=small, ratio=None, position=(x + inset, y + inset)))
