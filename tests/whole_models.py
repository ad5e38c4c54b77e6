"""Suspects that change more than a projector, in every form in which they come, beside the same model merged by hand.

`build(kind, base, folder)` makes one: what is given to ProjLens, and a whole folder that transformers alone loads, of
the same model.
"""

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForImageTextToText

from tests import pico

OWN, SAME, BASE = "suspect", "same", "base"
PROJECTOR = "multi_modal_projector.linear_2.weight"
TOWER_LAYER = "vision_tower.encoder.layers.1.self_attn.q_proj"
TEXT_LAYER = "language_model.model.layers.0.self_attn.q_proj"
RANK = 2


@dataclass(frozen=True)
class Made:
    """given: what the suspect is called; whole: the same model as transformers loads it by itself."""

    given: Path
    whole: Path


Tensors = dict[str, torch.Tensor]


def tensors(folder: Path) -> Tensors:
    """All tensors of a checkpoint of one file or of several."""
    return {name: t for file in sorted(folder.glob("*.safetensors")) for name, t in load_file(file).items()}


def named(folder: Path, ending: str) -> str:
    """The one tensor of the checkpoint whose name ends so."""
    (name,) = [name for name in tensors(folder) if name.endswith(ending)]
    return name


def noise(shape: torch.Size, seed: int, scale: float) -> torch.Tensor:
    return scale * torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def changed(base: Path, folder: Path, *parts: str, scale: float = 0.3) -> Path:
    """A copy of `base` with noise on every tensor in whose name one of the parts stands."""
    shutil.copytree(base, folder)
    found = tensors(folder)
    for seed, name in enumerate(sorted(found)):
        if any(part in name for part in parts) and found[name].is_floating_point():
            found[name] = found[name] + noise(
                found[name].shape, seed, scale * float(found[name].std(correction=0)) + 0.02
            )
    save_file(found, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


def whole(*parts: str) -> Callable[[Path, Path], Made]:
    """A whole checkpoint with these parts changed, and its projector."""

    def make(base: Path, folder: Path) -> Made:
        given = changed(base, folder / "suspect", PROJECTOR, *parts)
        return Made(given, given)

    return make


def saved_again(**options: object) -> Callable[[Path, Path], Made]:
    """The same with language model and tower changed, as transformers saves it again."""

    def make(base: Path, folder: Path) -> Made:
        made = whole("language_model", "vision_tower")(base, folder)
        given = folder / "again"
        shutil.copytree(made.given, given)
        (given / "model.safetensors").unlink()
        AutoModelForImageTextToText.from_pretrained(made.given).save_pretrained(given, **options)
        return Made(given, made.whole)

    return make


def text_file(name: str, edit: Callable[[dict], None]) -> Callable[[Path, Path], Made]:
    """A suspect that differs in its projector and in one of the files that decide how it runs."""

    def make(base: Path, folder: Path) -> Made:
        made = whole()(base, folder)
        path = made.given / name
        if path.suffix == ".json":
            read = json.loads(path.read_text())
            edit(read)
            path.write_text(json.dumps(read))
        else:
            path.write_text(path.read_text().replace("<|{{ message['role'] }}|>", "<|user|>Now. "))
        return made

    return make


def adapter(
    *modules: str, settings: dict | None = None, saved: tuple[str, ...] = (), prefix: str = "base_model.model."
) -> Callable[[Path, Path], Made]:
    """A LoRA on modules of the base, with whole tensors beside it; and the same merged by hand, W + α/r·B·A."""

    def make(base: Path, folder: Path) -> Made:
        merged = folder / "merged"
        shutil.copytree(base, merged)
        found, stored = tensors(base), {}
        config = {"peft_type": "LORA", "r": RANK, "lora_alpha": 4, "target_modules": list(modules)} | (settings or {})
        scale = 4 / RANK**0.5 if config.get("use_rslora") else 4 / RANK
        for seed, module in enumerate(modules):
            weight = found[f"{module}.weight"]
            a, b = noise((RANK, weight.shape[1]), seed, 0.4), noise((weight.shape[0], RANK), seed + 50, 0.4)
            stored |= {f"{prefix}{module}.lora_A.weight": a, f"{prefix}{module}.lora_B.weight": b}
            moved = weight + scale * (b @ a)
            if config.get("use_dora"):
                lengths = 1.3 * weight.norm(dim=1)
                stored[f"{prefix}{module}.lora_magnitude_vector"] = lengths
                moved = moved * (lengths / moved.norm(dim=1))[:, None]
            found[f"{module}.weight"] = moved
        for seed, name in enumerate(saved):
            like = found.get(name, found["language_model.model.embed_tokens.weight"])
            found[name] = like + noise(like.shape, seed + 90, 0.2)
            module, _, leaf = name.rpartition(".")
            stored[f"{prefix}{module}.modules_to_save.{leaf}"] = found[name]
        given = folder / "adapter"
        given.mkdir(parents=True)
        save_file({name: t.contiguous() for name, t in stored.items()}, given / "adapter_model.safetensors")
        (given / "adapter_config.json").write_text(json.dumps(config))
        save_file(found, merged / "model.safetensors", metadata={"format": "pt"})
        return Made(given, merged)

    return make


def _eos(config: dict) -> None:
    config["eos_token_id"] = list(range(7, 30))


def _crop(config: dict) -> None:
    config["image_processor"]["image_mean"] = [0.1, 0.1, 0.1]


def _layer(config: dict) -> None:
    config["vision_feature_layer"] = -3


def _rope(config: dict) -> None:
    config["text_config"]["rope_parameters"]["rope_theta"] = 50.0


BIASED = (PROJECTOR,)
# What differs from base, how it comes, and whose vision tower and language model then run.
KINDS: dict[str, tuple[Callable[[Path, Path], Made], str, str]] = {
    "language model, whole": (whole("language_model"), SAME, OWN),
    "vision tower, whole": (whole("vision_tower"), OWN, SAME),
    "both, whole": (whole("language_model", "vision_tower"), OWN, OWN),
    "token embeddings, with the head tied to them": (whole("embed_tokens"), SAME, OWN),
    "final norm": (whole("language_model.model.norm"), SAME, OWN),
    "one matrix of one layer": (whole("layers.1.mlp.up_proj", "nothing"), SAME, OWN),
    "one bias of the tower": (whole("encoder.layers.0.mlp.fc1.bias"), OWN, SAME),
    "position embeddings of the tower": (whole("position_embedding"), OWN, SAME),
    "in shards": (saved_again(max_shard_size="100KB", save_original_format=True), OWN, OWN),
    "under the current names": (saved_again(save_original_format=False), OWN, OWN),
    "chat template": (text_file("chat_template.jinja", _eos), SAME, OWN),
    "end of the answer": (text_file("generation_config.json", _eos), SAME, OWN),
    "preprocessing": (text_file("processor_config.json", _crop), OWN, OWN),
    "which layer of the tower is read": (text_file("config.json", _layer), OWN, OWN),
    "rotary base": (text_file("config.json", _rope), SAME, OWN),
    "LoRA on the language model": (adapter(TEXT_LAYER, saved=BIASED), BASE, OWN),
    "LoRA on the tower": (adapter(TOWER_LAYER, saved=BIASED), OWN, BASE),
    "LoRA on both": (adapter(TOWER_LAYER, TEXT_LAYER, saved=BIASED), OWN, OWN),
    "LoRA on the language model alone": (adapter(TEXT_LAYER), BASE, OWN),
    "rsLoRA": (adapter(TEXT_LAYER, settings={"use_rslora": True}, saved=BIASED), BASE, OWN),
    "DoRA": (adapter(TEXT_LAYER, TOWER_LAYER, settings={"use_dora": True}, saved=BIASED), OWN, OWN),
    "a head of its own, saved whole": (adapter(saved=(*BIASED, "language_model.lm_head.weight")), BASE, OWN),
}  # fmt: skip


def copied(base: Path, folder: Path) -> Path:
    """A copy of `base` whose projector alone differs, by values that bfloat16 holds exactly."""
    shutil.copytree(base, folder)
    found = tensors(folder)
    name = next(name for name in found if name.endswith(PROJECTOR))
    found[name] = (found[name] + noise(found[name].shape, 7, 0.4)).bfloat16().float()
    save_file(found, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


def again(**options: object) -> Callable[[Path, Path], Made]:
    """A copy with another projector, saved again by transformers; dtype among the options converts it first."""

    def make(base: Path, folder: Path) -> Made:
        made, given = copied(base, folder / "copy"), folder / "again"
        shutil.copytree(made, given)
        (given / "model.safetensors").unlink()
        model = AutoModelForImageTextToText.from_pretrained(made, dtype=options.pop("dtype", torch.float32))
        model.save_pretrained(given, **options)
        return Made(given, made)

    return make


def edited(edit: Callable[[Path], None]) -> Callable[[Path, Path], Made]:
    """A copy with another projector, whose folder `edit` changes in what has no part in answers."""

    def make(base: Path, folder: Path) -> Made:
        whole, given = copied(base, folder / "copy"), folder / "edited"
        shutil.copytree(whole, given)
        edit(given)
        return Made(given, whole)

    return make


def _json(folder: Path, name: str, **values: object) -> None:
    path = folder / name
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def _without(*names: str) -> Callable[[Path], None]:
    def edit(folder: Path) -> None:
        for name in names:
            (folder / name).unlink()

    return edit


def _head_stored(folder: Path) -> None:
    found = tensors(folder)
    found["language_model.lm_head.weight"] = found["language_model.model.embed_tokens.weight"].clone()
    save_file(found, folder / "model.safetensors", metadata={"format": "pt"})


def _computed_stored(folder: Path) -> None:
    found = tensors(folder)
    found["language_model.model.layers.0.self_attn.rotary_emb.inv_freq"] = torch.ones(6)
    found["vision_tower.embeddings.position_ids"] = torch.arange(17)[None]
    save_file(found, folder / "model.safetensors", metadata={"format": "pt"})


def _lone(base: Path, folder: Path) -> Made:
    whole = copied(base, folder / "copy")
    return Made(pico.projector_file(whole, folder / "lone" / "projector.safetensors"), whole)


def _linked(folder: Path) -> None:
    """The projector in a shard of its own, and the rest a link to what is elsewhere."""
    found = tensors(folder)
    projector = {name: t for name, t in found.items() if "multi_modal" in name}
    rest = {name: t for name, t in found.items() if name not in projector}
    (folder / "model.safetensors").unlink()
    shards = {"model-00001-of-00002.safetensors": rest, "model-00002-of-00002.safetensors": projector}
    for name, part in shards.items():
        save_file(part, folder / name, metadata={"format": "pt"})
    places = {name: shard for shard, part in shards.items() for name in part}
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": places}))


_TOKENS = ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja")
# Suspects whose tower and language model are the base's, and what is said of them: "same", or "base" if they have none.
ALIKE: dict[str, tuple[Callable[[Path, Path], Made], str]] = {
    "a copy of the folder": (edited(lambda folder: None), SAME),
    "a lone projector file": (_lone, BASE),
    "LoRA on the projector": (adapter("multi_modal_projector.linear_1"), BASE),
    "the projector saved whole by an adapter": (adapter(saved=(PROJECTOR,)), BASE),
    "saved again in bfloat16": (again(dtype=torch.bfloat16, save_original_format=True), SAME),
    "saved again in shards": (again(max_shard_size="100KB", save_original_format=True), SAME),
    "saved again under the current names": (again(save_original_format=False), SAME),
    "in shards of its own": (edited(_linked), SAME),
    "with the tied head stored, too": (edited(_head_stored), SAME),
    "with tables that are computed stored, too": (edited(_computed_stored), SAME),
    "by another version, of another name": (
        edited(lambda folder: _json(folder, "config.json", transformers_version="4.37.2", _name_or_path="/x")), SAME
    ),
    "with other sampling settings": (
        edited(lambda folder: _json(folder, "generation_config.json", temperature=0.2, do_sample=True)), SAME
    ),
    "without tokenizer and image processor": (edited(_without(*_TOKENS, "processor_config.json")), SAME),
}  # fmt: skip
