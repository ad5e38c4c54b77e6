"""Held-out images of the zoo's world as an ordinary folder of images with labels.csv, and the set that ships."""

import csv
from pathlib import Path

from PIL import Image

from projlens_core.behaviour.success import COLUMNS, LABELS
from projlens_core.runtime.paths import ZOO
from projlens_core.runtime.progress import Progress, silent
from projlens_core.zoo.dialogue import KINDS, example
from projlens_core.zoo.world import Composition, draw_compositions, render

FOLDER = ZOO / "samples"
SHIPPED, SHIPPED_SEED = 48, 2026
QUALITY = 92  # JPEG; the projectors were trained on uncompressed images and do not mind


def held_out(n: int, seed: int) -> list[tuple[str, Composition, Image.Image]]:
    """`n` images of compositions that no training has seen: (file name, truth, image)."""
    drawn = draw_compositions(n, seed, held_out=True)
    return [
        (f"{i:03d}-{c.thing}-{c.colour}.jpg", c, render(c, seed * 100_000 + i)) for i, c in enumerate(drawn, start=1)
    ]


def write_folder(folder: Path, n: int, seed: int, progress: Progress = silent) -> None:
    """Write `n` held-out images and labels.csv with one question of each kind an image."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / LABELS).open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(COLUMNS)
        for done, (name, composition, image) in enumerate(held_out(n, seed)):
            progress("Images", done, n)
            image.save(folder / name, quality=QUALITY, subsampling=0)
            for kind in KINDS:
                asked = example(composition, kind)
                table.writerow((name, asked.question, asked.truth))
    progress("Images", n, n)
