"""Each kind of mmproj against the checkpoint it is made of: names and values by the conversion's rules, written down
here once more, in plain torch."""

import json

import pytest
import torch
from safetensors.torch import save_file

from projlens_core.cases.case import Case, open_case
from projlens_core.errors import InvalidInput, Unsupported
from projlens_core.weights.families import families
from projlens_core.weights.gguf_names import kinds, others
from projlens_core.weights.projector import read_projector
from projlens_core.weights.proof import CHANGED, SAME, prove
from tests.core.test_forms import mmproj

V, H, T, P = 32, 48, 64, 4  # widths of the tower, the hidden layer and the text; the side of a patch


def linear(here, there, shape, bias=True):
    """A layer as {name in the release: (shape, name in the mmproj, how its values are stored there)}."""
    leaves = {"weight": shape, "bias": shape[:1]} if bias else {"weight": shape}
    return {f"{here}.{leaf}": (size, f"{there}.{leaf}", lambda t: t) for leaf, size in leaves.items()}


def third(part):
    return lambda t: t.chunk(3, dim=0)[part]


def colours_first(t):
    """A patch's numbers from pixel by pixel to colour by colour, index by index."""
    order = [(row * P + column) * 3 + colour for colour in range(3) for row in range(P) for column in range(P)]
    return t[..., order].contiguous()


def cut(leaf, shape):
    name = f"resampler.attn.in_proj_{leaf}"
    return {name: (shape, *((f"resampler.attn.{part}.{leaf}", third(i)) for i, part in enumerate("qkv")))}


