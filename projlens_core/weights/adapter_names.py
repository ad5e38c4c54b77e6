"""What each name in an adapter's file, or in a model saved with its adapters beside the weights, stands for.

PEFT writes "…linear_1.lora_A.weight"; in a whole model's state the adapter's name is in it ("lora_A.default.weight"),
and what is adapted lies one level down ("linear_1.base_layer.weight"). Copies of whole modules are under
modules_to_save, what they replace under original_module.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field

from projlens_core.weights.lora import Factors

_PART = re.compile(r"(.+)\.lora_(embedding_A|embedding_B|A|B|magnitude_vector)((?:\.[^.]+){0,2})")
# Parameters of other methods, or of variants of LoRA that are not known here.
_ODD = re.compile(r"(.+?)\.(?:lora|ia3|oft|hada|lokr|boft|vera|hra|randlora|road|shira|delora|miss)_\w+(?:\..+)?")
_ROWS = re.compile(r"(.+)\.token_adapter\.trainable_tokens_delta(?:\.[^.]+)?")
_LEADING = re.compile(r"(?:(?:module|_orig_mod|_fsdp_wrapped_module)\.)*(?:base_model\.model\.)?")
_WRAPPERS = {"_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module", "base_layer", "token_adapter"}
_COPY, _ORIGINAL = "modules_to_save", "original_module"
_OF_TRAINING = (".lora_velora_embed", ".trainable_tokens_original")


@dataclass(frozen=True)
class Contents:
    """Stored names, by the name that the tensor, or for factors, rows and odd ones the module, had before PEFT.

    rows: rows that replace an embedding's. copies: tensors of modules_to_save, originals: those that they replace.
    underneath: tensors that factors lie on. whole: all others. odd: parameters of methods that are not known here.
    twice: names that mean the same, so that it is uncertain which counts.
    """

    factors: dict[str, Factors] = field(default_factory=dict)
    rows: dict[str, str] = field(default_factory=dict)
    whole: dict[str, str] = field(default_factory=dict)
    copies: dict[str, str] = field(default_factory=dict)
    underneath: dict[str, str] = field(default_factory=dict)
    originals: dict[str, str] = field(default_factory=dict)
    odd: dict[str, str] = field(default_factory=dict)
    twice: dict[str, list[str]] = field(default_factory=dict)

    def once(self, into: dict[str, str], key: str, name: str) -> None:
        """Put the name into one of these tables, or among those that are there twice."""
        if key in into and into[key] != name:
            self.twice.setdefault(key, [into[key]]).append(name)
        into[key] = name


def sort_out(names: Iterable[str]) -> Contents:
    """What the names stand for; nothing is refused here, since it may not concern the projector."""
    found = Contents()
    rest = []
    parts: dict[str, dict[str, str]] = {}
    adapters: dict[str, set[str]] = {}
    for name in names:
        if hit := _PART.fullmatch(name):
            module = module_of(hit[1])
            adapter, leaf = _adapter_and_leaf(hit[3])
            kind = hit[2] if leaf == "weight" else f"{hit[2]}.{leaf}"
            kinds = parts.setdefault(module, {})
            if kind in kinds:
                found.twice.setdefault(module, [kinds[kind]]).append(name)
            kinds[kind] = name
            adapters.setdefault(module, set()).add(adapter)
        elif not any(mark in name for mark in _OF_TRAINING):
            rest.append(name)
    found.factors.update(
        (module, Factors(module, kinds, frozenset(adapters[module]))) for module, kinds in parts.items()
    )
    called = {"default"}.union(*adapters.values())
    for name in rest:
        pieces = name.split(".")
        if hit := _ROWS.fullmatch(name):
            found.once(found.rows, module_of(hit[1]), name)
        elif hit := _ODD.fullmatch(name):
            found.odd.setdefault(module_of(hit[1]), name)
        elif _COPY in pieces:
            found.once(found.copies, _without_copy(pieces, called), name)
        elif _ORIGINAL in pieces:
            found.once(found.originals, module_of(".".join(p for p in pieces if p != _ORIGINAL)), name)
        else:
            under = "base_layer" in pieces
            found.once(found.underneath if under else found.whole, module_of(name), name)
    return found


def module_of(name: str) -> str:
    """The name as PEFT matches patterns with it: without its own prefix and without what was wrapped around modules."""
    leading = _LEADING.match(name)
    inner = name[leading.end() :] if leading else name
    return ".".join(piece for piece in inner.split(".") if piece not in _WRAPPERS) or name


def _without_copy(pieces: list[str], called: set[str]) -> str:
    at = pieces.index(_COPY)
    after = pieces[at + 1 :]
    return module_of(".".join(pieces[:at] + (after[1:] if len(after) > 1 and after[0] in called else after)))


def _adapter_and_leaf(rest: str) -> tuple[str, str]:
    """Of what follows "lora_A": the adapter's name, "" if it is not in it, and which of the factor's parameters."""
    pieces = rest.split(".")[1:]
    leaf = pieces.pop() if pieces and pieces[-1] in ("weight", "bias") else "weight"
    return ".".join(pieces), leaf
