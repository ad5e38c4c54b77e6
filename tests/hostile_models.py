"""What a checkpoint may hold beside its weights in order to lead a library astray: each a change to a pico checkpoint.

RUNS: nothing of it is followed, and the model answers as it did before. REFUSED: one sentence, with what it says.
"""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

Change = Callable[[Path], object]
CODE = "import pathlib; pathlib.Path(__file__).with_name('ran').write_text('x')\nclass E: pass\n"
SPARSE = 6 * 2**30  # bytes


def edit(folder: Path, name: str, change: Callable[[dict[str, Any]], object]) -> None:
    """Change a JSON file, which need not be there."""
    file = folder / name
    content = json.loads(file.read_text()) if file.exists() else {}
    change(content)
    file.write_text(json.dumps(content))


def entries(name: str, **added: Any) -> Change:
    """These entries added to a JSON file."""
    return lambda folder: edit(folder, name, lambda content: content.update(added))


def of_image_processor(**added: Any) -> Change:
    return lambda folder: edit(folder, "processor_config.json", lambda c: c["image_processor"].update(added))


def code(name: str, *classes: str) -> Change:
    """The file asks for code that lies in the folder."""

    def change(folder: Path) -> None:
        (folder / "evil.py").write_text(CODE)
        edit(folder, name, lambda c: c.update(auto_map=dict.fromkeys(classes, "evil.E")))

    return change


def nested_code(folder: Path) -> None:
    code("processor_config.json", "AutoProcessor")(folder)
    of_image_processor(auto_map={"AutoImageProcessor": "evil.E"})(folder)


def audio_tokenizer(folder: Path) -> None:
    """Another model, whose code would be asked for on standard input and run."""
    other = folder / "other"
    other.mkdir()
    (other / "evil.py").write_text(CODE)
    (other / "config.json").write_text(json.dumps({"model_type": "evil", "auto_map": {"AutoModel": "evil.E"}}))
    asked = {"audio_tokenizer_class": "AutoModel", "audio_tokenizer_name_or_path": str(other)}
    edit(folder, "processor_config.json", lambda c: c.update(audio_tokenizer=asked))


def audio_tokenizer_file(folder: Path) -> None:
    audio_tokenizer(folder)
    asked = json.loads((folder / "processor_config.json").read_text())["audio_tokenizer"]
    (folder / "audio_tokenizer_config.json").write_text(json.dumps(asked))


def generate_code(folder: Path) -> None:
    (folder / "custom_generate").mkdir()
    (folder / "custom_generate" / "generate.py").write_text(CODE)


def linked(name: str, to: str | None = None) -> Change:
    """The file is a link to another one, by default to what it was, outside the folder."""

    def change(folder: Path) -> None:
        file = folder / name
        file.parent.mkdir(exist_ok=True)
        target = to
        if target is None:
            target = folder.parent / f"outside-{file.name}"
            target.write_bytes(file.read_bytes() if file.exists() else b"{}")
        file.unlink(missing_ok=True)
        file.symlink_to(target)

    return change


def fifo(name: str) -> Change:
    def change(folder: Path) -> None:
        (folder / name).unlink(missing_ok=True)
        os.mkfifo(folder / name)

    return change


def sparse(name: str, size: int = SPARSE) -> Change:
    def change(folder: Path) -> None:
        with (folder / name).open("wb") as file:
            file.truncate(size)

    return change


def a_folder(name: str) -> Change:
    def change(folder: Path) -> None:
        (folder / name).unlink(missing_ok=True)
        (folder / name).mkdir()

    return change


def text(name: str, content: str | bytes) -> Change:
    return lambda folder: (folder / name).write_bytes(content if isinstance(content, bytes) else content.encode())


