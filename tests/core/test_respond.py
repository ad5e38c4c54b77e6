import json
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForImageTextToText, AutoProcessor

from benchmarks.four import four_answers
from projlens_core.activations.model import load_vision
from projlens_core.behaviour.respond import load_responder
from projlens_core.errors import Cancelled, InvalidInput, Unsupported
from projlens_core.weights.projector import read_projector
from tests import pico

QUESTIONS = ["What is it?", "Which colour does the background have, and where does the thing stand?", "Why?"]

pytestmark = pytest.mark.usefixtures("own_folder")  # every test with a cache of this module's own


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return pico.checkpoint(tmp_path_factory.mktemp("respond") / "base")


@pytest.fixture(scope="module")
def suspect(base):
    return pico.suspect(base, base.parent / "suspect", strength=(6.0, 3.0)).folder


@pytest.fixture(scope="module")
def responder(base):
    return load_responder(str(base))


@pytest.fixture
def copy(tmp_path):
    return pico.checkpoint(tmp_path / "copy")


def chat(processor, question):
    content = [{"type": "image"}, {"type": "text", "text": question}]
    return processor.apply_chat_template([{"role": "user", "content": content}], add_generation_prompt=True)


def whole_model_answers(folder, images, questions, new_tokens=30):
    """Answers of the checkpoint as transformers alone gives them, one by one from pixels."""
    model, processor = AutoModelForImageTextToText.from_pretrained(folder), AutoProcessor.from_pretrained(folder)
    answers = []
    for image, question in zip(images, questions, strict=True):
        inputs = processor(images=[image], text=[chat(processor, question)], return_tensors="pt")
        new = model.generate(**inputs, max_new_tokens=new_tokens, do_sample=False)[0, inputs["input_ids"].shape[1] :]
        answers.append(processor.tokenizer.decode(new, skip_special_tokens=True).strip())
    return answers


@pytest.mark.support("behaviour", "exact", "llava")
def test_logits_under_a_swapped_projector_are_those_of_the_suspect_loaded_whole(responder, suspect):
    processor = AutoProcessor.from_pretrained(suspect)
    inputs = processor(images=pico.images(2), text=[chat(processor, "What is it?")] * 2, return_tensors="pt")
    with torch.no_grad():
        expected = AutoModelForImageTextToText.from_pretrained(suspect)(**inputs).logits
        before = responder.model(**inputs).logits
        with responder.projector(read_projector(suspect)):
            assert torch.equal(responder.model(**inputs).logits, expected)
        assert torch.equal(responder.model(**inputs).logits, before)
    assert not torch.equal(before, expected)


def test_answers_under_a_swapped_projector_are_those_of_the_suspect_loaded_whole(responder, base, suspect):
    images, questions = pico.images(6), QUESTIONS * 2
    with responder.projector(read_projector(suspect)):
        swapped = responder.answers(images, questions)
    assert swapped == whole_model_answers(suspect, images, questions)
    assert responder.answers(images, questions) == whole_model_answers(base, images, questions)
    assert swapped != responder.answers(images, questions)


def test_answers_do_not_depend_on_the_batch(responder):
    images, questions = pico.images(9, seed=3), QUESTIONS * 3
    alone = [responder.answers([i], [q])[0] for i, q in zip(images, questions, strict=True)]
    assert len(set(alone)) > 5  # or the test could not fail
    assert responder.answers(images, questions, batch_size=4) == alone
    assert responder.answers(images, questions, batch_size=9) == alone


def test_questions_about_the_same_image_are_answered_as_if_alone(responder, monkeypatch):
    read = []
    own = responder.embeddings
    monkeypatch.setattr(responder, "embeddings", lambda images: read.append(len(images)) or own(images))
    a, b = pico.images(2, seed=31)
    asked = [(a, QUESTIONS[0]), (b, QUESTIONS[0]), (a, QUESTIONS[1]), (a, QUESTIONS[2])]
    alone = [responder.answers([image], [question])[0] for image, question in asked]
    read.clear()
    assert responder.answers(*zip(*asked, strict=True)) == alone
    assert read == [2]


def test_more_answers_are_decoded_together_where_each_takes_little_memory(responder, monkeypatch):
    assert responder._together(150) == 128
    text = responder.model.config.text_config
    for name, value in {"num_hidden_layers": 32, "num_key_value_heads": 32, "head_dim": 128}.items():
        monkeypatch.setattr(text, name, value)
    assert responder._together(300) == 13  # 1 MiB a token in float32
    assert responder._together(4000) == 8


