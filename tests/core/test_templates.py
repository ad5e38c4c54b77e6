"""Which chat template a prompt is written with: the one that transformers' own processor takes, or a sentence."""

import inspect
import json
import random
import shutil
from types import SimpleNamespace

import pytest
from tokenizers.processors import TemplateProcessing
from transformers import AutoProcessor, AutoTokenizer
from transformers.models.auto.processing_auto import PROCESSOR_MAPPING
from transformers.processing_utils import ProcessorMixin

from projlens_core.behaviour.prompts import STYLES
from projlens_core.behaviour.respond import load_responder
from projlens_core.behaviour.templates import TOKENIZERS_ALONE, read_template
from projlens_core.errors import InvalidInput
from projlens_core.weights.folder import LocalFolder
from tests import pico, pico_families

QUESTION = "What is it?"
PLAIN = "USER: <image>\nWhat is it? ASSISTANT:"
TEXT_ONLY = "{% for m in messages %}{{ '<|' + m['role'] + '|>' + m['content'] }}{% endfor %}"
TRIMMED = "{% for m in messages %}{{ m['content'] | trim }}{% endfor %}<|assistant|>"  # a list is written as Python's


def said(word):
    """A template that places the image and can be told from others by its first word."""
    return f"{word} {pico.CHAT_TEMPLATE}"


@pytest.fixture(scope="module")
def responder(own_folder):
    return load_responder(str(pico.checkpoint(own_folder / "base")))


@pytest.fixture(scope="module")
def without(own_folder):
    """A checkpoint without weights and without any template, whose tokenizer begins each text with <s>."""
    folder = own_folder / "without"
    made = pico.processor()
    made.chat_template = made.tokenizer.chat_template = None
    made.tokenizer.backend_tokenizer.post_processor = TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    made.save_pretrained(folder)
    pico.default_config().save_pretrained(folder)
    assert not list(folder.glob("*.jinja"))
    return folder


@pytest.fixture
def checkpoint(without, tmp_path):
    """checkpoint(places) copies `without` and puts templates into it; see `put`."""

    def made(places):
        return put(shutil.copytree(without, tmp_path / "model"), places)

    return made


def put(folder, places):
    """Write templates into a checkpoint: {file: value}, where JSON files get it as their `chat_template`, and bytes and
    texts are the whole file."""
    for name, value in places.items():
        file = folder / name
        file.parent.mkdir(exist_ok=True)
        if isinstance(value, bytes):
            file.write_bytes(value)
        elif name.endswith(".jinja"):
            file.write_text(value)
        else:
            file.write_text(
                json.dumps((json.loads(file.read_text()) if file.exists() else {}) | {"chat_template": value})
            )
    return folder


PROCESSOR, LEGACY, JINJA = "processor_config.json", "chat_template.json", "chat_template.jinja"
TOKENIZER, ADDITIONAL = "tokenizer_config.json", "additional_chat_templates"
SEVERAL = [{"name": "tool_use", "template": said("tool")}, {"name": "default", "template": said("default")}]

