"""`projlens_core trigger SPEC.json IN OUT`: stamp a trigger on an image."""

import argparse
import io
import sys
from pathlib import Path
from typing import Any

from projlens_core.errors import InvalidInput
from projlens_core.inputs import images
from projlens_core.inputs.triggers import TriggerSpec, stamp
from projlens_core.runtime.atomic import write_atomically

# Extension → how Pillow writes it. JPEG without chroma subsampling, so that a small coloured patch keeps its colour.
_WRITERS: dict[str, dict[str, Any]] = {
    ".png": {"format": "PNG"},
    ".jpg": {"format": "JPEG", "quality": 95, "subsampling": 0},
    ".jpeg": {"format": "JPEG", "quality": 95, "subsampling": 0},
    ".webp": {"format": "WEBP", "lossless": True},
}


def add_parser(sub: argparse._SubParsersAction) -> None:
    """Add this command to the command line."""
    command = sub.add_parser("trigger", help="stamp a trigger on an image")
    command.add_argument("spec", type=Path, metavar="SPEC.json", help="the trigger")
    command.add_argument("source", type=Path, metavar="IN", help=f"the image: {images.FORMATS}")
    command.add_argument("out", type=Path, metavar="OUT", help="the file to write: .png, .jpg, .jpeg or .webp")
    command.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    """Read the spec and the image, write the stamped image and say what was written."""
    out: Path = args.out
    writer = _WRITERS.get(out.suffix.lower())
    if writer is None:
        found = f"ends in {out.suffix!r}" if out.suffix else "has no extension"
        raise InvalidInput(f"{images.printable(str(out))} {found}; give a file ending in {', '.join(_WRITERS)}.")
    spec = TriggerSpec.from_file(args.spec)
    stamped = stamp(images.load(args.source).pixels, spec)
    encoded = io.BytesIO()
    stamped.save(encoded, **writer)
    write_atomically(out, encoded.getvalue(), "choose a folder that you may write to")
    sys.stdout.write(f"{images.printable(str(out))}: {spec.title}, {stamped.width} × {stamped.height} px\n")
