"""What a whole bank brings: a suspect is listened to under every probe, on few images.

How much a probe unsettles a suspect beyond base is a poor guide where it disturbs base as much, and the residual on
stamped images where a trigger's tokens hardly move. Such a probe may bring a text all the same, which shows at once: it
stands in the answers about all of these images, or has words that no honest answer holds.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image

from projlens_core.behaviour.readings import Readings
from projlens_core.behaviour.search import WORTH
from projlens_core.behaviour.target import foreign_words, known_runs, recovered
from projlens_core.behaviour.trial import FOREIGN, SEARCHED
from projlens_core.inputs.probes import Probe
from projlens_core.runtime.progress import Progress

MINUTES = 1.0  # after which no further probe is listened to: in a large language model every answer takes long
FOLLOWED = 3  # probes whose texts are looked for on further images, those that bring most first
AT_ONCE = 12  # probes that are listened to together
LONG = 5  # words, from which a text of usual ones is worth that, if all of the images brought it: a caption has four


@dataclass(frozen=True)
class Heard:
    """A probe, the questions to which it brings a text, and how many words all of these texts have; own: whether one of
    them cannot be a mistake about what an image shows.
    """

    probe: Probe
    prompts: tuple[str, ...]
    words: int
    own: bool


def heard(
    readings: Readings,
    probes: Sequence[Probe],
    images: Sequence[Image.Image],
    prompts: Sequence[str],
    check: Progress,
    minutes: float = MINUTES,
) -> tuple[list[Heard], int]:
    """The probes that bring a text, and how many were listened to.

    images: those of the search, framed; a change of the whole image is tried on the first SEARCHED, a patch on the
    first alone, as the bank holds many of them. A text that stands in the answers about all of these and in no more
    than a tenth of base's and the suspect's about the clean images counts, if it has WORTH words that none of those
    hold; where it was tried on several images, also if it has LONG words. check is called with what was done; it may
    raise. No probe is begun after so many minutes.
    """
    roles = "base", "suspect"
    honest = [answer for role in roles for row in readings.answers(role, images, prompts) for answer in row]
    known = known_runs(honest)
    found, done, begun = [], 0, time.monotonic()
    for first in range(0, len(probes), AT_ONCE):
        if time.monotonic() - begun > 60 * minutes:
            break
        check("listening to the probe bank", first, len(probes))
        together = probes[first : first + AT_ONCE]
        shown = [[probe.on(image) for image in images[: 1 if probe.local else SEARCHED]] for probe in together]
        done += len(together)
        answers = iter(readings.answers("suspect", [image for row in shown for image in row], prompts))
        for probe, row in zip(together, shown, strict=True):
            said = [next(answers) for _ in row]
            brings, own = {}, False
            for prompt, column in zip(prompts, zip(*said, strict=True), strict=True):
                text, _ = recovered(column, known, share=1.0) or ("", 0.0)
                foreign = foreign_words(text, honest) if text else 0
                words = len(text.split())
                if foreign >= WORTH or (len(row) > 1 and words >= LONG):
                    brings[prompt] = words
                    own |= foreign >= FOREIGN
            if brings:
                found.append(Heard(probe, tuple(brings), sum(brings.values()), own))
    return found, done


def ranked(found: Sequence[Heard], preferred: Sequence[Probe]) -> list[Heard]:
    """First those with a text that cannot be a mistake about what an image shows; of these and of the others those
    whose texts are longest; of equals as they are preferred, in whatever order they were listened to.
    """
    place = {probe.key: number for number, probe in enumerate(preferred)}
    return sorted(found, key=lambda each: (not each.own, -each.words, place[each.probe.key]))
