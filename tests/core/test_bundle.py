"""A case bundle gives back what was put in, and a hostile one gives one sentence."""

import io
import json
import zipfile
from dataclasses import replace
from importlib.metadata import version

import altair as alt
import jsonschema
import pandas as pd
import pytest
import torch

from projlens_core.analyses.exhibit import Chart, Exhibit, Metric, Table
from projlens_core.analyses.response.charts import rates
from projlens_core.errors import InvalidInput, Unsupported
from projlens_core.report import bundle
from projlens_core.report.bundle import pack, unpack
from projlens_core.report.drawing import specification
from projlens_core.report.record import Missing, Provenance, Record, differences, provenance
from projlens_core.runtime import versions
from projlens_core.stats.rate import wilson


def some_record() -> Record:
    chart = rates("Attack success rate", {"base": wilson(0, 10), "suspect": wilson(9, 10)}, "triggered images")
    exhibit = Exhibit(
        key="response",
        title="Response",
        question="What does it say?",
        metrics=(Metric("ASR", "90 %", "0 %", "60 % – 98 %", "share of triggered images"),),
        charts=(Chart("asr", chart, "How to read this: dots are shares.", "Rates"),),
        tables=(
            Table(
                "answers",
                pd.DataFrame({"picture": ["a.png", "b.png"], "shift": [0.1, float("nan")], "n": [1, 2]}),
                "Answers.",
                {"shift": "embedding units"},
            ),
        ),
        data={"asr": 0.9, "undefined": float("nan"), "settings": {"seed": 0}},
        notes=("One image was left out.",),
    )
    provenance = Provenance(
        created="2026-11-23T00:00:00+00:00",
        projlens="0.1.0",
        sources="1" * 64,
        versions={"python": "3.11"},
        machine={"device": "cpu", "threads": "2"},
        settings={"base": "zoo:base"},
        hashes={"base": "0" * 64},
        command="python -m projlens_core report --base zoo:base",
    )
    return Record("Targeted refusal", provenance, (exhibit,), (Missing("Logit lens", "It was not asked for."),))


def repacked(changes: dict[str, object], *, keep_digests: bool = False) -> bytes:
    """The bundle of some_record with whole files or single keys of them replaced: {"file": bytes or dict of keys}."""
    with zipfile.ZipFile(io.BytesIO(pack(some_record()))) as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    for name, change in changes.items():
        files[name] = change if isinstance(change, bytes) else json.dumps(json.loads(files[name]) | change).encode()
    if not keep_digests:
        manifest = json.loads(files["manifest.json"])
        for entry in manifest["exhibits"]:
            if entry["file"] in files:
                entry["sha256"] = bundle.hashlib.sha256(files[entry["file"]]).hexdigest()
        files["manifest.json"] = json.dumps(manifest).encode()
    return zipped(files)