RUNS: dict[str, Change] = {
    "an audio tokenizer elsewhere": audio_tokenizer,
    "an audio tokenizer in a file of its own": audio_tokenizer_file,
    "an audio tokenizer that is not there": entries(
        "processor_config.json",
        audio_tokenizer={"audio_tokenizer_class": "AutoModel", "audio_tokenizer_name_or_path": "/nowhere"},
    ),
    "code named in config.json": code("config.json", "AutoConfig", "AutoModelForImageTextToText", "AutoTokenizer"),
    "code named in tokenizer_config.json": code("tokenizer_config.json", "AutoTokenizer"),
    "code named in processor_config.json": nested_code,
    "code named in preprocessor_config.json": code("preprocessor_config.json", "AutoImageProcessor"),
    "code named in generation_config.json": code("generation_config.json", "AutoModel"),
    "code named in special_tokens_map.json": code("special_tokens_map.json", "AutoTokenizer"),
    "code for generating": generate_code,
    "a tokenizer's file elsewhere": entries("tokenizer_config.json", tokenizer_file="/etc/passwd"),
    "a vocabulary elsewhere": entries("tokenizer_config.json", vocab_file="/etc/passwd", merges_file="/etc/passwd"),
    "a tokenizer's file named among special tokens": entries("special_tokens_map.json", tokenizer_file="/etc/passwd"),
    "another name and path": entries("tokenizer_config.json", name_or_path="/etc", is_local=False),
    "another file of versions": entries("tokenizer_config.json", fast_tokenizer_files=["tokenizer.4.0.json", "x.json"]),
    "arguments by position": entries("tokenizer_config.json", init_inputs=["/etc/passwd"]),
    "a class of its own for the tokenizer": entries("tokenizer_config.json", tokenizer_class="EvilTokenizer"),
    "a class of its own for the processor": entries("processor_config.json", processor_class="EvilProcessor"),
    "a method's name among an image processor's settings": of_image_processor(preprocess="x", __class__="x", _hook=1),
    "another name and path of the model": entries("config.json", _name_or_path="/etc", name_or_path="/etc"),
    "kernels fetched from elsewhere": entries("config.json", _attn_implementation="evil/kernel", use_kernels=True),
    "sampling instead of the best answer": entries("generation_config.json", do_sample=True, forced_bos_token_id=3),
    "a generator of its own": entries("generation_config.json", custom_generate="evil/generate", cache_config={"a": 1}),
    "a video processor with code": code("video_preprocessor_config.json", "AutoVideoProcessor"),
}  # fmt: skip
REFUSED: dict[str, tuple[Change, str]] = {
    "a tokenizer linked from outside": (linked("tokenizer.json"), "tokenizer.json is a link that leaves"),
    "a device as a vocabulary": (linked("vocab.json", "/dev/zero"), "vocab.json is a link that leaves"),
    "standard input as merges": (linked("merges.txt", "/dev/stdin"), "merges.txt is a link that leaves"),
    "a template linked from outside": (linked("chat_template.jinja", "/etc/passwd"), "is a link that leaves"),
    "a template in a subfolder linked from outside": (
        linked("additional_chat_templates/x.jinja", "/etc/passwd"),
        "is a link that leaves",
    ),
    "a subfolder linked from outside": (linked("additional_chat_templates", "/etc"), "is a link"),
    "a config linked from outside": (linked("config.json"), "config.json is a link that leaves"),
    "settings of images linked from outside": (linked("processor_config.json"), "is a link that leaves"),
    "what ends answers linked from outside": (linked("generation_config.json"), "is a link that leaves"),
    "a link to itself": (linked("tokenizer_config.json", "tokenizer_config.json"), "is a link to itself"),
    "a link through parents": (linked("vocab.txt", "../../../../../../../../etc/passwd"), "is a link that leaves"),
    "a pipe as the tokenizer's config": (fifo("tokenizer_config.json"), "is not a regular file"),
    "a pipe as a template": (fifo("chat_template.jinja"), "is not a regular file"),
    "a folder as the tokenizer": (a_folder("tokenizer.json"), "is not a regular file"),
    "6 GiB of what ends answers": (sparse("generation_config.json"), "larger than 10 MB"),
    "6 GiB of a tokenizer": (sparse("tokenizer.json"), "has 6,442,450,944 bytes"),
    "6 GiB of special tokens": (sparse("special_tokens_map.json"), "larger than 10 MB"),
    "6 GiB of a template": (sparse("chat_template.jinja"), "bytes"),
    "no JSON": (text("tokenizer_config.json", "{"), "not valid JSON"),
    "JSON nested without end": (text("special_tokens_map.json", "[" * 100_000), "not valid JSON"),
    "a key twice": (text("generation_config.json", '{"eos_token_id": 2, "eos_token_id": 3}'), "twice"),
    "a list for an object": (text("added_tokens.json", "[]"), "expected an object"),
    "a model as a tokenizer's class": (entries("tokenizer_config.json", tokenizer_class="AutoModel"), "AutoModel"),
    "a function as a tokenizer's class": (entries("tokenizer_config.json", tokenizer_class="pipeline"), "pipeline"),
    "a path as a tokenizer's class": (entries("tokenizer_config.json", tokenizer_class="../evil.E"), "evil"),
    "a class of its own for images": (of_image_processor(image_processor_type="EvilProcessor"), "image processor"),
    "a path as the class for images": (of_image_processor(image_processor_type="../evil.E"), "image processor"),
    "another model as its backbone": (entries("config.json", backbone="/etc"), "as its backbone"),
    "a backbone that is fetched": (
        lambda folder: edit(folder, "config.json", lambda c: c["vision_config"].update(use_pretrained_backbone=True)),
        "as its backbone",
    ),
}
