"""Which weight files of a folder a loader would take. Where loaders differ, it is said instead of guessed."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePath

from projlens_core.errors import InvalidInput, Unsupported
from projlens_core.runtime.text import listed
from projlens_core.weights.folder import Folder
from projlens_core.weights.foreign import by_folder, is_piece
from projlens_core.weights.stored import MAX_HEADER
from projlens_core.weights.tensorfile import read_json

SAFETENSORS, PICKLES, GGUF = (".safetensors",), (".bin", ".pt", ".pth", ".ckpt"), (".gguf",)
WEIGHTS = (*SAFETENSORS, *PICKLES, *GGUF)
INDEX = "model.safetensors.index.json"
_INDEXES = {INDEX: SAFETENSORS, "pytorch_model.bin.index.json": PICKLES}
_SINGLES = {".safetensors": "model.safetensors", ".bin": "pytorch_model.bin"}
_NO_MODEL = ("training_args.bin", "optimizer.pt", "optimizer.bin", "scheduler.pt", "scaler.pt", "scheduler.bin")
_BESIDE_PIECES = "meta.pt"  # Lightning's, beside a distributed checkpoint
_CODE = (".py", ".so", ".pyd", ".dll", ".sh", ".js", ".pkl", ".pickle", ".joblib", ".npy", ".exe")


@dataclass(frozen=True)
class Selection:
    """files: the chosen weight files, in order. weight_map: the index's {tensor: file}, None without an index.
    warnings: what lies beside them and was left alone."""

    files: tuple[str, ...]
    weight_map: Mapping[str, str] | None
    index: str | None
    warnings: tuple[str, ...]


def select(folder: Folder) -> Selection:
    """Choose safetensors before pickles before GGUF, an index before a lone file; InvalidInput if loaders differ,
    Unsupported, saying what to do, where the weights lie in another form or in a folder further down."""
    present = folder.names()
    in_pieces = any(name.endswith(".distcp") for name in present)
    for kinds in (SAFETENSORS, PICKLES, GGUF):
        weights = [name for name in present if name.endswith(kinds) and not _trainers(name)]
        if in_pieces and weights == [_BESIDE_PIECES]:
            continue
        index = next((name for name, of in _INDEXES.items() if of == kinds and name in present), None)
        if not weights and index is None:
            continue
        if index is None:
            files, weight_map = [_lone(folder, weights)], None
        else:
            weight_map = _weight_map(folder, index, kinds)
            files = _shards(folder, weights, weight_map, index)
        return Selection(tuple(files), weight_map, index, strays(present, set(files)))
    if said := by_folder(folder.label, present, folder.nested(), WEIGHTS):
        raise Unsupported(said)
    raise InvalidInput(
        f"{folder.label} is a folder without any weight file ({', '.join(WEIGHTS)}); give the folder of a checkpoint."
    )


def strays(present: list[str], used: set[str]) -> tuple[str, ...]:
    """One warning for each kind of file that lies beside the weights and was left alone."""
    unread = [name for name in present if name.endswith((*SAFETENSORS, *GGUF)) and name not in used]
    pickles = [name for name in present if name.endswith(PICKLES) and name not in used]
    code = [name for name in present if name.endswith(_CODE)]
    return tuple(
        f"{listed(names)} {said}"
        for names, said in (
            (unread, "lies beside the weights and is not part of the checkpoint; it was not read."),
            (pickles, "is a pickle beside the weights and may run code when loaded; it was not opened."),
            (code, "is code, or may run code when loaded, beside the weights; it was not opened."),
        )
        if names
    )


def check_index(selection: Selection, stored: Mapping[str, str], label: str) -> tuple[str, ...]:
    """stored is {tensor: file it was found in}. InvalidInput if a listed tensor is not where the index says; a
    warning for tensors that the index does not list."""
    if selection.weight_map is None:
        return ()
    if wrong := sorted(name for name, shard in selection.weight_map.items() if stored.get(name) != shard):
        raise InvalidInput(f"{label} does not hold {listed(wrong)} where its index says; fetch it again.")
    unlisted = sorted(stored.keys() - selection.weight_map.keys())
    return (f"{listed(unlisted)} is in a shard but not in the index; it was read all the same.",) if unlisted else ()


def _trainers(name: str) -> bool:
    return name in _NO_MODEL or name.startswith("rng_state") or is_piece(name)


def _lone(folder: Folder, weights: list[str]) -> str:
    """The one file to read where there is no index."""
    if single := next((name for name in _SINGLES.values() if name in weights), None):
        return single
    if len(weights) == 1:
        return weights[0]
    if PurePath(weights[0]).suffix == ".safetensors":
        missing = f"no {INDEX} that says which belong together; add it"
    else:
        missing = "nothing that says which is the model's; give the path of one of them"
    raise InvalidInput(f"{folder.label} holds {listed(weights)} but {missing}.")


def _shards(folder: Folder, weights: list[str], weight_map: Mapping[str, str], index: str) -> list[str]:
    shards = sorted(set(weight_map.values()))
    if missing := [shard for shard in shards if shard not in weights]:
        raise InvalidInput(f"{folder.label} lacks {listed(missing)} that its index lists; complete the download.")
    single = _SINGLES[PurePath(index.removesuffix(".index.json")).suffix]
    if single in weights and single not in shards:
        raise InvalidInput(
            f"{folder.label} holds both {single} and {index}; loaders differ in which they take: keep one."
        )
    return shards


def _weight_map(folder: Folder, index: str, kinds: tuple[str, ...]) -> dict[str, str]:
    """The index's {tensor name: shard name}, each shard checked to be a plain file name."""
    weight_map = read_json(folder.file(index), MAX_HEADER).get("weight_map")
    if not isinstance(weight_map, dict) or not weight_map or not all(isinstance(s, str) for s in weight_map.values()):
        raise InvalidInput(f"{index} of {folder.label} has no weight_map from tensor names to shard names.")
    if bad := [s for s in sorted(set(weight_map.values())) if not is_plain(s) or not s.endswith(kinds)]:
        raise InvalidInput(
            f"{index} of {folder.label} names {listed(bad)}, expected plain {' or '.join(kinds)} file names beside it."
        )
    return weight_map


def is_plain(name: str) -> bool:
    """Whether the name is a file's own, without a folder before it on any system."""
    return PurePath(name).name == name and "\\" not in name and "\0" not in name
