"""What of a suspect equals its base outside the projector: not assumed but read, tensor by tensor and file by file.

Tensors stored alike are compared byte by byte; stored differently, value by value. Both sides are streamed in blocks,
so memory does not grow with the model. Whatever could not be compared is listed with the reason.
"""

import hashlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch

from projlens_core.errors import InvalidInput, ProjLensError
from projlens_core.runtime.progress import Progress, silent
from projlens_core.runtime.text import listed
from projlens_core.weights.adapter import AdaptedCheckpoint, MergedCheckpoint, UnmergedCheckpoint
from projlens_core.weights.axes import moved
from projlens_core.weights.bytesource import ByteSource
from projlens_core.weights.checkpoint import ADAPTER_CONFIG, Checkpoint
from projlens_core.weights.families import split_layout
from projlens_core.weights.names import by_plain_name, part_of
from projlens_core.weights.opening import open_checkpoint
from projlens_core.weights.quantised.tensor import Quantised, Stored
from projlens_core.weights.stored import FLOATS, TensorInfo, decode
from projlens_core.weights.tensorfile import MAX_JSON, read_json
from projlens_core.weights.unread import unread

SAME, CHANGED, NOT_COMPARED = "same", "changed", "not compared"
_BLOCK = 2**23  # bytes of the suspect in memory at a time
_RUN = 2**20  # values of each side at a time where they are stored differently; whole blocks of every quantised type
_MB = 2**20
_TEXT = (".json", ".jinja", ".txt", ".model", ".tiktoken")  # preprocessing, tokenizer, chat template, configs
_BESIDE = "projector, not in its deltas"


@dataclass(frozen=True)
class PartComparison:
    """One tensor or file. part: what it belongs to ("vision tower", "file", …); status: same, changed or not compared;
    reason: how it was compared, how far it moved, or why it was not compared."""

    name: str
    part: str
    status: str
    reason: str


@dataclass(frozen=True)
class Proof:
    """All findings, tensors first, and how many bytes of weights and files were read for them."""

    findings: tuple[PartComparison, ...]
    bytes_read: int

    @property
    def counts(self) -> dict[str, dict[str, int]]:
        """{part: {status: how many}}, in order of appearance."""
        table: dict[str, Counter] = {}
        for finding in self.findings:
            table.setdefault(finding.part, Counter())[finding.status] += 1
        return {part: {s: count[s] for s in (SAME, CHANGED, NOT_COMPARED)} for part, count in table.items()}

    def of(self, status: str) -> tuple[PartComparison, ...]:
        """The findings of one status."""
        return tuple(finding for finding in self.findings if finding.status == status)


def prove(base: str | Path, suspect: str | Path, progress: Progress = silent) -> Proof:
    """Compare everything of the suspect but its projector with the base; errors as open_checkpoint.

    A tensor or file that cannot be read is a finding, "not compared", not an error.
    """
    theirs = open_checkpoint(suspect, base=base)
    adapted = isinstance(theirs, AdaptedCheckpoint)
    ours = theirs.base if isinstance(theirs, AdaptedCheckpoint) else open_checkpoint(base)
    findings = [*_tensors(ours, theirs, progress), *_files(ours, theirs)]
    return Proof(
        tuple(findings), theirs.bytes_read + (0 if adapted else ours.bytes_read)
    )  # an adapter's has the base's


