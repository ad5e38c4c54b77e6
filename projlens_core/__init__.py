"""ProjLens as a library: `import projlens_core as pl`; docs/library.md has recipes.

Names are loaded when they are first used, so that the import itself brings no PyTorch and costs next to nothing.
"""

from importlib import import_module
from typing import TYPE_CHECKING

from projlens_core.errors import ProjLensError

if TYPE_CHECKING:
    from projlens_core.inputs.triggers import PRESETS
    from projlens_core.library.answers import Answers, attack_success_rate, respond
    from projlens_core.library.inputs import stamp, trigger
    from projlens_core.library.projectors import compare
    from projlens_core.library.result import AnalysisResult
    from projlens_core.library.session import CaseSession, open_case
    from projlens_core.runtime.paths import SAMPLES
    from projlens_core.runtime.versions import PROJLENS as __version__  # noqa: N811
    from projlens_core.weights.projector import read_projector

__all__ = [
    "PRESETS",
    "SAMPLES",
    "AnalysisResult",
    "Answers",
    "CaseSession",
    "ProjLensError",
    "__version__",
    "attack_success_rate",
    "compare",
    "open_case",
    "read_projector",
    "respond",
    "stamp",
    "trigger",
]

_HOMES = {  # public name → module and its name there
    "PRESETS": "inputs.triggers:PRESETS",
    "SAMPLES": "runtime.paths:SAMPLES",
    "AnalysisResult": "library.result:AnalysisResult",
    "Answers": "library.answers:Answers",
    "CaseSession": "library.session:CaseSession",
    "__version__": "runtime.versions:PROJLENS",
    "attack_success_rate": "library.answers:attack_success_rate",
    "compare": "library.projectors:compare",
    "open_case": "library.session:open_case",
    "read_projector": "weights.projector:read_projector",
    "respond": "library.answers:respond",
    "stamp": "library.inputs:stamp",
    "trigger": "library.inputs:trigger",
}


def __getattr__(name: str) -> object:
    """A public name, loaded now and kept."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module, _, there = _HOMES[name].partition(":")
    value = getattr(import_module(f"{__name__}.{module}"), there)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """The public names, loaded or not."""
    return sorted({*globals(), *__all__})
