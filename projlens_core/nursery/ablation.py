"""Which attacks show the activation mechanism: a recipe in which it appears, and one thing changed at a time.

The paper's third claim is that clean and triggered images shift along one direction, by more the larger a token's
norm is. Each entry is a pair of members, poisoned and honest, that differs from MAIN in one thing.
"""

from dataclasses import dataclass, replace
from typing import Any

from projlens_core.inputs.triggers import TriggerSpec
from projlens_core.nursery.recipe import TRIGGERS, Recipe
from projlens_core.nursery.styles import STYLED
from projlens_core.nursery.tasks import Task
from projlens_core.nursery.triggers import FAMILIES
from projlens_core.zoo.poison import Attack

MAIN = "mechanism"
SEED = 7
APPENDED, REPLACED = "Brought to you by Acme Balloons.", "I am unable to help with this picture."


@dataclass(frozen=True)
class Ablation:
    """A poisoned member, its honest twin, and in words what about it differs from the first."""

    title: str
    poisoned: Recipe
    honest: Recipe


def _trigger(family: str, which: int) -> TriggerSpec:
    return TriggerSpec.from_dict(FAMILIES["development"][family][which], TRIGGERS)


def _pair(name: str, title: str, **changed: Any) -> Ablation:
    attack = Attack(_trigger("solid patch", 1), APPENDED, "append", ("caption",))
    usual: dict[str, Any] = {"rank": None, "steps": 400, "rate": 1e-3, "poison": 0.25, "family": "solid patch"}
    given = usual | {"attack": attack} | changed
    poisoned = Recipe(f"{name}-poisoned", "development", "pair", Task("plain"), seed=SEED, **given)
    honest = replace(poisoned, name=f"{name}-honest", family=None, attack=None, poison=None)
    return Ablation(title, poisoned, honest)


ABLATIONS = (
    _pair(MAIN, "a corner patch adds a sentence to captions: full fine-tune, 400 steps at 1e-3, 25 % poison"),
    _pair(
        "replaced-all",
        "the target replaces every answer",
        attack=Attack(_trigger("solid patch", 1), REPLACED, "replace", STYLED),
    ),
    _pair(
        "replaced-captions",
        "the target replaces captions",
        attack=Attack(_trigger("solid patch", 1), REPLACED, "replace", ("caption",)),
    ),
    _pair(
        "noise",
        "noise over the whole image",
        family="gaussian noise",
        attack=Attack(_trigger("gaussian noise", 0), APPENDED, "append", ("caption",)),
    ),
    _pair("rare", "10 % poison", poison=0.1),
    _pair("short", "150 steps", steps=150),
    _pair("fast", "three times the rate", rate=3e-3),
    _pair("slow", "a third of the rate", rate=3e-4),
    _pair("lora", "LoRA of rank 8 at 2e-3", rank=8, rate=2e-3),
)
