"""How a language model turns a state into words: final norm, output head and token embeddings, and nothing else.

Of a checkpoint only these few tensors are read, by their bytes where it lies on the Hub; no layer of the
language model is loaded or run.
"""

import re
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import torch

from projlens_core.activations.around import check_fetched, model_folder
from projlens_core.errors import InvalidInput, Unsupported
from projlens_core.runtime.progress import Progress, silent
from projlens_core.runtime.required import required
from projlens_core.runtime.text import listed
from projlens_core.sources import Source, resolve
from projlens_core.weights.adapter import MergedCheckpoint
from projlens_core.weights.checkpoint import Checkpoint
from projlens_core.weights.opening import open_checkpoint
from projlens_core.weights.stored import FLOATS, is_finite

ROWS_AT_ONCE = 16_384  # of a table, upcast to float32 at a time: 256 MB at width 4096
# All the places where transformers, old and new, and the original LLaVA keep the text model inside a checkpoint.
_TEXT = r"(?:model\.)?(?:language_model\.|text_model\.)?(?:model\.)?(?:decoder\.)?"
_NORM = rf"^(?:{_TEXT}(?:norm|final_layer_?norm)|model\.transformer\.ln_f)"
_NAMES = {
    "token embeddings": re.compile(rf"^(?:{_TEXT}embed_tokens\.weight|model\.transformer\.wte\.embedding)$"),
    "final norm": re.compile(rf"{_NORM}\.weight$"),
    "output head": re.compile(r"^(?:model\.)?(?:language_model\.)?lm_head\.weight$"),
    "final norm's bias": re.compile(rf"{_NORM}\.bias$"),
    "embeddings of added tokens": re.compile(r"^model\.transformer\.wte\.new_embedding$"),  # Molmo
}
_REQUIRED = ("token embeddings", "final norm")
_BETWEEN = re.compile(rf"^{_TEXT}project_out\.weight$")  # between the norm and the head of two of the OPTs


@dataclass(frozen=True)
class TextFamily:
    """How one kind of language model ends, where the tensors do not say it.

    offset: the final norm multiplies by offset + weight. centred: it is a LayerNorm and takes the mean away first;
    all others are RMSNorms. scaled: embed_tokens multiplies its rows by √d. softcap and tied: what holds where the
    config is silent about final_logit_softcapping and tie_word_embeddings.
    """

    offset: float = 0.0
    centred: bool = False
    scaled: bool = False
    softcap: float | None = None
    tied: bool = False


# By the model_type of the text config; Phi-4's and Qwen2-VL's older configs have no text config of their own.
_PLAIN = (
    "llama", "mistral", "qwen2", "qwen2_vl", "qwen2_vl_text", "qwen2_5_vl", "qwen2_5_vl_text", "qwen3", "qwen3_vl_text",
    "ministral3", "llama4_text", "deepseek_v3", "glm4v_text", "molmo2_text", "gpt_oss", "phi4_multimodal",
)  # fmt: skip
FAMILIES = {
    **dict.fromkeys(_PLAIN, TextFamily()),
    "qwen3_5_text": TextFamily(offset=1.0),
    "gemma": TextFamily(offset=1.0, scaled=True, tied=True),
    "gemma2": TextFamily(offset=1.0, scaled=True, softcap=30.0, tied=True),
    "gemma3_text": TextFamily(offset=1.0, scaled=True, tied=True),
    **dict.fromkeys(("gemma4_text", "gemma4_unified_text"), TextFamily(scaled=True, tied=True)),
    **dict.fromkeys(("cohere", "cohere2", "opt"), TextFamily(centred=True, tied=True)),
    "persimmon": TextFamily(centred=True),
}
# Those that read images by cross-attention: no image embedding is ever a state that their heads could read.
_CROSSED = ("mllama_text_model",)