_QWEN = linear("visual.merger.mlp.0", "mm.0", (4 * V, 4 * V)) | linear("visual.merger.mlp.2", "mm.2", (T, 4 * V))
_PIXTRAL = linear("multi_modal_projector.linear_1", "mm.1", (H, V)) | linear(
    "multi_modal_projector.linear_2", "mm.2", (T, H)
)
_VIT = "model.vision_tower.vit_merger"
# {kind: (model type of the release, its tensors)}
CONVERSIONS = {
    "mlp": (
        "llava",
        linear("multi_modal_projector.linear_1", "mm.0", (H, V))
        | linear("multi_modal_projector.linear_2", "mm.2", (T, H)),
    ),
    "mlp with a newline": (
        "llava_next",
        linear("model.multi_modal_projector.linear_1", "mm.0", (H, V))
        | linear("model.multi_modal_projector.linear_2", "mm.2", (T, H))
        | {"model.image_newline": ((T,), "model.image_newline", lambda t: t)},
    ),
    "mlp of an original release": (
        "llava_llama",
        linear("model.mm_projector.0", "mm.0", (H, V)) | linear("model.mm_projector.2", "mm.2", (T, H)),
    ),
    "resampler": (
        "minicpmv",
        {
            "resampler.query": ((4, T), "resampler.query", lambda t: t),
            "resampler.proj": ((T, T), "resampler.proj.weight", lambda t: t.T.contiguous()),
        }
        | linear("resampler.kv_proj", "resampler.kv", (T, V), bias=False)
        | linear("resampler.attn.out_proj", "resampler.attn.out", (T, T))
        | cut("weight", (3 * T, T))
        | cut("bias", (3 * T,))
        | {
            k: v
            for n in ("ln_q", "ln_kv", "ln_post")
            for k, v in linear(f"resampler.{n}", f"resampler.{n}", (T,)).items()
        },
    ),
    "minicpmv4_6": (
        "minicpmv4_6",
        linear("model.merger.mlp.0.pre_norm", "mm.input_norm", (4 * V,))
        | linear("model.merger.mlp.0.linear_1", "mm.up", (4 * V, 4 * V))
        | linear("model.merger.mlp.0.linear_2", "mm.down", (T, 4 * V))
        | linear(f"{_VIT}.layer_norm1", "v.vit_merger.ln1", (V,))
        | linear(f"{_VIT}.self_attn.q_proj", "v.vit_merger.attn_q", (V, V))
        | linear(f"{_VIT}.self_attn.out_proj", "v.vit_merger.attn_out", (V, V))
        | linear(f"{_VIT}.pre_norm", "v.vit_merger.ds_ln", (4 * V,))
        | linear(f"{_VIT}.linear_1", "v.vit_merger.ds_ffn_up", (H, 4 * V))
        | linear(f"{_VIT}.linear_2", "v.vit_merger.ds_ffn_down", (V, H)),
    ),
    "qwen2vl_merger": ("qwen2_vl", _QWEN | linear("visual.merger.ln_q", "v.post_ln", (V,))),
    "qwen2.5vl_merger": ("qwen2_5_vl", _QWEN | linear("visual.merger.ln_q", "v.post_ln", (V,), bias=False)),
    "qwen2.5o": (
        "qwen2_5_omni",
        {f"thinker.{name}": how for name, how in _QWEN.items()}
        | linear("thinker.visual.merger.ln_q", "v.post_ln", (V,), bias=False)
        | linear("thinker.audio_tower.proj", "mm.a.fc", (T, V)),
    ),
    "qwen3vl_merger": (
        "qwen3_vl",
        linear("model.visual.merger.norm", "v.post_ln", (V,))
        | linear("model.visual.merger.linear_fc1", "mm.0", (4 * V, 4 * V))
        | linear("model.visual.merger.linear_fc2", "mm.2", (T, 4 * V))
        | linear("model.visual.deepstack_merger_list.0.norm", "v.deepstack.8.norm", (4 * V,))
        | linear("model.visual.deepstack_merger_list.1.linear_fc1", "v.deepstack.16.fc1", (4 * V, 4 * V))
        | linear("model.visual.deepstack_merger_list.1.linear_fc2", "v.deepstack.16.fc2", (T, 4 * V)),
    ),
    "internvl": (
        "internvl_chat",
        linear("mlp1.0", "mm.model.mlp.0", (4 * V,))
        | linear("mlp1.1", "mm.model.mlp.1", (T, 4 * V))
        | linear("mlp1.3", "mm.model.mlp.3", (T, T)),
    ),
    "idefics3": (
        "idefics3",
        linear("model.connector.modality_projection.proj", "mm.model.fc", (T, 4 * V), bias=False),
    ),
    "idefics3 of a SmolVLM": (
        "smolvlm",
        linear("model.connector.modality_projection.proj", "mm.model.fc", (T, 4 * V), bias=False),
    ),
    "gemma3": (
        "gemma3",
        {
            "multi_modal_projector.mm_input_projection_weight": ((V, T), "mm.input_projection.weight", lambda t: t),
            "multi_modal_projector.mm_soft_emb_norm.weight": ((V,), "mm.soft_emb_norm.weight", lambda t: t + 1),
        },
    ),
    "gemma3nv": (
        "gemma3n",
        linear("model.embed_vision.embedding_projection", "mm.input_projection", (T, V), bias=False)
        | linear("model.embed_vision.soft_embedding_norm", "mm.soft_emb_norm", (V,), bias=False)
        | linear("model.embed_vision.hard_embedding_norm", "mm.hard_emb_norm", (V,), bias=False)
        | linear("model.embed_vision.embedding", "mm.embedding", (8, V), bias=False),
    ),
    "gemma4v": (
        "gemma4",
        linear("model.embed_vision.embedding_projection", "mm.input_projection", (T, V), bias=False)
        | {f"model.vision_tower.std_{n}": ((V,), f"v.std_{n}", lambda t: t) for n in ("bias", "scale")},
    ),
    "gemma4uv": (
        "gemma4_unified",
        linear("model.embed_vision.embedding_projection", "mm.input_projection", (T, V), bias=False)
        | linear("model.vision_embedder.patch_ln2", "v.patch_norm.2", (V,))
        | linear("model.vision_embedder.pos_norm", "v.patch_norm.3", (V,))
        | {
            "model.vision_embedder.patch_ln1.weight": ((3 * P * P,), "v.patch_norm.1.weight", colours_first),
            "model.vision_embedder.patch_ln1.bias": ((3 * P * P,), "v.patch_norm.1.bias", colours_first),
            "model.vision_embedder.patch_dense.weight": ((V, 3 * P * P), "v.patch_embd.weight", colours_first),
            "model.vision_embedder.patch_dense.bias": ((V,), "v.patch_embd.bias", lambda t: t),
            "model.vision_embedder.pos_embedding": (
                (9, 2, V),
                "v.position_embd.weight",
                lambda t: t.permute(1, 0, 2).contiguous(),
            ),
        },
    ),
    "pixtral": ("llava", _PIXTRAL),
    "pixtral of a Mistral 3": (
        "mistral3",
        _PIXTRAL
        | linear("multi_modal_projector.norm", "mm.input_norm", (V,), bias=False)
        | linear("multi_modal_projector.patch_merger.merging_layer", "mm.patch_merger", (V, 4 * V), bias=False),
    ),
    "llama4": (
        "llama4",
        linear("multi_modal_projector.linear_1", "mm.model.fc", (T, H), bias=False)
        | linear("vision_model.vision_adapter.mlp.fc1", "mm.model.mlp.1", (H, 4 * V), bias=False)
        | linear("vision_model.vision_adapter.mlp.fc2", "mm.model.mlp.2", (H, H), bias=False),
    ),
    "kimivl": (
        "kimi_vl",
        linear("multi_modal_projector.pre_norm", "mm.input_norm", (V,))
        | linear("multi_modal_projector.linear_1", "mm.1", (4 * V, 4 * V))
        | linear("multi_modal_projector.linear_2", "mm.2", (T, 4 * V)),
    ),
    "kimik25": (
        "kimi_k25",
        linear("mm_projector.pre_norm", "mm.input_norm", (V,))
        | linear("mm_projector.proj.0", "mm.1", (4 * V, 4 * V))
        | linear("mm_projector.proj.2", "mm.2", (T, 4 * V)),
    ),
    "glm4v": (
        "glm4v",
        linear("model.visual.post_layernorm", "v.post_ln", (V,), bias=False)
        | linear("model.visual.merger.proj", "mm.model.fc", (T, T), bias=False)
        | linear("model.visual.merger.post_projection_norm", "mm.post_norm", (T,))
        | linear("model.visual.merger.gate_proj", "mm.gate", (H, T), bias=False)
        | linear("model.visual.merger.up_proj", "mm.up", (H, T), bias=False)
        | linear("model.visual.merger.down_proj", "mm.down", (T, H), bias=False)
        | {
            "model.visual.downsample.weight": ((T, V, 2, 2), "mm.patch_merger.weight", lambda t: t),
            "model.visual.downsample.bias": ((T,), "mm.patch_merger.bias", lambda t: t),
        },
    ),
    "janus_pro": (
        "janus",
        linear("model.aligner.fc1", "mm.0", (T, V)) | linear("model.aligner.hidden_layers.0", "mm.1", (T, T)),
    ),
}
VISION_KEY = ("gemma3nv", "gemma4v", "gemma4uv")  # which name their audio's kind, too


