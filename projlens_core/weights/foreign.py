"""Files and folders that hold a model in another form than is read: what they are, and the one thing that mends it.

Nothing here reads more than a file's first bytes, and only where it could not be read as what its name says.
"""

import json
import re
from collections.abc import Iterable
from pathlib import Path

from projlens_core.runtime.text import listed, printable
from projlens_core.weights.bytesource import ByteSource
from projlens_core.weights.names import in_counted_order

_HEAD = 512  # bytes that tell what a file is
_MERGE = "python -m torch.distributed.checkpoint.format_utils dcp_to_torch"
_GATHER = "python -m deepspeed.utils.zero_to_fp32 . pytorch_model.bin"
_CAUTION = "which unpickles: do it where nothing can be lost"
GATHER = f"run `{_GATHER}` in the folder that holds global_step… ({_CAUTION})"
_PIECES = re.compile(r".*(?:_optim_states|_model_states)\.pt")  # of DeepSpeed
_TABLE = json.loads(Path(__file__).with_name("foreign.json").read_text(encoding="utf-8"))
# How a file's name ends → what it is, and what to do.
_ENDINGS = {tuple(ends): (what, _TABLE["advice"].get(do, do)) for ends, what, do in _TABLE["endings"]}
# How a file's content begins → what it is, and what to do; {} is its name.
_BEGINNINGS = tuple(
    (re.compile(pattern.encode(), re.DOTALL | re.IGNORECASE), what, _TABLE["advice"].get(do, do))
    for pattern, what, do in _TABLE["beginnings"]
)
_FORMS = (  # of those that are read: how they begin, what they are, how their names end
    (re.compile(rb"PK\x03\x04"), "a torch file", (".bin", ".pt", ".pth", ".ckpt")),
    (re.compile(rb"GGUF"), "a GGUF file", (".gguf",)),
    (re.compile(rb".{6}\0\0\{\s*\"", re.DOTALL), "a safetensors file", (".safetensors",)),
)


def by_name(name: str) -> str | None:
    """A sentence about a file whose name says that it is no weight file that is read; None if it says nothing."""
    for endings, (what, do) in _ENDINGS.items():
        if name.lower().endswith(endings):
            return f"{printable(name)} is {what}; {do}."
    return None


def by_content(file: ByteSource) -> str | None:
    """A sentence about a file that could not be read as its name says, from its first bytes, if they say anything."""
    head = bytes(file.read(0, min(_HEAD, file.size)))
    for beginning, what, do in _BEGINNINGS:
        if beginning.match(head):
            return f"{printable(file.name)} is {what}; {do.format(printable(file.name))}."
    for beginning, what, endings in _FORMS:
        if beginning.match(head) and not file.name.endswith(endings):
            return f"{printable(file.name)} is {what} under another name; call it something that ends in {endings[0]}."
    return None


def is_piece(name: str) -> bool:
    """Whether a file is one of the pieces in which DeepSpeed keeps weights and optimizer."""
    return _PIECES.fullmatch(name) is not None


def by_folder(label: str, names: Iterable[str], nested: Iterable[str], weights: tuple[str, ...]) -> str | None:
    """A sentence about a folder without weight files that are read; None if nothing in it tells what it is.

    nested: paths of files in its subfolders, "checkpoint-500/model.safetensors"; weights: how weight files end.
    """
    names, nested = list(names), list(nested)
    if any(name.endswith(".distcp") for name in names):
        return (
            f"{label} is a distributed checkpoint, in pieces; run `{_MERGE} {label} model.pt` beside it ({_CAUTION}) "
            "and give model.pt."
        )
    pieces = {path.rpartition("/")[0] for path in nested if path.endswith(".distcp")}
    if inner := sorted((folder for folder in pieces if "optim" not in folder), key=in_counted_order):
        return (
            f"{label} holds a distributed checkpoint, in pieces; run `{_MERGE} {printable(inner[-1])} model.pt` in it "
            f"({_CAUTION}) and give model.pt."
        )
    if any(map(is_piece, names)):
        return f"{label} holds pieces of a ZeRO checkpoint; {GATHER}, and give pytorch_model.bin."
    pieces = {path.partition("/")[0] for path in nested if path.count("/") == 1 and is_piece(path)}
    if pieces or "zero_to_fp32.py" in names:
        where = f" in {printable(max(pieces, key=in_counted_order))}" if pieces else ""
        return (
            f"{label} is a ZeRO checkpoint, its weights in pieces{where}; run `{_GATHER}` in it ({_CAUTION}; with your "
            "own DeepSpeed, not the zero_to_fp32.py that lies there), and give pytorch_model.bin."
        )
    whole = [path for path in nested if path.endswith(weights) and not is_piece(path)]
    if folders := sorted({path.rpartition("/")[0] for path in whole}, key=in_counted_order):
        said = f"its folder {listed(folders)} does" if len(folders) == 1 else f"its folders {listed(folders)} do"
        return f"{label} holds no weights itself, but {said}; give …/{printable(folders[-1])}."
    pointed = (by_name(name) for name in names if not name.endswith((".json", ".txt", ".md", ".jinja", ".yaml")))
    return next((f"{label} holds no weights that are read: {said}" for said in pointed if said), None)
