"""What callers of the library may give as images and as triggers, made into what analyses take."""

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from PIL import Image

from projlens_core.analyses import context
from projlens_core.errors import InvalidInput, NotFound, as_invalid_input
from projlens_core.inputs import images, triggers
from projlens_core.inputs.images import ImageSet, NamedImage
from projlens_core.inputs.triggers import PRESETS, TriggerSpec
from projlens_core.runtime.text import printable

if TYPE_CHECKING:
    from projlens_core.behaviour.success import Truth

ImageLike = str | os.PathLike[str] | Image.Image | np.ndarray | NamedImage
ImagesLike = ImageLike | Sequence[ImageLike] | ImageSet
TriggerLike = TriggerSpec | Mapping[str, Any] | str | os.PathLike[str]
TriggerChoice = TriggerLike | Literal[False] | None
_EXPECTED = "give a path, a PIL image, a numpy array, several of them, or a folder"
_ARRAY = "give (height, width), with 3 or 4 channels last or none, of uint8, or of floats from 0 to 1"


def trigger(given: TriggerLike) -> TriggerSpec:
    """A trigger from a spec file, a dict or the name of a preset (`PRESETS`).

    A preset's name goes before a file of that name. Errors: NotFound if there is neither, InvalidInput for what is no
    trigger.

    >>> import projlens_core as pl
    >>> pl.trigger("Blur").radius
    2.0
    >>> pl.trigger({"kind": "solid", "px": 14, "colour": "#26ff00"}).title
    'Solid patch'
    """
    match given:
        case TriggerSpec():
            return given
        case Mapping():
            return TriggerSpec.from_dict(dict(given))
        case str() if given in PRESETS:
            return PRESETS[given]
        case str() | os.PathLike():
            if not os.path.exists(given):
                raise NotFound(
                    f"There is no trigger {printable(os.fspath(given))!r}; give a spec file, a dict or one of the "
                    f"presets {', '.join(map(repr, PRESETS))}."
                )
            return TriggerSpec.from_file(Path(given))
    raise InvalidInput(f"A trigger is a spec file, a dict or a preset's name, not {type(given).__name__}.")


def chosen_trigger(given: TriggerChoice, suspect: str | os.PathLike[str]) -> TriggerSpec | None:
    """The trigger that was given; the zoo suspect's own, if there is one, for None; none for False."""
    known = given if given is None or given is False else trigger(given)
    return context.chosen_trigger(known, os.fspath(suspect))


def stamp(image: ImageLike, on: TriggerLike) -> Image.Image:
    """The image with a trigger on it: cropped to its central square, and resized if the trigger has a resolution.

    Errors as of `trigger`, and InvalidInput if the image cannot be read or a patch leaves it.

    >>> import projlens_core as pl
    >>> pl.stamp(pl.SAMPLES / "001-penguin-pink.jpg", "Solid patch, centre").size
    (336, 336)
    """
    return triggers.stamp(one_image(image).pixels, trigger(on))


def one_image(given: ImageLike) -> NamedImage:
    """The one image in a file, a PIL image or an array; InvalidInput for several."""
    found = list(_images(given, 1))
    if len(found) != 1:
        raise InvalidInput(f"One image is expected, not {len(found)}; give them one by one.")
    return found[0]


def image_set(given: ImagesLike, limit: int | None = None) -> "tuple[ImageSet, dict[str, tuple[Truth, ...]] | None]":
    """The first `limit` images of what was given, and the known answers in labels.csv where that is a folder.

    Of a folder, what cannot be read is listed under failures; one image that was given by itself raises InvalidInput.
    """
    if limit is not None and limit < 1:
        raise InvalidInput(f"At most {limit} images were asked for; ask for 1 or more.")
    if isinstance(given, str | os.PathLike) and os.path.isdir(given):
        from projlens_core.behaviour.success import read_labels  # only here: not every caller needs this floor

        return images.load_folder(Path(given), limit), read_labels(Path(given))
    if isinstance(given, ImageSet):
        return replace(given, images=given.images[:limit]), None
    several = given if isinstance(given, Sequence) and not isinstance(given, str) else [given]
    found: list[NamedImage] = []
    for each in several:
        found += _images(each, len(found) + 1)
        if limit is not None and len(found) >= limit:
            break
    if not found:
        raise InvalidInput(f"No images were given; {_EXPECTED}.")
    return ImageSet(tuple(_named_apart(found[:limit])), ()), None


def _images(given: object, number: int) -> Iterator[NamedImage]:
    """The images of one entry, numbered from `number` on where they have no name."""
    match given:
        case NamedImage():
            yield given
        case str() | os.PathLike():
            if os.path.isdir(given):
                raise InvalidInput(f"{printable(os.fspath(given))} is a folder where one image is expected.")
            yield images.load(Path(given))
        case Image.Image():
            name = os.path.basename(getattr(given, "filename", "")) or f"image {number}"
            with as_invalid_input(f"{printable(name)} cannot be read"):  # Pillow decodes an opened file only now
                yield images.named_image(images.upright(given), name)
        case np.ndarray() if given.ndim == 4:
            for offset, each in enumerate(given):
                yield _from_array(each, f"image {number + offset}")
        case np.ndarray():
            yield _from_array(given, f"image {number}")
        case _:
            raise InvalidInput(f"An image cannot be a {type(given).__name__}; {_EXPECTED}.")


def _from_array(values: np.ndarray, name: str) -> NamedImage:
    shape = "×".join(map(str, values.shape))
    if values.size == 0 or not (values.ndim == 2 or (values.ndim == 3 and values.shape[2] in (3, 4))):
        raise InvalidInput(f"{name} is an array of {shape or 'one number'}; {_ARRAY}.")
    if np.issubdtype(values.dtype, np.floating):
        low, high = float(values.min()), float(values.max())
        if not (low >= 0 and high <= 1):  # NaN, too
            raise InvalidInput(f"{name} is an array of floats from {low:.4g} to {high:.4g}; {_ARRAY}.")
        values = np.rint(values * 255).astype(np.uint8)
    if values.dtype != np.uint8:
        raise InvalidInput(f"{name} is an array of {values.dtype}; {_ARRAY}.")
    return images.named_image(Image.fromarray(np.ascontiguousarray(values)), name)


def _named_apart(images: Sequence[NamedImage]) -> Iterator[NamedImage]:
    """The same, each under a name of its own: results are looked up by it, and files of two folders may share one."""
    taken: set[str] = set()
    for each in images:
        name, number = each.name, 2
        while name in taken:
            name, number = f"{each.name} ({number})", number + 1
        taken.add(name)
        yield replace(each, name=name)