def test_an_answer_that_ends_early_is_the_same_beside_longer_ones(responder):
    """The end of text is moved to a token that some answers reach, since random weights hardly ever write </s>."""
    images = pico.images(8, seed=5)
    full = responder.answers(images, ["What?"] * 8, max_new_tokens=20)
    end = responder.processor.tokenizer.encode(full[0][8])[0]
    before, responder._eos = responder._eos, [end]
    try:
        alone = [responder.answers([image], ["What?"], max_new_tokens=20)[0] for image in images]
        assert responder.answers(images, ["What?"] * 8, max_new_tokens=20) == alone
    finally:
        responder._eos = before
    assert alone[0] == full[0][: full[0].index(full[0][8]) + 1].strip()
    assert len({len(answer) for answer in alone}) > 1


def test_four_answers_in_one_batch_are_those_of_each_model_alone(responder, base, suspect):
    clean, triggered = pico.images(2, seed=11)
    found = four_answers(responder, read_projector(base), read_projector(suspect), clean, triggered, "What is it?")
    asked = ([clean, triggered], ["What is it?"] * 2)
    assert [found.base_clean, found.base_triggered] == whole_model_answers(base, *asked)
    assert [found.suspect_clean, found.suspect_triggered] == whole_model_answers(suspect, *asked)


def test_what_was_not_asked_is_none(responder, base, suspect):
    image, weights = pico.images(1)[0], read_projector(base)
    only = four_answers(responder, weights, None, image, None, "What?", max_new_tokens=2)
    assert (only.base_triggered, only.suspect_clean, only.suspect_triggered) == (None, None, None)
    clean = four_answers(responder, weights, read_projector(suspect), image, None, "What?", max_new_tokens=2)
    assert clean.base_triggered is clean.suspect_triggered is None
    assert clean.base_clean == only.base_clean
    assert clean.suspect_clean is not None


def test_the_tower_runs_once_per_image_for_all_projectors(responder, base, suspect, monkeypatch):
    calls = []
    encode = responder.vision.encode
    monkeypatch.setattr(responder.vision, "encode", lambda images: calls.append(len(images)) or encode(images))
    four_answers(responder, read_projector(base), read_projector(suspect), *pico.images(2, seed=77), "What?")
    responder.answers(pico.images(2, seed=77), ["Where?"] * 2, max_new_tokens=1)
    assert calls == [2]


def test_the_whole_model_and_its_tower_alone_share_cached_tokens(responder, base):
    assert responder.vision.key == load_vision(str(base)).key


def test_the_old_projector_is_back_after_an_error(responder, suspect):
    own = responder.model.model.multi_modal_projector

    def cancel(stage, done, total):
        raise Cancelled("Stopped.")

    with pytest.raises(Cancelled), responder.projector(read_projector(suspect)):
        responder.answers(pico.images(1), ["What?"], progress=cancel)
    assert responder.model.model.multi_modal_projector is own


def test_a_run_can_be_cancelled_between_two_tokens(responder):
    heard = []

    def cancel(stage, done, total):
        heard.append((stage, done, total))
        if stage == "Writing answers" and done >= 6:
            raise Cancelled("Stopped.")

    with pytest.raises(Cancelled):
        responder.answers(pico.images(2), ["What?"] * 2, max_new_tokens=10, progress=cancel)
    assert heard[-1] == ("Writing answers", 6, 20)


def test_progress_ends_at_its_total(responder):
    heard = []
    responder.answers(pico.images(3), QUESTIONS, 4, batch_size=2, progress=lambda *step: heard.append(step))
    written = [step[1:] for step in heard if step[0] == "Writing answers"]
    assert written[-1] == (12, 12)
    assert written == sorted(written)


def test_threads_never_see_each_others_projector(responder, base, suspect):
    images = pico.images(3, seed=21)
    expected = {folder: whole_model_answers(folder, images, QUESTIONS, 8) for folder in (base, suspect)}
    start = threading.Barrier(4)

    def ask(folder):
        weights = read_projector(folder)
        start.wait()
        with responder.projector(weights):
            return folder, responder.answers(images, QUESTIONS, max_new_tokens=8)

    with ThreadPoolExecutor(4) as pool:
        for folder, found in pool.map(ask, [base, suspect] * 2):
            assert found == expected[folder]


def test_sampling_asked_for_by_the_checkpoint_is_not_done(base, copy):
    settings = {"do_sample": True, "temperature": 5.0, "repetition_penalty": 3.0, "eos_token_id": 2, "min_length": 50}
    (copy / "generation_config.json").write_text(json.dumps(settings))
    images = pico.images(3)
    assert load_responder(str(copy)).answers(images, QUESTIONS) == whole_model_answers(base, images, QUESTIONS)


