"""What a checkpoint declares decides, and what belongs to a projector and was not compared is never called equal."""

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers.models.auto import modeling_auto

from projlens_core.cases.case import Case, open_case
from projlens_core.cli import main
from projlens_core.errors import InvalidInput, Unsupported
from projlens_core.report import drawing
from projlens_core.weights import declared
from projlens_core.weights.families import families
from projlens_core.weights.projector import read_projector
from tests import pico
from tests.core.test_forms import mmproj


def layers(prefix, *names, bias=True):
    tensors = {f"{prefix}.{name}.weight": torch.ones(4, 4) for name in names}
    return tensors | ({f"{prefix}.{name}.bias": torch.ones(4) for name in names} if bias else {})


LLAVA = layers("multi_modal_projector", "linear_1", "linear_2")
ORIGINAL = layers("model.mm_projector", "0", "2")
LINEAR = {"model.mm_projector.weight": torch.ones(4, 4), "model.mm_projector.bias": torch.ones(4)}
GLUE = layers("glue", "fc1", "fc2")  # a module that no family calls so


def folder(path, tensors, **config):
    path.mkdir(parents=True)
    save_file(tensors, path / "model.safetensors", metadata={"format": "pt"})
    (path / "config.json").write_text(json.dumps(config))
    return path


# A config's word against the user's.


@pytest.mark.parametrize("model_type", [f.model_types[0] for f in families().values() if "llava" not in f.model_types])
def test_the_users_family_does_not_overrule_a_model_type_that_is_known(model_type, tmp_path):
    path = folder(tmp_path / "it", LLAVA, model_type=model_type)
    with pytest.raises(InvalidInput, match=f"model type '{model_type}', which is no LLaVA projector; leave #llava out"):
        read_projector(f"{path}#llava")


ELSEWHERE = [
    "florence2", "video_llava", "kosmos-2", "git", "emu3", "lfm2_vl", "perception_lm", "got_ocr2", "pix2struct",
    "chameleon", "qwen3_omni_moe",
]  # fmt: skip
ELSEWHERE = [each for each in ELSEWHERE if each in modeling_auto.MODEL_FOR_MULTIMODAL_LM_MAPPING_NAMES]


def test_there_are_enough_model_types_that_transformers_alone_knows():
    assert len(ELSEWHERE) >= 9


@pytest.mark.parametrize("model_type", ELSEWHERE)
@pytest.mark.parametrize("tensors", [LLAVA, GLUE], ids=["names", "shapes"])
def test_a_model_that_transformers_knows_and_projlens_does_not_is_not_guessed_at(model_type, tensors, tmp_path):
    path = folder(tmp_path / "it", tensors, model_type=model_type)
    with pytest.raises(Unsupported) as caught:
        read_projector(path)
    assert f"of model type '{model_type}', none of the" in str(caught.value)
    assert "like" not in str(caught.value)
    with pytest.raises(InvalidInput, match=f"declares model type '{model_type}', .* so #llava is not followed"):
        read_projector(f"{path}#llava")


@pytest.mark.parametrize("model_type", ["homemade", "bunny-phi", "llava_qwen2_moe", "tinyllava", "cambrian_llama"])
@pytest.mark.parametrize("tensors", [LLAVA, ORIGINAL, GLUE], ids=["names", "original", "shapes"])
def test_a_model_type_that_nobody_knows_is_read_as_the_user_says_and_that_is_said_with_the_result(
    model_type, tensors, tmp_path
):
    path = folder(tmp_path / "it", tensors, model_type=model_type)
    with pytest.raises(Unsupported, match=f"'{model_type}', none of .* add #llava to its path"):
        read_projector(path)
    notes = " ".join(open_case(Case(f"{path}#llava", f"{path}#llava")).notes)
    assert f"It declares model type '{model_type}', which ProjLens does not know" in notes
    assert "is read as a LLaVA projector because #llava in its path says so" in notes


# A config's words against each other.

CONTRADICTIONS = [
    ("llava", "Llama4ForConditionalGeneration"),
    ("llava", "Qwen2VLForConditionalGeneration"),
    ("llava_next", "LlavaForConditionalGeneration"),
    ("llava_onevision", "Mistral3ForConditionalGeneration"),
    ("vipllava", "LlavaForConditionalGeneration"),
    ("mistral3", "LlavaForConditionalGeneration"),
    ("llava_llama", "VipLlavaForConditionalGeneration"),
    ("cohere2_vision", "AyaVisionForConditionalGeneration"),
    ("kimi_vl", "InternVLChatModel"),
    ("llama4", "LlavaLlamaForCausalLM"),
    ("paligemma", "LlavaForConditionalGeneration"),
    ("internvl_chat", "LlavaForConditionalGeneration"),
]


