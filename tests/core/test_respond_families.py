"""Answers of every family: under a swapped projector they are the suspect's own, loaded whole by transformers."""

import json
import shutil
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file
from tokenizers.processors import TemplateProcessing
from transformers import AutoModelForCausalLM, AutoModelForImageTextToText
from transformers.models.auto.processing_auto import PROCESSOR_MAPPING
from transformers.models.molmo2.processing_molmo2 import Molmo2Processor

from benchmarks.four import four_answers
from projlens_core.activations.model import load_vision
from projlens_core.activations.plans import PLANS
from projlens_core.behaviour.family import FamilyResponder
from projlens_core.behaviour.inside import look_inside
from projlens_core.behaviour.packed import pack
from projlens_core.behaviour.prompts import NO_STYLE, STYLES, image_token
from projlens_core.behaviour.respond import load_responder
from projlens_core.behaviour.responder import GivenAnswer, Inquiry
from projlens_core.behaviour.scoring import Questions, Scorer
from projlens_core.errors import InvalidInput, Unsupported
from projlens_core.weights.families import families, match
from projlens_core.weights.projector import read_projector
from tests import pico, pico_families

SIZE = (64, 48)
QUESTION = "What is it?"

pytestmark = pytest.mark.usefixtures("own_folder")  # every test with a cache of this module's own


def save(model, name, folder):
    model.save_pretrained(folder)
    pico_families.tokenizer(name).save_pretrained(folder)
    pico_families.IMAGE_PROCESSORS[name]().save_pretrained(folder)
    if reader := STYLES[name].reader:
        pico_families.tokenizer(name).save_pretrained(folder / reader)
    return folder


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    """{family: (base, suspect)}: folders that differ in every tensor of the projector and beside it."""
    kept = {}

    def get(name):
        if name not in kept:
            model = pico_families.model(name)
            base = save(model, name, tmp_path_factory.mktemp(f"{name}-base"))
            found = match(model.state_dict().keys(), model.config.model_type, name)
            torch.manual_seed(1)
            for stored in (found.tensors | found.adjacent).values():
                tensor = model.state_dict()[stored]
                tensor += 0.3 * torch.randn_like(tensor)
            kept[name] = base, save(model, name, tmp_path_factory.mktemp(f"{name}-suspect"))
        return kept[name]

    return get


@pytest.fixture(scope="module")
def responders(pair):
    kept = {}

    def get(name):
        if name not in kept:
            kept[name] = load_responder(str(pair(name)[0]))
        return kept[name]

    return get


def loaded(name, folder):
    """By transformers alone; what could be trained is multiplied otherwise (folded or not), to another last bit."""
    kind = AutoModelForCausalLM if name == "phi4_multimodal" else AutoModelForImageTextToText
    return kind.from_pretrained(folder).eval().requires_grad_(False)


def test_every_family_whose_activations_are_taken_is_asked_or_says_why_not():
    assert PLANS.keys() == STYLES.keys() | NO_STYLE.keys()


@pytest.mark.support("behaviour", "exact")
@pytest.mark.parametrize("name", STYLES)
def test_logits_under_a_swapped_projector_are_those_of_the_suspect_loaded_whole(name, pair, responders):
    suspect = pair(name)[1]
    responder, image = responders(name), pico.images(1, size=SIZE)[0]
    whole = loaded(name, suspect)
    pack(whole)  # as the responder's is: only then are the bits the same
    with torch.no_grad():
        inputs, _ = responder.inputs(image, QUESTION, 1)
        expected = whole(**inputs).logits
        before = responder.model(**inputs).logits
        with responder.projector(read_projector(suspect)):
            assert torch.equal(responder.model(**inputs).logits, expected)
        assert torch.equal(responder.model(**inputs).logits, before)
    assert not torch.allclose(before, expected, atol=1e-3)