def _tensors(base: Checkpoint, suspect: Checkpoint, progress: Progress) -> Iterator[PartComparison]:
    names = [[name for name in side.names if split_layout(name) is None] for side in (base, suspect)]
    (ours, ours_unclear), (theirs, theirs_unclear) = map(by_plain_name, names)
    total, done = sum(suspect.info(name).nbytes for name in theirs.values()) // _MB, 0
    for key, name in sorted(theirs.items(), key=lambda item: _place(suspect.info(item[1]))):  # as they lie on the disk
        progress("Comparing the rest, MB", done // _MB, total)
        done += suspect.info(name).nbytes
        if key not in ours:
            yield PartComparison(name, _part(name), NOT_COMPARED, "only the suspect has it")
            continue
        try:
            status, reason = _compared(base, ours[key], suspect, name)
        except ProjLensError as error:
            status, reason = NOT_COMPARED, str(error)
        yield PartComparison(name, _part(name), status, reason)
    progress("Comparing the rest, MB", total, total)
    for key, name in ours.items():
        if key not in theirs:
            yield PartComparison(name, _part(name), NOT_COMPARED, "only the base has it")
    for module in suspect.unapplied if isinstance(suspect, MergedCheckpoint) else ():
        yield PartComparison(
            module, _part(module), NOT_COMPARED, "the adapter changes it, but the base does not hold it"
        )
    for side, unclear in (("base", ours_unclear), ("suspect", theirs_unclear)):
        for name in unclear:
            yield PartComparison(
                name, _part(name), NOT_COMPARED, f"the {side} holds it under several names that mean the same"
            )


def _place(info: Stored) -> tuple[str, int]:
    return info.file.name, info.begin


def _part(name: str) -> str:
    return _BESIDE if unread([name], ()) else part_of(name)


def _compared(base: Checkpoint, our_name: str, suspect: Checkpoint, name: str) -> tuple[str, str]:
    """Status and reason of one tensor that both have."""
    if (change := suspect.changes(name)) and isinstance(suspect, UnmergedCheckpoint):
        before, after = base.read(our_name).double(), suspect.read(name).double()
        if before.shape != after.shape:
            return CHANGED, f"shape {tuple(before.shape)} became {tuple(after.shape)}"
        apart = (torch.linalg.vector_norm(after - before) / torch.linalg.vector_norm(before)).item()
        return (CHANGED, f"with its own adapter, ‖Δ‖/‖base‖ {apart:.3%}") if apart else (SAME, "with its own adapter")
    if change is not None and isinstance(suspect, AdaptedCheckpoint):
        return (SAME, "an adapter of zeros") if change == 0 else (CHANGED, f"by the adapter, ‖Δ‖ {change:.3g}")
    ours, theirs = base.info(our_name), suspect.info(name)
    if ours.file is theirs.file and ours.begin == theirs.begin and ours.held is None:
        return SAME, "the adapter leaves the base's as it is"
    if codes_equal(ours, theirs):
        return SAME, "byte for byte"
    order = moved(ours.shape, theirs.shape)
    if ours.shape != theirs.shape and order is None:
        if 0 in (ours.numel, theirs.numel):
            return NOT_COMPARED, f"the {'base' if ours.numel == 0 else 'suspect'} holds it empty"
        return CHANGED, f"shape {ours.shape} became {theirs.shape}"
    plain = isinstance(ours, TensorInfo) and isinstance(theirs, TensorInfo) and ours.row_by_row and theirs.row_by_row
    if plain and ours.dtype == theirs.dtype and ours.shape == theirs.shape:
        digest = ours.file.digest
        if digest is not None and digest == theirs.file.digest and ours.begin == theirs.begin:
            return SAME, "in files of one SHA-256"
        if all(blocks_equal(ours, theirs)):
            return SAME, "byte for byte"
    if ours.shape != theirs.shape:
        return _by_value(ours, theirs, base, suspect, order)
    found = _by_value(ours, theirs, base, suspect)
    if found[0] == CHANGED and order is not None:  # a kernel that looks alike in both orders
        turned = _by_value(ours, theirs, base, suspect, order)
        return turned if turned[0] == SAME else found
    return found


def codes_equal(ours: Stored, theirs: Stored) -> bool:
    """Whether both are quantised, in one form, and all that their values follow from is the same, byte by byte."""
    if not (isinstance(ours, Quantised) and isinstance(theirs, Quantised)) or ours.dtype != theirs.dtype:
        return False
    if vars(ours.form) != vars(theirs.form) or ours.parts.keys() != theirs.parts.keys():
        return False
    pairs = [(ours.parts[what], theirs.parts[what]) for what in ours.parts]
    return all(
        a.row_by_row and b.row_by_row and (a.shape, a.dtype) == (b.shape, b.dtype) and all(blocks_equal(a, b))
        for a, b in pairs
    )


def blocks_equal(ours: Stored, theirs: Stored) -> Iterator[bool]:
    """Whether the bytes of two tensors of one size are the same, block by block."""
    for begin in range(0, ours.nbytes, _BLOCK):
        length = min(_BLOCK, ours.nbytes - begin)
        yield ours.file.read(ours.begin + begin, length) == theirs.file.read(theirs.begin + begin, length)


def _by_value(
    ours: Stored,
    theirs: Stored,
    base: Checkpoint,
    suspect: Checkpoint,
    order: tuple[int, int] | None = None,
) -> tuple[str, str]:
    """Compare values that are stored in other types, in another order, or differently; order: which axis of the
    suspect's is to be moved where first (see axes.moved)."""
    for info in (ours, theirs):
        if info.dtype not in FLOATS and not info.quantised and ours.dtype != theirs.dtype:
            return NOT_COMPARED, f"stored as {ours.dtype} and {theirs.dtype}"
    square = distance = 0.0
    equal, fits = True, {kind: True for kind in (ours.dtype, theirs.dtype) if kind in FLOATS}
    turned = None if order is None else suspect.read(theirs.name).movedim(*order).reshape(-1).split(_RUN)
    for b, s in zip(values(base, ours), turned or values(suspect, theirs), strict=True):
        b, s = b.double(), s.double()  # a float32 sum loses digits that a small change needs
        equal = equal and torch.equal(b, s)
        for kind in fits:
            dtype = getattr(torch, kind)
            fits[kind] = fits[kind] and torch.equal(b.to(dtype), s.to(dtype))
        square += b.square().sum().item()
        distance += (s - b).square().sum().item()
    relative = (distance / square) ** 0.5 if square else float("inf")
    if equal:
        return SAME, "value for value" if order is None else "value for value, its axes in another order"
    if ours.dtype != theirs.dtype and (ours.quantised or theirs.quantised):
        return NOT_COMPARED, f"{ours.dtype} against {theirs.dtype}, which rounds; they lie {relative:.2%} apart"
    if ours.dtype != theirs.dtype and any(fits.values()):
        return SAME, f"rounded to {next(kind for kind in fits if fits[kind])}"
    return CHANGED, f"‖Δ‖/‖base‖ {relative:.3%}"


def values(checkpoint: Checkpoint, info: Stored) -> Iterator[torch.Tensor]:
    """The tensor's values in order, in runs of the same length whatever their type."""
    if not isinstance(info, TensorInfo) or not info.row_by_row:
        yield from checkpoint.read(info.name).reshape(-1).split(_RUN)
        return
    size = info.nbytes / info.numel if info.numel else 1
    for begin in range(0, info.numel, _RUN):
        first, last = (round(min(at, info.numel) * size) for at in (begin, begin + _RUN))
        yield decode(info, info.file.read(info.begin + first, last - first))


def _files(base: Checkpoint, suspect: Checkpoint) -> Iterator[PartComparison]:
    """Configs, preprocessing, tokenizer and chat template."""
    if base.folder is None or suspect.folder is None:
        lone = "base" if base.folder is None else "suspect"
        yield PartComparison(
            "config, preprocessing, tokenizer, chat template", "files", NOT_COMPARED, f"the {lone} has none"
        )
        return
    present = [{name for name in folder.names() if _is_described(name)} for folder in (base.folder, suspect.folder)]
    for name in sorted(present[0] | present[1]):
        if name not in present[0]:
            yield PartComparison(name, "files", CHANGED, "only the suspect has it")
        elif name not in present[1]:
            yield PartComparison(name, "files", NOT_COMPARED, "only the base has it")
        else:
            try:
                status, reason = _file(base.folder.file(name), suspect.folder.file(name))
            except (ProjLensError, OSError) as error:
                status, reason = NOT_COMPARED, str(error)
            yield PartComparison(name, "files", status, reason)


def _is_described(name: str) -> bool:
    """Whether the file decides what the model sees or says, other than by weights."""
    return name.endswith(_TEXT) and not name.endswith((".index.json", ADAPTER_CONFIG)) and name.lower() != "readme.txt"


def _file(ours: ByteSource, theirs: ByteSource) -> tuple[str, str]:
    if ours.digest and ours.digest == theirs.digest:
        return SAME, "one SHA-256"
    hashes = [_sha256(file) for file in (ours, theirs)]
    if hashes[0] == hashes[1]:
        return SAME, f"SHA-256 {hashes[0][:16]}…"
    if ours.name.endswith(".json") and max(ours.size, theirs.size) <= MAX_JSON:
        try:
            one, other = read_json(ours), read_json(theirs)
        except InvalidInput as error:
            return CHANGED, str(error)
        keys = sorted(key for key in one.keys() | other.keys() if one.get(key) != other.get(key))
        return (CHANGED, f"differs in {listed(keys)}") if keys else (SAME, "the same entries, written differently")
    return CHANGED, f"SHA-256 {hashes[0][:16]}… became {hashes[1][:16]}…"


def _sha256(file: ByteSource) -> str:
    digest = hashlib.sha256()
    for begin in range(0, file.size, _BLOCK):
        digest.update(file.read(begin, min(_BLOCK, file.size - begin)))
    return digest.hexdigest()
