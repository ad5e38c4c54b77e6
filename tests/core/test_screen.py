"""A screening of many suspects: the single command's numbers, one row each whatever they are, nothing done twice."""

import json
import shutil

import pandas as pd
import pytest
import torch
from safetensors.torch import load_file, save_file

from projlens_core.behaviour.token_search import references, residuals
from projlens_core.cases.case import Case
from projlens_core.cases.models import Loaded
from projlens_core.cli import main
from projlens_core.errors import InvalidInput
from projlens_core.inputs.images import load_folder
from projlens_core.inputs.probes import read_bank
from projlens_core.inputs.triggers import frame
from projlens_core.runtime.progress import silent
from projlens_core.screen import stages, table
from projlens_core.screen.engines.local import Local
from projlens_core.screen.handler import Limits
from projlens_core.screen.listing import read_listing
from projlens_core.screen.plan import ScreenPlan
from projlens_core.screen.run import ScreenSettings, screen
from projlens_core.screen.store import Store
from tests.screening import LAST, population, write_images
from tests.toys import screening as toy

LIMITS = Limits(memory=512 * 2**20, seconds=30)
SHORT = Limits(memory=512 * 2**20, seconds=1.0)  # a sound toy takes some hundredths
POISONED = 2


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return population(tmp_path_factory.mktemp("screening"), 6, poisoned=POISONED)


@pytest.fixture(scope="module")
def screened(folder, tmp_path_factory):
    """The whole population with its first honest member as the control: result folder and table."""
    out = tmp_path_factory.mktemp("out")
    return out, done(folder, out)


@pytest.fixture
def toys(monkeypatch):
    monkeypatch.setitem(stages.STAGES, toy.STAGE.key, toy.STAGE)


class Counting(Local):
    """The local engine, and the suspects that it was given."""

    def rows(self, tasks):
        tasks = list(tasks)
        self.given = [task.suspect for task in tasks]
        return super().rows(tasks)


def done(folder, out, where=None, engine=None, **settings) -> pd.DataFrame:
    base = str(folder / "base")
    control = (str(folder / "suspects" / "005.safetensors"),)
    listing = read_listing(str(where or folder / "suspects.jsonl"), base, control)
    return screen(listing, ScreenSettings(base, plan=ScreenPlan({}), **settings), engine or Local(2, LIMITS), out)


def of_toys(folder, out, texts: dict[str, str], limits=LIMITS, **settings):
    """The toy stage over files with these texts."""
    (folder / "toys").mkdir(exist_ok=True)
    for name, text in texts.items():
        (folder / "toys" / f"{name}.bin").write_text(text)
    base = str(folder / "base")
    listing = read_listing(str(folder / "toys"), base)
    engine = Counting(2, limits)
    found = screen(listing, ScreenSettings(base, ("toy",), ScreenPlan({}), **settings), engine, out)
    return found.set_index(found["suspect"].map(lambda name: name.rpartition("/")[2].removesuffix(".bin"))), engine


def test_scores_are_those_of_the_single_command(folder, screened, capsys):
    out, _ = screened
    rows = {row["suspect"]: json.loads(row["result"]) for row in Store(out).rows("weights")}
    for name in ("000", "003"):
        suspect = str(folder / "suspects" / f"{name}.safetensors")
        assert main(["case", "--base", str(folder / "base"), "--suspect", suspect, "--json"]) == 0
        single = json.loads(capsys.readouterr().out)
        mine = rows[suspect]
        assert mine["sha256"] == single["sha256"]["suspect"]
        assert mine["notes"] == single["notes"]
        for ours, theirs in zip(mine["tensors"], single["tensors"], strict=True):
            cut = {
                key: value[:30] if isinstance(value, list) and key != "shape" else value
                for key, value in theirs.items()
            }
            assert ours == cut


def test_the_table_has_a_row_for_each_entry_and_ranks_the_poisoned_first(folder, screened):
    _, found = screened
    assert list(found["role"]) == ["control"] + ["suspect"] * 6
    assert set(found["weights"]) == {"done"}
    assert list(found["truth"].iloc[1:]) == ["poisoned"] * 2 + ["honest"] * 4
    ranked = found.iloc[1:].sort_values("weights.energy_top5", ascending=False)
    assert set(ranked["truth"].head(POISONED)) == {"poisoned"}
    assert found["copy of"].isna().all()


