"""Any supported artefact as named tensors, read lazily; nothing in it is executed.

A checkpoint is one safetensors file, or a folder with one, or a folder with an index and its shards. Opening reads
headers only; `read` reads one tensor's bytes. Everything that is found beside the weights and could mislead (code,
pickles, weight files nobody lists) becomes a warning, not silence.
"""

from pathlib import Path

import torch

from projlens_core.errors import InvalidInput, NotFound, Unsupported
from projlens_core.sources import Source, resolve
from projlens_core.weights.families import listed
from projlens_core.weights.tensorfile import MAX_HEADER, TensorInfo, read_header, read_json, read_tensor

INDEX = "model.safetensors.index.json"
SINGLE = "model.safetensors"
_PICKLES = {".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle"}


class Checkpoint:
    """Named tensors of one checkpoint. bytes_read counts headers and tensors read so far from the weight files."""

    def __init__(self, label: str, files: list[Path], config: dict | None, warnings: tuple[str, ...] = ()):
        self.label = label
        self.config = config
        self.warnings = warnings
        self.bytes_read = 0
        self._tensors: dict[str, TensorInfo] = {}
        for file in files:
            tensors, read = read_header(file)
            self.bytes_read += read
            if twice := sorted(self._tensors.keys() & tensors.keys()):
                raise InvalidInput(
                    f"{label} holds {listed(twice)} in {self._tensors[twice[0]].file.name} and in {file.name}; "
                    "which one a loader takes is uncertain: keep one."
                )
            self._tensors |= tensors

    @property
    def names(self) -> tuple[str, ...]:
        """All tensor names, in the order of files and headers."""
        return tuple(self._tensors)

    def info(self, name: str) -> TensorInfo:
        """Shape, dtype, size and file of one tensor; NotFound if there is none of that name."""
        if name not in self._tensors:
            raise NotFound(f"{self.label} has no tensor {name!r}; it has {listed(self.names)}.")
        return self._tensors[name]

    def read(self, name: str) -> torch.Tensor:
        """One tensor in its stored dtype; NotFound if there is none of that name, InvalidInput if its file is gone."""
        info = self.info(name)
        try:
            tensor = read_tensor(info)
        except OSError as error:
            raise InvalidInput(f"{info.file.name} cannot be read: {error.strerror or error}.") from error
        self.bytes_read += info.nbytes
        return tensor


def open_checkpoint(source: Source | str | Path) -> Checkpoint:
    """Open what `source` names, reading headers only.

    NotFound if it does not exist, Unsupported for formats this version does not read, InvalidInput for a malformed
    or ambiguous checkpoint.
    """
    source = source if isinstance(source, Source) else resolve(source)
    try:
        return _open(source)
    except OSError as error:
        raise InvalidInput(f"{source.label} cannot be read: {error.strerror or error}.") from error


def _open(source: Source) -> Checkpoint:
    config = None
    if source.model is not None and (source.model / "config.json").is_file():
        config = read_json(_inside(source.model, "config.json"))
    warnings: tuple[str, ...] = ()
    if config and "auto_map" in config:
        warnings = ("Its config asks a loader to run code of its own (auto_map); ProjLens does not run it.",)
    if not source.weights.is_dir():
        return Checkpoint(source.label, [_single_file(source.weights)], config, warnings)
    folder = source.weights
    present = sorted(path.name for path in folder.iterdir() if not path.is_dir())
    weight_map = _weight_map(folder, source.label) if INDEX in present else None
    used = _weight_files(present, weight_map, source.label)
    warnings += _strays(present, set(used))
    checkpoint = Checkpoint(source.label, [_inside(folder, name) for name in used], config, warnings)
    if weight_map is not None:
        checkpoint.warnings += _check_index(checkpoint, weight_map, {name: _inside(folder, name) for name in used})
    return checkpoint


def _single_file(path: Path) -> Path:
    if path.suffix != ".safetensors":
        raise Unsupported(
            f"{path.name} is not a .safetensors file, the only weight format read so far; "
            "save it as safetensors, or give a checkpoint folder or zoo:NAME."
        )
    if not path.is_file():
        raise InvalidInput(f"{path.name} is not a regular file.")
    return path


