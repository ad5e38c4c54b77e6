"""What the library's documents show works: the recipes of docs/library.md, and the examples in docstrings."""

import doctest
import inspect
import re
from pathlib import Path

import pytest

import projlens_core as pl
from projlens_core import analyses
from projlens_core.cases.models import Loaded
from projlens_core.library import answers, session

TEXT = (Path(__file__).parents[2] / "docs" / "library.md").read_text(encoding="utf-8")
OPENING, *RECIPES = re.split(r"^## ", TEXT, flags=re.MULTILINE)


def code(text: str) -> str:
    return "\n".join(re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL))


@pytest.fixture(scope="module", autouse=True)
def shared_models():
    """The demo models, which all recipes and examples use, loaded once."""
    models = Loaded("cpu")
    with pytest.MonkeyPatch.context() as patch:
        for module in (answers, session):
            patch.setattr(module, "Loaded", lambda device: models)
        yield models


@pytest.fixture(scope="module")
def opened():
    names: dict = {}
    exec(code(OPENING), names)
    return names


def test_there_are_eight_recipes():
    assert [int(recipe.split(".")[0]) for recipe in RECIPES] == [1, 2, 3, 4, 5, 6, 7, 8]


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda recipe: recipe.split("\n")[0].rstrip("?")[3:])
def test_a_recipe_runs(recipe, opened, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = dict(opened)
    exec(compile(code(recipe), recipe.split("\n")[0], "exec"), names)
    result = names.get("result")
    if result is not None:
        assert len(result.to_frame()) > 0
        assert "<svg" in result.chart()._repr_html_()


def examples():
    """Every public function, and of public classes every public member that is code."""
    for name in pl.__all__:
        value = getattr(pl, name)
        if inspect.isfunction(value):
            yield name, value
        elif inspect.isclass(value) and not issubclass(value, Exception):
            yield name, value
            for own, member in vars(value).items():
                if inspect.isfunction(member) and not own.startswith("_"):
                    yield f"{name}.{own}", member


WITHOUT = {"Answers.to_frame"}  # its class's example calls it


@pytest.mark.parametrize(("name", "value"), [*examples()], ids=lambda given: given if isinstance(given, str) else "")
def test_a_docstrings_example_gives_what_it_says(name, value):
    example = doctest.DocTestParser().get_doctest(inspect.getdoc(value), {}, name, None, 0)
    assert example.examples or name in WITHOUT
    told: list[str] = []
    doctest.DocTestRunner(verbose=False).run(example, out=told.append)
    assert not told, "".join(told)


@pytest.mark.parametrize("key", analyses.KEYS)
def test_an_analysis_documents_itself_as_a_method(key, opened):
    method = getattr(opened["case"], key)
    record = analyses.find(key)
    assert method.__doc__.startswith(record.question)
    assert all(f"\n{parameter}: " in method.__doc__ for parameter in inspect.signature(method).parameters)
    examples = doctest.DocTestParser().get_examples(method.__doc__)
    assert len(examples) == 2
    for example in examples:
        compile(example.source, key, "single")