def zipped(files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return buffer.getvalue()


def test_what_was_packed_comes_back():
    record, again = some_record(), unpack(pack(some_record()))
    assert again.title == record.title
    assert again.provenance == record.provenance
    assert again.missing == record.missing
    before, after = record.exhibits[0], again.exhibits[0]
    assert (after.key, after.title, after.question) == (before.key, before.title, before.question)
    assert after.metrics == before.metrics
    assert after.notes == before.notes
    assert after.data == {"asr": 0.9, "undefined": None, "settings": {"seed": 0}}
    assert specification(after.charts[0].chart) == specification(before.charts[0].chart)
    pd.testing.assert_frame_equal(after.tables[0].frame, before.tables[0].frame)
    assert after.tables[0].help == before.tables[0].help


def test_a_reopened_record_packs_to_the_same_bytes():
    data = pack(some_record())
    assert pack(some_record()) == data
    assert pack(unpack(data)) == data


def test_a_chart_of_many_rows_is_stored_whole():
    frame = pd.DataFrame({"x": range(6000), "y": 0.5})
    assert len(next(iter(specification(alt.Chart(frame).mark_point().encode(x="x:Q"))["datasets"].values()))) == 6000


EXHIBIT = "exhibits/response.json"
HOSTILE_BUNDLES = {
    "no zip": (lambda: b"These are notes.", "no case bundle"),
    "nothing": (lambda: b"", "no case bundle"),
    "cut": (lambda: pack(some_record())[:-40], "no case bundle"),
    "a byte turned": (lambda: turned(pack(some_record()), 200), "damaged|changed|not JSON|no case"),
    "another zip": (lambda: zipped({"a.txt": b"x"}), r"holds no manifest\.json"),
    "no JSON": (lambda: zipped({"manifest.json": b"{"}), "not JSON"),
    "NaN": (lambda: repacked({EXHIBIT: b'{"data": NaN}'}), "it holds NaN"),
    "a list": (lambda: zipped({"manifest.json": b"[]"}), "not that of a case bundle"),
    "depth": (lambda: zipped({"manifest.json": b"[" * 40_000 + b"]" * 40_000}), "not JSON"),
    "deep data": (lambda: repacked({EXHIBIT: {"data": nested(500)}}), "nested more than"),
    "deep settings": (lambda: repacked_provenance(settings=nested(500)), "nested more than"),
    "a key too many": (lambda: repacked({"manifest.json": {"run": "rm"}}), "run"),
    "a type": (lambda: repacked({EXHIBIT: {"title": 7}}), "at title"),
    "a hash that is none": (lambda: repacked_provenance(hashes={"base": "<b>"}), "at provenance/hashes/base"),
    "a path out": (lambda: zipped({"manifest.json": b"{}", "../../x.json": b"{}"}), "not that of a case bundle"),
    "a path out in the manifest": (
        lambda: repacked({"manifest.json": {"exhibits": [{"file": "../x.json", "sha256": "0" * 64}]}}),
        "at exhibits/0/file",
    ),
    "a file besides": (lambda: repacked({"exhibits/other.json": b"{}"}), r"disagree about exhibits/other\.json"),
    "a changed exhibit": (lambda: repacked({EXHIBIT: {"title": "Clean"}}, keep_digests=True), "it was changed"),
    "many files": (lambda: zipped({f"{i}": b"" for i in range(100)}), "100 files"),
    "a bomb": (lambda: zipped({"manifest.json": bytes(100_001)}), "unpacks to more"),
    "bombs": (lambda: zipped({f"{i}.json": bytes(100_000) for i in range(4)}), "unpacks to more"),
    "odd packing": (lambda: _bzipped(), "packed in a way"),
    "uneven rows": (
        lambda: repacked({EXHIBIT: {"tables": [_table(columns=["a", "b"], rows=[[1]])]}}),
        "not as wide",
    ),
    "tables in cells": (lambda: repacked({EXHIBIT: {"tables": [_table(columns=["a"], rows=[[{}]])]}}), "a cell is no"),
    "a cell of four hundred digits": (lambda: with_cell(10**400), "a cell is no number and no text of up to"),
    "a cell beyond 64 bits": (lambda: with_cell(2**63), "a cell is no"),
    "a cell beyond all numbers": (lambda: repacked({EXHIBIT: with_text_cell(b"1e999")}), "a cell is no"),
    "columns of one name": (lambda: repacked({EXHIBIT: {"tables": [_table(columns=["a", "a"])]}}), "one name"),
    "a name with a path": (lambda: repacked({EXHIBIT: {"tables": [_table(name="../x")]}}), "at tables/0/name"),
}


def with_cell(value: object) -> bytes:
    return repacked({EXHIBIT: {"tables": [_table(columns=["a"], rows=[[value]])]}})


def with_text_cell(text: bytes) -> bytes:
    """The exhibit's file with a cell that is written so."""
    with zipfile.ZipFile(io.BytesIO(with_cell("here"))) as archive:
        return archive.read(EXHIBIT).replace(b'"here"', text)


def turned(data: bytes, place: int) -> bytes:
    return data[:place] + bytes([data[place] ^ 255]) + data[place + 1 :]


def nested(depth: int) -> dict:
    return json.loads('{"a":' * depth + "1" + "}" * depth)


def repacked_provenance(**keys: object) -> bytes:
    with zipfile.ZipFile(io.BytesIO(pack(some_record()))) as archive:
        provenance = json.loads(archive.read("manifest.json"))["provenance"]
    return repacked({"manifest.json": {"provenance": provenance | keys}})


def _table(**keys: object) -> dict:
    return {"name": "t", "columns": [], "rows": [], "caption": "", "help": {}} | keys


def _bzipped() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_BZIP2) as archive:
        archive.writestr("manifest.json", b"{}")
    return buffer.getvalue()


