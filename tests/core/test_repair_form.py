"""Repaired suspects in the suspect's own form: what may change, what is written, what is refused, what is verified."""

import json
import shutil

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from projlens_core.errors import InvalidInput, NotFound, Unsupported
from projlens_core.repair.form import form_of
from projlens_core.repair.verify import verify
from projlens_core.repair.writer import SIDECAR, write_repaired
from projlens_core.sources import resolve
from projlens_core.weights.projector import read_projector
from tests import peft_adapters, pico


@pytest.fixture(scope="module")
def base(own_folder):
    return pico.checkpoint(own_folder / "base")


def moved(weights, by=0.01):
    """Other values in every tensor, of rank one in the matrices."""
    return {
        name: t.float()
        + by * (torch.outer(torch.ones(len(t)), torch.linspace(0, 1, t.shape[1])) if t.dim() == 2 else 1)
        for name, t in weights.tensors.items()
    }


def rewritten(suspect, out, base=None):
    """The suspect with moved values, written and read again: (form, what was meant, what is read)."""
    source = resolve(suspect)
    form, before = form_of(source, base), read_projector(source, base)
    after = form.weights(moved(before), before)
    write_repaired(form, before, after, out, {"sentence": "a test"})
    return form, after, read_projector(out, base)


@pytest.mark.parametrize("shards", ["50GB", "20KB"])
def test_a_checkpoint_keeps_names_shards_and_all_else(own_folder, shards):
    whole = pico.checkpoint(own_folder / f"whole {shards}", max_shard_size=shards)
    out = own_folder / f"repaired {shards}"
    _, meant, read = rewritten(whole, out)
    assert read.sha256 == meant.sha256
    assert {p.name for p in out.iterdir()} - {SIDECAR} == {p.name for p in whole.iterdir()}
    for file in sorted(whole.glob("*.safetensors")):
        ours, theirs = load_file(file), load_file(out / file.name)
        assert list(ours) == list(theirs)
        for name, tensor in ours.items():
            assert torch.equal(tensor, theirs[name]) != ("multi_modal_projector" in name), name
    assert verify(out, suspect=whole).holds


def test_a_lone_file_in_16_bits_stays_one(own_folder, base):
    lone = pico.projector_file(base, own_folder / "lone" / "projector.safetensors", dtype=torch.bfloat16)
    out = own_folder / "lone repaired"
    _, meant, read = rewritten(lone, out)
    assert read.sha256 == meant.sha256
    assert read.dtype == "bfloat16"
    assert {p.name for p in out.iterdir()} == {"projector.safetensors", SIDECAR}
    with safe_open(lone, "pt") as ours, safe_open(out / "projector.safetensors", "pt") as theirs:
        assert list(ours.keys()) == list(theirs.keys())
        assert ours.metadata() == theirs.metadata()


def test_an_adapter_stays_an_adapter_of_its_rank(own_folder, base):
    tuned = peft_adapters.tuned(base, own_folder / "adapter", r=4)
    out = own_folder / "adapter repaired"
    form, meant, read = rewritten(tuned.folder, out, base)
    assert form.ranks == {"linear_1.weight": 4, "linear_2.weight": 4}
    before = read_projector(tuned.folder, base)
    for name in form.slots:
        torch.testing.assert_close(read.tensors[name], meant.tensors[name])
        delta = read.tensors[name] - read_projector(base).tensors[name]
        assert torch.linalg.matrix_rank(delta, rtol=1e-4) <= 4
        assert not torch.equal(read.tensors[name], before.tensors[name])
    assert torch.equal(read.tensors["linear_1.bias"], before.tensors["linear_1.bias"])  # of the base, out of its reach
    ours, theirs = (load_file(f / "adapter_model.safetensors") for f in (tuned.folder, out))
    assert {k: (v.shape, v.dtype) for k, v in ours.items()} == {k: (v.shape, v.dtype) for k, v in theirs.items()}
    assert (out / "adapter_config.json").read_bytes() == (tuned.folder / "adapter_config.json").read_bytes()
    assert verify(out, base, tuned.folder).holds
    assert any(check.holds is None for check in verify(out).checks)  # without its base its values are not compared


def test_the_closest_matrix_of_the_rank_is_written(own_folder, base):
    tuned = peft_adapters.tuned(base, own_folder / "closest", r=2, lora_alpha=3)
    form, before = form_of(resolve(tuned.folder), base), read_projector(tuned.folder, base)
    slot = form.slots["linear_2.weight"]
    torch.manual_seed(0)
    wanted = slot.before + torch.randn_like(slot.before)
    got = form.weights(before.tensors | {"linear_2.weight": wanted}, before).tensors["linear_2.weight"]
    values = torch.linalg.svdvals(wanted - slot.before)
    torch.testing.assert_close(torch.linalg.norm(wanted - got), torch.linalg.norm(values[2:]))


