"""A repaired suspect as a folder in the suspect's own form, with a sidecar that says what was done.

Weight files are copied byte for byte, and only the bytes of the projector's tensors that changed are replaced: names,
shards, types and headers stay what they were. The folder appears whole or not at all.
"""

import hashlib
import os
import shutil
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path

import torch

from projlens_core.errors import InvalidInput
from projlens_core.repair.form import Form, LowRank, Whole
from projlens_core.runtime.plain import as_json
from projlens_core.runtime.text import listed, printable
from projlens_core.weights.projector import ProjectorWeights, content_hash
from projlens_core.weights.selection import PICKLES, WEIGHTS
from projlens_core.weights.stored import TensorInfo

SIDECAR = "projlens-repair.json"
FORMAT = 1  # of the sidecar
LARGEST_BESIDE = 100 * 2**20  # bytes of a file beside the weights that is copied
# What describes a model to a loader; code, pickles and weights that nobody lists are left behind, and said so.
BESIDE = (".json", ".jinja", ".txt", ".md", ".model", ".tiktoken", ".bpe")
_RUN = 2**24  # bytes hashed or copied at a time


def check_free(folder: Path, form: Form) -> None:
    """InvalidInput unless the folder can be written: new, empty, or an earlier repair's; and not the suspect's."""
    name = printable(str(folder))
    if folder.resolve() == form.folder.resolve():
        raise InvalidInput(f"{name} is where the suspect lies, which stays as it is; choose another folder.")
    if folder.exists() and not folder.is_dir():
        raise InvalidInput(f"{name} is a file; give a folder to write to.")
    if folder.is_dir() and any(folder.iterdir()) and not (folder / SIDECAR).is_file():
        raise InvalidInput(f"{name} holds files that no repair wrote; choose a new folder.")
    if not folder.absolute().parent.is_dir():
        raise InvalidInput(f"{name} cannot be made, as the folder above it does not exist; choose another.")


def write_repaired(form: Form, before: ProjectorWeights, after: ProjectorWeights, folder: Path, said: dict) -> Path:
    """Write the suspect with the projector `after` in the place of the one `before`; `said` goes into the sidecar.

    What is read of the files is Form.weights of it, and that is what the sidecar's hash is of. Returns the sidecar's
    path; errors as check_free.
    """
    check_free(folder, form)
    stored, written = form.stored(after.tensors, before), form.weights(after.tensors, before)
    found = places(form)
    partial = folder.absolute().parent / f".{folder.name}.partial"
    try:
        shutil.rmtree(partial, ignore_errors=True)  # of a run that was killed
        partial.mkdir()
        adjacent, left = _adjacent(form)
        for name in (*form.files, *adjacent):
            shutil.copyfile(form.folder / name, partial / name)
        for key, values in stored.items():
            _replace(partial / found[key].file.name, found[key], values)
        _check_unchanged(form, before, stored, partial)
        ranges = {key: found[key] for key in stored}
        sidecar = partial / SIDECAR
        document = {
            "format": FORMAT,
            **said,
            "lone": form.files[0] if form.alone else None,
            "family": form.source.family,
            "suspect_values_sha256": values_hash(before),
            "repaired_values_sha256": values_hash(written),
            "adapter_ranks": form.ranks,
            "changed": [_place(info) for info in ranges.values()],
            "files": {name: _described(partial / name, ranges.values()) for name in (*form.files, *adjacent)},
            "left_behind": left,
        }
        sidecar.write_text(as_json(document, indent=1) + "\n", encoding="utf-8")
        for path in partial.iterdir():
            _flush(path)
        _put(partial, folder)
    except OSError as error:
        raise InvalidInput(
            f"{printable(str(folder))} cannot be written ({error.strerror or error}); choose another folder."
        ) from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return folder / SIDECAR


def values_hash(weights: ProjectorWeights) -> str:
    """SHA-256 over names, shapes and values alone: the same for a lone file, whatever describes it."""
    return content_hash(weights.tensors | weights.adjacent, {})


def places(form: Form) -> dict[str, TensorInfo]:
    """Where all that may change is stored, by stored name."""
    return {info.name: info for slot in form.slots.values() for info in _infos(slot)}


