"""Tokenizers of checkpoints that nobody vouches for: each text is read in a bounded child process first.

A tokenizer's tables run in native code, which can block or end the process for some texts and not for others. So a
tokenizer is loaded in a child (`runtime/child.py`) before it is loaded here, and what it is to encode, and each chat
that a template is to write, goes through the child first. What passed is remembered by content, also on the disk.
"""

from functools import cache
from pathlib import Path
from typing import Any

import jinja2
from transformers import AutoTokenizer, PreTrainedTokenizerBase

from projlens_core.activations.staging import TEXT, StagedFolder
from projlens_core.errors import as_invalid_input
from projlens_core.runtime.cache import content_key, store, stored
from projlens_core.runtime.child import Child
from projlens_core.sources import PREFIX, Source

CHILD = "projlens_core.activations.rehearsal"  # the module whose functions run in the child
PASSED = "passed"  # the cache of what a child has read without harm
MEMORY = 2**31  # bytes that a tokenizer may take; those with the largest vocabularies take a quarter
SECONDS = 60.0  # of processor time to load one and to read a text
ANSWER = 2**20  # bytes of what the child says of it
TEMPLATE_MEMORY, TEMPLATE_SECONDS, TEMPLATE_OUTPUT = 2**28, 10.0, 2**22


def load_tokenizer(source: Source, inner: str | None = None) -> PreTrainedTokenizerBase:
    """The tokenizer of a checkpoint folder, or of the folder `inner` in it; what it is asked is bounded.

    InvalidInput, in one sentence, where it cannot be loaded or is harmful.
    """
    stage = StagedFolder(source.folder, source.label, TEXT, inner)
    guard = None if source.spec.startswith(PREFIX) else _Guard(stage, source.label, inner)
    if guard is not None:
        guard.check(None)
    with as_invalid_input(f"The tokenizer of {source.label} cannot be loaded"):
        tokenizer = read_tokenizer(stage.path / (inner or ""))
    if guard is None:
        stage.close()
    else:
        kind: Any = type(tokenizer)
        tokenizer.__class__ = _guarded(kind)
        tokenizer.guard = guard
    return tokenizer


def read_tokenizer(folder: Path) -> PreTrainedTokenizerBase:
    """The tokenizer in a folder of ours; raises what the library raises."""
    return AutoTokenizer.from_pretrained(folder, trust_remote_code=False, local_files_only=True)


class _Guard:
    """Has a child do first what a tokenizer is asked."""

    def __init__(self, stage: StagedFolder, label: str, inner: str | None):
        self.label, self._stage, self._inner = label, stage, inner or ""
        self._reader = Child(
            f"{CHILD}:tokenize", what=f"The tokenizer of {label}", memory=MEMORY, seconds=SECONDS, output=ANSWER
        )
        self._writer = Child(
            f"{CHILD}:render",
            what=f"The chat template of {label}",
            memory=TEMPLATE_MEMORY,
            seconds=TEMPLATE_SECONDS,
            output=TEMPLATE_OUTPUT,
        )

    def check(self, text: Any) -> None:
        """InvalidInput if reading the text (a text, a list of them; None: loading alone) harms the child."""
        key = content_key(self._stage.key, self._inner, text)
        if stored(PASSED, key) is None:
            self._reader.ask({"folder": str(self._stage.path / self._inner), "text": text})
            store(PASSED, key, b"")

    def written(self, template: str, conversation: Any, variables: dict[str, Any]) -> str:
        """What the template makes of the conversation; jinja2's TemplateError or TypeError where it fails by itself."""
        answer = self._writer.ask({"template": template, "conversation": conversation, "variables": variables})
        if "failed" in answer:
            raise (TypeError if answer["failed"] == "TypeError" else jinja2.TemplateError)(str(answer["said"]))
        return str(answer["text"])


@cache
def _guarded(kind: Any) -> Any:
    """The same class of tokenizers, whose texts and templates are read by its guard first."""

    class Guarded(kind):
        guard: _Guard

        def _encode_plus(self, text: Any, text_pair: Any = None, **options: Any) -> Any:
            self.guard.check(text if text_pair is None else [text, text_pair])
            return super()._encode_plus(text, text_pair, **options)

        def tokenize(self, text: str, *arguments: Any, **options: Any) -> list[str]:
            self.guard.check(text)
            return super().tokenize(text, *arguments, **options)

        def apply_chat_template(
            self, conversation: Any, chat_template: str | None = None, tokenize: bool = True, **options: Any
        ) -> Any:
            if tokenize:
                raise NotImplementedError("a guarded tokenizer writes chats as texts alone")
            template = self.get_chat_template(chat_template)
            special = {name: str(token) for name, token in self.special_tokens_map.items()}
            return self.guard.written(template, conversation, special | options)

    Guarded.__name__ = Guarded.__qualname__ = kind.__name__  # which the library goes by
    return Guarded
