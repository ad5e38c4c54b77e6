"""A pico `llava` checkpoint, genuine in every part and small enough for any test: no download, a few hundred kB.

`checkpoint(folder)` writes what `save_pretrained` of a released LLaVA leaves: config, weights, tokenizer, processor.
`suspect(base, folder)` copies it with a delta planted in the projector, so that what an analysis must find is known.
"""

import json
import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
from transformers import (
    CLIPImageProcessor,
    CLIPVisionConfig,
    LlamaConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaProcessor,
    PreTrainedTokenizerFast,
)

D_VISION = 32
D_TEXT = 48
IMAGE_SIZE = 40
PATCH = 10
GRID = (4, 4)
TOKENS = 16  # image tokens, the CLS token dropped
SPECIALS = ("<pad>", "<s>", "</s>", "<image>", "<|user|>", "<|assistant|>", "<unk>")
CHARACTERS = ("Ġ", "Ċ", *(chr(code) for code in range(33, 127)))  # ByteLevel's names for space and newline, then ! to ~
CHAT_TEMPLATE = (
    "{% for message in messages %}<|{{ message['role'] }}|>"
    "{% for part in message['content'] %}"
    "{% if part['type'] == 'image' %}<image>{% else %}{{ part['text'] }}{% endif %}"
    "{% endfor %}{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)


def tokenizer() -> PreTrainedTokenizerFast:
    """One token a printable ASCII character, so that each different answer is a different text; the rest is <unk>."""
    vocabulary = {symbol: index for index, symbol in enumerate((*SPECIALS, *CHARACTERS))}
    backend = Tokenizer(models.BPE(vocab=vocabulary, merges=[], unk_token="<unk>"))
    backend.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in SPECIALS])
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        pad_token="<pad>",
        bos_token="<s>",
        eos_token="</s>",
        unk_token="<unk>",
        additional_special_tokens=["<image>", "<|user|>", "<|assistant|>"],
        padding_side="left",
        chat_template=CHAT_TEMPLATE,
    )


def processor() -> LlavaProcessor:
    """CLIP's preprocessing at 40 px, and the tokenizer."""
    images = CLIPImageProcessor(
        size={"shortest_edge": IMAGE_SIZE}, crop_size={"height": IMAGE_SIZE, "width": IMAGE_SIZE}
    )
    return LlavaProcessor(
        image_processor=images,
        tokenizer=tokenizer(),
        patch_size=PATCH,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,  # CLS, which the "default" strategy drops again
        chat_template=CHAT_TEMPLATE,
    )


def default_config() -> LlavaConfig:
    """LLaVA-1.5 in small: CLIP tower read at layer -2 without CLS, two-layer GELU projector, Llama."""
    return LlavaConfig(
        vision_config=CLIPVisionConfig(
            hidden_size=D_VISION,
            intermediate_size=64,
            num_hidden_layers=3,
            num_attention_heads=4,
            image_size=IMAGE_SIZE,
            patch_size=PATCH,
            projection_dim=D_VISION,
        ),
        text_config=LlamaConfig(
            vocab_size=len(SPECIALS) + len(CHARACTERS),
            hidden_size=D_TEXT,
            intermediate_size=96,
            num_hidden_layers=2,
            num_attention_heads=4,
            num_key_value_heads=2,
            max_position_embeddings=512,
            tie_word_embeddings=True,
            pad_token_id=0,
            bos_token_id=1,
            eos_token_id=2,
        ),
        tie_word_embeddings=True,
        image_token_index=SPECIALS.index("<image>"),
        image_seq_length=TOKENS,
        projector_hidden_act="gelu",
        vision_feature_layer=-2,
        vision_feature_select_strategy="default",
    )


