"""Every family in families.json against the genuine model of transformers, made tiny."""

import json
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file, save_file

from projlens_core.activations.agreement import reaches
from projlens_core.cases.case import Case, open_case
from projlens_core.errors import InvalidInput, Unsupported
from projlens_core.weights.delta import compare
from projlens_core.weights.families import families, match
from projlens_core.weights.layer import INSTRUCTION
from projlens_core.weights.projector import as_module, content_hash, read_projector
from projlens_core.weights.spectrum import spectrum
from projlens_core.weights.subspace import inject
from tests import pico_families
from tests.pico_families import MODELS, T
from tests.pico_releases import ALIASES, RELEASES

RUN = [name for name in MODELS if families()[name].not_run is None]
STRENGTH = (3.0, 1.0)  # singular values of the planted ΔW


def test_every_family_of_the_table_is_held_against_a_genuine_model_or_the_names_of_its_release():
    assert MODELS.keys() | RELEASES.keys() == families().keys()


@pytest.fixture(scope="module")
def made():
    """{family: model}, each made once."""
    return {}


def model_of(name, made):
    if name not in made:
        made[name] = pico_families.model(name)
    return made[name]


def planted(stored, seed=1):
    """A delta of rank 2 with the singular values STRENGTH, of the shape of a stored tensor seen as (out, rest)."""
    rows, columns = stored.shape[0], stored[0].numel()
    generator = torch.Generator().manual_seed(seed)
    left, right = (torch.linalg.qr(torch.randn(side, 2, generator=generator))[0] for side in (rows, columns))
    return left, right, (left @ torch.diag(torch.tensor(STRENGTH)) @ right.T).reshape(stored.shape)


def assert_found(delta, name, left, right):
    """The delta's only change is in tensor `name`, with the planted spectrum and subspace."""
    (found,) = [tensor for tensor in delta.tensors if tensor.changed]
    assert found.name == name
    matrix = found.delta
    torch.testing.assert_close(
        torch.from_numpy(spectrum(matrix).values[:3]).float(), torch.tensor([*STRENGTH, 0.0]), rtol=0, atol=1e-5
    )
    u, _, vh = torch.linalg.svd(matrix)
    if matrix.shape[0] != left.shape[0] or not torch.allclose(left @ (left.T @ u[:, :2]), u[:, :2], atol=1e-3):
        left, right = right, left  # stored transposed
    torch.testing.assert_close(left @ (left.T @ u[:, :2]), u[:, :2], rtol=0, atol=1e-5)
    torch.testing.assert_close(right @ (right.T @ vh[:2].T), vh[:2].T, rtol=0, atol=1e-5)


@pytest.mark.support("weights", "{layout} names")
@pytest.mark.parametrize("layout", ["old", "new"])
@pytest.mark.parametrize("name", MODELS)
def test_a_planted_delta_is_found_in_the_familys_own_layouts(name, layout, made, tmp_path):
    """Base in the new names, suspect in either."""
    model = model_of(name, made)
    model.save_pretrained(tmp_path / "base", save_original_format=False)
    base = read_projector(tmp_path / "base")
    assert base.family.name == name
    own = match(model.state_dict().keys(), model.config.model_type, name)
    matrices = [n for n, tensor in base.tensors.items() if tensor.dim() == 2 and min(tensor.shape) > 2]
    chosen = matrices[-1]
    parameter = model.state_dict()[own.tensors[chosen]]
    left, right, delta = planted(parameter)
    before = parameter.clone()
    parameter += delta  # in place: of the model itself
    model.save_pretrained(tmp_path / "suspect", save_original_format=layout == "old")
    parameter.copy_(before)
    suspect = read_projector(tmp_path / "suspect")
    assert suspect.family.name == name
    assert len(suspect.tensors) + len(suspect.adjacent) == len(own.tensors) + len(own.adjacent)
    assert_found(compare(base, suspect), chosen, left, right)


@pytest.mark.parametrize("name", MODELS)
def test_what_lies_beside_the_layers_is_part_of_the_delta(name, made, tmp_path):
    model = model_of(name, made)
    own = match(model.state_dict().keys(), model.config.model_type, name)
    if not own.adjacent:
        return
    model.save_pretrained(tmp_path / "base")
    base = read_projector(tmp_path / "base")
    for canonical in (next(iter(own.adjacent)), list(own.adjacent)[-1]):
        parameter = model.state_dict()[own.adjacent[canonical]]
        before = parameter.clone()
        parameter.view(-1)[0] += 1.0  # in place: of the model itself
        model.save_pretrained(tmp_path / "suspect")
        parameter.copy_(before)
        changed = [t.name for t in compare(base, read_projector(tmp_path / "suspect")).tensors if t.changed]
        assert changed == [canonical]


