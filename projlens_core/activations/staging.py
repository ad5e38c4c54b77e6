"""Copies of what libraries read by path: made here, file by file, of a checkpoint that nobody vouches for.

transformers follows what lies in a folder: links, classes and paths that its JSON names, code beside it. So it is never
given a stranger's folder but one of ours: files of known names, regular and bounded, and JSON written anew with known
keys. Weights are not copied; they lie in the folder as ours to link, to files that are open already.
"""

import json
import os
import stat
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from projlens_core.activations.staged_keys import kept
from projlens_core.errors import InvalidInput
from projlens_core.runtime.cache import content_key
from projlens_core.runtime.text import printable
from projlens_core.weights.bytesource import LocalFile
from projlens_core.weights.checkpoint import Checkpoint
from projlens_core.weights.folder import LocalFolder
from projlens_core.weights.selection import INDEX
from projlens_core.weights.tensorfile import read_json

MAX_FILE = 64 * 2**20  # bytes of one copied file; the largest tokenizers have 35 MB
WEIGHTS = "model.safetensors"
TEMPLATES = "additional_chat_templates"
MAX_TEMPLATES = 64
COPIED = (
    "tokenizer.json", "vocab.json", "merges.txt", "vocab.txt", "tokenizer.model", "spiece.model",
    "sentencepiece.bpe.model", "tiktoken.model", "tekken.json", "chat_template.jinja",
)  # fmt: skip
TEXT = (
    *COPIED,
    *("config.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json"),
    *("chat_template.json", "processor_config.json"),
)
CHAT = ("processor_config.json", "chat_template.json", "chat_template.jinja")
IMAGES = ("config.json", "processor_config.json", "preprocessor_config.json")


class StagedFolder:
    """A folder of ours that describes a model; removed when it is closed, or no longer used.

    path: where it is. key: what identifies all that lies in it.
    """

    def __init__(self, folder: Path, label: str, names: tuple[str, ...], inner: str | None = None):
        """names: which files are taken, where they are there. inner: a folder in `folder`, of which the same files are.

        InvalidInput for a file that is a link out of `folder`, no regular file, too large, or no JSON where that is
        expected.
        """
        self._own = TemporaryDirectory(prefix="projlens-", ignore_cleanup_errors=True)
        self.path = Path(self._own.name)
        source = LocalFolder(folder, label)
        written = self._write(source, names, "")
        written += self._write_templates(source) if "chat_template.jinja" in names else []
        if inner is not None:
            _check_folder(folder / inner)
            written += self._write(source, names, f"{inner}/")
        self.key = content_key(*(part for each in written for part in each))

    def close(self) -> None:
        """Remove it."""
        self._own.cleanup()

    def __enter__(self) -> "StagedFolder":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _write(self, source: LocalFolder, names: tuple[str, ...], inner: str) -> list[tuple[str, bytes]]:
        written = []
        for name in names:
            if not os.path.lexists(source.path / inner / name):
                continue
            file = source.file(f"{inner}{name}")
            data = _whole(file) if name in COPIED else json.dumps(kept(name, read_json(file))).encode()
            written.append((f"{inner}{name}", data))
        self._put(written)
        return written

    def _write_templates(self, source: LocalFolder) -> list[tuple[str, bytes]]:
        folder = source.path / TEMPLATES
        if not folder.is_dir():
            return []
        _check_folder(folder)
        names = sorted(name for name in os.listdir(folder) if name.endswith(".jinja"))
        if len(names) > MAX_TEMPLATES:
            raise InvalidInput(f"{source.label} has {len(names):,} chat templates, expected up to {MAX_TEMPLATES}.")
        written = [(f"{TEMPLATES}/{name}", _whole(source.file(f"{TEMPLATES}/{name}"))) for name in names]
        self._put(written)
        return written

    def _put(self, files: list[tuple[str, bytes]]) -> None:
        for name, data in files:
            path = self.path / name
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(data)


def _check_folder(folder: Path) -> None:
    """InvalidInput for a link: where it leads could change, and is nobody's business."""
    if folder.is_symlink():
        raise InvalidInput(f"{printable(folder.name)} is a link, expected a folder; copy the files it means into it.")


def _whole(file: LocalFile) -> bytes:
    if file.size > MAX_FILE:
        raise InvalidInput(
            f"{printable(file.name)} has {file.size:,} bytes, expected up to {MAX_FILE:,}; it is not what its name "
            "says."
        )
    return bytes(file.read(0, file.size))


@contextmanager
def staged_weights(checkpoint: Checkpoint, folder: Path, label: str) -> Iterator[Path]:
    """A folder of ours with the checkpoint's safetensors files, open as regular files, and what its generation config
    says of tokens; InvalidInput for what is no regular file (any more).
    """
    with StagedFolder(folder, label, ("generation_config.json",)) as stage, ExitStack() as opened:
        files: dict[str, LocalFile] = {}
        for file in (checkpoint.info(name).file for name in checkpoint.names):
            if not isinstance(file, LocalFile):
                raise InvalidInput(f"{printable(file.name)} lies on the Hub; download the whole model, give its path.")
            files[file.name] = file
        shards = {name: WEIGHTS if len(files) == 1 else f"{i:05}.safetensors" for i, name in enumerate(sorted(files))}
        handles = {name: _opened(files[name], opened) for name in shards}
        for name, shard in shards.items():
            os.symlink(f"/dev/fd/{handles[name]}", stage.path / shard)
        if len(files) > 1:
            places: Mapping[str, str] = {n: shards[checkpoint.info(n).file.name] for n in checkpoint.names}
            (stage.path / INDEX).write_text(json.dumps({"metadata": {}, "weight_map": places}))
        yield stage.path
        for name, handle in handles.items():
            files[name].check_unchanged(handle)


def _opened(file: LocalFile, opened: ExitStack) -> int:
    """The number under which the file is open until the stack is closed."""
    try:
        handle = os.open(file.path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise InvalidInput(f"{printable(file.name)} cannot be read: {error.strerror}.") from error
    opened.callback(os.close, handle)
    found = os.fstat(handle)
    if not stat.S_ISREG(found.st_mode):
        raise InvalidInput(
            f"{printable(file.name)} changed while it was read; open it again once nothing writes to it."
        )
    file.check_unchanged(handle)
    return handle
