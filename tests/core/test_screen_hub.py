"""Suspects of the Hub: an owner's models listed and pinned, read by range in a process that may connect and no more."""

import json

import pytest

from projlens_core.errors import InvalidInput
from projlens_core.runtime.child import Child
from projlens_core.runtime.confine import CONNECT
from projlens_core.screen.engines.local import Local
from projlens_core.screen.handler import Limits
from projlens_core.screen.listing import read_listing
from projlens_core.screen.plan import ScreenPlan
from projlens_core.screen.run import ScreenSettings, screen
from projlens_core.screen.store import Store
from projlens_core.weights import hub_ranges
from projlens_core.weights.projector import read_projector
from tests import peft_adapters, pico
from tests.hub import COMMIT, serving

PINNED = f"hub:owner/model@{COMMIT}"


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    base = pico.checkpoint(folder / "base")
    pico.suspect(base, folder / "suspect", strength=(4.0,))
    return folder


@pytest.fixture
def hub(models, monkeypatch):
    with serving(models / "suspect") as server:
        monkeypatch.setenv("HF_ENDPOINT", server.endpoint)
        yield server


def screened(models, where: str, out):
    base = str(models / "base")
    return screen(
        read_listing(where, base), ScreenSettings(base, plan=ScreenPlan({})), Local(1, Limits(2**30, 60)), out
    )


def test_an_owners_models_are_listed_once_each_at_their_commit(hub):
    assert [each.suspect for each in read_listing("hub:owner", "base").entries] == [PINNED]


def test_a_model_of_the_hub_is_screened_as_one_that_lies_here_and_only_its_projector_is_fetched(hub, models, tmp_path):
    found = screened(models, "hub:owner", tmp_path / "hub")
    assert list(found["weights"]) == ["done"], found["sentence"].iloc[0]
    screened(models, str(models / "suspect"), tmp_path / "here")
    results = [json.loads(next(Store(tmp_path / name).rows())["result"]) for name in ("hub", "here")]
    assert results[0]["tensors"] == results[1]["tensors"]
    assert hub.sent < (models / "suspect" / "model.safetensors").stat().st_size / 2


def test_a_branch_is_pinned_to_its_commit_so_that_a_rerun_does_nothing(hub, models, tmp_path):
    (tmp_path / "list.jsonl").write_text('"hub:owner/model"\n')
    screened(models, str(tmp_path / "list.jsonl"), tmp_path / "out")
    sent = hub.sent
    found = screened(models, str(tmp_path / "list.jsonl"), tmp_path / "out")
    assert hub.sent == sent
    assert list(found["suspect"]) == ["hub:owner/model"]


def test_an_owner_that_is_none_is_said(hub):
    with pytest.raises(InvalidInput, match="no owner on the Hub"):
        read_listing("hub:x y", "base")


def test_a_child_that_may_connect_may_start_no_process(hub):
    port = hub.server_port
    with Child("tests.hostile:connects_only", what="It", memory=2**27, seconds=2, output=2**20, may=CONNECT) as child:
        assert child.ask({"port": port}) == {"connected": True, "started": "PermissionError"}
    with (
        Child("tests.hostile:connects_only", what="It", memory=2**27, seconds=2, output=2**20) as child,
        pytest.raises(InvalidInput, match="PermissionError"),
    ):
        child.ask({"port": port})


def test_workers_of_one_machine_fetch_a_base_of_the_hub_once(models, monkeypatch, tmp_path):
    """Two runs of two workers each, an adapter on it among them; the rows are those of a base that lies here."""
    for number in range(3):
        pico.suspect(models / "base", tmp_path / "list" / f"suspect-{number}", strength=(1.0 + number,))
    peft_adapters.tuned(models / "base", tmp_path / "list" / "adapter")
    with serving(models / "base") as server:
        monkeypatch.setenv("HF_ENDPOINT", server.endpoint)
        for name in ("first", "second"):
            screen(
                read_listing(str(tmp_path / "list"), PINNED), ScreenSettings(PINNED, plan=ScreenPlan({})),
                Local(2, Limits(2**30, 60)), tmp_path / name,
            )  # fmt: skip
        asked = [place for name, place, _ in server.seen if name == "model.safetensors"]
    assert asked
    assert len(asked) == len(set(asked))
    base = str(models / "base")
    screen(
        read_listing(str(tmp_path / "list"), base),
        ScreenSettings(base, plan=ScreenPlan({})),
        Local(1, Limits(2**30, 60)),
        tmp_path / "here",
    )
    of_hub, here = (sorted(row["scores"] for row in Store(tmp_path / name).rows()) for name in ("first", "here"))
    assert of_hub == here


def test_ranges_that_were_damaged_are_asked_of_the_hub_again(models, monkeypatch, tmp_path):
    with serving(models / "suspect") as server:
        monkeypatch.setenv("HF_ENDPOINT", server.endpoint)
        with hub_ranges.recording() as found:
            read = read_projector(PINNED)
        path = tmp_path / "kept.ranges"
        whole = hub_ranges.packed(found)
        for written, more in (
            (whole, 0),
            (whole[:-1] + bytes([whole[-1] ^ 1]), 1),
            (whole[:40], len(found)),
            (b"", len(found)),
        ):
            path.write_bytes(written)
            hub_ranges.use(None)
            hub_ranges.use(path)
            before = len(server.seen)
            assert read_projector(PINNED).sha256 == read.sha256
            assert len(server.seen) - before == more
        hub_ranges.use(None)
