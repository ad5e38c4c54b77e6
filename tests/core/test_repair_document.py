"""docs/repair.md says what docs/repair.json holds, and does not claim what was not measured."""

from projlens_core.research import nursery_repairs
from projlens_core.research.repairs import DOCUMENT, METHODS, OURS, RESULTS, load
from projlens_core.research.repairs_text import document


def test_the_page_is_what_the_results_give():
    assert DOCUMENT.read_text(encoding="utf-8") == document(load(RESULTS), load(nursery_repairs.RESULTS))


def test_what_was_not_measured_is_said_to_be():
    said = document({}, {})
    assert "0 demo suspects measured" in said
    assert said.count("not measured |") >= 4 * len(METHODS)


def test_a_failure_is_named():
    rate = {"rate": 0.5, "low": 0.4, "high": 0.6, "n": 100, "hits": 50}
    found = {"asr": rate, "utility": rate, "seconds": 1.0, "cpu_seconds": 1.0, "n": 100}
    said = document({f"perceptual-hijack/{OURS}": found}, {})
    assert "Above 2 % after the repair: Perceptual hijack, of 1 demo suspects measured" in said
    assert "**no**" in said
