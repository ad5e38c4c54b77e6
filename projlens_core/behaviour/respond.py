"""What a model answers: loaded whole, one in memory, and the projectors take turns in it."""

import math
from dataclasses import dataclass

import torch
from PIL import Image
from transformers import PreTrainedConfig, PreTrainedModel

from projlens_core.activations.config import open_family, whole_class
from projlens_core.activations.staging import staged_weights
from projlens_core.behaviour.family import FamilyResponder, check_asked
from projlens_core.behaviour.llava import LlavaResponder
from projlens_core.behaviour.packed import pack
from projlens_core.behaviour.processors import load_processor
from projlens_core.behaviour.responder import NEW_TOKENS, Responder
from projlens_core.errors import InvalidInput, Unsupported, as_invalid_input
from projlens_core.runtime.device import compute_dtype, pick_device
from projlens_core.runtime.progress import Progress, silent
from projlens_core.runtime.text import listed
from projlens_core.sources import Source, resolve
from projlens_core.weights.checkpoint import Checkpoint
from projlens_core.weights.projector import ProjectorWeights, read_projector

ATTENTION = "sdpa"  # given, since a config may name a kernel that would be fetched from elsewhere
# How many more parameters a config may describe than its weights hold: buffers and a tied head, not a larger model.
SLACK = 1.05
ADAPTER = "vision-lora"  # the folder in which Phi-4's release keeps what its language model learnt for images


@dataclass(frozen=True)
class FourAnswers:
    """One question, answered with base and suspect projector about the clean and the triggered image.

    What was not asked (no suspect, no trigger) is None.
    """

    base_clean: str
    base_triggered: str | None
    suspect_clean: str | None
    suspect_triggered: str | None


def load_responder(
    source: Source | str, device: torch.device | str | None = None, progress: Progress = silent
) -> Responder:
    """Load a whole model from safetensors, none of the checkpoint's code: half precision on a GPU, else float32.

    For zoo:NAME the zoo's checkpoint is put together first, once. Raises InvalidInput or Unsupported, in one
    sentence, if the model cannot be run exactly as its files say, missing tensors included.
    """
    source = source if isinstance(source, Source) else resolve(source)
    if source.zoo is not None:
        from projlens_core.zoo.assemble import checkpoint_folder  # only here: own models need nothing of the zoo

        folder = checkpoint_folder(progress)
        source = Source(source.spec, source.label, folder, folder, None)
    checkpoint, config, family = open_family(source)
    files = {checkpoint.info(name).file.name for name in checkpoint.names}
    if other := sorted(name for name in files if not name.endswith(".safetensors")):
        raise Unsupported(
            f"{source.label} keeps its language model in {listed(other)}; answers are loaded from safetensors alone: "
            "a pickle is not run, and other forms are not whole models."
        )
    stored = sum(math.prod(checkpoint.info(name).shape) for name in checkpoint.names)
    device = pick_device(str(device) if device else None)
    llava = family.name == "llava"
    if not llava:
        check_asked(family, source.label)
        if (source.model / ADAPTER).exists():
            raise Unsupported(
                f"{source.label} keeps part of its language model in an adapter ({ADAPTER}), which is not loaded with "
                "it; merge it into the model first."
            )
    _check_described(source.label, config, stored)
    progress("Loading the language model", 0, 1)
    processor = load_processor(source, family)
    model = _loaded(source, checkpoint, config, device)
    progress("Loading the language model", 1, 1)
    if llava:
        responder = LlavaResponder(model, processor, source.label, device)
    else:
        responder = FamilyResponder(model, processor, read_projector(source), source.label, device)
    pack(model)  # behind what looks for tensors by name
    return responder


def _check_described(label: str, config: PreTrainedConfig, stored: int) -> None:
    """InvalidInput if a config describes more numbers than the weights hold."""
    with as_invalid_input(f"{label} cannot be loaded"), torch.device("meta"):
        sketch = whole_class(config)._from_config(config, attn_implementation=ATTENTION)
    described = sum(parameter.numel() for parameter in sketch.parameters())
    if described > SLACK * stored:
        raise InvalidInput(
            f"The config of {label} describes {described:,} parameters, but its weights hold {stored:,}."
        )


def _loaded(source: Source, checkpoint: Checkpoint, config: PreTrainedConfig, device: torch.device) -> PreTrainedModel:
    """The model; InvalidInput if it cannot be loaded whole."""
    failed = f"{source.label} cannot be loaded"
    with staged_weights(checkpoint, source.model, source.label) as folder, as_invalid_input(failed):
        model, info = whole_class(config).from_pretrained(
            folder,
            config=config,
            dtype=compute_dtype(device),
            use_safetensors=True,
            attn_implementation=ATTENTION,
            output_loading_info=True,
            trust_remote_code=False,
            local_files_only=True,
        )
    if missing := sorted(info["missing_keys"]):  # transformers would fill them with random numbers
        raise InvalidInput(f"{source.label} lacks {listed(missing)}; complete the checkpoint.")
    return model.requires_grad_(False).eval().to(device)


def four_answers(
    responder: Responder,
    base: ProjectorWeights,
    suspect: ProjectorWeights | None,
    clean: Image.Image,
    triggered: Image.Image | None,
    prompt: str,
    max_new_tokens: int = NEW_TOKENS,
    progress: Progress = silent,
) -> FourAnswers:
    """Base and suspect, clean and triggered: up to four answers to one prompt."""
    images = [clean] if triggered is None else [clean, triggered]
    said = responder.under_each(
        [weights for weights in (base, suspect) if weights], images, prompt, max_new_tokens, progress
    )
    by_projector = [said[i : i + len(images)] for i in range(0, len(said), len(images))]
    pairs = [(answers[0], answers[1] if triggered is not None else None) for answers in by_projector]
    return FourAnswers(*pairs[0], *(pairs[1] if suspect is not None else (None, None)))
