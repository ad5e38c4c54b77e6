"""What a report is about: a case with pictures, trigger, target and questions, a zoo suspect's own by default."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from projlens_core.evidence.case import Case
from projlens_core.inputs.images import ImageSet
from projlens_core.inputs.triggers import TriggerSpec
from projlens_core.sources import resolve

if TYPE_CHECKING:
    from projlens_core.behaviour.success import Truth

RANKS = (0, 1, 2, 3, 5)


@dataclass(frozen=True)
class Subject:
    """What is analysed, and on what. Without pictures only weights are; without a trigger only clean pictures.

    questions take turns over the pictures; without any, each picture's first in truths is asked. mode is
    ZooEntry.mode, None if unknown. ranks are those of the low-rank grid.
    """

    case: Case
    images: ImageSet | None = None
    truths: "dict[str, tuple[Truth, ...]] | None" = None
    spec: TriggerSpec | None = None
    target: str | None = None
    questions: tuple[str, ...] = ()
    mode: str | None = None
    ranks: tuple[int, ...] = RANKS
    max_new_tokens: int = 30

    def first(self, n: int | None) -> "Subject":
        """The same with the first n pictures; with all, if n is None."""
        if n is None or self.images is None:
            return self
        return replace(self, images=replace(self.images, pictures=self.images.pictures[:n]))


def subject(
    case: Case,
    images: ImageSet | None = None,
    truths: "dict[str, tuple[Truth, ...]] | None" = None,
    *,
    trigger: str | Path | TriggerSpec | None = None,
    target: str | None = None,
    questions: tuple[str, ...] = (),
    **more: object,
) -> Subject:
    """A subject; trigger (a spec or its file), target and questions that are not given are the zoo suspect's own."""
    zoo = resolve(case.suspect).zoo
    if trigger is None and zoo is not None:
        trigger = zoo.trigger
    spec = trigger if isinstance(trigger, TriggerSpec) or trigger is None else TriggerSpec.from_file(Path(trigger))
    wanted = target or (zoo.target if zoo else None)
    return Subject(
        case,
        images,
        truths,
        spec,
        wanted,
        questions or (zoo.prompts if zoo else ()),
        zoo.mode if zoo and wanted == zoo.target else None,
        **more,
    )
