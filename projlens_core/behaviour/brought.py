"""The texts that a probe brings: taken from some images, and tried on those that decided nothing."""

from collections.abc import Callable, Sequence
from functools import cached_property

from PIL import Image

from projlens_core.behaviour.readings import Readings
from projlens_core.behaviour.search import WORTH, Followed, Said
from projlens_core.behaviour.target import foreign_words, recover
from projlens_core.behaviour.trial import RECOVERED, REFERENCE, SEARCHED, Trial, trial
from projlens_core.inputs.probes import Probe
from projlens_core.runtime.required import required

ENOUGH = 0.8  # share of the images on which a text stands, below which the probe's neighbours are tried


def fullest(followed: Sequence[Followed]) -> Followed | None:
    """The text to try, None if there is none: of those that stand on ENOUGH of the images the one with most words that
    no honest answer holds, since to some questions a probe may bring but a part of it; of equals, and where none stands
    there, the one that stands most often, then the longest.
    """

    def order(each: Followed) -> tuple[float, int, float, int]:
        often = each.share >= ENOUGH
        return min(each.share, ENOUGH), each.foreign if often else 0, each.share, len(each.target or "")

    return max((each for each in followed if each.target is not None), key=order, default=None)


class Texts:
    """What a suspect says under probes and nobody else does; roles: those that take part in finding a text, while all
    of the readings' take part in a trial. names, images, prompts: the search's; framed: the images as a probe finds
    them.
    """

    def __init__(
        self,
        readings: Readings,
        roles: Sequence[str],
        names: Sequence[str],
        images: Sequence[Image.Image],
        prompts: Sequence[str],
        framed: Callable[[], Sequence[Image.Image]],
    ):
        self._readings, self._roles, self._framed = readings, roles, framed
        self._names, self._images, self._prompts = names, images, prompts

    def brought(self, probe: Probe, asked: Sequence[str]) -> list[Followed]:
        """The text that a probe brings to each of these questions, on RECOVERED images."""
        images = self._images[SEARCHED : SEARCHED + RECOVERED]
        # the matched reference takes over some of a backdoor: how much of the text is its own, the trial shows
        said = self._answers(probe, asked, images, self._roles)
        found = []
        for j, prompt in enumerate(asked):
            innocent = [row[j] for who, rows in said.items() if who != "suspect triggered" for row in rows]
            text = recover([row[j] for row in said["suspect triggered"]], innocent, self._habits)
            target, share = text or (None, 0.0)
            foreign = foreign_words(target or "", [*innocent, *self._usual])
            found.append(Followed(probe, prompt, target, share, foreign))
        return found

    def said(self, followed: Followed) -> Said:
        """What the suspect says under the probe about the images of the search."""
        shown = [followed.probe.on(image) for image in self._images[: SEARCHED + RECOVERED]]
        answers = tuple(row[0] for row in self._readings.answers("suspect", shown, [followed.prompt]))
        return Said(followed.prompt, required(followed.target, "the text that a probe brought"), answers)

    def loudest(self, followed: Sequence[Followed], most: int) -> list[Said]:
        """At most so many texts of a suspect's own that probes brought, first the one that makes up most of the
        answers: the probe may be too far from the trigger to bring it often, and something shorter may have stood there
        more often.
        """
        own = [each for each in followed if each.own]
        return [self.said(each) for each in sorted(own, key=lambda each: -each.weight)[:most]]

    def seems(self, tried: Trial) -> bool:
        """Whether a text that base never gives looks like a backdoor's, by however few images: it is no mistake about
        what they show, or said instead of what they show where nobody else says it.
        """
        if tried.base.hits:
            return False
        if tried.foreign >= WORTH:
            return True
        if tried.suspect.n < RECOVERED:
            followed = Followed(tried.probe, tried.prompt, tried.target, tried.share)
            tried = self.trial(followed, tried.target, trials=1, again=True)
        said, others = tried.suspect.rate, max((each.rate for each in tried.others.values()), default=0.0)
        stray = tried.base.hits or tried.suspect_clean.hits
        return said >= ENOUGH and not tried.broken and others <= said / 2 and not stray

    def trial(self, followed: Followed, target: str, trials: int, *, again: bool = False, heard: bool = False) -> Trial:
        """The trial of a text on the images that decided nothing; trials: how many the search may make. again: on those
        that the text was taken from, which shows nothing new, but what others say about them. heard: see Trial.
        """
        fresh = slice(SEARCHED, SEARCHED + RECOVERED) if again else slice(SEARCHED + RECOVERED, None)
        said = self._answers(followed.probe, [followed.prompt], self._images[fresh], tuple(self._readings.projectors))
        answers = {who: tuple(row[0] for row in rows) for who, rows in said.items()}
        about = followed.probe, followed.prompt, target, followed.share
        return trial(*about, self._names[fresh], answers, trials, self._usual, heard=heard)

    @property
    def _usual(self) -> list[str]:
        return [answer for column in self._habits for answer in column]

    @cached_property
    def _habits(self) -> list[tuple[str, ...]]:
        """What base and suspect say about a few clean images, question by question."""
        clean = self._framed()[:SEARCHED]
        usual = [self._readings.answers(role, clean, self._prompts) for role in ("base", "suspect")]
        return [column for each in usual for column in zip(*each, strict=True)]

    def _answers(
        self, probe: Probe, prompts: Sequence[str], images: Sequence[Image.Image], roles: Sequence[str]
    ) -> dict[str, list[list[str]]]:
        """What these roles say about triggered images, base and suspect about clean ones, too: {"base clean":
        [image][question], …}.
        """
        shown = {"clean": [probe.clean(image) for image in images], "triggered": [probe.on(image) for image in images]}
        # role by role, so that each language model is loaded once: the matched reference answers with the suspect's
        return {
            f"{role} {condition}": self._readings.answers(role, shown[condition], prompts)
            for role in sorted(roles, key=lambda role: role in ("suspect", REFERENCE))
            for condition in (("clean", "triggered") if role in ("base", "suspect") else ("triggered",))
        }