def test_a_checkpoint_without_chat_template_is_asked_as_llava_1_5(copy):
    (copy / "chat_template.jinja").unlink()
    settings = json.loads((copy / "tokenizer_config.json").read_text())
    settings.pop("chat_template", None)
    (copy / "tokenizer_config.json").write_text(json.dumps(settings))
    responder = load_responder(str(copy))
    text = responder.processor.tokenizer.decode(responder.token_ids("What?", 2, 1))
    assert text == "USER: <image><image>\nWhat? ASSISTANT:"


def test_prompt_tokens_are_those_of_the_models_own_processor(responder):
    for question in QUESTIONS:
        text = chat(responder.processor, question)
        own = responder.processor(images=pico.images(1), text=[text], return_tensors="pt")["input_ids"][0]
        assert responder.token_ids(question, pico.TOKENS, 30) == own.tolist()


@pytest.mark.parametrize(
    ("question", "said"), [("  ", "empty"), ("See <image>?", "stands for the image"), ("why " * 300, "room for 482")]
)
def test_a_question_that_cannot_be_asked_is_one_sentence(responder, question, said):
    with pytest.raises(InvalidInput, match=said):
        responder.answers(pico.images(1), [question])


def test_a_projector_of_another_shape_is_one_sentence(responder, tmp_path):
    config = pico.default_config()
    config.vision_config.hidden_size = 64
    other = pico.checkpoint(tmp_path / "other", config=config)
    with pytest.raises(InvalidInput, match="maps 64 to 48, but base needs one from 32 to 48"):
        responder.projector(read_projector(other)).__enter__()


def test_missing_tensors_are_not_filled_with_random_numbers(copy):
    tensors = load_file(copy / "model.safetensors")
    name = "language_model.model.layers.1.input_layernorm.weight"
    del tensors[name]
    save_file(tensors, copy / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(InvalidInput, match=r"lacks .*layers\.1\.input_layernorm"):
        load_responder(str(copy))


@pytest.mark.parametrize(
    ("change", "kind", "said"),
    [
        (lambda c: c["text_config"].update(vocab_size=9_000_000), InvalidInput, "but its weights hold"),
        (lambda c: c["text_config"].update(num_hidden_layers=900), InvalidInput, "but its weights hold"),
        (lambda c: c["text_config"].update(model_type="nonsense"), InvalidInput, "does not describe"),
        (lambda c: c["text_config"].update(intermediate_size=95), InvalidInput, "cannot be loaded"),
        (lambda c: c.update(transformers_weights="other.safetensors"), Unsupported, "weight file of its own"),
        (lambda c: c.update(model_type="nonesuch"), Unsupported, "does not load"),
    ],
)
def test_a_config_that_does_not_fit_its_weights_is_one_sentence(copy, change, kind, said):
    config = json.loads((copy / "config.json").read_text())
    change(config)
    (copy / "config.json").write_text(json.dumps(config))
    with pytest.raises(kind, match=said) as caught:
        load_responder(str(copy))
    assert len(str(caught.value).splitlines()) == 1


def test_pickled_weights_are_not_loaded(copy):
    torch.save(load_file(copy / "model.safetensors"), copy / "pytorch_model.bin")
    (copy / "model.safetensors").unlink()
    with pytest.raises(Unsupported, match="pickle"):
        load_responder(str(copy))


def test_code_of_the_suspect_is_not_run(copy):
    (copy / "evil.py").write_text("raise SystemExit('ran')")
    for name in ("config.json", "processor_config.json", "tokenizer_config.json"):
        content = json.loads((copy / name).read_text())
        content["auto_map"] = dict.fromkeys(
            ["AutoConfig", "AutoModelForImageTextToText", "AutoProcessor", "AutoTokenizer"], "evil.E"
        )
        (copy / name).write_text(json.dumps(content))
    assert load_responder(str(copy)).answers(pico.images(1), ["What?"], max_new_tokens=2)


def test_half_precision_answers_under_any_projector(base, suspect, monkeypatch):
    """What a GPU computes in, here on the CPU; rounding may change what random weights say, so only that it runs."""
    monkeypatch.setattr("projlens_core.behaviour.respond.compute_dtype", lambda device: torch.bfloat16)
    half = load_responder(str(base))
    found = four_answers(half, read_projector(base), read_projector(suspect), *pico.images(2), "What?")
    assert half.model.dtype == torch.bfloat16
    assert len({found.base_clean, found.base_triggered, found.suspect_clean, found.suspect_triggered}) > 1
