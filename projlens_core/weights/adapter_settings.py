"""What an adapter's config says about its mathematics, by PEFT's rules; what is not known here is refused.

A setting is harmless (training, bookkeeping), heeded, or in the way of merging factors. It is in the way only where
there are factors to merge, so nothing is raised before a tensor is asked for that they touch.
"""

import json
import math
import re
from dataclasses import dataclass
from pathlib import Path

from projlens_core.errors import InvalidInput, ProjLensError, Unsupported
from projlens_core.runtime.text import listed
from projlens_core.weights.patterns import first_match, full_match

MAX_PATTERNS = 50_000  # more than any model has modules
MAX_PARAMETERS = 1_000  # that target_parameters names; a model has a handful of kinds
_TABLE = json.loads(Path(__file__).with_suffix(".json").read_text(encoding="utf-8"))
# Initialisations after which the base is what it was, so that the factors are the change to it. PEFT knows more, but
# those move a part of the base into the factors, or quantise it.
_LEAVES_BASE, _MOVES_BASE = tuple(_TABLE["leaves the base"]), tuple(_TABLE["moves a part of the base"])
# Harmless are those of training, of where things lie, or of an initialisation that init_lora_weights names.
_KNOWN = {*_TABLE["heeded"], *_TABLE["harmless"]}
_IN_THE_WAY: dict[str, str] = _TABLE["in the way"]  # what they make of the factors, where they are set
_LAYERS = re.compile(r"(?:.*\.)?(?:layers?|h)\.\d+\..*")  # a module of those that layer_replication copies
_MERGE = "have it merged by the version of PEFT that made it, and give the merged model"