@pytest.mark.parametrize("name", RUN)
def test_the_module_computes_what_the_models_own_projector_computes(name, made, tmp_path):
    model = model_of(name, made)
    model.save_pretrained(tmp_path)
    weights = read_projector(tmp_path)
    assert weights.described
    tokens, expected = pico_families.projected(name, model)
    with torch.no_grad():
        torch.testing.assert_close(as_module(weights)(tokens), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", [n for n in MODELS if n not in RUN])
def test_a_projector_that_is_not_run_says_why(name, made, tmp_path):
    model_of(name, made).save_pretrained(tmp_path)
    weights = read_projector(tmp_path)
    assert weights.d_in > 0 < weights.d_out
    with pytest.raises(Unsupported, match="cannot be run: it"):
        as_module(weights)


@pytest.mark.parametrize("name", ["high.weight", "low.weight"])
def test_each_of_two_layers_that_share_a_token_is_followed_by_itself(name, made, tmp_path):
    model_of("deepseek_vl_hybrid", made).save_pretrained(tmp_path)
    base = read_projector(tmp_path)
    left, right, _ = planted(base.tensors[name])
    changed = base.tensors[name] + 1e-2 * torch.outer(left[:, 0], right[:, 0])
    delta = compare(base, replace(base, tensors=base.tensors | {name: changed}))
    torch.testing.assert_close(inject(delta, {name: min(changed.shape)}).tensors[name], changed)
    token = torch.randn(1, 1, base.d_token, generator=torch.Generator().manual_seed(3))
    moved = (as_module(delta.suspect)(token) - as_module(base)(token)).flatten()
    (reach,) = reaches(delta, token)
    assert reach.name == name
    assert abs(float(torch.cosine_similarity(reach.axes[:, 0], moved.double(), dim=0))) > 0.999


def test_two_layers_that_share_a_token_must_make_what_the_next_one_reads(made, tmp_path):
    model_of("deepseek_vl_hybrid", made).save_pretrained(tmp_path)
    cut = {"model.aligner.vision_proj.weight": torch.ones(5, 16), "model.aligner.vision_proj.bias": torch.ones(5)}
    _tampered(tmp_path, lambda tensors: tensors.update(cut))
    with pytest.raises(InvalidInput, match=r"do not fit each other: linear \(24, 24\) .* after width 17"):
        read_projector(tmp_path)


@pytest.mark.parametrize(
    ("name", "shape"), [("wk.weight", (8, 32)), ("wq.weight", (16, 30)), ("wo.weight", (16, 8)), ("wv.bias", (8,))]
)
def test_a_pooling_whose_matrices_do_not_fit_is_one_sentence(name, shape, made, tmp_path):
    model_of("molmo", made).save_pretrained(tmp_path)
    cut = {f"model.vision_backbone.image_pooling_2d.{name}": torch.ones(shape)}
    _tampered(tmp_path, lambda tensors: tensors.update(cut))
    with pytest.raises(InvalidInput, match="do not fit each other: pooling"):
        read_projector(tmp_path)


def test_heads_of_a_pooling_that_do_not_fit_are_one_sentence(made, tmp_path):
    model_of("molmo", made).save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    config["adapter_config"]["head_dim"] = 5
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(InvalidInput, match="heads of 5"):
        as_module(read_projector(tmp_path))


def test_a_softmax_that_is_none_is_refused(made, tmp_path):
    model_of("ovis2", made).save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    config["vision_config"]["tokenize_function"] = "gumbel_argmax"
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(Unsupported, match=r"tokenize_function 'gumbel_argmax', .* it knows softmax"):
        as_module(read_projector(tmp_path))


def _tampered(folder, change):
    tensors = load_file(folder / "model.safetensors")
    change(tensors)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})


@pytest.mark.parametrize(
    ("change", "heads", "said"),
    [
        (
            lambda t: t.pop("qformer.encoder.layer.1.output_query.dense.weight"),
            2,
            r"do not fit.*layer\.1\.output_query",
        ),
        (lambda t: t.update({"qformer.encoder.layer.999999999.x": torch.ones(1)}), 2, "do not fit.*encoder.layer.2"),
        (lambda t: t.update({"qformer.layernorm.weight": torch.ones(3)}), 2, "do not fit.*'layernorm.weight'"),
        (lambda t: t, 7, "make no qformer"),
        (lambda t: t, "2", "num_attention_heads '2', which this version cannot run"),
    ],
)
def test_a_resampler_that_does_not_fit_its_config_is_one_sentence(change, heads, said, made, tmp_path):
    model_of("blip2", made).save_pretrained(tmp_path)
    _tampered(tmp_path, change)
    config = json.loads((tmp_path / "config.json").read_text())
    config["qformer_config"]["num_attention_heads"] = heads
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises((InvalidInput, Unsupported), match=said):
        as_module(read_projector(tmp_path))


