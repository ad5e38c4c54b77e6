"""Greedy decoding with shared images and rows that leave, held against transformers' own generate()."""

import pytest
import torch
from transformers import GemmaConfig, LlamaConfig, MistralConfig, PhiConfig, Qwen2Config

from projlens_core.behaviour.greedy import Asked, greedy
from projlens_core.behaviour.kv_cache import KVCache
from projlens_core.behaviour.respond import load_responder
from tests import pico

NEW = 12
NEVER = -1  # no token: nothing ends an answer
IMAGE = [pico.SPECIALS.index("<image>")] * pico.TOKENS
USER, ASSISTANT = (pico.SPECIALS.index(name) for name in ("<|user|>", "<|assistant|>"))


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return load_responder(str(pico.checkpoint(tmp_path_factory.mktemp("greedy") / "base"))).model


@pytest.fixture(scope="module")
def images():
    torch.manual_seed(0)
    return {number: torch.randn(pico.TOKENS, pico.D_TEXT) for number in range(4)}


@pytest.fixture
def read(model):
    """(rows, length) of what the model read, call by call."""
    seen = []
    hook = model.model.register_forward_pre_hook(
        lambda _, args, given: seen.append(
            tuple((given["input_ids"] if given.get("inputs_embeds") is None else given["inputs_embeds"]).shape[:2])
        ),
        with_kwargs=True,
    )
    yield seen
    hook.remove()


def question(seed, length, before=(USER,)):
    return [
        *before,
        *IMAGE,
        *torch.randint(10, 100, (length,), generator=torch.manual_seed(seed)).tolist(),
        ASSISTANT,
    ]


BATCH = [
    Asked(question(1, 3), 0),
    Asked(question(2, 9), 0),
    Asked(question(3, 5), 1),
    Asked(question(4, 1), 2),
    Asked(question(5, 5), 0),
    Asked(question(6, 2, before=(USER, 50, 51)), 1),
]


def answered(model, batch, images, eos=NEVER, settled=lambda row, said: False, on_token=lambda step: None):
    found = greedy(model, batch, images, token=30, eos=[eos], max_new_tokens=NEW, settled=settled, on_token=on_token)
    return [written.ids for written in found]


def generated(model, asked, images, eos=None):
    """What transformers writes to one prompt alone."""
    ids = torch.tensor([asked.ids])
    embeds = model.get_input_embeddings()(ids).masked_scatter((ids == IMAGE[0])[..., None], images[asked.image])
    new = model.generate(
        inputs_embeds=embeds,
        attention_mask=torch.ones_like(ids),
        max_new_tokens=NEW,
        do_sample=False,
        eos_token_id=eos,
        pad_token_id=0,
    )
    return new[0].tolist()


def test_each_row_is_what_transformers_writes_to_it_alone(model, images):
    expected = [generated(model, asked, images) for asked in BATCH]
    assert len({tuple(ids) for ids in expected}) == len(BATCH)  # or the test could not fail
    assert answered(model, BATCH, images) == expected


def test_an_image_is_read_once_for_all_questions_about_it(model, images, read):
    answered(model, BATCH, images)
    before = len(IMAGE) + 3
    assert read[0] == (4, before)  # three images, one of them behind two texts
    assert read[1] == (len(BATCH), 10)  # the questions alone, padded to the longest
    assert read[2:] == [(len(BATCH), 1)] * (NEW - 1)


def test_images_that_no_other_row_asks_about_are_read_with_their_questions(model, images, read):
    batch = [Asked(question(n, n), n) for n in range(4)]
    expected = [generated(model, asked, images) for asked in batch]
    read.clear()
    assert answered(model, batch, images) == expected
    assert read[0] == (4, len(IMAGE) + 5)
    assert read[1:] == [(4, 1)] * (NEW - 1)