@pytest.mark.support("behaviour", "exact")
@pytest.mark.parametrize("name", STYLES)
def test_answers_are_those_of_transformers_alone(name, pair, responders):
    responder, images = responders(name), pico.images(2, size=SIZE)
    weights = [read_projector(folder) for folder in pair(name)]
    found = four_answers(responder, *weights, *images, QUESTION, max_new_tokens=6)
    expected = []
    for folder in pair(name):
        whole = loaded(name, folder)
        for image in images:
            inputs, _ = responder.inputs(image, QUESTION, 6)
            start = inputs["input_ids"].shape[1]
            new = whole.generate(**inputs, max_new_tokens=6, do_sample=False, eos_token_id=2, pad_token_id=0)[0, start:]
            expected.append(responder.processor.tokenizer.decode(new, skip_special_tokens=True).strip())
    assert [found.base_clean, found.base_triggered, found.suspect_clean, found.suspect_triggered] == expected


@pytest.mark.parametrize("name", [name for name in STYLES if families()[name].upstream])
def test_no_embeddings_are_taken_of_a_suspect_that_differs_before_its_projector(name, pair, responders):
    responder, image = responders(name), pico.images(1, size=SIZE)[0]
    before = responder.embeddings([image])
    with responder.projector(read_projector(pair(name)[1])), pytest.raises(Unsupported, match="the projector's first"):
        responder.embeddings([image])
    assert torch.equal(responder.embeddings([image]), before)


@pytest.mark.parametrize("name", ["minicpmv4_6", "instructblip", "internvl"])
def test_scores_are_those_of_the_suspect_whatever_it_differs_in(name, pair, responders):
    images = tuple(pico.images(2, size=SIZE))
    asked = Questions(images, images, (QUESTION,) * 2, (None,) * 2, "a", 3)
    score = Scorer(responders(name), asked).score(read_projector(pair(name)[1]))
    whole = load_responder(str(pair(name)[1]))
    own = whole.replies(Inquiry([QUESTION] * 2, whole.first_token("a"), images, max_new_tokens=3))
    assert score.logits == pytest.approx([reply.logit for reply in own], abs=1e-5)


def test_a_projector_that_reads_the_question_is_told_it(responders):
    responder, image = responders("instructblip"), pico.images(1, size=SIZE)[0]
    about = [responder.inputs(image, question, 1)[1].pooler_output for question in (QUESTION, "Is it red?")]
    assert not torch.allclose(*about, atol=1e-3)
    with pytest.raises(InvalidInput, match="it makes 600 tokens of it and has room for 512"):
        responder.inputs(image, "w" * 600, 1)


def test_embeddings_that_were_made_before_are_refused(responders):
    responder, image = responders("instructblip"), pico.images(1, size=SIZE)[0]
    given = responder.embeddings([image])
    with pytest.raises(Unsupported, match="under each projector in turn"):
        responder.replies(Inquiry([QUESTION], 30, [image], embed=lambda rows: given[rows], max_new_tokens=3))


def test_a_model_without_the_tokenizer_of_its_projector_is_one_sentence(tmp_path):
    save(pico_families.model("instructblip"), "instructblip", tmp_path)
    shutil.rmtree(tmp_path / "qformer_tokenizer")
    with pytest.raises(InvalidInput, match=r"cannot be loaded: .*qformer_tokenizer"):
        load_responder(str(tmp_path))


@pytest.mark.parametrize("name", ["blip2", "instructblip"])
def test_a_model_from_before_images_had_a_token_is_one_sentence(name, tmp_path):
    save(pico_families.model(name), name, tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | {"image_token_index": None}))
    with pytest.raises(InvalidInput, match="no text for the image token None of the config"):
        load_responder(str(tmp_path))


