"""Where the models of a case come from: a command loads its own, the dashboard has them at hand."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol

import torch

from projlens_core.activations.model import VisionModel, load_vision
from projlens_core.behaviour.respond import load_responder
from projlens_core.behaviour.responder import Responder
from projlens_core.evidence.case import Case, OpenedCase, model_source, open_case
from projlens_core.runtime.device import pick_device
from projlens_core.runtime.progress import Progress


class Models(Protocol):
    """Where the models of a case come from: loaded here, or at hand already."""

    @property
    def device(self) -> torch.device:
        """What they run on."""

    def opened(self, case: Case, progress: Progress) -> OpenedCase:
        """The case with its projectors read and compared."""

    def vision(self, case: Case) -> VisionModel:
        """The vision tower that all its projectors read from."""

    def responder(self, case: Case, progress: Progress) -> AbstractContextManager[Responder]:
        """The language model, for this thread alone inside the block."""


class Loaded:
    """Models loaded here, on the device called `device`; the last case and the one language model are kept."""

    def __init__(self, device: str | None = None):
        self._device = device
        self._opened: OpenedCase | None = None
        self._responder: Responder | None = None
        self._asked = ""  # the model that it is of

    @property
    def device(self) -> torch.device:
        """See Models."""
        return pick_device(self._device)

    def opened(self, case: Case, progress: Progress) -> OpenedCase:
        """See Models."""
        if self._opened is None or self._opened.case != case:
            self._opened = open_case(case, progress)
        return self._opened

    def vision(self, case: Case) -> VisionModel:
        """See Models."""
        return load_vision(model_source(case), self._device)

    @contextmanager
    def responder(self, case: Case, progress: Progress) -> Iterator[Responder]:
        """See Models."""
        source = model_source(case)
        if self._responder is None or self._asked != source.spec:
            self._responder, self._asked = load_responder(source, self._device, progress), source.spec
        yield self._responder
