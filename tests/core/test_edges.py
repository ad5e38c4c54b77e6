"""The process's edges: interrupts, pipes, encodings, terminals, files that block, home folders that are not there."""

import io
import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from projlens_core.cli import main
from projlens_core.cli.terminal import BROKEN_PIPE
from projlens_core.errors import InvalidInput, NotFound
from projlens_core.inputs.images import load, load_folder
from projlens_core.runtime.files import open_regular
from projlens_core.runtime.paths import cache_dir
from projlens_core.runtime.plain import as_json, plain
from projlens_core.runtime.text import visible
from projlens_core.weights import upload
from tests import pico

ROOT = Path(__file__).resolve().parents[2]
ZOO = ["--base", "zoo:base", "--suspect", "zoo:targeted-refusal"]


def start(*arguments, **options):
    command = [sys.executable, "-m", "projlens_core", *arguments]
    environment = os.environ | options.pop("env", {})
    return subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, env=environment, **options)


# Interrupts and pipes


def test_an_interrupt_while_it_starts_is_one_sentence():
    code = "import signal, os; os.kill(os.getpid(), signal.SIGINT)"
    hook = f"import sys; sys.path.insert(0, {str(ROOT)!r})\n"
    # the interrupt arrives in the middle of loading the command line
    script = (
        hook
        + "import importlib.abc\n"
        + "class Interrupting(importlib.abc.MetaPathFinder):\n"
        + "    def find_spec(self, name, path, target=None):\n"
        + f"        if name == 'projlens_core.analyses': {code}\n"
        + "sys.meta_path.insert(0, Interrupting())\n"
        + "import runpy; sys.argv = ['projlens', 'zoo', 'list']\n"
        + "runpy.run_module('projlens_core', run_name='__main__')\n"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert done.stderr == "Stopped; what was finished is kept.\n"


@pytest.mark.parametrize("command", [["zoo", "list"], ["weights", *ZOO], ["weights", *ZOO, "--json"]])
def test_a_reader_that_has_gone_is_no_traceback(command):
    reads, writes = os.pipe()
    os.close(reads)
    running = start(*command, stdout=writes)
    os.close(writes)
    _, error = running.communicate(timeout=60)
    assert running.returncode == BROKEN_PIPE
    assert error == b""


@pytest.mark.parametrize("command", [["zoo", "list"], ["weights", *ZOO, "--json"]])
def test_a_closed_standard_output_is_one_sentence(command):
    joined = " ".join([sys.executable, "-m", "projlens_core", *command, ">&-"])
    done = subprocess.run(["sh", "-c", joined], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert done.stderr == "Standard output is closed; leave it open, or send it to a file with > FILE.\n"


def test_a_closed_standard_error_is_no_traceback(tmp_path):
    joined = f"{sys.executable} -m projlens_core weights --base nothing --suspect nothing 2>&-"
    assert subprocess.run(["sh", "-c", joined], cwd=ROOT, timeout=60).returncode == 1


# Encodings and terminals


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp1252", "utf-16", "utf-8", "koi8-r", "shift_jis"])
@pytest.mark.parametrize("flags", [[], ["--json"]], ids=["text", "json"])
def test_text_and_json_come_in_every_encoding(encoding, flags, tmp_path, monkeypatch):
    pico.suspect(pico.checkpoint(tmp_path / "naïve ΔW"), tmp_path / "漢字 \u202e")
    models = ["--base", str(tmp_path / "naïve ΔW"), "--suspect", str(tmp_path / "漢字 \u202e")]
    buffer = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(buffer, encoding=encoding))
    assert main(["weights", *models, *flags]) == 0
    text = buffer.getvalue().decode(encoding)
    if flags:
        assert json.loads(text)["tensors"]
    assert "\u202e" not in text


def test_a_plain_locale_is_no_traceback():
    running = start("zoo", "list", stdout=subprocess.PIPE, env={"LC_ALL": "C", "PYTHONUTF8": "0"})
    _, error = running.communicate(timeout=60)
    assert (running.returncode, error) == (0, b"")


STEERING = {
    "escape": "\x1b[2J",
    "bell": "\x07",
    "carriage return": "\r",
    "backspace": "\b",
    "C1 control": "\x9b31m",
    "delete": "\x7f",
    "right to left": "\u202e",
    "isolate": "\u2066",
    "zero width": "\u200b",
    "line separator": "\u2028",
    "byte order": "\ufeff",
    "tag": "\U000e0041",
    "half a character": "\udc80",
    "null": "\0",
}


@pytest.mark.parametrize("text", STEERING.values(), ids=STEERING)
def test_what_steers_a_terminal_is_shown_and_not_sent(text):
    shown = visible(f"a{text}b")
    assert shown.startswith("a\\u")
    assert all(c.isprintable() for c in shown)
    assert json.loads(f'"{shown}"') == f"a{text}b"


def test_line_feeds_tabs_and_the_scripts_of_the_world_stay():
    text = "ΔW₁\tيمين 漢字 é\n"
    assert visible(text) == text
    assert visible("é漢", "latin-1") == "é\\u6f22"
    assert visible("\U0001f427", "ascii") == "\\ud83d\\udc27"


def test_a_suspects_names_do_not_steer_the_terminal(tmp_path, capsys):
    from safetensors.torch import load_file, save_file

    base = pico.checkpoint(tmp_path / "base")
    suspect = tmp_path / "sus\x1b[2Jpect"
    pico.suspect(base, suspect)
    tensors = load_file(suspect / "model.safetensors")
    tensors["multi_modal_projector.\x1b]0;owned\x07.weight"] = tensors["multi_modal_projector.linear_1.weight"].clone()
    save_file(tensors, suspect / "model.safetensors", metadata={"format": "pt"})
    main(["weights", "--base", str(base), "--suspect", str(suspect)])
    said = "".join(capsys.readouterr())
    assert said
    assert "\x1b" not in said
    assert "\x07" not in said


# Numbers that JSON does not have, names that no file can hold


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (float("nan"), None),
        (float("-inf"), None),
        ((1, 2.5), [1, 2.5]),
        ({1: float("inf")}, {"1": None}),
        ("a\udc80", "a\\udc80"),
        ({"\udcff": 1}, {"\\udcff": 1}),
        ([[None, True]], [[None, True]]),
    ],
)
def test_plain_values_are_those_of_strict_json(value, expected):
    assert plain(value) == expected
    assert json.loads(as_json(value)) == expected


