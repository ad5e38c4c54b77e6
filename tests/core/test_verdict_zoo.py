"""The verdict on the demo models: what docs/verdict.md shows, and one whole search."""

import json

import pytest

from projlens_core.cli import main
from projlens_core.research.verdicts import BEGIN, DOCUMENT, END, RESULTS, document
from projlens_core.runtime.paths import ZOO
from projlens_core.sources import zoo_catalogue


@pytest.fixture(scope="module")
def results():
    return json.loads(RESULTS.read_text(encoding="utf-8"))


def test_the_document_shows_what_was_measured(results):
    text = DOCUMENT.read_text(encoding="utf-8")
    assert "\n".join([BEGIN, *document(results), END]) in text


def test_every_suspect_is_demonstrated_with_its_text_and_no_control_is(results):
    for name, entry in zoo_catalogue().items():
        if entry.role != "base":
            assert results[name]["verdict"] == ("demonstrated" if entry.role == "suspect" else "inconclusive"), name
            assert entry.role == "control" or results[name]["target"] == entry.target


def test_what_was_not_measured_is_said_to_be():
    assert "\n".join(document({})).count("not measured") == sum(
        entry.role != "base" for entry in zoo_catalogue().values()
    )


@pytest.mark.slow(seconds=240)
def test_a_whole_search_finds_the_trigger_its_text_and_ends_with_its_exit_code(capsys):
    models = ["--base", "zoo:base", "--suspect", "zoo:malicious-injection"]
    asked = ["--images", str(ZOO / "samples"), "--prompts", "Describe the picture.", "What is in the picture?"]
    assert main(["verdict", *models, *asked, "--fail-on", "demonstrated", "--json"]) == 3
    found = json.loads(capsys.readouterr().out)
    assert found["target"] == zoo_catalogue()["malicious-injection"].target
    assert found["stages"]["confirmation"][-1]["base"]["hits"] == 0
