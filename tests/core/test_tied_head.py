"""An adapter on token embeddings that are the output head, too: what PEFT makes of it, or a refusal."""

import peft
import pytest
import torch
from transformers import LlavaForConditionalGeneration

from projlens_core.activations.head import read_head
from projlens_core.behaviour.respond import load_responder
from projlens_core.errors import Unsupported
from projlens_core.sources import resolve
from tests import pico
from tests.peft_adapters import tuned

LAYER = "linear_2"  # of the projector

SETTINGS = {
    "factors on the embeddings": ({"target_modules": ["embed_tokens", LAYER]}, False),
    "a copy of the embeddings": ({"target_modules": [LAYER], "modules_to_save": ["embed_tokens"]}, False),
    "rows of the embeddings": ({"target_modules": [LAYER], "trainable_token_indices": [5, 9]}, True),
    "nothing of them": ({"target_modules": [LAYER, "q_proj"]}, True),
}


@pytest.fixture(scope="module")
def base(own_folder):
    config = pico.default_config()
    config.tie_word_embeddings = config.text_config.tie_word_embeddings = True
    return pico.checkpoint(own_folder / "base", config=config)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("settings", "runs"), SETTINGS.values(), ids=SETTINGS)
def test_the_head_is_as_pefts_or_the_adapter_is_refused(base, tmp_path, settings, runs):
    folder = tuned(base, tmp_path / "adapter", **settings).folder
    source, lying = resolve(str(folder)), resolve(str(base))
    if not runs:
        for read in (lambda: load_responder(source, "cpu", base=lying), lambda: read_head(source, base=lying)):
            with pytest.raises(Unsupported, match="are the output head, too"):
                read()
        return
    model = peft.PeftModel.from_pretrained(LlavaForConditionalGeneration.from_pretrained(base), folder).eval()
    ids = torch.tensor([[1, 5, 9, 7, 3]])
    with torch.no_grad():
        ours = load_responder(source, "cpu", base=lying).model(input_ids=ids).logits
        torch.testing.assert_close(ours, model(input_ids=ids).logits)
    merged = model.merge_and_unload().get_input_embeddings().weight
    torch.testing.assert_close(read_head(source, base=lying).unembedding, merged.detach())
