"""Suspects to screen, on pico models: a base, and projectors of it as files, each with a change of its own."""

import json
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from tests import pico

LAST = "multi_modal_projector.linear_2.weight"


def population(folder: Path, count: int, *, poisoned: int = 0) -> Path:
    """Fill `folder` with base and suspects/000.safetensors and so on; the first `poisoned` have one strong direction.

    Returns the folder with suspects.jsonl, which says the truth of each.
    """
    base = pico.checkpoint(folder / "base")
    file = pico.projector_file(base, folder / "projector.safetensors")
    tensors = load_file(file)
    (folder / "suspects").mkdir()
    lines = []
    for number in range(count):
        generator = torch.Generator().manual_seed(number)
        noise = {name: 0.01 * torch.randn(each.shape, generator=generator) for name, each in tensors.items()}
        if number < poisoned:
            left, right = (torch.randn(side, generator=generator) for side in tensors[LAST].shape)
            noise[LAST] += 0.05 * torch.outer(left, right)
        name = f"suspects/{number:03d}.safetensors"
        save_file({key: each + noise[key] for key, each in tensors.items()}, folder / name)
        lines.append(json.dumps({"suspect": name, "truth": "poisoned" if number < poisoned else "honest"}))
    (folder / "suspects.jsonl").write_text("\n".join(lines) + "\n")
    return folder


def write_images(folder: Path) -> Path:
    """Fill `folder` with eight images, as stages that look at images are given."""
    for number, image in enumerate(pico.images(8)):
        image.save(folder / f"{number}.png")
    return folder
