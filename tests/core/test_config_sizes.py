"""A config may say any number; none larger than its weights have use for comes to a loader."""

import json
from pathlib import Path
from typing import Any

import pytest
from transformers import LlavaConfig

from projlens_core.activations import sizes
from projlens_core.activations.config import open_family
from projlens_core.behaviour.respond import load_responder
from projlens_core.cli import main
from projlens_core.errors import InvalidInput
from projlens_core.sources import resolve
from projlens_core.weights.opening import open_checkpoint
from tests import pico

# path in config.json, value
HOSTILE: dict[str, tuple[str, object]] = {
    # what the issue names
    "40,000,000 labels": ("num_labels", 40_000_000),
    "500,000,000 layers": ("text_config.num_hidden_layers", 500_000_000),
    # more of the kind
    "labels of the tower": ("vision_config.num_labels", 40_000_000),
    "layers of the tower": ("vision_config.num_hidden_layers", 500_000_000),
    "layers beside the parts": ("num_hidden_layers", 500_000_000),
    "layers under another name": ("text_config.n_layer", 500_000_000),
    "layers of a decoder": ("text_config.num_decoder_layers", 10**9),
    "experts": ("text_config.num_local_experts", 10**9),
    "blocks of a part that is not read": ("audio_config.num_blocks", 10**9),
    "the depth of a resampler": ("perceiver_config.resampler_depth", 10**9),
    "wide layers": ("text_config.intermediate_size", 10**12),
    "a wide state": ("text_config.hidden_size", 10**12),
    "a large vocabulary": ("text_config.vocab_size", 10**12),
    "an image of 1e9 px": ("vision_config.image_size", 10**9),
    "channels": ("vision_config.num_channels", 10**9),
    "heads": ("text_config.num_attention_heads", 10**9),
    "a key that nobody knows": ("anything", 10**9),
    "a key in a list in a table": ("a", [[{"b": [10**9]}]]),
    "a layer of each kind": ("text_config.layer_types", ["full_attention"] * 30_000),
    "labels by name": ("id2label", {str(i): f"LABEL_{i}" for i in range(30_000)}),
    "lists in lists": ("a", [[[]] * 100] * 300),
    "tables in tables": ("a", json.loads('{"a":' * 300 + "1" + "}" * 300)),
    "tables in tables, as deep as JSON is read": ("a", json.loads('{"a":' * 900 + "1" + "}" * 900)),
    "fewer than none": ("text_config.head_dim", -(10**12)),
    "queries that are learned": ("num_query_tokens", 10**12),
    "a number of 400 digits": ("text_config.num_key_value_heads", 10**400),
}


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return pico.checkpoint(tmp_path_factory.mktemp("sizes") / "base")


def hostile(base: Path, folder: Path, path: str, value: object) -> Path:
    """The checkpoint with another value in its config."""
    folder.mkdir()
    for file in base.iterdir():
        (folder / file.name).hardlink_to(file)
    config: dict[str, Any] = json.loads((base / "config.json").read_text())
    *names, last = path.split(".")
    part = config
    for name in names:
        part = part.setdefault(name, {})
    part[last] = value
    (folder / "config.json").unlink()
    (folder / "config.json").write_text(json.dumps(config))
    return folder


@pytest.mark.parametrize(("path", "value"), HOSTILE.values(), ids=HOSTILE)
def test_it_is_refused_before_a_loader_sees_it(base, tmp_path, monkeypatch, path: str, value: object):
    monkeypatch.setattr(LlavaConfig, "from_dict", lambda *_, **__: pytest.fail("transformers was given it"))
    with pytest.raises(InvalidInput) as caught:
        open_family(resolve(str(hostile(base, tmp_path / "model", path, value))))
    said = str(caught.value)
    assert said.startswith("The config of model ")
    assert len(said) < 400
    assert said.isprintable()


@pytest.mark.parametrize("name", ["40,000,000 labels", "500,000,000 layers", "lists in lists"])
def test_the_activations_command_says_it_in_one_line(base, tmp_path, capsys, name: str):
    model = hostile(base, tmp_path / "model", *HOSTILE[name])
    pico.suspect(base, tmp_path / "suspect", strength=(4.0,))
    (tmp_path / "images").mkdir()
    pico.images(1)[0].save(tmp_path / "images" / "a.png")
    capsys.readouterr()
    models = ["--base", str(model), "--suspect", str(tmp_path / "suspect")]
    assert main(["activations", *models, "--images", str(tmp_path / "images")]) == 1
    [said] = capsys.readouterr().err.strip().splitlines()
    assert said.startswith("The config of model ")


@pytest.mark.parametrize("name", ["40,000,000 labels", "500,000,000 layers", "experts"])
def test_a_model_that_is_to_answer_is_refused_as_well(base, tmp_path, name: str):
    with pytest.raises(InvalidInput, match=r"^The config of model "):
        load_responder(str(hostile(base, tmp_path / "model", *HOSTILE[name])), "cpu")


@pytest.mark.parametrize(
    ("path", "value"),
    {
        "text_config.max_position_embeddings": 10_485_760,
        "text_config.rope_theta": 500_000_000,
        "text_config.sliding_window": 262_144,
        "image_token_index": 31,
        "text_config.eos_token_id": [1, 2],
        "vision_config.initializer_factor": 1.0,
        "_pad_token_id": 151_643,
        "max_length": 10**9,
    }.items(),
)
def test_what_counts_tokens_or_places_is_no_size(base, path: str, value: object):
    config: dict[str, Any] = json.loads((base / "config.json").read_text())
    *names, last = path.split(".")
    (config[names[0]] if names else config)[last] = value
    sizes.check_config(config, open_checkpoint(str(base)))
