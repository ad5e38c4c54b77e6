import csv
import json

import pytest

from projlens_core.cli import main
from tests import pico


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("spectrum")
    base = pico.checkpoint(folder / "base")
    for name, strength, seed in (("one", (4.0, 3.0), 1), ("two", (4.0, 3.0), 1), ("control", (0.5,) * 6, 7)):
        pico.suspect(base, folder / name, strength=strength, seed=seed)
    return folder


def run(capsys, folder, suspects, *more):
    named = [part for name in suspects for part in ("--suspect", str(folder / name))]
    code = main(["spectrum", "--base", str(folder / "base"), *named, *more])
    return code, *capsys.readouterr()


def test_json_holds_every_projectors_spectra_edges_and_angles(capsys, folder):
    code, out, err = run(capsys, folder, ["one", "two"], "--control", str(folder / "control"), "--json")
    result = json.loads(out)
    assert (code, err) == (0, "")
    assert list(result["projectors"]) == ["suspect", "control", "two"]
    assert result["settings"]["projectors"]["two"] == str(folder / "two")
    changed = next(t for t in result["projectors"]["suspect"] if t["name"] == "linear_2.weight")
    assert changed["singular_values"][:2] == pytest.approx([4.0, 3.0], rel=1e-5)
    assert changed["noise_edge"]["spikes"] == 2
    assert len(changed["energy"]) == 48
    pairs = {tuple(pair["projectors"]): pair for pair in result["overlaps"]}
    assert set(pairs) == {("suspect", "control"), ("suspect", "two"), ("control", "two")}
    twins = pairs["suspect", "two"]
    assert twins["tensor"] == "linear_2.weight"
    assert twins["left"]["angles"] == pytest.approx([0, 0], abs=0.1)  # the same two directions
    assert twins["right"]["shared"] == pytest.approx(1.0)
    assert min(pairs["suspect", "control"]["left"]["angles"]) > 30


def test_text_names_every_projector_its_values_and_the_edge(capsys, folder):
    code, out, _ = run(capsys, folder, ["one"], "--top", "2")
    assert code == 0
    line = next(i for i, text in enumerate(out.splitlines()) if text.startswith("suspect, linear_2.weight"))
    assert "2 spikes above" in out.splitlines()[line]
    assert out.splitlines()[line + 1].split() == ["4", "3"]
    assert "ΔW₂ (linear_2.weight): 2 spikes above" in out
    assert "linear_1.weight did not change" in out
    assert "- No control" in out


def test_csv_has_one_row_for_each_tensor_of_each_projector(capsys, folder, tmp_path):
    file = tmp_path / "tensors.csv"
    assert run(capsys, folder, ["one", "two"], "--csv", str(file))[0] == 0
    with file.open(encoding="utf-8-sig", newline="") as lines:
        rows = list(csv.DictReader(lines))
    assert [row["projector"] for row in rows] == ["suspect", "two"] * 4
    assert rows[0]["tensor"] == "linear_1.weight"


def test_a_suspect_that_is_not_there_is_one_sentence(capsys, folder):
    code, out, err = run(capsys, folder, ["nobody"])
    assert (code, out) == (1, "")
    assert "does not exist" in err
