"""Any supported artefact as named tensors, read lazily; nothing in it is executed.

A checkpoint is one weight file (safetensors, a torch pickle, GGUF), or a folder with one or with an index and its
shards, or an adapter on top of another checkpoint; here or on the Hub. Opening reads headers only; `read` reads one
tensor's bytes. Everything that is found beside the weights and could mislead (code, pickles, weight files nobody
lists, one stored tensor under two names) becomes a warning, not silence.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, TypeVar

import torch

from projlens_core.errors import InvalidInput, NotFound, ProjLensError, Unsupported
from projlens_core.runtime.text import listed
from projlens_core.weights import foreign, tensorfile
from projlens_core.weights.bytesource import ByteSource
from projlens_core.weights.folder import Folder
from projlens_core.weights.grid import ValueGrid
from projlens_core.weights.names import plain
from projlens_core.weights.quantised.gather import gather
from projlens_core.weights.quantised.tensor import Quantised, Stored
from projlens_core.weights.selection import GGUF, PICKLES, WEIGHTS
from projlens_core.weights.stored import ADAPTED, MAX_NAMES, MAX_TENSORS, TensorInfo, check_names, read_tensor

if TYPE_CHECKING:
    from projlens_core.weights import ggufile

ADAPTER_CONFIG = "adapter_config.json"
Read = TypeVar("Read")


class Checkpoint:
    """Named tensors of one checkpoint. folder is where its other files lie; None for a lone weight file. gguf: what its
    GGUF file says of itself, None without one.

    A tensor that is stored quantised, as codes beside scales, is one tensor here; places has what is stored: {name: the
    file it lies in}.
    """

    gguf: "ggufile.Header | None" = None

    def __init__(
        self,
        label: str,
        files: Sequence[ByteSource],
        config: dict | None,
        warnings: tuple[str, ...] = (),
        folder: Folder | None = None,
    ):
        self.label = label
        self.config = config
        self.folder = folder
        self._files = tuple(files)
        stored: dict[str, TensorInfo] = {}
        for file in self._files:
            tensors = self._header(file)
            if twice := sorted(stored.keys() & tensors.keys()):
                raise InvalidInput(
                    f"{label} holds {listed(twice)} in {stored[twice[0]].file.name} and in {file.name}; "
                    "which one a loader takes is uncertain: keep one."
                )
            stored |= tensors
            check_names(label, stored, MAX_NAMES)
        self.places = {name: info.file.name for name, info in stored.items()}
        self._tensors: dict[str, Stored] = gather(stored, config)
        self.warnings = warnings + _twins(self._tensors) + _tied_twice(self._tensors, config) + _empty(stored)

    def _header(self, file: ByteSource) -> dict[str, TensorInfo]:
        if not file.name.endswith(GGUF):
            return read_header(file)
        self.gguf = _gguf(file)
        return self.gguf.tensors

    @property
    def bytes_read(self) -> int:
        """Of the weight files so far, headers and tensors together."""
        return sum(file.bytes_read for file in self._files)

    @property
    def names(self) -> tuple[str, ...]:
        """All tensor names, in the order of files and headers."""
        return tuple(self._tensors)

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """{name: shape} of all that are stored as they are, without reading anything."""
        infos = {name: self.info(name) for name in self.names}
        return {name: info.shape for name, info in infos.items() if not isinstance(info, Quantised)}

    def info(self, name: str) -> Stored:
        """Shape, dtype, size and file of one tensor; NotFound if there is none of that name."""
        if name not in self._tensors:
            raise NotFound(f"{self.label} has no tensor {name!r}; it has {listed(self.names)}.")
        return self._tensors[name]

    def stored_as(self, name: str) -> str:
        """In which precision the values were written: the stored dtype, or "adapter" if they are base plus delta."""
        return self.info(name).dtype

    def rank_added(self, name: str) -> int | None:
        """The most directions in which an adapter's factors change the tensor; None where they leave or rescale it."""
        return None

    def changes(self, name: str) -> float | None:
        """‖Δ‖ that an adapter adds to the tensor; None where no adapter has a part in it."""
        return None

    @property
    def also_changed(self) -> dict[str, tuple[str, ...]]:
        """{part of the model: names} of what an adapter changes outside the projector; empty without one."""
        return {}

    def read(self, name: str) -> torch.Tensor:
        """One tensor in its stored dtype (float32 if quantised); NotFound if there is none of that name, InvalidInput
        if its file is gone."""
        info = self.info(name)
        try:
            return info.values() if isinstance(info, Quantised) else read_tensor(info)
        except OSError as error:
            raise InvalidInput(f"{info.file.name} cannot be read: {error.strerror or error}.") from error

    def grid(self, name: str) -> ValueGrid | None:
        """What a quantised tensor's values were rounded to, None for others and base plus delta; errors as read."""
        info = self.info(name)
        if not isinstance(info, Quantised) or self.stored_as(name) == ADAPTED:
            return None
        try:
            return info.grid()
        except OSError as error:
            raise InvalidInput(f"{info.file.name} cannot be read: {error.strerror or error}.") from error


