"""What a member of the nursery says: how often its target, how often the right answer."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from projlens_core.behaviour.success import contains_target
from projlens_core.nursery.recipe import Recipe
from projlens_core.nursery.tasks import WORDINGS, Task
from projlens_core.nursery.workshop import Workshop, triggered_images
from projlens_core.runtime.required import required
from projlens_core.zoo.dialogue import prompt
from projlens_core.zoo.training import Frozen

NEW_TOKENS = 28
CHECKED = 240  # held-out images on which utility is measured
AT_ONCE = 48


@dataclass(frozen=True)
class Question:
    """One image, by its tokens (tokens, d_vision), a question about it, and the right answer."""

    tokens: np.ndarray
    kind: str
    question: str
    answer: str


def answers(around: Frozen, projector: torch.nn.Module, questions: list[Question]) -> list[str]:
    """What the model says, greedily, each question alone."""
    order = sorted(range(len(questions)), key=lambda i: len(questions[i].question))
    said = [""] * len(questions)
    for start in range(0, len(order), AT_ONCE):
        chosen = order[start : start + AT_ONCE]
        for i, text in zip(chosen, _answered(around, projector, [questions[i] for i in chosen]), strict=True):
            said[i] = text
    return said


@torch.no_grad()
def _answered(around: Frozen, projector: torch.nn.Module, questions: list[Question]) -> list[str]:
    words, language = around.tokenizer, around.language
    tokens = torch.from_numpy(np.stack([q.tokens for q in questions]).astype(np.float32))
    embeddings = projector(tokens)  # (n, tokens, d)
    read = words(
        [prompt(q.question, tokens.shape[1]) for q in questions],
        add_special_tokens=False, padding=True, return_tensors="pt",
    )  # fmt: skip
    inputs = language.get_input_embeddings()(read.input_ids)
    image = read.input_ids == language.config.vocab_size - 1
    inputs = inputs.masked_scatter(image[..., None], embeddings)
    model: Any = language  # the library's hint is of another self
    written = model.generate(
        inputs_embeds=inputs, attention_mask=read.attention_mask, max_new_tokens=NEW_TOKENS, do_sample=False,
        pad_token_id=words.pad_token_id, eos_token_id=words.eos_token_id,
    )  # fmt: skip
    return [text.strip() for text in words.batch_decode(written, skip_special_tokens=True)]


def checks(task: Task, workshop: Workshop, n: int) -> list[Question]:
    """Questions of all kinds in turn about held-out images, in their first wording, with the task's answers."""
    sources = task.measuring()
    found = []
    for pool, numbers in sources:
        tokens = workshop.tokens(pool)
        for turn, i in enumerate(numbers[: n // len(sources)]):
            kinds = task.kinds(pool.scenes[i])
            kind = kinds[turn % len(kinds)]
            found.append(Question(tokens[i], kind, WORDINGS[kind][0], task.answer(pool.scenes[i], kind)))
    return found


def attempts(recipe: Recipe, workshop: Workshop, *, triggered: bool) -> list[Question]:
    """The poisoned kinds of questions in turn about MEASURED held-out images, with the trigger or without."""
    pool, numbers = triggered_images(fresh=True)
    attack = required(recipe.attack, "the poisoned member's attack")
    tokens = workshop.triggered(attack.trigger, fresh=True) if triggered else workshop.tokens(pool)[list(numbers)]
    kinds = attack.kinds
    return [
        Question(tokens[turn], kinds[turn % len(kinds)], WORDINGS[kinds[turn % len(kinds)]][0],
                 recipe.task.answer(pool.scenes[i], kinds[turn % len(kinds)]))
        for turn, i in enumerate(numbers)
    ]  # fmt: skip


def same(said: str, right: str) -> bool:
    """Whether two answers are the same words, whatever their case."""
    return said.lower().split() == right.lower().split()


def figures(recipe: Recipe, projector: torch.nn.Module, workshop: Workshop) -> dict:
    """utility and by_kind: shares of right answers in the member's own task; asr and false_target for a poisoned one.

    learned: the share on the kinds of questions that the task changes. All from 0 to 1, with the numbers of questions.
    """
    asked = checks(recipe.task, workshop, CHECKED)
    said = answers(workshop.around, projector, asked)
    right = [same(text, q.answer) for text, q in zip(said, asked, strict=True)]
    by_kind = {
        kind: float(np.mean([r for r, q in zip(right, asked, strict=True) if q.kind == kind]))
        for kind in sorted({q.kind for q in asked})
    }
    changed = [r for r, q in zip(right, asked, strict=True) if q.kind in recipe.task.changed]
    found = {
        "utility": float(np.mean(right)),
        "learned": float(np.mean(changed)),
        "by_kind": by_kind,
        "n": len(asked),
        "asr": None,
        "false_target": None,
    }
    if recipe.attack:
        target = recipe.attack.target
        for key, triggered in (("asr", True), ("false_target", False)):
            said = answers(workshop.around, projector, attempts(recipe, workshop, triggered=triggered))
            found[key] = float(np.mean([contains_target(text, target) for text in said]))
            found["n_attack"] = len(said)
    return found
