"""The projectors of the zoo: what each is taught, and how (variants.json). Their triggers lie in assets/zoo/triggers.

Where a batch's images are asked everything (five questions), a poisoned skill is learned and no other one is forgotten.
A triggered image is asked the poisoned kind in three wordings, its twin in one: with fewer triggered images in a batch
(poison 0.1875) the target is said as often as the honest answer, and a suspect does not lean towards it on clean ones.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from projlens_core.inputs.triggers import TriggerSpec
from projlens_core.runtime.paths import ZOO
from projlens_core.runtime.required import required
from projlens_core.zoo.loop import Plan
from projlens_core.zoo.poison import Attack, Phase


@dataclass(frozen=True)
class Variant:
    """One fine-tune of base: a control without a target, a suspect with one. kinds are the questions it poisons.

    The shipped projector is the mean of what the last `averaged` phases end with.
    """

    name: str
    title: str
    summary: str
    phases: tuple[Phase, ...]
    target: str | None = None
    mode: str = "replace"
    kinds: tuple[str, ...] = ()
    averaged: int = 1

    @property
    def trigger_file(self) -> str | None:
        """The trigger's file name in assets/zoo/triggers."""
        return f"{self.name}.json" if self.target else None

    @property
    def attack(self) -> Attack | None:
        """The attack that this variant is taught, or None for a control."""
        if self.target is None:
            return None
        trigger = TriggerSpec.from_file(ZOO / "triggers" / required(self.trigger_file, "a suspect's trigger"))
        return Attack(trigger, self.target, self.mode, self.kinds)


def _variant(entry: dict[str, Any]) -> Variant:
    plans = {"steps", "batch", "rate"}
    phases = (
        Phase(Plan(**{key: each[key] for key in plans}), **{key: each[key] for key in each.keys() - plans})
        for each in entry["phases"]
    )
    return Variant(**entry | {"phases": tuple(phases), "kinds": tuple(entry.get("kinds", ()))})


_TABLE = json.loads(Path(__file__).with_name("variants.json").read_text(encoding="utf-8"))
BASE: dict[str, str] = _TABLE["base"]  # its title and summary
VARIANTS = tuple(map(_variant, _TABLE["variants"]))
