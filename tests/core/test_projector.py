import json

import pytest
import torch
from safetensors.torch import load_file, save_file

from projlens_core.cli import main
from projlens_core.errors import InvalidInput, Unsupported
from projlens_core.weights.projector import as_module, described_like, read_projector
from tests import pico

W1 = torch.tensor([[1.0, 0.0], [0.0, -1.0], [1.0, 1.0]])
W2 = torch.tensor([[1.0, 2.0, 3.0]])
TINY = {
    "multi_modal_projector.linear_1.weight": W1,
    "multi_modal_projector.linear_1.bias": torch.tensor([0.0, 1.0, 0.0]),
    "multi_modal_projector.linear_2.weight": W2,
    "multi_modal_projector.linear_2.bias": torch.tensor([10.0]),
}


def saved(tmp_path, changes=None, config=None):
    """A file with the TINY projector, some tensors replaced (None: left out), and perhaps a config beside it."""
    tensors = {name: t for name, t in (TINY | (changes or {})).items() if t is not None}
    save_file(tensors, tmp_path / "tiny.safetensors")
    if config is not None:
        (tmp_path / "config.json").write_text(json.dumps(config))
    return tmp_path / "tiny.safetensors"


@pytest.fixture(scope="module")
def model_folder(tmp_path_factory):
    return pico.checkpoint(tmp_path_factory.mktemp("pico"))


def test_projector_has_canonical_names_in_running_order_as_float32(tmp_path):
    weights = read_projector(saved(tmp_path))
    assert list(weights.tensors) == ["linear_1.weight", "linear_1.bias", "linear_2.weight", "linear_2.bias"]
    assert torch.equal(weights.tensors["linear_1.weight"], W1)
    assert (weights.d_in, weights.d_out, weights.parameters) == (2, 1, 13)
    assert (weights.family.name, weights.dtype, weights.described) == ("llava", "float32", False)


def test_module_computes_by_hand(tmp_path):
    # relu: W1·(2, 3) + b = (2, -2, 5) → (2, 0, 5); (1, 2, 3)·(2, 0, 5) + 10 = 27
    module = as_module(read_projector(saved(tmp_path, config={"model_type": "llava", "projector_hidden_act": "relu"})))
    assert module(torch.tensor([[2.0, 3.0]])).tolist() == [[27.0]]
    assert not module.training
    assert not any(parameter.requires_grad for parameter in module.parameters())


def test_module_in_another_precision_leaves_the_weights_alone(tmp_path):
    weights = read_projector(saved(tmp_path))
    assert as_module(weights, dtype=torch.bfloat16)(torch.ones(1, 2, dtype=torch.bfloat16)).dtype == torch.bfloat16
    assert weights.tensors["linear_1.weight"].dtype == torch.float32


def test_making_a_module_spends_no_random_numbers(tmp_path):
    weights = read_projector(saved(tmp_path))
    torch.manual_seed(0)
    expected = torch.rand(1)
    torch.manual_seed(0)
    as_module(weights)
    assert torch.equal(torch.rand(1), expected)


def test_only_the_projectors_bytes_are_read(model_folder):
    weights = read_projector(model_folder)
    whole = load_file(model_folder / "model.safetensors")
    header = int.from_bytes((model_folder / "model.safetensors").read_bytes()[:8], "little")
    own = sum(t.nbytes for name, t in whole.items() if "multi_modal_projector" in name)
    assert weights.bytes_read == 8 + header + own
    assert dict(weights.others).keys() == {"vision_tower", "language_model"}
    assert sum(dict(weights.others).values()) == len(whole) - 4


def test_content_hash_follows_values_and_settings_not_names_or_files(tmp_path, model_folder):
    new = read_projector(pico.checkpoint(tmp_path / "new", old_keys=False))
    old = read_projector(model_folder)
    other = read_projector(pico.checkpoint(tmp_path / "other", seed=1))
    assert new.layout != old.layout
    assert new.sha256 == old.sha256 != other.sha256
    config = json.loads((model_folder / "config.json").read_text()) | {"projector_hidden_act": "relu"}
    (tmp_path / "new" / "config.json").write_text(json.dumps(config))
    assert read_projector(tmp_path / "new").sha256 != old.sha256


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_stored_precision_is_told_and_values_are_kept(dtype, tmp_path):
    weights = read_projector(saved(tmp_path, {name: t.to(dtype) for name, t in TINY.items()}))
    assert weights.dtype == str(dtype).removeprefix("torch.")
    assert torch.equal(weights.tensors["linear_2.weight"], W2)


