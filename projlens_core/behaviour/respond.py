"""What a model answers: loaded whole, one in memory, and the projectors take turns in it."""

import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from transformers import LlavaForConditionalGeneration, PreTrainedConfig, PreTrainedModel

from projlens_core.activations.around import whole_folder
from projlens_core.activations.config import open_family, whole_class
from projlens_core.activations.staging import staged_weights
from projlens_core.behaviour.adapted import AdaptedWeights
from projlens_core.behaviour.family import FamilyResponder, check_asked
from projlens_core.behaviour.generate import Heard
from projlens_core.behaviour.llava import LlavaResponder
from projlens_core.behaviour.packed import pack
from projlens_core.behaviour.processors import load_processor
from projlens_core.behaviour.prompts import STYLES
from projlens_core.behaviour.responder import NEW_TOKENS, Parts, Responder
from projlens_core.behaviour.templates import NO_CHAT, Template, read_template
from projlens_core.errors import InvalidInput, Unsupported, as_invalid_input
from projlens_core.runtime.device import compute_dtype, pick_device
from projlens_core.runtime.progress import Progress, silent
from projlens_core.runtime.required import required
from projlens_core.runtime.text import listed
from projlens_core.sources import Source, resolve
from projlens_core.weights.adapter import AdaptedCheckpoint
from projlens_core.weights.checkpoint import Checkpoint
from projlens_core.weights.folder import LocalFolder
from projlens_core.weights.projector import ProjectorWeights, read_projector

ATTENTION = "sdpa"  # given, since a config may name a kernel that would be fetched from elsewhere
# How many more parameters a config may describe than its weights hold: buffers and a tied head, not a larger model.
SLACK = 1.05
ADAPTER = "vision-lora"  # the folder in which Phi-4's release keeps what its language model learnt for images


@dataclass(frozen=True)
class FourAnswers:
    """One question, answered with base's, suspect's and perhaps control's projector about clean and triggered image.

    What was not asked (no suspect, no control, no trigger) is None.
    """

    base_clean: str
    base_triggered: str | None
    suspect_clean: str | None
    suspect_triggered: str | None
    templates: Mapping[str, Template]  # by role, with which its prompts were written
    control_clean: str | None = None
    control_triggered: str | None = None

    @classmethod
    def of(cls, said: Mapping[str, Sequence[str]], templates: Mapping[str, Template]) -> "FourAnswers":
        """Of the answers by role, about the clean image and, if there is one, the triggered."""
        base, suspect, control = ((*said.get(role, ()), None, None) for role in ("base", "suspect", "control"))
        return cls(said["base"][0], base[1], suspect[0], suspect[1], templates, control[0], control[1])

    @property
    def texts(self) -> list[str]:
        """The answers that were given: base's, the suspect's, the control's, each clean and triggered."""
        said = (
            *(self.base_clean, self.base_triggered, self.suspect_clean, self.suspect_triggered),
            *(self.control_clean, self.control_triggered),
        )
        return [text for text in said if text is not None]

    @property
    def template(self) -> Template:
        """Base's, which is the suspect's too unless that brings a model of its own."""
        return self.templates["base"]


def load_responder(
    source: Source | str,
    device: torch.device | str | None = None,
    progress: Progress = silent,
    base: Source | None = None,
    texts: Source | None = None,
) -> Responder:
    """Load a whole model from safetensors, none of the checkpoint's code: half precision on a GPU, else float32.

    For zoo:NAME the zoo's checkpoint is put together first, once. base: the whole model that `source` is an adapter
    on. texts: whose tokenizer, chat template and image processor are used, if not its own. Raises InvalidInput or
    Unsupported, in one sentence, if the model cannot be run exactly as its files say, missing tensors included.
    """
    source = whole_folder(source if isinstance(source, Source) else resolve(source), progress)
    base = None if base is None else whole_folder(base, progress)
    checkpoint, config, family = open_family(source, base)
    texts = texts or base or source
    adapted = checkpoint.touched if isinstance(checkpoint, AdaptedCheckpoint) else frozenset()
    files = {checkpoint.info(name).file.name for name in checkpoint.names if name not in adapted}
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
        if ((base or source).folder / ADAPTER).exists():
            raise Unsupported(
                f"{source.label} keeps part of its language model in an adapter ({ADAPTER}), which is not loaded with "
                "it; merge it into the model first."
            )
    _check_described(source.label, config, stored)
    template = NO_CHAT
    if llava or not STYLES[family.name].whole:
        template = read_template(LocalFolder(texts.folder, texts.label), family.name)
    progress("Loading the language model", 0, 1)
    processor = load_processor(texts, family)
    model = _loaded(source, base, checkpoint, config, device)
    progress("Loading the language model", 1, 1)
    responder: Responder
    if isinstance(processor, Parts):
        own = read_projector(source, base)
        responder = FamilyResponder(model, processor, own, template, source.label, device)
    elif isinstance(model, LlavaForConditionalGeneration):
        responder = LlavaResponder(model, processor, template, source.label, device)
    else:
        raise TypeError(f"a llava config was loaded as {type(model).__name__}")
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


