"""The vision side of any family that transformers loads: the model without its language model, and its tokens."""

import inspect
import json
import math
from collections.abc import Sequence
from typing import Any

import torch
from PIL import Image
from transformers import (
    AutoModel,
    BaseImageProcessor,
    PreTrainedConfig,
    PreTrainedModel,
)

from projlens_core.activations.around import check_fetched
from projlens_core.activations.config import whole_class
from projlens_core.activations.layout import TokenMap, in_reading_order
from projlens_core.activations.plans import NO_PLAN, PLANS, FamilyPlan
from projlens_core.activations.tower import check_complete, read_finite
from projlens_core.activations.vision import PROBE_SIZE, PreparedImage, check_aspect
from projlens_core.errors import InvalidInput, Unsupported, as_invalid_input
from projlens_core.runtime.cache import content_key
from projlens_core.weights.checkpoint import Checkpoint
from projlens_core.weights.families import Family, match
from projlens_core.weights.layer import INSTRUCTION_IDS
from projlens_core.weights.names import bare, shed
from projlens_core.weights.own_parts import TOWERS

MAX_PIXELS = 2**24  # that one image may be scaled up to
MIN_TILE = 128  # px, for which a smaller tile counts: all arrangements of tiles are tried
_NOT_RUN = (
    "language_model.",
    "text_model.",
    "lm_head.",
    "vqmodel.",
    "generation_",
    "audio",
)  # what no image is read with, anywhere in a name
_TEXT = ("embed_tokens.", "norm.")  # the same, where a name begins with it
_NO_MATTER = ("text_config", "audio_config", "dtype", "_name_or_path")  # of a config, to what an image is read as
# Phi-4's audio encoder, which cannot be left out, as small as it can be made
_SILENT = {
    "num_blocks": 0,
    "hidden_size": 8,
    "num_attention_heads": 1,
    "nemo_conv_channels": 8,
    "ext_pw_out_channel": 8,
}
SLACK = 1.05  # of parameters that a config may describe beyond those that are stored


