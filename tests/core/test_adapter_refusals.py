"""An adapter of which it is not certain what it adds to the projector is refused in one sentence, and in time."""

import json
import time

import pytest
import torch
from peft.tuners.lora.config import LoraGAConfig
from safetensors.torch import save_file
from transformers import LlavaForConditionalGeneration

from projlens_core.cli import main
from tests import pico
from tests.peft_adapters import NAME, edited, tuned

MODULE = "base_model.model.model.multi_modal_projector.linear_2"


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return pico.checkpoint(tmp_path_factory.mktemp("refusals") / "base")


def lora(folder, config=(), *, text=None, **more):
    """A sound adapter of rank 2 on linear_2, but for what the arguments change; a tensor that is None is left out."""
    folder.mkdir(parents=True, exist_ok=True)
    settings = {"peft_type": "LORA", "r": 2, "lora_alpha": 8} | dict(config)
    (folder / "adapter_config.json").write_text(json.dumps(settings) if text is None else text)
    generator = torch.Generator().manual_seed(5)
    parts = {f"{MODULE}.lora_A.weight": (2, 48), f"{MODULE}.lora_B.weight": (48, 2)}
    tensors = {name: torch.randn(shape, generator=generator) for name, shape in parts.items()} | more
    tensors = {name: tensor for name, tensor in tensors.items() if tensor is not None}
    save_file(tensors, folder / "adapter_model.safetensors")
    return folder


def said(capsys, base, suspect):
    """The sentence that the command ends with, having said nothing else; in bounded time."""
    capsys.readouterr()  # what making them printed
    begin = time.perf_counter()
    code = main(["weights", "--base", str(base), "--suspect", str(suspect), "--json"])
    out, err = capsys.readouterr()
    assert (code, out) == (1, "")
    assert err.count("\n") == 1
    assert 40 < len(err) < 700
    assert err[-2] == "."
    assert time.perf_counter() - begin < 10
    return err


@pytest.mark.filterwarnings("ignore")
def test_lora_ga_is_refused_since_its_factors_are_no_change_to_the_base(base, tmp_path, capsys):
    """It was trained on a base from which the first factors had been taken, so B·A is also what the base lost."""
    whole = LlavaForConditionalGeneration.from_pretrained(base)
    layer = whole.model.multi_modal_projector.linear_2
    layer._peft_loraga_grad = torch.randn(layer.weight.shape, generator=torch.Generator().manual_seed(3))
    before = layer.weight.detach().clone()
    settings = {"init_lora_weights": "lora_ga", "lora_ga_config": LoraGAConfig()}
    made = tuned(base, tmp_path / "a", model=whole, target_modules=[NAME.removesuffix(".weight")], **settings)
    right = made.merged[f"model.{NAME}"] - before
    assert made.product.norm() > 1.5 * right.norm()  # what one would report who takes B·A for the change
    assert "lora_ga" in said(capsys, base, made.folder)


STARTS = [
    "pissa", "pissa_niter_4", "PiSSA", "corda", "CorDA_ipm", "olora", "OLoRA", "loftq", "LoftQ", "lora_ga", "lora_sb",
    "milora", "dude", "eva_v2", "gaussian ", "true", "True", "", "\x1b[31mred", 1, 0, 2.5, [], ["gaussian"], {"eva": 1},
]  # fmt: skip


@pytest.mark.parametrize("start", STARTS, ids=repr)
def test_an_initialisation_that_changes_the_base_or_is_not_known_is_refused(base, tmp_path, capsys, start):
    sentence = said(capsys, base, lora(tmp_path / "a", {"init_lora_weights": start}))
    assert "initialised by" in sentence
    assert "\x1b" not in sentence


IN_THE_WAY = {
    "use_qalora": True,
    "alora_invocation_tokens": [7, 8],
    "use_bdlora": {"target_modules_bd_a": ["linear_2"], "nblocks": 2},
    "arrow_config": {"top_k": 2},
    "kasa_config": {},
    "monteclora_config": {"num_samples": 4},
    "megatron_config": {"tensor_model_parallel_size": 2},
    "enable_lora": [True, False, True],
    "use_a_thing_of_tomorrow": True,
    "tomorrows_config": {"strength": 2},
    "scale_of_tomorrow": 0.5,
    "mode_of_tomorrow": "double",
    "list_of_tomorrow": [1],
}


