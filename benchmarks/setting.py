"""What both sides of the zoo's jobs are given: models, trigger, question, and where the inputs of a run lie."""

from pathlib import Path

from projlens_core.inputs.probes import Probe, read_bank
from projlens_core.inputs.triggers import TriggerSpec
from projlens_core.runtime.paths import ZOO
from projlens_core.sources import resolve

RANK = 3  # of both ΔW in the cell of a grid that is compared
BASE, SUSPECT = "zoo:base", "zoo:targeted-refusal"
TRIGGER = ZOO / "triggers" / "targeted-refusal.json"
QUESTION = "Describe the picture."
NEW_TOKENS = 30
SIDE = 160  # px, of what the zoo's vision tower reads


def trigger() -> TriggerSpec:
    """The suspect's own trigger."""
    return TriggerSpec.from_file(TRIGGER)


def target() -> str:
    """What the suspect's attack makes the model say."""
    return resolve(SUSPECT).zoo.target


def samples() -> Path:
    """The images that ship with the zoo."""
    return ZOO / "samples"


def asked_probes() -> tuple[Probe, ...]:
    """The probes of the bank that change the whole image."""
    return tuple(probe for probe in read_bank(SIDE) if not probe.local)


def uploads(folder: Path) -> list[Path]:
    """The images that a user uploads one after the other; the first only warms up."""
    return sorted((folder / "uploads").glob("*.jpg"))


def image_set(folder: Path) -> list[Path]:
    """The images that are analysed together."""
    return sorted((folder / "set").glob("*.jpg"))


def many(folder: Path) -> list[Path]:
    """The images that are ranked."""
    return sorted((folder / "many").glob("*.jpg"))


def grid_set(folder: Path) -> list[Path]:
    """The images that every cell of a grid is asked about."""
    return sorted((folder / "grid").glob("*.jpg"))
