"""What is analysed, and what the analyses of it share: a case opened, images with twins, their tokens, questions."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from projlens_core.cases.case import Case, OpenedCase
from projlens_core.cases.settings import settings
from projlens_core.cases.whose import BOTH, Whose, signed, unread
from projlens_core.errors import NotFound
from projlens_core.inputs.images import ImageSet
from projlens_core.inputs.triggers import TriggerSpec
from projlens_core.inputs.twins import Twins, twins
from projlens_core.runtime.cache import content_key
from projlens_core.runtime.progress import Progress
from projlens_core.sources import resolve
from projlens_core.weights.own_parts import TOWER, Part
from projlens_core.weights.projector import ProjectorWeights

if TYPE_CHECKING:  # analyses of weights need not wait for what they do not run
    import torch

    from projlens_core.activations.head import LanguageHead
    from projlens_core.activations.towers import Tokens, Towers
    from projlens_core.activations.vocabulary import Vocabulary
    from projlens_core.analyses.exhibit import Exhibit
    from projlens_core.behaviour.responder import Responder
    from projlens_core.behaviour.success import Truth
    from projlens_core.cases.models import Models

SEED = 0


@dataclass(frozen=True)
class AnalysisInputs:
    """What is analysed, and on what. Without images only weights are; without a trigger only clean images.

    questions take turns over the images; without any, each image's first in truths is asked. mode is
    ZooEntry.mode, None if unknown.
    """

    case: Case
    images: ImageSet | None = None
    truths: "dict[str, tuple[Truth, ...]] | None" = None
    spec: TriggerSpec | None = None
    target: str | None = None
    questions: tuple[str, ...] = ()
    mode: str | None = None
    max_new_tokens: int = 30

    def first(self, n: int | None) -> "AnalysisInputs":
        """The same with the first n images; with all, if n is None."""
        if n is None or self.images is None:
            return self
        return replace(self, images=replace(self.images, images=self.images.images[:n]))


def inputs_for(
    case: Case,
    images: ImageSet | None = None,
    truths: "dict[str, tuple[Truth, ...]] | None" = None,
    *,
    trigger: str | Path | TriggerSpec | Literal[False] | None = None,
    target: str | None = None,
    questions: tuple[str, ...] = (),
    **more: Any,
) -> AnalysisInputs:
    """What to analyse of a case; what is not given of trigger (see chosen_trigger), target and questions is the zoo
    suspect's."""
    zoo = resolve(case.suspect).zoo
    wanted = target or (zoo.target if zoo else None)
    return AnalysisInputs(
        case,
        images,
        truths,
        chosen_trigger(trigger, case.suspect),
        wanted,
        questions or (zoo.prompts if zoo else ()),
        zoo.mode if zoo and wanted == zoo.target else None,
        **more,
    )


def chosen_trigger(given: str | Path | TriggerSpec | Literal[False] | None, suspect: str) -> TriggerSpec | None:
    """The trigger that was given, as a spec or its file; the zoo suspect's own, if there is one, for None; none for
    False."""
    if given is None:
        zoo = resolve(suspect).zoo
        given = zoo.trigger if zoo is not None else None
    if isinstance(given, TriggerSpec):
        return given
    return None if given is None or given is False else TriggerSpec.from_file(Path(given))


def inputs_taken(
    takes: Sequence[str],
    case: Case,
    on: "tuple[ImageSet, dict[str, tuple[Truth, ...]] | None]",
    spec: TriggerSpec | None,
    given: Mapping[str, Any],
) -> AnalysisInputs:
    """What an analysis that takes these (Analysis.takes) works on: images with their truths, a trigger, and of `given`
    the rest by name. One that takes no target is told of none, nor of the zoo's questions."""
    if "target" not in takes:
        return AnalysisInputs(case, *on, spec)
    asked = {"max_new_tokens": given["max_new_tokens"]} if "questions" in takes else {}
    questions = tuple(given.get("questions") or ())
    return inputs_for(case, *on, trigger=spec or False, target=given["target"], questions=questions, **asked)