@dataclass(frozen=True)
class AdapterSettings:
    """The content of an adapter_config.json, believed nowhere before it is used. label names the adapter in messages,
    file the config."""

    label: str
    values: dict
    file: str = "adapter_config.json"
    absent: bool = False  # no config was found

    @property
    def base_named(self) -> str | None:
        """The base that the adapter says it was trained on."""
        named = self.values.get("base_model_name_or_path")
        return named if isinstance(named, str) and named else None

    @property
    def is_lora(self) -> bool:
        """Whether its parameters are factors A and B."""
        return self.values.get("peft_type") == "LORA"

    @property
    def uses_dora(self) -> bool:
        """Whether rows are rescaled to learned lengths; InvalidInput if it says neither yes nor no."""
        return self._flag("use_dora")

    @property
    def stores_transposed(self) -> bool:
        """Whether some module may store its weight as (in, out)."""
        return self._flag("fan_in_fan_out")

    def check_factors(self) -> None:
        """Unsupported if factors of this adapter are no change to the base as it was published, or may not be."""
        if self.absent:
            raise InvalidInput(
                f"{self.label} holds the factors of an adapter, but nothing beside them says how much they count; put "
                f"its {self.file} (with r and lora_alpha) into its folder, or have it merged."
            )
        if not self.is_lora:
            kind = str(self.values.get("peft_type"))[:40]
            raise Unsupported(f"{self.label} is an adapter of type {kind!r}, expected LORA (rsLoRA and DoRA with it).")
        start = self.values.get("init_lora_weights", True)
        if isinstance(start, str) and start.lower().startswith(_MOVES_BASE):
            raise Unsupported(
                f"{self.label} was initialised by {start[:40]!r}, which moves a part of the base into the "
                "adapter or quantises it, so its factors are no change to the published base; have it merged, or "
                "converted to plain LoRA."
            )
        if start is not None and not isinstance(start, bool) and str(start).lower() not in _LEAVES_BASE:
            raise Unsupported(
                f"{self.label} was initialised by {str(start)[:40]!r}, of which it is not known whether it "
                f"changes the base (known not to: {', '.join(_LEAVES_BASE)}); {_MERGE}."
            )
        for key, said in _IN_THE_WAY.items():
            if self._is_set(key) or self.values.get(key) == {}:  # PEFT takes an empty one for one with its defaults
                raise Unsupported(f"{self.label} {said}, so B·A is not what it adds to the base; {_MERGE}.")
        if unknown := sorted(key for key in self.values.keys() - _KNOWN if self._is_set(key)):
            raise Unsupported(
                f"The {self.file} of {self.label} sets {listed(unknown)}, of which it is not known what it does to "
                f"the weights; {_MERGE}."
            )

    @property
    def replicates_layers(self) -> bool:
        """Whether the adapter's language model has other layers than its base's."""
        return self._is_set("layer_replication")

    def check_module(self, module: str) -> None:
        """Unsupported if the module is another one in the base than in the adapter's model."""
        if self.replicates_layers and _LAYERS.fullmatch(module):
            raise Unsupported(
                f"{self.label} replicates layers of its base, so {listed([module])} is another module there; {_MERGE}."
            )

    def check_targets(self, module: str, *others: str) -> None:
        """InvalidInput if the config says that PEFT puts no factors on the module, so that loaders differ in whether
        those that are stored count. others: further names under which a loader may know the module. An expression that
        cannot be followed in bounded time decides nothing (see `unfollowed`)."""
        try:
            is_target = any(self._is_target(name) for name in (module, *others))
        except Unsupported:
            return
        if not is_target:
            raise InvalidInput(
                f"{self.label} holds factors of {listed([module])}, which its {self.file} leaves out (target_modules "
                "and what restricts them); loaders differ in whether they count, so it is refused: make both agree."
            )

    @property
    def unfollowed(self) -> tuple[str, ...]:
        """Which settings choose modules by an expression that is not followed here, so that it is not known whether
        PEFT would leave out some of the stored factors."""
        found = []
        for key in ("target_modules", "exclude_modules"):
            try:
                if isinstance(self.values.get(key), str):
                    full_match(self.values[key], "", self._place(key))
            except ProjLensError:
                found.append(key)
        return tuple(found)

    def scale(self, module: str, rank: int) -> float:
        """α/r, or α/√r for rsLoRA, with the module's own α and r where a pattern gives them.

        module: its name as PEFT knows it. rank: of the stored factors. InvalidInput if they disagree with the config.
        """
        said = self._patterned("rank_pattern", module, "r")
        if type(said) is not int or not 0 < said < 2**31:
            raise self._odd("r", said, "a whole number > 0")
        alpha = self._patterned("alpha_pattern", module, "lora_alpha")
        if not isinstance(alpha, int | float) or isinstance(alpha, bool) or not 0 < alpha < 1e9:
            raise self._odd("lora_alpha", alpha, "a number > 0")
        if said != rank:
            raise InvalidInput(
                f"{self.label} stores factors of rank {rank:,} for {listed([module])}, but its {self.file} says r is "
                f"{said:,}; fetch both again."
            )
        return alpha / math.sqrt(rank) if self._flag("use_rslora") else alpha / rank

    def parameters_of(self, module: str) -> list[str]:
        """Which of the module's own parameters target_parameters names."""
        named = self.values.get("target_parameters")
        if not isinstance(named, list) or len(named) > MAX_PARAMETERS:
            return []
        found = [str(each).rpartition(".") for each in named]
        return sorted({leaf for path, _, leaf in found if f".{module}".endswith(f".{path}")})

    def rows_of(self, module: str) -> list[int]:
        """Which rows of an embedding the adapter replaces (trainable_token_indices)."""
        rows = self.values.get("trainable_token_indices")
        if isinstance(rows, dict):
            rows = next((each for key, each in rows.items() if f".{module}".endswith(f".{key}")), None)
        if not isinstance(rows, list) or not rows or not all(type(row) is int and row >= 0 for row in rows):
            raise self._odd("trainable_token_indices", rows, f"the numbers of the rows of {module[:60]!r}")
        if len(set(rows)) < len(rows):
            raise InvalidInput(f"The {self.file} of {self.label} names a row of {module[:60]!r} twice; keep one.")
        return rows

    def _patterned(self, key: str, module: str, default: str) -> object:
        patterns = self.values.get(key)
        if patterns is None:
            return self.values.get(default)
        if not isinstance(patterns, dict):
            raise self._odd(key, patterns, "an object from names to numbers")
        if len(patterns) > MAX_PATTERNS:
            raise InvalidInput(f"{self._place(key)} has {len(patterns):,} entries, expected {MAX_PATTERNS:,} at most.")
        found = first_match(patterns, module, self._place(key))
        return self.values.get(default) if found is None else patterns[found]

    def _is_target(self, module: str) -> bool:
        """Whether PEFT would put factors on the module; True where the config does not say, or not in a way that is
        followed here."""
        wanted, kept_whole = self.values.get("target_modules"), self.values.get("modules_to_save")
        excluded = self.values.get("exclude_modules")
        if excluded and self._names(excluded, module, "exclude_modules"):
            return False
        if isinstance(kept_whole, list) and any(f".{name}." in f".{module}." for name in kept_whole):
            return False
        if wanted is None or wanted == "all-linear" or self.values.get("target_parameters"):
            return True
        return self._names(wanted, module, "target_modules") and self._is_in_layers(module)

    def _names(self, wanted: object, module: str, key: str) -> bool:
        if isinstance(wanted, str):
            return full_match(wanted, module, self._place(key))
        if not isinstance(wanted, list) or not all(isinstance(name, str) for name in wanted):
            raise self._odd(key, wanted, "a list of names, or one expression")
        return any(module == name or module.endswith(f".{name}") for name in wanted)

    def _is_in_layers(self, module: str) -> bool:
        """What layers_to_transform leaves of the modules that a list of target_modules names in full or in part."""
        wanted, named = self.values.get("layers_to_transform"), self.values.get("target_modules")
        if wanted is None or wanted == [] or not isinstance(named, list) or module in named:
            return True
        wanted = wanted if isinstance(wanted, list) else [wanted]
        if not all(type(index) is int for index in wanted):
            raise self._odd("layers_to_transform", wanted, "whole numbers")
        pieces = module.split(".")
        lists = self.values.get("layers_pattern") or [None]
        for name in [lists] if isinstance(lists, str) else lists:
            if name is not None and not (isinstance(name, str) and re.fullmatch(r"\w+", name)):
                return True  # an expression: not followed
            for at in range(1, len(pieces) - 1):
                if pieces[at].isdecimal() and (at > 1 if name is None else pieces[at - 1] == name):
                    return int(pieces[at]) in wanted
        return False

    def _flag(self, key: str) -> bool:
        value = self.values.get(key)
        if value is not None and type(value) is not bool:
            raise self._odd(key, value, "true or false")
        return bool(value)

    def _is_set(self, key: str) -> bool:
        """Whether the config gives the setting a value other than none at all."""
        return self.values.get(key) not in (None, False, "", [], {})

    def _place(self, key: str) -> str:
        return f"The {key} in the {self.file} of {self.label}"

    def _odd(self, key: str, value: object, expected: str) -> ProjLensError:
        shown = str(value)[:40]
        return InvalidInput(f"The {self.file} of {self.label} has {key} {shown!r}, expected {expected}.")
