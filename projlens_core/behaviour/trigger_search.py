"""The search for a trigger that nobody has named, stage by stage, the cheapest first.

matched reference → probe bank → target recovery → confirmation → listening → image patterns → token patterns, with
patches for what they or probes bring; each of the last three with the two before it again. A trigger is found on one
part of the images and tried on the others, which decided nothing. Without a calibrated population of honest fine-tunes
the search can demonstrate a backdoor; it cannot call a suspect suspicious, let alone clean.
"""

import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial

from projlens_core.behaviour import listening
from projlens_core.behaviour.brought import ENOUGH, fullest
from projlens_core.behaviour.pattern_search import PATCH_MINUTES, PLACES, STARTS, PatternSearch
from projlens_core.behaviour.search import CANDIDATES, WORTH, Followed, Said, Search, weightiest
from projlens_core.behaviour.search_state import HEARD, TEXTS, SearchState
from projlens_core.behaviour.stage_clock import OutOfTime
from projlens_core.behaviour.token_search import FAINT, TILES, inverted, references, residuals, tiled
from projlens_core.behaviour.trial import FOREIGN, RECOVERED, REFERENCE, SEARCHED
from projlens_core.errors import Unsupported
from projlens_core.inputs.probes import Probe
from projlens_core.runtime.threads import single_thread

LOCAL = 12  # patches of the bank, those with the largest residual, that the language model is asked about
QUESTIONS = 5  # that a probe unsettles most, for which its text is looked for: a backdoor may wait for one of them
NEAR = 2  # of them, for which that of its neighbours is, where none brought a text
LISTENING, IMAGE_PATTERNS, PATTERNS = "Listening", "Image patterns", "Token patterns"


class Searcher(SearchState):
    """The stages of a search, and their order."""

    def run(self, probes: Sequence[Probe], only_heard: Sequence[Probe] = ()) -> Search:
        """The search to its end; see stages."""
        for _ in self.stages(probes, only_heard):
            pass
        return self.found

    def stages(self, probes: Sequence[Probe], only_heard: Sequence[Probe] = ()) -> Iterator[Search]:
        """What was found so far, after each stage; at the end `found` is all of it.

        only_heard: probes that the suspect is listened to under, and no more.
        """
        listens = partial(self._listening, only_heard=only_heard)
        further = (listens, self._image_patterns) if self._thorough else ()
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

    # 6. What the whole bank brings

    def _listening(self, probes: Sequence[Probe], only_heard: Sequence[Probe]) -> None:
        self.clock.stage = LISTENING
        bank = (*probes, *only_heard)
        # those that were asked about least first, as there may be no time for all
        heard, listened = self._heard((*only_heard, *sorted(probes, key=lambda probe: probe.local)))
        self.found = replace(self.found, listened=listened)
        if listened < len(bank):
            self._give_up(f"{listened} of {len(bank)} probes were listened to in the time for them.")
        for each in listening.ranked(heard, bank)[: listening.FOLLOWED]:
            apart = list(each.probe.neighbours()) if len(each.probe.stamps) > 1 else []
            alone = self._heard(apart)[0] if apart else []
            for one in (*listening.ranked(alone, apart)[:1], each):
                if self._shown(self._follow(one.probe, one.prompts), heard=True):
                    return

    def _heard(self, probes: Sequence[Probe]) -> tuple[list[listening.Heard], int]:
        images = self.framed[: SEARCHED + RECOVERED]
        return listening.heard(self.readings, probes, images, self.prompts, self.clock.searching)

    # 7. What is inverted all over the image

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
                if self._shown([text for text in followed if text.foreign >= WORTH]):
                    return
        except Unsupported as error:
            self._give_up(str(error))

    # 8. Token patterns, and patches for the texts that they bring

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
            if self._patch_seconds > 60 * PATCH_MINUTES:
                self._give_up("the time for patches was spent.")
                break
            begun = time.monotonic()
            best = weightiest(self._follow(self._add("text", patterns.patch(text, place)), self.prompts))
            shown = best is not None and self._try_fresh(best).demonstrated
            self._patch_seconds += time.monotonic() - begun
            if shown:
                return True
            seems |= self._too_few and best is not None and best.share >= ENOUGH
        return seems
