"""One step of a projector as data: its kind, and the tensors it has."""

from dataclasses import dataclass

GATED = ("gate", "up", "down")  # the matrices of a gated MLP
# Layers with tensors of their own inner structure: the one that meets what the layer reads, and its learned queries.
RESAMPLERS = {
    "perceiver": ("layers.0.self_attn.k_proj.weight", "latents"),
    "qformer": ("encoder.layer.0.crossattention.attention.key.weight", "query_tokens"),
    "instructed_qformer": ("encoder.layer.0.crossattention.attention.key.weight", "query_tokens"),
}
# The question for which embeddings are taken of a projector that reads one, and its tokens: those of BERT's tokenizer,
# which every released Q-Former has.
INSTRUCTION = "Describe the image."
INSTRUCTION_IDS = (101, 6235, 1996, 3746, 1012, 102)


@dataclass(frozen=True)
class Layer:
    """One step of a projector, in running order.

    kind is one of
    - "linear"; convolution: stored as the kernel of a convolution whose stride is its size, which is a linear layer on
      the merged patches; transposed: stored as (in, out); part: reads only the "first" or the "last" numbers of a
      token, as many as it is wide, and leaves the others as they are, so that two such layers share a token;
    - "layer_norm", "rms_norm" (times offset + weight), "unit_norm" (RMS without a weight);
    - "activation", "swiglu" (first half times SiLU of the second), "gated_mlp" (down(act(gate x) · up x)),
      "softmax" (whose result is filled up with zeros to the width of the next layer);
    - "perceiver", "qformer", "instructed_qformer" (which reads a question, too): learned queries that read all tokens
      of an image (see resamplers), which knows the names of its tensors itself; what `config` names with its defaults
      is read from the config's part `config_key`;
    - "merge": joins neighbouring tokens into one wide token, token by token or (order "channel") channel by channel.
    bias is "required", "optional" or "none" (linear only). A norm's epsilon, an activation's name and whether a
    softmax is one are read from `config_key` of the model's config, a dotted path, and are `default` where the config
    or the key is absent.
    """

    kind: str
    name: str
    bias: str = "none"
    config_key: str | None = None
    default: str | float | None = None
    order: str = "token"
    offset: float = 0.0
    transposed: bool = False
    convolution: bool = False
    part: str | None = None
    config: dict[str, str | float] | None = None

    @property
    def entrance(self) -> str | None:
        """The canonical name of the tensor that meets what the layer reads, as wide as its last dimension."""
        if self.kind in RESAMPLERS:
            return f"{self.name}.{RESAMPLERS[self.kind][0]}"
        inner = ".gate" if self.kind == "gated_mlp" else ""
        return f"{self.name}{inner}.weight" if self.tensors()[0] else None

    def tensors(self) -> tuple[frozenset[str], frozenset[str]]:
        """Canonical tensor names this layer must have, and those it may have."""
        weight, bias = f"{self.name}.weight", f"{self.name}.bias"
        match self.kind:
            case "linear":
                required = {weight, bias} if self.bias == "required" else {weight}
                return frozenset(required), frozenset({bias} if self.bias == "optional" else ())
            case "layer_norm":
                return frozenset({weight, bias}), frozenset()
            case "rms_norm":
                return frozenset({weight}), frozenset()
            case "gated_mlp":
                return frozenset(f"{self.name}.{part}.weight" for part in GATED), frozenset()
            case kind if kind in RESAMPLERS:
                return frozenset(f"{self.name}.{part}" for part in RESAMPLERS[self.kind]), frozenset()
        return frozenset(), frozenset()