def drawn(table, seed=0):
    """Values by the release's names; small whole numbers of 1/64, which every step here keeps exact."""
    generator = torch.Generator().manual_seed(seed)
    return {name: torch.randint(-256, 256, how[0], generator=generator) / 64 for name, how in table.items()}


def release(folder, model_type, tensors):
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps({"model_type": model_type}))
    save_file(tensors | {"language_model.layers.0.weight": torch.ones(2, 2)}, folder / "model.safetensors")
    return folder


def converted(path, kind, table, tensors, more=None):
    """The tensors as the conversion writes them."""
    stored = {}
    for name, (_, *written) in table.items():
        pairs = [tuple(written)] if isinstance(written[0], str) else written
        stored |= {there: how(tensors[name]).contiguous() for there, how in pairs}
    key = "clip.vision.projector_type" if kind in VISION_KEY else "clip.projector_type"
    return mmproj(path, stored | (more or {}) | {"v.blk.0.ln1.weight": torch.ones(V)}, **{key: kind})


def opened(base, suspect):
    return open_case(Case(str(base), str(suspect)))


def test_every_kind_that_is_read_is_held_against_its_conversion():
    assert {name.partition(" ")[0] for name in CONVERSIONS} == kinds().keys()
    assert {family for kind in kinds().values() for family in kind.families} <= families().keys()
    assert not kinds().keys() & others().keys()