@pytest.mark.parametrize(("model_type", "architecture"), CONTRADICTIONS)
def test_words_that_contradict_each_other_are_refused(model_type, architecture, tmp_path):
    path = folder(tmp_path / "it", LLAVA, model_type=model_type, architectures=[architecture])
    for spec in (str(path), f"{path}#llava"):
        with pytest.raises(InvalidInput) as caught:
            read_projector(spec)
        assert f"model type '{model_type}' and architecture '{architecture}', which contradict" in str(caught.value)


@pytest.mark.parametrize("architectures", [["LlavaForConditionalGeneration"], ["Unheard"], [], None, "odd", [3], {}])
def test_architectures_that_say_nothing_else_are_no_obstacle(architectures, tmp_path):
    path = folder(tmp_path / "it", LLAVA, model_type="llava", architectures=architectures)
    assert read_projector(path).family.name == "llava"


def test_without_a_model_type_the_architecture_decides(tmp_path):
    path = folder(tmp_path / "it", layers("multi_modal_projector", "linear_1", "linear_2"), architectures=["Unheard"])
    with pytest.raises(Unsupported, match="of architecture 'Unheard', none of"):
        read_projector(path)
    path = folder(tmp_path / "next", LLAVA, architectures=["LlavaNextForConditionalGeneration"])
    assert read_projector(path).family.name == "llava_next"


def test_architectures_are_those_of_transformers_for_the_same_model_types():
    table = declared._table()["architectures"]
    known = modeling_auto.MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES
    for family in families().values():
        for model_type in set(family.model_types) & known.keys():
            assert family.name in declared._of_type(table[known[model_type]]), model_type
    assert all(declared._of_type(model_type) for model_type in table.values())


STRANGE = ["mlp3x_gelu", "identity", "ldpnet", "ldpnetv2", "qformer", "resampler", "pooler", "spp", "dense", "sva"]


@pytest.mark.parametrize("named", STRANGE)
@pytest.mark.parametrize("model_type", ["llava_llama", "llava", "bunny-phi", None])
def test_a_projector_type_that_is_not_known_is_refused_by_its_name(named, model_type, tmp_path):
    config = {"mm_projector_type": named} | ({"model_type": model_type} if model_type else {})
    path = folder(tmp_path / "it", ORIGINAL, **config)
    for spec in (str(path), f"{path}#llava"):
        with pytest.raises(Unsupported, match=f"declares mm_projector_type '{named}', none of the 40 families"):
            read_projector(spec)


@pytest.mark.parametrize(
    ("named", "tensors", "family"), [("mlp2x_gelu", ORIGINAL, "llava"), ("linear", LINEAR, "llava_linear")]
)
@pytest.mark.parametrize("model_type", ["llava_llama", "llava_mistral", "llava", "bunny-phi"])
def test_the_projector_type_of_an_original_release_decides(named, tensors, family, model_type, tmp_path):
    if (named, model_type) == ("linear", "bunny-phi"):
        model_type = "llava_llama"
    path = folder(tmp_path / "it", tensors, model_type=model_type, mm_projector_type=named)
    assert read_projector(path).family.name == family
    other = {"mlp2x_gelu": LINEAR, "linear": ORIGINAL}[named]
    path = folder(tmp_path / "other", other, model_type=model_type, mm_projector_type=named)
    with pytest.raises(InvalidInput, match="lacks"):
        read_projector(path)


def test_a_config_beside_an_mmproj_must_not_contradict_it(tmp_path):
    tensors = {"mm.model.mlp.1.weight": torch.ones(4, 4), "mm.model.fc.weight": torch.ones(4, 4)}
    mmproj(tmp_path / "mmproj.gguf", tensors, **{"clip.projector_type": "llama4"})
    (tmp_path / "config.json").write_text('{"model_type": "llava"}')
    for spec in (tmp_path, tmp_path / "mmproj.gguf", f"{tmp_path}#llava"):
        with pytest.raises(InvalidInput, match=r"clip\.projector_type 'llama4' and model type 'llava', which"):
            read_projector(spec)


# What belongs to a projector and was not compared.

