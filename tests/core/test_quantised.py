"""Quantised projectors: the values that the codes stand for, the floor that follows, and refusals by name."""

import json

import pytest
import torch
from safetensors.torch import save_file

from projlens_core.activations.config import open_family
from projlens_core.cli import main
from projlens_core.errors import InvalidInput, Unsupported
from projlens_core.sources import resolve
from projlens_core.weights.opening import open_checkpoint
from projlens_core.weights.projector import read_projector
from projlens_core.weights.proof import CHANGED, NOT_COMPARED, SAME, prove
from tests.quantisers import QUANTISERS, words

FIRST, SECOND = "multi_modal_projector.linear_1", "multi_modal_projector.linear_2"
ATTENTION = "language_model.model.layers.0.self_attn.q_proj"
CALIBRATED = ("compressed-tensors", "AWQ", "GPTQ")


def plain(seed=0):
    """A LLaVA's projector and one matrix of its language model."""
    generator = torch.Generator().manual_seed(seed)
    shapes = {FIRST: (64, 128), SECOND: (96, 64), ATTENTION: (64, 64)}
    tensors = {f"{name}.weight": 0.05 * torch.randn(shape, generator=generator) for name, shape in shapes.items()}
    return tensors | {f"{name}.bias": torch.zeros(shapes[name][0]) for name in (FIRST, SECOND)}


def spiked(weight, strength):
    """Plus one strong direction: what a fine-tune may leave."""
    generator = torch.Generator().manual_seed(9)
    left, right = (torch.nn.functional.normalize(torch.randn(n, generator=generator), dim=0) for n in weight.shape)
    return weight + strength * torch.outer(left, right)


def saved(folder, tensors, config=None):
    folder.mkdir(exist_ok=True)
    save_file({name: t.contiguous() for name, t in tensors.items()}, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps({"model_type": "llava", **(config or {})}))
    return folder


def quantised(tensors, made_of, *modules):
    """The tensors with those of the modules quantised, their values, and the config that says so."""
    stored, values, config = dict(tensors), {}, {}
    for module in modules:
        made = made_of(stored.pop(f"{module}.weight"))
        stored |= {f"{module}.{leaf}": t for leaf, t in made.tensors.items()}
        values[module], config = made.values, made.config
    return stored, values, config


def compared(capsys, base, suspect):
    code = main(["weights", "--base", str(base), "--suspect", str(suspect), "--json"])
    out, err = capsys.readouterr()
    assert code == 0, err
    result = json.loads(out)
    return {t["name"]: t for t in result["tensors"]}, " ".join(result["notes"])


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return saved(tmp_path_factory.mktemp("quantised") / "base", plain())


@pytest.mark.parametrize("name", QUANTISERS)
def test_a_quantised_projector_has_the_values_its_codes_stand_for(base, tmp_path, capsys, name):
    stored, values, config = quantised(plain(), QUANTISERS[name], FIRST, SECOND)
    suspect = saved(tmp_path / "suspect", stored, config)
    read = read_projector(suspect)
    tensors, _ = compared(capsys, base, suspect)
    for canonical, module in (("linear_1.weight", FIRST), ("linear_2.weight", SECOND)):
        torch.testing.assert_close(read.tensors[canonical], values[module], rtol=1e-5, atol=1e-7)
        delta = (values[module] - plain()[f"{module}.weight"]).double()
        assert tensors[canonical]["frobenius"] == pytest.approx(delta.norm().item(), rel=1e-4)
        expected = torch.linalg.svdvals(delta)
        assert tensors[canonical]["singular_values"] == pytest.approx(expected.tolist(), rel=1e-3, abs=1e-4)
    assert not tensors["linear_1.bias"]["changed"]


@pytest.mark.parametrize("name", QUANTISERS)
def test_what_quantising_alone_leaves_is_not_mistaken_for_a_fine_tune(base, tmp_path, capsys, name):
    stored, values, config = quantised(plain(), QUANTISERS[name], FIRST, SECOND)
    tensors, notes = compared(capsys, base, saved(tmp_path / "suspect", stored, config))
    for canonical, module in (("linear_1.weight", FIRST), ("linear_2.weight", SECOND)):
        delta = values[module] - plain()[f"{module}.weight"]
        floor = tensors[canonical]["rounding"]
        assert floor["frobenius"] == pytest.approx(delta.norm().item(), rel=0.15)
        assert 0.9 * torch.linalg.matrix_norm(delta, 2) < floor["sigma"] < 1.6 * torch.linalg.matrix_norm(delta, 2)
        assert tensors[canonical]["spikes"] == 0
        assert floor["quantised"]
        assert floor["least"] == name.startswith(CALIBRATED)
    assert "stored quantised" in notes
    assert "The change of linear_1.weight, linear_2.weight is no larger than quantising alone makes it" in notes


