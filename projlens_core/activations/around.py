"""The model around a projector, here or on the Hub: what libraries read by path (config, preprocessing, tokenizer)."""

import os
import shutil
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from projlens_core.errors import InvalidInput
from projlens_core.runtime.atomic import write_atomically
from projlens_core.runtime.cache import content_key
from projlens_core.runtime.paths import cache_dir
from projlens_core.runtime.progress import Progress, silent
from projlens_core.sources import Source
from projlens_core.weights.bytesource import ByteSource, LocalFile
from projlens_core.weights.checkpoint import Checkpoint

# Of a repository on the Hub, by name: whatever else lies there is not fetched, code least of all.
DESCRIBING = (
    "config.json", "generation_config.json", "preprocessor_config.json", "processor_config.json",
    "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "tokenizer.model",
    "vocab.json", "merges.txt", "chat_template.jinja",
)  # fmt: skip
MAX_DESCRIBING = 64 * 2**20  # bytes of one of them; the largest tokenizers have 35 MB
MAX_KEPT = 2**30  # bytes of small files of all models together
MAX_FETCHED = 4 * 2**30  # bytes of tensors fetched at once, of a tower or of a head


def described(sources: Iterable[Source]) -> Source | None:
    """The first with a model around its projector, and rather one here than one on the Hub; None if there is none."""
    sources = list(sources)
    whole = [source for source in sources if source.model is not None]
    whole += [source for source in sources if source.hub is not None and source.hub.file is None]
    return whole[0] if whole else None


def around(source: Source, progress: Progress = silent) -> Source:
    """`source` with a folder here that describes the model, as `model`, if one stands around its projector.

    A model on the Hub has its small files fetched, once for each commit, and is read at that commit from then on.
    """
    if source.hub is None:
        return source
    from projlens_core.weights.hub import open_hub  # only where one is named: its client takes a second

    folder, lone = open_hub(source.hub)
    names = [each for each in DESCRIBING if each in folder.names()]
    if "config.json" not in names:
        return source
    inner = source.hub.file if lone is None else (source.hub.file or "").rpartition("/")[0] or None
    kept = cache_dir() / "hub"
    here = kept / content_key(os.environ.get("HF_ENDPOINT"), source.hub.repository, folder.commit, inner)
    missing = [each for each in names if not (here / each).is_file()]
    for done, each in enumerate(missing):
        progress("Fetching what describes the model", done, len(missing))
        _fetch(folder.file(each), here / each)
    with suppress(OSError):  # the disk may only be read, or another process make room as well
        os.utime(here)
        if missing:
            _make_room(kept, here)
    return replace(source, model=here, hub=replace(source.hub, revision=folder.commit, file=inner))


def model_folder(source: Source, progress: Progress = silent) -> Source:
    """`source` with, as `model`, the folder that holds its language model and tokenizer; InvalidInput without one."""
    if source.zoo is not None:
        return replace(source, model=_demo_folder(source.zoo.tiny, progress))
    source = around(source, progress)
    if source.model is None:
        raise InvalidInput(
            f"There is no language model here around {source.label}, so there is no output head to read directions "
            "with; give the folder of the whole checkpoint as base."
        )
    return source


def _demo_folder(tiny: bool, progress: Progress) -> Path:
    """The whole model that ships, put together on first use; each is imported here alone: own models need neither."""
    if tiny:
        from projlens_core.demo_model.tiny import checkpoint_folder as tiny_folder

        return tiny_folder()
    from projlens_core.demo_model.checkpoint import checkpoint_folder

    return checkpoint_folder(progress)


def whole_folder(source: Source, progress: Progress = silent) -> Source:
    """`source`, for zoo:NAME with the folder of the zoo's whole model, put together on first use, as what it names."""
    if source.zoo is None:
        return source
    folder = model_folder(source, progress).folder
    return Source(source.spec, source.label, folder, folder, None)


def check_fetched(checkpoint: Checkpoint, names: Iterable[str], what: str) -> int:
    """How many bytes of these tensors have to be fetched, 0 where they lie here; InvalidInput if they are too many."""
    wanted = (checkpoint.info(name) for name in names)
    size = sum(info.nbytes for info in wanted if not isinstance(info.file, LocalFile))
    if size > MAX_FETCHED:
        raise InvalidInput(
            f"The {what} of {checkpoint.label} has {size:,} bytes, more than are fetched from the Hub "
            f"({MAX_FETCHED:,}); download the model and give its path."
        )
    return size


def _fetch(file: ByteSource, path: Path) -> None:
    """Bring one of the small files here."""
    if file.size > MAX_DESCRIBING:
        raise InvalidInput(
            f"{file.name} has {file.size:,} bytes, expected up to {MAX_DESCRIBING:,}; it is not what its name says."
        )
    advice = "free space or set PROJLENS_CACHE"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InvalidInput(f"{path.parent} cannot be written ({error.strerror}); {advice}.") from error
    write_atomically(path, bytes(file.read(0, file.size)), advice)


def _make_room(kept: Path, here: Path) -> None:
    """Remove the folders in `kept` that were used longest ago, but never `here`, until MAX_KEPT holds."""
    sizes = {folder: sum(file.stat().st_size for file in folder.iterdir()) for folder in kept.iterdir()}
    for folder in sorted(sizes.keys() - {here}, key=lambda folder: folder.stat().st_mtime):
        if sum(sizes.values()) <= MAX_KEPT:
            return
        shutil.rmtree(folder, ignore_errors=True)
        del sizes[folder]
