"""The report says everything, escapes everything, and is written whole or not at all."""

import json
import os
import re
from dataclasses import replace
from html.parser import HTMLParser

import altair as alt
import pandas as pd
import pytest

from projlens_core.analyses.exhibit import Chart, Exhibit, Metric, Table
from projlens_core.analyses.lens.charts import rank_frequency
from projlens_core.errors import InvalidInput
from projlens_core.report import html as report
from projlens_core.report.drawing import specification
from projlens_core.report.record import Missing, Record
from projlens_core.report.summary import ALONE
from projlens_core.runtime.atomic import write_atomically
from tests.core.test_bundle import some_record

HOSTILE = (
    '</script><script>document.title="ran"</script><img src=x onerror="document.title=\'ran\'">'
    "[link](javascript:alert(1)) **bold** $x^2$ :material/skull: :red[r] ${1} {{ 7*7 }} <!-- --> ]]> \u2028 &lt;"
)


def hostile_record() -> Record:
    """A record in which every text that a suspect may have written is an attack."""
    title = HOSTILE.replace("\u2028", "")  # Vega's expressions end there: such a chart is refused
    chart = rank_frequency(title, pd.DataFrame({"token": [title], "rank": [1], "share": [1.0], "target": [True]}))
    exhibit = Exhibit(
        key="response",
        title=HOSTILE,
        question=HOSTILE,
        metrics=(Metric(HOSTILE, HOSTILE, HOSTILE, HOSTILE, HOSTILE),),
        charts=(Chart("chart", chart, HOSTILE, HOSTILE),),
        tables=(Table("table", pd.DataFrame({HOSTILE: [HOSTILE, None]}), HOSTILE, {HOSTILE: HOSTILE}),),
        data={HOSTILE: HOSTILE},
        notes=(HOSTILE,),
    )
    provenance = replace(
        some_record().provenance,
        settings={"target": HOSTILE},
        command=HOSTILE,
        versions={HOSTILE: HOSTILE},
        machine={HOSTILE: HOSTILE},
        hashes={HOSTILE: HOSTILE},
    )
    return Record(HOSTILE, provenance, (exhibit,), (Missing(HOSTILE, HOSTILE),))


class _Elements(HTMLParser):
    """What a browser would make of the file: its elements and their attributes."""

    def __init__(self, text: str):
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict]] = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))


@pytest.fixture(scope="module")
def hostile() -> str:
    return report.as_html(hostile_record())


def test_no_text_of_a_suspect_becomes_an_element_or_an_attribute(hostile):
    elements = _Elements(hostile).elements
    assert [attributes.get("type") for tag, attributes in elements if tag == "script"] == [
        "application/json",
        None,
        None,
    ]
    assert not [tag for tag, _ in elements if tag in ("img", "iframe", "object")]
    assert not [name for _, attributes in elements for name in attributes if name.startswith("on")]
    assert not [a for _, a in elements if str(a.get("href", "")).startswith("javascript")]
    assert "{{" in hostile  # not rendered as a template either
    assert "49" not in re.findall(r"<h1>(.*?)</h1>", hostile, re.S)[0]


def test_json_for_a_chart_cannot_end_its_script_and_gives_back_the_chart(hostile):
    block = re.search(r'<script type="application/json" id="response-chart-0">(.*?)</script>', hostile, re.S)[1]
    assert "<" not in block
    rows = next(iter(json.loads(block)["datasets"].values()))
    assert rows[0]["token"] == HOSTILE.replace("\u2028", "")


def test_only_the_reports_own_scripts_are_allowed_to_run(hostile):
    policy = next(a["content"] for tag, a in _Elements(hostile).elements if a.get("http-equiv"))
    assert policy.startswith("default-src 'none'; script-src 'sha256-")
    assert "script-src" in policy
    assert "unsafe-eval" not in policy
    assert "unsafe-inline" not in policy.split("style-src")[0]


def test_a_report_holds_everything_a_record_does():
    record = some_record()
    text = report.as_html(record)
    chart = record.exhibits[0].charts[0]
    for said in (
        record.title,
        "What does it say?",
        "90 %",
        "control 0 %",
        "60 % – 98 %",
        chart.caption,
        "Answers.",
        "a.png",
        "One image was left out.",
        "Logit lens: not done: It was not asked for.",
        "0" * 64,
        record.provenance.command,
        "1" * 64,
        "3.11",
        "<th>threads</th><td>2</td>",
        'href="#response"',
    ):
        assert said in text
    assert "<svg" in text
    assert 'href="http' not in text
    assert 'src="http' not in text


def test_the_first_page_says_that_there_is_no_control_where_there_is_none():
    record = some_record()
    hashes = {role: "0" * 64 for role in ("base", "suspect")}
    alone = report.as_html(replace(record, provenance=replace(record.provenance, hashes=hashes)))
    beside = replace(record.provenance, hashes=hashes | {"control": "1" * 64})
    assert ALONE in alone
    assert ALONE not in report.as_html(replace(record, provenance=beside))


def test_a_long_table_is_cut_in_print_and_whole_in_its_csv():
    frame = pd.DataFrame({"n": range(100)})
    exhibit = replace(some_record().exhibits[0], charts=(), tables=(Table("long", frame, "Numbers."),))
    text = report.as_html(replace(some_record(), exhibits=(exhibit,)))
    assert "The first 30 of\n100 rows" in text
    csv = re.search(r'href="data:text/csv;base64,([^"]*)"', text)[1]
    assert len(report.base64.b64decode(csv).decode("utf-8-sig").split()) == 101


def test_a_chart_takes_the_ink_of_its_page_and_keeps_what_it_says_itself():
    chart = alt.Chart(pd.DataFrame({"x": [1.0]})).mark_point().encode(x="x:Q")
    fitted = report.drawing.fitted(specification(chart.configure_axis(labelColor="red")), 400)
    assert fitted["width"] == 400
    assert fitted["config"]["axis"]["labelColor"] == "red"
    assert fitted["config"]["axis"]["titleColor"] == "currentColor"
    assert "width" not in report.drawing.fitted(specification(chart | chart), 400)


def test_a_report_is_written_whole_or_not_at_all(tmp_path, monkeypatch):
    file = tmp_path / "report.html"
    write_atomically(file, b"old")

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(InvalidInput, match=r"cannot be written \(No space left on device\)"):
        write_atomically(file, b"new")
    assert file.read_bytes() == b"old"
    assert [path.name for path in tmp_path.iterdir()] == ["report.html"]


def test_a_folder_that_does_not_exist_is_one_sentence(tmp_path):
    with pytest.raises(InvalidInput, match="cannot be written"):
        write_atomically(tmp_path / "no" / "report.html", b"")


def test_a_column_is_headed_by_todays_word_and_keeps_its_name_in_files():
    table = report.printed(Table("t", pd.DataFrame({"picture": ["a.png"], "top 5 hold": [0.5]}), ""))
    assert [column.name for column in table.columns] == ["image", "energy in the top 5"]
    assert report.base64.b64decode(table.csv.partition(",")[2]).decode("utf-8-sig").startswith("picture,top 5 hold")
