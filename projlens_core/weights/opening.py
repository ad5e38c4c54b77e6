"""What a source names, opened as a checkpoint: a file, a folder, an adapter on its base; here or on the Hub.

It stands above all kinds of checkpoint, none of which needs to know how another one is opened.
"""

from pathlib import Path

from projlens_core.errors import InvalidInput
from projlens_core.sources import Source, resolve
from projlens_core.weights.adapter import is_adapter, open_adapted
from projlens_core.weights.bytesource import ByteSource, LocalFile
from projlens_core.weights.checkpoint import ADAPTER_CONFIG, Checkpoint, check_kind
from projlens_core.weights.folder import Folder, LocalFolder
from projlens_core.weights.selection import check_index, select
from projlens_core.weights.tensorfile import read_json
from projlens_core.weights.unmerged import with_adapters

FACTORS = ".lora_"  # in the names of what PEFT adds to a model


def open_checkpoint(source: Source | str | Path, base: Source | str | Path | None = None) -> Checkpoint:
    """Open what `source` names, reading headers only. An adapter needs `base`, on which it lies.

    NotFound if it does not exist, Unsupported for formats this version does not read, InvalidInput for a malformed
    or ambiguous checkpoint.
    """
    source = source if isinstance(source, Source) else resolve(source)
    try:
        return _open(source, base)
    except OSError as error:
        raise InvalidInput(f"{source.label} cannot be read: {error.strerror or error}.") from error


def _open(source: Source, base: Source | str | Path | None) -> Checkpoint:
    folder: Folder | None
    lone: ByteSource | None
    if source.hub is not None:
        from projlens_core.weights.hub import open_hub  # only where one is named: its client takes a second

        folder, lone = open_hub(source.hub)
    elif source.weights.is_dir():
        folder, lone = LocalFolder(source.weights, source.label), None
    else:
        folder, lone = LocalFolder(source.model, source.label) if source.model else None, _local(source.weights)
    beside: Folder | None = LocalFolder(source.model, source.label) if source.model else folder
    if lone is not None and lone.name.startswith("adapter_model."):
        folder = folder or LocalFolder(source.weights.parent, source.label)
        lone = None
    if lone is not None:
        config = _config(beside)
        around: Folder | None = folder or (None if source.hub else LocalFolder(source.weights.parent, source.label))
        return _whole(Checkpoint(source.label, [lone], config, _asks_for_code(config)), around, base)
    if folder is None:
        raise TypeError(f"{source.label} was opened as neither a file nor a folder")
    if is_adapter(folder):
        return open_adapted(folder, _base_of(source.label, base))
    config = _config(beside)
    selection = select(folder)
    files = {name: folder.file(name) for name in selection.files}
    warnings = _asks_for_code(config) + selection.warnings
    checkpoint = Checkpoint(source.label, list(files.values()), config, warnings, folder)
    checkpoint.warnings += check_index(selection, checkpoint.places, source.label)
    return _whole(checkpoint, folder, base)


def _whole(checkpoint: Checkpoint, folder: Folder | None, base: Source | str | Path | None) -> Checkpoint:
    """The model that the files hold, adapters beside its weights included. folder: where their config may lie."""
    if any(FACTORS in name for name in checkpoint.names):
        return with_adapters(checkpoint, folder, lambda: _base_of(checkpoint.label, base))
    if checkpoint.folder is not None and ADAPTER_CONFIG in checkpoint.folder.names():
        raise InvalidInput(
            f"{checkpoint.label} has an {ADAPTER_CONFIG} but no adapter_model.safetensors or adapter_model.bin; fetch "
            f"the adapter again, or take {ADAPTER_CONFIG} away if the model beside it is merged."
        )
    return checkpoint


def _base_of(label: str, base: Source | str | Path | None) -> Checkpoint:
    """The base that an adapter called `label` lies on; InvalidInput if none is given."""
    if base is None:
        raise InvalidInput(
            f"{label} is an adapter, a change to a base and no model by itself; give it as the suspect or control of a "
            "case whose base it was trained on."
        )
    return open_checkpoint(base)


def _local(path: Path) -> LocalFile:
    check_kind(path.name)
    if not path.is_file():
        raise InvalidInput(f"{path.name} is not a regular file.")
    return LocalFile(path)


def _config(folder: Folder | None) -> dict | None:
    if folder is None or "config.json" not in folder.names():
        return None
    return read_json(folder.file("config.json"))


def _asks_for_code(config: dict | None) -> tuple[str, ...]:
    if config and "auto_map" in config:
        return ("Its config asks a loader to run code of its own (auto_map); ProjLens does not run it.",)
    return ()
