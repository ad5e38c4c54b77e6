"""The one record from which every door to an analysis is derived: command, page, report part, bundle, notebook.

An analysis is one folder of this package. Its `__init__.py` holds ANALYSIS, its `exhibit.py` and `charts.py` what it
shows. The record costs nothing to import: what measures and what shows are imported when they are called.
"""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Generic, Literal, TypeVar

from projlens_core.errors import InvalidInput

if TYPE_CHECKING:
    from projlens_core.analyses.context import AnalysisContext, AnalysisInputs
    from projlens_core.analyses.exhibit import Exhibit

Floor = Literal["weights", "activations", "behaviour"]
Input = Literal["images", "trigger", "target", "questions"]
R = TypeVar("R")


def option(
    default: Any,
    help: str,
    *,
    low: float | None = None,
    high: float | None = None,
    choices: tuple | None = None,
    decides: bool = True,
    kind: type | None = None,
) -> Any:
    """A field of an Options class: its default, what it means, which values it may have, and of what type they are,
    where the default does not say it. Of a tuple it is about each value in it.

    Commands make a flag of it (`max_new_tokens` is --max-new-tokens), pages a widget, exhibits keep its value among
    their settings if it decides numbers.
    """
    about = {"help": help, "low": low, "high": high, "choices": choices, "decides": decides}
    return field(default=default, metadata=about | {"kind": kind or _kind(default)})


def _kind(default: Any) -> type:
    if isinstance(default, tuple):
        return type(default[0]) if default else str
    return type(default)


@dataclass(frozen=True)
class Options:
    """What can be set in an analysis; the class itself has nothing. InvalidInput for a value out of its bounds."""

    def __post_init__(self) -> None:
        for each in dataclasses.fields(self):
            value, about = getattr(self, each.name), each.metadata
            low, high, choices = (about.get(name) for name in ("low", "high", "choices"))
            bounds = f"{low} or more" if high is None else f"{high} or less" if low is None else f"{low} to {high}"
            for one in value if isinstance(value, tuple) else (value,):
                if choices is not None and one not in choices:
                    raise InvalidInput(f"{each.name} is {one!r}; expected one of {', '.join(map(str, choices))}.")
                if (low is not None and not one >= low) or (high is not None and not one <= high):
                    raise InvalidInput(f"{each.name} is {one!r}; expected {bounds}.")


def headlines(exhibit: "Exhibit") -> list[str]:
    """The headline numbers, a line each."""
    return [card.line for card in exhibit.metrics]


@dataclass(frozen=True)
class Analysis(Generic[R]):
    """One analysis of a case.

    measure takes the context and the options to a result; present takes result, context and settings to the Exhibit;
    text takes the Exhibit to the lines that a command prints.
    """

    key: str  # its name at every door: command, page, report part, file
    title: str
    question: str  # what it answers
    summary: str  # in the command's help
    failure: str  # head of the page's panel where it cannot be done
    floor: Floor  # which kind of evidence it reads, and so what has to run
    measure: "Callable[[AnalysisContext, Any], R]"
    present: "Callable[[R, AnalysisContext, dict], Exhibit]"
    text: "Callable[[Exhibit], list[str]]" = headlines
    exit_code: "Callable[[Exhibit, Any], int] | None" = None  # of its command, 0 if None
    # JSON and lines of a command that writes something else than the exhibit's data and text
    written: "Callable[[R, AnalysisContext, dict], tuple[dict, list[str]]] | None" = None
    options: type[Options] = Options
    wrong: "Callable[[AnalysisInputs, Any], str | None] | None" = None  # why these inputs do not allow the options
    reported: Options | None = None  # the options of its part in a report, where they are not the defaults
    takes: tuple[Input, ...] = ("images", "trigger")  # what it works on besides the case
    needs_trigger: bool = True  # there is nothing to measure without
    needs_target: bool = False
    answers: "Callable[[AnalysisInputs, Any], int] | None" = None  # at most that many of the language model's
    limit: int | None = None  # images that a command takes by default; all if None
    json: str = "all figures"  # what the flags write besides
    csv: str = "the table"
    table: int = 0  # the exhibit's table that CSV holds
    icon: str = ":material/science:"
    section: Floor | None = None  # its page's head in the sidebar, where it is not its floor
    page: str | None = None  # the analysis whose page shows it too, where it has none of its own
    on_request: bool = False  # it takes minutes: in a report only where it is asked for, and its page has a button
    commands: tuple[str, ...] = ()  # what its command was called before
    parts: tuple[str, ...] = ()  # and its part of a report

    def run(self, context: "AnalysisContext", options: Options | None = None) -> "Exhibit":
        """Measure and present; NotFound without the trigger that it needs, errors as its own measure.

        The exhibit says which parts of which model ran.
        """
        options = self.options() if options is None else options
        return self.shown(self.measured(context, options), context, options)

    def measured(self, context: "AnalysisContext", options: Options) -> R:
        """The result; NotFound without the trigger or target that it needs."""
        if self.needs_trigger:
            _ = context.trigger
        if self.wrong is not None and (reason := self.wrong(context.inputs, options)):
            raise InvalidInput(f"{reason}.")
        return self.measure(context, options)

    def shown(self, result: R, context: "AnalysisContext", options: Options) -> "Exhibit":
        """The exhibit of a result."""
        return context.signed(self.present(result, context, self.settings(context, options)), self.floor)

    def output(
        self, result: R, context: "AnalysisContext", options: Options, exhibit: "Callable[[], Exhibit]"
    ) -> tuple[dict, list[str]]:
        """The result as its command writes it: JSON, and lines for people. exhibit: gives the result's."""
        if self.written is not None:
            return self.written(result, context, self.settings(context, options))
        shown = exhibit()
        return shown.data, [*self.text(shown), *(f"- {note}" for note in shown.notes)]

    def exhibit(self, **shown: Any) -> "Exhibit":
        """An Exhibit under this analysis's key, title and question; `shown`: its other fields."""
        from projlens_core.analyses.exhibit import Exhibit  # only here: it brings Altair

        return Exhibit(key=self.key, title=self.title, question=self.question, **shown)

    @staticmethod
    def deciding(options: Options) -> dict[str, Any]:
        """Those of the options that decide its numbers."""
        deciding = {each.name for each in dataclasses.fields(options) if each.metadata["decides"]}
        return {name: value for name, value in dataclasses.asdict(options).items() if name in deciding}

    def settings(self, context: "AnalysisContext", options: Options) -> dict:
        """What decides its numbers, as its data keeps it: case, images, trigger, and its own options."""
        return context.decided(of_images=bool(self.takes), **self.deciding(options))
