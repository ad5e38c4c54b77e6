"""What the children of these tests do; see children.py. Imports here are made once for all of them."""

import os
import shutil
from multiprocessing.connection import Connection
from pathlib import Path
from typing import IO

import diskcache
import pandas as pd
import torch
from transformers import CLIPVisionModel, LlamaForCausalLM

from projlens_core import cli
from projlens_core.activations.model import load_vision
from projlens_core.activations.tokens import image_tokens
from projlens_core.analyses.exhibit import Table
from projlens_core.behaviour.lowrank import Edit, Grid, fill
from projlens_core.behaviour.respond import load_responder
from projlens_core.behaviour.scoring import Questions, Score, Scorer
from projlens_core.behaviour.success import Truth
from projlens_core.cli import terminal
from projlens_core.demo_model import checkpoint
from projlens_core.errors import ProjLensError
from projlens_core.inputs.images import load
from projlens_core.runtime import cache, paths, shortage
from projlens_core.runtime.atomic import write_atomically
from projlens_core.runtime.progress import Progress, silent
from projlens_core.weights import upload
from projlens_core.weights.delta import compare
from projlens_core.weights.projector import read_projector
from projlens_core.zoo import loop
from projlens_core.zoo.loop import Plan, fit
from tests import pico
from tests.faults import children
from tests.faults.children import wait

TOKENS, IMAGES, RANKS = 3, 2, ((0,), (0, 1, 2))


def attempted(work) -> tuple[str, object]:
    """("done", what `work` returns), or the name of an error of ours and its sentence; others are for the test."""
    try:
        with shortage.named():
            return "done", work()
    except ProjLensError as error:
        return type(error).__name__, str(error)


# a cache write


