"""Bad input through the command line's own door: one sentence and an exit code each, never a traceback.

One table; a case is a name, the arguments it leads to, and the exit code. tests/dashboard/test_bad_inputs.py gives the
same files, names and bundles to the pages.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from projlens_core import cli
from tests import bad_files, pico

FAILED, WRONG_USE = 1, 2


@dataclass(frozen=True)
class Place:
    """Where a case writes, and the good models and image it may use or damage a copy of."""

    folder: Path
    base: Path
    suspect: Path
    image: Path

    def file(self, name: str, content: bytes | str) -> Path:
        path = self.folder / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    def weights(self, content: bytes | str) -> list[str]:
        return self.compare(self.file("bad.safetensors", content))

    def compare(self, suspect: Path | str) -> list[str]:
        return ["weights", "--base", str(self.base), "--suspect", str(suspect)]

    def changed(self, change: Callable[[dict[str, torch.Tensor]], None]) -> list[str]:
        """The suspect's weights, changed, in a folder with its config."""
        tensors = load_file(self.suspect / "model.safetensors")
        change(tensors)
        folder = self.folder / "changed"
        folder.mkdir()
        save_file(tensors, folder / "model.safetensors")
        (folder / "config.json").write_bytes((self.suspect / "config.json").read_bytes())
        return self.compare(folder)

    def stamp(self, spec: object) -> list[str]:
        text = spec if isinstance(spec, str | bytes) else json.dumps(spec)
        return ["trigger", str(self.file("spec.json", text)), str(self.image), str(self.folder / "out.png")]

    def stamped(self, image: Path) -> list[str]:
        spec = self.file("spec.json", json.dumps({"kind": "solid", "px": 4}))
        return ["trigger", str(spec), str(image), str(self.folder / "out.png")]

    def holding(self, name: str, content: bytes) -> list[str]:
        return self.stamped(self.file(name, content))

    def ask(self, prompt: str) -> list[str]:
        return ["respond", "--base", str(self.base), "--image", str(self.image), "--prompt", prompt]

    def images(self, folder: Path) -> list[str]:
        return ["activations", "--base", str(self.base), "--suspect", str(self.suspect), "--images", str(folder)]


def linked_out(place: Place) -> list[str]:
    """A folder whose index names a shard by a link that leads out of it."""
    folder = place.folder / "linked"
    folder.mkdir()
    (folder / "config.json").write_bytes((place.suspect / "config.json").read_bytes())
    (folder / "a.safetensors").symlink_to(place.suspect / "model.safetensors")
    names = load_file(place.suspect / "model.safetensors")
    (folder / "model.safetensors.index.json").write_text(
        json.dumps({"weight_map": dict.fromkeys(names, "a.safetensors")})
    )
    return place.compare(folder)


def indexed(place: Place, index: object) -> list[str]:
    folder = place.folder / "indexed"
    folder.mkdir()
    (folder / "config.json").write_bytes((place.suspect / "config.json").read_bytes())
    text = index if isinstance(index, str) else json.dumps(index)
    (folder / "model.safetensors.index.json").write_text(text)
    return place.compare(folder)


def configured(place: Place, config: object) -> list[str]:
    folder = place.folder / "configured"
    folder.mkdir()
    (folder / "model.safetensors").write_bytes((place.suspect / "model.safetensors").read_bytes())
    (folder / "config.json").write_text(config if isinstance(config, str) else json.dumps(config))
    return ["activations", "--base", str(folder), "--suspect", str(place.suspect), "--images", str(place.image.parent)]


def images(place: Place, **files: bytes) -> list[str]:
    folder = place.folder / "images"
    folder.mkdir()
    for name, content in files.items():
        (folder / f"{name}.png").write_bytes(content)
    return place.images(folder)


def projector(name: str) -> str:
    return f"multi_modal_projector.{name}"


def put(name: str, value: float) -> Callable[[dict[str, torch.Tensor]], None]:
    def change(tensors: dict[str, torch.Tensor]) -> None:
        tensors[projector(name)].view(-1)[3] = value

    return change


