"""A folder that holds a checkpoint: what lies in it, and its files by plain name. No path leaves it."""

from pathlib import Path
from typing import Protocol

from projlens_core.errors import InvalidInput
from projlens_core.weights.bytesource import ByteSource, LocalFile


class Folder(Protocol):
    """A flat set of files, here or on the Hub."""

    label: str

    def names(self) -> list[str]:
        """Plain file names, sorted; subfolders are left out."""

    def file(self, name: str) -> ByteSource:
        """One of the files; InvalidInput if it is not a regular file of this folder."""


class LocalFolder:
    """A folder of this machine. Links are followed only within it (or its repository in the Hugging Face cache)."""

    def __init__(self, path: Path, label: str):
        self.path, self.label = path, label

    def names(self) -> list[str]:
        """Plain file names, sorted; subfolders are left out."""
        return sorted(path.name for path in self.path.iterdir() if not path.is_dir())

    def below(self, subfolder: str, ending: str) -> list[str]:
        """The entries of a subfolder with this ending, as SUBFOLDER/NAME, sorted; none where there is no such folder.

        InvalidInput if it is a link that leads out of the folder. `file` opens them.
        """
        inner = self.path / subfolder
        if not inner.is_dir():
            return []
        if not inner.resolve().is_relative_to(self._home()):
            raise InvalidInput(
                f"{subfolder} is a link that leaves {self.path.name!r}; copy the folder it means into it."
            )
        return sorted(f"{subfolder}/{path.name}" for path in inner.iterdir() if path.name.endswith(ending))

    def file(self, name: str) -> LocalFile:
        """One of the files; InvalidInput if it is no regular file, or a link that leads out of the folder."""
        try:
            target = (self.path / name).resolve()
        except RuntimeError as error:  # how Python 3.11 and 3.12 report a loop of links
            raise InvalidInput(f"{name} in {self.path.name!r} is a link to itself.") from error
        if not target.is_relative_to(self._home()):
            raise InvalidInput(f"{name} is a link that leaves {self.path.name!r}; copy the file it means into it.")
        if not target.is_file():
            raise InvalidInput(f"{name} in {self.path.name!r} is not a regular file.")
        file = LocalFile(target)
        file.name = name  # in the Hugging Face cache the target is called by its hash
        return file

    def _home(self) -> Path:
        """The folder that links may lead to: its own, or in the Hugging Face cache its repository's, where
        snapshots/REVISION/FILE is a link to ../../blobs/HASH."""
        folder = self.path.resolve()
        repository = folder.parent.parent
        return repository if folder.parent.name == "snapshots" and (repository / "blobs").is_dir() else folder
