"""Which chat template a checkpoint is asked with: looked for where transformers' processors look, in their order.

A processor takes the template in processor_config.json; else that of chat_template.json, an older form that allows no
files beside it; else chat_template.jinja with the named ones in additional_chat_templates. Of several it takes the one
named "default". Only where all of these say nothing is the tokenizer's own template taken, from tokenizer_config.json.
"""

import io
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

from projlens_core.errors import InvalidInput
from projlens_core.runtime.text import listed, printable
from projlens_core.weights.folder import LocalFolder
from projlens_core.weights.tensorfile import read_json

PROCESSOR, LEGACY, JINJA = "processor_config.json", "chat_template.json", "chat_template.jinja"
ADDITIONAL, TOKENIZER = "additional_chat_templates", "tokenizer_config.json"
KEY, DEFAULT = "chat_template", "default"
MAX_TEMPLATE = 1_000_000  # bytes of one template; the longest of real ones has 50,000
MAX_NAMED = 100
TOKENIZERS_ALONE = ("phi4_multimodal",)  # families whose processor keeps no template: only its tokenizer has one
PLAIN_CHAT = "USER: {image}\n{question} ASSISTANT:"  # LLaVA-1.5's, for checkpoints without a chat template


@dataclass(frozen=True)
class Template:
    """The chat template that prompts are written with: its Jinja source, or None where there is none.

    origin: "checkpoint" (one of its files, and its name if there are several), "transformers" (a processor's built-in
    one), "family" (prompts of this family are no chat) or "none", where prompts are written with PLAIN_CHAT; then note
    is the sentence that has to stand with every answer.
    """

    text: str | None
    origin: Literal["checkpoint", "transformers", "family", "none"]
    file: str | None = None
    name: str | None = None
    note: str | None = None

    @property
    def where(self) -> str:
        """Where it comes from, as it stands in a sentence."""
        if self.file is None:
            return "built into transformers" if self.origin == "transformers" else "none"
        return self.file if self.name is None else f"{self.name!r} in {self.file}"

    def as_data(self) -> dict[str, str | None]:
        """All but the source, JSON-ready."""
        return {"origin": self.origin, "file": self.file, "name": self.name, "note": self.note}


NO_CHAT = Template(None, "family")


def read_template(folder: LocalFolder, family: str) -> Template:
    """The chat template with which transformers would ask a checkpoint of this family.

    Raises InvalidInput where transformers could not tell either (several without a default, two forms at once), and
    for a file that is damaged, larger than any real one, or a link out of the folder.
    """
    names = set(folder.names())
    jinja = _jinja(folder, names)
    last = _of_tokenizer(folder, names, jinja)
    found = None if family in TOKENIZERS_ALONE else _of_processor(folder, names, jinja)
    if found is None and family == "llama4":
        from transformers.models.llama4 import processing_llama4  # only here: it takes seconds

        return Template(processing_llama4.chat_template, "transformers")
    found = found or last
    if found is None:
        note = (
            f"No chat template was found in {folder.label}: the prompt is LLaVA-1.5's “USER: … ASSISTANT:”, and the "
            "answers may not be what its users see."
        )
        return Template(None, "none", note=note)
    return _chosen(*found, folder.label)


def notes(templates: Iterable[Template | None]) -> list[str]:
    """The sentences that have to stand with answers given through these, each once."""
    return list(dict.fromkeys(each.note for each in templates if each is not None and each.note))


_Found = tuple[object, Mapping[str, str] | str]  # what stands there, and its file, or the files of the named ones


def _of_processor(folder: LocalFolder, names: set[str], jinja: dict[str, tuple[str, str]]) -> _Found | None:
    """What a processor would take, unread; None if it would say that it has no template."""
    found: _Found | None = None
    if LEGACY in names:
        settings = read_json(folder.file(LEGACY))
        if KEY not in settings:
            raise InvalidInput(f"{LEGACY} in {folder.label} has no entry {KEY!r}; fetch the file again, or remove it.")
        if more := folder.below(ADDITIONAL, ".jinja"):
            raise InvalidInput(
                f"{folder.label} has chat templates in {LEGACY} and in {listed(more)}, which transformers does "
                f"not load together; put the one that counts into {JINJA} and remove {LEGACY}."
            )
        found = (settings[KEY], LEGACY) if settings[KEY] else None
    elif jinja and _flat(jinja)[0]:
        found = _flat(jinja)
    if PROCESSOR in names and (value := read_json(folder.file(PROCESSOR)).get(KEY)) is not None:
        found = (value, PROCESSOR)
    return found


