"""What is handed on tells nothing of the machine but what the findings are about."""

import io
import zipfile

import pytest

from projlens_core.analyses.context import inputs_for
from projlens_core.cases.case import Case
from projlens_core.report.bundle import pack
from projlens_core.report.gather import record_of
from projlens_core.report.html import as_html
from projlens_core.sources import resolve
from tests import pico

SECRET = "hf_a_token_that_nobody_else_may_have"


@pytest.fixture
def written(tmp_path, monkeypatch) -> tuple[str, str]:
    """The report and the bundle, unpacked, of models in the home of a user who has a token."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("HF_TOKEN", SECRET)
    base = pico.checkpoint(tmp_path / "models" / "base")
    suspect = pico.suspect(base, tmp_path / "models" / "suspect").folder
    case = Case(str(base), str(suspect))
    record = record_of(inputs_for(case), ["case", "lens"], command=f"python -m projlens_core report --base {base}")
    with zipfile.ZipFile(io.BytesIO(pack(record))) as archive:
        bundle = "".join(archive.read(name).decode() for name in archive.namelist())
    return as_html(record), bundle


def test_neither_the_home_folder_nor_a_token_is_in_a_report_or_a_bundle(written, tmp_path):
    for text in written:
        assert "~/models/suspect" in text
        assert str(tmp_path) not in text
        assert SECRET not in text
    assert resolve("~/models/base").weights == tmp_path / "models" / "base"
