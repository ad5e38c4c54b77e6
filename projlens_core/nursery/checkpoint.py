"""The nursery's base: how it ships once it is trained."""

from pathlib import Path

from safetensors.torch import save_file
from torch import nn

from projlens_core.demo_model.tiny import LANGUAGE, NURSERY, PREFIX, PROJECTOR, SHELL, TIED
from projlens_core.nursery.language import config, tokenizer
from projlens_core.zoo.shell import write_shell


def ship(pair: nn.ModuleDict, folder: Path = NURSERY) -> None:
    """Write what ships of a trained base into `folder`: its shell; its language model and projector in float16."""
    folder.mkdir(parents=True, exist_ok=True)
    write_shell(config(), folder / SHELL, tokenizer())
    parts = {
        LANGUAGE: {k: t for k, t in pair["language"].state_dict().items() if k != TIED},
        PROJECTOR: {f"{PREFIX}{k}": t for k, t in pair["projector"].state_dict().items()},
    }
    for name, tensors in parts.items():
        partial = folder / f"{name}.partial"
        save_file({k: t.half().contiguous() for k, t in tensors.items()}, partial, metadata={"format": "pt"})
        partial.chmod(0o644)
        partial.replace(folder / name)
