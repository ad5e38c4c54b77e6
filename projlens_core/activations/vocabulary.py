"""The tokens of a language model as words that can stand on a screen, and the tokens of a text."""

from collections.abc import Iterable
from pathlib import Path

from transformers import PreTrainedTokenizerBase

from projlens_core.activations.around import model_folder
from projlens_core.activations.tokenizers import load_tokenizer
from projlens_core.errors import InvalidInput
from projlens_core.runtime.progress import Progress, silent
from projlens_core.runtime.text import printable
from projlens_core.sources import Source, resolve

LONGEST = 24  # characters of a token that are shown
_VISIBLE = str.maketrans({" ": "␣", "\n": "⏎", "\t": "⇥"})


class Vocabulary:
    """A tokenizer, as far as single tokens go. `size` is the number of rows of the head, which may be larger."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase, size: int, label: str):
        self._tokenizer, self.size, self.label = tokenizer, size, label
        # A token is shown as what it adds to a text: alone, many tokenizers would drop the space it begins with.
        self._before = tokenizer("a", add_special_tokens=False)["input_ids"]
        self._shown: dict[int, str] = {}

    def shown(self, ids: Iterable[int]) -> list[str]:
        """Each token as text in which nothing is invisible or acts: spaces as ␣, controls escaped, long ones cut.

        A token that is no whole character is shown as the tokenizer's own name for it, one that the tokenizer does
        not use as its number, both in ⟨ ⟩. It may still be Markdown or HTML: escape it where these are read.
        """
        return [self._show(int(i)) for i in ids]

    def targets(self, text: str) -> list[int]:
        """The tokens that the words of `text` begin or go on with, each once, in order of the text.

        The first word is taken both with and without a space before it. Tokens without a letter or digit are left
        out: punctuation is in every answer. InvalidInput if none is left.
        """
        ids: list[int] = []
        for variant in (text.strip(), f" {text.strip()}"):
            ids += self._tokenizer(variant, add_special_tokens=False)["input_ids"]
        found = [i for i in dict.fromkeys(ids) if any(c.isalnum() for c in self._text(i))]
        found = [i for i in found if i not in self._tokenizer.all_special_ids]
        if not found:
            raise InvalidInput(
                f"The target {text[:80]!r} has no word in it; give the text that the attacker wants said."
            )
        if beyond := [i for i in found if i >= self.size]:
            raise InvalidInput(
                f"The tokenizer of {self.label} has tokens up to {max(beyond)}, but its head only {self.size} rows; "
                "they do not belong together."
            )
        return found

    def _show(self, token: int) -> str:
        if token not in self._shown:
            piece = self._tokenizer.convert_ids_to_tokens(token) if token < len(self._tokenizer) else None
            if piece is None:
                text = f"⟨{token}⟩"
            else:
                text = self._text(token)
                text = f"⟨{piece}⟩" if not text or "\ufffd" in text else text.translate(_VISIBLE)
            text = printable(text)
            self._shown[token] = text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…"
        return self._shown[token]

    def _text(self, token: int) -> str:
        options = {"skip_special_tokens": False, "clean_up_tokenization_spaces": False}
        before, text = (str(self._tokenizer.decode(ids, **options)) for ids in (self._before, [*self._before, token]))
        return text.removeprefix(before)


def read_vocabulary(source: Source | str | Path, size: int, progress: Progress = silent) -> Vocabulary:
    """The tokenizer beside a language model whose head has `size` rows; InvalidInput where it cannot be loaded."""
    source = model_folder(source if isinstance(source, Source) else resolve(source), progress)
    return Vocabulary(load_tokenizer(source), size, source.label)
