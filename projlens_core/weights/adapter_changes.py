"""Which of a base's tensors an adapter changes, and how: planned from names, shapes and config, before any is read."""

from dataclasses import dataclass, field, replace
from typing import Any

from projlens_core.errors import InvalidInput, ProjLensError, Unsupported
from projlens_core.runtime.text import listed
from projlens_core.weights.adapter_names import Contents
from projlens_core.weights.adapter_settings import AdapterSettings
from projlens_core.weights.base_names import BaseNames
from projlens_core.weights.families import split_layout
from projlens_core.weights.lora import Factors


@dataclass(frozen=True)
class TensorChange:
    """What an adapter does to one tensor: replace it (by the adapter's tensor of that name), add what factors give to
    it, as a weight or as a bias, or replace some of its rows. trouble: why it cannot be merged; then it is not read."""

    replaced: str | None = None
    factors: Factors | None = None
    bias: bool = False
    rows: str | None = None
    trouble: ProjLensError | None = None

    @property
    def adds(self) -> bool:
        """Whether the result is computed, not stored as it is."""
        return self.factors is not None or self.rows is not None


@dataclass
class AdapterPlan:
    """changes: {the base's name, or that of what the adapter brings: what becomes of it}. unapplied: modules that the
    adapter changes and the base does not hold."""

    settings: AdapterSettings
    names: BaseNames
    changes: dict[str, TensorChange] = field(default_factory=dict)
    unapplied: list[str] = field(default_factory=list)

    def take(self, contents: Contents) -> "AdapterPlan":
        """Plan all of an adapter's contents; itself.

        InvalidInput for a change to a part of the projector that the base does not hold, Unsupported for parameters of
        a method other than LoRA there. All else that cannot be merged becomes the trouble of its tensor.
        """
        for own, stored in contents.underneath.items():
            self._put(self.names.find(own) or own, replaced=stored)
        for module, factors in contents.factors.items():
            self._add(module, factors)
        for own, stored in (*contents.whole.items(), *contents.copies.items()):  # with factors on the same: two ways
            target = self.names.find(own)
            if target is None and split_layout(own) and not self.settings.is_lora:
                self.settings.check_factors()
            self._put(target or own, replaced=stored)
        for module, stored in contents.rows.items():
            if target := self.names.weight(module):
                self._put(target, rows=stored)
            else:
                self._miss(module)
        for module, stored in contents.odd.items():
            self._refuse(module, self._odd(stored))
        for own, names in contents.twice.items():
            self._refuse(own, self._twice(names))
        if self.settings.replicates_layers:
            self.unapplied.append("layers")
        return self

    def _add(self, module: str, factors: Factors) -> None:
        weight = self.names.weight(module)
        if weight is None and len(parameters := self.settings.parameters_of(module)) == 1:
            weight = self.names.find(f"{module}.{parameters[0]}")
        if weight is not None:
            self._put(weight, factors=factors)
        elif within := self.names.within(module):
            self._block(
                within,
                Unsupported(
                    f"{self.settings.label} holds factors for one of the parameters of {listed([module])}, and it is "
                    "not known for which; have it merged."
                ),
            )
        else:
            self._miss(module)
        if "B.bias" in factors.parts:
            if bias := self.names.find(f"{module}.bias"):
                self._put(bias, factors=factors, bias=True)
            else:  # the module would need a bias that it does not have
                self._refuse(
                    module, InvalidInput(f"{self.settings.label} adds to a bias that {listed([module])} lacks.")
                )

    def _put(self, target: str, **what: Any) -> None:
        known = self.changes.get(target, TensorChange())
        if known.trouble is not None:
            return
        if any(getattr(known, key) for key in what) or (known.adds and "replaced" in what):
            self._block([target], self._twice([target]))
        else:
            self.changes[target] = replace(known, **what)

    def _block(self, targets: list[str], error: ProjLensError) -> None:
        self.changes.update({target: TensorChange(trouble=error) for target in targets})

    def _refuse(self, own: str, error: ProjLensError) -> None:
        """Give the tensor of this name, or all that the module holds, this trouble."""
        target = self.names.find(own) or self.names.weight(own) or (own if own in self.changes else None)
        if target or (within := self.names.within(own)):
            self._block([target] if target else within, error)
        elif split_layout(f"{own}.weight"):
            raise error
        elif own not in self.unapplied:
            self.unapplied.append(own)

    def _miss(self, module: str) -> None:
        if split_layout(f"{module}.weight"):
            raise InvalidInput(
                f"{self.settings.label} changes {listed([module])}, a part of the projector that the base "
                f"{self.names.label} does not hold under such a name; give the base it was trained on."
            )
        self.unapplied.append(module)

    def _twice(self, names: list[str]) -> InvalidInput:
        return InvalidInput(
            f"{self.settings.label} changes {listed(names)} in more than one way; which counts is uncertain: keep one."
        )

    def _odd(self, stored: str) -> ProjLensError:
        try:
            self.settings.check_factors()
        except ProjLensError as error:
            return error
        return Unsupported(
            f"{self.settings.label} holds {listed([stored])}, no part of a LoRA known here; have it merged."
        )
