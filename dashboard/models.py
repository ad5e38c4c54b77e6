"""The models of a case as the dashboard has them: loaded once, shared by all pages and sessions."""

from collections.abc import Sequence
from contextlib import AbstractContextManager

import torch

from dashboard import resources, results
from projlens_core.activations.head import LanguageHead
from projlens_core.activations.towers import Towers
from projlens_core.activations.vocabulary import Vocabulary
from projlens_core.behaviour.responder import Responder
from projlens_core.cases.case import Case, OpenedCase
from projlens_core.cases.models import read_language
from projlens_core.cases.whose import Whose
from projlens_core.runtime.device import pick_device
from projlens_core.runtime.progress import Progress
from projlens_core.weights.own_parts import HEAD, TOWER, Part


class Shelved:
    """The models that the other pages use, too."""

    @property
    def device(self) -> torch.device:
        """See models.Models."""
        return pick_device()

    def opened(self, case: Case, progress: Progress) -> OpenedCase:
        """See models.Models."""
        return resources.opened(case, progress)

    def whose(self, case: Case, parts: Sequence[Part], progress: Progress) -> Whose:
        """See models.Models."""
        return resources.whose(case, parts, progress)

    def vision(self, case: Case, progress: Progress) -> Towers:
        """See models.Models."""
        return resources.vision(case, progress)

    def language(self, case: Case, progress: Progress) -> tuple[LanguageHead, Vocabulary]:
        """See models.Models."""
        found = resources.whose(case, (TOWER, HEAD), progress)

        def make() -> tuple[LanguageHead, Vocabulary]:
            progress("Reading the language model's output head", 0, 1)
            return read_language(found, progress)

        key = resources.loaded_key(found.models[found.owner("suspect", HEAD)])
        return resources.shelf("language heads", 1).get(key, make, progress)

    def responder(self, case: Case, progress: Progress, role: str = "base") -> AbstractContextManager[Responder]:
        """See models.Models."""
        return results.language_model(case, progress, role)