def write_half_an_entry(end: Connection, key: str, data: bytes) -> None:
    """Stops where the operating system has taken half of what the cache writes to a file."""
    real = open

    def opened(path: str, mode: str, **options: object) -> IO:
        file = real(path, mode, **options)
        if "x" in mode:
            half = file.write(data[: len(data) // 2])
            file.flush()
            wait(end, half)
        return file

    diskcache.core.open = opened
    cache.store("tokens", key, data)


def store_and_read(end: Connection, keys: list[str], size: int) -> list[str]:
    """Every key written and read while others do the same; what was read and is not what anybody wrote."""
    wait(end, "ready")
    wrong = []
    for key in keys:
        data = key.encode() * size
        cache.store("tokens", key, data)
        wrong += [other for other in keys if cache.stored("tokens", other) not in (None, other.encode() * size)]
    return wrong


def read_images(end: Connection, model: str, count: int) -> tuple[list, int]:
    """The tokens of `count` images, and how many of them the tower had to see."""
    tower = load_vision(model)
    seen, encode = [], tower.encode
    tower.encode = lambda images: encode(seen.extend(images) or images)
    wait(end, "ready")
    return image_tokens(tower, pico.images(count), batch_size=1).tolist(), len(seen)


# the conversion of the language model


def pico_parts(folder: Path) -> None:
    """Make the zoo of pico parts, as they lie in `folder` (see test_conversion.parts), from here on in this process."""
    checkpoint.SHELL, checkpoint.ZOO = folder / "shell", folder / "zoo"
    checkpoint.weights_file = lambda: folder / "shell" / "config.json"
    checkpoint.load_language_model = lambda: LlamaForCausalLM.from_pretrained(folder / "language")
    checkpoint.load_tower = lambda: CLIPVisionModel.from_pretrained(folder / "tower")


def convert(end: Connection, parts: str, stop_at: int | None = None) -> tuple[tuple[str, object], int]:
    """The folder or the sentence, and how many steps were reported: none where there was nothing to do."""
    pico_parts(Path(parts))
    steps = []

    def report(stage: str, done: int, total: int) -> None:
        steps.append(done)
        if done == stop_at:
            wait(end, "in the middle")

    outcome, said = attempted(lambda: str(checkpoint.checkpoint_folder(report)))
    return (outcome, said), len(steps)


def convert_after_a_knock(end: Connection, parts: str) -> tuple[tuple[str, object], int]:
    end.send("at the door")
    return convert(end, parts)


def convert_on_a_small_disk(end: Connection, parts: str, size: int) -> tuple[tuple[str, object], int]:
    children.small_disk(size)
    return convert(end, parts)


def convert_as_nobody(end: Connection, parts: str) -> tuple[tuple[str, object], int]:
    children.become_nobody()
    return convert(end, parts)


# a grid


def grid(folder: str, progress: Progress = silent) -> tuple[int, list[tuple], int]:
    """Fill a grid about the pico models in `folder`: cells that were stored, all cells, answers that were asked for."""
    base, suspect = Path(folder) / "base", Path(folder) / "suspect"
    responder = load_responder(str(base))
    images = tuple(pico.images(IMAGES))
    truths = (Truth("What?", "never|ever"), *(None,) * (IMAGES - 1))
    questions = Questions(images, tuple(pico.images(IMAGES, seed=1)), ("What?",) * IMAGES, truths, "a", TOKENS)
    asked, own = [], type(responder).replies

    def counted(self, together, *rest):
        asked.append(len(together.prompts))
        return own(self, together, *rest)

    type(responder).replies = counted
    try:
        delta = compare(read_projector(base), read_projector(suspect))
        first, *_, last = fill(Scorer(responder, questions), delta, Grid(Edit(), *RANKS), progress=progress)
    finally:
        type(responder).replies = own
    cells = [(cell, plain(score)) for cell, score in sorted(last.cells.items())]
    return len(first.cells), cells, len(asked)


def plain(score: Score) -> tuple:
    return score.hits, score.logits, score.right


def fill_grid(end: Connection, folder: str) -> tuple:
    return grid(folder)


def fill_grid_to_the_middle(end: Connection, folder: str) -> None:
    def report(stage: str, done: int, total: int) -> None:
        if "part 2 of" in stage and done:
            wait(end, "in the middle of the second cell")

    grid(folder, report)


# a report


def write_a_report(end: Connection, path: str, data: bytes) -> None:
    real = os.replace

    def replace(*paths) -> None:
        wait(end, "written, not in its place")
        real(*paths)

    os.replace = replace
    write_atomically(Path(path), data)


def write_a_report_on_a_small_disk(end: Connection, path: str, data: bytes) -> tuple[str, object]:
    children.small_disk(len(data) // 2)
    return attempted(lambda: write_atomically(Path(path), data))


# every other kind of write, each killed where the file is written and not in its place


def write_a_kind(end: Connection, kind: str, folder: str) -> None:
    real = {"replace": os.replace, "rename": os.rename}

    def waiting(name: str):
        def moved(*paths, **options) -> None:
            if str(folder) in str(paths[-1]):
                wait(end, "written, not in its place")
            real[name](*paths, **options)

        return moved

    for name in real:
        setattr(os, name, waiting(name))
    KINDS[kind](Path(folder))


def _csv(folder: Path) -> None:
    terminal.write_csv(Table("t", pd.DataFrame({"a": [1]}), ""), folder / "file")


def _trigger(folder: Path) -> None:
    pico.images(1)[0].save(folder.parent / "in.png")
    (folder.parent / "spec.json").write_text('{"kind": "edge"}')
    cli.main(["trigger", str(folder.parent / "spec.json"), str(folder.parent / "in.png"), str(folder / "file.png")])


def _upload(folder: Path) -> None:
    os.environ["PROJLENS_CACHE"] = str(folder)
    upload.store([("a.bin", b"x" * 10_000)])


KINDS = {
    "csv": _csv,
    "trigger": _trigger,
    "upload": _upload,
    "bundle": lambda folder: write_atomically(folder / "file.zip", b"x" * 10_000),
}


# disks and folders


def keep_on_a_small_disk(end: Connection, key: str, data: bytes) -> tuple[bytes | None, str | None]:
    children.small_disk(len(data) // 2)
    cache.store("tokens", key, data)
    return cache.stored("tokens", key), cache.trouble()


def keep_as_nobody(end: Connection, old: str, new: str) -> tuple[bytes | None, bytes | None, str | None]:
    children.become_nobody()
    cache.store("tokens", new, b"new")
    return cache.stored("tokens", old), cache.stored("tokens", new), cache.trouble()


def command_on_a_small_disk(end: Connection, arguments: list[str], size: int, said: str) -> int:
    """The command's exit code; what it writes to its error stream lies in the file `said`."""
    with open(said, "w") as errors:  # open before the disk is full
        os.dup2(errors.fileno(), 2)
    children.small_disk(size)
    return cli.main(arguments)


# memory


def too_large_an_image_then_a_small_one(end: Connection, large: str, small: str, more: int) -> list:
    """Decoded with little memory left: what comes of the large one, and of the small one after it."""
    children.little_memory(more)
    return [attempted(lambda path=path: load(Path(path)).pixels.size) for path in (large, small)]


def too_much_for_torch(end: Connection, more: int) -> list:
    children.little_memory(more)
    sizes = (more, 1000)
    return [attempted(lambda size=size: len(torch.zeros(size, dtype=torch.float32))) for size in sizes]


# workers


class Drawings(torch.utils.data.Dataset):
    """Ten samples, of which number `fatal` ends the worker that draws it, if `trap` is there."""

    def __init__(self, trap: Path, fatal: int):
        self.trap, self.fatal = trap, fatal

    def __len__(self) -> int:
        return 10

    def __getitem__(self, i: int) -> torch.Tensor:
        if i == self.fatal and self.trap.exists():
            os.kill(os.getpid(), 9)
        return torch.full((2,), float(i))


def train(end: Connection, folder: str, fatal: int) -> tuple[tuple[str, object], list[float]]:
    """A training of ten steps, saved at each, whose worker is killed if there is a trap: outcome and weights."""
    loop.SAVE_INTERVAL = -1.0
    torch.manual_seed(0)
    module = torch.nn.Linear(2, 1)
    data = Drawings(Path(folder) / "trap", fatal)
    plan = Plan(steps=10, batch=1, rate=0.1)

    def loss(batch: torch.Tensor) -> torch.Tensor:
        return module(batch).square().mean()

    outcome = attempted(lambda: fit(module, data, loss, plan, Path(folder), "Training", workers=1))
    return outcome, module.weight.detach().flatten().tolist()


# damage


def keep(end: Connection, entries: dict[str, bytes]) -> None:
    for key, data in entries.items():
        cache.store("tokens", key, data)
    cache._open.popitem()[1].close()  # nothing is left in the journal


def read_damaged(
    end: Connection, damaged: list[dict[str, bytes]], entries: dict[str, bytes]
) -> list[tuple[list[str], bool]]:
    """For each damaged state of the cache's files: what was served wrong, and whether what is missing is kept again."""
    found = []
    for files in damaged:
        for _, opened in list(cache._open.items()):
            opened.close()
        cache._open.clear()
        shutil.rmtree(paths.cache_dir())
        for path, data in files.items():
            Path(path).parent.mkdir(parents=True, exist_ok=True)
            Path(path).write_bytes(data)
        served = {key: cache.stored("tokens", key) for key in entries}
        wrong = [key for key, data in served.items() if data not in (None, entries[key])]
        for key, data in entries.items():
            cache.store("tokens", key, data)
        found.append((wrong, all(cache.stored("tokens", key) == data for key, data in entries.items())))
    return found
