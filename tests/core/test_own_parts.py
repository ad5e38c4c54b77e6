"""Which parts a model brings of its own, told by content for every family that is asked."""

import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file

from projlens_core.behaviour.prompts import STYLES
from projlens_core.cases.case import Case
from projlens_core.cases.models import Loaded
from projlens_core.cases.whose import whose
from projlens_core.runtime.progress import silent
from projlens_core.weights.families import match
from projlens_core.weights.own_parts import LANGUAGE, OWN, SAME, TOWER
from projlens_core.weights.projector import read_projector
from tests import pico
from tests.core.test_respond_families import QUESTION, SIZE, loaded, save

from tests import pico_families  # isort: skip

SEES = ("vision", "visual", "image_vit", "img_processor", "patch_embed")
SPEAKS = ("lm_head", "embed_tokens.", "layers.0.")

pytestmark = pytest.mark.usefixtures("own_folder")


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    """{family: its folder, and the names of its tensors outside the projector}."""
    kept = {}

    def get(name):
        if name not in kept:
            model = pico_families.model(name)
            folder = save(model, name, tmp_path_factory.mktemp(name) / "base")
            stored = load_file(folder / "model.safetensors")
            found = match(stored, model.config.model_type, name)
            kept[name] = folder, [n for n in stored if n not in {*found.tensors.values(), *found.adjacent.values()}]
        return kept[name]

    return get


def moved(folder, copy, *names):
    shutil.copytree(folder, copy)
    tensors = load_file(folder / "model.safetensors")
    generator = torch.Generator().manual_seed(2)
    for name in names:
        tensors[name] = tensors[name] + 0.3 * torch.randn(tensors[name].shape, generator=generator)
    save_file(tensors, copy / "model.safetensors", metadata={"format": "pt"})
    return copy


def statuses(base, suspect):
    found = whose(Case(str(base), str(suspect)))
    return {part: standing.status for part, standing in found.standings["suspect"].items()}


@pytest.mark.parametrize("name", STYLES)
def test_one_changed_tensor_makes_its_part_the_models_own(name, base, tmp_path):
    folder, rest = base(name)
    sees = [n for n in rest if any(word in n for word in SEES) and "generation" not in n and "audio" not in n]
    speaks = [n for n in rest if n not in sees and any(word in n for word in SPEAKS) and "audio" not in n]
    assert statuses(folder, moved(folder, tmp_path / "same")).items() <= {TOWER: SAME, LANGUAGE: SAME}.items() | (
        set() if sees else {(TOWER, "absent")}
    )
    found = statuses(folder, moved(folder, tmp_path / "speaks", speaks[-1]))
    assert found[LANGUAGE] == OWN
    assert found[TOWER] != OWN
    if sees:
        assert statuses(folder, moved(folder, tmp_path / "sees", sees[0])) == {TOWER: OWN, LANGUAGE: SAME}


@pytest.mark.parametrize("name", ["qwen2_vl", "internvl", "gemma3", "instructblip", "mllama"])
def test_answers_under_own_parts_are_those_of_transformers_alone(name, base, tmp_path):
    folder, rest = base(name)
    changed = [n for n in rest if n.endswith("weight") and ("layers.1" in n or "blocks.1" in n)]
    suspect, image = moved(folder, tmp_path / "suspect", *changed), pico.images(1, size=SIZE)[0]
    case, models, said = Case(str(folder), str(suspect)), Loaded("cpu"), {}
    for role, path in (("base", folder), ("suspect", suspect)):
        with models.responder(case, silent, role) as responder, responder.projector(read_projector(path)):
            said[role] = responder.answers([image], [QUESTION], 6)[0]
        inputs, _ = responder.inputs(image, QUESTION, 6)
        start = inputs["input_ids"].shape[1]
        new = loaded(name, path).generate(**inputs, max_new_tokens=6, do_sample=False, eos_token_id=2, pad_token_id=0)
        assert said[role] == responder.processor.tokenizer.decode(new[0, start:], skip_special_tokens=True).strip()
    assert said["base"] != said["suspect"]