@pytest.mark.parametrize("name", CONVERSIONS)
def test_a_release_and_its_mmproj_are_the_same_projector_in_every_value(name, tmp_path):
    model_type, table = CONVERSIONS[name]
    tensors = drawn(table)
    suspect = converted(tmp_path / "mmproj.gguf", name.partition(" ")[0], table, tensors)
    case = opened(release(tmp_path / "base", model_type, tensors), suspect)
    assert model_type in case.base.family.model_types
    assert len(case.delta.tensors) == len(table)
    assert case.delta.equal
    assert case.delta.uncompared == ()


@pytest.mark.parametrize("name", CONVERSIONS)
def test_a_change_of_any_one_number_is_found_in_its_place(name, tmp_path):
    """Each tensor of the release once, a number in it moved by 1, seen from the file that is converted of it."""
    model_type, table = CONVERSIONS[name]
    tensors = drawn(table)
    base = release(tmp_path / "base", model_type, tensors)
    whole = read_projector(base)
    for number, moved in enumerate(tensors):
        place = tuple(side // 3 for side in tensors[moved].shape)
        changed = tensors[moved].clone()
        changed[place] += 1
        other = {**tensors, moved: changed}
        suspect = read_projector(converted(tmp_path / f"{number}.gguf", name.partition(" ")[0], table, other))
        twin = read_projector(release(tmp_path / f"{number}", model_type, other))  # the same change, not converted
        values = twin.tensors | twin.adjacent
        assert all(torch.equal(tensor, values[n]) for n, tensor in (suspect.tensors | suspect.adjacent).items())
        differ = [n for n, tensor in values.items() if not torch.equal(tensor, (whole.tensors | whole.adjacent)[n])]
        assert len(differ) == 1


@pytest.mark.parametrize("kind", [*others(), "made_up", "llava", "LLAMA4", "mlp2x_gelu"])
def test_a_kind_that_is_not_known_is_refused_by_its_name_and_no_guess_is_offered(kind, tmp_path):
    table = CONVERSIONS["mlp"][1]
    path = converted(tmp_path / "mmproj.gguf", kind, table, drawn(table))
    for spec in (str(path), f"{path}#llava"):
        with pytest.raises(Unsupported) as caught:
            read_projector(spec)
        said = str(caught.value)
        assert f"mmproj.gguf declares clip.projector_type '{kind}'" in said
        assert "none of the 40 families that are known" in said
        assert others().get(kind, "") in said
        assert "docs/support.md" in said
        assert "shaped like" not in said
        assert said.count(". ") == 0


@pytest.mark.parametrize("name", [n for n in CONVERSIONS if "llava" not in kinds()[n.partition(" ")[0]].families])
def test_the_users_family_does_not_overrule_the_kind_that_is_declared(name, tmp_path):
    kind, table = name.partition(" ")[0], CONVERSIONS[name][1]
    path = converted(tmp_path / "mmproj.gguf", kind, table, drawn(table))
    with pytest.raises(
        InvalidInput, match=rf"declares clip\S+ '{kind}', which is no LLaVA projector; leave #llava out"
    ):
        read_projector(f"{path}#llava")
    own = kinds()[kind].families[-1]
    assert read_projector(f"{path}#{own}").family.name == own


ODD = {
    "two-kinds": ({"clip.projector_type": "mlp", "clip.vision.projector_type": "llama4"}, "which a loader takes"),
    "audio-alone": (
        {"clip.audio.projector_type": "qwen2a"},
        "clip.audio.projector_type 'qwen2a' (Qwen2-Audio (audio))",
    ),
    "audio-of-a-known-name": ({"clip.audio.projector_type": "mlp"}, "clip.audio.projector_type 'mlp'"),
    "beyond-any-name": ({"clip.projector_type": "m" * 2000}, "not in a short text"),
}


@pytest.mark.parametrize("name", ODD)
def test_odd_declarations_are_refused_in_one_sentence(name, tmp_path):
    keys, said = ODD[name]
    tensors = {"mm.0.weight": torch.ones(H, V), "mm.2.weight": torch.ones(T, H)}
    with pytest.raises((InvalidInput, Unsupported)) as caught:
        read_projector(mmproj(tmp_path / "mmproj.gguf", tensors, **keys))
    assert said in str(caught.value)


def test_a_language_model_is_said_to_be_one(tmp_path):
    path = mmproj(tmp_path / "model.gguf", {"token_embd.weight": torch.ones(8, V)}, architecture="llama")
    with pytest.raises(Unsupported, match=r"general.architecture 'llama' \(a language model, .* its mmproj\)"):
        read_projector(path)


def test_a_file_that_declares_nothing_is_read_as_the_user_says_and_that_is_said(tmp_path):
    table = CONVERSIONS["mlp"][1]
    stored = {table[name][1]: tensor for name, tensor in drawn(table).items()}
    path = mmproj(tmp_path / "old.gguf", stored)
    with pytest.raises(Unsupported, match=r"shaped like a LLaVA projector: .*#llava"):
        read_projector(path)
    weights = read_projector(f"{path}#llava")
    assert any("does not say what it is; 'mm' is read as a LLaVA" in warning for warning in weights.warnings)


def test_pieces_that_do_not_fit_each_other_are_not_joined_but_named(tmp_path):
    model_type, table = CONVERSIONS["resampler"]
    tensors = drawn(table)
    path = converted(
        tmp_path / "mmproj.gguf", "resampler", table, tensors, {"resampler.attn.k.weight": torch.ones(T - 1, T)}
    )
    delta = opened(release(tmp_path / "base", model_type, tensors), path).delta
    assert not delta.changed
    assert not delta.equal
    assert {what for what, _ in delta.uncompared} == {"attn.in_proj_weight", *(f"attn.{p}.weight" for p in "qkv")}


def test_positions_that_a_conversion_adds_are_not_taken_for_compared(tmp_path):
    model_type, table = CONVERSIONS["resampler"]
    tensors = drawn(table)
    path = converted(tmp_path / "mmproj.gguf", "resampler", table, tensors, {"resampler.pos_embed_k": torch.ones(9, T)})
    delta = opened(release(tmp_path / "base", model_type, tensors), path).delta
    assert delta.uncompared == (("pos_embed_k", "only in the suspect"),)
    assert not delta.equal


def test_two_declared_kinds_with_the_same_layers_are_compared_as_what_they_are(tmp_path):
    table = CONVERSIONS["qwen2.5vl_merger"][1]
    tensors = drawn(table)
    suspect = converted(tmp_path / "omni.gguf", "qwen2.5o", table, tensors)
    case = opened(release(tmp_path / "base", "qwen2_5_vl", tensors), suspect)
    assert (case.base.family.name, case.suspect.family.name) == ("qwen2_5_vl", "qwen2_5_omni")
    assert any("The base is a Qwen2.5-VL projector and the suspect a Qwen2.5-Omni one" in note for note in case.notes)


def test_what_is_left_out_is_compared_with_the_rest(tmp_path):
    table = CONVERSIONS["mlp"][1]
    tensors = drawn(table)
    odd = torch.ones(4, 4)
    files = [
        converted(tmp_path / f"{n}.gguf", "mlp", table, tensors, {"mm.4.weight": odd * n, "mm.5.weight": odd})
        for n in (1, 2)
    ]
    assert not opened(*files).delta.equal
    found = {finding.name: finding for finding in prove(*files).findings}
    assert (found["mm.4.weight"].status, found["mm.5.weight"].status) == (CHANGED, SAME)
    assert found["mm.4.weight"].part == "projector, not in its deltas"


@pytest.mark.parametrize("kind", ["Q8_0", "Q4_0"])
def test_the_rounding_of_blocks_that_were_turned_is_not_known(kind, tmp_path):
    """Gemma 3 stores the matrix the other way round than it is compared, so its blocks are no part of its rows."""
    tensors = {"mm.input_projection.weight": torch.ones(V, T), "mm.soft_emb_norm.weight": torch.ones(V)}
    path = mmproj(tmp_path / "mmproj.gguf", tensors, kind, **{"clip.projector_type": "gemma3"})
    delta = opened(path, path).delta
    assert {t.name: t.rounding is None for t in delta.tensors} == {"norm.weight": False, "linear.weight": True}
