"""Files that are there whole or not at all."""

import os
import tempfile
from pathlib import Path

from projlens_core.errors import InvalidInput
from projlens_core.runtime.text import printable


def write_atomically(path: Path, data: bytes, advice: str = "choose another place") -> None:
    """Write the file in one step: whoever looks sees the old one or the new one whole, also after a crash.

    InvalidInput, in one sentence that ends with the advice, if the folder does not exist or the disk does not take it.
    """
    name = printable(str(path))
    try:
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    except OSError as error:
        raise InvalidInput(f"{name} cannot be written ({error.strerror}); {advice}.") from error
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o644)  # mkstemp leaves it to its owner alone
        os.replace(temporary, path)
    except OSError as error:
        raise InvalidInput(f"{name} cannot be written ({error.strerror}); {advice}.") from error
    finally:
        Path(temporary).unlink(missing_ok=True)  # also where Ctrl-C ended it; after the move there is nothing left