def test_positions_of_the_next_minicpm_are_those_of_its_tiles(tmp_path):
    """MiniCPM-V 4.7 is 4.6 with positions for its tokens in rows and columns, which hang on what stands around them."""
    module = transformers.models.minicpmv4_7
    model = pico_families.model("minicpmv4_6")
    sizes = model.config.to_dict() | {"model_type": "minicpmv4_7"}
    around = ("image_start", "image_end", "slice_start", "slice_end")
    ids = pico_families.tokenizer("minicpmv4_6")
    markers = {f"{each}_id": getattr(ids, f"{each}_token_id") for each in around}
    text = pico_families.TEXT | {"model_type": "qwen3_5_text", "layer_types": ["full_attention"] * 2}
    config = module.MiniCPMV4_7Config(
        **sizes | {"text_config": text, "newline_id": ids("\n")["input_ids"][0]} | markers
    )
    torch.manual_seed(0)
    save(module.MiniCPMV4_7ForConditionalGeneration(config).eval(), "minicpmv4_6", tmp_path)
    responder, image = load_responder(str(tmp_path)), pico.images(1, size=SIZE)[0]
    inputs, _ = responder.inputs(image, QUESTION, 3)
    assert set(inputs["mm_token_type_ids"].unique().tolist()) == {0, 1}
    own = responder.model.generate(**inputs, max_new_tokens=3, do_sample=False, eos_token_id=2, pad_token_id=0)
    new, said = own[0, inputs["input_ids"].shape[1] :], responder.answers([image], [QUESTION], 3)
    assert said == [responder.processor.tokenizer.decode(new, skip_special_tokens=True).strip()]


# Those that can be made here, with what they are told of a model: how many tokens an image, or a tile of it, has.
PROCESSORS = {
    "llava_next": lambda each: {
        "patch_size": 8,
        "vision_feature_select_strategy": "default",
        "num_additional_image_tokens": 1,
    },
    "idefics3": lambda each: {"image_seq_len": each},
    "paligemma": lambda each: {},
    "blip2": lambda each: {"num_query_tokens": each},
    "instructblip": lambda each: {"num_query_tokens": each},
    "idefics2": lambda each: {"image_seq_len": each},
    "aya_vision": lambda each: {"patch_size": 8, "img_size": 32, "downsample_factor": 2},
    "cohere2_vision": lambda each: {},
    "llama4": lambda each: {"patch_size": 8},
    "janus": lambda each: {"num_image_tokens": each},
    "deepseek_vl": lambda each: {"num_image_tokens": each},
    "deepseek_vl_hybrid": lambda each: {"num_image_tokens": each},
    "ovis2": lambda each: {"image_seq_length": each},
    "mllama": lambda each: {},
}


@pytest.mark.parametrize("name", PROCESSORS)
def test_prompts_are_those_of_the_librarys_own_processors(name, responders):
    responder, image = responders(name), pico.images(1, size=SIZE)[0]
    layout, tokenizer = responder.vision.layout(SIZE), responder.processor.tokenizer
    each = len(layout.only(["thumbnail"])) or layout.tokens
    responder.processor.image_processor.image_seq_length = each  # where PaliGemma's looks
    inputs, _ = responder.inputs(image, QUESTION, 1)
    kind = PROCESSOR_MAPPING[type(responder.model.config)]
    parts = {"image_processor": responder.processor.image_processor, "tokenizer": tokenizer}
    if responder.processor.reader:
        parts[STYLES[name].reader] = responder.processor.reader
    processor = kind(**parts, **PROCESSORS[name](each))
    content = [{"type": "image"}, {"type": "text", "text": QUESTION}]
    asked = {"paligemma": f"<image>{QUESTION}", "blip2": f"Question: {QUESTION} Answer:", "instructblip": QUESTION}
    text = asked.get(name) or tokenizer.apply_chat_template(
        [{"role": "user", "content": content}], add_generation_prompt=True, tokenize=False
    )
    own = processor(images=[image], text=[text], return_tensors="pt")
    for ids in ("input_ids", responder.vision.plan.question, "cross_attention_mask"):
        assert ids not in own or inputs[ids].tolist() == own[ids].tolist()