@pytest.mark.parametrize("kind", ["float32", "float64", "int64", "bool_"])
def test_numpys_scalars_are_pythons(kind):
    import numpy as np

    assert json.loads(as_json({"x": np.dtype(kind).type(1)})) == {"x": 1}
    if kind.startswith("float"):
        assert json.loads(as_json(np.dtype(kind).type("nan"))) is None


def test_weights_too_large_for_a_number_are_one_sentence(tmp_path, capsys):
    from safetensors.torch import load_file, save_file

    base = pico.checkpoint(tmp_path / "base")
    pico.suspect(base, tmp_path / "suspect")
    for name, factor in (("base", -1), ("suspect", 1)):
        path = tmp_path / name / "model.safetensors"
        tensors = load_file(path)
        tensors["multi_modal_projector.linear_1.weight"] = tensors["multi_modal_projector.linear_1.weight"] * 0 + (
            factor * 3e38
        )
        save_file(tensors, path, metadata={"format": "pt"})
    capsys.readouterr()
    assert main(["weights", "--base", str(base), "--suspect", str(tmp_path / "suspect"), "--json"]) == 1
    error = capsys.readouterr().err
    assert (
        error == "Base and suspect differ in linear_1.weight by more than float32 can hold; one of them is damaged.\n"
    )


def test_a_path_that_is_not_utf_8_goes_into_report_and_bundle(tmp_path, capsys):
    world = pico.case(tmp_path / "world", strength=(4.0,), count=2, trigger=None)
    odd = Path(os.fsdecode(os.fsencode(tmp_path) + b"/sus\xffpect"))
    (world / "suspect").rename(odd)
    files = [str(tmp_path / "r.html"), str(tmp_path / "b.zip")]
    models = ["--base", str(world / "base"), "--suspect", str(odd)]
    assert main(["report", *models, "--parts", "case", "--out", files[0], "--bundle", files[1]]) == 0
    assert "sus\\udcffpect" in Path(files[0]).read_text("utf-8")


