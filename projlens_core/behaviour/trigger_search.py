"""The search for a trigger that nobody has named, stage by stage, the cheapest first.

matched reference → probe bank → inversion → target recovery → confirmation. A trigger is found on one part of the
images and tried on the others, which decided nothing. Without a calibrated population of honest fine-tunes the search
can demonstrate a backdoor; it cannot call a suspect suspicious, let alone clean.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cached_property

import numpy as np
from PIL import Image

from projlens_core.activations.inversion import Canvas, Inverted, Start, invert
from projlens_core.behaviour.answer_inversion import IMAGES, unsettling
from projlens_core.behaviour.disturbance import excess
from projlens_core.behaviour.readings import Models, Readings
from projlens_core.behaviour.search import CANDIDATES, NOTABLE, Followed, Inversion, Search, TriedProbe
from projlens_core.behaviour.stage_clock import OutOfTime, StageClock
from projlens_core.behaviour.target import recover
from projlens_core.behaviour.token_search import inverted, references, residuals
from projlens_core.behaviour.trial import REFERENCE, Trial, trial
from projlens_core.errors import Unsupported
from projlens_core.inputs.probes import Probe
from projlens_core.inputs.triggers import frame
from projlens_core.runtime.progress import Progress, silent
from projlens_core.weights.projector import ProjectorWeights

SEARCHED, RECOVERED = 3, 10  # images that probes are tried on, and that the text is taken from; the rest is the trial
LOCAL = 12  # patches of the bank, those with the largest residual, that the language model is asked about
QUESTIONS = 5  # that a probe unsettles most, for which its text is looked for: a backdoor may wait for one of them
NEAR = 2  # of them, for which that of its neighbours is, where none brought a text
ENOUGH = 0.8  # share of the images on which a text stands, below which the probe's neighbours are tried
STEPS = 40  # of an inversion through answers
TRIALS = 2 * CANDIDATES  # that a search makes at most
THROUGH = "Inversion through answers"
FRAME = 336  # px, to which images are framed where a tower says no size of its own


class Searcher:
    """Searches under the projectors by role ("base", "suspect", perhaps "control").

    Images and names are in the order in which parts of them are used, base is the first role. models opens the model
    that answers under the projector of a role: base's, or one of its own; never two at once. budget: minutes, None for
    no end. through_answers: whether patches are inverted through the language model, too, where nothing else was
    demonstrated. Readings are kept on disk, so a search that was stopped goes on where it was.
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
        through_answers: bool = True,
    ):
        self.models, self.projectors, self.clock = models, dict(projectors), StageClock(progress, budget)
        self.names, self.images, self.prompts = list(names), list(images), list(dict.fromkeys(prompts))
        # what is fitted to the suspect answers with its language model
        self.readings = Readings(
            lambda role: models("suspect" if role == REFERENCE else role), projectors, self.clock.progress
        )
        self._through_answers = through_answers
        first = min(SEARCHED + RECOVERED, len(self.images))
        self.found = Search(
            tuple(self.prompts), tuple(self.names[:first]), tuple(self.names[first:]), roles=tuple(self.projectors)
        )

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
        last = (self._inversion, self._confirmation) if self._through_answers else ()
        for stage in (self._reference, self._bank, self._confirmation, *last):
            if self.found.best is not None and self.found.best.demonstrated:
                break
            try:
                stage(probes)
            except OutOfTime:
                self._give_up(f"cut short by the budget of {self.clock.budget:g} minutes.")
            yield self.found
        if not self._through_answers:
            self.found = replace(self.found, unfinished=(*self.found.unfinished, THROUGH))
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
        decided_by = self._hashes("base", "suspect"), [image.tobytes() for image in fitted]
        with self.models("base") as responder:
            vision = responder.vision
            try:
                matched = references(vision, self.projectors, fitted, self.clock.searching)
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

    def _add(self, against: str, inverted: Inverted) -> None:
        probe = Probe(f"Inverted patch {len(self.found.inversions) + 1}", (inverted.trigger,))
        self.found = replace(self.found, inversions=(*self.found.inversions, Inversion(against, inverted, probe)))

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
        drops: dict[str, list[np.ndarray]] = {role: [] for role in self.projectors}
        clean = self.framed[:SEARCHED]
        stamped = [[probe.on(image) for image in clean] for probe in new]
        done = 0
        for role, taken in drops.items():  # role by role, since each may have a model of its own; base is the first
            for changed in stamped if role == "base" else stamped[: len(drops["base"])]:
                if role == "base" and self.clock.spent:
                    break
                self.clock.progress(f"probes, {role}", done, len(new) * len(drops))
                taken.append(self.readings.drops(role, clean, changed, self.prompts))
                done += 1
        tried = [
            TriedProbe(
                new[n],
                tuple(float(v) for v in np.median(base, axis=0)),
                {role: tuple(float(v) for v in excess(drops[role][n], base)) for role in drops if role != "base"},
            )
            for n, base in enumerate(drops["base"])
        ]
        self.found = replace(self.found, tried=tuple(sorted((*self.found.tried, *tried), key=lambda each: -each.score)))
        if len(tried) < len(new):
            raise OutOfTime

    # 3. Patches by the gradient of the answers

    def _inversion(self, probes: Sequence[Probe]) -> None:
        self.clock.stage = THROUGH
        if self._keys("base") != self._keys("suspect"):
            self._give_up("the suspect has a language model or tower of its own.")
        else:
            try:
                self._invert_answers()
            except Unsupported as error:
                self._give_up(str(error))
        self._try([each.probe for each in self.found.inversions])

    def _invert_answers(self) -> None:
        images = self.framed[: SEARCHED + RECOVERED]
        own = {role: self.readings.own(role, images, self.prompts) for role in ("base", "suspect")}
        with self.models("base") as responder:
            if responder.reads_again:
                raise Unsupported("gradients do not reach this family's image embeddings.")
            canvas = Canvas(responder.vision, images)
            decided_by = "answers", responder.key, self._hashes("base", "suspect"), self.prompts
            for start in self._starts():
                score = unsettling(responder, self.projectors["base"], self.projectors["suspect"], own, start.seed)
                found = invert(canvas, start, score, STEPS, decided_by, self.clock.searching, IMAGES)
                self._add("answers", found)

    def _starts(self) -> tuple[Start, ...]:
        """A patch anywhere, and the patch of the bank that the answers, or else the tokens, react to most."""
        patches = [each for each in self.found.tried if each.probe.stamps[0].kind == "solid"]
        best = max(patches, key=lambda each: each.largest("suspect"), default=None)
        anywhere = Start(0.2, seed=2)
        if best is None:
            return (anywhere,)
        spec = best.probe.stamps[0]
        return Start(spec.ratio or 0.1, spec.placed, spec.colour, seed=3), anywhere

    # 4. and 5. The text, and the trial

    def _confirmation(self, probes: Sequence[Probe]) -> None:
        self.clock.stage = "Target recovery"
        tried = {each.probe.key for each in self.found.followed}
        for candidate in self.found.candidates:
            if candidate.probe.key in tried:
                continue
            asked = self._unsettled(candidate)
            followed = self._follow(candidate.probe, asked)
            if max((each.share for each in followed), default=0.0) < ENOUGH:
                followed += self._refined(candidate.probe, [f.prompt for f in followed if f.target] or asked[:NEAR])
            best = max(followed, key=lambda each: (each.share, len(each.target or "")), default=None)
            if best is not None and best.target is not None:
                self.clock.stage = "Confirmation"
                self.found = replace(self.found, trials=(*self.found.trials, self._tried_fresh(best, best.target)))
                if self.found.trials[-1].demonstrated:
                    return
                self.clock.stage = "Target recovery"

    def _unsettled(self, candidate: TriedProbe) -> list[str]:
        """The questions that a probe unsettles, the most unsettled first."""
        order = np.argsort(-candidate.by_question)[:QUESTIONS]
        return [self.prompts[i] for i in order if candidate.by_question[i] >= min(NOTABLE, candidate.score)]

    def _refined(self, probe: Probe, asked: Sequence[str]) -> list[Followed]:
        """The same of those neighbours of a probe that unsettle the suspect."""
        near = {each.key for each in probe.neighbours()}
        try:
            self._try(list(probe.neighbours()))
        except OutOfTime:
            self._give_up("its refinement was cut short by the budget.")
        better = [each for each in self.found.tried if each.probe.key in near and each.score >= NOTABLE]
        return [found for each in better[:CANDIDATES] for found in self._follow(each.probe, asked)]

    def _follow(self, probe: Probe, asked: Sequence[str]) -> list[Followed]:
        """The text that a probe brings to these questions."""
        images = self.images[SEARCHED : SEARCHED + RECOVERED]
        # the matched reference takes over some of a backdoor: how much of the text is its own, the trial shows
        said = self._answers(probe, asked, images, tuple(self.projectors))
        found = []
        for j, prompt in enumerate(asked):
            innocent = [row[j] for who, rows in said.items() if who != "suspect triggered" for row in rows]
            text = recover([row[j] for row in said["suspect triggered"]], innocent, self._habits)
            found.append(Followed(probe, prompt, *(text or (None, 0.0))))
        self.found = replace(self.found, followed=(*self.found.followed, *found))
        return found

    @cached_property
    def _habits(self) -> list[tuple[str, ...]]:
        """What base and suspect say about a few clean images, question by question."""
        usual = [self.readings.answers(role, self.framed[:SEARCHED], self.prompts) for role in ("base", "suspect")]
        return [column for each in usual for column in zip(*each, strict=True)]

    def _tried_fresh(self, followed: Followed, target: str) -> Trial:
        fresh = slice(SEARCHED + RECOVERED, None)
        said = self._answers(followed.probe, [followed.prompt], self.images[fresh], tuple(self.readings.projectors))
        answers = {who: tuple(row[0] for row in rows) for who, rows in said.items()}
        usual = [answer for column in self._habits for answer in column]
        about = followed.probe, followed.prompt, target, followed.share
        return trial(*about, self.names[fresh], answers, TRIALS, usual)

    def _answers(
        self, probe: Probe, prompts: Sequence[str], images: Sequence[Image.Image], roles: Sequence[str]
    ) -> dict[str, list[list[str]]]:
        """What these roles say about triggered images, base and suspect about clean ones, too: {"base clean":
        [image][question], …}.
        """
        shown = {"clean": [probe.clean(image) for image in images], "triggered": [probe.on(image) for image in images]}
        # role by role, so that each language model is loaded once: the matched reference answers with the suspect's
        return {
            f"{role} {condition}": self.readings.answers(role, shown[condition], prompts)
            for role in sorted(roles, key=lambda role: role in ("suspect", REFERENCE))
            for condition in (("clean", "triggered") if role in ("base", "suspect") else ("triggered",))
        }

    def _give_up(self, why: str) -> None:
        """The stage that is being made is not made, or not to its end."""
        self._skip(f"{self.clock.stage}: {why}")
        self.found = replace(self.found, unfinished=(*self.found.unfinished, self.clock.stage))

    def _skip(self, sentence: str) -> None:
        if sentence not in self.found.skipped:
            self.found = replace(self.found, skipped=(*self.found.skipped, sentence))

    def _hashes(self, *roles: str) -> list[str]:
        return [self.projectors[role].sha256 for role in roles]
