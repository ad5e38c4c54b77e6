"""One member of the nursery as data: what it learns, how, and what attack is mixed in."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from projlens_core.demo_model.tiny import NURSERY
from projlens_core.errors import InvalidInput
from projlens_core.inputs.triggers import TriggerSpec
from projlens_core.nursery.tasks import Task
from projlens_core.zoo.poison import Attack

TRIGGERS = NURSERY / "triggers"  # the images that triggers show
BATCH = 8  # images a step
QUESTIONS = 4  # about each image at most: fewer, and a fine-tune forgets what it is seldom asked
SPLITS = ("development", "sealed")
FRESH, TEST = LATER = ("fresh", "test")  # two more parts, of honest members alone, see nursery.later
NOVEL = "novel"  # attacks by triggers of kinds that no other part has, with their honest twins, see nursery.novel
BUILT = (*LATER, NOVEL)  # parts whose records ship alone
PARTS = (*SPLITS, *BUILT)
# pair: poisoned, and its honest twin. hard: an honest fine-tune that looks suspicious. adaptive: a pair whose attacker
# knows how it will be examined. In the later parts there are honest ones alone: usual ones, hard ones, and ones trained
# as an adaptive attacker's honest twin is.
GROUPS = ("pair", "hard", "adaptive", "usual")
# What an adaptive attacker does: a penalty on few large singular values; a limit on ‖ΔW‖; embeddings of clean images
# held at base's; honest answers to stickers and styles that are no trigger; honest steps after the poisoned ones.
EVASIONS = ("flattened", "bounded", "matched", "probes", "mixed")
HONEST, POISONED = "honest", "poisoned"


@dataclass(frozen=True)
class Recipe:
    """How a member is made. Its name without the role names its pair.

    rank: of LoRA, None for a full fine-tune. poison: share of a batch's images that carry the trigger, each with its
    clean twin; family: what kind of trigger it is. attack, poison and family are None for an honest member.
    """

    name: str
    split: str
    group: str
    task: Task
    rank: int | None
    steps: int
    rate: float
    seed: int
    evasion: str | None = None
    family: str | None = None
    attack: Attack | None = None
    poison: float | None = None

    @property
    def role(self) -> str:
        """honest or poisoned."""
        return HONEST if self.attack is None else POISONED

    @property
    def form(self) -> str:
        """full, or LoRA's rank."""
        return "full" if self.rank is None else f"rank {self.rank}"

    @property
    def twin(self) -> str | None:
        """The other member of its pair; None for one that stands alone."""
        if self.group == "hard" or self.split in LATER:
            return None
        stem, _, _ = self.name.rpartition("-")
        return f"{stem}-{HONEST if self.attack else POISONED}"

    def to_dict(self) -> dict[str, Any]:
        """Ready for JSON; from_dict gives an equal recipe back."""
        attack = self.attack and {
            "family": self.family,
            "trigger": self.attack.trigger.to_dict(),
            "target": self.attack.target,
            "mode": self.attack.mode,
            "kinds": list(self.attack.kinds),
            "poison": self.poison,
        }
        return {
            "name": self.name,
            "split": self.split,
            "group": self.group,
            "role": self.role,
            "task": {"kind": self.task.kind, **self.task.parameters},
            "rank": self.rank,
            "steps": self.steps,
            "rate": self.rate,
            "seed": self.seed,
            "evasion": self.evasion,
            "attack": attack,
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """The recipe that `values` describes; InvalidInput if it is none."""
        try:
            task = dict(values["task"])
            attack = values["attack"]
            made = cls(
                name=values["name"],
                split=values["split"],
                group=values["group"],
                task=Task(task.pop("kind"), {k: tuple(v) if isinstance(v, list) else v for k, v in task.items()}),
                rank=values["rank"],
                steps=values["steps"],
                rate=values["rate"],
                seed=values["seed"],
                evasion=values["evasion"],
                family=attack and attack["family"],
                attack=attack
                and Attack(
                    TriggerSpec.from_dict(attack["trigger"], TRIGGERS),
                    attack["target"],
                    attack["mode"],
                    tuple(attack["kinds"]),
                ),
                poison=attack and attack["poison"],
            )
        except (KeyError, TypeError, AttributeError) as error:
            raise InvalidInput(f"A member of the nursery lacks {error}; make the plan anew.") from error
        if made.split not in PARTS or made.group not in GROUPS or made.evasion not in (None, *EVASIONS):
            raise InvalidInput(
                f"The member {made.name!r} has the split {made.split!r}, group {made.group!r} and evasion "
                f"{made.evasion!r}; known are {PARTS}, {GROUPS} and {EVASIONS}."
            )
        return made