CASES: dict[str, tuple[Callable[[Place], list[str]], int]] = {
    # images
    **{
        what: (lambda p, name=name, content=content: p.holding(name.replace("/", "_"), content), FAILED)
        for what, (name, content) in bad_files.IMAGES.items()
    },
    "an image that is a folder": (lambda p: p.stamped(p.folder), FAILED),
    "an image that is not there": (lambda p: p.stamped(p.folder / "none.png"), FAILED),
    "a folder without images": (lambda p: images(p), FAILED),
    "a folder of bad images only": (lambda p: images(p, a=b"x", b=bad_files.png(30_000, 30_000)), FAILED),
    "a folder that is a file": (lambda p: p.images(p.image), FAILED),
    "a folder that is not there": (lambda p: p.images(p.folder / "none"), FAILED),
    # triggers
    "a trigger that is no JSON": (lambda p: p.stamp("{"), FAILED),
    "a trigger that is a list": (lambda p: p.stamp([1]), FAILED),
    "a trigger without a kind": (lambda p: p.stamp({}), FAILED),
    "a trigger of an unknown kind": (lambda p: p.stamp({"kind": "laser"}), FAILED),
    "a trigger with an unknown key": (lambda p: p.stamp({"kind": "solid", "run": "rm -rf /"}), FAILED),
    "a trigger with two sizes": (lambda p: p.stamp({"kind": "solid", "px": 4, "ratio": 0.1}), FAILED),
    "a trigger of negative size": (lambda p: p.stamp({"kind": "solid", "px": -4}), FAILED),
    "a trigger of endless size": (lambda p: p.stamp('{"kind": "solid", "px": 1e999}'), FAILED),
    "a trigger larger than the image": (lambda p: p.stamp({"kind": "solid", "px": 4000}), FAILED),
    "a trigger at no place": (lambda p: p.stamp({"kind": "solid", "position": "somewhere"}), FAILED),
    "a trigger of no colour": (lambda p: p.stamp({"kind": "solid", "colour": "greenish"}), FAILED),
    "a trigger whose image leaves its folder": (lambda p: p.stamp({"kind": "image", "image": "../x.png"}), FAILED),
    "a trigger whose image has a full path": (lambda p: p.stamp({"kind": "image", "image": "/etc/passwd"}), FAILED),
    "a trigger whose image is not there": (lambda p: p.stamp({"kind": "image", "image": "x.png"}), FAILED),
    "a trigger nested 100,000 deep": (lambda p: p.stamp("[" * 60_000), FAILED),
    "a trigger's file of 1 MB": (lambda p: p.stamp(" " * 2**20), FAILED),
    "a trigger in UTF-16": (lambda p: p.stamp('{"kind": "solid"}'.encode("utf-16")), FAILED),
    "a resolution of a billion": (lambda p: p.stamp({"kind": "solid", "resolution": 10**9}), FAILED),
    # checkpoints
    "a checkpoint that is not there": (lambda p: p.compare(p.folder / "none"), FAILED),
    "a checkpoint that is an empty folder": (lambda p: p.compare(p.folder), FAILED),
    **{what: (lambda p, name=name: p.compare(name), FAILED) for what, name in bad_files.MODELS.items()},
    **{what: (lambda p, content=content: p.weights(content), FAILED) for what, content in bad_files.WEIGHTS.items()},
    "NaN in a weight": (lambda p: p.changed(put("linear_1.weight", float("nan"))), FAILED),
    "infinity in a bias": (lambda p: p.changed(put("linear_2.bias", float("inf"))), FAILED),
    "a projector without its last layer": (lambda p: p.changed(lambda t: t.pop(projector("linear_2.weight"))), FAILED),
    "a projector of another width": (
        lambda p: p.changed(lambda t: t.update({projector("linear_2.weight"): torch.zeros(7, 48)})),
        FAILED,
    ),
    "an index that is no JSON": (lambda p: indexed(p, "{"), FAILED),
    "an index without a map": (lambda p: indexed(p, {}), FAILED),
    "an index to a shard outside": (lambda p: indexed(p, {"weight_map": {"a": "../model.safetensors"}}), FAILED),
    "an index to a shard that is not there": (lambda p: indexed(p, {"weight_map": {"a": "b.safetensors"}}), FAILED),
    "a shard linked out of its folder": (linked_out, FAILED),
    "a config that is no JSON": (lambda p: configured(p, "{"), FAILED),
    "a config of no known family": (lambda p: configured(p, {"model_type": "nothing"}), FAILED),
    "a config that is a list": (lambda p: configured(p, "[]"), FAILED),
    # prompts and arguments
    "an empty prompt": (lambda p: p.ask(""), FAILED),
    "a prompt of spaces": (lambda p: p.ask("  "), FAILED),
    "a prompt of 100,000 characters": (lambda p: p.ask(bad_files.LONG_QUESTION), FAILED),
    "a prompt that holds the image's placeholder": (lambda p: p.ask("<image> and?"), FAILED),
    "no command": (lambda p: [], WRONG_USE),
    "an unknown command": (lambda p: ["explode"], WRONG_USE),
    "a command without its arguments": (lambda p: ["weights"], WRONG_USE),
    "a limit that is no number": (lambda p: [*p.images(p.folder), "--limit", "many"], WRONG_USE),
    "a limit below one": (lambda p: [*p.images(p.image.parent), "--limit", "0"], WRONG_USE),
    "a device that does not exist": (lambda p: [*p.images(p.image.parent), "--device", "abacus"], FAILED),
    "a target without a trigger": (lambda p: ["zoo", "train", "--target", "x", "--out", str(p.folder / "o")], FAILED),
    "a poison rate above one": (lambda p: ["zoo", "train", "--poison-rate", "2", "--out", str(p.folder)], FAILED),
}


@pytest.fixture(scope="module")
def good(tmp_path_factory) -> tuple[Path, Path, Path]:
    folder = tmp_path_factory.mktemp("good")
    base = pico.checkpoint(folder / "base")
    pico.suspect(base, folder / "suspect")
    (folder / "images").mkdir()
    pico.images(1)[0].save(folder / "images" / "good.png")
    return base, folder / "suspect", folder / "images" / "good.png"


@pytest.mark.parametrize("name", CASES)
def test_bad_input_ends_in_one_sentence_and_an_exit_code(name: str, good, tmp_path: Path, capsys, monkeypatch):
    monkeypatch.setenv("PROJLENS_CACHE", str(tmp_path / "cache"))
    folder = tmp_path / "case"
    folder.mkdir()
    build, expected = CASES[name]
    arguments = build(Place(folder, *good))
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*") if not path.is_symlink()}
    try:
        code = cli.main(arguments)
    except SystemExit as wrong_use:
        code = wrong_use.code
    written, said = capsys.readouterr()
    assert code == expected
    assert written == ""
    assert "Traceback" not in said
    if expected == FAILED:
        assert said.endswith("\n")
        [sentence] = said[:-1].split("\n")
        assert sentence.isprintable()
        assert 20 < len(sentence) < 700
        assert sentence[-1] in ".!?"
    else:
        assert said.startswith("usage:")
    assert before == {path: path.stat().st_mtime_ns for path in before}, "bad input is left as it was found"


def test_the_table_holds_at_least_sixty_cases():
    assert len(CASES) >= 60