@pytest.mark.parametrize("key", IN_THE_WAY)
def test_a_setting_that_changes_the_mathematics_or_is_not_known_is_refused(base, tmp_path, capsys, key):
    sentence = said(capsys, base, lora(tmp_path / "a", {key: IN_THE_WAY[key]}))
    assert "merged" in sentence


@pytest.mark.parametrize("value", [None, False, "", [], {}, 0], ids=repr)
def test_a_setting_of_tomorrow_that_is_not_used_is_in_nobodys_way(base, tmp_path, capsys, value):
    folder = lora(tmp_path / "a", {"use_a_thing_of_tomorrow": value})
    assert main(["weights", "--base", str(base), "--suspect", str(folder)]) == 0


@pytest.mark.parametrize(
    "kind", ["IA3", "ADALORA", "LOHA", "OFT", "VERA", "PROMPT_TUNING", "lora", "", None, 5, ["LORA"]]
)
def test_other_methods_are_refused_by_their_name(base, tmp_path, capsys, kind):
    assert "expected LORA" in said(capsys, base, lora(tmp_path / "a", {"peft_type": kind}))


NESTED = '{"peft_type": "LORA", "r": 2, "lora_alpha": 8, "auto_mapping": ' + "[" * 60_000 + "]" * 60_000 + "}"
MANY = {f"layers.{number}.q_proj": 4 for number in range(60_000)}
HOSTILE = {
    "rank 0": {"r": 0},
    "negative rank": {"r": -2},
    "rank of half": {"r": 2.5},
    "rank as a float": {"r": 2.0},
    "rank as text": {"r": "2"},
    "rank of a bool": {"r": True},
    "no rank": {"r": None},
    "huge rank": {"r": 10**9},
    "absurd rank": {"r": 10**40},
    "another rank": {"r": 3},
    "NaN alpha": {"lora_alpha": float("nan")},
    "infinite alpha": {"lora_alpha": float("inf")},
    "alpha of minus infinity": {"lora_alpha": float("-inf")},
    "negative alpha": {"lora_alpha": -8},
    "alpha 0": {"lora_alpha": 0},
    "alpha as text": {"lora_alpha": "8"},
    "alpha of a bool": {"lora_alpha": True},
    "alpha of a list": {"lora_alpha": [8]},
    "huge alpha": {"lora_alpha": 1e300},
    "no alpha": {"lora_alpha": None},
    "a flag as text": {"use_rslora": "false"},
    "a flag as a number": {"use_dora": 1},
    "fan-in as a list": {"fan_in_fan_out": [True]},
    "dora without lengths": {"use_dora": True},
    "patterns that are a list": {"rank_pattern": ["linear_2"]},
    "patterns that are text": {"alpha_pattern": "linear_2"},
    "patterns that are a number": {"alpha_pattern": 5},
    "a pattern's rank 0": {"rank_pattern": {"linear_2": 0}},
    "a pattern's rank of text": {"rank_pattern": {"linear_2": "many"}},
    "a pattern's NaN": {"alpha_pattern": {".*": float("nan")}},
    "a pattern's null": {"alpha_pattern": {"linear_2": None}},
    "a pattern's nest": {"alpha_pattern": {"linear_2": {"linear_2": 5}}},
    "60,000 patterns": {"rank_pattern": MANY},
    "no expression": {"alpha_pattern": {"linear_(2": 8}},
    "nothing to repeat": {"alpha_pattern": {"*linear_2": 8}},
    "a bad range": {"alpha_pattern": {"[z-a]": 8}},
    "looks ahead": {"alpha_pattern": {"(?=.*linear)(.*)*x": 8}},
    "looks behind": {"alpha_pattern": {"(?<=x)linear_2": 8}},
    "looks back": {"alpha_pattern": {r"(\w+)\1": 8}},
    "flags": {"alpha_pattern": {"(?i:LINEAR_2)": 8}},
    "atomic": {"alpha_pattern": {"(?>linear)_2": 8}},
    "possessive": {"alpha_pattern": {"(?:linear_)++2": 8}},
    "repeats of repeats": {"alpha_pattern": {"(?:(?:(?:a{1,99}){1,99}){1,99}){1,99}": 8}},
    "a long expression": {"alpha_pattern": {"(a|b)" * 5_000: 8}},
    "a deep expression": {"alpha_pattern": {"(" * 400 + "a" + ")*" * 400: 8}},
    "hundreds of expressions": {"alpha_pattern": {f"(a|b|{n})*" + "(x+x+)+y" * 100: 8 for n in range(400)}},
    "targets that leave it out": {"target_modules": ["q_proj", "v_proj"]},
    "an expression of targets that leaves it out": {"target_modules": r".*\.language_model\..*"},
    "excluded by name": {"target_modules": ["linear_2"], "exclude_modules": ["multi_modal_projector.linear_2"]},
    "excluded by an expression": {"exclude_modules": ".*projector.*"},
    "saved whole as well": {"modules_to_save": ["multi_modal_projector"]},
    "other layers alone": {"target_modules": ["linear_2"], "layers_to_transform": [0, 1]},
    "one layer alone": {"target_modules": ["linear_2"], "layers_to_transform": 3, "layers_pattern": "layers"},
    "targets that are a number": {"target_modules": 7},
    "targets that are numbers": {"target_modules": [7, 8]},
    "targets that are no expression": {"target_modules": "(linear"},
    "layers that are text": {"target_modules": ["linear_2"], "layers_to_transform": ["all"]},
}  # fmt: skip