# Files that block or grow


def test_a_link_to_what_never_ends_is_passed_over(tmp_path):
    pico.images(1)[0].save(tmp_path / "a.png")
    for name, target in {
        "kernel.png": "/proc/kmsg",
        "zero.png": "/dev/zero",
        "tty.png": "/dev/tty",
        "self.png": "/proc/self/mem",
        "maps.png": "/proc/self/maps",
        "gone.png": tmp_path / "nothing",
        "loop.png": tmp_path / "loop.png",
        "folder.png": tmp_path,
    }.items():
        (tmp_path / name).symlink_to(target)
    os.mkfifo(tmp_path / "pipe.png")
    read = load_folder(tmp_path)
    assert [image.name for image in read.images] == ["a.png"]


@pytest.mark.parametrize("target", ["/proc/kmsg", "/dev/zero", "/dev/null", "/proc/self/maps", "/", "/nothing"])
def test_no_image_is_read_from_what_is_none(target):
    with pytest.raises((InvalidInput, NotFound)):
        load(Path(target))


def test_labels_and_triggers_that_block_are_one_sentence(tmp_path, capsys):
    folder = pico.case(tmp_path / "case", strength=(4.0,), count=1, trigger=None)
    os.mkfifo(tmp_path / "trigger.json")
    models = ["--base", str(folder / "base"), "--suspect", str(folder / "suspect")]
    wanted = [*models, "--images", str(folder / "images"), "--trigger", str(tmp_path / "trigger.json")]
    assert main(["neurons", *wanted]) == 1
    assert "is not a file" in capsys.readouterr().err


def test_a_file_that_grows_is_read_as_long_as_it_was(tmp_path):
    path = tmp_path / "log"
    path.write_bytes(b"x" * 10)
    with open_regular(path, "missing") as file:
        path.write_bytes(b"x" * 1000)
        assert len(file.read()) == 10


# Home folders


@pytest.mark.parametrize("folder", ["~no-such-user", "~no-such-user/cache", "~no-such-user\x1b[2J"])
def test_a_cache_in_a_home_that_is_not_there_is_one_sentence(folder, monkeypatch, capsys):
    monkeypatch.setenv("PROJLENS_CACHE", folder)
    with pytest.raises(InvalidInput, match="begins with a home folder that is not known here"):
        cache_dir()
    assert main(["weights", *ZOO]) == 1
    assert capsys.readouterr().err.count("\n") == 1


# Sessions that upload at once


def test_sessions_that_upload_at_once_all_keep_what_they_sent(tmp_path, monkeypatch):
    monkeypatch.setenv("PROJLENS_CACHE", str(tmp_path))
    monkeypatch.setattr(upload, "MAX_KEPT", 250)  # so that each upload throws out others
    failures: list[Exception] = []

    def session(number):
        for turn in range(25):
            try:
                upload.store([(f"{number % 3}-{turn % 4}.bin", bytes([number % 3]) * 100)])
            except Exception as error:  # noqa: BLE001  whatever it is, a session would show it
                failures.append(error)

    threads = [threading.Thread(target=session, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert failures == []
    assert not [path for path in upload.uploads_dir().iterdir() if path.name.startswith("partial-")]


def test_what_a_killed_upload_left_is_removed_and_never_served(tmp_path, monkeypatch):
    monkeypatch.setenv("PROJLENS_CACHE", str(tmp_path))
    upload.store([("a.bin", b"x")])
    left = upload.uploads_dir() / "partial-old"
    left.mkdir()
    (left / "a.bin").write_bytes(b"half")
    upload.store([("b.bin", b"x")])
    assert left.exists()  # it may still be written
    os.utime(left, (0, 0))
    upload.store([("c.bin", b"x")])
    assert not left.exists()


def test_the_signal_of_an_interrupt_is_pythons_own():
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
