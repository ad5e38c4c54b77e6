"""Files and folders that hold a model in another form than is read: what they are, and the one thing that mends it.

Nothing here reads more than a file's first bytes, and only where it could not be read as what its name says.
"""

import re
from collections.abc import Iterable

from projlens_core.runtime.text import listed, printable
from projlens_core.weights.bytesource import ByteSource

_HEAD = 512  # bytes that tell what a file is
_MERGE = "python -m torch.distributed.checkpoint.format_utils dcp_to_torch"
_GATHER = "python -m deepspeed.utils.zero_to_fp32 . pytorch_model.bin"
_CAUTION = "which unpickles: do it where nothing can be lost"
GATHER = f"run `{_GATHER}` in the folder that holds global_step… ({_CAUTION})"
_PIECES = re.compile(r".*(?:_optim_states|_model_states)\.pt")  # of DeepSpeed
_TRANSFORMERS_4 = (
    'convert it with transformers 4, `python -c "from transformers import AutoModel as M; '
    "M.from_pretrained('.', {}=True).save_pretrained('converted')\"`, and give converted"
)
_EXPORTED = "give the checkpoint that it was made from"
# How a file's name ends → what it is, and what to do.
_ENDINGS: dict[tuple[str, ...], tuple[str, str]] = {
    (".h5", ".keras"): ("TensorFlow's weights", _TRANSFORMERS_4.format("from_tf")),
    (".msgpack",): ("Flax's weights", _TRANSFORMERS_4.format("from_flax")),
    (".onnx", ".onnx_data"): ("an ONNX export, in which tensors have lost their names", _EXPORTED),
    (".npz",): (
        "NumPy's archive, as MLX used to write it",
        'run `python -c "import numpy, torch; torch.save({k: torch.from_numpy(v) for k, v in '
        "numpy.load('weights.npz').items()}, 'weights.pt')\"` with its name, and give weights.pt",
    ),
    (".npy",): ("one array of NumPy, without a name", _EXPORTED),
    (".ckpt.index", ".ckpt.meta", ".pb", ".data-00000-of-00001"): ("TensorFlow's", _EXPORTED),
    (".tflite", ".engine", ".plan", ".trt", ".mlmodel", ".mlpackage", ".mlmodelc", ".pte"): (
        "a model compiled for one kind of device",
        _EXPORTED,
    ),
    (".pdparams", ".pdiparams"): ("PaddlePaddle's weights", "give the same model in PyTorch's form"),
    (".distcp",): ("a piece of a distributed checkpoint", "give its folder"),
    (".nemo", ".tar", ".tar.gz", ".tgz", ".tar.xz", ".tar.zst", ".tar.bz2"): (
        "an archive",
        "unpack it with `tar -xf` and give what it holds",
    ),
    (".zip", ".llamafile"): ("an archive", "unpack it with `unzip` and give what it holds"),
    (".7z", ".rar", ".gz", ".xz", ".zst", ".bz2"): ("packed", "unpack it and give what it holds"),
    (".incomplete", ".part", ".crdownload", ".aria2", ".download", ".partial"): (
        "a download that did not end",
        "fetch it again",
    ),
    (".pkl", ".pickle", ".joblib", ".dill"): (
        "a pickle of any objects, which runs code when it is loaded",
        "have its tensors saved alone, or as safetensors",
    ),
    (".index.json",): ("an index of weight files", "give its folder"),
    (".json", ".yaml", ".txt", ".md", ".jinja"): ("a text about a model", "give the folder of the checkpoint"),
}
# How a file's content begins → what it is, and what to do; {} is its name.
_BEGINNINGS: tuple[tuple[re.Pattern[bytes], str, str], ...] = tuple(
    (re.compile(pattern, re.DOTALL | re.IGNORECASE), what, do)
    for pattern, what, do in (
        (rb"version https://git-lfs\.github\.com/spec", "a Git LFS pointer, not the file", "run `git lfs pull`"),
        (rb"(?:\.\./)*\.?/?(?:\.git/)?annex/objects/", "a git-annex pointer, not the file", "run `git annex get {}`"),
        (rb"\s*<(?:!doctype html|html|\?xml|head)", "a web page, as a failed download leaves", "fetch it again"),
        (
            rb"(?:\{\"error|entry not found|not found|access to model|invalid (?:username|credentials)|unauthorized)",
            "the answer of a server that did not give the file",
            "fetch it again, logged in if it is gated",
        ),
        (rb"\x1f\x8b", "packed by gzip", "unpack it with `gunzip`"),
        (rb"\x28\xb5\x2f\xfd", "packed by zstd", "unpack it with `unzstd`"),
        (rb"\xfd7zXZ\0", "packed by xz", "unpack it with `unxz`"),
        (rb"7z\xbc\xaf", "a 7z archive", "unpack it"),
        (rb".{257}ustar", "a tar archive", "unpack it with `tar -xf`"),
        (rb"\x89HDF", "HDF5, TensorFlow's form", _TRANSFORMERS_4.format("from_tf")),
        (rb"\x93NUMPY", "one array of NumPy, without a name", _EXPORTED),
    )
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
    if inner := sorted((folder for folder in pieces if "optim" not in folder), key=_order):
        return (
            f"{label} holds a distributed checkpoint, in pieces; run `{_MERGE} {printable(inner[-1])} model.pt` in it "
            f"({_CAUTION}) and give model.pt."
        )
    if any(map(is_piece, names)):
        return f"{label} holds pieces of a ZeRO checkpoint; {GATHER}, and give pytorch_model.bin."
    pieces = {path.partition("/")[0] for path in nested if path.count("/") == 1 and is_piece(path)}
    if pieces or "zero_to_fp32.py" in names:
        where = f" in {printable(max(pieces, key=_order))}" if pieces else ""
        return (
            f"{label} is a ZeRO checkpoint, its weights in pieces{where}; run `{_GATHER}` in it ({_CAUTION}; with your "
            "own DeepSpeed, not the zero_to_fp32.py that lies there), and give pytorch_model.bin."
        )
    whole = [path for path in nested if path.endswith(weights) and not is_piece(path)]
    if folders := sorted({path.rpartition("/")[0] for path in whole}, key=_order):
        said = f"its folder {listed(folders)} does" if len(folders) == 1 else f"its folders {listed(folders)} do"
        return f"{label} holds no weights itself, but {said}; give …/{printable(folders[-1])}."
    pointed = (by_name(name) for name in names if not name.endswith((".json", ".txt", ".md", ".jinja", ".yaml")))
    return next((f"{label} holds no weights that are read: {said}" for said in pointed if said), None)


def _order(path: str) -> list[tuple[bool, int, str]]:
    """checkpoint-500 before checkpoint-1000."""
    return [(part.isdigit(), int(part) if part.isdigit() else 0, part) for part in re.split(r"(\d{1,18})", path)]