@pytest.mark.parametrize("what", HOSTILE)
def test_hostile_configs_end_in_one_sentence(base, tmp_path, capsys, what):
    said(capsys, base, lora(tmp_path / "a", HOSTILE[what]))


TEXTS = {
    "nested without end": NESTED,
    "a key twice": '{"peft_type": "LORA", "r": 2, "lora_alpha": 8, "lora_alpha": 80}',
    "a list": "[]",
    "nothing": "",
    "cut": '{"peft_type": "LORA", "r": 2',
    "a number with 5,000 digits": '{"peft_type": "LORA", "lora_alpha": 8, "r": ' + "2" * 5_000 + "}",
    "11 MB": '{"peft_type": "LORA", "r": 2, "lora_alpha": 8, "revision": "' + "x" * 11_000_000 + '"}',
    "no UTF-8": '{"peft_type": "LORA", "\udcff": 2}',
}


@pytest.mark.parametrize("what", TEXTS)
def test_configs_that_are_no_config_end_in_one_sentence(base, tmp_path, capsys, what):
    folder = lora(tmp_path / "a")
    (folder / "adapter_config.json").write_bytes(TEXTS[what].encode(errors="surrogateescape"))
    said(capsys, base, folder)


A, B = f"{MODULE}.lora_A.weight", f"{MODULE}.lora_B.weight"
TENSORS = {
    "A of another width": {A: torch.ones(2, 40)},
    "B of another height": {B: torch.ones(40, 2)},
    "ranks that differ": {B: torch.ones(48, 3)},
    "A turned": {A: torch.ones(48, 2)},
    "both turned": {A: torch.ones(48, 2), B: torch.ones(2, 48)},
    "vectors": {A: torch.ones(48), B: torch.ones(48)},
    "scalars": {A: torch.ones(()), B: torch.ones(())},
    "three dimensions": {A: torch.ones(2, 48, 1), B: torch.ones(48, 2, 1)},
    "a kernel in B": {B: torch.ones(48, 2, 3)},
    "rank 0 in the file": {A: torch.ones(0, 48), B: torch.ones(48, 0)},
    "whole numbers": {A: torch.ones(2, 48, dtype=torch.int64)},
    "bytes": {A: torch.ones(2, 48, dtype=torch.uint8), B: torch.ones(48, 2, dtype=torch.uint8)},
    "truths": {A: torch.ones(2, 48, dtype=torch.bool)},
    "8-bit floats": {A: torch.ones(2, 48).to(torch.float8_e4m3fn)},
    "NaN": {A: torch.full((2, 48), float("nan"))},
    "infinite": {B: torch.full((48, 2), float("inf"))},
    "beyond float32": {A: torch.full((2, 48), 1e30), B: torch.full((48, 2), 1e30)},
    "A alone": {B: None},
    "B alone": {A: None},
    "lengths without dora": {f"{MODULE}.lora_magnitude_vector": torch.ones(48)},
    "an unknown part": {f"{MODULE}.lora_C.weight": torch.ones(2, 2)},
    "singular values": {f"{MODULE}.lora_diag": torch.ones(2)},
    "another method's": {f"{MODULE}.ia3_l": torch.ones(48)},
    "factors of an embedding, too": {f"{MODULE}.lora_embedding_A": torch.ones(2, 48)},
    "the same factor twice": {f"{MODULE}.lora_A": torch.ones(2, 48)},
    "two adapters": {f"{MODULE}.lora_A.other.weight": torch.ones(2, 48)},
    "the module twice": {
        f"base_model.model.multi_modal_projector.linear_2.lora_{side}.weight": torch.ones(shape)
        for side, shape in (("A", (2, 48)), ("B", (48, 2)))
    },
    "factors and the whole": {f"{MODULE}.weight": torch.ones(48, 48)},
    "the whole twice": {
        f"base_model.model.{way}multi_modal_projector.linear_1.weight": torch.ones(48, 32) for way in ("", "model.")
    },
    "a bias of another size": {f"{MODULE}.lora_B.bias": torch.ones(40)},
    "a layer that is not there": {
        f"{MODULE}3.lora_{side}.weight": torch.ones(shape) for side, shape in (("A", (2, 48)), ("B", (48, 2)))
    },
    "a projector beside factors": {
        f"base_model.model.model.mm_projector.{n}.weight": torch.ones(48, 48) for n in (4, 6)
    },
}  # fmt: skip


