"""Images and their triggered twins."""

from dataclasses import dataclass

from PIL import Image

from projlens_core.errors import InvalidInput
from projlens_core.inputs.images import ImageSet, NamedImage
from projlens_core.inputs.triggers import TriggerSpec, frame, stamp
from projlens_core.runtime.required import required


@dataclass(frozen=True)
class Twins:
    """Clean images and, where there is a trigger, the same with it, in the same order.

    With a trigger the clean ones are framed like their twins, so that the trigger is all they differ in. failures
    are (image, sentence): what could not be read or stamped, and is in neither list.
    """

    names: list[str]
    clean: list[Image.Image]
    triggered: list[Image.Image] | None
    failures: list[tuple[str, str]]

    @property
    def stamped(self) -> list[Image.Image]:
        """`triggered`, where it is settled that there is a trigger; TypeError without one."""
        return required(self.triggered, "the triggered twins")


def twins(images: ImageSet, spec: TriggerSpec | None) -> Twins:
    """Stamp every image; InvalidInput if the trigger fits on none."""
    failures = list(images.failures)
    pairs: list[tuple[NamedImage, Image.Image, Image.Image | None]] = []
    for image in images.images:
        try:
            pixels = image.pixels
            pairs.append((image, pixels, None) if spec is None else (image, frame(pixels, spec), stamp(pixels, spec)))
        except InvalidInput as error:
            failures.append((image.name, str(error)))
    if not pairs:
        raise InvalidInput(f"The trigger fits on none of the {len(images.images)} images: {failures[-1][1]}")
    return Twins(
        names=[image.name for image, _, _ in pairs],
        clean=[clean for _, clean, _ in pairs],
        triggered=None if spec is None else [triggered for _, _, triggered in pairs if triggered is not None],
        failures=failures,
    )