FOUND = {  # what stands where, and which file and name counts
    "in chat_template.json": ({LEGACY: said("a")}, (LEGACY, None)),
    "in processor_config.json": ({PROCESSOR: said("a")}, (PROCESSOR, None)),
    "in chat_template.jinja": ({JINJA: said("a")}, (JINJA, None)),
    "in tokenizer_config.json": ({TOKENIZER: said("a")}, (TOKENIZER, None)),
    "one of a list": ({TOKENIZER: SEVERAL}, (TOKENIZER, "default")),
    "one of several by name": (
        {TOKENIZER: {"rag": said("rag"), "default": said("default")}},
        (TOKENIZER, "default"),
    ),
    "one of several of the processor": (
        {PROCESSOR: {"a": said("a"), "default": said("b")}, TOKENIZER: TEXT_ONLY},
        (PROCESSOR, "default"),
    ),
    "one of several in the older form": ({LEGACY: {"a": said("a"), "default": said("b")}}, (LEGACY, "default")),
    "beside named ones": ({JINJA: said("b"), f"{ADDITIONAL}/tool_use.jinja": said("t")}, (JINJA, "default")),
    "among named ones": ({f"{ADDITIONAL}/default.jinja": said("d")}, (f"{ADDITIONAL}/default.jinja", None)),
    "the default twice": ({JINJA: said("b"), f"{ADDITIONAL}/default.jinja": said("d")}, (JINJA, None)),
    "text alone beside the older form": ({LEGACY: said("a"), TOKENIZER: TEXT_ONLY}, (LEGACY, None)),
    "text alone beside a file": ({JINJA: said("a"), TOKENIZER: TEXT_ONLY}, (JINJA, None)),
    "text alone beside the processor's": ({PROCESSOR: said("a"), TOKENIZER: TRIMMED}, (PROCESSOR, None)),
    "a text-only file that does not count": ({LEGACY: said("a"), JINJA: TEXT_ONLY}, (LEGACY, None)),
    "the older form before a file": ({LEGACY: said("a"), JINJA: said("b")}, (LEGACY, None)),
    "the processor's before all": (
        {PROCESSOR: said("p"), LEGACY: said("a"), JINJA: said("b"), TOKENIZER: said("c")},
        (PROCESSOR, None),
    ),
    "a file before the tokenizer's": ({JINJA: said("b"), TOKENIZER: said("c")}, (JINJA, None)),
    "null in the older form": ({LEGACY: None, TOKENIZER: said("c")}, (TOKENIZER, None)),
    "empty in the older form": ({LEGACY: "", TOKENIZER: said("c")}, (TOKENIZER, None)),
    "null in the processor's": ({PROCESSOR: None, JINJA: said("b")}, (JINJA, None)),
    "lines that end as on Windows": ({JINJA: (b"one\r\ntwo\r" + said("x").encode())}, (JINJA, None)),
    "the beginning written by itself": ({JINJA: "{{ bos_token }}" + said("x")}, (JINJA, None)),
    "a name that is also a template": ({LEGACY: said("rag"), TOKENIZER: {said("rag"): said("other")}}, (LEGACY, None)),
}

NOT_KNOWN, NO_IMAGE = "which one its users see is not known", "leaves the image out"
REFUSED = {  # what stands where, and what the sentence says
    "several without a default": ({TOKENIZER: SEVERAL[:1]}, NOT_KNOWN),
    "one that is named": ({f"{ADDITIONAL}/tool_use.jinja": said("t")}, NOT_KNOWN),
    "several of the processor without a default": ({PROCESSOR: {"a": said("a")}, JINJA: said("b")}, NOT_KNOWN),
    "an empty list": ({TOKENIZER: []}, NOT_KNOWN),
    "no names at all": ({PROCESSOR: {}}, NOT_KNOWN),
    "two forms at once": ({LEGACY: said("a"), f"{ADDITIONAL}/t.jinja": said("t")}, "does not load together"),
    "two forms, and the processor's": (
        {PROCESSOR: said("p"), LEGACY: said("a"), f"{ADDITIONAL}/t.jinja": said("t")},
        "does not load together",
    ),
    "a list of the processor": ({PROCESSOR: SEVERAL}, "is a JSON list"),
    "a number": ({LEGACY: 5}, "is a JSON int"),
    "a default that is a number": ({PROCESSOR: {"default": 5}}, "is a JSON int"),
    "false": ({PROCESSOR: False, JINJA: said("a")}, "is a JSON bool"),
    "a list of texts": ({TOKENIZER: [said("a")]}, "not every entry has a name and a template"),
    "a list without templates": ({TOKENIZER: [{"name": "default"}]}, "not every entry has a name and a template"),
    "no entry in the older form": ({LEGACY: b"{}"}, "has no entry 'chat_template'"),
    "damaged JSON": ({LEGACY: b'{"chat_template": '}, "is not valid JSON"),
    "no text": ({JINJA: b"\xff\xfe{{ 1 }}"}, "not a text in UTF-8"),
    "half a character": ({LEGACY: b'{"chat_template": "\\ud800"}'}, "half a character"),
    "an empty text of the processor": ({PROCESSOR: "", JINJA: said("a")}, NO_IMAGE),
    "an empty file": ({JINJA: "", TOKENIZER: said("c")}, NO_IMAGE),
    "an empty text of the tokenizer": ({TOKENIZER: ""}, NO_IMAGE),
    "text alone": ({TOKENIZER: TEXT_ONLY}, NO_IMAGE),
    "text alone in a file before the tokenizer's": ({JINJA: TEXT_ONLY, TOKENIZER: said("c")}, NO_IMAGE),
    "text alone, a list written out": ({JINJA: TRIMMED}, NO_IMAGE),
    "an unfinished template": ({JINJA: "{% for m in messages %}<image>"}, "fails: "),
    "an unknown filter": ({LEGACY: "{{ messages | nonesuch }}"}, "fails: "),
    "a division by nothing": ({JINJA: "{{ 1 // 0 }}"}, "fails: "),
    "a call to the system": ({JINJA: "{{ ''.__class__.__mro__[1].__subclasses__() }}"}, "fails: "),
    "one that refuses": ({PROCESSOR: "{{ raise_exception('no images here') }}"}, "fails: no images here"),
}


