"""What a case's models say about images and how their answers give way: asked once, ever, and kept on disk.

The key of each reading is the content of all that decides it, so that a search which was stopped or killed goes on
where it was.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager

import numpy as np
from PIL import Image

from projlens_core.behaviour.disturbance import ANSWER, Own, log_probability, own_answers
from projlens_core.behaviour.responder import Responder
from projlens_core.runtime import cache
from projlens_core.runtime.cache import content_key
from projlens_core.runtime.progress import Progress, silent
from projlens_core.runtime.required import required
from projlens_core.weights.projector import ProjectorWeights

CACHE = "readings"
Models = Callable[[str], AbstractContextManager[Responder]]


class Readings:
    """Answers and their probabilities under the projectors by role; models opens the model that answers for a role."""

    def __init__(self, models: Models, projectors: Mapping[str, ProjectorWeights], progress: Progress = silent):
        self.models, self.projectors, self.progress = models, dict(projectors), progress
        self._own: dict[str, Own] = {}  # by what decides it

    def answers(self, role: str, images: Sequence[Image.Image], prompts: Sequence[str]) -> list[list[str]]:
        """[i][j]: what a role says to prompts[j] about images[i], greedily, at most ANSWER tokens."""
        with self.models(role) as responder:
            keys = [[self._key(role, responder, "answer", prompt, image) for prompt in prompts] for image in images]
            kept = {key: cache.stored(CACHE, key) for row in keys for key in row}
            missing = [(i, j) for i, row in enumerate(keys) for j, key in enumerate(row) if kept[key] is None]
            if missing:
                with responder.projector(self.projectors[role]):
                    said = responder.answers(
                        [images[i] for i, _ in missing],
                        [prompts[j] for _, j in missing],
                        ANSWER,
                        progress=self.progress,
                    )
                for (i, j), text in zip(missing, said, strict=True):
                    kept[keys[i][j]] = text.encode()
                    cache.store(CACHE, keys[i][j], text.encode())
        return [[required(kept[key], "an answer").decode() for key in row] for row in keys]

    def drops(
        self, role: str, clean: Sequence[Image.Image], changed: Sequence[Image.Image], prompts: Sequence[str]
    ) -> np.ndarray:
        """(images, questions): nats of log-probability that a role's own answers about the clean images lose on the
        changed ones.
        """
        own = self.own(role, clean, prompts)
        with self.models(role) as responder:
            key = self._key(role, responder, "drop", repr(own.asked), *changed)
            if (kept := cache.stored(CACHE, key)) is not None:
                there = np.array(json.loads(kept))
            else:
                there = log_probability(responder, self.projectors[role], changed, own.asked)
                cache.store(CACHE, key, json.dumps(there.tolist()).encode())
        return own.log_probability - there

    def own(self, role: str, clean: Sequence[Image.Image], prompts: Sequence[str]) -> Own:
        """What a role says about the clean images by itself."""
        key = content_key(role, *(image.tobytes() for image in clean), *prompts)
        if key not in self._own:
            said = self.answers(role, clean, prompts)
            with self.models(role) as responder:
                self._own[key] = own_answers(responder, self.projectors[role], clean, said, prompts)
        return self._own[key]

    def _key(self, role: str, responder: Responder, *about: object) -> str:
        parts = [(each.size, each.tobytes()) if isinstance(each, Image.Image) else (each,) for each in about]
        flat = [part for each in parts for part in each]
        return content_key(responder.key, self.projectors[role].sha256, ANSWER, *flat)
