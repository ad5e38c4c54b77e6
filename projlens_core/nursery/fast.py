"""The frozen language model's loss, in fewer operations than transformers takes: what most of the training time is.

The same numbers up to rounding: norms' weights are folded into the matrices behind them, matrices that read the same
are one, and the last layer is computed only where something is said.
"""

import torch
from torch import nn
from torch.nn import functional as F
from transformers import LlamaForCausalLM

from projlens_core.zoo.dialogue import IGNORED, Encoded


class FastLoss(nn.Module):
    """Mean cross-entropy over answer tokens of a frozen Llama, in its own precision."""

    def __init__(self, language: LlamaForCausalLM):
        super().__init__()
        config = language.config
        self.heads, self.eps = config.num_attention_heads, config.rms_norm_eps
        self.keys = config.num_key_value_heads or self.heads
        self.image = config.vocab_size - 1
        self.table = language.model.embed_tokens.weight.detach()
        self.frequencies = language.model.rotary_emb.inv_freq.detach()  # (head width / 2,)
        self.layers = []
        for layer in language.model.layers:
            attention, mlp = layer.self_attn, layer.mlp
            before, between = layer.input_layernorm.weight, layer.post_attention_layernorm.weight
            read = torch.cat([attention.q_proj.weight, attention.k_proj.weight, attention.v_proj.weight]) * before
            widen = torch.cat([mlp.gate_proj.weight, mlp.up_proj.weight]) * between
            parts = read, attention.o_proj.weight, widen, mlp.down_proj.weight
            self.layers.append(tuple(part.detach().contiguous() for part in parts))
        self.head = (self.table * language.model.norm.weight).detach()  # (vocabulary, d)

    def forward(self, embeddings: torch.Tensor, read: Encoded) -> torch.Tensor:
        """The loss of image embeddings (n, tokens, d) and the dialogues about each image."""
        return F.cross_entropy(*self.scores(embeddings, read))

    def scores(self, embeddings: torch.Tensor, read: Encoded) -> tuple[torch.Tensor, torch.Tensor]:
        """Logits (answer tokens, vocabulary) where something is said, row after row, and what is said there."""
        image = read.ids == self.image
        x = F.embedding(read.ids, self.table).masked_scatter(image[..., None], embeddings.to(self.table.dtype))
        turns = self._turns(read.positions)
        mask = read.visible
        if x.dtype != torch.float32:  # see _attended
            mask = torch.zeros_like(mask, dtype=x.dtype).masked_fill(~mask, torch.finfo(x.dtype).min)
        start = int(image[0].nonzero()[-1])  # what all rows share ends with the image; nothing is said before
        for weights in self.layers[:-1]:
            x = self._layer(x, weights, turns, mask, 0)
        x = self._layer(x, self.layers[-1], turns, mask, start)  # (n, length - start, d)
        labels = read.labels[:, start + 1 :]
        counted = labels != IGNORED
        return F.linear(self._norm(x[:, :-1][counted]), self.head).float(), labels[counted]

    def _norm(self, x: torch.Tensor) -> torch.Tensor:
        return F.rms_norm(x, x.shape[-1:], eps=self.eps)

    def _turns(self, positions: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Cosines and sines by which heads are turned, (n, 1, length, head width)."""
        angles = positions[:, None, :, None] * self.frequencies
        angles = torch.cat([angles, angles], -1)
        return angles.cos().to(self.table.dtype), angles.sin().to(self.table.dtype)

    def _layer(
        self,
        x: torch.Tensor,
        weights: tuple[torch.Tensor, ...],
        turns: tuple[torch.Tensor, torch.Tensor],
        mask: torch.Tensor,
        start: int,
    ) -> torch.Tensor:
        """One layer's output at the positions from `start` on."""
        read, out, widen, narrow = weights
        n, length, width = x.shape
        each = width // self.heads
        normed = self._norm(x)
        if start:
            query, rest = F.linear(normed[:, start:], read[:width]), F.linear(normed, read[width:])
        else:
            query, rest = F.linear(normed, read).split((width, len(read) - width), -1)
        query = query.view(n, length - start, self.heads, each).transpose(1, 2)  # (n, heads, queries, each)
        key, value = rest.view(n, length, 2, self.keys, each).permute(2, 0, 3, 1, 4)  # (n, keys, length, each) each
        cos, sin = turns
        query = _turned(query, cos[:, :, start:], sin[:, :, start:])
        mixed = _attended(query, _turned(key, cos, sin), value, mask[:, :, start:])
        x = x[:, start:] + F.linear(mixed.transpose(1, 2).reshape(n, length - start, width), out)
        gate, up = F.linear(self._norm(x), widen).chunk(2, -1)
        return x + F.linear(F.silu(gate) * up, narrow)


def _turned(x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
    first, second = x.chunk(2, -1)
    return x * cos + torch.cat([-second, first], -1) * sin


def _attended(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Attention of (n, heads, queries, ·) over (n, keys, length, ·), where several heads may share a key.

    mask says what is visible; in half precision it is what is added to the scores. There attention is written out, as
    the library's takes four times as long on a processor, forth and back.
    """
    if query.dtype == torch.float32:
        shared = query.shape[1] != key.shape[1]
        return F.scaled_dot_product_attention(query, key, value, mask, enable_gqa=shared)
    n, heads, length, width = query.shape
    grouped = (query * width**-0.5).reshape(n, key.shape[1], -1, width)
    scores = (grouped @ key.transpose(-1, -2)).view(n, heads, length, -1) + mask
    return (scores.softmax(-1).view(n, key.shape[1], -1, scores.shape[-1]) @ value).view(n, heads, length, width)
