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
    from projlens_core.analyses.context import AnalysisContext
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
) -> Any:
    """A field of an Options class: its default, what it means, and which values it may have.

    Commands make a flag of it (`max_new_tokens` is --max-new-tokens), pages a widget, exhibits keep its value among
    their settings if it decides numbers.
    """
    about = {"help": help, "low": low, "high": high, "choices": choices, "decides": decides}
    return field(default=default, metadata=about)


@dataclass(frozen=True)
class Options:
    """What can be set in an analysis; the class itself has nothing. InvalidInput for a value out of its bounds."""

    def __post_init__(self) -> None:
        for each in dataclasses.fields(self):
            value, about = getattr(self, each.name), each.metadata
            low, high, choices = (about.get(name) for name in ("low", "high", "choices"))
            if choices is not None and value not in choices:
                raise InvalidInput(f"{each.name} is {value!r}; expected one of {', '.join(map(str, choices))}.")
            if (low is not None and not value >= low) or (high is not None and not value <= high):
                bounds = f"{low} or more" if high is None else f"{high} or less" if low is None else f"{low} to {high}"
                raise InvalidInput(f"{each.name} is {value!r}; expected {bounds}.")


def headlines(exhibit: "Exhibit") -> list[str]:
    """The headline numbers, a line each."""
    return [card.line for card in exhibit.metrics]


@dataclass(frozen=True)
class Analysis(Generic[R]):
    """One analysis of a case.

    key names it at every door: command, page, report part, file. question is what it answers, summary the one line
    that the command's help gives, failure the head of the page's panel where it cannot be done. floor says which kind
    of evidence it reads, and so what has to run. takes: what it works on besides the case. needs_trigger,
    needs_target: there is nothing to measure without.

    measure takes the context and the options to a result; present takes result, context and settings to the Exhibit;
    text takes the Exhibit to the lines that a command prints, exit_code Exhibit and options to the code that it ends
    with, 0 if None. written, where a command writes something else than the
    exhibit's data and text: result, context and settings to its JSON and its lines. json and csv say what these flags
    write besides; table is the exhibit's table that CSV holds. reported: the options of its part in a report, where
    they are not the defaults. icon is that of its page. on_request: it takes minutes, so a report has it only where it
    is asked for, and its page waits for a button. page: that of another
    analysis which shows it too, if it has none of its own. commands, parts: names that its command and part once had.
    """

    key: str
    title: str
    question: str
    summary: str
    failure: str
    floor: Floor
    measure: "Callable[[AnalysisContext, Any], R]"
    present: "Callable[[R, AnalysisContext, dict], Exhibit]"
    text: "Callable[[Exhibit], list[str]]" = headlines
    exit_code: "Callable[[Exhibit, Any], int] | None" = None
    written: "Callable[[R, AnalysisContext, dict], tuple[dict, list[str]]] | None" = None
    options: type[Options] = Options
    reported: Options | None = None
    takes: tuple[Input, ...] = ("images", "trigger")
    icon: str = ":material/science:"
    needs_trigger: bool = True
    needs_target: bool = False
    json: str = "all figures"
    csv: str = "the table"
    table: int = 0
    on_request: bool = False
    commands: tuple[str, ...] = ()
    parts: tuple[str, ...] = ()
    page: str | None = None

    def run(self, context: "AnalysisContext", options: Options | None = None) -> "Exhibit":
        """Measure and present; NotFound without the trigger that it needs, errors as its own measure.

        The exhibit says which parts of which model ran.
        """
        options = self.options() if options is None else options
        return self.shown(self.measured(context, options), context, options)

    def measured(self, context: "AnalysisContext", options: Options) -> R:
        """The result; NotFound without the trigger or target that it needs."""
        if self.needs_trigger:
            context.require_trigger()
        return self.measure(context, options)

    def shown(self, result: R, context: "AnalysisContext", options: Options) -> "Exhibit":
        """The exhibit of a result."""
        return context.signed(self.present(result, context, self.settings(context, options)), self.floor)

    def exhibit(self, **shown: Any) -> "Exhibit":
        """An Exhibit under this analysis's key, title and question; `shown`: its other fields."""
        from projlens_core.analyses.exhibit import Exhibit  # only here: it brings Altair

        return Exhibit(key=self.key, title=self.title, question=self.question, **shown)

    def settings(self, context: "AnalysisContext", options: Options) -> dict:
        """What decides its numbers, as its data keeps it: case, images, trigger, and its own options."""
        deciding = {each.name for each in dataclasses.fields(options) if each.metadata["decides"]}
        values = {name: value for name, value in dataclasses.asdict(options).items() if name in deciding}
        return context.decided(of_images=bool(self.takes), **values)