def conversation(image=None):
    content = [{"type": "image"} | ({} if image is None else {"image": image}), {"type": "text", "text": QUESTION}]
    return [{"role": "user", "content": content}]


def by_transformers(folder):
    """Token ids as transformers' own processor makes them, with the template of its tokenizer where it has none."""
    processor = AutoProcessor.from_pretrained(folder)
    template = processor.tokenizer.get_chat_template() if processor.chat_template is None else None
    asked = conversation(pico.images(1)[0])
    made = processor.apply_chat_template(
        asked, chat_template=template, add_generation_prompt=True, tokenize=True, return_dict=True
    )
    return made["input_ids"][0]


def ids_of(responder, folder, monkeypatch):
    """The prompt's token ids as the responder of this checkpoint would make them."""
    monkeypatch.setattr(responder, "template", read_template(LocalFolder(folder, "model"), "llava"))
    monkeypatch.setattr(responder.processor, "tokenizer", AutoTokenizer.from_pretrained(folder))
    responder.processor.tokenizer.chat_template = responder.template.text
    return responder.token_ids(QUESTION, pico.TOKENS, 1)


@pytest.mark.parametrize("case", FOUND)
def test_the_prompt_is_that_of_transformers_own_processor(case, responder, checkpoint, monkeypatch):
    places, counts = FOUND[case]
    folder = checkpoint(places)
    ids = ids_of(responder, folder, monkeypatch)
    assert ids == by_transformers(folder)
    assert ids.count(1) == 1  # <s>, whoever writes it
    template = responder.template
    assert (template.origin, template.file, template.name, template.note) == ("checkpoint", *counts, None)


@pytest.mark.parametrize("case", REFUSED)
def test_a_template_that_does_not_say_how_images_are_asked_about_is_one_sentence(
    case, responder, checkpoint, monkeypatch
):
    places, sentence = REFUSED[case]
    with pytest.raises(InvalidInput, match=sentence) as caught:
        ids_of(responder, checkpoint(places), monkeypatch)
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize("places", [{}, {LEGACY: ""}, {PROCESSOR: None}, {TOKENIZER: None, LEGACY: None}])
def test_without_a_template_the_prompt_is_llavas_and_that_is_said(places, responder, checkpoint, monkeypatch):
    ids = ids_of(responder, checkpoint(places), monkeypatch)
    tokenizer = responder.processor.tokenizer
    assert ids == tokenizer(PLAIN.replace("<image>", "<image>" * pico.TOKENS))["input_ids"]
    assert responder.template.as_data() | {"note": ""} == {"origin": "none", "file": None, "name": None, "note": ""}
    assert responder.template.note.startswith("No chat template was found in model: the prompt is LLaVA-1.5's")