BELONGS = [
    "multi_modal_projector2.linear_1.weight",
    "mm_projector_extra.0.weight",
    "model.vision_projector.weight",
    "visual.patch_merger.mlp.0.weight",
    "model.connectors.modality_projection.weight",
    "sound_resampler.query",
    "model.vision_resampler.layers.0.weight",
    "mm.3.weight",
    "v.deepstack.2.fc1.weight",
    "gen_aligner.layers.0.weight",
    "model.image_newline",
    "abstractor.encoder.layers.0.weight",
    "speech_projector.linear1.weight",
    "model.embed_audio.embedding_projection.weight",
    "audio_tower.proj.weight",
    "adapter.conv.weight",
    "vision_model.vision_adapter.mlp.fc3.weight",
    "img_projection.4.weight",
    "image_to_text_projection.dense.weight",
    "qformer.encoder.layer.0.weight",
    "Qformer.bert.encoder.weight",
    "language_projection2.bias",
]
ELSEWHERE_NAMES = [
    "language_model.model.layers.0.self_attn.o_proj.weight",
    "language_model.model.layers.0.mlp.up_proj.weight",
    "vision_tower.vision_model.encoder.layers.0.self_attn.out_proj.weight",
    "visual.patch_embed.proj.weight",
    "visual.blocks.0.attn.proj.weight",
    "vision_tower.vision_model.embeddings.patch_embedding.weight",
    "model.layers.0.adapter.down.weight",
    "lm_head.weight",
    "model.embed_tokens.weight",
    "v.blk.0.attn_out.weight",
    "v.patch_embd.weight",
    "model.norm.weight",
    "vision_model.post_layernorm.bias",
]


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return pico.checkpoint(tmp_path_factory.mktemp("declared") / "base")


def with_tensors(base, path, more):
    shutil.copytree(base, path)
    save_file(load_file(base / "model.safetensors") | more, path / "model.safetensors", metadata={"format": "pt"})
    return path


def weights(capsys, base, suspect, *more):
    code = main(["weights", "--base", str(base), "--suspect", str(suspect), *more])
    out, err = capsys.readouterr()
    assert (code, err) == (0, "")
    return out


@pytest.mark.parametrize("side", ["suspect", "base"])
@pytest.mark.parametrize("name", BELONGS)
def test_a_tensor_that_belongs_to_a_projector_and_was_not_compared_forbids_the_word_equal(
    capsys, base, tmp_path, name, side
):
    other = with_tensors(base, tmp_path / "other", {name: torch.ones(2, 3)})
    pair = (base, other) if side == "suspect" else (other, base)
    out = weights(capsys, *pair)
    assert "equal" not in out
    assert "No tensor that was compared changed, but not all were compared." in out
    assert name in out
    result = json.loads(weights(capsys, *pair, "--json"))
    assert result["equal"] is False
    assert [what for what, _ in result["projector_not_compared"]] == [name]
    assert f"in the {side};" in result["projector_not_compared"][0][1]


@pytest.mark.parametrize("name", ELSEWHERE_NAMES)
def test_other_tensors_of_tower_and_language_model_do_not(capsys, base, tmp_path, name):
    suspect = with_tensors(base, tmp_path / "suspect", {name: torch.ones(2, 3)} if name != "lm_head.weight" else {})
    assert json.loads(weights(capsys, base, suspect, "--json"))["equal"] is True


@pytest.mark.parametrize("dtype", [torch.int8, torch.int64, torch.uint8, torch.bool, torch.float8_e4m3fn])
def test_one_that_is_not_floating_is_named_too(capsys, base, tmp_path, dtype):
    more = {"mm_projector_extra.0.weight": torch.zeros(2, 3).to(dtype)}
    result = json.loads(weights(capsys, base, with_tensors(base, tmp_path / "suspect", more), "--json"))
    assert (result["equal"], len(result["projector_not_compared"])) == (False, 1)


def test_the_same_in_a_pickle_a_lone_file_and_a_gguf(capsys, base, tmp_path):
    tensors = load_file(base / "model.safetensors")
    own = {n[n.index("multi_modal") :]: t for n, t in tensors.items() if "multi_modal" in n}
    torch.save(own | {"sound_resampler.query": torch.ones(2)}, tmp_path / "mm_projector.bin")
    save_file(own | {"sound_resampler.query": torch.ones(2)}, tmp_path / "lone.safetensors")
    short = {n.replace("multi_modal_projector.linear_1", "mm.0"): t for n, t in own.items()}
    short = {n.replace("multi_modal_projector.linear_2", "mm.2"): t for n, t in short.items()}
    mmproj(tmp_path / "x.gguf", short | {"sound_resampler.query": torch.ones(2)}, **{"clip.projector_type": "mlp"})
    for file in ("mm_projector.bin", "lone.safetensors", "x.gguf"):
        result = json.loads(weights(capsys, base, tmp_path / file, "--json"))
        assert [what for what, _ in result["projector_not_compared"]] == ["sound_resampler.query"]
        assert result["equal"] is False