@pytest.mark.parametrize("name", QUANTISERS)
def test_a_fine_tune_shows_through_quantising(base, tmp_path, capsys, name):
    tuned = plain()
    tuned[f"{SECOND}.weight"] = spiked(tuned[f"{SECOND}.weight"], 4.0)
    stored, values, config = quantised(tuned, QUANTISERS[name], FIRST, SECOND)
    tensors, notes = compared(capsys, base, saved(tmp_path / "suspect", stored, config))
    delta = (values[SECOND] - plain()[f"{SECOND}.weight"]).double()
    assert tensors["linear_2.weight"]["singular_values"][0] == pytest.approx(
        torch.linalg.svdvals(delta)[0].item(), rel=1e-4
    )
    assert tensors["linear_2.weight"]["spikes"] >= 1
    assert tensors["linear_1.weight"]["spikes"] == 0
    assert ("The change of linear_1.weight is no larger") in notes


@pytest.mark.parametrize("name", QUANTISERS)
def test_a_quantised_language_model_around_a_plain_projector_does_not_matter(base, tmp_path, capsys, name):
    tuned = plain()
    tuned[f"{SECOND}.weight"] = spiked(tuned[f"{SECOND}.weight"], 2.0)
    stored, _, config = quantised(tuned, QUANTISERS[name], ATTENTION)
    suspect = saved(tmp_path / "suspect", stored, config)
    tensors, notes = compared(capsys, base, suspect)
    assert [n for n in tensors if tensors[n]["changed"]] == ["linear_2.weight"]
    assert tensors["linear_2.weight"]["singular_values"][:2] == pytest.approx([2.0, 0.0], abs=1e-4)
    assert "quantis" not in notes
    (finding,) = [f for f in prove(base, suspect).findings if f.name == f"{ATTENTION}.weight"]
    assert finding.status == NOT_COMPARED
    assert "which rounds; they lie" in finding.reason
    (finding,) = [f for f in prove(suspect, suspect).findings if f.name == f"{ATTENTION}.weight"]
    assert finding.status == SAME


@pytest.mark.parametrize("name", ["bitsandbytes nf4, doubly", "compressed-tensors W4A16 with zero points", "MLX 4 bit"])
def test_parts_in_several_shards_are_one_tensor(base, tmp_path, name):
    stored, values, config = quantised(plain(), QUANTISERS[name], FIRST, SECOND)
    names = sorted(stored)
    shards = {f"model-{n}.safetensors": names[n::3] for n in range(3)}
    for file, part in shards.items():
        save_file({each: stored[each].contiguous() for each in part}, tmp_path / file)
    weight_map = {each: file for file, part in shards.items() for each in part}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "llava", **config}))
    read = read_projector(tmp_path)
    torch.testing.assert_close(read.tensors["linear_2.weight"], values[SECOND], rtol=1e-5, atol=1e-7)
    assert not read.warnings


def test_two_quantised_models_are_compared_by_their_values(tmp_path, capsys):
    tuned = plain()
    tuned[f"{SECOND}.weight"] = spiked(tuned[f"{SECOND}.weight"], 4.0)
    make = QUANTISERS["bitsandbytes nf4"]
    folders = {
        role: saved(tmp_path / role, *(quantised(tensors, make, FIRST, SECOND)[i] for i in (0, 2)))
        for role, tensors in (("a", plain()), ("b", tuned))
    }
    tensors, _ = compared(capsys, folders["a"], folders["b"])
    assert not tensors["linear_1.weight"]["changed"]
    assert tensors["linear_1.weight"]["rounding"]["frobenius"] == 0
    ours, theirs = (make(t[f"{SECOND}.weight"]).values for t in (plain(), tuned))
    assert tensors["linear_2.weight"]["frobenius"] == pytest.approx((theirs - ours).norm().item(), rel=1e-4)
    assert (
        tensors["linear_2.weight"]["rounding"]["cause"]
        == "suspect's to bitsandbytes nf4 and base's to bitsandbytes nf4"
    )
    assert not prove(folders["a"], folders["b"]).of(CHANGED)


@pytest.mark.parametrize("name", ["bitsandbytes nf4", "fp8 e4m3, one scale", "GPTQ", "MLX 4 bit"])
def test_a_quantised_model_is_not_run_and_says_so_in_one_sentence(tmp_path, name):
    stored, _, config = quantised(plain(), QUANTISERS[name], ATTENTION)
    suspect = saved(tmp_path / "suspect", stored, config)
    with pytest.raises(Unsupported, match="is quantised"):
        open_family(resolve(suspect))


