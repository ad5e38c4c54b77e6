"""An analysis is one folder and one line in a list; with these, every door knows it."""

import json
from pathlib import Path

import pytest

import projlens_core as pl
from dashboard import pages
from projlens_core import analyses, cli
from projlens_core.analyses.analysis import Options, option
from projlens_core.cli import main
from projlens_core.errors import InvalidInput, NotFound
from projlens_core.report import bundle, inert
from tests import chart_corpus, chart_grammar, pico, toys
from tests.toys.toy import bars

SPEC = {"kind": "solid", "resolution": 80, "px": 20}


@pytest.fixture(scope="module")
def grammar(own_folder):
    """What charts are made of, the toy's with them, as if it stood in the corpus."""
    file = own_folder / "grammar.json"
    file.write_text(chart_grammar.written(chart_corpus.grammar(bars({"suspect": 1.0}))), encoding="utf-8")
    return file


@pytest.fixture
def toy(monkeypatch, grammar):
    monkeypatch.setattr(inert, "GRAMMAR_FILE", grammar)
    inert.grammar.cache_clear()
    monkeypatch.setattr(analyses, "__path__", [*analyses.__path__, str(Path(toys.__file__).parent)])
    monkeypatch.setattr(analyses, "KEYS", (*analyses.KEYS, "toy"))
    analyses.find.cache_clear()
    yield analyses.find("toy")
    analyses.find.cache_clear()
    inert.grammar.cache_clear()


@pytest.fixture(scope="module")
def world(own_folder):
    return pico.case(own_folder, strength=(4.0,), count=6, trigger=SPEC)


def case_arguments(world):
    models = ["--base", str(world / "base"), "--suspect", str(world / "suspect")]
    return [*models, "--images", str(world / "images"), "--trigger", str(world / "trigger.json")]


def test_its_command_has_its_flags_and_writes_its_data_with_its_settings(toy, world, capsys):
    assert main(["toy", *case_arguments(world), "--json", "--scale", "3"]) == 0
    thrice = json.loads(capsys.readouterr().out)
    assert main(["toy", *case_arguments(world), "--json", "--times-two"]) == 0
    twice = json.loads(capsys.readouterr().out)
    assert thrice["settings"]["scale"] == 3
    assert twice["settings"]["times_two"]
    assert thrice["change"]["suspect"] / twice["change"]["suspect"] == pytest.approx(1.5)


def test_its_command_says_in_a_sentence_what_is_out_of_bounds_or_missing(toy, world, capsys):
    assert main(["toy", *case_arguments(world), "--scale", "11"]) == 1
    assert capsys.readouterr().err == "scale is 11.0; expected 0.5 to 10.\n"
    assert main(["toy", *case_arguments(world)[:-2]]) == 1
    assert capsys.readouterr().err == "Toy compares clean with triggered images: give --trigger SPEC.json.\n"


def test_its_command_writes_text_and_csv(toy, world, capsys, tmp_path):
    assert main(["toy", *case_arguments(world), "--csv", str(tmp_path / "toy.csv")]) == 0
    assert capsys.readouterr().out.startswith("Change, suspect: ")
    assert (tmp_path / "toy.csv").read_text("utf-8-sig").startswith("projector,change")


def test_help_lists_it(toy, capsys):
    with pytest.raises(SystemExit):
        main(["--help"])
    assert "a toy" in capsys.readouterr().out
    assert "toy" in cli.commands()


def test_report_and_bundle_have_it_as_a_part(toy, world, tmp_path, capsys):
    wanted = ["--parts", "toy", "--out", str(tmp_path / "r.html"), "--bundle", str(tmp_path / "b.zip")]
    assert main(["report", *case_arguments(world), *wanted]) == 0
    assert "By how much does the trigger change an embedding?" in (tmp_path / "r.html").read_text()
    record = bundle.unpack((tmp_path / "b.zip").read_bytes())
    assert [exhibit.key for exhibit in record.exhibits] == ["toy"]
    assert record.exhibits[0].data["settings"]["scale"] == 1


def test_its_page_is_in_the_sidebar_without_a_layout_of_its_own(toy):
    assert pages.of("toy") in pages.sections()["Activations"]


def test_the_library_has_it_as_a_method_with_its_options(toy, world):
    case = pl.open_case(base=world / "base", suspect=world / "suspect")
    thrice = case.toy(world / "images", trigger=SPEC, scale=3)
    twice = case.toy(world / "images", trigger=SPEC, times_two=True)
    assert thrice.value["suspect"] / twice.value["suspect"] == pytest.approx(1.5)
    assert thrice.data["settings"]["scale"] == 3
    assert thrice.to_frame().columns.tolist() == ["projector", "change"]
    assert "toy" in dir(case)


def test_an_unknown_analysis_is_not_found_and_those_there_are_are_listed():
    with pytest.raises(NotFound, match=r"There is no analysis 'nothing'; there are .*neurons"):
        analyses.find("nothing")


@pytest.mark.parametrize("key", analyses.KEYS)
def test_every_record_names_its_folder_and_answers_a_question(key):
    record = analyses.find(key)
    assert record.key == key
    assert record.question.endswith("?")
    assert record.options() == record.options()


def test_options_out_of_their_choices_or_bounds_are_one_sentence():
    from dataclasses import dataclass

    @dataclass(frozen=True)
    class Some(Options):
        mode: str = option("a", "which", choices=("a", "b"))
        least: int = option(1, "how many", low=1)
        most: int = option(1, "how many", high=3)

    for wrong in ({"mode": "c"}, {"least": 0}, {"most": 4}, {"least": float("nan")}):
        with pytest.raises(InvalidInput, match="expected"):
            Some(**wrong)
    assert Some(mode="b", least=9, most=-1).mode == "b"
