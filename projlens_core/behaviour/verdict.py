"""When an answer is decided before it ends, so that the verdict is that of the whole answer at the cost of a part.

Further tokens never take back what was written, except at its end: an unfinished character, a word that goes on, a
space that is stripped. So "it says the target" and "it is right" are judged on the text before the last space; and
"it can no longer say the target" follows from how many tokens it takes.
"""

import re

from transformers import PreTrainedTokenizerBase

from projlens_core.behaviour.generate import Settled
from projlens_core.behaviour.success import contains_target, is_right

_WHOLE_WORDS = re.compile(r"(.*)\s", re.DOTALL)
UNFINISHED = "\ufffd"  # what a tokenizer writes for a character of which only some bytes are there


def settles_target(target: str, tokenizer: PreTrainedTokenizerBase) -> Settled:
    """Whether an answer's `contains_target` is decided: the target stands there, or too few tokens are left for it.

    The second is claimed for targets in ASCII only, and nothing for a tokenizer that tidies spaces after the fact:
    then every answer is written to its end.
    """
    contains_target("", target)  # refuses an empty target
    if not _only_appends(tokenizer):
        return lambda text, left: False
    wanted = target.lower()
    fewest = _fewest(wanted, tokenizer) if wanted.isascii() else None

    def settled(text: str, left: int) -> bool:
        if contains_target(_fixed(text), target):
            return True
        if fewest is None or UNFINISHED in text or contains_target(text, target):
            return False
        return left < fewest[_begun(text.lower(), wanted)]

    return settled


def settles_truth(truth: str, tokenizer: PreTrainedTokenizerBase) -> Settled:
    """Whether an answer's `is_right` is decided: only that it is right can be, until it ends."""
    if not _only_appends(tokenizer):
        return lambda text, left: False
    return lambda text, left: is_right(_fixed(text), truth)


def _fixed(text: str) -> str:
    """The part of an unfinished answer that no further token changes."""
    words = _WHOLE_WORDS.match(text.partition(UNFINISHED)[0])
    return words.group(1).strip() if words else ""


def _begun(text: str, wanted: str) -> int:
    """How many characters of `wanted` the text's end has already."""
    return next(n for n in range(min(len(text), len(wanted)), -1, -1) if text.endswith(wanted[:n]))


def _fewest(wanted: str, tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """How many tokens it takes at least to say wanted[n:], for each n up to its end: any token may carry what is in it,
    so it takes the longest piece each time.
    """
    tokens = tokenizer.batch_decode([[token] for token in range(len(tokenizer))], skip_special_tokens=True)
    # a space before each, since decoders drop that of an answer's first word
    everything = "\n".join(f" {token.lower()}" for token in tokens)
    fewest, end = [0], len(wanted)
    for start in reversed(range(len(wanted))):
        # a piece that begins later ends no earlier
        while end - start > 1 and wanted[start:end] not in everything:
            end -= 1
        fewest.append(1 + fewest[len(wanted) - end])
    return fewest[::-1]


def _only_appends(tokenizer: PreTrainedTokenizerBase) -> bool:
    """Whether decoding more tokens leaves the text of those before as it was, its end aside."""
    decoder = type(tokenizer.backend_tokenizer.decoder).__name__ if tokenizer.is_fast else ""
    return decoder in ("ByteLevel", "Metaspace", "Sequence") and not tokenizer.clean_up_tokenization_spaces
