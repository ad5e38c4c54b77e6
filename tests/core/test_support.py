from pathlib import Path

import pytest

from projlens_core.weights.families import families
from tests.support import Proof, table

FILE = Path(__file__).parents[2] / "docs" / "support.md"
PROVING = (
    "test_families.py",
    "test_vision_families.py",
    "test_respond_families.py",
    "test_model.py",
    "test_respond.py",
)


def test_the_table_in_the_docs_is_what_the_tests_set_out_to_prove(declared, request):
    """Whether they do is theirs to show; a family or a form that was added or lost makes the file stale."""
    collected = {item.path.name for item in request.session.items}
    if not collected.issuperset(PROVING) or request.config.option.keyword:
        pytest.skip("only a run of all tests that prove support can tell")
    assert FILE.read_text(encoding="utf-8") == table(declared), "write it anew with: make support"


def test_what_is_not_proven_has_a_reason():
    rows = table([Proof("llava", "weights", "old names")]).splitlines()
    llava = next(row for row in rows if row.startswith("| `llava` "))
    assert llava == "| `llava` | LLaVA | old names | no: not proven | no: not proven |"
    assert "transformers does not load it" in next(row for row in rows if row.startswith("| `minigpt4` "))
    assert len([row for row in rows if row.startswith("| `")]) == len(families())
