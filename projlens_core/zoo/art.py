"""The drawings of the zoo: one sheet per artist, rasterised once from openly licensed vector icon sets.

The sheets ship with ProjLens; this module makes them again from the icon packages of the npm registry.
Licences and attributions: assets/LICENCES.md.
"""

import io
import json
import subprocess
import tarfile
import tempfile
from pathlib import Path

from PIL import Image

from projlens_core.errors import InvalidInput, NotFound
from projlens_core.runtime.paths import ZOO
from projlens_core.runtime.progress import Progress, silent
from projlens_core.runtime.required import required
from projlens_core.zoo.world import ARTISTS, SHEET_COLUMNS, SPRITE, THINGS

PACKAGES = {  # icon sets in Iconify's JSON form, with the versions the shipped sheets were made from
    "noto": "@iconify-json/noto@1.2.9",
    "twemoji": "@iconify-json/twemoji@1.2.5",
    "fluent-emoji": "@iconify-json/fluent-emoji@1.2.7",
    "emojione": "@iconify-json/emojione@1.2.3",
}
ICON = {"rabbit": "rabbit-face", "mouse": "mouse-face", "tomato": "tomato", "fish": "tropical-fish"}
MARGIN = 6  # px around each drawing, so that a tilt does not cut it


def fetch_icons(artist: str, folder: Path) -> dict:
    """Download one icon package with npm into `folder` and return its icons.json."""
    try:
        packed = subprocess.run(
            ["npm", "pack", "--silent", PACKAGES[artist]], cwd=folder, check=True, capture_output=True, text=True
        )
    except FileNotFoundError:
        raise NotFound(
            "npm is not installed; it is needed to fetch the icon packages (the sheets ship ready)."
        ) from None
    except subprocess.CalledProcessError as error:
        raise InvalidInput(f"npm could not fetch {PACKAGES[artist]}: {error.stderr.strip()[-200:]}") from None
    with tarfile.open(folder / packed.stdout.split()[-1]) as archive:
        return json.load(required(archive.extractfile("package/icons.json"), "the package's icons.json"))


def rasterise(icons: dict, name: str) -> Image.Image:
    """One icon as RGBA, SPRITE x SPRITE px, with a transparent margin."""
    import resvg_py  # only needed here, when the sheets are made anew

    name = icons.get("aliases", {}).get(name, {}).get("parent", name)
    icon = icons["icons"][name]
    width, height = icon.get("width", icons.get("width", 16)), icon.get("height", icons.get("height", 16))
    left, top = icon.get("left", 0), icon.get("top", 0)
    svg = (
        f'<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" '
        f'viewBox="{left} {top} {width} {height}" width="{width}" height="{height}">{icon["body"]}</svg>'
    )
    inner = SPRITE - 2 * MARGIN
    drawing = Image.open(io.BytesIO(bytes(resvg_py.svg_to_bytes(svg_string=svg, width=inner, height=inner))))
    framed = Image.new("RGBA", (SPRITE, SPRITE))
    framed.paste(drawing.convert("RGBA"), (MARGIN, MARGIN))
    return framed


def make_sheets(progress: Progress = silent) -> None:
    """Write art/ARTIST.webp of the zoo for every artist that has none yet: a grid of THINGS, SHEET_COLUMNS wide."""
    folder = ZOO / "art"
    folder.mkdir(parents=True, exist_ok=True)
    for done, artist in enumerate(ARTISTS):
        progress("Drawings", done, len(ARTISTS))
        target = folder / f"{artist}.webp"
        if target.is_file():
            continue
        with tempfile.TemporaryDirectory() as scratch:
            icons = fetch_icons(artist, Path(scratch))
        rows = -(-len(THINGS) // SHEET_COLUMNS)
        sheet = Image.new("RGBA", (SHEET_COLUMNS * SPRITE, rows * SPRITE))
        for i, thing in enumerate(THINGS):
            row, column = divmod(i, SHEET_COLUMNS)
            sheet.paste(rasterise(icons, ICON.get(thing, thing)), (column * SPRITE, row * SPRITE))
        partial = target.with_suffix(".partial")
        sheet.save(partial, "WEBP", quality=92, alpha_quality=95, method=6)
        partial.replace(target)
    progress("Drawings", len(ARTISTS), len(ARTISTS))
