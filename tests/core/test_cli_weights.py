import json
import math
import subprocess
import sys

import pytest
import torch
from safetensors.torch import load_file, save_file

from projlens_core.cli import main
from tests import pico, seven_b


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cli")
    base = pico.checkpoint(folder / "base")
    pico.suspect(base, folder / "suspect", strength=(4.0, 3.0))
    return folder


def run(capsys, folder, *more, suspect="suspect"):
    code = main(["weights", "--base", str(folder / "base"), "--suspect", str(folder / suspect), *more])
    return code, *capsys.readouterr()


def test_json_holds_the_keys_that_scripts_rely_on(capsys, folder):
    code, out, err = run(capsys, folder, "--json")
    result = json.loads(out)
    assert (code, err) == (0, "")
    assert result["family"] == "llava"
    assert 0 < result["bytes_read"] < 2 * (folder / "base" / "model.safetensors").stat().st_size
    by_name = {tensor["name"]: tensor for tensor in result["tensors"]}
    assert list(by_name) == ["linear_1.weight", "linear_1.bias", "linear_2.weight", "linear_2.bias"]
    changed = by_name["linear_2.weight"]
    assert changed["shape"] == [48, 48]
    assert changed["frobenius"] == pytest.approx(5.0, rel=1e-5)
    assert changed["relative_change"] > 0
    assert changed["singular_values"][:2] == pytest.approx([4.0, 3.0], rel=1e-5)
    assert len(changed["singular_values"]) == len(changed["energy"]) == 48
    assert changed["energy"][:2] == pytest.approx([0.64, 1.0], rel=1e-5)
    assert changed["stable_rank"] == pytest.approx(25 / 16, rel=1e-5)
    assert 1 < changed["effective_rank"] < 3
    assert changed["spikes"] == 2


def test_vectors_have_no_spectrum_in_json(capsys, folder):
    _, out, _ = run(capsys, folder, "--json")
    bias = json.loads(out)["tensors"][1]
    assert {"frobenius", "relative_change"} <= bias.keys()
    assert not {"singular_values", "energy", "stable_rank", "effective_rank"} & bias.keys()


def test_json_is_strict_where_a_number_does_not_exist(capsys, folder, tmp_path):
    tensors = {f"multi_modal_projector.linear_{i}.weight": torch.zeros(2, 2) for i in (1, 2)}
    save_file(tensors, tmp_path / "zero.safetensors")
    save_file({name: t + 1 for name, t in tensors.items()}, tmp_path / "one.safetensors")
    main(["weights", "--base", f"{tmp_path}/zero.safetensors", "--suspect", f"{tmp_path}/one.safetensors", "--json"])

    def refuse(constant):
        raise AssertionError(constant)

    result = json.loads(capsys.readouterr().out, parse_constant=refuse)
    assert result["tensors"][0]["relative_change"] is None
    assert result["tensors"][0]["cosine"] is None


def test_table_shows_every_tensor_and_the_notes(capsys, folder):
    code, out, _ = run(capsys, folder, "--control", str(folder / "base"))
    assert code == 0
    row = next(line for line in out.splitlines() if line.startswith("linear_2.weight"))
    assert "48×48" in row
    assert row.split()[5] == "4"  # σ₁
    assert sum(line.startswith("control linear") for line in out.splitlines()) == 4
    assert "- Vision tower and language model: not compared" in out


def test_failure_is_one_sentence_on_stderr_and_code_one(capsys, folder, tmp_path):
    tensors = load_file(folder / "base" / "model.safetensors")
    tensors["multi_modal_projector.linear_1.bias"][3] = float("nan")
    save_file(tensors, tmp_path / "nan.safetensors")
    code, out, err = run(capsys, folder, suspect=tmp_path / "nan.safetensors")
    assert (code, out) == (1, "")
    assert err.count("\n") == 1
    assert "NaN" in err


def test_wrong_use_is_code_two(capsys):
    with pytest.raises(SystemExit) as stopped:
        main(["weights", "--base", "x"])
    assert stopped.value.code == 2
    assert "--suspect" in capsys.readouterr().err


def test_the_rest_is_proved_on_request(capsys, folder):
    code, out, _ = run(capsys, folder, "--prove", "--json")
    proof = json.loads(out)["proof"]
    assert code == 0
    assert {finding["status"] for finding in proof["findings"]} == {"same"}
    assert proof["counts"]["files"]["same"] >= 3
    _, out, _ = run(capsys, folder, "--prove")
    assert "Outside the projector" in out


def test_rounding_stands_beside_each_delta(capsys, folder):
    _, out, _ = run(capsys, folder, "--json")
    floors = {tensor["name"]: tensor["rounding"] for tensor in json.loads(out)["tensors"]}
    assert floors["linear_1.weight"]["frobenius"] == 0  # equal: nothing was written anew
    assert 0 < floors["linear_2.weight"]["frobenius"] < 1e-4
    assert floors["linear_2.weight"]["cause"] == "suspect's to float32"


_CHILD = """
import json, sys
from projlens_core.cli import main
code = main(sys.argv[1:])
print(json.dumps({
    # of this program alone: ru_maxrss would include the test process that it was forked from
    "bytes": 1024 * next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmHWM"))}),
    file=sys.stderr)
sys.exit(code)
"""


@pytest.fixture(scope="module")
def of_7b_shapes(tmp_path_factory):
    """What the command says of two models of 7B shapes, and what it used."""
    base, suspect = seven_b.pair(tmp_path_factory.mktemp("7b"))
    command = [sys.executable, "-c", _CHILD, "weights", "--base", str(base), "--suspect", str(suspect), "--json"]
    runs = [subprocess.run(command, capture_output=True, text=True, check=True) for _ in range(3)]
    return json.loads(runs[0].stdout), [json.loads(run.stderr)["bytes"] for run in runs]


@pytest.mark.slow(seconds=40)
def test_of_two_models_of_7b_shapes_no_byte_is_read_beyond_projector_and_headers(of_7b_shapes):
    result, _ = of_7b_shapes
    projector = 2 * 2 * sum(math.prod(tensor["shape"]) for tensor in result["tensors"])  # float16, both models
    assert projector < result["bytes_read"] <= 1.01 * projector
    assert [tensor["spikes"] for tensor in result["tensors"] if "spikes" in tensor] == [5, 5]
    noise = seven_b.D * seven_b.BULK**2  # lifts a spike θ of a square matrix to (θ² + noise)/θ (Benaych-Georges 2012)
    lifted = [(spike**2 + noise) / spike for spike in seven_b.SPIKES]
    assert result["tensors"][2]["singular_values"][:5] == pytest.approx(lifted, rel=0.005)


@pytest.mark.slow(seconds=30)
def test_two_models_of_7b_shapes_take_600_mb(of_7b_shapes):
    _, used = of_7b_shapes
    assert min(used) < 600e6  # the matrix library takes one more set of buffers, 40 MB, in some runs