def codes(*names, dtype=torch.uint8):
    return {name: torch.ones(8, 8, dtype=dtype) for name in names}


FP8 = torch.float8_e4m3fn
UNREAD = {
    "HQQ": (codes("W_q", "meta"), {}),
    "AQLM": (codes("codes", "codebooks", "scales"), {}),
    "QuIP#": (codes("Qidxs", "SU", "SV"), {}),
    "EXL2": (codes("q_weight", "q_scale", "q_perm"), {}),
    "EXL3": (codes("trellis", "suh", "svh"), {}),
    "quanto": (codes("weight._data", "weight._scale", "input_scale"), {}),
    "torchao": (codes("_weight_qdata", "_weight_scale"), {}),
    "EETQ": (codes("weight_scales") | codes("weight", dtype=torch.int8), {}),
    "NVFP4": (codes("weight", "weight_scale", "weight_scale_2", "input_scale"), {}),
    "NVFP4 of compressed-tensors": (codes("weight_packed", "weight_scale", "weight_global_scale"), {}),
    "MXFP4": (codes("weight_blocks", "weight_scales_"), {}),
    "sparse compressed-tensors": (codes("compressed", "bitmask", "shape"), {}),
    "BitNet": (codes("weight", "weight_scale"), {}),
    "MLX in another mode": (codes("weight", dtype=torch.uint32) | codes("scales"), {"quantization": {"mode": "mxfp4"}}),
    "MLX without its config": (codes("weight", dtype=torch.uint32) | codes("scales", "biases"), {}),
    "GPTQ without its config": (codes("qweight", "qzeros", "scales"), {}),
    "GPTQ of 3 bits": (
        codes("qweight", "qzeros", "scales"),
        {"quantization_config": {"quant_method": "gptq", "bits": 3}},
    ),
    "AWQ for gemv": (
        codes("qweight", "qzeros", "scales"),
        {"quantization_config": {"quant_method": "awq", "bits": 4, "version": "gemv"}},
    ),
    "AutoRound": (
        codes("qweight", "qzeros", "scales"),
        {"quantization_config": {"quant_method": "auto-round", "bits": 4}},
    ),
    "bitsandbytes in part": (codes("weight", "weight.absmax"), {}),
    "rotated weights": (
        codes("weight", dtype=FP8) | {"weight_scale": torch.ones(8, 1)},
        {"quantization_config": {"transform_config": {"config_groups": {"R1": {}}}}},
    ),
}


@pytest.mark.parametrize("name", UNREAD)
def test_a_form_that_is_not_restored_is_named_with_what_to_do(base, tmp_path, capsys, name):
    tensors, config = UNREAD[name]
    stored = {n: t for n, t in plain().items() if n != f"{SECOND}.weight"}
    stored |= {f"{SECOND}.{leaf}": t for leaf, t in tensors.items()}
    suspect = saved(tmp_path / "suspect", stored, config)
    assert main(["weights", "--base", str(base), "--suspect", str(suspect)]) == 1
    _, err = capsys.readouterr()
    assert "quantised by" in err
    assert "give the checkpoint before quantisation" in err
    assert err.count("\n") == 1


@pytest.mark.parametrize("name", UNREAD)
def test_such_a_form_in_the_language_model_is_no_obstacle(base, tmp_path, capsys, name):
    tensors, config = UNREAD[name]
    stored = {n: t for n, t in plain().items() if not n.startswith(ATTENTION)}
    stored |= {f"{ATTENTION}.{leaf}": t for leaf, t in tensors.items()}
    suspect = saved(tmp_path / "suspect", stored, config)
    found, _ = compared(capsys, base, suspect)
    assert not any(t["changed"] for t in found.values())
    assert {f.status for f in prove(base, suspect).findings if f.part != "files"} == {NOT_COMPARED}


def _state(**changes):
    state = {"quant_type": "nf4", "blocksize": 64, "dtype": "bfloat16", "shape": [96, 64]} | changes
    return {"weight.quant_state.bitsandbytes__nf4": torch.tensor(list(json.dumps(state).encode()), dtype=torch.uint8)}