class FamilyVision:
    """A model's vision side: images → the tokens its projector's first layer reads.

    key identifies all that decides the tokens, for use in caches. grid and tokens depend on the image here and are
    None; `layout` says them for an image size. d_vision is the width of one token.
    """

    grid = None
    tokens = None

    def __init__(
        self, model: PreTrainedModel, processor: BaseImageProcessor, family: Family, label: str, device: torch.device
    ):
        self.model, self.processor, self.family, self.label, self.device = model, processor, family, label, device
        self.plan: FamilyPlan = PLANS[family.name]
        found = match(model.state_dict().keys(), model.config.model_type, label, family.name)
        stored = [found.tensors[name] for name in family.entrances]
        paths = [name.rpartition(".")[0] for name in stored]
        if not family.layers[0].entrance:  # the module around both is what the tokens enter
            paths = [path.rpartition(".")[0] for path in paths]
        self._entrances = [model.get_submodule(path) for path in paths]
        self.d_vision: int = sum(model.state_dict()[name].shape[-1] for name in stored)
        read = self.plan.reads(model)
        if read is None:
            raise Unsupported(f"{label} is a model of type {model.config.model_type!r}, which reads videos alone.")
        self._read = read
        self._reads = inspect.signature(self._read).parameters  # processors tell more than models read
        # what lies beside the projector may still have a part in what reaches it
        towers = {name for name in model.state_dict() if bare(name).startswith(TOWERS)}
        self._towers = (towers | found.upstream) - set(found.tensors.values())
        check_sizes(processor, self.plan, label)
        self.layout(PROBE_SIZE)  # an ordinary image must go through
        self.key = self._key()

    def layout(self, size: tuple[int, int]) -> TokenMap:
        """Where the embeddings of an image of `size` (width, height, px) come from."""
        return self.laid_out(self.prepared(Image.new("RGB", size)))

    def encode(self, images: Sequence[Image.Image]) -> list[torch.Tensor]:
        """Tokens of each image, float32 on the CPU: (tokens, d_vision), merged ones beside each other, those of tiles
        in reading order. Uncached.

        Raises InvalidInput for an image more than a hundred times as long as wide.
        """
        return [self._encode(image.convert("RGB")) for image in images]

    def _encode(self, image: Image.Image) -> torch.Tensor:
        prepared = self.prepared(image)
        seen: list[list[torch.Tensor]] = [[] for _ in self._entrances]
        hooks = [
            module.register_forward_pre_hook(
                lambda _, args, named, read=read: read.append([*args, *named.values()][0]), with_kwargs=True
            )
            for module, read in zip(self._entrances, seen, strict=True)
        ]
        try:
            self.features(prepared)
        finally:
            for hook in hooks:
                hook.remove()
        joined = torch.cat([torch.cat(read) for read in seen], dim=-1)
        tokens = self.plan.arrange(joined.cpu(), prepared, self.model)
        tokens = tokens if self.plan.own is None else tokens[self.plan.own(prepared, self.model)]
        order = self.laid_out(prepared).order
        if order is not None:  # of what the projector puts out, each of as many tokens
            tokens = tokens.unflatten(0, (len(order), -1))[torch.from_numpy(order)].flatten(0, 1)
        return tokens.float()

    def features(self, prepared: PreparedImage) -> Any:
        """What the model makes of an image; `pooler_output` holds its embeddings and what stands between them, of one
        tensor or of several.

        InvalidInput if image and model do not fit.
        """
        with as_invalid_input(f"The vision tower of {self.label} fails on an image"), torch.no_grad():
            return self._read(**self.tensors(prepared))

    def laid_out(self, prepared: PreparedImage) -> TokenMap:
        """See layout."""
        return in_reading_order(self.plan.lay_out(prepared, self.model, self.processor))

    def tensors(self, prepared: PreparedImage) -> dict[str, torch.Tensor]:
        """What the model is given of an image, on its device and in its precision."""
        return {
            name: value.to(self.device, self.model.dtype if value.is_floating_point() else None)
            for name, value in prepared.inputs.items()
            if isinstance(value, torch.Tensor) and name in self._reads
        }

    def prepared(self, image: Image.Image) -> PreparedImage:
        """The image as the family's processor makes it; InvalidInput if that fails.

        A model whose projector reads the question, too, is given INSTRUCTION with it.
        """
        check_aspect(image)
        with as_invalid_input(f"The image processor of {self.label} fails on an image"):
            made = self.processor(images=[image], return_tensors="pt", **self.plan.options(self.model.config))
            inputs = self.plan.finish(made, self.processor)
        if self.plan.question:
            inputs[self.plan.question] = torch.tensor([INSTRUCTION_IDS])
        return PreparedImage(inputs, image.size)

    def _key(self) -> str:
        settings = json.dumps(self.processor.to_dict(), sort_keys=True, default=str)
        parts: list[object] = [self.family.name, type(self.processor).__name__, settings, str(self.model.dtype)]
        about = {name: value for name, value in self.model.config.to_dict().items() if name not in _NO_MATTER}
        if self.model.config.get_text_config() is self.model.config:  # Phi-4's is about the language model besides
            about = about["vision_config"]
        parts.append(json.dumps(about, sort_keys=True, default=str))
        state = self.model.state_dict()
        for name in sorted(self._towers):
            values = state[name].cpu().contiguous().view(torch.uint8).numpy().data
            parts += [bare(name), tuple(state[name].shape), values]
        return content_key(*parts)


def check_runs(family: Family, label: str) -> None:
    """Unsupported, with the reason, for a family whose activations this version cannot take."""
    if reason := family.not_run or NO_PLAN.get(family.name):
        raise Unsupported(f"{label} is a {family.title} model, which is compared by its weights but not run: {reason}.")


