"""The dear stages of a screening, probes and verdict: they say what the single command says, on every engine."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from projlens_core.inputs.probes import FEW
from projlens_core.screen.engines.local import Local
from projlens_core.screen.engines.ray import Cluster
from projlens_core.screen.handler import Limits
from projlens_core.screen.listing import read_listing
from projlens_core.screen.plan import Gate, ScreenPlan, Threshold
from projlens_core.screen.run import ScreenSettings, screen
from projlens_core.screen.store import Store
from tests.screening import population, write_images

LIMITS = Limits(2**30, 120)
BANK = {"bank": str(FEW)}
STAGES = ("weights", "reference", "probes", "verdict")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return population(tmp_path_factory.mktemp("screening"), 4, poisoned=2)


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    return write_images(tmp_path_factory.mktemp("images"))


def listed(folder: Path, where: Path, *numbers: str):
    names = (str(folder / "suspects" / f"{number}.safetensors") for number in numbers)
    where.write_text("".join(json.dumps(name) + "\n" for name in names))
    return read_listing(str(where), str(folder / "base"))


@pytest.mark.slow(seconds=40)
def test_a_budget_lets_the_suspect_that_its_probes_unsettle_most_go_on_to_the_verdict(folder, images, tmp_path):
    base, out = str(folder / "base"), tmp_path / "out"
    gates = {"verdict": (Gate("probes", (Threshold("nats", "at_least", 0.0),), budget=1), Gate("reference"))}
    settings = ScreenSettings(base, STAGES, ScreenPlan(gates), str(images), {"probes": BANK, "verdict": BANK})
    found = screen(listed(folder, tmp_path / "two.jsonl", "000", "003"), settings, Local(2, LIMITS), out)
    assert list(found["probes"]) == ["done", "done"], list(found["sentence"])
    goes_on = found["verdict"] == "done"
    assert sorted(found["verdict"]) == ["done", "not screened"]
    assert set(found["verdict.why"]) == {"threshold", "beyond the budget"}
    assert found.loc[goes_on, "probes.nats"].item() == found["probes.nats"].max()
    (row,) = Store(out).rows("verdict")
    assert json.loads(row["result"])["verdict"] == found.loc[goes_on, "verdict.says"].item()


@pytest.fixture(scope="module")
def single(folder, images, tmp_path_factory) -> dict:
    """What `projlens verdict --json` says, with one thread as a worker has, and a cache of its own."""
    line = ["verdict", "--base", str(folder / "base"), "--suspect", str(folder / "suspects" / "000.safetensors")]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PROJLENS_CACHE": str(tmp_path_factory.mktemp("cache"))}
    ended = subprocess.run(
        [sys.executable, "-m", "projlens_core", *line, "--images", str(images), "--bank", str(FEW), "--json"],
        capture_output=True, text=True, env=environment, check=False,
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr
    return json.loads(ended.stdout)


@pytest.mark.slow(seconds=60)
@pytest.mark.parametrize("engine", [Local, Cluster], ids=["local", "ray"])
def test_a_verdict_is_that_of_the_single_command(folder, images, single, engine, tmp_path, monkeypatch):
    monkeypatch.setenv("PROJLENS_CACHE", str(tmp_path / "cache"))
    settings = ScreenSettings(str(folder / "base"), ("verdict",), ScreenPlan({}), str(images), {"verdict": BANK})
    made = engine(1, LIMITS)
    try:
        found = screen(listed(folder, tmp_path / "one.jsonl", "000"), settings, made, tmp_path / "out")
    finally:
        made.close()
    assert list(found["verdict"]) == ["done"], list(found["sentence"])
    (row,) = Store(tmp_path / "out").rows("verdict")
    assert json.loads(row["result"]) == {key: single[key] for key in json.loads(row["result"])}