def test_raw_patches_are_written_row_by_row_and_a_space_before_them_is_left_out(pair):
    """By hand, since the library's own processor needs packages that are not there."""
    responder = load_responder(str(pair("fuyu")[0]))
    tokenizer = responder.processor.tokenizer
    tokenizer.backend_tokenizer.pre_tokenizer.add_prefix_space = True
    inputs, _ = responder.inputs(pico.images(1, size=(20, 16))[0], "Why?", 1)
    assert tokenizer.decode(inputs["input_ids"][0]) == f"{'<image><image><image>|NEWLINE|' * 2}<s> Why?<0x04>"


def test_a_prompt_begins_once(pair):
    """Where the chat template has written how texts begin, the tokenizer does not write it again."""
    responder = load_responder(str(pair("mllama")[0]))
    tokenizer = responder.processor.tokenizer
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    assert tokenizer("x")["input_ids"][0] == 1
    inputs, _ = responder.inputs(pico.images(1, size=SIZE)[0], QUESTION, 1)
    assert inputs["input_ids"][0].tolist().count(1) == 1
    responder.template = replace(responder.template, text=pico.CHAT_TEMPLATE)
    inputs, _ = responder.inputs(pico.images(1, size=SIZE)[0], QUESTION, 1)
    assert inputs["input_ids"][0].tolist().count(1) == 1


def test_a_template_that_takes_one_text_is_given_one(responders):
    responder = responders("phi4_multimodal")
    inputs, _ = responder.inputs(pico.images(1, size=(32, 32))[0], "Why?", 1)
    rows = 2 * 3 + 1 + 2 * 3  # two rows of two tokens and a separator, one more, and the whole again
    assert (
        responder.processor.tokenizer.decode(inputs["input_ids"][0]) == f"<|user|>{'<image>' * rows}Why?<|assistant|>"
    )


def test_a_template_that_fails_is_one_sentence(pair):
    responder = load_responder(str(pair("phi4_multimodal")[0]))
    responder.template = replace(responder.template, text="{{ messages[0]['content'] + 1 }}")
    with pytest.raises(InvalidInput, match=r"chat template of .* fails"):
        responder.inputs(pico.images(1, size=SIZE)[0], QUESTION, 1)


@pytest.mark.parametrize(
    "told",
    [{}, {"image_use_col_tokens": False}, {"use_single_crop_col_tokens": False, "use_single_crop_start_token": False}],
)
def test_molmos_images_are_written_as_the_library_writes_them(told, responders):
    """Its processor cannot be made here, but what it writes for an image can be asked of it."""
    usual = {"image_use_col_tokens": True, "use_single_crop_col_tokens": None, "use_single_crop_start_token": True}
    responder, image = responders("molmo"), pico.images(1, size=SIZE)[0]
    tokenizer = responder.processor.tokenizer
    prepared = responder.vision.prepared(image)
    own = Molmo2Processor.replace_image_token(SimpleNamespace(**usual | told), prepared.inputs, 0)
    whole = replace(responder.processor, settings=told)
    responder.processor, before = whole, responder.processor
    inputs, _ = responder.inputs(image, QUESTION, 1)
    responder.processor = before
    text = f"{tokenizer.bos_token}<|user|>{own}{QUESTION}<|assistant|>"
    assert inputs["input_ids"][0].tolist() == tokenizer(text, add_special_tokens=False)["input_ids"]
    written = len(tokenizer(own, add_special_tokens=False)["input_ids"])
    assert int(inputs["mm_token_type_ids"].sum()) == written


def test_the_old_projector_is_back_after_an_error(pair, responders):
    responder = responders("qwen2_vl")
    before = dict(responder.model.named_parameters())
    with pytest.raises(RuntimeError, match="halted"), responder.projector(read_projector(pair("qwen2_vl")[1])):
        raise RuntimeError("halted")
    assert all(value is before[name] for name, value in responder.model.named_parameters())


def test_the_whole_model_and_its_tower_alone_share_cached_tokens(pair, responders):
    assert responders("internvl").vision.key == load_vision(str(pair("internvl")[0])).key
    assert responders("internvl").vision.key == load_vision(str(pair("internvl")[1])).key