def load_without_text(
    checkpoint: Checkpoint, config: PreTrainedConfig, family: Family, dtype: torch.dtype
) -> PreTrainedModel:
    """The model that the config describes, without layers or vocabulary of its language model, on the CPU.

    Only tensors of the vision tower and the projector are read. transformers would fill what is missing with random
    numbers; here that is InvalidInput, and so are shapes that do not fit, NaN and infinity.
    """
    text = config.get_text_config()
    text.num_hidden_layers, text.vocab_size, text.pad_token_id = 0, 8, None
    if text.is_encoder_decoder:
        text.num_decoder_layers = 0
    if getattr(text, "additional_vocab_size", None) is not None:
        text.additional_vocab_size = 0
    if getattr(text, "layer_types", None) is not None:
        text.layer_types = []
    audio = getattr(config, "audio_config", None)
    if audio is not None:
        config.audio_config = type(audio)(**_SILENT) if hasattr(audio, "num_blocks") else None
    projector = match(checkpoint.names, config.model_type, checkpoint.label, family.name).stored
    names = [name for name in checkpoint.names if name in projector or bare(name).startswith(TOWERS)]
    failed = f"The vision tower of {checkpoint.label} cannot be loaded"
    with as_invalid_input(failed), torch.device("meta"):
        sketch = AutoModel.from_config(config, attn_implementation="sdpa")
    described = sum(p.numel() for p in sketch.parameters())
    held = sum(math.prod(checkpoint.info(name).shape) for name in names)
    spare = sum(p.numel() for name, p in sketch.named_parameters() if _unread(name))
    if described - spare > SLACK * held:
        raise InvalidInput(
            f"The config of {checkpoint.label} describes a vision tower and projector of {described - spare:,} "
            f"parameters, but its weights hold {held:,}."
        )
    check_fetched(checkpoint, names, "vision tower")
    tensors = {shed(name): read_finite(checkpoint, name, dtype) for name in names}
    if len(tensors) < len(names):
        raise InvalidInput(
            f"{checkpoint.label} holds tensors of its vision tower under several names that mean the same; keep one."
        )
    with as_invalid_input(failed):
        loaded: Any = whole_class(config).from_pretrained(
            None,
            config=config,
            state_dict=tensors,
            dtype=dtype,
            attn_implementation="sdpa",
            output_loading_info=True,
        )
        model, info = loaded  # a pair, since it is asked for what was missing
    missing = {name for name in info["missing_keys"] if not _unread(name)}
    check_complete(missing, set(info["unexpected_keys"]), checkpoint.label)
    return vision_side(model).requires_grad_(False).eval()


def _unread(name: str) -> bool:
    return any(part in name for part in _NOT_RUN) or bare(name).startswith(_TEXT)


def vision_side(model: PreTrainedModel) -> PreTrainedModel:
    """The part of a whole model that reads images."""
    return getattr(model, "model", model)  # BLIP-2 has no part of its own for it


def check_sizes(processor: Any, plan: FamilyPlan, label: str) -> None:
    """InvalidInput for preprocessing that would scale an image up beyond all use."""

    def refused(has: str) -> InvalidInput:
        return InvalidInput(f"The image processor of {label} has {has} {MAX_PIXELS} pixels in all.")

    for name in ("size", "crop_size", "max_image_size", "high_res_size"):
        for key, value in dict(getattr(processor, name, None) or {}).items():
            limit = MAX_PIXELS if plan.pixels else int(MAX_PIXELS**0.5)
            # the longest of the sides, where pixels are counted, only bounds from above
            if value is not None and key != "longest_edge" * plan.pixels and not 0 < value <= limit:
                raise InvalidInput(f"The image processor of {label} has {name} {key} {value}, expected up to {limit}.")
    side = getattr(processor, "scale_resolution", None)
    if side is not None:
        given = side, processor.patch_size, processor.max_slice_nums
        if any(type(v) is not int or v < 1 for v in given) or max(side, 4 * given[1]) ** 2 * given[2] > MAX_PIXELS:
            raise refused("scale_resolution {!r}, patch_size {!r} and max_slice_nums {!r}, beyond".format(*given))
    # of tiles; where it is patches that an image is made smaller to, sizes have no height
    side = dict(getattr(processor, "size", None) or {}).get("height")
    for name in ("max_patches", "max_crops", "max_image_tiles", "dynamic_hd"):
        most = getattr(processor, name, None)
        if most is None or side is None:
            continue
        if type(most) is not int or not 0 < most * max(side, MIN_TILE) ** 2 <= MAX_PIXELS:
            raise refused(f"{name} {most!r}, expected up to")
    area = getattr(processor, "max_soft_tokens", None)
    for name in ("pooling_kernel_size", "patch_size"):
        if area is None:
            break
        side = getattr(processor, name, None)
        if type(side) is not int or not 0 < side**2 * area <= MAX_PIXELS:
            raise refused(f"{name} {side!r}, beyond")
        area *= side**2