def test_a_projector_that_reads_the_question_is_given_one_that_its_hash_and_notes_name(made, tmp_path):
    model_of("instructblip", made).save_pretrained(tmp_path)
    weights = read_projector(tmp_path)
    assert weights.settings["qformer.instruction"] == INSTRUCTION
    assert weights.sha256 == content_hash(weights.tensors, weights.settings)
    assert any(INSTRUCTION in note for note in open_case(Case(str(tmp_path), str(tmp_path))).notes)
    _tampered(tmp_path, lambda t: t.update({"qformer.embeddings.word_embeddings.weight": torch.ones(200, 16)}))
    with pytest.raises(InvalidInput, match="make no instructed_qformer: 200 words"):
        as_module(read_projector(tmp_path))


@pytest.mark.support("weights", "names of its release")
@pytest.mark.parametrize("name", RELEASES)
def test_a_planted_delta_is_found_in_a_release_that_transformers_does_not_have(name, tmp_path):
    generator = torch.Generator().manual_seed(0)
    tensors = {n: torch.randn(shape, generator=generator) for n, shape in RELEASES[name].items()}
    files = [tmp_path / role / "model.safetensors" for role in ("base", "suspect")]
    for file in files:
        file.parent.mkdir()
        if families()[name].model_types:
            (file.parent / "config.json").write_text(json.dumps({"model_type": families()[name].model_types[0]}))
    save_file(tensors, files[0])
    base = read_projector(files[0].parent)
    own = match(tensors, None, name, name)
    assert (base.family.name, own.family.name) == (name, name)
    chosen = next(n for n, tensor in base.tensors.items() if tensor.dim() == 2)
    left, right, delta = planted(tensors[own.tensors[chosen]])
    save_file(tensors | {own.tensors[chosen]: tensors[own.tensors[chosen]] + delta}, files[1])
    assert_found(compare(base, read_projector(files[1].parent)), chosen, left, right)


@pytest.mark.support("weights", "names of its release")
@pytest.mark.parametrize("name", ALIASES)
def test_names_of_original_releases_are_read_as_the_family(name):
    for names in ALIASES[name]:
        found = match([*names, "language_model.layers.0.weight"], None, "it", name)
        assert found.family.mismatch(found.tensors) == ([], [])
        assert len(found.tensors) + len(found.adjacent) == len(names)


@pytest.mark.parametrize("name", ["llava_next", "llava_onevision"])
def test_newline_embedding_beside_the_projector_is_read_too(name, made, tmp_path):
    model = model_of(name, made)
    model.save_pretrained(tmp_path)
    weights = read_projector(tmp_path)
    torch.testing.assert_close(weights.adjacent["image_newline"], model.model.image_newline.detach())


