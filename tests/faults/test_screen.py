"""A screening whose workers, coordinator, disk or cluster fail: it ends complete, with the same table."""

import os
import random
import secrets
import signal
import subprocess
import sys
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import psutil
import pytest

from projlens_core.errors import Shortage
from projlens_core.runtime import helper
from projlens_core.screen.engines.local import Local
from projlens_core.screen.engines.ray import Cluster
from projlens_core.screen.store import Store
from tests.faults.children import child
from tests.faults.screening import LIMITS, screen_on_a_disk_that_is_full_for_a_while, screen_until, screened
from tests.screening import population

SUSPECTS, KILLS = 24, 10


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return population(tmp_path_factory.mktemp("screening"), SUSPECTS, poisoned=4)


@pytest.fixture(scope="module")
def undisturbed(folder, tmp_path_factory) -> bytes:
    """The table of a run to which nothing happens."""
    return bytes_of(folder, tmp_path_factory.mktemp("undisturbed"))


def bytes_of(folder: Path, out: Path, *more: object) -> bytes:
    screened(str(folder), str(out), *more)
    return (out / "table.parquet").read_bytes()


def test_workers_killed_at_ten_random_points_change_nothing(folder, undisturbed, tmp_path):
    dice, killed = random.Random(0), []
    points = set(dice.sample(range(1, SUSPECTS - 2), KILLS))

    def report(progress):
        if progress.stage == "weights" and progress.done in points:
            points.discard(progress.done)
            process = psutil.Process(helper.present()._process.pid)
            workers = process.children()
            # once the one that starts them, and with it all of them
            victim = process if len(killed) == KILLS // 2 or not workers else dice.choice(workers)
            with suppress(psutil.NoSuchProcess):
                victim.kill()
            killed.append(victim.pid)

    assert bytes_of(folder, tmp_path, report) == undisturbed
    assert len(killed) == KILLS


def test_a_killed_screening_goes_on_from_what_was_written(folder, undisturbed, tmp_path):
    with child(tmp_path / "cache", screen_until, str(folder), str(tmp_path / "out"), 9) as running:
        assert running.heard() == 9
        running.kill()
    kept = Store(tmp_path / "out").keys("weights", ("done",))
    assert len(kept) >= 8  # the ninth is being written
    given = []

    class Counting(Local):
        def rows(self, tasks):
            tasks = list(tasks)
            given.extend(tasks)
            return super().rows(tasks)

    assert bytes_of(folder, tmp_path / "out", lambda _: None, Counting(2, LIMITS)) == undisturbed
    assert {task.key for task in given}.isdisjoint(kept)
    assert len(given) + len(kept) == SUSPECTS


def test_a_disk_that_is_full_for_a_while_loses_nothing(folder, undisturbed, tmp_path):
    out = tmp_path / "out"
    with child(tmp_path / "cache", screen_on_a_disk_that_is_full_for_a_while, str(folder), str(out)) as run:
        assert run.result() == SUSPECTS
    assert (out / "table.parquet").read_bytes() == undisturbed


def test_ctrl_c_ends_it_with_a_sentence_and_nothing_of_it_goes_on(folder, tmp_path):
    (tmp_path / "toys").mkdir()
    line = [sys.executable, "-m", "projlens_core", "screen", str(folder / "suspects.jsonl")]
    line += ["--base", str(folder / "base"), "--out", str(tmp_path / "out")]
    with subprocess.Popen(line, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True) as process:
        assert process.stderr.readline().startswith("listing")
        started = psutil.Process(process.pid)
        process.send_signal(signal.SIGINT)
        said = process.stderr.read()
        left = started.children(recursive=True) if started.is_running() else []
    assert process.returncode == 1
    assert said.splitlines()[-1] == "Stopped; what was finished is kept."
    assert not [each for each in left if each.is_running()]


@pytest.mark.slow(seconds=40)
def test_ray_gives_the_same_bytes(folder, undisturbed, tmp_path):
    engine = Cluster(2, LIMITS)
    try:
        assert bytes_of(folder, tmp_path, lambda _: None, engine) == undisturbed
    finally:
        engine.close()


@contextmanager
def node(port: int, *, of_head: bool):
    """A node of a Ray cluster with one core, its head or one that has joined it; ended with all that it started."""
    line = [sys.executable, "-m", "ray.scripts.scripts", "start", "--block", "--num-cpus=1", "--disable-usage-stats"]
    line += ["--head", f"--port={port}", "--include-dashboard=false"] if of_head else [f"--address=127.0.0.1:{port}"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(os.path.abspath, sys.path))}  # and the test's token
    process = psutil.Popen(
        line, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=environment, text=True, start_new_session=True
    )
    try:
        said = []
        while "Ray runtime started" not in "".join(said):
            said.append(process.stdout.readline())
            assert said[-1], "".join(said)  # it has ended
        yield process
    finally:
        for each in [*process.children(recursive=True), process]:
            with suppress(psutil.NoSuchProcess):
                each.kill()
        process.communicate()


@contextmanager
def cluster(port: int):
    """A Ray cluster of two nodes, one core each, so that two workers are on different ones: the nodes, head first."""
    with node(port, of_head=True) as first, node(port, of_head=False) as second:
        yield first, second


def actors(of: psutil.Process) -> list[psutil.Process]:
    """The workers on a node."""
    return [each for each in of.children(recursive=True) if "ray::Worker" in " ".join(each.cmdline())]


@pytest.mark.slow(seconds=80)
def test_a_ray_cluster_of_two_nodes_whose_workers_and_head_are_killed_gives_the_same_bytes(
    folder, undisturbed, tmp_path, monkeypatch
):
    monkeypatch.setenv("RAY_AUTH_MODE", "token")
    monkeypatch.setenv("RAY_AUTH_TOKEN", secrets.token_hex(32))  # of this cluster alone
    port = 20_000 + os.getpid() % 10_000
    points = {3: "worker", 6: "worker", 10: "cluster"}  # rows, after which this is killed
    worked = set()  # nodes on which there was a worker
    with ExitStack() as nodes:
        running = nodes.enter_context(cluster(port))

        def report(progress):
            nonlocal running
            if progress.stage != "weights":
                return
            workers = [(number, each) for number, of in enumerate(running) for each in actors(of)]
            worked.update(number for number, _ in workers)
            what = points.pop(progress.done, None)
            if what == "cluster":
                nodes.close()
                running = nodes.enter_context(cluster(port))
            elif what == "worker":
                workers[-1][1].kill()

        engine = Cluster(2, LIMITS, f"127.0.0.1:{port}")
        try:
            assert bytes_of(folder, tmp_path / "out", report, engine) == undisturbed
            assert points == {}
            assert worked == {0, 1}
        finally:
            engine.close()


@pytest.mark.slow(seconds=70)
def test_a_cluster_that_is_not_there_is_one_sentence(folder, tmp_path):
    engine = Cluster(1, LIMITS, "127.0.0.1:9")
    with pytest.raises(Shortage, match=r"The Ray cluster 127\.0\.0\.1:9 cannot be reached"):
        screened(str(folder), str(tmp_path), engine=engine)
