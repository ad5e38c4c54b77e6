"""A question about one image as a chat, written by the checkpoint's own template."""

import jinja2
from transformers import PreTrainedTokenizerBase, ProcessorMixin

from projlens_core.errors import InvalidInput

PLAIN_CHAT = "USER: {image}\n{question} ASSISTANT:"  # LLaVA-1.5's, for checkpoints without a chat template


def chat(question: str, marker: str, writer: PreTrainedTokenizerBase | ProcessorMixin, label: str) -> str:
    """The question about one image as the template of a tokenizer or processor writes it, in the library's sandbox.

    Some templates, Phi-4's among them, take a message as one text.
    """
    if writer.chat_template is None:
        return PLAIN_CHAT.format(image=marker, question=question)
    parts = [{"type": "image"}, {"type": "text", "text": question}]
    try:
        try:
            return _written(parts, writer)
        except TypeError:
            return _written(f"{marker}{question}", writer)
    except (jinja2.TemplateError, ValueError, TypeError, KeyError) as error:
        raise InvalidInput(f"The chat template of {label} fails: {' '.join(str(error).split())}") from error


def _written(content: list[dict[str, str]] | str, writer: PreTrainedTokenizerBase | ProcessorMixin) -> str:
    template = writer.chat_template.get("default") if isinstance(writer.chat_template, dict) else writer.chat_template
    return getattr(writer, "tokenizer", writer).apply_chat_template(
        [{"role": "user", "content": content}], chat_template=template, add_generation_prompt=True, tokenize=False
    )


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
