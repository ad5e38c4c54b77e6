"""Projectors that read a whole image through learned queries: transformers' own modules, as large as their tensors."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from transformers.models.blip_2.configuration_blip_2 import Blip2QFormerConfig
from transformers.models.blip_2.modeling_blip_2 import Blip2QFormerModel
from transformers.models.idefics2.configuration_idefics2 import Idefics2PerceiverConfig
from transformers.models.idefics2.modeling_idefics2 import Idefics2PerceiverResampler
from transformers.models.instructblip.configuration_instructblip import InstructBlipQFormerConfig
from transformers.models.instructblip.modeling_instructblip import InstructBlipQFormerModel

from projlens_core.errors import InvalidInput, as_invalid_input
from projlens_core.runtime.text import listed
from projlens_core.weights.layer import INSTRUCTION_IDS, Layer

if TYPE_CHECKING:
    from projlens_core.weights.projector import ProjectorWeights

Tensors = dict[str, torch.Tensor]  # by their names in the module


class Perceiver(Idefics2PerceiverResampler):
    """Idefics2's: (n, T, d) → (n, queries, d). The queries attend to the tokens and to themselves."""

    @classmethod
    def sized(cls, tensors: Tensors, settings: Mapping[str, Any]) -> "Perceiver":
        """With empty parameters of the sizes of `tensors`; settings are those of the config."""
        queries, width = tensors["latents"].shape
        heads, keys = (tensors[f"layers.0.self_attn.{name}_proj.weight"].shape[0] for name in "qk")
        head = settings["resampler_head_dim"]
        if heads % keys:
            raise ValueError(f"{heads} rows of queries for {keys} of keys")
        config = Idefics2PerceiverConfig(
            hidden_size=width,
            resampler_n_latents=queries,
            resampler_depth=_blocks(tensors, "layers"),
            resampler_n_heads=heads // head,
            num_key_value_heads=keys // head,
            **settings,
        )
        return cls._from_config(config, attn_implementation="sdpa")

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """The image embeddings of all tokens."""
        return super().forward(tokens, torch.ones(tokens.shape[:2], dtype=torch.long, device=tokens.device))


class QFormer(Blip2QFormerModel):
    """BLIP-2's: (n, T, d_vision) → (n, queries, d). Some of its blocks let the queries attend to the tokens."""

    def __init__(self, config: Blip2QFormerConfig, queries: int):
        super().__init__(config)
        self.query_tokens = nn.Parameter(torch.empty(1, queries, config.hidden_size))

    @classmethod
    def sized(cls, tensors: Tensors, settings: Mapping[str, Any]) -> "QFormer":
        """With empty parameters of the sizes of `tensors`; settings are those of the config."""
        config = Blip2QFormerConfig(**_qformer_sizes(tensors), **settings)
        return cls._from_config(config, queries=tensors["query_tokens"].shape[1], attn_implementation="sdpa")

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """What the queries become when they have read all tokens."""
        return (
            super()
            .forward(
                query_embeds=self.query_tokens.expand(len(tokens), -1, -1),
                encoder_hidden_states=tokens,
                encoder_attention_mask=torch.ones(tokens.shape[:2], dtype=torch.long, device=tokens.device),
            )
            .last_hidden_state
        )


class InstructedQFormer(InstructBlipQFormerModel):
    """InstructBLIP's: as BLIP-2's, and the queries attend to the words of a question, too; here always INSTRUCTION."""

    question: torch.Tensor  # (1, T) of its tokens

    def __init__(self, config: InstructBlipQFormerConfig, queries: int):
        super().__init__(config)
        self.query_tokens = nn.Parameter(torch.empty(1, queries, config.hidden_size))
        # on the CPU, since everything is built on a device without values, which only weights get
        self.register_buffer("question", torch.tensor([INSTRUCTION_IDS], device="cpu"), persistent=False)
        self.embeddings.position_ids = torch.arange(config.max_position_embeddings, device="cpu")[None]

    @classmethod
    def sized(cls, tensors: Tensors, settings: Mapping[str, Any]) -> "InstructedQFormer":
        """With empty parameters of the sizes of `tensors`; settings are those of the config."""
        words, positions = (len(tensors[f"embeddings.{name}_embeddings.weight"]) for name in ("word", "position"))
        if words <= max(INSTRUCTION_IDS) or positions < len(INSTRUCTION_IDS):
            raise ValueError(f"{words} words and {positions} positions are too few for the question it is given")
        config = InstructBlipQFormerConfig(
            vocab_size=words, max_position_embeddings=positions, **_qformer_sizes(tensors), **settings
        )
        return cls._from_config(config, queries=tensors["query_tokens"].shape[1], attn_implementation="sdpa")

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """What the queries become when they have read all tokens and the question."""
        queries = self.query_tokens.expand(len(tokens), -1, -1)
        question = self.question.expand(len(tokens), -1)
        read = queries.shape[1] + question.shape[1]
        return (
            super()
            .forward(
                input_ids=question,
                attention_mask=torch.ones(len(tokens), read, dtype=torch.long, device=tokens.device),
                query_embeds=queries,
                encoder_hidden_states=tokens,
                encoder_attention_mask=torch.ones(tokens.shape[:2], dtype=torch.long, device=tokens.device),
            )
            .last_hidden_state[:, : queries.shape[1]]
        )


_KINDS: dict[str, type[Perceiver] | type[QFormer] | type[InstructedQFormer]] = {
    "perceiver": Perceiver,
    "qformer": QFormer,
    "instructed_qformer": InstructedQFormer,
}


def resampler(layer: Layer, weights: "ProjectorWeights") -> nn.Module:
    """The module of one layer, of the sizes that its tensors have; InvalidInput where they are no such layer's."""
    prefix = f"{layer.name}."
    tensors = {n.removeprefix(prefix): t for n, t in weights.tensors.items() if n.startswith(prefix)}
    settings = {key: weights.settings[prefix + key] for key in layer.config or {}}
    with as_invalid_input(f"The tensors of {layer.name} in {weights.source} make no {layer.kind}"):
        made = _KINDS[layer.kind].sized(tensors, settings)
    wanted = {name: tuple(tensor.shape) for name, tensor in made.state_dict().items()}
    found = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    if wrong := sorted(name for name in wanted.keys() | found.keys() if wanted.get(name) != found.get(name)):
        raise InvalidInput(
            f"The tensors of {layer.name} in {weights.source} do not fit each other or its config: {listed(wrong)}."
        )
    return made


def _qformer_sizes(tensors: Tensors) -> dict[str, Any]:
    """What the shapes say of a Q-Former's config."""
    hidden, width = tensors["encoder.layer.0.crossattention.attention.key.weight"].shape
    return {
        "hidden_size": hidden,
        "encoder_hidden_size": width,
        "num_hidden_layers": _blocks(tensors, "encoder.layer"),
        "intermediate_size": tensors["encoder.layer.0.intermediate_query.dense.weight"].shape[0],
    }


def _blocks(tensors: Tensors, module: str) -> int:
    """How many blocks there are tensors of, whatever numbers they claim."""
    depth = module.count(".") + 1
    return len({name.split(".")[depth] for name in tensors if name.startswith(f"{module}.")})