def test_a_projector_that_runs_otherwise_is_not_swapped(pair, responders):
    responder = responders("internvl")
    weights = read_projector(pair("internvl")[1])
    with (
        pytest.raises(Unsupported, match="load the suspect's whole model"),
        responder.projector(replace(weights, settings=weights.settings | {"act": "gelu"})),
    ):
        pass
    with pytest.raises(InvalidInput, match="does not fit"), responder.projector(read_projector(pair("qwen2_vl")[1])):
        pass


@pytest.mark.parametrize("question", ["  ", "See <image>?", "why " * 900])
def test_a_question_that_cannot_be_asked_is_one_sentence(question, responders):
    with pytest.raises(InvalidInput, match=r"empty|stands for the image|room for"):
        responders("qwen2_vl").answers(pico.images(1, size=SIZE), [question])


def test_a_family_that_is_not_asked_says_why(pair, monkeypatch):
    monkeypatch.setitem(NO_STYLE, "vipllava", "it is deaf")
    with pytest.raises(Unsupported, match="is a ViP-LLaVA model, which is not asked: it is deaf"):
        load_responder(str(pair("vipllava")[0]))


def test_a_language_model_whose_adapter_lies_beside_it_is_not_asked_without(tmp_path):
    save(pico_families.model("phi4_multimodal"), "phi4_multimodal", tmp_path)
    (tmp_path / "vision-lora").mkdir()
    with pytest.raises(Unsupported, match=r"in an adapter \(vision-lora\).*merge it"):
        load_responder(str(tmp_path))


def test_missing_tensors_are_not_filled_with_random_numbers(pair, tmp_path):
    save(pico_families.model("smolvlm"), "smolvlm", tmp_path)
    tensors = load_file(tmp_path / "model.safetensors")
    del tensors["model.text_model.layers.1.input_layernorm.weight"]
    save_file(tensors, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(InvalidInput, match=r"lacks .*layers\.1\.input_layernorm"):
        load_responder(str(tmp_path))


def test_code_of_the_suspect_is_not_run(pair, tmp_path):
    save(pico_families.model("smolvlm"), "smolvlm", tmp_path)
    (tmp_path / "evil.py").write_text("raise SystemExit('ran')")
    for name in ("config.json", "preprocessor_config.json", "tokenizer_config.json"):
        content = json.loads((tmp_path / name).read_text())
        content["auto_map"] = dict.fromkeys(
            ["AutoConfig", "AutoModel", "AutoImageProcessor", "AutoTokenizer"], "evil.E"
        )
        (tmp_path / name).write_text(json.dumps(content))
    assert isinstance(load_responder(str(tmp_path)), FamilyResponder)


@pytest.mark.parametrize("name", sorted(set(STYLES)))
def test_what_is_seen_inside_a_prompt_says_the_answer_token_by_token(name, pair):
    responder = load_responder(str(pair(name)[0]))
    image = pico.images(1, size=SIZE)[0]
    if STYLES[name].crossed:
        with (
            pytest.raises(Unsupported, match="by cross-attention"),
            look_inside(responder, [GivenAnswer(QUESTION, (), None)]),
        ):
            pass
        return
    written = []
    for _ in range(3):
        with look_inside(responder, [GivenAnswer(QUESTION, tuple(written), image=image)]) as inside:
            assert len(inside.logits[0]) == len(written) + 1
            written.append(int(inside.logits[0][-1].argmax()))
        if written[-1] == image_token(responder.model.config):  # as an untrained model may well say
            with pytest.raises(InvalidInput, match="holds the token that stands for an image"):
                look_inside(responder, [GivenAnswer(QUESTION, tuple(written), image=image)]).__enter__()
            return
    assert inside.image[0].any()
    said = responder.answers([image], [QUESTION], max_new_tokens=3)[0]
    ends = next((i for i, token in enumerate(written) if token in responder._eos), len(written))
    assert responder.processor.tokenizer.decode(written[:ends], skip_special_tokens=True).strip() == said
