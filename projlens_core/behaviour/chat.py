"""A question about one image as a chat, written by the checkpoint's own template."""

from typing import Any

from transformers import PreTrainedTokenizerBase

from projlens_core.behaviour.templates import PLAIN_CHAT, Template
from projlens_core.errors import InvalidInput, as_invalid_input


def chat(
    question: str,
    marker: str,
    tokenizer: PreTrainedTokenizerBase,
    template: Template,
    label: str,
    *,
    one_text: bool = False,
) -> str:
    """The question about one image as the template writes it, in the library's sandbox.

    one_text: whether a message may also be one text with the marker in it, as Phi-4's templates have it. InvalidInput
    for a template that fails, or that leaves the image out as templates for text alone do.
    """
    if template.text is None:
        return PLAIN_CHAT.format(image=marker, question=question)
    parts = [{"type": "image"}, {"type": "text", "text": question}]
    with as_invalid_input(f"The chat template of {label} ({template.where}) fails"):
        try:
            text, in_parts = _written(parts, tokenizer, template.text), True
        except TypeError:  # it joins texts
            text, in_parts = _written(f"{marker}{question}", tokenizer, template.text), False
    if marker not in text or not (in_parts or one_text):
        raise InvalidInput(
            f"The chat template of {label} ({template.where}) leaves the image out, so what its users ask about an "
            "image is not known; replace it by the one that the model was trained with."
        )
    return text


def _written(content: list[dict[str, str]] | str, tokenizer: PreTrainedTokenizerBase, template: str) -> str:
    conversation: Any = [{"role": "user", "content": content}]  # content of parts, which the library's hint leaves out
    written: Any = tokenizer.apply_chat_template(
        conversation, chat_template=template, add_generation_prompt=True, tokenize=False
    )
    return written  # a text, as nothing is tokenised


def check_question(question: str, *markers: str) -> None:
    """InvalidInput for a question that is empty or holds a text that stands for the image."""
    if not question.strip():
        raise InvalidInput("The question is empty; ask something about the image.")
    if taken := next((marker for marker in markers if marker in question), None):
        raise InvalidInput(f"The question holds {taken}, which stands for the image itself; leave it out.")


def check_placed(found: int, wanted: int, label: str) -> None:
    """InvalidInput unless a prompt has as many places for image embeddings as the image has embeddings."""
    if found != wanted:
        raise InvalidInput(
            f"The chat template or tokenizer of {label} does not put the image into the prompt once; "
            f"found {found} places for {wanted} image embeddings."
        )
