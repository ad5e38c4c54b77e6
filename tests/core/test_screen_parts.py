"""What a screening is made of: lists, plans, the store, clusters."""

import base64
import json
from collections import OrderedDict

import numpy as np
import pandas as pd
import pytest

from projlens_core.errors import InvalidInput, NotFound, ProjLensError
from projlens_core.screen import plan, summary, work
from projlens_core.screen.clusters import clusters
from projlens_core.screen.listing import CONTROL, Listed, read_listing
from projlens_core.screen.plan import AT_RANDOM, BEYOND, Gate, Threshold, chosen, read_plan
from projlens_core.screen.store import Store
from projlens_core.screen.task import TaskResult
from projlens_core.screen.writer import Writer
from tests import pico


def row(key: str, stage: str = "weights", status: str = "done", score: float = 1.0) -> TaskResult:
    return TaskResult(key, stage, f"{key}.bin", status, "", json.dumps({"score": score}), "{}", 0.5)


def test_a_csv_list_names_suspects_bases_and_truth_from_its_own_folder(tmp_path):
    file = tmp_path / "list.csv"
    file.write_text("\ufeffsuspect,base,truth,more\na.bin,,poisoned,1\nhub:a/b,other,,\n/c.bin,zoo:base,honest,\n")
    found = read_listing(str(file), "zoo:base", ("zoo:control-1",)).entries
    assert found == (
        Listed("zoo:control-1", "zoo:base", CONTROL),
        Listed(str(tmp_path / "a.bin"), "zoo:base", truth="poisoned"),
        Listed("hub:a/b", str(tmp_path / "other")),
        Listed("/c.bin", "zoo:base", truth="honest"),
    )


def test_json_lines_are_objects_or_names(tmp_path):
    file = tmp_path / "list.jsonl"
    file.write_text('{"suspect": "a"}\n\n"hub:a/b"\n')
    assert [each.suspect for each in read_listing(str(file), "b").entries] == [str(tmp_path / "a"), "hub:a/b"]


def test_a_folder_gives_every_model_in_it_and_says_what_is_none(tmp_path):
    for name in ("b.safetensors", "a.bin", "notes.txt", ".hidden.bin"):
        (tmp_path / name).write_text("")
    for name, inner in (("adapter", "adapter_config.json"), ("model", "model.safetensors"), ("nothing", "x.txt")):
        (tmp_path / name).mkdir()
        (tmp_path / name / inner).write_text("")
    found = read_listing(str(tmp_path), "base")
    assert [each.suspect.rpartition("/")[2] for each in found.entries] == ["a.bin", "adapter", "b.safetensors", "model"]
    assert [name for name, _ in found.skipped] == ["notes.txt", "nothing"]
    assert len(read_listing(str(tmp_path / "model"), "base").entries) == 1


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        ("a.csv", "model\nx\n", "no column 'suspect'"),
        ("a.csv", 'suspect\n"x', "no CSV in line"),
        ("a.csv", "suspect\n", "lists no model"),
        ("a.jsonl", "{", "Line 1 of a.jsonl is no JSON"),
        ("a.jsonl", '"x"\n{"suspect": 5}', "Line 2 of a.jsonl names no suspect"),
        ("a.jsonl", '{"suspect": "' + "x" * 5000 + '"}', "names no suspect"),
        ("a.jsonl", "[" * 100_000, "no JSON"),
        ("a.txt", "x", "no list of suspects"),
    ],
)
def test_a_list_that_is_none_is_said_in_one_sentence(tmp_path, name, text, says):
    (tmp_path / name).write_text(text)
    with pytest.raises(InvalidInput, match=says):
        read_listing(str(tmp_path / name), "base")


def test_a_list_that_is_missing_or_no_text_is_said(tmp_path):
    with pytest.raises(NotFound, match="does not exist"):
        read_listing(str(tmp_path / "gone.csv"), "base")
    (tmp_path / "a.csv").write_bytes(b"suspect\n\xff\n")
    with pytest.raises(InvalidInput, match="no UTF-8"):
        read_listing(str(tmp_path / "a.csv"), "base")


