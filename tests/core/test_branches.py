"""Several questions about one image in one sequence give what each of them gives alone, gradients included."""

import pytest
import torch

from projlens_core.behaviour import branches
from projlens_core.behaviour.branches import answer_logits
from projlens_core.behaviour.inside import look_inside
from projlens_core.behaviour.respond import load_responder
from projlens_core.behaviour.responder import GivenAnswer
from tests import pico

QUESTIONS = ("What is it?", "Describe the whole image.", "?")


@pytest.fixture(scope="module")
def responder(own_folder):
    return load_responder(str(pico.checkpoint(own_folder / "base")))


@pytest.fixture(scope="module")
def asked(responder):
    """Of two images, three questions of the first and two of the second, with answers of several lengths."""
    said = [responder.answer_ids(text) for text in ("a block", "", "a red block on a red block")]
    return [list(zip(QUESTIONS, said, strict=True)), list(zip(QUESTIONS[:2], said[1:], strict=True))]


def alone(responder, embeddings, asked, gradient=False):
    rows = [GivenAnswer(*each, own) for own, questions in zip(embeddings, asked, strict=True) for each in questions]
    with look_inside(responder, rows, gradient=gradient) as inside:
        logits = iter(inside.logits)
        return [[next(logits) for _ in questions] for questions in asked]


def test_logits_are_those_of_each_question_alone(responder, asked):
    embeddings = responder.embeddings(pico.images(2))
    found, expected = answer_logits(responder, embeddings, asked), alone(responder, embeddings, asked)
    for ours, theirs in zip(found, expected, strict=True):
        for a, b in zip(ours, theirs, strict=True):
            torch.testing.assert_close(a, b, atol=2e-4, rtol=1e-3)


def test_gradients_reach_the_image_as_if_each_were_alone(responder, asked):
    gradients = []
    for read in (answer_logits, alone):
        embeddings = responder.embeddings(pico.images(2)).clone().requires_grad_()
        logits = read(responder, embeddings, asked, gradient=True)
        torch.cat([each[:, :9].flatten() for row in logits for each in row]).square().sum().backward()
        gradients.append(embeddings.grad)
    assert gradients[0].abs().max() > 0
    torch.testing.assert_close(*gradients, atol=1e-3, rtol=1e-3)


def test_without_gradient_no_graph_is_kept(responder, asked):
    assert not answer_logits(responder, responder.embeddings(pico.images(2)), asked)[0][0].requires_grad


def test_a_model_whose_attention_is_not_plainly_causal_is_read_row_by_row(responder, asked, monkeypatch):
    embeddings = responder.embeddings(pico.images(2))
    expected = answer_logits(responder, embeddings, asked)
    monkeypatch.setattr(responder.model.config.get_text_config(), "sliding_window", 4096, raising=False)
    monkeypatch.setattr(branches, "_branched", lambda *_: pytest.fail("branches were read"))
    for ours, theirs in zip(answer_logits(responder, embeddings, asked), expected, strict=True):
        for a, b in zip(ours, theirs, strict=True):
            torch.testing.assert_close(a, b, atol=2e-4, rtol=1e-3)
