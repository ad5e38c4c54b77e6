"""The keys and values of a batch that is decoded, in one block a layer: read part by part, left row by row."""

from collections.abc import Sequence

import torch
from transformers import Cache, PreTrainedConfig
from transformers.cache_utils import DynamicLayer


class KVCache(Cache):
    """What a language model remembers of `rows` prompts and their answers, up to `room` tokens each.

    transformers' own cache is copied with each token that it grows by and with each row that leaves. Here all have
    their place from the start: new tokens are written behind those that are there, and a row that leaves is written
    over by one of the last.
    """

    layers: list["_Layer"]  # type: ignore[assignment]  # the library's is of layers of all kinds

    def __init__(self, config: PreTrainedConfig, rows: int, room: int):
        layers: int = config.num_hidden_layers
        super().__init__(layers=[_Layer(rows, room) for _ in range(layers)])

    def select(self, rows: slice, length: int) -> None:
        """What is read next belongs to these rows, and stands behind their first `length` tokens."""
        for layer in self.layers:
            layer.rows_in_use, layer.length = rows, length

    def expand(self, sources: Sequence[int]) -> None:
        """As many rows as there are sources, of which row i is what row sources[i] was."""
        for layer in self.layers:
            layer.expand(sources)

    def keep(self, stay: Sequence[int]) -> list[int]:
        """Keep the rows of these numbers, ascending; their numbers again, in the order in which they stand now."""
        free = [place for place in range(len(stay)) if place not in stay]
        last = stay[len(stay) - len(free) :]
        for layer in self.layers:
            layer.move(last, free)
            layer.rows_in_use = slice(0, len(stay))
        moved = dict(zip(free, last, strict=True))
        return [moved.get(place, place) for place in range(len(stay))]


class _Layer(DynamicLayer):
    """keys and values: (rows, heads, room, width), of which the first `length` tokens of `rows_in_use` are in use."""

    keys: torch.Tensor
    values: torch.Tensor

    def __init__(self, rows: int, room: int):
        super().__init__()
        self._rows, self._room = rows, room
        self.rows_in_use, self.length = slice(0, rows), 0

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *args: object, **kwargs: object
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Write what is new, (rows of the part, heads, tokens, width); return all that these rows have."""
        if not self.is_initialized:
            self.keys, self.values = (self._block(new) for new in (key_states, value_states))
            self.is_initialized = True
        before, self.length = self.length, self.length + key_states.shape[2]
        for block, new in ((self.keys, key_states), (self.values, value_states)):
            block[self.rows_in_use, :, before : self.length] = new
        return self.keys[self.rows_in_use, :, : self.length], self.values[self.rows_in_use, :, : self.length]

    def get_seq_length(self) -> int:
        """How many tokens there are of each row."""
        return self.length

    def move(self, rows: Sequence[int], to: Sequence[int]) -> None:
        """Write rows over others."""
        for block in (self.keys, self.values):
            block[to, :, : self.length] = block[rows, :, : self.length]

    def expand(self, sources: Sequence[int]) -> None:
        """See KVCache."""
        self._rows, self.rows_in_use = len(sources), slice(0, len(sources))
        self.keys, self.values = (self._expanded(block, sources) for block in (self.keys, self.values))

    def _expanded(self, block: torch.Tensor, sources: Sequence[int]) -> torch.Tensor:
        wider = self._block(block)
        wider[:, :, : self.length] = block[sources, :, : self.length]
        return wider

    def _block(self, like: torch.Tensor) -> torch.Tensor:
        """Room for all rows, with the heads and the width of `like`."""
        return like.new_empty((self._rows, like.shape[1], self._room, like.shape[3]))
