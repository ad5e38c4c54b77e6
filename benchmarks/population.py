"""Distinct suspects with known truth for a screening, derived from the nursery's members by seeded noise and LoRA.

A derived suspect is its member's change with noise of 2 % of the change's own size: it does what its member does, and
no two are the same. Two in three are whole projectors, one is a PEFT adapter: the 16 strongest components of the
change as LoRA's factors. Derived, not trained: they say how fast and how flat a screening is, not how good.
"""

import json
import shutil
from pathlib import Path

import torch
from safetensors.torch import save_file

from projlens_core.demo_model.tiny import base_tensors, write_checkpoint
from projlens_core.nursery.members import MEMBERS, projector_tensors, read_members, verdict
from projlens_core.zoo.suspect import PREFIX

NOISE, RANK, EACH_THIRD = 0.02, 16, 3
ADAPTER = "base_model.model.model.{}.lora_{}.weight"  # as PEFT names them
CONTROLS = 4  # honest members that are no suspects


def write(folder: Path, count: int, members: Path = MEMBERS) -> list[str]:
    """Fill `folder` with base, suspects/… and list.jsonl, which says the truth; the controls' paths."""
    write_checkpoint(folder / "base")
    known = read_members(members)
    truth = {name: verdict(each, known.get(each.recipe.twin)) for name, each in known.items()}
    usable = [name for name in known if truth[name] in ("honest", "poisoned")]
    controls = [name for name in usable if truth[name] == "honest"][:CONTROLS]
    sources = [name for name in usable if name not in controls]
    ours = base_tensors()
    (folder / "suspects").mkdir()
    lines = []
    for number in range(count):
        name = sources[number % len(sources)]
        path = f"suspects/{number:05d}-{name}"
        _write(folder / path, _derived(ours, projector_tensors(name, members), number), ours, number, folder / "base")
        lines.append(json.dumps({"suspect": path, "truth": truth[name]}))
    (folder / "list.jsonl").write_text("\n".join(lines) + "\n")
    (folder / "controls").mkdir()
    for name in controls:
        tensors = projector_tensors(name, members)
        _whole(folder / "controls" / name, tensors, folder / "base")
        _adapter(folder / "controls" / f"{name}-adapter", {key: tensors[key] - ours[key] for key in ours})
    return [str(path) for path in sorted((folder / "controls").iterdir())]


def _derived(ours: dict[str, torch.Tensor], member: dict[str, torch.Tensor], seed: int) -> dict[str, torch.Tensor]:
    """A member's tensors with noise of their change's size."""
    generator = torch.Generator().manual_seed(seed)
    derived = {}
    for name, tensor in member.items():
        size = (tensor - ours[name]).norm() / tensor.numel() ** 0.5
        derived[name] = tensor + NOISE * size * torch.randn(tensor.shape, generator=generator)
    return derived


def _write(
    folder: Path, tensors: dict[str, torch.Tensor], ours: dict[str, torch.Tensor], number: int, base: Path
) -> None:
    if number % EACH_THIRD == EACH_THIRD - 1:
        _adapter(folder, {name: tensor - ours[name] for name, tensor in tensors.items()})
    else:
        _whole(folder, tensors, base)


def _whole(folder: Path, tensors: dict[str, torch.Tensor], base: Path) -> None:
    folder.mkdir()
    shutil.copyfile(base / "config.json", folder / "config.json")
    save_file({f"{PREFIX}{name}": tensor for name, tensor in tensors.items()}, folder / "model.safetensors")


def _adapter(folder: Path, change: dict[str, torch.Tensor]) -> None:
    folder.mkdir()
    factors = {}
    modules = sorted(name.removesuffix(".weight") for name in change if name.endswith(".weight"))
    for module in modules:
        u, s, vh = torch.linalg.svd(change[f"{module}.weight"], full_matrices=False)
        name = f"{PREFIX}{module}"
        factors[ADAPTER.format(name, "A")] = (s[:RANK].sqrt()[:, None] * vh[:RANK]).contiguous()
        factors[ADAPTER.format(name, "B")] = (u[:, :RANK] * s[:RANK].sqrt()).contiguous()
    save_file(factors, folder / "adapter_model.safetensors")
    settings = {
        "peft_type": "LORA", "r": RANK, "lora_alpha": RANK, "bias": "none", "fan_in_fan_out": False,
        "target_modules": [f"{PREFIX}{module}" for module in modules], "base_model_name_or_path": "base",
    }  # fmt: skip
    (folder / "adapter_config.json").write_text(json.dumps(settings))