def _loaded(
    source: Source, base: Source | None, checkpoint: Checkpoint, config: PreTrainedConfig, device: torch.device
) -> PreTrainedModel:
    """The model of a folder's weights, or of a base's with an adapter's changes; InvalidInput if it is not whole, and
    errors as AdaptedWeights.finish."""
    if isinstance(checkpoint, AdaptedCheckpoint):
        weights = AdaptedWeights(checkpoint, required(base, "the base of an adapter"))
        model, unexpected = _whole(source.label, None, config, device, state_dict=weights.tensors)
        weights.finish(model, unexpected)
    else:
        with staged_weights(checkpoint, source.folder, source.label) as folder:
            model, _ = _whole(source.label, folder, config, device, use_safetensors=True)
    return model.requires_grad_(False).eval().to(device)


def _whole(
    label: str, folder: Path | None, config: PreTrainedConfig, device: torch.device, **given: Any
) -> tuple[PreTrainedModel, list[str]]:
    """The model that transformers makes of what is given, and the names for which it has no place."""
    with as_invalid_input(f"{label} cannot be loaded"):
        loaded: Any = whole_class(config).from_pretrained(
            folder,
            config=config,
            dtype=compute_dtype(device),
            attn_implementation=ATTENTION,
            output_loading_info=True,
            trust_remote_code=False,
            local_files_only=True,
            **given,
        )
    model, info = loaded  # a pair, since it is asked for what was missing
    if missing := sorted(info["missing_keys"]):  # transformers would fill them with random numbers
        raise InvalidInput(f"{label} lacks {listed(missing)}; complete the checkpoint.")
    return model, list(info["unexpected_keys"])


def answers_by_role(
    owners: Mapping[str, str],
    models: Callable[[str], AbstractContextManager[Responder]],
    projectors: Mapping[str, ProjectorWeights],
    images: Sequence[Image.Image],
    prompt: str,
    max_new_tokens: int = NEW_TOKENS,
    progress: Progress = silent,
    heard: Callable[[str, int, str], None] | None = None,
) -> tuple[dict[str, list[str]], dict[str, Template]]:
    """One prompt about each image under each role's projector: {role: answers}, {role: the template it was asked with}.

    owners says whose model answers for a role, models opens it; roles of one model are answered for together, and a
    model is done with before the next is opened. heard is told (role, number of the image, answer so far) as they grow.
    """
    said: dict[str, list[str]] = {}
    templates: dict[str, Template] = {}
    for owner in dict.fromkeys(owners.values()):
        roles = [role for role in projectors if owners[role] == owner]
        with models(roles[0]) as responder:
            by_role = _by_role(heard, roles, len(images)) if heard else None
            weights = [projectors[role] for role in roles]
            texts = responder.under_each(weights, images, prompt, max_new_tokens, progress, by_role)
            templates |= dict.fromkeys(roles, responder.template)
        said |= {role: texts[i * len(images) : (i + 1) * len(images)] for i, role in enumerate(roles)}
    return {role: said[role] for role in projectors}, {role: templates[role] for role in projectors}


def _by_role(heard: Callable[[str, int, str], None], roles: Sequence[str], images: int) -> Heard:
    return lambda number, text: heard(roles[number // images], number % images, text)