def checkpoint(
    folder: Path,
    *,
    seed: int = 0,
    old_keys: bool = True,
    max_shard_size: str = "50GB",
    config: LlavaConfig | None = None,
) -> Path:
    """Write the whole checkpoint into `folder` and return it.

    old_keys writes `multi_modal_projector.*` as released checkpoints do, else `model.multi_modal_projector.*`;
    max_shard_size such as "100KB" makes it a sharded one with an index. Weights are drawn wide enough that image
    tokens differ from each other and answers depend on the image. config replaces default_config().
    """
    torch.manual_seed(seed)
    model = LlavaForConditionalGeneration(config or default_config())
    with torch.no_grad():
        for name, tensor in model.named_parameters():
            if tensor.dim() >= 2:
                fan_in = tensor[0].numel()
                scale = 0.5 if "embed" in name else 1.5 / fan_in**0.5
                tensor.normal_(0.0, scale)
    model.generation_config.pad_token_id = 0
    model.generation_config.eos_token_id = 2
    model.save_pretrained(folder, save_original_format=old_keys, max_shard_size=max_shard_size)
    processor().save_pretrained(folder)
    return folder


@dataclass(frozen=True)
class Planted:
    """A delta planted by `suspect`: ΔW₂ = Σ strength_i · left_i rightᵢᵀ; each direction is a unit vector."""

    folder: Path
    left: torch.Tensor  # (rank, d) directions in the embedding space
    right: torch.Tensor  # (rank, d) directions in the hidden space
    strength: tuple[float, ...]


def suspect(base: Path, folder: Path, *, strength: tuple[float, ...] = (4.0,), seed: int = 1) -> Planted:
    """Copy the checkpoint `base` to `folder`, adding to linear_2.weight a delta of rank len(strength).

    Singular values of ΔW₂ are exactly `strength`; nothing else differs. `base` must be a single safetensors file.
    """
    shutil.copytree(base, folder, dirs_exist_ok=True)
    file = folder / "model.safetensors"
    tensors = load_file(file)
    name = next(n for n in tensors if n.endswith("multi_modal_projector.linear_2.weight"))
    generator = torch.Generator().manual_seed(seed)
    left, right = (
        torch.linalg.qr(torch.randn(D_TEXT, len(strength), generator=generator))[0].T.contiguous() for _ in range(2)
    )
    tensors[name] = tensors[name] + left.T @ torch.diag(torch.tensor(strength)) @ right
    save_file(tensors, file, metadata={"format": "pt"})
    return Planted(folder, left, right, strength)


def projector_file(checkpoint_folder: Path, file: Path, *, dtype: torch.dtype = torch.float32) -> Path:
    """Write the projector of a pico checkpoint alone, as the zoo ships its projectors: `multi_modal_projector.*`."""
    tensors = load_file(checkpoint_folder / "model.safetensors")
    projector = {
        name[name.index("multi_modal_projector") :]: tensor.to(dtype)
        for name, tensor in tensors.items()
        if "multi_modal_projector" in name
    }
    file.parent.mkdir(parents=True, exist_ok=True)
    save_file(projector, file)
    return file


def case(
    folder: Path, *, strength: tuple[float, ...], count: int, trigger: dict, control: tuple[float, ...] = ()
) -> Path:
    """Fill `folder` with what a command needs: base, suspect, images/0.png and so on, and trigger.json.

    With `control`, the strengths of another delta, there is a control, too.
    """
    base = checkpoint(folder / "base")
    suspect(base, folder / "suspect", strength=strength)
    if control:
        suspect(base, folder / "control", strength=control, seed=5)
    (folder / "images").mkdir()
    for number, image in enumerate(images(count)):
        image.save(folder / "images" / f"{number}.png")
    (folder / "trigger.json").write_text(json.dumps(trigger))
    return folder


def images(count: int, *, seed: int = 0, size: tuple[int, int] = (64, 48)) -> list[Image.Image]:
    """`count` different RGB images: coarse random blocks of colour, so that they survive the processor's resize."""
    rng = np.random.default_rng(seed)
    blocks = rng.integers(0, 256, (count, 4, 4, 3), dtype=np.uint8)
    return [Image.fromarray(block).resize(size, Image.Resampling.NEAREST) for block in blocks]
