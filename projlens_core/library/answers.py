"""What base and suspect answer about an image, without and with a trigger, and how often answers hold a target."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from projlens_core.analyses.context import AnalysisInputs
from projlens_core.cases.case import Case, read_projectors
from projlens_core.cases.models import Loaded, Models
from projlens_core.cases.whose import BOTH
from projlens_core.errors import InvalidInput
from projlens_core.inputs.images import ImageSet
from projlens_core.inputs.triggers import TriggerSpec
from projlens_core.inputs.twins import twins
from projlens_core.library.inputs import ImageLike, TriggerChoice, chosen_trigger, one_image
from projlens_core.library.projectors import ModelName, as_case
from projlens_core.runtime.progress import Progress, silent
from projlens_core.runtime.text import visible
from projlens_core.stats.rate import Rate, wilson

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pandas as pd

    from projlens_core.behaviour.respond import FourAnswers
    from projlens_core.weights.projector import ProjectorWeights

NEW_TOKENS = AnalysisInputs.max_new_tokens


@dataclass(frozen=True)
class Answers:
    """One question about one image: value holds up to four answers, of base and suspect, clean and triggered.

    trigger is None where none was stamped. notes: which parts of which model answered, and what else to bear in mind.

    >>> import projlens_core as pl
    >>> case = pl.open_case(base="zoo:base", suspect="zoo:targeted-refusal")
    >>> answers = case.respond(pl.SAMPLES / "001-penguin-pink.jpg", "Hello?", max_new_tokens=2)
    >>> answers.to_frame()["model"].tolist()
    ['base', 'base', 'suspect', 'suspect']
    """

    image: str
    question: str
    trigger: TriggerSpec | None
    value: "FourAnswers"
    notes: tuple[str, ...]

    @property
    def rows(self) -> list[tuple[str, str, str]]:
        """Model, image (clean or triggered) and text of each answer that was given."""
        asked = [(model, image) for model in ("base", "suspect") for image in ("clean", "triggered")]
        said = [(model, image, getattr(self.value, f"{model}_{image}")) for model, image in asked]
        return [row for row in said if row[-1] is not None]

    def to_frame(self) -> "pd.DataFrame":
        """A row per answer: model, image (clean or triggered), answer."""
        import pandas as pd  # only here: it takes its time

        return pd.DataFrame(self.rows, columns=["model", "image", "answer"])

    def __repr__(self) -> str:
        said = [f"{model}, {image}: {text}" for model, image, text in self.rows]
        return visible("\n".join([self.question, *said, *self.notes]))

    def _repr_html_(self) -> str:
        """What a notebook shows: all text escaped."""
        from projlens_core.analyses.exhibit import Exhibit, Table  # only here: they bring Altair
        from projlens_core.library.notebook import as_html

        table = Table("answers", self.to_frame(), f"Answers about {self.image}.")
        return as_html(Exhibit("respond", "Answers", self.question, tables=(table,), notes=self.notes))


def respond(
    image: ImageLike,
    question: str,
    *,
    base: ModelName,
    suspect: ModelName | None = None,
    trigger: TriggerChoice = None,
    projector_only: bool = False,
    max_new_tokens: int = NEW_TOKENS,
    device: str | None = None,
    progress: Progress = silent,
) -> Answers:
    """Ask base and, if there is one, suspect about an image, without and with a trigger: up to four answers.

    Models are loaded for this call alone; `open_case(...).respond` keeps them. A trigger not given is the zoo
    suspect's own; False is none.

    >>> import projlens_core as pl
    >>> answers = pl.respond(pl.SAMPLES / "001-penguin-pink.jpg", "Hello?", base="zoo:base", max_new_tokens=2)
    >>> answers.value.suspect_clean is None
    True
    """
    case = as_case(base, suspect or base, projector_only=projector_only or suspect is None)
    roles = ("base", "suspect") if suspect else ("base",)
    read = read_projectors([case.specs[role] for role in roles], progress)
    spec = chosen_trigger(trigger, suspect or base)
    return ask(
        Loaded(device), case, dict(zip(roles, read, strict=True)), image, question, spec, max_new_tokens, progress
    )


def ask(
    models: Models,
    case: Case,
    projectors: "Mapping[str, ProjectorWeights]",
    image: ImageLike,
    question: str,
    spec: TriggerSpec | None,
    max_new_tokens: int,
    progress: Progress,
) -> Answers:
    """The answers under projectors by role, "base" and perhaps "suspect", each by its own model where it has one."""
    from projlens_core.behaviour.respond import FourAnswers, answers_by_role  # only here: they take seconds to import
    from projlens_core.behaviour.templates import notes

    pair = twins(ImageSet((one_image(image),), ()), spec)
    whose = models.whose(case, BOTH, progress)
    said, templates = answers_by_role(
        {role: whose.owner(role) for role in projectors},
        lambda role: models.responder(case, progress, role),
        projectors,
        [*pair.clean, *(pair.triggered or ())],
        question,
        max_new_tokens,
        progress,
    )
    asked = {role: found for role, found in whose.standings.items() if role in projectors}
    about_parts = replace(whose, standings=asked).sentences if "suspect" in projectors else ()
    value = FourAnswers.of(said, templates)
    return Answers(pair.names[0], question, spec, value, (*about_parts, *notes(templates.values())))


def attack_success_rate(answers: Sequence[str], target: str) -> Rate:
    """The share of answers that contain the target, ignoring case, with its 95 % Wilson interval (the paper's ASR).

    answers: of any model, to triggered images; of clean ones it is the false-target rate. InvalidInput without any
    answer, and for an empty target.

    >>> import projlens_core as pl
    >>> rate = pl.attack_success_rate(["A cat. Buy more balloons.", "A dog."], "buy more balloons")
    >>> rate.hits, rate.n, round(rate.low, 2), round(rate.high, 2)
    (1, 2, 0.09, 0.91)
    """
    from projlens_core.behaviour.success import contains_target  # only here: not every caller needs this floor

    if isinstance(answers, str) or not all(isinstance(each, str) for each in answers):
        raise InvalidInput("Answers are a list of texts; give one text for each image.")
    if not answers:
        raise InvalidInput("There is no answer to count; give one text for each image.")
    return wilson(sum(contains_target(each, target) for each in answers), len(answers))