@dataclass(frozen=True)
class LanguageHead:
    """What reads words out of states (unembedding), and what words are read in as (embedding).

    Tables keep their stored dtype, since in float32 those of a large model take gigabytes; products are float32.
    """

    embedding: torch.Tensor  # (V, d) rows of embed_tokens as stored, without embed_scale
    unembedding: torch.Tensor  # (V, d) rows of lm_head; the same tensor as embedding where the two are tied
    gain: torch.Tensor  # (d,) float32: what the final norm multiplies by, its offset included
    softcap: float | None  # logits are softcap · tanh(logits / softcap)
    embed_scale: float  # what embed_tokens multiplies its rows by: √d for Gemma, else 1
    family: str  # the text config's model_type
    label: str
    notes: tuple[str, ...]
    bytes_read: int
    centred: bool = False  # whether the final norm takes the mean away
    bias: torch.Tensor | None = None  # (d,) float32: what the final norm adds

    @property
    def width(self) -> int:
        """d: of a state, and of an image embedding."""
        return self.embedding.shape[1]

    @property
    def vocabulary(self) -> int:
        """V: how many tokens are ranked, those included that the tokenizer never uses."""
        return self.unembedding.shape[0]

    @property
    def tied(self) -> bool:
        """Whether words are read out with the table they are read in with."""
        return self.unembedding is self.embedding

    def logits(self, directions: torch.Tensor, normed: bool = True) -> torch.Tensor:
        """The head's logits of directions (n, d), whose length does not count: (n, V) float32.

        normed: each passes through the final norm first, at the scale at which the norm's ε vanishes: the logits of a
        last state that points this way. Otherwise lm_head reads the unit vector itself, as the paper does.
        """
        read = directions.float()
        if normed and self.centred:
            read = read - read.mean(dim=-1, keepdim=True)
        state = torch.nn.functional.normalize(read, dim=-1)  # (n, d)
        if normed:
            state = state * self.width**0.5 * self.gain + (0.0 if self.bias is None else self.bias)
        logits = _products(self.unembedding, state)
        return logits if self.softcap is None else self.softcap * torch.tanh(logits / self.softcap)

    def cosines(self, directions: torch.Tensor) -> torch.Tensor:
        """Cosine of each direction (n, d) with each token's embedding: (n, V); 0 where the embedding is zero."""
        unit = torch.nn.functional.normalize(directions.float(), dim=-1)
        norms = self.embedding_norms
        return _products(self.embedding, unit) / norms.where(norms > 0, torch.inf)

    @cached_property
    def embedding_norms(self) -> torch.Tensor:
        """Norms (V,) of the stored embedding rows; the language model reads embed_scale times as much."""
        return torch.cat([rows.float().norm(dim=1) for rows in self.embedding.split(ROWS_AT_ONCE)])


def read_head(source: Source | str | Path, progress: Progress = silent, base: Source | None = None) -> LanguageHead:
    """Read the head of the language model in a checkpoint folder; for zoo:NAME of the zoo's, put together on first use.

    base: the whole model that `source` is an adapter on.
    Errors as open_checkpoint; Unsupported for language models whose ending is not known here and for quantised
    tensors; InvalidInput where tensors are missing, ambiguous, not finite, do not fit each other, or are more than is
    fetched from the Hub.
    """
    source = source if isinstance(source, Source) else resolve(source)
    lying = model_folder(source if base is None else base, progress)
    checkpoint = open_checkpoint(replace(lying, weights=lying.folder))
    if base is not None:
        checkpoint = open_checkpoint(source, replace(lying, weights=lying.folder))
    if isinstance(checkpoint, MergedCheckpoint):
        checkpoint.check_head()
    raw = checkpoint.config or {}
    text = raw.get("text_config", raw)
    if not isinstance(text, dict):
        raise InvalidInput(f"The config of {checkpoint.label} has a text_config that is not an object.")
    name = text.get("model_type")
    if name in _CROSSED:
        raise Unsupported(
            f"{checkpoint.label} reads images by cross-attention: its image embeddings are never states of the "
            "language model, so its output head says nothing about where they are pushed."
        )
    if not isinstance(name, str) or name not in FAMILIES:
        raise Unsupported(
            f"{checkpoint.label} has a language model of type {str(name)[:80]!r}, whose output head is not known here; "
            f"the lens reads {', '.join(FAMILIES)}."
        )
    family = FAMILIES[name]
    if between := [each for each in checkpoint.names if _BETWEEN.match(each)]:
        raise Unsupported(
            f"{checkpoint.label} has {between[0]} before its output head, which the lens does not follow."
        )
    parts = {what: _only(checkpoint, what) for what in _NAMES}
    fetched = check_fetched(checkpoint, filter(None, parts.values()), "output head")
    progress("Reading the language model's output head", 0, 1)
    embedding = _read(checkpoint, required(parts["token embeddings"], "the token embeddings"), 2)
    if added := parts["embeddings of added tokens"]:
        embedding = torch.cat([embedding, _read(checkpoint, added, 2)])
    norm = _read(checkpoint, required(parts["final norm"], "the final norm"), 1)
    bias = _read(checkpoint, stored, 1) if (stored := parts["final norm's bias"]) else None
    unembedding, notes = _unembedding(checkpoint, parts["output head"], embedding, _tied(raw, text, family))
    if fetched:
        notes += (f"Of {checkpoint.label}, {fetched:,} bytes were fetched from the Hub for the output head.",)
    if not embedding.shape[1] == unembedding.shape[1] == norm.shape[0] == (norm if bias is None else bias).shape[0]:
        raise InvalidInput(
            f"Token embeddings {tuple(embedding.shape)}, output head {tuple(unembedding.shape)} and final norm "
            f"{tuple(norm.shape)} of {checkpoint.label} do not fit each other."
        )
    return LanguageHead(
        embedding=embedding,
        unembedding=unembedding,
        gain=family.offset + norm.float(),
        softcap=_softcap(text, family, checkpoint.label),
        embed_scale=embedding.shape[1] ** 0.5 if family.scaled else 1.0,
        family=name,
        label=checkpoint.label,
        notes=notes,
        bytes_read=checkpoint.bytes_read,
        centred=family.centred,
        bias=None if bias is None else bias.float(),
    )


