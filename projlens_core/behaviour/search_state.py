"""What all stages of a search for a trigger share: what they search, what was found so far, and what each may do.

A trigger is found on one part of the images and tried on the others, which decided nothing.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property

from PIL import Image

from projlens_core.activations.inversion import Inverted
from projlens_core.activations.reference import MatchedReference
from projlens_core.behaviour import listening
from projlens_core.behaviour.brought import Texts, fullest
from projlens_core.behaviour.pattern_search import MINUTES, PLACES
from projlens_core.behaviour.probe_search import tried as probes_tried
from projlens_core.behaviour.readings import Models, Readings
from projlens_core.behaviour.search import CANDIDATES, Followed, Inversion, Said, Search
from projlens_core.behaviour.stage_clock import OutOfTime, StageClock
from projlens_core.behaviour.token_search import TILES
from projlens_core.behaviour.trial import FRESH, RECOVERED, REFERENCE, SEARCHED, Trial
from projlens_core.inputs.probes import Probe
from projlens_core.inputs.triggers import frame
from projlens_core.runtime.progress import Progress, silent
from projlens_core.runtime.required import required
from projlens_core.weights.projector import ProjectorWeights

HEARD, TEXTS = 1, 2  # of those that probes and that token patterns bring, for which patches are made
TRIALS = CANDIDATES + 2 * listening.FOLLOWED + len(TILES) + (HEARD + TEXTS) * len(PLACES)  # of a search, at most
FRAME = 336  # px, to which images are framed where a tower says no size of its own


class SearchState:
    """Searches under the projectors by role ("base", "suspect", perhaps "control").

    Images and names are in the order in which parts of them are used, base is the first role. models opens the model
    that answers under the projector of a role: base's, or one of its own; never two at once. budget: minutes, None for
    no end. pattern_minutes: after which no other token pattern is begun, where nothing else was demonstrated. thorough:
    whether the whole bank is listened to and patterns of the whole image are inverted. few: whether a text that seems
    to be a backdoor's ends the search, where there are too few images for a trial. Readings are kept on disk, so a
    search that was stopped goes on where it was.
    """

    def __init__(
        self,
        models: Models,
        projectors: Mapping[str, ProjectorWeights],
        names: Sequence[str],
        images: Sequence[Image.Image],
        prompts: Sequence[str],
        progress: Progress = silent,
        budget: float | None = None,
        pattern_minutes: float = MINUTES,
        *,
        thorough: bool = True,
        few: bool = False,
    ):
        self.models, self.projectors, self.clock = models, dict(projectors), StageClock(progress, budget)
        self.names, self.images, self.prompts = list(names), list(images), list(dict.fromkeys(prompts))
        # what is fitted to the suspect answers with its language model
        self.readings = Readings(
            lambda role: models("suspect" if role == REFERENCE else role), projectors, self.clock.progress
        )
        self.texts = Texts(self.readings, tuple(projectors), self.names, self.images, self.prompts, lambda: self.framed)
        self._pattern_minutes, self.pattern_seconds = pattern_minutes, 0.0  # those that were spent
        self._patch_seconds = 0.0
        self._matched: tuple[MatchedReference, object] | None = None  # the suspect's, and what decides it
        self._patched_for: list[Said] = []
        first = min(SEARCHED + RECOVERED, len(self.images))
        self.found = Search(
            tuple(self.prompts), tuple(self.names[:first]), tuple(self.names[first:]), roles=tuple(self.projectors)
        )
        self._too_few = len(self.found.fresh) < FRESH  # for a trial to show anything
        self._few, self._thorough = few and self._too_few, thorough

    @cached_property
    def resolution(self) -> int:
        """The side, in px, to which images are framed: what base's vision tower reads, where it says so."""
        with self.models("base") as responder:
            return getattr(responder.vision, "image_size", None) or FRAME

    @cached_property
    def framed(self) -> list[Image.Image]:
        """The images as a probe finds them."""
        return [frame(image, self.resolution) for image in self.images]

    def _keys(self, role: str) -> tuple[str, str]:
        """What decides a role's answers beside its projector, and what decides the tokens that it reads."""
        with self.models(role) as responder:
            return responder.key, responder.vision.key

    def _add(self, against: str, inverted: Inverted) -> Probe:
        what = "patch" if inverted.trigger.local else "pattern"
        probe = Probe(f"Inverted {what} {len(self.found.inversions) + 1}", (inverted.trigger,), fitted=True)
        self.found = replace(self.found, inversions=(*self.found.inversions, Inversion(against, inverted, probe)))
        return probe

    def _try(self, probes: Sequence[Probe]) -> None:
        """Probes not tried yet, one after the other."""
        known = {each.probe.key for each in self.found.tried}
        new = [probe for probe in {each.key: each for each in probes}.values() if probe.key not in known]
        roles, clean = tuple(self.projectors), self.framed[:SEARCHED]
        tried = probes_tried(self.readings, roles, new, clean, self.prompts, self.clock)
        self.found = replace(self.found, tried=tuple(sorted((*self.found.tried, *tried), key=lambda each: -each.score)))
        if len(tried) < len(new):
            raise OutOfTime

    def _follow(self, probe: Probe, asked: Sequence[str]) -> list[Followed]:
        """The text that a probe brings to these questions."""
        found = self.texts.brought(probe, asked)
        self.found = replace(self.found, followed=(*self.found.followed, *found))
        return found

    def _try_fresh(self, followed: Followed, *, heard: bool = False) -> Trial:
        """The trial of a text that a probe brings; heard: see Trial."""
        target = required(followed.target, "the text that a probe brought")
        tried = self.texts.trial(followed, target, TRIALS, heard=heard)
        self.found = replace(self.found, trials=(*self.found.trials, tried))
        return tried

    def _shown(self, followed: Sequence[Followed], *, heard: bool = False) -> bool:
        """Whether the text to try of these demonstrates a backdoor; heard: see Trial."""
        best = fullest(followed)
        return best is not None and self._try_fresh(best, heard=heard).demonstrated

    def _give_up(self, why: str) -> None:
        """The stage that is being made is not made, or not to its end."""
        self._skip(f"{self.clock.stage}: {why}")
        if self.clock.stage not in self.found.unfinished:
            self.found = replace(self.found, unfinished=(*self.found.unfinished, self.clock.stage))

    def _skip(self, sentence: str) -> None:
        if sentence not in self.found.skipped:
            self.found = replace(self.found, skipped=(*self.found.skipped, sentence))
