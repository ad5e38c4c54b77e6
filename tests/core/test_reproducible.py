"""The same inputs, seed and versions give the same numbers: bit for bit from process to process on a CPU."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests import pico

# Runs command after command with --json; what each wrote is one line of its output.
CHILD = """
import json, sys
from projlens_core.cli import main
for line in json.loads(sys.argv[1]):
    if main(line):
        sys.exit(f"{line[0]} failed")
"""
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def lines(tmp_path_factory) -> dict[str, list[str]]:
    """Every command that finds numbers, with its arguments."""
    folder = pico.case(
        tmp_path_factory.mktemp("case"),
        strength=(6.0, 3.0),
        count=6,
        trigger={"kind": "gaussian", "std": 40, "resolution": 48},  # noise, so that its seed counts
        control=(0.5,) * 8,
    )
    case = [f"--{role}={folder / role}" for role in ("base", "suspect")]
    control = f"--control={folder / 'control'}"
    images = [f"--images={folder / 'images'}", f"--trigger={folder / 'trigger.json'}"]
    asked = ["--prompt=What?", "--target=a", "--max-new-tokens=4"]
    arguments = {
        "weights": [*case, control],
        "spectrum": [*case, control],
        "activations": [*case, control, *images],
        "shift": [*case, control, *images],
        "lens": [*case, control, *images],
        "neurons": [*case, control, *images],
        "separability": [*case, control, *images],
        "robustness": [*case, control, *images],
        "asr": [*case, *images, *asked],
        "lowrank": [*case, *images, *asked, "--ranks", "0", "2"],
    }
    return {command: [command, *rest, "--json"] for command, rest in arguments.items()}


def run(lines: dict[str, list[str]], cache: Path, seed: int, threads: int = 1) -> dict[str, str]:
    """What the commands write in one fresh process with an empty cache, its own order of sets and so many threads."""
    settings = {"PROJLENS_CACHE": str(cache), "PYTHONHASHSEED": str(seed), "PROJLENS_DEVICE": "cpu"}
    settings |= {"OMP_NUM_THREADS": str(threads), "MKL_NUM_THREADS": str(threads)}
    done = subprocess.run(
        [sys.executable, "-c", CHILD, json.dumps(list(lines.values()))],
        cwd=ROOT, env=os.environ | settings, capture_output=True, text=True, timeout=600,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return dict(zip(lines, done.stdout.splitlines(), strict=True))


@pytest.fixture(scope="module")
def first(lines, tmp_path_factory) -> dict[str, str]:
    return run(lines, tmp_path_factory.mktemp("first"), seed=1)


def test_weights_are_compared_the_same_in_another_process_bit_for_bit(lines, tmp_path):
    of_weights = {command: lines[command] for command in ("weights", "spectrum")}
    assert run(of_weights, tmp_path, seed=1) == run(of_weights, tmp_path, seed=2)


@pytest.mark.slow(seconds=30)
def test_every_command_writes_the_same_json_in_another_process_bit_for_bit(lines, first, tmp_path):
    again = run(lines, tmp_path, seed=2)
    assert [command for command in lines if first[command] != again[command]] == []


def numbers(value: object) -> list[float]:
    match value:
        case dict():
            return [number for item in value.values() for number in numbers(item)]
        case list():
            return [number for item in value for number in numbers(item)]
        case bool() | int() | float():
            return [float(value)]
    return []


@pytest.mark.slow(seconds=20)
def test_with_more_threads_numbers_differ_by_no_more_than_rounding(lines, first, tmp_path):
    some = {command: lines[command] for command in ("weights", "spectrum", "activations", "separability", "asr")}
    more = run(some, tmp_path, seed=1, threads=2)
    for command, said in more.items():
        np.testing.assert_allclose(numbers(json.loads(said)), numbers(json.loads(first[command])), rtol=1e-4, atol=1e-5)
