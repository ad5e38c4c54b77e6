"""A case as an object: its projectors opened, its models kept, and every analysis of it a method."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from projlens_core import analyses
from projlens_core.analyses.analysis import Analysis
from projlens_core.analyses.context import AnalysisContext, AnalysisInputs, inputs_taken
from projlens_core.cases.case import Case, OpenedCase
from projlens_core.cases.models import Loaded
from projlens_core.errors import InvalidInput
from projlens_core.inputs.triggers import TriggerSpec
from projlens_core.library import methods
from projlens_core.library.answers import NEW_TOKENS, Answers, ask
from projlens_core.library.inputs import ImageLike, TriggerChoice, chosen_trigger, image_set
from projlens_core.library.projectors import ModelName, as_case
from projlens_core.library.result import AnalysisResult
from projlens_core.runtime.device import pick_device
from projlens_core.runtime.paths import SAMPLES
from projlens_core.runtime.progress import Progress, silent
from projlens_core.runtime.text import visible
from projlens_core.sources import resolve


class CaseSession:
    """A case that is open. Each analysis in projlens_core/analyses is a method of the same name.

    `dir(case)` lists them, and `help(case.neurons)` says what one takes. Models are loaded when first needed and kept
    as long as the session is. Not for several threads at once.

    opened: the projectors and what changed in them.

    >>> import projlens_core as pl
    >>> case = pl.open_case(base="zoo:base", suspect="zoo:targeted-refusal", control="zoo:clean-1")
    >>> result = case.neurons(limit=2)
    >>> result.title
    'Neurons'
    """

    def __init__(self, case: Case, device: str | None = None, progress: Progress = silent):
        self._case, self._models, self._progress = case, Loaded(device), progress
        self._latest: tuple[object, AnalysisContext] | None = None
        self.opened: OpenedCase = self._models.opened(case, progress)

    @property
    def trigger(self) -> TriggerSpec | None:
        """The trigger that the zoo says of its suspect; None for any other."""
        return chosen_trigger(None, self._case.suspect)

    @property
    def target(self) -> str | None:
        """The target that the zoo says of its suspect; None for any other."""
        zoo = resolve(self._case.suspect).zoo
        return zoo.target if zoo is not None else None

    @property
    def notes(self) -> tuple[str, ...]:
        """What was not compared, and what to bear in mind when reading the numbers."""
        return self.opened.notes

    def respond(
        self,
        image: ImageLike,
        question: str,
        *,
        trigger: TriggerChoice = None,
        max_new_tokens: int = NEW_TOKENS,
    ) -> Answers:
        """Ask base and suspect about an image, without and with a trigger: four answers.

        A trigger not given is the zoo suspect's own; False is none. Each model answers with its own parts.

        >>> import projlens_core as pl
        >>> case = pl.open_case(base="zoo:base", suspect="zoo:targeted-refusal")
        >>> answers = case.respond(pl.SAMPLES / "001-penguin-pink.jpg", "Hello?", trigger=False, max_new_tokens=2)
        >>> answers.value.suspect_triggered is None
        True
        """
        projectors = {role: self.opened.projectors[role] for role in ("base", "suspect")}
        spec = chosen_trigger(trigger, self._case.suspect)
        return ask(self._models, self._case, projectors, image, question, spec, max_new_tokens, self._progress)

    def __getattr__(self, name: str) -> Callable[..., AnalysisResult]:
        """The analysis of this name as a method."""
        if name not in analyses.KEYS:
            raise AttributeError(f"A case has no analysis {name!r}; it has {', '.join(analyses.KEYS)}.")
        return self._method(analyses.find(name))

    def __dir__(self) -> list[str]:
        """With the analyses, which a notebook completes."""
        return sorted({*super().__dir__(), *analyses.KEYS})

    def __repr__(self) -> str:
        named = ", ".join(f"{role}={spec!r}" for role, spec in self._case.specs.items())
        lines = [f"CaseSession({named})", *(f"- {note}" for note in self.notes)]
        return visible("\n".join([*lines, f"Analyses: {', '.join(analyses.KEYS)}"]))

    def _method(self, analysis: Analysis) -> Callable[..., AnalysisResult]:
        def method(*by_place: Any, **by_name: Any) -> AnalysisResult:
            given = methods.arguments(analysis, by_place, by_name)
            options = methods.options(analysis, given)
            context = self._context(analysis, given)
            return AnalysisResult(analysis, analysis.measured(context, options), context, options)

        method.__name__ = method.__qualname__ = analysis.key
        method.__doc__ = methods.documentation(analysis)
        method.__signature__ = methods.signature(analysis)  # type: ignore[attr-defined]
        return method

    def _context(self, analysis: Analysis, given: dict[str, Any]) -> AnalysisContext:
        """Where to compute: the latest context again if nothing has changed, so that images are encoded once."""
        inputs = self._inputs(analysis, given)
        images = inputs.images and (tuple((each.name, each.sha256) for each in inputs.images.images))
        key = (replace(inputs, images=None), images)
        if self._latest is None or self._latest[0] != key:
            self._latest = key, AnalysisContext(inputs, self._models, self._progress)
        return self._latest[1]

    def _inputs(self, analysis: Analysis, given: dict[str, Any]) -> AnalysisInputs:
        """What the analysis works on."""
        if not analysis.takes:
            return AnalysisInputs(self._case)
        images = given["images"]
        if images is None:
            if resolve(self._case.suspect).zoo is None:
                raise InvalidInput(f"{analysis.title} works on images; give a folder, files, PIL images or arrays.")
            images = SAMPLES
        on = image_set(images, given["limit"])
        spec = chosen_trigger(given["trigger"], self._case.suspect)
        return inputs_taken(analysis.takes, self._case, on, spec, given)


def open_case(
    *,
    base: ModelName,
    suspect: ModelName,
    control: ModelName | None = None,
    projector_only: bool = False,
    device: str | None = None,
    progress: Progress = silent,
) -> CaseSession:
    """Open a case: read the projectors of its models and compare them. Each analysis is a method of what is returned.

    A model is a path, zoo:NAME or hub:OWNER/NAME; control is a clean fine-tune of base. projector_only runs base's
    vision tower and language model under every projector, as an experiment. device is cpu, cuda or mps, by default the
    best there is. progress is called with a stage and a count.

    Errors, each one sentence: NotFound for what does not exist, InvalidInput for what is broken or cannot be compared,
    Unsupported for what this version cannot analyse; all are ProjLensError.

    >>> import projlens_core as pl
    >>> case = pl.open_case(base="zoo:base", suspect="zoo:targeted-refusal", control="zoo:clean-1")
    >>> case.opened.delta.changed
    True
    """
    pick_device(device)  # a device that is not there fails before anything is read
    return CaseSession(as_case(base, suspect, control, projector_only=projector_only), device, progress)