def _infos(slot: Whole | LowRank) -> tuple[TensorInfo, ...]:
    return (slot.a, slot.b) if isinstance(slot, LowRank) else (slot.info,)


def _adjacent(form: Form) -> tuple[list[str], list[str]]:
    """Files beside the weights that come along, and those that stay behind."""
    if form.alone and not (form.folder / "config.json").is_file():
        return [], []  # a lone file: what lies around it is not its own
    there = sorted(path for path in form.folder.iterdir() if path.name not in form.files)
    kept = [p.name for p in there if p.suffix in BESIDE and p.is_file() and p.stat().st_size <= LARGEST_BESIDE]
    kept = [name for name in kept if name != SIDECAR and not _index_of_others(name, form.files)]
    return kept, [printable(path.name) for path in there if path.name not in kept and path.name != SIDECAR]


def _index_of_others(name: str, files: Sequence[str]) -> bool:
    """Whether it is the index of weight files in a form that does not come along."""
    return name.endswith(tuple(f"{kind}.index.json" for kind in (*WEIGHTS, *PICKLES))) and not any(
        each.endswith(Path(name.removesuffix(".index.json")).suffix) for each in files
    )


def _replace(path: Path, info: TensorInfo, values: torch.Tensor) -> None:
    """Put the tensor's values where its old ones lie."""
    data = values.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()
    if len(data) != info.nbytes or values.shape != info.shape:
        raise ValueError(f"{info.name} has {info.nbytes} bytes of shape {info.shape}, got {len(data)}, {values.shape}")
    with path.open("r+b") as file:
        file.seek(info.begin)
        file.write(data)


def _check_unchanged(form: Form, before: ProjectorWeights, stored: Collection[str], partial: Path) -> None:
    """InvalidInput if the copy holds other values where nothing was replaced than were read of the suspect."""
    for name, slot in form.slots.items():
        if isinstance(slot, LowRank) or slot.info.name in stored:
            continue
        expected = slot.as_stored(before.tensors[name])[slot.info.name].reshape(-1).view(torch.uint8).numpy().tobytes()
        with (partial / slot.info.file.name).open("rb") as file:
            file.seek(slot.info.begin)
            if file.read(slot.info.nbytes) != expected:
                raise InvalidInput(f"{slot.info.file.name} changed while it was repaired; repair it again.")


def _place(info: TensorInfo) -> dict:
    return {
        "tensor": printable(info.name), "file": info.file.name, "dtype": info.dtype, "shape": list(info.shape),
        "begin": info.begin, "bytes": info.nbytes,
    }  # fmt: skip


def _described(path: Path, changed: Collection[TensorInfo]) -> dict:
    spans = [(info.begin, info.begin + info.nbytes) for info in changed if info.file.name == path.name]
    return {"sha256": sha256_outside(path, ()), "bytes": path.stat().st_size} | (
        {"unchanged_sha256": sha256_outside(path, spans)} if spans else {}
    )


def sha256_outside(path: Path, spans: Sequence[tuple[int, int]]) -> str:
    """SHA-256 of the file without the bytes in these (begin, end)."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        for begin, end in _between(path.stat().st_size, spans):
            file.seek(begin)
            while begin < end and (data := file.read(min(_RUN, end - begin))):
                digest.update(data)
                begin += len(data)
    return digest.hexdigest()


def _between(size: int, spans: Sequence[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    at = 0
    for begin, end in sorted(spans):
        yield at, begin
        at = end
    yield at, size


def _flush(path: Path) -> None:
    os.chmod(path, 0o644)
    with path.open("rb") as file:
        os.fsync(file.fileno())


def _put(partial: Path, folder: Path) -> None:
    """Move the finished folder into place, over an empty one or an earlier repair."""
    former = partial.with_name(f"{partial.name}-former")
    if folder.exists():
        shutil.rmtree(former, ignore_errors=True)
        os.replace(folder, former)
    try:
        os.replace(partial, folder)
    except OSError:
        if former.exists():
            os.replace(former, folder)
        raise
    shutil.rmtree(former, ignore_errors=True)


def unlisted(folder: Path, files: Sequence[str]) -> str:
    """The names of files in the folder that the sidecar does not list, as a text; empty if there are none."""
    there = {path.name for path in folder.iterdir()} - {*files, SIDECAR}
    return listed(sorted(there)) if there else ""
