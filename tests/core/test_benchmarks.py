import numpy as np
import pytest

from benchmarks import performance, sets, triplets, weights
from benchmarks.comparison import SCALED, Comparison, Repeats, within
from benchmarks.report import MEMORY, READ, TIME, Figure, NoFigures, Report, Target


@pytest.mark.slow(seconds=15)
def test_a_quick_job_runs_both_sides_and_finds_that_their_results_agree(tmp_path):
    report = weights.run(tmp_path, quick=True)
    assert "the same spikes" in report.agreement
    figures = {figure.quantity: figure for figure in report.figures}
    assert figures.keys() == {TIME, MEMORY, READ}
    assert all(figure.ours > 0 and figure.reference > 0 for figure in figures.values())
    projector = (64 * 256 + 256 + 256 * 256 + 256) * 2  # bytes in float16
    assert 2 * projector < figures[READ].ours < 2 * projector + 20_000  # and headers
    assert figures[READ].ratio > 2


def test_results_that_differ_by_more_than_the_tolerance_give_no_figures():
    reference = np.array([2.0, 1.0])
    assert "5.0e-03" in within("Values", reference, np.array([2.0, 1.01]), share=0.01)
    with pytest.raises(NoFigures, match=r"differ by 5\.0e-02"):
        within("Values", reference, np.array([2.0, 1.1]), share=0.01)
    with pytest.raises(NoFigures, match="nan"):
        within("Values", reference, np.array([2.0, np.nan]), share=0.01)


def test_a_side_that_does_a_part_is_scaled_by_its_work_alone(monkeypatch, tmp_path):
    ran = {"seconds": np.array([3.0]), "peak": 1, "1.sum": np.array(2.0), f"1.{SCALED}": np.array(10.0)}
    monkeypatch.setattr("benchmarks.comparison._in_fresh_process", lambda *args: (ran, 5.0))
    for warm, seconds in ((False, 2 + 30), (True, 30)):  # 2 s of imports are not made ten times as long
        job = Comparison("x", "X", "", "", "", lambda a, b: "", warm, Repeats(), Repeats())
        runs = job._run("side", tmp_path, Repeats())
        assert runs.seconds == (pytest.approx(seconds),)


def test_mean_shifts_are_compared_along_our_direction():
    ours = {"direction": np.array([1.0, 0.0]), "mean": np.array([2.0, 9.0])}
    reference = {"delta_e": np.array([[[3.0, 7.0], [-1.0, 5.0]]])}  # one image of two tokens: (3 + 1) / 2
    assert "1 images" in sets.agree(reference, ours)
    with pytest.raises(NoFigures):
        sets.agree(reference, ours | {"mean": np.array([2.1, 9.0])})


def test_a_spike_that_is_off_in_its_fifth_digit_gives_no_figures():
    found = {"values": np.linspace(1, 0.1, 32), "u": np.eye(40)[:, :32], "v": np.eye(40)[:, :32]}
    assert "allowed 1e-05" in triplets.agree(found, found)
    with pytest.raises(NoFigures, match="spikes"):
        triplets.agree(found, found | {"values": found["values"] * (1 + 1e-4)})


def test_the_page_on_performance_holds_every_figure_its_verdict_and_the_plot(tmp_path):
    figures = (Figure(TIME, 2.0, 30.0, Target(at_most=5, ahead_by=10)), Figure(MEMORY, 7e8, 2e9, Target(at_most=6e8)))
    job = Report("x", "the job", figures, "Values agree", ("A note.",)).as_dict()
    point = {"axis": "n", "seconds": 1.0, "floor_seconds": 0.5, "memory": 10**6, "floor_memory": 10**5}
    environment = dict.fromkeys(("python", "torch", "transformers", "numpy", "device"), "1") | {
        "date": "2026-01-01T00:00:00", "cpu_count": 2, "memory": 8e9, "system": "Linux 6", "load": 0.1
    }  # fmt: skip
    growth = {
        "rates": {"single": 1e11, "double": 5e10, "copied": 1e10},
        "points": [point | {"size": s} for s in (1, 2)],
    }
    performance.write({"environment": environment, "jobs": [job], "growth": growth}, tmp_path)
    page = (tmp_path / "performance.md").read_text()
    assert "| the job | time | 2.00 s | 30.00 s | 15.0× | ≤ 5.00 s, ≥ 10× | yes |" in page
    assert "|  | peak memory | 700 MB | 2 GB | 2.9× | ≤ 600 MB | no |" in page
    assert "- **the job**: Values agree. A note." in page
    assert "images/growth.svg" in page
    assert "<svg" in (tmp_path / "images" / "growth.svg").read_text()[:200]