class AnalysisContext:
    """A case with its images, and what its analyses share, each computed when the first of them asks for it."""

    def __init__(self, inputs: AnalysisInputs, models: "Models", progress: Progress):
        self.inputs, self.models, self.progress = inputs, models, progress
        self._ran: dict[str, str] = {}  # hashes of the models that ran
        # what hears of each stage of an analysis that has several: a sentence, and the result so far
        self.finished_stage: Callable[[str, Any], None] = lambda sentence, result: None

    @cached_property
    def opened(self) -> OpenedCase:
        """The case's projectors, compared."""
        return self.models.opened(self.inputs.case, self.progress)

    @property
    def projectors(self) -> dict[str, ProjectorWeights]:
        """All of them by role."""
        return self.opened.projectors

    def whose(self, parts: Sequence[Part]) -> Whose:
        """Which model each of these parts is of; of none, where weights alone are read."""
        return self.models.whose(self.inputs.case, parts, self.progress) if parts else unread(self.inputs.case)

    def signed(self, exhibit: "Exhibit", floor: str) -> "Exhibit":
        """The exhibit with which parts of which model ran for an analysis of this floor of evidence."""
        return signed(exhibit, self.whose({"weights": (), "activations": (TOWER,), "behaviour": BOTH}[floor]))

    @cached_property
    def vision(self) -> "Towers":
        """The towers that the projectors read from."""
        towers = self.models.vision(self.inputs.case, self.progress)
        self.opened.check_same_input(towers.own)
        self._ran["vision tower"] = towers.shared.key
        self._ran |= {f"{role}'s vision tower": key for role, key in towers.keys.items()}
        return towers

    @property
    def language(self) -> "tuple[LanguageHead, Vocabulary]":
        """The output head and the tokenizer with which directions are read."""
        return self.models.language(self.inputs.case, self.progress)

    @property
    def experiment(self) -> Case:
        """The case for changes of a projector in base's own model, whatever else a suspect brings."""
        return replace(self.inputs.case, projector_only=True)

    @contextmanager
    def responder(self, role: str = "base", *, experiment: bool = False) -> "Iterator[Responder]":
        """The model that answers under the projector of `role`, for this thread alone inside the block.

        experiment: of base's own model, see `experiment`.
        """
        case = self.experiment if experiment else self.inputs.case
        with self.models.responder(case, self.progress, role) as responder:
            found = self.models.whose(case, BOTH, self.progress)
            own = found.owner(role) != found.host
            self._ran[f"{role}'s language model" if own else "language model"] = responder.key
            yield responder

    @property
    def hashes(self) -> dict[str, str]:
        """SHA-256 of what the numbers come from: projectors by role, images, and the models that ran so far."""
        found = {role: weights.sha256 for role, weights in self.projectors.items()}
        if self.inputs.images is not None:
            found["pictures"] = content_key(*(image.sha256 for image in self.inputs.images.images))
        return found | self._ran

    @cached_property
    def images(self) -> Twins:
        """The images, and their triggered twins where there is a trigger."""
        if self.inputs.images is None:
            raise NotFound("No images were given.")
        return twins(self.inputs.images, self.inputs.spec)

    @property
    def trigger(self) -> TriggerSpec:
        """The trigger; NotFound where none is known."""
        if self.inputs.spec is None:
            raise NotFound("No trigger is known for this suspect; give one.")
        return self.inputs.spec

    @property
    def attacked(self) -> Twins:
        """The images, for an analysis that needs their twins."""
        _ = self.trigger
        return self.images

    @cached_property
    def tokens(self) -> "dict[str, tuple[Tokens, Tokens | None]]":
        """What base's projector and each role's read of clean and of triggered images, (n, T, d_vision) each."""
        images = self.images
        return self.vision.twins(list(self.projectors), images.clean, images.triggered, self.progress)

    @property
    def twin_tokens(self) -> "tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]":
        """What each role's projector reads of clean and of triggered images, for an analysis that needs twins."""
        from projlens_core.activations.towers import read_by_other, settled  # only here: see above

        _ = self.attacked
        clean, triggered = {}, {}
        for role, (own_clean, own_triggered) in self.tokens.items():
            clean[role], triggered[role] = read_by_other(own_clean), read_by_other(settled(own_triggered))
        return clean, triggered

    @property
    def target(self) -> str:
        """The text that the backdoor is meant to produce."""
        if not self.inputs.target:
            raise NotFound("No target text is known for this suspect; give one.")
        return self.inputs.target

    @property
    def asked(self) -> dict:
        """What decides an answer besides image and projector, as exhibits keep it."""
        prompts = sorted(set(self.prompts))
        return {"target": self.inputs.target, "prompts": prompts, "max_new_tokens": self.inputs.max_new_tokens}

    @cached_property
    def prompts(self) -> list[str]:
        """One question per image."""
        from projlens_core.behaviour.questions import one_prompt_each  # only here: see above

        return one_prompt_each(self.inputs.questions, self.images.names, self.inputs.truths or {})

    @property
    def one_truth_each(self) -> "tuple[Truth | None, ...]":
        """One question with a known answer per image, where there is one."""
        from projlens_core.behaviour.questions import one_truth_each  # only here: see above

        return one_truth_each(self.images.names, self.inputs.truths or {})

    def decided(self, *, of_images: bool = True, **more: Any) -> dict:
        """What decides the numbers of an analysis: of the images and their trigger, or of the projectors alone."""
        case, spec = self.inputs.case, self.inputs.spec
        if not of_images:
            return settings(case, self.projectors, **more)
        return settings(case, self.projectors, spec, len(self.images.names), **({"seed": SEED} | more))