@pytest.mark.parametrize(("make", "sentence"), HOSTILE_BUNDLES.values(), ids=HOSTILE_BUNDLES)
def test_a_hostile_bundle_gives_one_sentence(make, sentence, monkeypatch):
    monkeypatch.setattr(bundle, "MAX_TOTAL", 300_000)
    data = make()
    monkeypatch.setattr(bundle, "MAX_FILE", 100_000)
    with pytest.raises(InvalidInput, match=sentence) as caught:
        unpack(data)
    message = str(caught.value)
    assert "\n" not in message
    assert len(message) < 500
    assert message.endswith(".")


def listed(text: str, times: int) -> bytes:
    """JSON of a list in which the text stands so often."""
    return b"[" + b",".join([text.encode()] * times) + b"]"


def exhibit_with(key: str, value: bytes) -> bytes:
    """The exhibit's file with this JSON under the key, however large."""
    with zipfile.ZipFile(io.BytesIO(pack(some_record()))) as archive:
        document = json.loads(archive.read(EXHIBIT))
    document[key] = "here"
    return json.dumps(document).encode().replace(b'"here"', value)


# a few kB each, once zipped; {name: what the exhibit's file is}
GROWING = {
    # what the issue names
    "millions of objects": lambda: exhibit_with("data", b'{"a":' + listed("[]", 4_000_000) + b"}"),
    "a million places that are wrong": lambda: exhibit_with("notes", listed("7", 1_000_000)),
    # more of the kind
    "millions of tables": lambda: exhibit_with("data", b'{"a":' + listed("{}", 4_000_000) + b"}"),
    "millions of numbers": lambda: exhibit_with("data", b'{"a":' + listed("1", 4_000_000) + b"}"),
    "millions of rows": lambda: exhibit_with("tables", b'[{"rows":' + listed("[1]", 4_000_000) + b"}]"),
    "millions of names": lambda: exhibit_with("data", b'{"a":1' + b',"a":1' * 4_000_000 + b"}"),
    "lists in lists": lambda: exhibit_with("data", b'{"a":' + b"[" * 4_000_000 + b"]" * 4_000_000 + b"}"),
    "a thousand rows too many": lambda: exhibit_with(
        "tables", b"[" + table_of(b"[[1]" + b",[1]" * 200_000 + b"]") + b"]"
    ),
    "metrics that are wrong": lambda: exhibit_with("metrics", listed('{"label": 7}', 200_000)),
    "metrics with strange keys": lambda: exhibit_with("metrics", b"[{" + keys(200_000) + b"}]"),
    "an exhibit with strange keys": lambda: exhibit_with("key", b'"response",' + keys(200_000)),
    "charts that are none": lambda: exhibit_with("charts", listed("1", 200_000)),
    "a chart of 200,000 layers": lambda: exhibit_with("charts", chart_of(b'{"layer":' + listed("{}", 200_000) + b"}")),
    "a chart of 200,000 keys": lambda: exhibit_with("charts", chart_of(b"{" + keys(200_000) + b"}")),
    "a chart of 200,000 expressions": lambda: exhibit_with(
        "charts", chart_of(b'{"transform":' + listed('{"calculate":"f()","as":"x"}', 100_000) + b"}")
    ),
    "tables that are wrong": lambda: exhibit_with("tables", listed('{"name": "/"}', 200_000)),
    "help that is wrong": lambda: exhibit_with("tables", b"[" + table_of(b"[]", keys(200_000)) + b"]"),
    "a cell of a megabyte": lambda: exhibit_with("tables", b"[" + table_of(b'[["' + b"a" * 1_100_000 + b'"]]') + b"]"),
    "a text of megabytes": lambda: exhibit_with("title", b'"' + b"a" * 9_000_000 + b'"'),
    "a type that is a book": lambda: exhibit_with("title", listed('"' + "a" * 100 + '"', 100_000)),
}


