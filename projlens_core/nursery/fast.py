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
    """Mean cross-entropy over answer tokens of a frozen Llama whose heads all have keys of their own."""

    def __init__(self, language: LlamaForCausalLM):
        super().__init__()
        config = language.config
        self.heads, self.eps = config.num_attention_heads, config.rms_norm_eps
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
        x = F.embedding(read.ids, self.table).masked_scatter(image[..., None], embeddings)
        turns = self._turns(read.positions)
        start = int(image[0].nonzero()[-1])  # what all rows share ends with the image; nothing is said before
        for weights in self.layers[:-1]:
            x = self._layer(x, weights, turns, read.visible, 0)
        x = self._layer(x, self.layers[-1], turns, read.visible, start)  # (n, length - start, d)
        labels = read.labels[:, start + 1 :]
        counted = labels != IGNORED
        return F.linear(self._norm(x[:, :-1][counted]), self.head), labels[counted]

    def _norm(self, x: torch.Tensor) -> torch.Tensor:
        return F.rms_norm(x, x.shape[-1:], eps=self.eps)

    def _turns(self, positions: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Cosines and sines by which heads are turned, (n, 1, length, head width)."""
        angles = positions[:, None, :, None] * self.frequencies
        angles = torch.cat([angles, angles], -1)
        return angles.cos(), angles.sin()

    def _layer(
        self,
        x: torch.Tensor,
        weights: tuple[torch.Tensor, ...],
        turns: tuple[torch.Tensor, torch.Tensor],
        visible: torch.Tensor,
        start: int,
    ) -> torch.Tensor:
        """One layer's output at the positions from `start` on."""
        read, out, widen, narrow = weights
        n, length, width = x.shape
        normed = self._norm(x)
        shape = (n, length, -1, self.heads, width // self.heads)
        if start:
            query = F.linear(normed[:, start:], read[:width]).view(n, length - start, self.heads, -1).transpose(1, 2)
            key, value = F.linear(normed, read[width:]).view(shape).permute(2, 0, 3, 1, 4)
        else:
            query, key, value = F.linear(normed, read).view(shape).permute(2, 0, 3, 1, 4)  # (n, heads, length, ·) each
        cos, sin = turns
        query = _turned(query, cos[:, :, start:], sin[:, :, start:])
        mixed = F.scaled_dot_product_attention(query, _turned(key, cos, sin), value, visible[:, :, start:])
        x = x[:, start:] + F.linear(mixed.transpose(1, 2).reshape(n, length - start, width), out)
        gate, up = F.linear(self._norm(x), widen).chunk(2, -1)
        return x + F.linear(F.silu(gate) * up, narrow)


def _turned(x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
    first, second = x.chunk(2, -1)
    return x * cos + torch.cat([-second, first], -1) * sin
