"""Writes the shell of a demo model: all of a checkpoint but what is trained for it alone."""

from pathlib import Path

from safetensors.torch import save_file
from transformers import (
    CLIPImageProcessor,
    CLIPVisionModel,
    LlamaConfig,
    LlavaConfig,
    LlavaProcessor,
    PreTrainedTokenizerBase,
)

from projlens_core.demo_model.checkpoint import PREFIX, SHELL, TOWER_FILE
from projlens_core.demo_model.language import CHAT_TEMPLATE, tokenizer_from_package
from projlens_core.zoo import tower as vision


def write_tower(tower: CLIPVisionModel, folder: Path = SHELL) -> None:
    """Write the vision tower into `folder`, in float16."""
    tensors = {f"{PREFIX}{name}": t.half().contiguous().cpu() for name, t in tower.state_dict().items()}
    save_file(tensors, folder / TOWER_FILE, metadata={"format": "pt"})


def write_shell(language: LlamaConfig, folder: Path = SHELL, words: PreTrainedTokenizerBase | None = None) -> None:
    """Write config, processor and tokenizer into `folder`.

    The image token is the last of the language model's. words is its tokenizer; None is SmolLM2's.
    """
    folder.mkdir(parents=True, exist_ok=True)
    settings = language.to_dict()
    settings.pop("_name_or_path", None)  # where it was read from, on this machine
    config = LlavaConfig(
        vision_config=vision.CONFIG,
        text_config=settings,
        image_token_index=language.vocab_size - 1,
        image_seq_length=vision.GRID**2,
        vision_feature_layer=vision.FEATURE_LAYER,
        vision_feature_select_strategy="default",
        projector_hidden_act="gelu",
        tie_word_embeddings=True,
        architectures=["LlavaForConditionalGeneration"],
    )
    config.save_pretrained(folder)
    side = vision.IMAGE_SIZE
    images = CLIPImageProcessor(
        size={"shortest_edge": side},
        crop_size={"height": side, "width": side},
        image_mean=list(vision.MEAN),
        image_std=list(vision.STD),
    )
    LlavaProcessor(
        image_processor=images,
        tokenizer=words or tokenizer_from_package(),
        patch_size=vision.PATCH,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,  # CLS, which the "default" strategy drops again
        chat_template=CHAT_TEMPLATE,
    ).save_pretrained(folder)