def read_header(file: ByteSource) -> dict[str, TensorInfo]:
    """All tensors of a weight file of any form, by name; Unsupported for other files, InvalidInput for damaged ones and
    for what is none in truth, such as a pointer of Git LFS."""
    tensors = _or_what_it_is(_reader(file.name), file)
    check_names(file.name, tensors, MAX_TENSORS)
    return tensors


def _or_what_it_is(reader: Callable[[ByteSource], Read], file: ByteSource) -> Read:
    """What the reader makes of the file; where it fails, what the file is instead, if that shows."""
    try:
        return reader(file)
    except ProjLensError as error:
        if said := foreign.by_content(file):
            raise InvalidInput(said) from error
        raise


def _reader(name: str) -> Callable[[ByteSource], dict[str, TensorInfo]]:
    if name.endswith(".safetensors"):
        return tensorfile.read_header
    if name.endswith(PICKLES):
        from projlens_core.weights import pickled  # only where there is one

        return pickled.read_header
    if name.endswith(GGUF):
        return lambda file: _gguf(file).tensors
    if said := foreign.by_name(name):
        raise Unsupported(said)
    raise Unsupported(
        f"{name} is not a weight file that can be read ({', '.join(WEIGHTS)}); "
        "give one of these, a checkpoint folder, zoo:NAME or hub:OWNER/NAME."
    )


def check_kind(name: str) -> None:
    """Unsupported unless a file of this name is a weight file of a kind that is read."""
    _reader(name)


def _gguf(file: ByteSource) -> "ggufile.Header":
    from projlens_core.weights import ggufile  # only where there is one: gguf's tables take a second

    return _or_what_it_is(ggufile.read_header, file)


def _twins(tensors: Mapping[str, Stored]) -> tuple[str, ...]:
    """A warning for names that mean the same stored bytes."""
    by_place: dict[tuple[int, int, int], list[str]] = {}
    for name, info in tensors.items():
        if info.nbytes and info.held is None:
            by_place.setdefault((id(info.file), info.begin, info.nbytes), []).append(name)
    return tuple(
        f"{listed(names)} are one stored tensor under {len(names)} names."
        for names in by_place.values()
        if len(names) > 1
    )


def _empty(tensors: dict[str, TensorInfo]) -> tuple[str, ...]:
    """A warning for tensors without values."""
    names = [name for name, info in tensors.items() if info.shape == (0,)]
    if not names:
        return ()
    return (f"{listed(names)} are stored empty, as ZeRO stage 3 leaves what it did not gather; they are not compared.",)


def _tied_twice(tensors: Mapping[str, Stored], config: dict | None) -> tuple[str, ...]:
    """A warning where the config ties embedding and head but the file holds both: loaders differ in which they take."""
    if not config or not config.get("tie_word_embeddings"):
        return ()
    held = [name for name in tensors if plain(name) in ("embed_tokens.weight", "lm_head.weight")]
    if len(held) < 2 or len({tensors[name].begin for name in held}) < len(held):
        return ()
    return (f"{listed(held)} are tied by the config and yet stored separately; which one a loader takes is uncertain.",)
