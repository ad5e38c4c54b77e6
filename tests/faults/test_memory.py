"""Out of memory on one request: one sentence that says what to do, and the next request is served."""

import errno

import numpy as np
import pytest
import torch
from PIL import Image

from projlens_core import cli
from projlens_core.activations import neurons
from projlens_core.analyses.context import AnalysisInputs
from projlens_core.cases.case import Case
from projlens_core.errors import InvalidInput, NotFound, Shortage
from projlens_core.inputs.images import load_folder
from projlens_core.inputs.triggers import TriggerSpec
from projlens_core.report import gather
from projlens_core.runtime import shortage
from tests import pico
from tests.faults import work
from tests.faults.children import child

MORE_THAN_THERE_IS = 2**50  # bytes
SENTENCE = "There is too little memory for this; use fewer or smaller images, close other programs, or take"
MB = 2**20


def test_an_image_that_memory_does_not_hold_is_said_and_a_smaller_one_is_read_after_it(cache, tmp_path):
    large, small = tmp_path / "large.png", tmp_path / "small.png"
    Image.new("1", (6000, 6000)).save(large)
    Image.new("RGB", (60, 60)).save(small)
    with child(cache, work.too_large_an_image_then_a_small_one, str(large), str(small), 60 * MB) as poor:
        (outcome, sentence), after = poor.result()
    assert outcome == "Shortage"
    assert sentence.startswith(SENTENCE)
    assert after == ("done", (60, 60))


def test_tensors_that_memory_does_not_hold_are_said_and_smaller_ones_are_made_after_them(cache):
    with child(cache, work.too_much_for_torch, 200 * MB) as poor:
        (outcome, sentence), after = poor.result()
    assert outcome == "Shortage"
    assert sentence.startswith(SENTENCE)
    assert after == ("done", 1000)


def wrapped() -> None:
    """As a reader does that takes what a library raises for a broken file."""
    try:
        torch.empty(MORE_THAN_THERE_IS)
    except RuntimeError as error:
        raise InvalidInput("The image processor fails on an ordinary image.") from error


def raising(error: Exception):
    def fail() -> None:
        raise error

    return fail


@pytest.mark.parametrize(
    ("fail", "sentence"),
    [
        (lambda: torch.empty(MORE_THAN_THERE_IS), SENTENCE),
        (lambda: np.empty(MORE_THAN_THERE_IS), SENTENCE),
        (lambda: bytearray(MORE_THAN_THERE_IS), SENTENCE),
        (wrapped, SENTENCE),
        (raising(OSError(errno.ENOMEM, "Cannot allocate memory")), SENTENCE),
        (raising(torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB.")), "The graphics card has too"),
        (raising(RuntimeError("MPS backend out of memory")), "The graphics card has too little memory"),
        (raising(OSError(errno.ENOSPC, "No space left on device")), "There is too little space on the disk"),
    ],
)
def test_every_librarys_way_of_saying_it_becomes_one_sentence(fail, sentence):
    with pytest.raises(Shortage) as caught, shortage.named():
        fail()
    assert str(caught.value).startswith(sentence)
    assert str(caught.value).endswith(".")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("mat1 and mat2 shapes cannot be multiplied"),
        OSError(errno.ENOENT, "No such file or directory", "out of memory.png"),
        InvalidInput("out of memory.png is empty; no space left on device."),
        NotFound("There is none."),
    ],
)
def test_other_errors_stay_what_they_are(error):
    with pytest.raises(type(error)) as caught, shortage.named():
        raise error
    assert caught.value is error


def test_a_command_out_of_memory_ends_in_one_sentence_and_the_next_one_works(cache, models, monkeypatch, capsys):
    line = ["weights", "--base", str(models / "base"), "--suspect", str(models / "suspect")]
    with monkeypatch.context() as patch:
        patch.setattr(cli.import_module("projlens_core.cases.models"), "open_case", lambda *_: torch.empty(2**50))
        assert cli.main(line) == 1
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith(SENTENCE)
    assert said.err.count("\n") == 1
    assert cli.main(line) == 0


def test_a_part_of_a_report_out_of_memory_is_said_and_the_other_is_there(cache, models, monkeypatch, tmp_path):
    for number, image in enumerate(pico.images(2)):
        image.save(tmp_path / f"{number}.png")
    asked = AnalysisInputs(
        Case(str(models / "base"), str(models / "suspect")), load_folder(tmp_path), spec=TriggerSpec("solid", px=8)
    )
    monkeypatch.setattr(neurons, "analyse", lambda *_: np.empty(2**50))
    record = gather.record_of(asked, ["case", "neurons"])
    assert [exhibit.key for exhibit in record.exhibits] == ["case"]
    [missing] = record.missing
    assert missing.part == "Neurons"
    assert missing.reason.startswith(SENTENCE)