def test_a_guess_by_shape_is_offered_and_taken_only_when_it_is_confirmed(tmp_path):
    tensors = {
        "glue.fc2.weight": torch.randn(T, 40),
        "glue.fc2.bias": torch.randn(T),
        "glue.fc10.weight": torch.randn(T, T),
        "glue.fc10.bias": torch.randn(T),
        "lm.embed_tokens.weight": torch.randn(50, T),
        "lm.layers.0.mlp.a.weight": torch.randn(T, T),
        "lm.layers.0.mlp.b.weight": torch.randn(T, T),
    }
    save_file(tensors, tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text('{"model_type": "homemade"}')
    with pytest.raises(
        Unsupported, match=r"'homemade', none of .*'glue' \(40 → 24 → 24\) is shaped like a LLaVA.*#llava"
    ):
        read_projector(tmp_path)
    weights = read_projector(f"{tmp_path}#llava")
    assert (weights.family.name, weights.layout) == ("llava", "glue")
    assert torch.equal(weights.tensors["linear_2.weight"], tensors["glue.fc10.weight"])
    with pytest.raises(InvalidInput, match="no module that is shaped like a InternVL projector"):
        read_projector(f"{tmp_path}#internvl")
    with pytest.raises(Unsupported, match="family 'lava', none of"):
        read_projector(f"{tmp_path}#lava")


def test_a_guess_by_name_is_offered_for_a_model_type_nobody_knows(tmp_path):
    save_file(
        {name: torch.ones(2, 2) if "weight" in name else torch.ones(2) for name in LLAVA}, tmp_path / "a.safetensors"
    )
    (tmp_path / "config.json").write_text('{"model_type": "my_llava"}')
    with pytest.raises(Unsupported, match=r"named like LLaVA's: .*add #llava"):
        read_projector(tmp_path / "a.safetensors")
    assert read_projector(f"{tmp_path / 'a.safetensors'}#llava").family.name == "llava"


def test_two_modules_of_the_same_shape_are_not_guessed_between(tmp_path):
    tensors = {f"{m}.{layer}.weight": torch.ones(4, 4) for m in ("a", "b") for layer in ("0", "2")}
    save_file(tensors, tmp_path / "a.safetensors")
    with pytest.raises(InvalidInput, match="'a', 'b' that are shaped like a LLaVA projector, expected one"):
        read_projector(f"{tmp_path / 'a.safetensors'}#llava")


def _names(prefix, *layers):
    return [f"{prefix}.{layer}.{leaf}" for layer in layers for leaf in ("weight", "bias")]


LLAVA = _names("multi_modal_projector", "linear_1", "linear_2")
ORIGINAL = _names("model.mm_projector", "0", "2")


@pytest.mark.parametrize(
    ("names", "family", "layout"),
    [
        (LLAVA, "llava", "multi_modal_projector"),
        ([f"model.{name}" for name in LLAVA], "llava", "model.multi_modal_projector"),
        (ORIGINAL, "llava", "model.mm_projector"),
        ([f"base_model.model.{name}" for name in ORIGINAL], "llava", "base_model.model.model.mm_projector"),
        ([f"module._orig_mod.{name}" for name in LLAVA], "llava", "module._orig_mod.multi_modal_projector"),
        ([*LLAVA, "image_newline"], "llava_next", "multi_modal_projector"),
        (_names("mlp1", "0", "1", "3"), "internvl", "mlp1"),
        (_names("visual.merger", "ln_q", "mlp.0", "mlp.2"), "qwen2_vl", "visual.merger"),
        (["visual.merger.ln_q.weight", *_names("visual.merger", "mlp.0", "mlp.2")], "qwen2_5_vl", "visual.merger"),
    ],
)
def test_family_and_layout_follow_from_names_alone(names, family, layout):
    found = match([*names, "language_model.layers.0.weight"], None, "it")
    assert (found.family.name, found.layout) == (family, layout)
    assert sorted(found.tensors.values()) == sorted(name for name in names if "newline" not in name)


def test_original_llava_names_become_the_canonical_ones():
    assert match(ORIGINAL, "llava_llama", "it").tensors["linear_2.weight"] == "model.mm_projector.2.weight"


def test_projector_without_biases_is_a_llava_projector():
    assert match([n for n in LLAVA if "weight" in n], "llava", "it").family.name == "llava"


@pytest.mark.parametrize(
    ("names", "model_type", "error", "said"),
    [
        ([*LLAVA, *ORIGINAL], None, InvalidInput, "at once"),
        ([*LLAVA, f"model.{LLAVA[0]}"], "llava", InvalidInput, "'model.multi_modal_projector'"),
        ([*LLAVA, *_names("visual.merger", "ln_q")], None, InvalidInput, "at once"),
        ([*LLAVA, f"odd.path.{LLAVA[0]}"], "llava", InvalidInput, "'odd.path.multi_modal_projector'"),
        ([*LLAVA, "image_newline", "model.image_newline"], "llava_next", InvalidInput, "'model.image_newline'"),
        (LLAVA[1:], None, InvalidInput, "lacks 'linear_1.weight'"),
        (
            [*LLAVA[1:], "multi_modal_projector.norm.weight"],
            "llava",
            InvalidInput,
            "lacks 'linear_1.weight' and has unknown 'multi_modal_projector.norm.weight'",
        ),
        (["language_model.x"], "llava", InvalidInput, "holds no projector tensors of LLaVA"),
        (["language_model.x"], None, Unsupported, "holds no projector of the"),
        (["multi_modal_projector.odd"], None, Unsupported, "holds no projector of the"),
        (LLAVA, "my_llava", Unsupported, "model type 'my_llava'"),
        (LLAVA, "qwen2_vl", InvalidInput, "model type 'qwen2_vl'"),
    ],
)
def test_projector_that_is_not_one_whole_known_one_is_refused(names, model_type, error, said):
    with pytest.raises(error) as caught:
        match(names, model_type, "it")
    assert said in str(caught.value)
    assert str(caught.value).startswith("it ")


def test_saved_old_and_new_keys_are_indeed_different(made, tmp_path):
    model = model_of("llava", made)
    for folder, old in (("old", True), ("new", False)):
        model.save_pretrained(tmp_path / folder, save_original_format=old)
    old, new = (load_file(tmp_path / folder / "model.safetensors").keys() for folder in ("old", "new"))
    assert LLAVA[0] in old
    assert f"model.{LLAVA[0]}" in new
