"""What faults happen to: an empty cache of the test's own, and pico models."""

from pathlib import Path

import pytest
from transformers import CLIPVisionModel, LlamaForCausalLM, LlavaForConditionalGeneration

from projlens_core.runtime import cache as disk
from tests import pico


@pytest.fixture
def cache(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("PROJLENS_CACHE", str(tmp_path / "cache"))
    yield tmp_path / "cache"
    disk._trouble.clear()


@pytest.fixture(scope="session")
def models(tmp_path_factory) -> Path:
    """A folder with base and suspect."""
    folder = tmp_path_factory.mktemp("models")
    base = pico.checkpoint(folder / "base")
    pico.suspect(base, folder / "suspect", strength=(6.0, 3.0))
    return folder


@pytest.fixture(scope="session")
def parts(models, tmp_path_factory) -> Path:
    """The zoo's parts in pico: a shell without weights, a tower, a language model, a base projector."""
    folder = tmp_path_factory.mktemp("parts")
    whole = LlavaForConditionalGeneration.from_pretrained(models / "base")
    (folder / "shell").mkdir()
    for path in (models / "base").iterdir():
        if path.name != "model.safetensors":
            (folder / "shell" / path.name).write_bytes(path.read_bytes())
    whole.model.vision_tower.save_pretrained(folder / "tower")
    language = LlamaForCausalLM(whole.config.text_config)
    language.model = whole.model.language_model
    language.save_pretrained(folder / "language")
    pico.projector_file(models / "base", folder / "zoo" / "projectors" / "base.safetensors")
    assert CLIPVisionModel.from_pretrained(folder / "tower")
    return folder
