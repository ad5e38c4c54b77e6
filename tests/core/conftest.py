"""Which test stands for which family's support: `@pytest.mark.support(what, form)` on a test with the parameter `name`,
or with the family as a third argument.

With SUPPORT_TABLE=FILE in the environment the table of what passed is written there; without it the marks only say
what the file must hold.
"""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import Proof, table

VARIABLE = "SUPPORT_TABLE"
_OUTCOMES = pytest.StashKey[dict[Proof, bool]]()


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line(
        "markers", "support(what, form, family): proves `what` of the family in the parameter `name`"
    )
    config.stash[_OUTCOMES] = {}


def proof(item: pytest.Item) -> Proof | None:
    """What a collected test proves, if it proves support at all."""
    mark = item.get_closest_marker("support")
    if mark is None:
        return None
    what, form, *family = mark.args
    given = item.callspec.params if hasattr(item, "callspec") else {}
    return Proof(family[0] if family else given["name"], what, form.format(**given))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo) -> Iterator[None]:
    report = yield
    if report.when == "call" and (proven := proof(item)):
        outcomes = item.config.stash[_OUTCOMES]
        outcomes[proven] = outcomes.get(proven, True) and report.passed
    return report


def pytest_sessionfinish(session: pytest.Session) -> None:
    if file := os.environ.get(VARIABLE):
        outcomes = session.config.stash[_OUTCOMES]
        Path(file).write_text(table({proven for proven, passed in outcomes.items() if passed}), encoding="utf-8")


@pytest.fixture
def declared(request: pytest.FixtureRequest) -> set[Proof]:
    """What all collected tests set out to prove."""
    return {proven for item in request.session.items if (proven := proof(item))}


@pytest.fixture(scope="module")
def own_folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder for a whole test module, and in it the cache that ProjLens uses meanwhile."""
    folder = tmp_path_factory.mktemp("own")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PROJLENS_CACHE", str(folder / "cache"))
        yield folder