def keys(count: int) -> bytes:
    return b",".join(b'"k%d":1' % number for number in range(count))


def table_of(rows: bytes, told: bytes = b"") -> bytes:
    return b'{"name":"t","columns":["a"],"rows":' + rows + b',"caption":"","help":{' + told + b"}}"


def chart_of(spec: bytes) -> bytes:
    return b'[{"name":"c","caption":"","alt":"","spec":' + spec + b"}]"


@pytest.mark.parametrize("make", GROWING.values(), ids=GROWING)
def test_what_grows_out_of_few_bytes_is_refused_in_one_sentence(make, monkeypatch: pytest.MonkeyPatch):
    errors = 0
    first = jsonschema.Draft202012Validator.iter_errors

    def counted(*arguments: object):
        nonlocal errors
        for error in first(*arguments):
            errors += 1
            yield error

    monkeypatch.setattr(jsonschema.Draft202012Validator, "iter_errors", counted)
    data = repacked({EXHIBIT: make()})
    assert len(data) < 1_000_000
    with pytest.raises(InvalidInput) as caught:
        unpack(data)
    message = str(caught.value)
    assert len(message) < 500
    assert message.isprintable()
    assert message.endswith(".")
    assert errors <= 4  # each level yields the first that it finds


def test_values_are_counted_before_one_is_made(monkeypatch: pytest.MonkeyPatch):
    data = repacked({EXHIBIT: GROWING["millions of objects"]()})
    monkeypatch.setattr(bundle.json, "loads", lambda *_, **__: pytest.fail("it was parsed"))
    with pytest.raises(InvalidInput, match=r"holds \d,\d+,\d+ values, more than the 3,000,000 that are read"):
        unpack(data)


def test_charts_are_counted_over_all_exhibits(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(bundle, "MAX_CHARTS", 0)
    with pytest.raises(InvalidInput, match="more than the 0 charts"):
        unpack(pack(some_record()))


def test_a_directory_of_a_million_files_is_not_read(monkeypatch: pytest.MonkeyPatch):
    data = zipped({f"{number}": b"" for number in range(1_000)})
    monkeypatch.setattr(bundle.zipfile, "ZipFile", lambda *_: pytest.fail("it was read"))
    with pytest.raises(InvalidInput, match="more than the 64 files"):
        unpack(data)


@pytest.mark.parametrize("number", [1, 3, "2", None, [2]])
def test_a_bundle_of_another_format_is_refused_and_not_mixed(number):
    with pytest.raises(Unsupported, match="and this ProjLens reads 2 only"):
        unpack(repacked({"manifest.json": {"format_version": number}}))


def test_a_record_says_which_versions_are_not_those_of_here():
    told = provenance({}, {}, torch.device("cpu"))
    assert differences(told) == []
    [torch_then] = differences(replace(told, versions=told.versions | {"torch": "1.0"}))
    assert torch_then == f"torch 1.0 (here {version('torch')})"
    assert differences(replace(told, projlens="0.0.9")) == [f"ProjLens 0.0.9 (here {versions.PROJLENS})"]
    assert differences(replace(told, sources="0" * 64)) == [f"ProjLens {versions.PROJLENS} with other source files"]
    assert differences(replace(told, versions=told.versions | {"jax": "2"})) == ["jax 2 (here not installed)"]


def test_a_bundle_that_could_not_be_read_again_is_not_written(monkeypatch):
    monkeypatch.setattr(bundle, "MAX_FILE", 100)
    with pytest.raises(InvalidInput, match="more than the 100"):
        pack(some_record())