@pytest.mark.parametrize("what", TENSORS)
def test_hostile_tensors_end_in_one_sentence(base, tmp_path, capsys, what):
    said(capsys, base, lora(tmp_path / "a", **TENSORS[what]))


def test_dora_with_lengths_of_another_number_is_refused(base, tmp_path, capsys):
    folder = lora(tmp_path / "a", {"use_dora": True}, **{f"{MODULE}.lora_magnitude_vector": torch.ones(47)})
    assert "47 lengths" in said(capsys, base, folder)


CATASTROPHIC = ["(a+)+b", "(.*)*x", "(.*.*.*.*.*.*)*x", r"(\w+\s?)*!", "(l|l|li|lin)*Q", "([a-z_.]*)*[0-9]x", "(_|.)*Z"]


@pytest.mark.parametrize("expression", CATASTROPHIC)
def test_an_expression_on_which_re_would_never_end_is_answered_at_once(base, tmp_path, capsys, expression):
    folder = lora(tmp_path / "a", {"alpha_pattern": {expression: 999}, "rank_pattern": {expression: 9}})
    begin = time.perf_counter()
    assert main(["weights", "--base", str(base), "--suspect", str(folder), "--json"]) == 0  # it does not match
    assert time.perf_counter() - begin < 5
    [tensor] = [t for t in json.loads(capsys.readouterr().out)["tensors"] if t["name"] == "linear_2.weight"]
    assert tensor["frobenius"] == pytest.approx(4 * _product().norm().item(), rel=1e-4)


def _product():
    generator = torch.Generator().manual_seed(5)
    a, b = torch.randn(2, 48, generator=generator), torch.randn(48, 2, generator=generator)
    return b @ a


def test_an_expression_of_targets_that_cannot_be_followed_is_said(base, tmp_path, capsys):
    folder = lora(tmp_path / "a", {"target_modules": r"^(?!.*vision).*linear_\d$"})
    main(["weights", "--base", str(base), "--suspect", str(folder), "--json"])
    notes = json.loads(capsys.readouterr().out)["notes"]
    assert any("target_modules cannot be followed" in note for note in notes)


def test_a_sound_adapter_whose_config_is_edited_is_refused_as_well(base, tmp_path, capsys):
    made = tuned(base, tmp_path / "a")
    assert "initialised" in said(capsys, base, edited(made.folder, init_lora_weights="loftq"))