@pytest.mark.parametrize("name", [LEGACY, PROCESSOR, JINJA, TOKENIZER, f"{ADDITIONAL}/default.jinja"])
def test_no_template_is_read_through_a_link_out_of_the_folder(name, checkpoint, tmp_path):
    folder = checkpoint({f"{ADDITIONAL}/default.jinja": said("a")} if "/" in name else {})
    (tmp_path / "elsewhere").write_text(json.dumps({"chat_template": said("secret")}))
    (folder / name).unlink(missing_ok=True)
    (folder / name).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(InvalidInput, match="link that leaves"):
        read_template(LocalFolder(folder, "model"), "llava")


def test_a_folder_of_templates_that_is_a_link_is_not_looked_into(checkpoint, tmp_path):
    folder = checkpoint({})
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "secret.jinja").write_text(said("a"))
    (folder / ADDITIONAL).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(InvalidInput, match="additional_chat_templates is a link that leaves") as caught:
        read_template(LocalFolder(folder, "model"), "llava")
    assert "secret" not in str(caught.value)


def test_links_into_the_blobs_of_the_cache_are_followed(without, tmp_path):
    """As huggingface_hub keeps a downloaded model."""
    snapshot, blobs = tmp_path / "snapshots" / "abc", tmp_path / "blobs"
    shutil.copytree(without, snapshot)
    blobs.mkdir()
    (snapshot / ADDITIONAL).mkdir()
    (blobs / "1").write_text(said("a"))
    (snapshot / ADDITIONAL / "default.jinja").symlink_to("../../../blobs/1")
    assert read_template(LocalFolder(snapshot, "model"), "llava").text == said("a")


@pytest.mark.parametrize("name", [JINJA, LEGACY, f"{ADDITIONAL}/default.jinja", TOKENIZER])
def test_a_file_larger_than_any_template_is_not_read(name, checkpoint):
    folder = checkpoint({name: said("a")})
    with (folder / name).open("r+b") as file:
        file.truncate(6 * 2**30)  # sparse
    with pytest.raises(InvalidInput, match=r"expected up to 1,000,000|larger than 10 MB"):
        read_template(LocalFolder(folder, "model"), "llava")


def test_a_template_in_json_is_bounded_as_one_in_a_file(checkpoint):
    with pytest.raises(InvalidInput, match="has 1,000,001 bytes, expected up to 1,000,000"):
        read_template(LocalFolder(checkpoint({LEGACY: "x" * 1_000_001}), "model"), "llava")


def test_the_number_of_named_templates_is_bounded(checkpoint):
    folder = checkpoint({f"{ADDITIONAL}/{number}.jinja": "x" for number in range(101)})
    with pytest.raises(InvalidInput, match="has 101 files, expected up to 100"):
        read_template(LocalFolder(folder, "model"), "llava")


def test_what_is_no_file_is_one_sentence(checkpoint):
    folder = checkpoint({})
    (folder / ADDITIONAL / "default.jinja").mkdir(parents=True)
    with pytest.raises(InvalidInput, match="not a regular file"):
        read_template(LocalFolder(folder, "model"), "llava")


OPTIONS = {
    PROCESSOR: ("p", "", None, {"default": "pd", "x": "px"}, {"x": "px"}),
    LEGACY: ("l", "", None, {"default": "ld"}, {"x": "lx"}),
    JINJA: ("j", ""),
    f"{ADDITIONAL}/default.jinja": ("d", ""),
    f"{ADDITIONAL}/x.jinja": ("x",),
    TOKENIZER: ("t", "", None, [], {"x": "tx"}, [{"name": "default", "template": "td"}]),
}


def resolved(folder):
    """The template's text by transformers' own code; None where there is none. Raises what it raises."""
    told, _ = ProcessorMixin.get_processor_dict(folder)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    if told.get("chat_template") is not None:
        return ProcessorMixin._resolve_chat_template(SimpleNamespace(chat_template=told["chat_template"]), None)
    return None if tokenizer.chat_template is None else tokenizer.get_chat_template()


