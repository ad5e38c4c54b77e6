import numpy as np
import pytest

from benchmarks import weights
from benchmarks.comparison import within
from benchmarks.report import MEMORY, READ, TIME, NoFigures


@pytest.mark.slow
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
