"""What runs in a bounded child process on behalf of `tokenizers` and `config`, before the same is done outside it.

Each function takes and returns a dictionary of JSON; see runtime/child.py.
"""

import json
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from transformers import CONFIG_MAPPING
from transformers.utils.chat_template_utils import render_jinja_template

from projlens_core.activations.config import whole_class
from projlens_core.activations.encoder import check_sizes as check_family_sizes
from projlens_core.activations.image_processors import read_image_processor
from projlens_core.activations.model import check_sizes
from projlens_core.activations.plans import PLANS
from projlens_core.activations.tokenizers import read_tokenizer
from projlens_core.errors import InvalidInput, Unsupported, words
from projlens_core.runtime.child import ADVICE
from projlens_core.runtime.shortage import of_memory

Values = dict[str, Any]
LONGEST_TOKEN = 4_096  # characters; real ones have up to some hundreds
PROBES = ((640, 426), (64, 640), (640, 64))  # px, width and height of images that are prepared
MOST_GROWTH = 4_096  # times as long as its tokens a text may become when they are put together
_loaded: dict[str, Any] = {}


def tokenize(payload: Values) -> Values:
    """Load the tokenizer in payload["folder"], once, and encode payload["text"] unless that is None."""
    folder = payload["folder"]
    if folder not in _loaded:
        tokenizer = read_tokenizer(Path(folder))
        check_decoding(tokenizer)
        _loaded[folder] = tokenizer
    text = payload["text"]
    if text is not None:
        for special in (True, False):
            _loaded[folder](text, add_special_tokens=special)
    return {}


def check_decoding(tokenizer: Any) -> None:
    """InvalidInput or Unsupported unless putting tokens together is bounded, whatever they are.

    That is done again with each token of an answer, so that it cannot be rehearsed.
    """
    longest = max(map(len, tokenizer.get_vocab()), default=0)
    if longest > LONGEST_TOKEN:
        raise InvalidInput(
            f"The tokenizer has a token of {longest:,} characters, expected up to {LONGEST_TOKEN:,}; {ADVICE}."
        )
    backend = getattr(tokenizer, "backend_tokenizer", None)
    decoder = getattr(backend, "decoder", None)
    if decoder is None:
        return
    growth = 1
    steps = [json.loads(decoder.__getstate__())]
    while steps:
        step = steps.pop()
        steps += step.get("decoders", [])
        if step["type"] == "Replace":
            if "String" not in step["pattern"]:
                raise Unsupported(
                    "The tokenizer puts tokens together by a regular expression, whose time is not bounded; take the "
                    "model from its original release."
                )
            replaced, by = len(step["pattern"]["String"]), len(step["content"])
            growth *= max(1, -(-by // replaced)) if replaced else 1 + by
        elif step["type"] in ("WordPiece", "CTC"):
            growth *= 1 + max(len(str(step.get(name, ""))) for name in ("prefix", "word_delimiter_token"))
    if growth > MOST_GROWTH:
        raise InvalidInput(
            f"The tokenizer may make a text {growth:,} times as long as its tokens, expected up to {MOST_GROWTH:,}; "
            f"{ADVICE}."
        )


def sketch(payload: Values) -> Values:
    """Make what payload["config"] describes, without weights, and prepare images as payload["folder"] says.

    What merely raises does so again outside, where it is told; this is for what would not.
    """
    try:
        config = CONFIG_MAPPING[payload["config"]["model_type"]].from_dict(payload["config"])
        with torch.device("meta"):
            whole_class(config)._from_config(config, attn_implementation="sdpa")
        processor = read_image_processor(Path(payload["folder"]), payload["family"])
        plan = PLANS.get(payload["family"])
        if plan is None:
            check_sizes(processor, config.vision_config.image_size, "it")
        else:
            check_family_sizes(processor, plan, "it")
        for size in PROBES:
            options = plan.options(config) if plan else {}
            processor(images=[Image.new("RGB", size)], return_tensors="pt", **options)
    except Exception as error:
        if isinstance(error, MemoryError) or of_memory(error):
            raise
    return {}


def render(payload: Values) -> Values:
    """{"text": the conversation as the template writes it}, or {"failed": kind of error, "said": its words}."""
    try:
        rendered = render_jinja_template(
            conversations=[payload["conversation"]], chat_template=payload["template"], **payload["variables"]
        )[0]
        rendered[0].encode()  # half a character is no text
    except Exception as error:
        if isinstance(error, MemoryError):
            raise
        return {"failed": type(error).__name__, "said": words(error)}
    return {"text": rendered[0]}
