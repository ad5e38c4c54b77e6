"""The search for a trigger that nobody has named, stage by stage, the cheapest first.

matched reference → probe bank → target recovery → confirmation → image patterns, with the two before again → token
patterns, with patches for what they or probes bring, and the two before again. A trigger is found on one part of the
images and tried on the others, which decided nothing. Without a calibrated population of honest fine-tunes the search
can demonstrate a backdoor; it cannot call a suspect suspicious, let alone clean.
"""

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cached_property

from PIL import Image

from projlens_core.activations.inversion import Inverted
from projlens_core.activations.reference import MatchedReference
from projlens_core.behaviour.brought import ENOUGH, Texts, fullest
from projlens_core.behaviour.pattern_search import MINUTES, PLACES, STARTS, PatternSearch
from projlens_core.behaviour.probe_search import tried as probes_tried
from projlens_core.behaviour.readings import Models, Readings
from projlens_core.behaviour.search import CANDIDATES, WORTH, Followed, Inversion, Said, Search, weightiest
from projlens_core.behaviour.stage_clock import OutOfTime, StageClock
from projlens_core.behaviour.token_search import FAINT, TILES, inverted, references, residuals, tiled
from projlens_core.behaviour.trial import FOREIGN, FRESH, RECOVERED, REFERENCE, SEARCHED, Trial
from projlens_core.errors import Unsupported
from projlens_core.inputs.probes import Probe
from projlens_core.inputs.triggers import frame
from projlens_core.runtime.progress import Progress, silent
from projlens_core.runtime.required import required
from projlens_core.runtime.threads import single_thread
from projlens_core.weights.projector import ProjectorWeights

LOCAL = 12  # patches of the bank, those with the largest residual, that the language model is asked about
QUESTIONS = 5  # that a probe unsettles most, for which its text is looked for: a backdoor may wait for one of them
NEAR = 2  # of them, for which that of its neighbours is, where none brought a text
HEARD, TEXTS = 1, 2  # of those that probes and that token patterns bring, for which patches are made
TRIALS = CANDIDATES + len(TILES) + (HEARD + TEXTS) * len(PLACES)  # that a search makes at most
IMAGE_PATTERNS, PATTERNS = "Image patterns", "Token patterns"
FRAME = 336  # px, to which images are framed where a tower says no size of its own


