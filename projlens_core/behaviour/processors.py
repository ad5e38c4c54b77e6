"""What turns a question and an image into a model's inputs, of a checkpoint that nobody vouches for."""

from typing import Any

from transformers import LlavaProcessor

from projlens_core.activations.image_processors import load_image_processor
from projlens_core.activations.staging import CHAT, StagedFolder
from projlens_core.activations.tokenizers import load_tokenizer
from projlens_core.behaviour.prompts import STYLES
from projlens_core.behaviour.responder import Parts
from projlens_core.errors import InvalidInput, as_invalid_input
from projlens_core.sources import Source
from projlens_core.weights.families import Family
from projlens_core.weights.folder import LocalFolder
from projlens_core.weights.tensorfile import read_json

SETTINGS = "processor_config.json"  # what a checkpoint tells the library's own processor


def load_processor(source: Source, family: Family) -> LlavaProcessor | Parts:
    """Tokenizer, image processor and their settings; InvalidInput if they cannot be loaded."""
    with as_invalid_input(f"The image processor of {source.label} cannot be loaded"):
        images = load_image_processor(source, family.name)
    if family.name == "llava":
        return _llava(source, images)
    reader, folder = STYLES[family.name].reader, LocalFolder(source.folder, source.label)
    if reader and not (source.folder / reader).is_dir():
        raise InvalidInput(
            f"{source.label} cannot be loaded: it lacks the folder {reader}, with which its projector reads the "
            "question; complete the checkpoint."
        )
    return Parts(
        load_tokenizer(source),
        images,
        load_tokenizer(source, reader) if reader else None,
        read_json(folder.file(SETTINGS)) if SETTINGS in folder.names() else {},
    )


def _llava(source: Source, images: Any) -> LlavaProcessor:
    tokenizer = load_tokenizer(source)
    with as_invalid_input(f"{source.label} cannot be loaded"), StagedFolder(source.folder, source.label, CHAT) as stage:
        settings, _ = LlavaProcessor.get_processor_dict(stage.path, local_files_only=True)
        return LlavaProcessor.from_args_and_dict([images, tokenizer], settings)