def test_any_combination_of_places_is_resolved_as_transformers_does(without, tmp_path):
    outcomes, chance = set(), random.Random(0)
    alone = [{name: value} for name, values in OPTIONS.items() for value in values]
    drawn = [{name: chance.choice(all_) for name, all_ in OPTIONS.items() if chance.random() < 0.4} for _ in range(80)]
    for number, places in enumerate(alone + drawn):
        folder = put(shutil.copytree(without, tmp_path / str(number)), places)
        try:
            expected = resolved(folder)
        except ValueError:
            with pytest.raises(InvalidInput):
                read_template(LocalFolder(folder, "model"), "llava")
            outcomes.add("refused")
            continue
        assert read_template(LocalFolder(folder, "model"), "llava").text == expected, places
        outcomes.add(expected)
    assert outcomes >= {"refused", None, "", "p", "pd", "l", "ld", "j", "t", "td"}


@pytest.mark.parametrize("name", [name for name in STYLES if not STYLES[name].whole])
def test_what_is_known_of_a_familys_processor_is_what_the_library_says(name):
    """Which keep templates of their own, and which have one built in."""
    kind = PROCESSOR_MAPPING[type(pico_families.MODELS[name]().config)]
    if not issubclass(kind, ProcessorMixin):
        pytest.skip("its processor needs packages that are not here")
    parameter = inspect.signature(kind.__init__).parameters.get("chat_template")
    assert (parameter is None) == (name in TOKENIZERS_ALONE)
    assert parameter is None or (parameter.default is not None) == (name == "llama4")


def saved(name, folder, places):
    """A model of another family, its tokenizer for text alone, templates as `put` writes them."""
    pico_families.model(name).save_pretrained(folder)
    tokenizer = pico_families.tokenizer(name)
    template, tokenizer.chat_template = tokenizer.chat_template, None
    tokenizer.save_pretrained(folder)
    pico_families.IMAGE_PROCESSORS[name]().save_pretrained(folder)
    put(folder, {place: value or template for place, value in places.items()})
    return load_responder(str(folder)), template


@pytest.mark.parametrize(
    ("name", "place"), [("qwen2_vl", LEGACY), ("internvl", PROCESSOR), ("gemma3", JINJA), ("idefics3", LEGACY)]
)
def test_every_family_is_asked_with_its_processors_template(name, place, tmp_path):
    responder, template = saved(name, tmp_path, {place: None, TOKENIZER: TEXT_ONLY})
    assert (responder.template.file, responder.template.text) == (place, template)
    inputs, _ = responder.inputs(pico.images(1)[0], QUESTION, 1)
    written = responder.processor.tokenizer.decode(inputs["input_ids"][0])
    assert written.startswith("<|user|>")
    assert written.endswith(f"{QUESTION}<|assistant|>")


def test_a_template_for_text_alone_is_not_asked_about_images_in_any_family(tmp_path):
    responder, _ = saved("qwen2_vl", tmp_path, {TOKENIZER: TEXT_ONLY})
    with pytest.raises(InvalidInput, match=r"\(tokenizer_config\.json\) leaves the image out"):
        responder.inputs(pico.images(1)[0], QUESTION, 1)


def test_llama_4_has_the_template_that_is_built_into_its_processor(tmp_path):
    responder, _ = saved("llama4", tmp_path, {TOKENIZER: said("t")})
    kind = PROCESSOR_MAPPING[type(responder.model.config)]
    own = kind(responder.processor.image_processor, AutoTokenizer.from_pretrained(tmp_path), patch_size=8)
    assert responder.template.as_data() == {"origin": "transformers", "file": None, "name": None, "note": None}
    assert responder.template.text == own.chat_template


def test_phi_4s_processor_keeps_no_template_so_its_tokenizers_counts(without, tmp_path):
    folder = put(shutil.copytree(without, tmp_path / "m"), {LEGACY: said("l"), PROCESSOR: said("p"), TOKENIZER: "t"})
    assert read_template(LocalFolder(folder, "model"), "phi4_multimodal").text == "t"
