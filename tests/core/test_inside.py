"""A look inside a prompt agrees with the whole model of transformers, gradients included, and leaves nothing behind."""

import pytest
import torch
from transformers import LlavaForConditionalGeneration

from projlens_core.behaviour.inside import look_inside
from projlens_core.behaviour.respond import load_responder
from projlens_core.behaviour.responder import GivenAnswer
from tests import pico

PROMPT = "What is it?"


@pytest.fixture(scope="module")
def folder(own_folder):
    return pico.checkpoint(own_folder / "base")


@pytest.fixture(scope="module")
def responder(folder):
    return load_responder(str(folder))


@pytest.fixture(scope="module")
def rows(responder):
    embeddings = responder.embeddings(pico.images(2))
    answers = [responder.answer_ids("a block"), responder.answer_ids("no")]
    return [GivenAnswer(PROMPT, answer, own) for answer, own in zip(answers, embeddings, strict=True)]


@pytest.fixture(scope="module")
def plain(folder):
    """The whole model as transformers loads it, nothing packed."""
    model = LlavaForConditionalGeneration.from_pretrained(folder, attn_implementation="eager")
    return model.eval().requires_grad_(False)


def expected(plain, responder, row):
    ids = [*responder.token_ids(PROMPT, len(row.embeddings), 1), *row.answer]
    tokens = torch.tensor([ids])
    embeds = plain.get_input_embeddings()(tokens).clone()
    embeds[tokens == plain.config.image_token_id] = row.embeddings
    seen = plain.model.language_model(inputs_embeds=embeds, output_attentions=True, output_hidden_states=True)
    return tokens[0], plain.lm_head(seen.last_hidden_state)[0], seen


@torch.no_grad()
def test_logits_places_hidden_states_and_attention_are_those_of_the_whole_model(responder, plain, rows):
    with look_inside(responder, rows, layers=[0, -1], attention=[0]) as inside:
        for i, row in enumerate(rows):
            ids, logits, seen = expected(plain, responder, row)
            count = len(row.answer)
            torch.testing.assert_close(inside.logits[i], logits[-count - 1 :], atol=2e-4, rtol=1e-3)
            assert inside.image[i].tolist() == (ids == plain.config.image_token_id).tolist()
            torch.testing.assert_close(inside.hidden[0][i], seen.hidden_states[1][0], atol=2e-4, rtol=1e-3)
            torch.testing.assert_close(inside.attention[0][i], seen.attentions[0][0], atol=2e-4, rtol=1e-3)
            chosen = logits[-count - 1 : -1].log_softmax(-1)[range(count), list(row.answer)]
            torch.testing.assert_close(inside.log_probabilities[i], chosen, atol=2e-4, rtol=1e-3)
            odds = chosen - torch.log1p(-chosen.exp())
            torch.testing.assert_close(inside.log_odds[i], odds, atol=1e-3, rtol=1e-3)


def test_gradients_reach_the_image_embeddings(responder, plain, rows):
    row = rows[0]
    mine, theirs = (row.embeddings.clone().requires_grad_() for _ in range(2))
    with look_inside(responder, [GivenAnswer(PROMPT, row.answer, mine)], gradient=True) as inside:
        inside.log_probabilities[0].sum().backward()
    _, logits, _ = expected(plain, responder, GivenAnswer(PROMPT, row.answer, theirs))
    count = len(row.answer)
    logits[-count - 1 : -1].log_softmax(-1)[range(count), list(row.answer)].sum().backward()
    assert float(theirs.grad.abs().max()) > 0
    torch.testing.assert_close(mine.grad, theirs.grad, atol=1e-5, rtol=1e-3)


def hooked(responder):
    return [len(module._forward_hooks) for module in responder.model.modules()]


def test_nothing_is_left_behind(responder, rows):
    before = responder.answers(pico.images(1), [PROMPT])
    hooks = hooked(responder)
    settings = responder.model.config.get_text_config()._attn_implementation
    with pytest.raises(RuntimeError, match="stop"), look_inside(responder, rows, layers=[0], attention=[0]):
        raise RuntimeError("stop")
    assert settings == responder.model.config.get_text_config()._attn_implementation
    assert hooked(responder) == hooks  # transformers leaves some of its own
    assert responder.answers(pico.images(1), [PROMPT]) == before