class Searcher:
    """Searches under the projectors by role ("base", "suspect", perhaps "control").

    Images and names are in the order in which parts of them are used, base is the first role. models opens the model
    that answers under the projector of a role: base's, or one of its own; never two at once. budget: minutes, None for
    no end. pattern_minutes: after which no other token pattern is begun, where nothing else was demonstrated. tiles:
    whether patterns of the whole image are inverted. few: whether a text that seems to be a backdoor's ends the search,
    where there are too few images for a trial. Readings are kept on disk, so a search that was stopped goes on where it
    was.
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
        tiles: bool = True,
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
        self._matched: tuple[MatchedReference, object] | None = None  # the suspect's, and what decides it
        self._patched_for: list[Said] = []
        first = min(SEARCHED + RECOVERED, len(self.images))
        self.found = Search(
            tuple(self.prompts), tuple(self.names[:first]), tuple(self.names[first:]), roles=tuple(self.projectors)
        )
        self._too_few = len(self.found.fresh) < FRESH  # for a trial to show anything
        self._few, self._tiles = few and self._too_few, tiles

    @cached_property
    def resolution(self) -> int:
        """The side, in px, to which images are framed: what base's vision tower reads, where it says so."""
        with self.models("base") as responder:
            return getattr(responder.vision, "image_size", None) or FRAME

    @cached_property
    def framed(self) -> list[Image.Image]:
        """The images as a probe finds them."""
        return [frame(image, self.resolution) for image in self.images]

    def run(self, probes: Sequence[Probe]) -> Search:
        """The search to its end."""
        for _ in self.stages(probes):
            pass
        return self.found

    def stages(self, probes: Sequence[Probe]) -> Iterator[Search]:
        """What was found so far, after each stage; at the end `found` is all of it."""
        further = (self._image_patterns,) if self._tiles else ()
        for stage in (self._reference, self._bank, self._confirmation, *further, self._patterns):
            if self.found.best is not None and self.found.best.demonstrated:
                break
            if self._few and any(each.share >= ENOUGH and self.texts.seems(each) for each in self.found.trials):
                break
            try:
                stage(probes)
            except OutOfTime:
                self._give_up(f"cut short by the budget of {self.clock.budget:g} minutes.")
            yield self.found
        self.found = replace(self.found, finished=True)

    # 1. What no language model is needed for

    def _reference(self, probes: Sequence[Probe]) -> None:
        self.clock.stage = "Matched reference"
        towers = {role: self._keys(role)[1] for role in self.projectors}
        if others := [role for role, key in towers.items() if key != towers["base"]]:
            self._give_up(f"{' and '.join(others)} read images with a tower of their own.")
            return
        # the images that probes are stamped on are not fitted to, if there are enough others
        fitted = self.framed[SEARCHED:] if len(self.framed) > 2 * SEARCHED else self.framed
        hashes = [self.projectors[role].sha256 for role in ("base", "suspect")]
        decided_by = hashes, [image.tobytes() for image in fitted]
        with self.models("base") as responder, single_thread():
            vision = responder.vision
            try:
                matched = references(vision, self.projectors, fitted, self.clock.searching)
                self._matched = matched["suspect"], decided_by
                self.readings.projectors[REFERENCE] = matched["suspect"].weights(self.projectors["base"])
                clean, *found = residuals(vision, matched, self.framed[:SEARCHED], probes, self.clock.searching)
                found.sort(key=lambda each: (not each.probe.local, -each.beyond))
                self.found = replace(self.found, clean=clean, residuals=tuple(found))
                for patch in inverted(vision, matched["suspect"], decided_by, self.framed, self.clock.searching):
                    self._add("tokens", patch)
            except Unsupported as error:
                self._give_up(str(error))

    def _keys(self, role: str) -> tuple[str, str]:
        """What decides a role's answers beside its projector, and what decides the tokens that it reads."""
        with self.models(role) as responder:
            return responder.key, responder.vision.key

    def _add(self, against: str, inverted: Inverted) -> Probe:
        what = "patch" if inverted.trigger.local else "pattern"
        probe = Probe(f"Inverted {what} {len(self.found.inversions) + 1}", (inverted.trigger,), fitted=True)
        self.found = replace(self.found, inversions=(*self.found.inversions, Inversion(against, inverted, probe)))
        return probe

    # 2. Generic triggers, and what was inverted

    def _bank(self, probes: Sequence[Probe]) -> None:
        self.clock.stage = "Probe bank"
        ranked = [each.probe for each in self.found.residuals if each.probe.local] or [p for p in probes if p.local]
        if len(ranked) > LOCAL:
            self._skip(
                f"Probe bank: of {len(ranked)} patches the language model was asked about {LOCAL}, "
                + ("those with the largest residual." if self.found.residuals else "the first of the bank.")
            )
        patches = [each.probe for each in self.found.inversions]
        self._try([*patches, *(p for p in probes if not p.local), *ranked[:LOCAL]])

    def _try(self, probes: Sequence[Probe]) -> None:
        """Probes not tried yet, one after the other."""
        known = {each.probe.key for each in self.found.tried}
        new = [probe for probe in {each.key: each for each in probes}.values() if probe.key not in known]
        roles, clean = tuple(self.projectors), self.framed[:SEARCHED]
        tried = probes_tried(self.readings, roles, new, clean, self.prompts, self.clock)
        self.found = replace(self.found, tried=tuple(sorted((*self.found.tried, *tried), key=lambda each: -each.score)))
        if len(tried) < len(new):
            raise OutOfTime

    # 4. and 5. The text, and the trial

    def _confirmation(self, probes: Sequence[Probe]) -> None:
        self.clock.stage = "Target recovery"
        tried = {each.probe.key for each in self.found.followed}
        for candidate in self.found.candidates:
            if candidate.probe.key in tried:
                continue
            asked = [self.prompts[i] for i in candidate.unsettled(QUESTIONS)]
            followed = self._follow(candidate.probe, asked)
            if max((each.share for each in followed), default=0.0) < ENOUGH:
                followed += self._refined(candidate.probe, [f.prompt for f in followed if f.target] or asked[:NEAR])
            best = fullest(followed)
            if best is not None:
                self.clock.stage = "Confirmation"
                if self._try_fresh(best).demonstrated:
                    return
                self.clock.stage = "Target recovery"

    def _refined(self, probe: Probe, asked: Sequence[str]) -> list[Followed]:
        """The same of those neighbours of a probe that unsettle the suspect."""
        near = {each.key for each in probe.neighbours()}
        try:
            self._try(list(probe.neighbours()))
        except OutOfTime:
            self._give_up("its refinement was cut short by the budget.")
        better = [each for each in self.found.tried if each.probe.key in near and each.notable]
        return [found for each in better[:CANDIDATES] for found in self._follow(each.probe, asked)]

    def _follow(self, probe: Probe, asked: Sequence[str]) -> list[Followed]:
        """The text that a probe brings to these questions."""
        found = self.texts.brought(probe, asked)
        self.found = replace(self.found, followed=(*self.found.followed, *found))
        return found

    def _try_fresh(self, followed: Followed) -> Trial:
        """The trial of a text that a probe brings."""
        tried = self.texts.trial(followed, required(followed.target, "the text that a probe brought"), TRIALS)
        self.found = replace(self.found, trials=(*self.found.trials, tried))
        return tried

    # 6. What is inverted all over the image

    def _image_patterns(self, probes: Sequence[Probe]) -> None:
        self.clock.stage = IMAGE_PATTERNS
        if self._matched is None:
            self._give_up("there is no matched reference.")
            return
        reference, decided_by = self._matched
        images = self.framed[: SEARCHED + RECOVERED]
        try:
            for start in TILES:
                with self.models("base") as responder, single_thread():
                    found = tiled(responder.vision, reference, decided_by, images, start, self.clock.searching)
                probe = self._add("direction", found)
                faint = replace(probe, name=f"{probe.name}, faint", stamps=(replace(found.trigger, alpha=FAINT),))
                followed = [text for each in (probe, faint) for text in self._follow(each, self.prompts)]
                best = fullest([text for text in followed if text.foreign >= WORTH])
                if best is not None and self._try_fresh(best).demonstrated:
                    return
        except Unsupported as error:
            self._give_up(str(error))

    # 7. Token patterns, and patches for the texts that they bring

    def _patterns(self, probes: Sequence[Probe]) -> None:
        self.clock.stage = PATTERNS
        if self._keys("base") != self._keys("suspect"):
            self._give_up("the suspect has a language model or tower of its own.")
            return
        try:
            images = self.framed[: SEARCHED + RECOVERED]
            patterns = PatternSearch(self.readings, images, self.prompts, self.clock.searching)
            heard = self.texts.loudest([f for f in self.found.followed if not f.probe.fitted_all_over], HEARD)
            most = len(heard) + TEXTS
            if any(self._patched(patterns, text, most) for text in heard):
                return
            took = 0.0  # seconds, of the last one
            for number, start in enumerate(STARTS):
                if self.pattern_seconds >= 60 * self._pattern_minutes or self.clock.outlasts(took):
                    self._give_up(f"{number} of {len(STARTS)} were made in the time for them.")
                    break
                begun = time.monotonic()
                tried = patterns.tried(start)
                took = time.monotonic() - begun
                self.pattern_seconds += took
                self.found = replace(self.found, patterns=(*self.found.patterns, tried))
                for text in tried.texts:
                    if text.foreign >= FOREIGN and self._patched(patterns, text, most):
                        return
            for text in self.found.texts:
                if self._patched(patterns, text, most):
                    return
        except Unsupported as error:
            self._give_up(str(error))

    def _patched(self, patterns: PatternSearch, text: Said, most: int) -> bool:
        """Whether a patch that is made for a text demonstrates a backdoor, or seems to where there are too few fresh
        images; for so many of them at most, once each.
        """
        if text in self._patched_for or len(self._patched_for) == most:
            return False
        self._patched_for.append(text)
        seems = False
        for place in PLACES:
            best = weightiest(self._follow(self._add("text", patterns.patch(text, place)), self.prompts))
            if best is not None:
                if self._try_fresh(best).demonstrated:
                    return True
                seems |= self._too_few and best.share >= ENOUGH
        return seems

    def _give_up(self, why: str) -> None:
        """The stage that is being made is not made, or not to its end."""
        self._skip(f"{self.clock.stage}: {why}")
        self.found = replace(self.found, unfinished=(*self.found.unfinished, self.clock.stage))

    def _skip(self, sentence: str) -> None:
        if sentence not in self.found.skipped:
            self.found = replace(self.found, skipped=(*self.found.skipped, sentence))