def test_a_rerun_does_nothing_and_its_table_is_the_same_bytes(folder, screened):
    out, _ = screened
    before = (out / "table.parquet").read_bytes()
    engine = Counting(2, LIMITS)
    done(folder, out, engine=engine)
    assert engine.given == []
    assert (out / "table.parquet").read_bytes() == before
    again = table.assemble(table.read_description(out), Store(out))
    pd.testing.assert_frame_equal(again, pd.read_parquet(out / "table.parquet"), check_dtype=False)


def test_only_what_is_new_or_changed_is_done_and_a_copy_is_not(folder, screened, tmp_path):
    _, _ = screened
    mine = tmp_path / "mine"
    shutil.copytree(folder / "suspects", mine)
    out = tmp_path / "out"
    done(folder, out, mine)
    changed = load_file(mine / "002.safetensors")
    changed[LAST] = changed[LAST] * 1.5
    save_file(changed, mine / "002.safetensors")
    shutil.copy(mine / "001.safetensors", mine / "a-copy.safetensors")
    engine = Counting(2, LIMITS)
    found = done(folder, out, mine, engine)
    assert engine.given == [str(mine / "002.safetensors")]
    copy = found[found["suspect"].str.endswith("a-copy.safetensors")].iloc[0]
    assert copy["copy of"] == str(mine / "001.safetensors")
    assert copy["weights"] == "done"


def test_suspects_that_share_a_direction_are_one_cluster(folder, tmp_path):
    mine = tmp_path / "mine"
    shutil.copytree(folder / "suspects", mine)
    stolen = load_file(mine / "000.safetensors")
    stolen[LAST] = stolen[LAST] + 1e-4 * torch.randn(stolen[LAST].shape, generator=torch.Generator().manual_seed(9))
    save_file(stolen, mine / "stolen.safetensors")
    found = done(folder, tmp_path / "out", mine)
    alike = found[
        found["cluster"] == found["cluster"].iloc[1]
    ]  # of 000; the control is in the folder, a second cluster
    assert [name.rpartition("/")[2] for name in alike["suspect"]] == ["000.safetensors", "stolen.safetensors"]
    assert found["cluster"].nunique() == 2


def test_whatever_a_suspect_is_it_is_one_row_with_one_sentence(folder, tmp_path):
    mine = tmp_path / "mine"
    shutil.copytree(folder / "suspects", mine)
    bad = load_file(mine / "000.safetensors")
    bad[LAST][0, 0] = float("nan")
    save_file(bad, mine / "nan.safetensors")
    save_file({name: each[..., :-1].contiguous() for name, each in bad.items()}, mine / "narrow.safetensors")
    (mine / "pickle.bin").write_bytes(b"\x80\x04cos\nsystem\n(S'touch /tmp/hacked'\ntR.")
    (mine / "cut.safetensors").write_bytes((mine / "001.safetensors").read_bytes()[:-100])
    (mine / "empty").mkdir()
    (mine / "text.txt").write_text("no model")
    lines = [json.dumps({"suspect": path.name}) for path in sorted(mine.iterdir())]
    (mine / "list.jsonl").write_text("\n".join([*lines, json.dumps({"suspect": "gone"}), json.dumps("hub:a b")]))
    found = done(folder, tmp_path / "out", mine / "list.jsonl")
    wrong = found[found["weights"] != "done"]
    names = [name.rpartition("/")[2] for name in wrong["suspect"]]
    assert names == ["cut.safetensors", "empty", "nan.safetensors", "narrow.safetensors", "pickle.bin", "text.txt",
                     "gone", "hub:a b"]  # fmt: skip
    assert all(sentence and "\n" not in sentence for sentence in wrong["sentence"])
    assert set(wrong["weights"]) == {"failed"}
    assert (found["weights"] == "done").sum() == 7


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("hang", "longer than any sound one takes"),
        ("loop", "longer than any sound one takes"),
        ("eat", "needs more than 128 MB"),
        ("abort", "SIGABRT"),
        ("exit", "without a result"),
        ("answer", "grows to more than"),
    ],
)
def test_what_hangs_eats_or_crashes_is_stopped_and_the_others_are_done(folder, tmp_path, toys, text, says):
    limits = {"answer": LIMITS, "eat": Limits(128 * 2**20, 30)}.get(text, SHORT)
    mine = tmp_path_with_base(tmp_path, folder)
    found, _ = of_toys(mine, tmp_path / "out", {"a": "x", "b": text, "c": "yy"}, limits)
    assert list(found["toy"]) == ["done", "stopped", "done"]
    assert says in found.loc["b", "sentence"]
    assert found["toy.length"].dropna().tolist() == [1.0, 2.0]


