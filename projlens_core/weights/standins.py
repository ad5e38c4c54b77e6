"""What stands for the settings that trainers keep beside a model's weights, while a pickle is read.

Lightning and others save command lines, paths and configs as objects of their own classes. None of these is imported or
run: each name on the list becomes an empty class that takes what it is given and keeps nothing. A pickle that asks for
any other name is refused as before.
"""

from contextlib import AbstractContextManager
from functools import cache

import torch

STAND_INS = (
    "argparse.Namespace",
    "pathlib.PosixPath",
    "pathlib.PurePosixPath",
    "pathlib.WindowsPath",
    "pathlib.PureWindowsPath",
    "pathlib._local.PosixPath",
    "pytorch_lightning.utilities.parsing.AttributeDict",
    "lightning.pytorch.utilities.parsing.AttributeDict",
    "lightning.fabric.utilities.data.AttributeDict",
    "lightning_fabric.utilities.data.AttributeDict",
    "lightning_utilities.core.enums.StrEnum",
    "omegaconf.dictconfig.DictConfig",
    "omegaconf.listconfig.ListConfig",
    "omegaconf.base.ContainerMetadata",
    "omegaconf.base.Metadata",
    "omegaconf.nodes.AnyNode",
    "typing.Any",
)


def stand_ins() -> AbstractContextManager:
    """While it lasts, torch.load with weights_only takes the listed names for empty classes."""
    return torch.serialization.safe_globals([(_stand_in(name), name) for name in STAND_INS])


@cache
def _stand_in(name: str) -> type:
    def new(cls: type, *_: object) -> object:
        return object.__new__(cls)

    def ignore(*_: object) -> None:
        return None

    body = {"__new__": new, "__init__": ignore, "__setstate__": ignore, "__setitem__": ignore, "append": ignore}
    return type(name.rpartition(".")[2], (), body | {"update": ignore, "extend": ignore})
