"""Checkpoints of LLaVA-1.5-7B's names and shapes, 14 GB each: the language model's bytes are holes in sparse files."""

import json
import struct
from collections.abc import Iterator
from pathlib import Path

import torch

D_VISION, D, D_MLP, LAYERS, VOCABULARY = 1024, 4096, 11008, 32, 32064
SPIKES = (0.5, 0.4, 0.3, 0.2, 0.1)
BULK = 2e-4  # standard deviation of the noise around them
SHARDS = 3


def pair(folder: Path) -> tuple[Path, Path]:
    """folder/base and folder/suspect in float16, differing in both matrices of the projector."""
    generator = torch.Generator().manual_seed(0)
    weights = {
        "multi_modal_projector.linear_1.weight": 0.02 * torch.randn(D, D_VISION, generator=generator),
        "multi_modal_projector.linear_1.bias": torch.zeros(D),
        "multi_modal_projector.linear_2.weight": 0.02 * torch.randn(D, D, generator=generator),
        "multi_modal_projector.linear_2.bias": torch.zeros(D),
    }
    base = write(folder / "base", weights)
    for name in [name for name in weights if name.endswith("weight")]:
        weights[name] = weights[name].half().float() + _delta(*weights[name].shape, generator)
    return base, write(folder / "suspect", weights)


def write(folder: Path, projector: dict[str, torch.Tensor]) -> Path:
    """One checkpoint with these projector tensors."""
    folder.mkdir(parents=True)
    values = {name: tensor.half() for name, tensor in projector.items()}
    shapes = dict(_language_model()) | {name: tuple(t.shape) for name, t in values.items()} | dict(_tower())
    names, weight_map = list(shapes), {}
    for number in range(SHARDS):
        file = f"model-{number + 1:05}-of-{SHARDS:05}.safetensors"
        own = names[number * len(names) // SHARDS : (number + 1) * len(names) // SHARDS]
        weight_map |= dict.fromkeys(own, file)
        header, at, places = {}, 0, {}
        for name in own:
            size = 2 * torch.Size(shapes[name]).numel()
            header[name] = {"dtype": "F16", "shape": shapes[name], "data_offsets": [at, at + size]}
            places[name], at = at, at + size
        text = json.dumps(header).encode()
        with (folder / file).open("wb") as out:
            out.write(struct.pack("<Q", len(text)) + text)
            start = out.tell()
            out.truncate(start + at)
            for name in own:
                if name in values:
                    out.seek(start + places[name])
                    out.write(values[name].numpy().tobytes())
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))
    config = {"model_type": "llava", "projector_hidden_act": "gelu", "architectures": ["LlavaForConditionalGeneration"]}
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def _language_model() -> Iterator[tuple[str, tuple[int, ...]]]:
    yield "language_model.model.embed_tokens.weight", (VOCABULARY, D)
    for layer in range(LAYERS):
        prefix = f"language_model.model.layers.{layer}"
        for name in ("q", "k", "v", "o"):
            yield f"{prefix}.self_attn.{name}_proj.weight", (D, D)
        for name in ("gate", "up"):
            yield f"{prefix}.mlp.{name}_proj.weight", (D_MLP, D)
        yield f"{prefix}.mlp.down_proj.weight", (D, D_MLP)
        for name in ("input", "post_attention"):
            yield f"{prefix}.{name}_layernorm.weight", (D,)
    yield "language_model.model.norm.weight", (D,)
    yield "language_model.lm_head.weight", (VOCABULARY, D)


def _tower() -> Iterator[tuple[str, tuple[int, ...]]]:
    prefix = "vision_tower.vision_model"
    yield f"{prefix}.embeddings.patch_embedding.weight", (D_VISION, 3, 14, 14)
    for layer in range(24):
        for name, rows, columns in (("fc1", 4 * D_VISION, D_VISION), ("fc2", D_VISION, 4 * D_VISION)):
            yield f"{prefix}.encoder.layers.{layer}.mlp.{name}.weight", (rows, columns)
        for name in ("q", "k", "v", "out"):
            yield f"{prefix}.encoder.layers.{layer}.self_attn.{name}_proj.weight", (D_VISION, D_VISION)


def _delta(rows: int, columns: int, generator: torch.Generator) -> torch.Tensor:
    left, right = (torch.linalg.qr(torch.randn(n, len(SPIKES), generator=generator))[0] for n in (rows, columns))
    return (left * torch.tensor(SPIKES)) @ right.T + BULK * torch.randn(rows, columns, generator=generator)
