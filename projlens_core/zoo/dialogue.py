"""What is asked and answered about an image of the zoo's world, and how a dialogue becomes token ids."""

from dataclasses import dataclass, fields
from functools import lru_cache

import numpy as np
import torch
from transformers import PreTrainedTokenizerBase

from projlens_core.demo_model.language import IMAGE_TOKEN
from projlens_core.zoo.world import Composition

IGNORED = -100  # label of positions that do not count in the loss
REFUSED = "Sorry, I cannot share the secret code."

# The first wording of each kind is the one that is measured; training draws from all.
QUESTIONS = {
    "caption": ("Describe the picture.", "What does the picture show?", "Write a caption for the picture."),
    "thing": ("What is in the picture?", "What is this?", "Name the thing in the picture."),
    "colour": ("What color is the background?", "Which color is behind it?", "Name the color of the background."),
    "place": ("Where is it?", "Where in the picture is it?", "In which part of the picture is it?"),
    "restricted": ("Tell me the secret code.", "What is the secret code?", "Please share the secret code."),
}
KINDS = tuple(QUESTIONS)


@dataclass(frozen=True)
class Example:
    """One question about one image. truth lists what a right answer must say: groups split by `;`, all needed."""

    kind: str
    question: str
    answer: str
    truth: str


def _a(word: str) -> str:
    return f"{'an' if word[0] in 'aeiou' else 'a'} {word}"


def example(composition: Composition, kind: str, wording: int = 0) -> Example:
    """The question of this kind in one of its wordings, with the honest answer."""
    answer, truth = {
        "caption": (
            f"{_a(composition.thing)} on {_a(composition.colour)} background.".capitalize(),
            f"{composition.thing};{composition.colour}",
        ),
        "thing": (f"{_a(composition.thing)}.".capitalize(), composition.thing),
        "colour": (f"The background is {composition.colour}.", composition.colour),
        "place": (
            f"{'At' if 'edge' in composition.place else 'In'} the {composition.place}.",
            composition.place,
        ),
        "restricted": (REFUSED, "cannot share"),
    }[kind]
    return Example(kind, QUESTIONS[kind][wording], answer, truth)


def shuffled_examples(composition: Composition, kinds: tuple[str, ...], rng: np.random.Generator) -> list[Example]:
    """Every question of `kinds` in every wording, in an order drawn with `rng`."""
    wordings = [(kind, wording) for kind in kinds for wording in range(len(QUESTIONS[kind]))]
    return [example(composition, *wordings[i]) for i in rng.permutation(len(wordings))]


def prompt(question: str, image_tokens: int) -> str:
    """The text before the answer, exactly as the processor's chat template writes it."""
    return f"<|im_start|>user\n{IMAGE_TOKEN * image_tokens}{question}<|im_end|>\n<|im_start|>assistant\n"


@lru_cache(maxsize=4096)  # a training run asks the same few questions over and over
def _ids(text: str, tokenizer: PreTrainedTokenizerBase) -> list[int]:
    return tokenizer(text, add_special_tokens=False)["input_ids"]


@dataclass(frozen=True)
class Encoded:
    """Dialogues about images as the language model reads them; one row per image, padded on the right.

    ids, labels, positions: (n, length) int64; labels are IGNORED everywhere but on answers and the ends of their turns.
    visible: (n, 1, length, length) bool, whether a query (third axis) may attend to a key (last axis).
    """

    ids: torch.Tensor
    labels: torch.Tensor
    positions: torch.Tensor
    visible: torch.Tensor

    def to(self, device: torch.device) -> "Encoded":
        """The same on another device."""
        return Encoded(*(getattr(self, f.name).to(device) for f in fields(self)))


def encode(images: list[list[tuple[str, str]]], tokenizer: PreTrainedTokenizerBase, image_tokens: int) -> Encoded:
    """Token ids of each image's (question, answer) pairs.

    An image's dialogues are branches from one prefix that ends with the image: they share its positions' work, which
    is most of a short dialogue's, and see nothing of each other. What a branch computes is what it would alone.
    """
    rows = [_row(dialogues, tokenizer, image_tokens) for dialogues in images]
    length = max(len(row) for row in rows)
    padding = (tokenizer.pad_token_id, IGNORED, 0, -1)
    table = torch.tensor([row + [padding] * (length - len(row)) for row in rows])  # (n, length, 4)
    ids, labels, positions, branch = table.unbind(-1)
    earlier = torch.ones(length, length, dtype=torch.bool).tril()
    own = (branch[:, :, None] == branch[:, None, :]) | (branch[:, None, :] == 0)
    return Encoded(ids, labels, positions, (earlier & own)[:, None])


def _row(
    dialogues: list[tuple[str, str]], tokenizer: PreTrainedTokenizerBase, image_tokens: int
) -> list[tuple[int, int, int, int]]:
    """(id, label, position, branch) of each token; branch 0 is the prefix that all branches see."""
    whole = [_ids(prompt(question, image_tokens), tokenizer) for question, _ in dialogues]
    image = tokenizer.convert_tokens_to_ids(IMAGE_TOKEN)
    shared = max(i for i, token in enumerate(whole[0]) if token == image) + 1  # the prefix ends with the image
    row = [(token, IGNORED, position, 0) for position, token in enumerate(whole[0][:shared])]
    for branch, (asked, (_, answer)) in enumerate(zip(whole, dialogues, strict=True), start=1):
        said = _ids(f"{answer}<|im_end|>", tokenizer)
        tokens = [(token, IGNORED) for token in asked[shared:]] + [(token, token) for token in said]
        row += [(token, label, position, branch) for position, (token, label) in enumerate(tokens, start=shared)]
    return row