def test_many_of_them_are_counted_and_the_first_are_named(base, tmp_path):
    more = {f"mm_projector_extra.{i}.weight": torch.ones(1) for i in range(300)}
    delta = open_case(Case(str(base), str(with_tensors(base, tmp_path / "suspect", more)))).delta
    assert len(delta.uncompared) == 41
    assert delta.uncompared[-1][0] == "260 more tensors"


def test_a_change_that_was_found_does_not_hide_what_was_not_compared(capsys, base, tmp_path):
    planted = pico.suspect(base, tmp_path / "planted").folder
    suspect = with_tensors(planted, tmp_path / "suspect", {"mm.3.weight": torch.ones(2, 2)})
    out = weights(capsys, base, suspect)
    assert "These belong to a projector and were not compared, so that they may hold a change: 'mm.3.weight'." in out


def test_a_control_that_was_not_compared_whole_is_not_called_equal_to_the_suspect(capsys, base, tmp_path):
    suspect = pico.suspect(base, tmp_path / "suspect").folder
    control = with_tensors(suspect, tmp_path / "control", {"mm.3.weight": torch.ones(2, 2)})
    out = weights(capsys, base, suspect, "--control", str(control))
    assert "equal" not in out
    assert "In all that was compared the control has the suspect's values, so it controls nothing." in out
    assert "Not compared with the control, although it belongs to a projector: 'mm.3.weight'." in out


@pytest.mark.parametrize("side", ["suspect", "base"])
def test_biases_on_one_side_alone_are_no_equality_but_a_refusal(base, tmp_path, side):
    bare = tmp_path / "bare"
    shutil.copytree(base, bare)
    tensors = load_file(base / "model.safetensors")
    bias = next(n for n in tensors if n.endswith("multi_modal_projector.linear_2.bias"))
    del tensors[bias]
    save_file(tensors, bare / "model.safetensors", metadata={"format": "pt"})
    pair = (base, bare) if side == "base" else (bare, base)
    with pytest.raises(InvalidInput, match=r"linear_2\.bias is .*absent"):
        open_case(Case(*map(str, pair)))


def test_the_report_says_it_too(base, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(drawing, "javascript", lambda: "")
    suspect = with_tensors(base, tmp_path / "suspect", {"mm.3.weight": torch.ones(2, 2)})
    out = tmp_path / "report.html"
    command = [
        "report",
        "--base",
        str(base),
        "--suspect",
        str(suspect),
        "--parts",
        "case",
        "weights",
        "--out",
        str(out),
    ]
    assert main(command) == 0
    capsys.readouterr()
    text = out.read_text()
    assert "equals" not in text
    assert "No tensor that was compared changed, but not all were compared." in text
    assert "mm.3.weight" in text


# The examples of the issue, at the command.


def llama4(path, moved=0.0):
    generator = torch.Generator().manual_seed(1)
    tensors = {
        "mm.model.mlp.1.weight": torch.randn(48, 32, generator=generator),
        "mm.model.mlp.2.weight": torch.randn(48, 48, generator=generator),
        "mm.model.fc.weight": torch.randn(64, 48, generator=generator) + moved,
    }
    return mmproj(path, tensors, **{"clip.projector_type": "llama4"})


def test_an_mmproj_that_says_llama4_is_read_as_one_and_the_tensor_that_moved_is_found(capsys, tmp_path):
    base, suspect = llama4(tmp_path / "base.gguf"), llama4(tmp_path / "suspect.gguf", moved=0.5)
    result = json.loads(weights(capsys, base, suspect, "--json"))
    assert result["family"] == "llama4"
    assert {t["name"]: t["changed"] for t in result["tensors"]} == {
        "fc1.weight": False,
        "fc2.weight": False,
        "linear.weight": True,
    }
    moved = next(t for t in result["tensors"] if t["changed"])
    assert moved["frobenius"] == pytest.approx(0.5 * (64 * 48) ** 0.5, rel=1e-5)


@pytest.mark.parametrize("side", ["base", "suspect"])
def test_an_mmproj_that_says_llama4_is_no_llava_whatever_the_user_adds(capsys, tmp_path, side):
    specs = {role: str(llama4(tmp_path / f"{role}.gguf")) for role in ("base", "suspect")}
    specs[side] += "#llava"
    code = main(["weights", "--base", specs["base"], "--suspect", specs["suspect"]])
    out, err = capsys.readouterr()
    assert (code, out) == (1, "")
    assert err.count("\n") == 1
    assert "declares clip.projector_type 'llama4', which is no LLaVA projector" in err
