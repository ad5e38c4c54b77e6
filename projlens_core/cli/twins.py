"""The images a command works on, and their triggered twins."""

from pathlib import Path

from projlens_core.inputs.triggers import TriggerSpec
from projlens_core.inputs.twins import Twins, twins
from projlens_core.sources import Source

__all__ = ["Twins", "chosen_trigger", "twins"]


def chosen_trigger(given: str | None, suspect: Source | None) -> TriggerSpec | None:
    """The trigger in the file `given`, else the zoo suspect's own, else None."""
    if given is not None:
        return TriggerSpec.from_file(Path(given))
    if suspect is not None and suspect.zoo is not None and suspect.zoo.trigger is not None:
        return TriggerSpec.from_file(suspect.zoo.trigger)
    return None
