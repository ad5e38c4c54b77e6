"""The weights of a base with an adapter's changes, for transformers to load as if they were one checkpoint."""

from collections.abc import Iterable
from typing import Any

import torch
from transformers import GenerationConfig, PreTrainedModel

from projlens_core.activations.staging import StagedFolder
from projlens_core.errors import Unsupported, as_invalid_input
from projlens_core.runtime.text import listed
from projlens_core.sources import Source
from projlens_core.weights.adapter import AdaptedCheckpoint
from projlens_core.weights.names import plain

GENERATION = "generation_config.json"


class AdaptedWeights:
    """Tensors by the base's names, each read and changed only as it is loaded. base is the whole model's folder."""

    def __init__(self, checkpoint: AdaptedCheckpoint, base: Source):
        if checkpoint.unapplied:
            raise Unsupported(
                f"{checkpoint.label} changes {listed(checkpoint.unapplied)}, which {base.label} does not hold under "
                "such a name, so the model that it makes cannot be put together; give the base it was trained on, or "
                "merge it."
            )
        checkpoint.check_head()
        self._checkpoint, self._base = checkpoint, base
        self.tensors = {name: _Later(checkpoint, name) for name in checkpoint.names}

    def finish(self, model: PreTrainedModel, unexpected: Iterable[str]) -> None:
        """Check that all of the adapter's changes found their place; take the end of an answer from the base's files,
        as it is taken where a model is loaded from a folder."""
        touched = {plain(name): name for name in self._checkpoint.touched}
        if lost := sorted(touched[key] for key in map(plain, unexpected) if key in touched):
            raise Unsupported(
                f"{self._checkpoint.label} brings {listed(lost)}, for which a model like {self._base.label} has no "
                "place, so the model that it makes cannot be put together; merge it into its base."
            )
        with StagedFolder(self._base.folder, self._base.label, (GENERATION,)) as stage:
            if (stage.path / GENERATION).is_file():
                with as_invalid_input(f"{GENERATION} of {self._base.label} cannot be read"):
                    model.generation_config = GenerationConfig.from_pretrained(stage.path, local_files_only=True)


class _Later:
    """One tensor that is not read yet; transformers takes all of it by [...], as of a file of safetensors."""

    def __init__(self, checkpoint: AdaptedCheckpoint, name: str):
        self._checkpoint, self._name = checkpoint, name

    def __getitem__(self, index: Any) -> torch.Tensor:
        return self._checkpoint.read(self._name)[index]
