"""Triggers that a user makes: from an image of their own, from a JSON file with its image, or painted cell by cell."""

import io
import math
import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from PIL import Image

from projlens_core.errors import InvalidInput
from projlens_core.inputs.images import MAX_BYTES, decode
from projlens_core.inputs.trigger_kinds import MOST_CELLS, NO_CELL
from projlens_core.inputs.trigger_spec import MAX_JSON_BYTES, PAPER_RESOLUTION, TriggerSpec
from projlens_core.runtime.atomic import write_atomically
from projlens_core.runtime.cache import content_key
from projlens_core.runtime.paths import cache_dir
from projlens_core.runtime.text import printable

__all__ = ["GRID", "MAX_BYTES", "from_files", "kept_image", "logo", "on_grid", "painting"]

LARGEST = 512  # px; the longer side of an image that is kept for a trigger
KEPT = 256  # images, the newest
ADVICE = "make room, or set $PROJLENS_CACHE to another folder"
GRID = MOST_CELLS  # cells in a row of the square that is painted on


def kept_image(data: bytes, name: str) -> Path:
    """The image in an uploaded file, kept as PNG under a name made of its pixels, so that each is there once.

    Scaled down to LARGEST. Errors as `images.decode`, and InvalidInput if the disk does not take it.
    """
    image = decode(data, name).pixels
    image.thumbnail((LARGEST, LARGEST), Image.Resampling.LANCZOS)
    folder = cache_dir() / "triggers"
    path = folder / f"logo-{content_key(*image.size, image.tobytes())[:16]}.png"
    encoded = io.BytesIO()
    image.save(encoded, "PNG")
    try:
        if path.is_file() and path.read_bytes() == encoded.getvalue():
            os.utime(path)  # the newest again
            return path
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InvalidInput(f"{printable(str(path))} cannot be kept ({error.strerror}); {ADVICE}.") from error
    write_atomically(path, encoded.getvalue(), ADVICE)
    _evict(folder)
    return path


def _evict(folder: Path) -> None:
    """Remove the images that were used longest ago; another session may do the same at the same time."""
    ages = []
    for path in folder.glob("logo-*.png"):
        with suppress(OSError):
            ages.append((path.stat().st_mtime, path))
    for _, path in sorted(ages, reverse=True)[KEPT:]:
        with suppress(OSError):
            path.unlink()


def logo(data: bytes, name: str, resolution: int = PAPER_RESOLUTION) -> TriggerSpec:
    """A patch that shows the uploaded image, at the bottom right; errors as `kept_image`."""
    path = kept_image(data, name)
    return TriggerSpec("image", resolution, image=path.name, ratio=0.15, position="bottom-right", folder=path.parent)


def from_files(files: Mapping[str, bytes]) -> TriggerSpec:
    """The trigger of one JSON file among `files`, by name, and of the image that it names, if it names one.

    InvalidInput if there is no JSON file or several, it is no trigger, or its image is not among them.
    """
    specs = [name for name in files if name.lower().endswith(".json")]
    if len(specs) != 1:
        raise InvalidInput(f"Give one JSON file, and the image that it names, not {len(specs)} JSON files.")
    data = files[specs[0]]
    if len(data) > MAX_JSON_BYTES:
        raise InvalidInput(f"The file is larger than {MAX_JSON_BYTES // 1024} KiB, so not a trigger's JSON file.")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InvalidInput("The file is not UTF-8 text; give a trigger's JSON file.") from error
    spec = TriggerSpec.from_json(text, Path())  # with its image's name checked, wherever that may lie
    if spec.image is None:
        return replace(spec, folder=None)
    if spec.image not in files:
        raise InvalidInput(f"The trigger names the image {spec.image!r}; choose that file together with the JSON.")
    path = kept_image(files[spec.image], spec.image)
    return replace(spec, image=path.name, folder=path.parent)


def painting(cells: str, resolution: int = PAPER_RESOLUTION) -> TriggerSpec | None:
    """The trigger of a painted square of GRID × GRID cells, as TriggerSpec has them; None if no cell has a colour.

    It is the smallest square of whole cells around what was painted, where it was painted. Errors: InvalidInput for
    what are no such cells.
    """
    each = [cells[i : i + len(NO_CELL)] for i in range(0, len(cells), len(NO_CELL))]
    if len(each) != GRID * GRID:
        raise InvalidInput(f"A painting has {GRID} × {GRID} cells, not {len(each)}.")
    places = [divmod(i, GRID) for i, cell in enumerate(each) if cell != NO_CELL]
    if not places:
        return None
    rows, columns = zip(*places, strict=True)
    side = max(max(rows) - min(rows), max(columns) - min(columns)) + 1
    top, left = min(min(rows), GRID - side), min(min(columns), GRID - side)
    inside = "".join(each[(top + row) * GRID + left + column] for row in range(side) for column in range(side))
    cell = resolution / GRID
    px = max(1, math.floor(side * cell))
    position = (math.floor(left * cell), math.floor(top * cell))
    return TriggerSpec("painted", resolution, cells=inside, px=px, position=position)


def on_grid(spec: TriggerSpec) -> str | None:
    """The painted square that `painting` makes this trigger of; None if it is no painting."""
    if spec.kind != "painted" or spec.cells is None or spec.px is None or not isinstance(spec.position, tuple):
        return None
    side = math.isqrt(len(spec.cells) // len(NO_CELL))
    cell = (spec.resolution or PAPER_RESOLUTION) / GRID
    left, top = (math.ceil(at / cell - 1e-9) for at in spec.position)
    if max(left, top) + side > GRID:
        return None
    each = [NO_CELL] * (GRID * GRID)
    for i in range(side * side):
        row, column = divmod(i, side)
        each[(top + row) * GRID + left + column] = spec.cells[6 * i : 6 * i + 6]
    return "".join(each)