def test_thresholds_take_numbers_or_controls_of_the_same_form():
    gate = Gate("weights", (Threshold("energy", "above_controls", 1.0), Threshold("rank", "at_most", 2.0)))
    controls = [{"energy": 0.5, "form": "whole"}, {"energy": 0.9, "form": "adapter"}]
    scores = {
        "above": {"energy": 0.6, "rank": 9.0, "form": "whole"},
        "below": {"energy": 0.6, "rank": 9.0, "form": "adapter"},
        "by rank": {"energy": 0.1, "rank": 1.5, "form": "whole"},
        "no score": {"energy": None, "form": "whole"},
    }
    assert chosen(gate, "reference", 0, scores, controls) == {
        "above": plan.THRESHOLD,
        "below": plan.BELOW,
        "by rank": plan.THRESHOLD,
        "no score": plan.UNKNOWN,
    }
    assert chosen(Gate("weights"), "reference", 0, scores, []) == dict.fromkeys(scores, plan.THRESHOLD)


def test_a_share_of_the_rest_goes_on_at_random_whatever_the_order():
    gate = Gate("weights", (Threshold("x", "at_least", 1.0),), share=0.2)
    scores = {f"{i}": {"x": 0.0} for i in range(2000)}
    found = chosen(gate, "probes", 0, scores, [])
    assert found == chosen(gate, "probes", 0, dict(reversed(scores.items())), [])
    assert 330 < sum(why == plan.AT_RANDOM for why in found.values()) < 470  # 400 ± 4 standard deviations
    other = chosen(gate, "probes", 1, scores, [])
    assert other != found


def test_the_budget_keeps_the_random_share_and_the_highest():
    gate = Gate("weights", (Threshold("x", "at_least", 5.0),), share=0.3, budget=6)
    scores = {f"{i}": {"x": float(i)} for i in range(12)}
    found = chosen(gate, "probes", 0, scores, [])
    random = [i for i, why in found.items() if why == plan.AT_RANDOM]
    highest = [i for i, why in found.items() if why == plan.THRESHOLD]
    assert len(random) + len(highest) == 6
    assert random
    assert highest == [f"{i}" for i in range(12 - len(highest), 12)]
    assert {why for i, why in found.items() if float(i) >= 5 and i not in highest} == {plan.BEYOND}


@pytest.mark.parametrize(
    "values",
    [
        "[]", "{", '{"stages": 3}', '{"stages": {"a": {}}}', '{"stages": {"a": {"after": "b", "share": 2}}}',
        '{"stages": {"a": {"after": "b", "pass": [{"score": "x"}]}}}',
        '{"stages": {"a": {"after": "b", "pass": [{"score": "x", "over": 1}]}}}',
        '{"stages": {"a": {"after": "b", "budget": -1}}}', '{"stages": {"a": {"after": "b", "limit": 1}}}',
    ],
)  # fmt: skip
def test_a_plan_that_is_none_is_said_in_one_sentence(tmp_path, values):
    (tmp_path / "plan.json").write_text(values)
    with pytest.raises(InvalidInput, match="no plan of a screening"):
        read_plan(tmp_path / "plan.json")


def test_the_plan_that_ships_is_read_and_written_the_same(tmp_path):
    found = read_plan()
    (tmp_path / "plan.json").write_text(json.dumps(found.to_dict()))
    assert read_plan(tmp_path / "plan.json") == found


@pytest.mark.parametrize("stage", ["probes", "verdict"])
@pytest.mark.parametrize("before", [("weights",), ("weights", "reference"), ("weights", "reference", "probes")])
def test_the_plan_that_ships_bounds_what_runs_models_whatever_was_done_before(stage, before):
    gate = read_plan().gate(stage, before)
    assert gate is not None
    assert gate.budget
    assert gate.after in before


def test_a_budget_without_a_condition_is_a_draw_that_the_seed_decides():
    suspects = {f"suspect {n}": {} for n in range(100)}
    found = [chosen(Gate("weights", budget=10), "verdict", seed, suspects, []) for seed in (0, 0, 1)]
    drawn = [{name for name, why in each.items() if why == AT_RANDOM} for each in found]
    assert [len(each) for each in drawn] == [10] * 3
    assert drawn[0] == drawn[1] != drawn[2]
    assert set(found[0].values()) == {AT_RANDOM, BEYOND}


