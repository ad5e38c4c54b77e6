"""Where the models of a case come from: a command loads its own, the dashboard has them at hand."""

import gc
import math
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Protocol

import torch

from projlens_core.activations.around import whole_folder
from projlens_core.cases.case import Case, OpenedCase, open_case
from projlens_core.cases.whose import BOTH, Model, Whose, advised, load_tower, towers_of, whose
from projlens_core.runtime.device import compute_dtype, pick_device
from projlens_core.runtime.memory import fits
from projlens_core.runtime.progress import Progress, labelled, silent
from projlens_core.weights.opening import open_checkpoint
from projlens_core.weights.own_parts import HEAD, TOWER, Part

if TYPE_CHECKING:  # transformers takes seconds to import, which analyses of weights need not wait for
    from projlens_core.activations.head import LanguageHead
    from projlens_core.activations.towers import Towers
    from projlens_core.activations.vision import VisionTower
    from projlens_core.activations.vocabulary import Vocabulary
    from projlens_core.behaviour.responder import Responder


class Models(Protocol):
    """Where the models of a case come from: loaded here, or at hand already."""

    @property
    def device(self) -> torch.device:
        """What they run on."""

    def opened(self, case: Case, progress: Progress) -> OpenedCase:
        """The case with its projectors read and compared."""

    def whose(self, case: Case, parts: Sequence[Part], progress: Progress) -> Whose:
        """Which model each of these parts is of, for every role."""

    def vision(self, case: Case, progress: Progress) -> "Towers":
        """The vision towers that its projectors read from."""

    def language(self, case: Case, progress: Progress) -> "tuple[LanguageHead, Vocabulary]":
        """The output head and the tokenizer with which directions are read; see read_language."""

    def responder(self, case: Case, progress: Progress, role: str = "base") -> "AbstractContextManager[Responder]":
        """The model that answers under the projector of `role`, for this thread alone inside the block."""


class Loaded:
    """Models loaded here, on the device called `device`.

    The last case is kept, and of models as many as memory holds: another is loaded beside them if it fits, else in
    their place.
    """

    def __init__(self, device: str | None = None):
        self._device = device
        self._opened: OpenedCase | None = None
        self._whose: dict[tuple[Case, tuple[Part, ...]], Whose] = {}
        self._towers: dict[Model, VisionTower] = {}
        self._responders: dict[Model, Responder] = {}

    @property
    def device(self) -> torch.device:
        """See Models."""
        return pick_device(self._device)

    def opened(self, case: Case, progress: Progress) -> OpenedCase:
        """See Models."""
        if self._opened is None or self._opened.case != case:
            self._opened = open_case(case, progress)
        return self._opened

    def whose(self, case: Case, parts: Sequence[Part] = BOTH, progress: Progress = silent) -> Whose:
        """See Models."""
        key = case, tuple(parts)
        if key not in self._whose:
            self._whose[key] = whose(case, parts, progress)
        return self._whose[key]

    def vision(self, case: Case, progress: Progress = silent) -> "Towers":
        """See Models."""
        found = self.whose(case, (TOWER,), progress)

        def tower(role: str) -> "VisionTower":
            model = found.models[found.owner(role)]
            if model not in self._towers:
                self._towers[model] = load_tower(found, role, self._device)
            return self._towers[model]

        return towers_of(found, tower)

    def language(self, case: Case, progress: Progress = silent) -> "tuple[LanguageHead, Vocabulary]":
        """See Models."""
        return read_language(self.whose(case, (TOWER, HEAD), progress), progress)

    @contextmanager
    def responder(self, case: Case, progress: Progress, role: str = "base") -> "Iterator[Responder]":
        """See Models."""
        found = self.whose(case, BOTH, progress)
        model = found.models[found.owner(role)]
        if model not in self._responders:
            if self._responders and not fits(size_of(model, self.device), self.device):
                self._responders.clear()
                gc.collect()
            self._responders[model] = load_answering(found, role, self._device, progress)
        yield self._responders[model]


def load_answering(owners: Whose, role: str, device: str | None = None, progress: Progress = silent) -> "Responder":
    """The whole model that answers under the projector of `role`."""
    from projlens_core.behaviour.respond import load_responder  # only here: see above

    owner = owners.owner(role)
    model = owners.models[owner]
    with advised(owner, owners.host):
        if owner == owners.host:
            return load_responder(model.source, device, progress)
        return load_responder(model.source, device, labelled(progress, f"{owner}'s own"), model.base, model.texts)


def size_of(model: Model, device: torch.device) -> int:
    """The bytes that a whole model takes once it is loaded there, as its files say; an adapter's are its base's."""
    whole = whole_folder(model.base or model.source)
    checkpoint = open_checkpoint(replace(whole, weights=whole.folder))
    numbers = sum(math.prod(checkpoint.info(name).shape) for name in checkpoint.names)
    return numbers * compute_dtype(device).itemsize


def read_language(owners: Whose, progress: Progress = silent) -> "tuple[LanguageHead, Vocabulary]":
    """The output head and the tokenizer with which directions are read: the suspect's, of whose model words are looked
    for, where its head differs from the host's. A control's direction is read with them, too, so as to be compared."""
    from projlens_core.activations.head import read_head  # only here: see above
    from projlens_core.activations.vocabulary import read_vocabulary

    owner = owners.owner("suspect", HEAD)
    model = owners.models[owner]
    with advised(owner, owners.host):
        head = read_head(model.source, progress, model.base)
        return head, read_vocabulary(model.texts or model.base or model.source, head.vocabulary, progress)