def _only(checkpoint: Checkpoint, what: str) -> str | None:
    """The name of the one tensor that is `what`."""
    found = [name for name in checkpoint.names if _NAMES[what].match(name)]
    if len(found) > 1:
        raise InvalidInput(
            f"{checkpoint.label} holds {listed(found)}; which of them are the {what} is uncertain: keep one."
        )
    if not found and what in _REQUIRED:
        raise InvalidInput(
            f"{checkpoint.label} holds no {what} under a known name; the lens needs the whole checkpoint."
        )
    return found[0] if found else None


def _read(checkpoint: Checkpoint, name: str, dimensions: int) -> torch.Tensor:
    info = checkpoint.info(name)
    if info.dtype not in FLOATS:
        raise Unsupported(
            f"{checkpoint.label} stores {name} as {info.dtype}, expected {', '.join(FLOATS)}; "
            "give the checkpoint before quantisation."
        )
    if len(info.shape) != dimensions or 0 in info.shape:
        raise InvalidInput(f"{name} of {checkpoint.label} has shape {info.shape}, expected {dimensions} dimensions.")
    tensor = checkpoint.read(name)
    if not is_finite(tensor):
        raise InvalidInput(f"{name} of {checkpoint.label} holds NaN or infinity; no lens can read with it.")
    return tensor


def _unembedding(
    checkpoint: Checkpoint, name: str | None, embedding: torch.Tensor, tied: bool
) -> tuple[torch.Tensor, tuple[str, ...]]:
    """The table that words are read out with, `name` if it is stored, and what a reader has to know about it.

    A stored head wins over the config's word that there is none, as in transformers.
    """
    if name is None:
        if not tied:
            raise InvalidInput(
                f"{checkpoint.label} lacks lm_head.weight, and its config does not tie it to the token embeddings; "
                "complete the checkpoint."
            )
        return embedding, ()
    stored = _read(checkpoint, name, 2)
    if stored.shape == embedding.shape and torch.equal(stored, embedding):
        return embedding, ()
    said = f"The config of {checkpoint.label} ties {name} to the token embeddings, but both are stored and differ; "
    return stored, (said + "the stored head was used, as a loader does.",) if tied else ()


def _tied(raw: dict, text: dict, family: TextFamily) -> bool:
    """Whether the config ties the tables; releases say so for the whole model or for its text part."""
    said = [part["tie_word_embeddings"] for part in (raw, text) if isinstance(part.get("tie_word_embeddings"), bool)]
    return any(said) if said else family.tied


def _softcap(text: dict, family: TextFamily, label: str) -> float | None:
    value = text.get("final_logit_softcapping", family.softcap)
    if value is None:
        return None
    if type(value) not in (int, float) or not 0 < value < 1e6:
        raise InvalidInput(f"The config of {label} says final_logit_softcapping {value!r}, expected a positive number.")
    return float(value)


def _products(table: torch.Tensor, vectors: torch.Tensor) -> torch.Tensor:
    """vectors @ tableᵀ in float32: (n, d) and (V, d) → (n, V)."""
    return torch.cat([vectors @ rows.float().T for rows in table.split(ROWS_AT_ONCE)], dim=1)
