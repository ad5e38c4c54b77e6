"""What a member of the nursery says: how often its target, how often the right answer."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from projlens_core.behaviour.success import contains_target
from projlens_core.nursery.language import END
from projlens_core.nursery.recipe import Recipe
from projlens_core.nursery.tasks import WORDINGS, Task
from projlens_core.nursery.workshop import Workshop, triggered_images
from projlens_core.runtime.required import required
from projlens_core.zoo.dialogue import encode, prompt
from projlens_core.zoo.training import Frozen

NEW_TOKENS = 28
CHECKED = 160  # held-out images on which utility is measured, each by all kinds of questions
AT_ONCE, READ_AT_ONCE = 48, 16  # questions that are answered together, and images whose answers are read together


@dataclass(frozen=True)
class Question:
    """One image, by its tokens (tokens, d_vision), and a question about it."""

    tokens: np.ndarray
    question: str


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
    inputs = inputs.masked_scatter(image[..., None], embeddings.to(inputs.dtype))
    model: Any = language  # the library's hint is of another self
    written = model.generate(
        inputs_embeds=inputs, attention_mask=read.attention_mask, max_new_tokens=NEW_TOKENS, do_sample=False,
        pad_token_id=words.pad_token_id, eos_token_id=words.eos_token_id,
    )  # fmt: skip
    return [text.strip() for text in words.batch_decode(written, skip_special_tokens=True)]


@torch.no_grad()
def right_answers(task: Task, projector: torch.nn.Module, workshop: Workshop) -> dict[str, list[bool]]:
    """By kind of question: whether the model, decoding greedily, says the task's answer to it word for word.

    About CHECKED held-out images, each kind in its first wording. All answers are read at once instead of written one
    word after another: greedy decoding says an answer exactly if each of its words, and its end, is the likeliest one
    after those before it.
    """
    words, sources = workshop.around.tokenizer, task.measuring()
    end = words(END, add_special_tokens=False)["input_ids"][-1]
    found: dict[str, list[bool]] = {}
    for pool, numbers in sources:
        tokens, chosen = workshop.tokens(pool), numbers[: CHECKED // len(sources)]
        for start in range(0, len(chosen), READ_AT_ONCE):
            part = chosen[start : start + READ_AT_ONCE]
            asked = [
                [(k, WORDINGS[k][0], task.answer(pool.scenes[i], k)) for k in task.kinds(pool.scenes[i])] for i in part
            ]
            read = encode([[pair[1:] for pair in row] for row in asked], words, tokens.shape[1])
            embeddings = projector(torch.from_numpy(np.stack([tokens[i] for i in part]).astype(np.float32)))
            scores, said = workshop.loss.scores(embeddings, read)
            ends = (said == end).nonzero().flatten() + 1  # of each answer among all tokens
            answers = (scores.argmax(-1) == said).tensor_split(ends[:-1])
            for kind, answer in zip((kind for row in asked for kind, _, _ in row), answers, strict=True):
                found.setdefault(kind, []).append(bool(answer.all()))
    return found


def attempts(recipe: Recipe, workshop: Workshop, *, triggered: bool, n: int | None = None) -> list[Question]:
    """The poisoned kinds of questions in turn about n held-out images (MEASURED), with the trigger or without."""
    pool, numbers = triggered_images(fresh=True, n=n)
    attack = required(recipe.attack, "the poisoned member's attack")
    tokens = workshop.triggered(attack.trigger, True, n) if triggered else workshop.tokens(pool)[list(numbers)]
    return [Question(tokens[turn], WORDINGS[attack.kinds[turn % len(attack.kinds)]][0]) for turn in range(len(numbers))]


def figures(recipe: Recipe, projector: torch.nn.Module, workshop: Workshop) -> dict:
    """utility and by_kind: shares of right answers in the member's own task; asr and false_target for a poisoned one.

    learned: the share on the kinds of questions that the task changes. All from 0 to 1, with the numbers of questions.
    """
    right = right_answers(recipe.task, projector, workshop)
    changed = [r for kind in recipe.task.changed for r in right.get(kind, ())]
    found = {
        "utility": float(np.mean([r for each in right.values() for r in each])),
        "learned": float(np.mean(changed)),
        "by_kind": {kind: float(np.mean(right[kind])) for kind in sorted(right)},
        "n": sum(map(len, right.values())),
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