def test_mixed_precision_is_told(tmp_path):
    half = {"multi_modal_projector.linear_1.bias": torch.zeros(3, dtype=torch.float16)}
    assert read_projector(saved(tmp_path, half)).dtype == "mixed"


def test_lone_file_takes_family_and_settings_from_the_model_it_is_compared_with(tmp_path):
    (tmp_path / "lone").mkdir()
    lone = read_projector(saved(tmp_path / "lone"))
    model = read_projector(saved(tmp_path, config={"model_type": "llava", "projector_hidden_act": "relu"}))
    adopted = described_like(lone, model)
    assert lone.settings == {"act": "gelu"}
    assert adopted.settings == {"act": "relu"}
    assert adopted.sha256 == model.sha256 != lone.sha256


L1, L2 = "multi_modal_projector.linear_1", "multi_modal_projector.linear_2"
BROKEN = {
    "nan": ({f"{L2}.weight": torch.tensor([[1.0, float("nan"), 3.0]])}, InvalidInput, "NaN or infinite"),
    "infinite": ({f"{L1}.bias": torch.tensor([0.0, float("-inf"), 0.0])}, InvalidInput, f"'{L1}.bias'"),
    "nan-in-two": ({n: t * float("nan") for n, t in TINY.items()}, InvalidInput, f"'{L1}.bias', '{L1}.weight', '{L2}"),
    "beyond-float32": ({f"{L2}.bias": torch.tensor([1e300], dtype=torch.float64)}, InvalidInput, "infinite"),
    "integers": ({f"{L1}.weight": W1.to(torch.int8)}, Unsupported, "as int8"),
    "eight-bit-floats": ({f"{L1}.weight": W1.to(torch.float8_e4m3fn)}, Unsupported, "before quantisation"),
    "missing": ({f"{L2}.weight": None}, InvalidInput, "lacks 'linear_2.weight'"),
    "unexpected": ({f"{L2}.scale": torch.ones(1)}, InvalidInput, f"unknown '{L2}.scale'"),
    "layers-do-not-meet": (
        {f"{L2}.weight": torch.ones(1, 4)},
        InvalidInput,
        "linear_2 (1, 4) with bias (1,) after width 3",
    ),
    "bias-too-long": ({f"{L1}.bias": torch.ones(4)}, InvalidInput, "linear_1 (3, 2) with bias (4,)"),
    "flat-weight": ({f"{L1}.weight": torch.ones(6)}, InvalidInput, "do not fit"),
    "scalar-weight": ({f"{L1}.weight": torch.tensor(1.0)}, InvalidInput, "do not fit"),
    "empty": ({f"{L1}.weight": torch.ones(3, 0)}, InvalidInput, "do not fit"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_broken_projector_is_one_clear_sentence(name, tmp_path):
    changes, error, said = BROKEN[name]
    with pytest.raises(error) as caught:
        read_projector(saved(tmp_path, changes))
    assert said in str(caught.value)
    assert "tiny.safetensors" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("config", "error", "said"),
    [
        ({"model_type": ["llava"]}, InvalidInput, "model_type"),
        ({"model_type": "nonesuch"}, Unsupported, "model type 'nonesuch', none of the"),
    ],
)
def test_config_that_cannot_be_followed_is_one_clear_sentence(config, error, said, tmp_path):
    with pytest.raises(error) as caught:
        read_projector(saved(tmp_path, config=config))
    assert said in str(caught.value)


# activations: a comparison of weights runs none

FUNCTIONS = {
    "gelu": torch.nn.functional.gelu,
    "gelu_python": torch.nn.functional.gelu,
    "gelu_new": lambda x: torch.nn.functional.gelu(x, approximate="tanh"),
    "gelu_fast": lambda x: torch.nn.functional.gelu(x, approximate="tanh"),
    "gelu_pytorch_tanh": lambda x: torch.nn.functional.gelu(x, approximate="tanh"),
    "gelu_accurate": lambda x: torch.nn.functional.gelu(x, approximate="tanh"),
    "gelu_10": lambda x: torch.nn.functional.gelu(x).clamp(-10, 10),
    "quick_gelu": lambda x: x * torch.sigmoid(1.702 * x),
    "silu": lambda x: x * torch.sigmoid(x),
    "swish": lambda x: x * torch.sigmoid(x),
    "relu": lambda x: x.clamp(min=0),
    "relu2": lambda x: x.clamp(min=0) ** 2,
    "relu6": lambda x: x.clamp(0, 6),
    "leaky_relu": lambda x: torch.where(x > 0, x, 0.01 * x),
    "mish": lambda x: x * torch.tanh(torch.nn.functional.softplus(x)),
    "sigmoid": torch.sigmoid,
    "tanh": torch.tanh,
    "linear": lambda x: x,
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_an_activation_runs_under_each_name_that_transformers_has_for_it(name, tmp_path):
    weights = read_projector(saved(tmp_path, config={"model_type": "llava", "projector_hidden_act": name}))
    x = torch.tensor([[2.0, 3.0], [-0.5, 0.25], [-20.0, 9.0]])
    hidden = x @ W1.T + TINY["multi_modal_projector.linear_1.bias"]
    expected = FUNCTIONS[name](hidden) @ W2.T + TINY["multi_modal_projector.linear_2.bias"]
    torch.testing.assert_close(as_module(weights)(x), expected, rtol=1e-4, atol=1e-4)


def test_two_names_of_one_activation_are_one_setting(tmp_path):
    def of(name):
        (tmp_path / name).mkdir()
        return read_projector(saved(tmp_path / name, config={"model_type": "llava", "projector_hidden_act": name}))

    assert of("swish").settings == of("silu").settings == {"act": "silu"}


UNKNOWN = {
    "evil": "'evil', an activation that transformers does not know",
    "prelu": "'prelu', an activation",  # it has weights of its own
    "GELU": "'GELU'",
    "": "''",
    "a\nb": r"'a\\nb'",
    "x" * 500: "xxx…'",
    0.5: "0.5",
    3: "3",
    True: "'True'",
    ("gelu",): "\"['gelu']\"",
}


@pytest.mark.parametrize("value", UNKNOWN)
def test_an_activation_nobody_knows_is_compared_by_weights_and_refused_where_it_would_be_run(value, tmp_path, capsys):
    (tmp_path / "base").mkdir()
    base = saved(tmp_path / "base", config={"model_type": "llava"})
    changed = {f"{L2}.weight": W2 + 1}
    suspect = saved(tmp_path, changed, {"model_type": "llava", "projector_hidden_act": value})
    assert main(["weights", "--base", str(base), "--suspect", str(suspect), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [t["name"] for t in found["tensors"] if t["changed"]] == ["linear_2.weight"]
    assert [(name, ours) for name, ours, _ in found["settings_changed"]] == [("act", "gelu")]
    with pytest.raises(Unsupported) as caught:
        as_module(read_projector(suspect))
    assert UNKNOWN[value] in str(caught.value)
    assert "\n" not in str(caught.value)


def test_merged_tokens_must_divide_the_first_layer(tmp_path):
    def merger(width):
        return {
            "visual.merger.ln_q.weight": torch.ones(2),
            "visual.merger.mlp.0.weight": torch.ones(width, width),
            "visual.merger.mlp.0.bias": torch.ones(width),
            "visual.merger.mlp.2.weight": torch.ones(3, width),
            "visual.merger.mlp.2.bias": torch.ones(3),
        }

    save_file(merger(8), tmp_path / "good.safetensors")
    save_file(merger(7), tmp_path / "bad.safetensors")
    good = read_projector(tmp_path / "good.safetensors")
    assert as_module(good)(torch.randn(5, 12, 2)).shape == (5, 3, 3)  # 4 tokens of width 2 make one of width 8
    with pytest.raises(InvalidInput, match="linear_1"):
        read_projector(tmp_path / "bad.safetensors")