def _weight_files(present: list[str], weight_map: dict[str, str] | None, label: str) -> list[str]:
    """The names of the weight files that a loader would take; InvalidInput if loaders would differ."""
    weights = [name for name in present if name.endswith(".safetensors")]
    if weight_map is not None:
        shards = sorted(set(weight_map.values()))
        if missing := [shard for shard in shards if shard not in present]:
            raise InvalidInput(f"{label} lacks {listed(missing)} that its index lists; complete the download.")
        if SINGLE in weights and SINGLE not in shards:
            raise InvalidInput(f"{label} holds both {SINGLE} and {INDEX}; loaders differ in which they take: keep one.")
        return shards
    if SINGLE in weights:
        return [SINGLE]
    if len(weights) > 1:
        raise InvalidInput(f"{label} holds {listed(weights)} but no {INDEX} that says which belong together; add it.")
    if not weights and (pickles := [name for name in present if Path(name).suffix in _PICKLES]):
        raise Unsupported(f"{label} holds only {listed(pickles)}, and pickles are not read; save it as safetensors.")
    if not weights:
        raise InvalidInput(f"{label} is a folder without any .safetensors file; give the folder of a checkpoint.")
    return weights


def _weight_map(folder: Path, label: str) -> dict[str, str]:
    """The index's {tensor name: shard name}, each shard checked to be a plain file name."""
    weight_map = read_json(_inside(folder, INDEX), MAX_HEADER).get("weight_map")
    if not isinstance(weight_map, dict) or not weight_map or not all(isinstance(s, str) for s in weight_map.values()):
        raise InvalidInput(f"{INDEX} of {label} has no weight_map from tensor names to shard names.")
    shards = sorted(set(weight_map.values()))
    if bad := [s for s in shards if Path(s).name != s or "\\" in s or "\0" in s or not s.endswith(".safetensors")]:
        raise InvalidInput(f"{INDEX} of {label} names {listed(bad)}, expected plain .safetensors file names beside it.")
    return weight_map


def _check_index(checkpoint: Checkpoint, weight_map: dict[str, str], files: dict[str, Path]) -> tuple[str, ...]:
    """InvalidInput if a listed tensor is not in the shard the index names; a warning for tensors it does not list."""
    stored = {name: checkpoint.info(name).file for name in checkpoint.names}
    if wrong := sorted(name for name, shard in weight_map.items() if stored.get(name) != files[shard]):
        raise InvalidInput(f"{checkpoint.label} does not hold {listed(wrong)} where its index says; fetch it again.")
    unlisted = sorted(stored.keys() - weight_map.keys())
    return (f"{listed(unlisted)} is in a shard but not in the index; it was read all the same.",) if unlisted else ()


def _inside(folder: Path, name: str) -> Path:
    """The regular file `name` of `folder`, with links followed; InvalidInput if they lead out of the checkpoint."""
    try:
        target = (folder / name).resolve()
    except RuntimeError as error:  # how Python 3.11 and 3.12 report a loop of links
        raise InvalidInput(f"{name} in {folder.name!r} is a link to itself.") from error
    if not target.is_relative_to(_home(folder)):
        raise InvalidInput(f"{name} is a link that leaves {folder.name!r}; copy the file it means into the folder.")
    if not target.is_file():
        raise InvalidInput(f"{name} in {folder.name!r} is not a regular file.")
    return target


def _home(folder: Path) -> Path:
    """The folder that links may lead to: the checkpoint's own, or in the Hugging Face cache its repository's,
    where snapshots/REVISION/FILE is a link to ../../blobs/HASH."""
    folder = folder.resolve()
    repository = folder.parent.parent
    return repository if folder.parent.name == "snapshots" and (repository / "blobs").is_dir() else folder


def _strays(present: list[str], used: set[str]) -> tuple[str, ...]:
    """One warning for each kind of file that lies beside the weights and was left alone."""
    unread = [name for name in present if name.endswith(".safetensors") and name not in used]
    pickles = [name for name in present if Path(name).suffix in _PICKLES]
    code = [name for name in present if name.endswith(".py")]
    return tuple(
        f"{listed(names)} {said}"
        for names, said in (
            (unread, "lies beside the weights and is not part of the checkpoint; it was not read."),
            (pickles, "may run code when loaded; it was not opened."),
            (code, "is code beside the weights; it was not run."),
        )
        if names
    )
