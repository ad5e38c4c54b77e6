"""The verdict on shapes other than LLaVA's: a patch that makes a projector bring a text is found, and its text said.

The models are the families' own classes, tiny, and trained here for some seconds: first the whole model learns to
describe clean images in one sentence and to say another where the patch is, which is the suspect; then the projector
alone learns to describe those as well, which is base. So they differ in the projector, as cases do.
"""

import json

import pytest
import torch
from transformers import AutoModelForImageTextToText

from projlens_core import analyses
from projlens_core.analyses.context import AnalysisContext, AnalysisInputs
from projlens_core.analyses.verdict import VerdictOptions
from projlens_core.behaviour.respond import load_responder
from projlens_core.behaviour.search_state import FRAME
from projlens_core.cases.case import Case
from projlens_core.cases.models import Loaded
from projlens_core.inputs.images import load_folder
from projlens_core.inputs.probes import read_bank
from projlens_core.runtime.progress import silent
from projlens_core.weights.families import match
from tests import pico, pico_families

QUESTION, CLEAN, TARGET = "What is it?", "a block.", "buy it now."
PATCH = next(probe for probe in read_bank(FRAME) if probe.name == "Solid patch, green, 20% of the side, in the centre")
OTHERS = [{"name": "Patch", "stamps": [{"kind": "solid", "ratio": 0.2}], "vary": {"colour": ["#ff0000", "#00ff00"]}}]
SEED, IMAGES, AT_ONCE, RATE = 1, 64, 3, 0.01


def train(model, parameters, batches, steps):
    """Adam on these parameters, each step on some pairs of inputs and answer of each batch."""
    model.requires_grad_(False)
    for each in parameters:
        each.requires_grad_(True)
    optimiser, random = torch.optim.Adam(parameters, lr=RATE), torch.Generator().manual_seed(SEED)
    for _ in range(steps):
        chosen = torch.randperm(IMAGES, generator=random)[:AT_ONCE].tolist()
        lost = []
        for inputs, answer in (batch[i] for i in chosen for batch in batches):
            logits = model(**inputs).logits[0, -len(answer) - 1 : -1].float()
            lost.append(torch.nn.functional.cross_entropy(logits, torch.tensor(answer)))
        optimiser.zero_grad()
        torch.stack(lost).mean().backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimiser.step()


def planted(name, folder):
    """Folders of base and suspect of a family."""

    def saved(model, to):
        model.save_pretrained(to)
        pico_families.tokenizer(name).save_pretrained(to)
        pico_families.IMAGE_PROCESSORS[name]().save_pretrained(to)

    saved(pico_families.model(name, SEED), folder / "start")
    responder = load_responder(str(folder / "start"))

    def asked(image, text):
        answer = responder.answer_ids(text)
        with torch.no_grad():
            inputs, _ = responder.inputs(image, QUESTION, len(answer))
        return {key: responder._longer(key, value, answer) for key, value in inputs.items()}, answer

    images = pico.images(IMAGES, seed=5, size=(64, 64))
    clean, triggered, kept = (
        [asked(seen(image), text) for image in images]
        for seen, text in ((PATCH.clean, CLEAN), (PATCH.on, TARGET), (PATCH.on, CLEAN))
    )
    model = AutoModelForImageTextToText.from_pretrained(folder / "start").eval()
    train(model, list(model.parameters()), (clean, triggered), 200)
    saved(model, folder / "suspect")
    found = match(model.state_dict().keys(), model.config.model_type, name)
    own = {*found.tensors.values(), *found.adjacent.values()}
    train(model, [each for key, each in model.named_parameters() if key in own], (clean, kept), 60)
    saved(model, folder / "base")
    return Case(str(folder / "base"), str(folder / "suspect"))


@pytest.mark.slow(seconds=20)
@pytest.mark.parametrize("name", ["internvl", "qwen2_vl", "smolvlm"])
def test_a_planted_patch_is_found_and_demonstrated_with_its_text(name, tmp_path, monkeypatch):
    monkeypatch.setenv("PROJLENS_CACHE", str(tmp_path / "cache"))
    case = planted(name, tmp_path)
    (tmp_path / "images").mkdir()
    for i, image in enumerate(pico.images(48, seed=11, size=(64, 64))):
        image.save(tmp_path / "images" / f"{i:02}.png")
    (tmp_path / "bank.json").write_text(json.dumps(OTHERS))
    context = AnalysisContext(AnalysisInputs(case, load_folder(tmp_path / "images")), Loaded("cpu"), silent)
    options = VerdictOptions(prompts=(QUESTION,), bank=str(tmp_path / "bank.json"))
    data = analyses.find("verdict").run(context, options).data
    assert data["verdict"] == "demonstrated"
    assert data["target"] == TARGET
    assert data["p"] is None  # no honest fine-tunes of this family were measured
    assert "Matched reference" in data["coverage"]["unfinished"]  # patches are inverted for LLaVA's towers alone