def test_what_was_stopped_is_done_again_only_if_asked_for(folder, tmp_path, toys):
    mine, out = tmp_path_with_base(tmp_path, folder), tmp_path / "out"
    texts = {"a": "exit", "b": "refuse", "c": "fail", "d": "x"}
    found, _ = of_toys(mine, out, texts)
    assert list(found["toy"]) == ["stopped", "failed", "failed", "done"]
    assert found.loc["b", "sentence"] == "It is not what this stage takes."
    assert "KeyError: 'a defect'" in found.loc["c", "sentence"]
    assert of_toys(mine, out, texts)[1].given == []
    assert [name[-5:] for name in of_toys(mine, out, texts, retry=True)[1].given] == ["a.bin"]


def test_two_screenings_into_one_folder_are_refused(folder, screened):
    out, _ = screened
    from filelock import FileLock

    with FileLock(out / ".lock"), pytest.raises(InvalidInput, match="Another process is screening"):
        done(folder, out)


def test_the_command_prints_counts_precision_and_recall_and_writes_csv(folder, tmp_path, capsys):
    control = str(folder / "suspects" / "005.safetensors")
    line = ["screen", str(folder / "suspects.jsonl"), "--base", str(folder / "base"), "--control", control]
    line += ["--out", str(tmp_path / "out"), "--csv", str(tmp_path / "table.csv"), "--seconds", "30"]
    assert main(line) == 0
    said = capsys.readouterr()
    assert "7 models: 6 suspects, 1 controls" in said.out
    assert "weights: 7 done" in said.out
    assert "above every control: precision" in said.out
    assert "separates 2 poisoned from 4 honest with AUROC 1.000" in said.out
    assert "weights: 6 of 6" in said.err
    assert len(pd.read_csv(tmp_path / "table.csv")) == 7
    (tmp_path / "gone.jsonl").write_text('{"suspect": "nothing.bin"}\n')
    line[1] = str(tmp_path / "gone.jsonl")
    with pytest.raises(SystemExit) as ended:
        main([*line, "--fail-on", "failed"])
    assert ended.value.code == 3


def tmp_path_with_base(tmp_path, folder):
    """A folder of the test's own with the population's base."""
    mine = tmp_path / "own"
    mine.mkdir()
    (mine / "base").symlink_to(folder / "base")
    return mine


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    return write_images(tmp_path_factory.mktemp("images"))


def test_residuals_are_those_of_the_verdicts_own_stage(folder, images, tmp_path):
    found = done(folder, tmp_path, stages=("weights", "reference"), images=str(images))
    assert set(found["reference"]) == {"done"}, list(found["sentence"])
    row = next(each for each in Store(tmp_path).rows("reference") if each["suspect"].endswith("000.safetensors"))
    suspect = str(folder / "suspects" / "000.safetensors")
    case = Case(str(folder / "base"), suspect)
    models = Loaded("cpu")
    vision = models.vision(case).shared
    framed = [frame(image.pixels, vision.image_size) for image in load_folder(images).images]
    projectors = models.opened(case, silent).projectors
    matched = references(vision, projectors, framed[3:], silent)
    bank = read_bank(vision.image_size)[:3]
    single = list(residuals(vision, matched, framed[:3], bank, silent))
    mine = json.loads(row["result"])["residuals"][: len(single)]
    for ours, theirs in zip(mine, single, strict=True):
        assert ours["probe"] == theirs.probe.name
        assert ours["largest"] == pytest.approx(theirs.largest["suspect"], rel=1e-5)
        assert ours["mean"] == pytest.approx(theirs.mean["suspect"], rel=1e-5)


def test_a_stage_that_looks_at_images_asks_for_some(folder, tmp_path):
    with pytest.raises(InvalidInput, match="give a folder of them"):
        done(folder, tmp_path, stages=("reference",))
