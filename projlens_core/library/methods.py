"""How an analysis is called as a method of a case: signature, documentation and options, from its record."""

import dataclasses
import inspect
import os
from collections.abc import Mapping, Sequence
from typing import Any

from projlens_core.analyses.analysis import Analysis, Options
from projlens_core.analyses.context import AnalysisInputs
from projlens_core.errors import InvalidInput
from projlens_core.runtime.text import listed

_IMAGES = "a folder (labels.csv gives known answers), files, PIL images or arrays; a zoo suspect's samples by default"
_TRIGGER = "a spec file, a dict or a preset's name; a zoo suspect's own by default, False for none"
_TARGET = "the text that the backdoor makes the model say; a zoo suspect's own by default"
_QUESTIONS = "take turns over the images; a zoo suspect's own or those of labels.csv by default"
# What analyses take besides the case: parameter, default, what it means. An analysis may have a limit of its own.
_INPUTS: Mapping[str, Sequence[tuple[str, Any, str]]] = {
    "images": (
        ("images", None, _IMAGES),
        ("limit", None, "use the first so many images only"),
    ),
    "trigger": (("trigger", None, _TRIGGER),),
    "target": (("target", None, _TARGET),),
    "questions": (
        ("questions", (), _QUESTIONS),
        ("max_new_tokens", AnalysisInputs.max_new_tokens, "tokens of an answer at most"),
    ),
}
_TYPES = {str: "a text", bool: "True or False", int: "a whole number", float: "a number"}


def parameters(analysis: Analysis) -> list[tuple[str, Any, str]]:
    """Name, default and meaning of each parameter, the analysis's own options last."""
    given = [each for kind in analysis.takes for each in _INPUTS[kind]]
    own = [(each.name, each.default, _meaning(each)) for each in dataclasses.fields(analysis.options)]
    return [(name, analysis.limit if name == "limit" else value, about) for name, value, about in given] + own


def signature(analysis: Analysis) -> inspect.Signature:
    """Of the method: images may be given by place, all else by name."""
    kinds = inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY
    return inspect.Signature(
        [inspect.Parameter(name, kinds[name != "images"], default=default) for name, default, _ in parameters(analysis)]
    )


def documentation(analysis: Analysis) -> str:
    """Of the method: what it answers, what it takes, and an example."""
    lines = [analysis.question, "", f"{analysis.summary[:1].upper()}{analysis.summary[1:]}."]
    lines += ["", *(f"{name}: {meaning}." for name, _, meaning in parameters(analysis))]
    needs = [
        name for name, needed in (("trigger", analysis.needs_trigger), ("target", analysis.needs_target)) if needed
    ]
    lines += ["", f"Raises NotFound where no {' or '.join(needs)} is given or known."] if needs else []
    given = ['"photos"'] * ("images" in analysis.takes) + ['trigger="Blur"'] * ("trigger" in analysis.takes)
    given += ['target="Buy more balloons."'] * ("target" in analysis.takes)
    lines += ["", f">>> result = case.{analysis.key}({', '.join(given)})", ">>> frame = result.to_frame()"]
    return "\n".join(lines)


def arguments(analysis: Analysis, by_place: tuple, by_name: dict[str, Any]) -> dict[str, Any]:
    """Every parameter's value; InvalidInput, listing what there is, for one that the method does not have."""
    taken = signature(analysis)
    if unknown := [name for name in by_name if name not in taken.parameters]:
        has = f"it has {', '.join(taken.parameters)}" if taken.parameters else "it has none"
        raise InvalidInput(f"{analysis.key} has no parameter {listed(unknown[:1])}; {has}.")
    try:
        bound = taken.bind(*by_place, **by_name)
    except TypeError as error:
        raise InvalidInput(f"{analysis.key}: {error}; give all parameters but the images by name.") from error
    bound.apply_defaults()
    return bound.arguments


def options(analysis: Analysis, given: Mapping[str, Any]) -> Options:
    """The analysis's own options among `given`; InvalidInput for one of another type or out of bounds."""
    fields = dataclasses.fields(analysis.options)
    return analysis.options(**{each.name: _typed(each, given[each.name]) for each in fields})


def _typed(option: dataclasses.Field, value: Any) -> Any:
    """The value, if it is of the option's type; a list of such values, if it takes several."""
    kind = option.metadata["kind"]
    if not isinstance(option.default, tuple):
        return _one(option.name, value, kind)
    if isinstance(value, str) or not isinstance(value, Sequence):
        raise InvalidInput(f"{option.name} is {value!r}; expected a list.")
    return tuple(_one(option.name, each, kind) for each in value)


def _one(name: str, value: Any, kind: type) -> Any:
    if isinstance(value, os.PathLike):
        value = os.fspath(value)
    if kind is float and type(value) is int:
        value = float(value)
    if type(value) is not kind:
        raise InvalidInput(f"{name} is {value!r}; expected {_TYPES[kind]}.")
    return value


def _meaning(option: dataclasses.Field) -> str:
    choices = option.metadata["choices"]
    return option.metadata["help"] + (f": {', '.join(filter(None, choices))}" if choices else "")
