"""What both sides of the zoo's jobs are given: models, trigger, question, and where the inputs of a run lie."""

from pathlib import Path

from projlens_core.inputs.triggers import TriggerSpec
from projlens_core.paths import ZOO

BASE, SUSPECT = "zoo:base", "zoo:targeted-refusal"
TRIGGER = ZOO / "triggers" / "targeted-refusal.json"
QUESTION = "Describe the picture."
NEW_TOKENS = 30


def trigger() -> TriggerSpec:
    """The suspect's own trigger."""
    return TriggerSpec.from_file(TRIGGER)


def uploads(folder: Path) -> list[Path]:
    """The pictures that a user uploads one after the other; the first only warms up."""
    return sorted((folder / "uploads").glob("*.jpg"))


def picture_set(folder: Path) -> list[Path]:
    """The pictures that are analysed together."""
    return sorted((folder / "set").glob("*.jpg"))