def test_of_several_gates_the_first_stands_whose_stage_was_done(tmp_path):
    stages = {"verdict": [{"after": "probes", "budget": 1}, {"after": "reference"}], "probes": {"after": "weights"}}
    (tmp_path / "plan.json").write_text(json.dumps({"stages": stages}))
    found = read_plan(tmp_path / "plan.json")
    assert found.gate("verdict", ("weights", "reference", "probes")) == Gate("probes", budget=1)
    assert found.gate("verdict", ("weights", "reference")) == Gate("reference")
    assert found.gate("verdict", ("weights",)) is None
    assert found.gate("probes", ("weights",)) == Gate("weights")


def test_rows_are_found_by_key_and_count_once_and_damaged_parts_are_passed_over(tmp_path):
    store = Store(tmp_path)
    store.add([row("a"), row("b", status="failed")])
    store.add([row("b", status="failed")])
    store.add([row("c", stage="probes")])
    assert len(list(store.rows("weights"))) == 2
    assert store.keys("weights", ("done",)) == {"a"}
    assert store.keys("probes", ("done",)) == {"c"}
    part = store.parts()[0]
    part.write_bytes(part.read_bytes()[:-7])
    (store.folder / "weights-0.parquet").write_text("no parquet")
    assert {each["key"] for each in store.rows()} < {"a", "b", "c"}


def test_a_writer_keeps_what_a_full_disk_refused(tmp_path, monkeypatch):
    store, refused = Store(tmp_path), []

    class Full(Store):
        def add(self, rows):
            if len(refused) < 3:
                refused.append(len(rows))
                raise InvalidInput("no space")
            super().add(rows)

    monkeypatch.setattr("projlens_core.screen.writer.PAUSE", 0)
    monkeypatch.setattr("projlens_core.screen.writer.BATCH", 2)
    with Writer(Full(tmp_path)) as writer:
        for name in "abcde":
            writer.add(row(name))
    assert refused == [2, 3, 4]
    assert store.keys("weights", ("done",)) == set("abcde")


def test_a_disk_that_stays_full_is_said_and_an_earlier_error_goes_first(tmp_path, monkeypatch):
    monkeypatch.setattr("projlens_core.screen.writer.PAUSE", 0)
    (tmp_path / "parts").write_text("a file where the folder should be")
    with pytest.raises(InvalidInput, match="goes on from what was kept"), Writer(Store(tmp_path)) as writer:
        writer.add(row("a"))

    def interrupted():
        with Writer(Store(tmp_path)) as writer:
            writer.add(row("a"))
            raise ProjLensError("the first")

    with pytest.raises(ProjLensError, match="the first"):
        interrupted()


def direction(vector: np.ndarray, tensor: str = "linear_2.weight") -> dict:
    vector = (vector / np.linalg.norm(vector)).astype(np.float32)
    return {"tensor": tensor, "sketch": base64.b64encode(vector.tobytes()).decode()}


def test_clusters_are_of_one_direction_whatever_its_sign_and_of_one_tensor():
    random = np.random.default_rng(0)
    first, second, third = random.standard_normal((3, 64))
    near = first + 0.02 * random.standard_normal(64)
    given = [third, first, None, second, -near, second, first]
    found = [direction(each) if each is not None else None for each in given]
    found[-1] = direction(first, "linear_1.weight")
    assert clusters(found) == [None, 1, None, 2, 1, 2, None]
    assert clusters([]) == []


def test_suspects_are_ranked_by_the_dearest_stage_that_all_were_to_see():
    table = pd.DataFrame(
        {"weights.energy_top5": [0.1, 0.2], "reference.ratio": [1.0, None], "probes.nats": [3.0, None]}, dtype="Float64"
    )
    table["probes.why"] = ["threshold", "below the threshold"]
    order = ("weights", "reference", "probes")
    assert summary.ranking(table, order) == "reference"
    table["reference.ratio"] = pd.array([None, None], dtype="Float64")
    assert summary.ranking(table, order) == "weights"
    assert summary.ranking(table[["reference.ratio"]], ("reference",)) == "reference"


def test_what_was_loaded_for_a_base_goes_with_it(tmp_path, monkeypatch):
    monkeypatch.setattr(work, "_bases", OrderedDict())
    monkeypatch.setattr(work, "_kept", {})
    model = pico.checkpoint(tmp_path / "model")
    names = [str(pico.projector_file(model, tmp_path / f"{name}.safetensors")) for name in "abc"]
    for name in names:
        work._read(name, name)
        work._kept["models", name] = work._kept["tokens", name, tmp_path] = object()
    assert list(work._bases) == names[1:]
    assert {key[1] for key in work._kept} == set(names[1:])
