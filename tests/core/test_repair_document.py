"""docs/repair.md says what docs/repair.json holds, and does not claim what was not measured."""

from projlens_core.research import nursery_methods, nursery_repairs
from projlens_core.research.repairs import DOCUMENT, METHODS, OURS, RESULTS, load
from projlens_core.research.repairs_text import document


def test_the_page_is_what_the_results_give():
    assert DOCUMENT.read_text(encoding="utf-8") == document(
        *map(load, (RESULTS, nursery_repairs.RESULTS, nursery_methods.RESULTS))
    )


def test_what_was_not_measured_is_said_to_be():
    said = document({}, {}, {})
    assert "0 demo suspects measured" in said
    assert said.count("not measured |") >= 4 * len(METHODS)


def test_a_failure_is_named():
    rate = {"rate": 0.5, "low": 0.4, "high": 0.6, "n": 100, "hits": 50}
    found = {"asr": rate, "utility": rate, "seconds": 1.0, "cpu_seconds": 1.0, "n": 100}
    said = document({f"perceptual-hijack/{OURS}": found}, {}, {})
    assert "Above 2 % after the repair: Perceptual hijack, of 1 demo suspects measured" in said
    assert "**no**" in said


def test_other_methods_stand_beside_ours_on_the_members_that_all_were_measured_on():
    def measured(after: int, right: int) -> dict:
        rate = {"hits": after, "n": 200, "rate": after / 200, "low": 0.0, "high": 1.0}
        counts = {"n": 100, "before": 90, "after": right, "lost": 0, "won": 0}
        return {"asr": {"before": rate, "after": rate, "later": rate}, "utility": counts, "learned": counts}

    ours = measured(0, 90)
    more = {"version": nursery_repairs.VERSION, "split": "sealed", "group": "poisoned", "task": "names", "rank": None}
    more |= {"family": "blur", "repair": {"rounds": []}, "seconds": 200.0, "threads": 1}
    more |= {"learned": ours["learned"] | {"base": 40}}
    others = {"a": {"methods": {"Other": measured(100, 65)}}, "b": {"methods": {"Other": measured(0, 90)}}}
    former = ours | more | {"version": nursery_repairs.VERSION - 1}
    said = document({}, {"a": ours | more, "c": former}, others)
    assert "1 members were measured with an older version only, and are left out." in said
    assert "| c | names" not in said
    assert "1 of 1, at most 200 seconds; 1 had a single core, which can only be slower | yes, on 1 |" in said
    assert "The same 1 attacks that count" in said
    row = next(line for line in said.splitlines() if line.startswith("| Other "))
    assert "0 of 1" in row
    assert "50.0%" in row  # of the attempts, and half of what was gained beyond base's 40 is kept
    assert "+25.0 (+25.0 to +25.0)" in row
    assert "50.0% (50.0% to 50.0%)" in row
    assert "Other methods were not measured" in document({}, {"a": ours | more}, {})