DAMAGED = {
    "another table than nf4's": ("bitsandbytes nf4", {"weight.quant_map": torch.linspace(-1, 1, 16)}, "not the table"),
    "too few magnitudes": ("bitsandbytes nf4", {"weight.absmax": torch.ones(95)}, "expected 96 magnitudes"),
    "settings of another shape": ("bitsandbytes nf4", _state(shape=[96, 65]), "expected 3,120 bytes for the shape"),
    "settings of a shape beyond memory": ("bitsandbytes nf4", _state(shape=[2**20, 2**20]), "larger than any"),
    "settings of a negative shape": ("bitsandbytes nf4", _state(shape=[-96, -64]), "says shape"),
    "settings of a block of 3": ("bitsandbytes nf4", _state(blocksize=3), "blocksize 3"),
    "settings of another type": ("bitsandbytes nf4", _state(quant_type="fp4"), "type 'fp4'"),
    "settings that are no JSON": (
        "bitsandbytes nf4",
        {"weight.quant_state.bitsandbytes__nf4": torch.zeros(9, dtype=torch.uint8)},
        "not valid JSON",
    ),
    "settings of 100 kB": (
        "bitsandbytes nf4",
        {"weight.quant_state.bitsandbytes__nf4": torch.zeros(100_000, dtype=torch.uint8)},
        "expected settings as JSON",
    ),
    "nested magnitudes without settings": (
        "bitsandbytes nf4, doubly",
        _state(),
        "expected a nested_blocksize and a nested_offset",
    ),
    "8 bits in an order for one device": ("bitsandbytes int8", {"weight_format": torch.tensor(2)}, "expected 0"),
    "8 bits of fewer rows than magnitudes": ("bitsandbytes int8", {"SCB": torch.ones(97)}, "expected 96 magnitudes"),
    "scales that share out nothing": (
        "fp8 e4m3, groups of columns",
        {"weight_scale": torch.ones(7, 5)},
        "expected one",
    ),
    "blocks of another size": (
        "fp8 e4m3, blocks that do not divide",
        {"weight_scale_inv": torch.ones(2, 2)},
        "a block of 24 × 40 of",
    ),
    "NaN in a scale": ("fp8 e4m3, one scale", {"weight_scale": torch.tensor(float("nan"))}, "NaN or infinite"),
    "infinity in a magnitude": (
        "bitsandbytes nf4",
        {"weight.absmax": torch.full((96,), float("inf"))},
        "NaN or infinite",
    ),
    "zero points of another shape": (
        "compressed-tensors int8 with zero points",
        {"weight_zero_point": torch.zeros(3, dtype=torch.int8)},
        "expected the shape of its scale",
    ),
    "packed, of a shape that lies": (
        "compressed-tensors W4A16",
        {"weight_shape": torch.tensor([96, 9_999_999])},
        "expected what makes a matrix",
    ),
    "packed, groups out of range": (
        "compressed-tensors W4A16, groups out of order",
        {"weight_g_idx": torch.full((64,), 9, dtype=torch.int32)},
        "expected groups from 0 to 3",
    ),
    "GPTQ, groups out of range": ("GPTQ", {"g_idx": torch.full((64,), -1, dtype=torch.int32)}, "groups from 0 to 3"),
    "GPTQ, zero points that overflow": ("GPTQ", {"qzeros": words([[15] * 96] * 4, 4)}, "loaders differ"),
    "GPTQ, scales of another width": ("GPTQ", {"scales": torch.ones(4, 95)}, "expected scales of 96 outputs"),
    "AWQ, groups that do not divide": ("AWQ", {"scales": torch.ones(5, 96)}, "expected as many groups"),
    "MLX, scales of another shape": ("MLX 4 bit", {"scales": torch.ones(96, 3)}, "expected one a group of 32"),
}


@pytest.mark.parametrize("name", DAMAGED)
def test_parts_that_do_not_fit_are_one_sentence(tmp_path, name):
    made, changes, said = DAMAGED[name]
    stored, _, config = quantised(plain(), QUANTISERS[made], FIRST, SECOND)
    stored |= {f"{SECOND}.{leaf}": t for leaf, t in changes.items()}
    with pytest.raises(InvalidInput) as caught:
        read_projector(saved(tmp_path / "suspect", stored, config))
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_plain_tensor_beside_the_codes_of_the_same_name_is_refused(tmp_path):
    stored, _, config = quantised(plain(), QUANTISERS["GPTQ"], FIRST, SECOND)
    stored[f"{SECOND}.weight"] = plain()[f"{SECOND}.weight"]
    with pytest.raises(Unsupported, match=r"holds another 'multi_modal_projector\.linear_2\.weight' besides"):
        read_projector(saved(tmp_path / "suspect", stored, config))


def test_a_plain_checkpoint_is_as_it_was(tmp_path):
    checkpoint = open_checkpoint(saved(tmp_path / "plain", plain()))
    assert set(checkpoint.names) == plain().keys()
    assert checkpoint.grid(f"{SECOND}.weight") is None