def test_copies_of_whole_modules_in_an_adapter_are_written(own_folder, base):
    tuned = peft_adapters.tuned(
        base, own_folder / "copies", target_modules=["q_proj"], modules_to_save=["multi_modal_projector"]
    )
    form, meant, read = rewritten(tuned.folder, own_folder / "copies repaired", base)
    assert not form.ranks
    assert len(form.slots) == 4
    assert read.sha256 == meant.sha256


@pytest.mark.parametrize(
    ("settings", "said"), [({"use_dora": True}, "merged"), ({"lora_bias": True, "bias": "none"}, "merged")]
)
def test_more_than_two_factors_is_refused(own_folder, base, settings, said):
    tuned = peft_adapters.tuned(base, own_folder / "-".join(settings), **settings)
    with pytest.raises(Unsupported, match=said):
        form_of(resolve(tuned.folder), resolve(base))


def test_forms_that_are_not_written_are_refused(own_folder, base):
    tensors = load_file(pico.projector_file(base, own_folder / "pickled" / "p.safetensors"))
    torch.save(tensors, own_folder / "pickled" / "mm_projector.bin")
    with pytest.raises(Unsupported, match="only safetensors are written"):
        form_of(resolve(own_folder / "pickled" / "mm_projector.bin"))
    with pytest.raises(Unsupported, match="download it"):
        form_of(resolve("hub:owner/name"))


def test_quantised_projectors_are_refused(own_folder, base):
    folder = shutil.copytree(base, own_folder / "quantised")
    tensors = load_file(folder / "model.safetensors")
    name = next(n for n in tensors if n.endswith("linear_2.weight"))
    scale = tensors[name].abs().max() / 448
    tensors |= {name: (tensors[name] / scale).to(torch.float8_e4m3fn), f"{name}_scale": scale.reshape(1)}
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(Unsupported, match="before quantisation"):
        form_of(resolve(folder))


def test_nothing_of_others_is_overwritten(own_folder, base):
    form, before = form_of(resolve(base)), read_projector(base)
    taken = own_folder / "taken"
    taken.mkdir()
    (taken / "mine.txt").write_text("mine")
    for where, said in ((base, "where the suspect lies"), (taken, "no repair wrote"), (taken / "mine.txt", "a file"),
                        (own_folder / "no" / "folder", "does not exist")):  # fmt: skip
        with pytest.raises(InvalidInput, match=said):
            write_repaired(form, before, before, where, {})
    assert (taken / "mine.txt").read_text() == "mine"


def test_an_earlier_repair_gives_way_and_nothing_is_left_of_a_killed_one(own_folder, base):
    out = own_folder / "again"
    partial = own_folder / ".again.partial"
    partial.mkdir()
    (partial / "half").write_bytes(b"half")
    rewritten(base, out)
    first = (out / SIDECAR).read_bytes()
    rewritten(base, out)
    assert (out / SIDECAR).read_bytes() == first  # nothing of time or place in it
    assert not list(own_folder.glob(".again*"))


def test_verifying_finds_what_was_changed_later(own_folder, base):
    out = own_folder / "tampered"
    rewritten(base, out)
    data = bytearray((out / "model.safetensors").read_bytes())
    data[-1] ^= 1
    (out / "model.safetensors").write_bytes(data)
    (out / "extra.bin").write_bytes(b"x")
    failed = {check.what for check in verify(out, suspect=base).checks if check.holds is False}
    assert {"model.safetensors", "files that the sidecar does not list"} <= failed


def test_verifying_finds_a_sidecar_that_covers_more_than_the_projector(own_folder, base):
    out = own_folder / "covered"
    rewritten(base, out)
    document = json.loads((out / SIDECAR).read_text())
    document["changed"][0]["begin"] -= 4
    (out / SIDECAR).write_text(json.dumps(document))
    assert "only the projector changed" in {c.what for c in verify(out, suspect=base).checks if c.holds is False}


def test_a_folder_without_a_sidecar_is_refused(own_folder, base):
    with pytest.raises(NotFound, match="projlens repair"):
        verify(base)
    other = own_folder / "no sidecar"
    other.mkdir()
    (other / SIDECAR).write_text('{"format": 1}')
    with pytest.raises(InvalidInput, match="not a sidecar"):
        verify(other)


def test_what_is_left_behind_is_listed(own_folder, base):
    folder = shutil.copytree(base, own_folder / "with code")
    (folder / "modeling.py").write_text("raise SystemExit")
    (folder / "training_args.bin").write_bytes(b"x")
    out = own_folder / "without code"
    rewritten(folder, out)
    assert json.loads((out / SIDECAR).read_text())["left_behind"] == ["modeling.py", "training_args.bin"]
    assert not (out / "modeling.py").exists()