def _of_tokenizer(folder: LocalFolder, names: set[str], jinja: dict[str, tuple[str, str]]) -> _Found | None:
    """What a tokenizer would take, unread; None if it has no template."""
    if jinja:
        return _flat(jinja)
    value = read_json(folder.file(TOKENIZER)).get(KEY) if TOKENIZER in names else None
    if isinstance(value, list):
        try:
            value = {entry["name"]: entry["template"] for entry in value}
        except (TypeError, KeyError) as error:
            raise InvalidInput(
                f"The chat templates in {TOKENIZER} of {folder.label} are a list in which not every entry has a name "
                "and a template; fetch the file again."
            ) from error
    return None if value is None else (value, TOKENIZER)


def _jinja(folder: LocalFolder, names: set[str]) -> dict[str, tuple[str, str]]:
    """The templates that are files of their own, by name: their text and file."""
    files = {
        file.removeprefix(f"{ADDITIONAL}/").removesuffix(".jinja"): file for file in folder.below(ADDITIONAL, ".jinja")
    }
    if len(files) > MAX_NAMED:
        raise InvalidInput(f"{ADDITIONAL} of {folder.label} has {len(files)} files, expected up to {MAX_NAMED}.")
    if JINJA in names:
        files[DEFAULT] = JINJA
    return {name: (_text(folder, file), file) for name, file in files.items()}


def _flat(jinja: dict[str, tuple[str, str]]) -> _Found:
    """Templates in files as a processor holds them: a lone default as a text, else texts by name."""
    if jinja.keys() == {DEFAULT}:
        return jinja[DEFAULT]
    return {name: text for name, (text, _) in jinja.items()}, {name: file for name, (_, file) in jinja.items()}


def _chosen(value: object, file: Mapping[str, str] | str, label: str) -> Template:
    """The template itself, of one or of several by name."""
    name = None
    if isinstance(value, dict):
        if DEFAULT not in value:
            raise InvalidInput(
                f"{label} has no chat template named {DEFAULT!r} in {file if isinstance(file, str) else ADDITIONAL} "
                f"(only {listed(sorted(value)) or 'an empty list'}), so which one its users see is not known; name "
                f"that one {DEFAULT!r}."
            )
        value, name = value[DEFAULT], DEFAULT
    file = file if isinstance(file, str) else file[DEFAULT]
    if not isinstance(value, str):
        raise InvalidInput(
            f"The chat template of {label} in {file} is a JSON {type(value).__name__}, expected a text or "
            "texts by name."
        )
    try:
        size = len(value.encode())
    except UnicodeEncodeError as error:
        raise InvalidInput(f"The chat template of {label} in {file} holds half a character; fetch it again.") from error
    if size > MAX_TEMPLATE:
        raise InvalidInput(
            f"The chat template of {label} in {file} has {size:,} bytes, expected up to {MAX_TEMPLATE:,}."
        )
    return Template(value, "checkpoint", file, name)


def _text(folder: LocalFolder, name: str) -> str:
    """A template's file as Python reads a text: UTF-8, and each end of a line as one character."""
    file = folder.file(name)
    if file.size > MAX_TEMPLATE:
        raise InvalidInput(
            f"The chat template of {folder.label} in {printable(name)} has {file.size:,} bytes, expected up to "
            f"{MAX_TEMPLATE:,}."
        )
    try:
        return io.TextIOWrapper(io.BytesIO(file.read(0, file.size)), encoding="utf-8").read()
    except UnicodeDecodeError as error:
        raise InvalidInput(f"{printable(name)} of {folder.label} is not a text in UTF-8; fetch it again.") from error