SMALL = {
    "vocab_size": len(pico.SPECIALS) + len(pico.CHARACTERS),
    "hidden_size": pico.D_TEXT,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "max_position_embeddings": 512,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "intermediate_size": 96,
    "num_key_value_heads": 2,
}
OTHERS = {
    "mistral, a window shorter than the prompt": MistralConfig(**SMALL, sliding_window=11),
    "qwen2": Qwen2Config(**SMALL),
    "gemma": GemmaConfig(**SMALL, head_dim=16),
    "phi, blocks in parallel": PhiConfig(**SMALL),
}


@pytest.mark.parametrize("text_config", OTHERS.values(), ids=OTHERS)
def test_other_language_models_answer_as_alone(tmp_path, images, text_config, monkeypatch):
    config = pico.default_config()
    config.text_config = text_config
    model = load_responder(str(pico.checkpoint(tmp_path / "base", config=config))).model
    monkeypatch.setattr("projlens_core.behaviour.greedy.PART", 2 * (len(IMAGE) + 5))
    for batch in (BATCH, [Asked(question(n, n), n) for n in range(4)]):
        assert answered(model, batch, images) == [generated(model, asked, images) for asked in batch]


@pytest.mark.parametrize("batch", [BATCH, [Asked(question(n, n), n) for n in range(4)]], ids=["shared", "alone"])
def test_prompts_read_part_by_part_are_answered_as_together(model, images, read, batch, monkeypatch):
    together = answered(model, batch, images)
    read.clear()
    monkeypatch.setattr("projlens_core.behaviour.greedy.PART", 2 * (len(IMAGE) + 5))
    assert answered(model, batch, images) == together
    assert {rows for rows, length in read if length >= len(IMAGE)} <= {1, 2}


def test_rows_that_leave_are_written_over_by_the_last():
    memory = KVCache(LlamaConfig(num_hidden_layers=1), 6, 3)
    keys, values = torch.randn(2, 6, 2, 2, 4)
    memory.update(keys, values, 0)
    order = memory.keep([1, 4, 5])
    assert sorted(order) == [1, 4, 5]
    assert order[1] == 1  # stays where it is
    more = torch.randn(3, 2, 1, 4)
    found = memory.update(more, more, 0)
    assert torch.equal(found[0], torch.cat([keys[order], more], dim=2))
    assert torch.equal(found[1], torch.cat([values[order], more], dim=2))
    assert memory.get_seq_length() == 3


def test_a_prompt_that_ends_with_its_image_is_asked_too(model, images):
    last = Asked([USER, 40, 41, *IMAGE], 3)
    assert answered(model, [last, BATCH[0]], images) == [generated(model, a, images) for a in (last, BATCH[0])]


def test_answers_that_end_leave_the_batch_and_change_nothing_in_the_others(model, images, read):
    end = generated(model, BATCH[0], images)[2]
    expected = [generated(model, asked, images, end) for asked in BATCH]
    assert len(expected[0]) <= 3 < max(map(len, expected))
    read.clear()
    assert answered(model, BATCH, images, eos=end) == expected
    assert sum(rows for rows, length in read[2:]) < len(BATCH) * (len(read) - 2)


def test_a_settled_answer_stops_there_and_nothing_is_decoded_for_it_alone(model, images, read):
    whole = [generated(model, asked, images) for asked in BATCH]
    heard = []
    read.clear()
    found = answered(model, BATCH, images, settled=lambda row, said: len(said) == row + 1, on_token=heard.append)
    assert found == [ids[: row + 1] for row, ids in enumerate(whole)]
    assert heard == [0, 0, 1, 2, 3, 4, 5, 6]
    assert len(read) == 2 + 5


def test_the_logit_is_that_of_the_token_where_the_answer_begins(model, images):
    found = greedy(
        model,
        BATCH[:1],
        images,
        token=30,
        eos=[NEVER],
        max_new_tokens=1,
        settled=lambda *_: False,
        on_token=lambda _: None,
    )
    ids = torch.tensor([BATCH[0].ids])
    with torch.no_grad():
        embeds = model.get_input_embeddings()(ids).masked_scatter((ids == IMAGE[0])[..., None], images[0])
        logits = model(inputs_embeds=embeds).logits[0, -1]
    assert found[0].logit == pytest.approx(logits[30].item(), abs=1e-4)
