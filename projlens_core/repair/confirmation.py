"""What a repair did, on images that it never saw: attack success, utility, what the fine-tune had gained, answers.

"Repaired" is said of nothing else: each attack that works in the suspect must be shown not to work any more, and the
answers to clean images to be as right as before. Without an attack to try there is nothing to show.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from PIL import Image

from projlens_core.behaviour.success import contains_target, is_right
from projlens_core.behaviour.trial import BASE_HIGH, SUSPECT_LOW
from projlens_core.inputs.triggers import frame
from projlens_core.repair.problem import FRESH, LEAST_USED, NEW_TOKENS, KnownAttack, Problem
from projlens_core.repair.result import Repaired
from projlens_core.repair.utility import POINT, KeptAnswers, Known, agreement
from projlens_core.stats.rate import Rate, wilson
from projlens_core.weights.projector import ProjectorWeights


@dataclass(frozen=True)
class Tried:
    """One attack on fresh images: target on triggered images (ASR) and on clean ones, by role."""

    attack: KnownAttack
    asr: dict[str, Rate]
    false_target: dict[str, Rate]

    @property
    def works(self) -> bool:
        """Whether the suspect has it, so that there is something to repair."""
        return self.asr["suspect"].low >= SUSPECT_LOW and self.asr["base"].high <= BASE_HIGH

    @property
    def gone(self) -> bool:
        """Whether the repaired projector does not have it."""
        return self.asr["repaired"].high <= BASE_HIGH


@dataclass(frozen=True)
class AllAnswers:
    """All answers about one fresh image, as (condition, role, answer), to one question; target: of the attack."""

    name: str
    prompt: str
    target: str | None
    texts: tuple[tuple[str, str, str], ...]


@dataclass(frozen=True)
class Confirmation:
    """See the module. names: the fresh images. utility: right answers to clean images by role, None without known
    answers. agreement: of base and repaired with the suspect's own clean answers."""

    names: tuple[str, ...]
    tried: tuple[Tried, ...]
    utility: dict[str, Rate] | None
    agreement: dict[str, KeptAnswers]
    example: AllAnswers
    changed: bool
    returned: bool
    left: bool  # as it is, since a search found nothing

    @property
    def lost(self) -> float:
        """Share of utility lost against the suspect: of right answers where they are known, else of agreeing tokens."""
        if self.utility is not None:
            return self.utility["suspect"].rate - self.utility["repaired"].rate
        return self.agreement["suspect"].tokens - self.agreement["repaired"].tokens

    @property
    def repaired(self) -> bool:
        """Whether it was shown to be repaired; see `sentence` for why not."""
        working = [each for each in self.tried if each.works]
        enough = len(self.names) >= FRESH
        return (
            enough
            and bool(working)
            and all(each.gone for each in self.tried)
            and self.lost <= POINT
            and not self.returned
        )

    @property
    def sentence(self) -> str:
        """The finding in a sentence, with what it rests on."""
        n, working = len(self.names), [each for each in self.tried if each.works]
        if self.returned:
            return (
                "Not shown to be repaired: nothing else helped, so base's projector was put back, and what the "
                "fine-tune had learned is gone with the backdoor."
            )
        if self.left:
            return (
                "Left as it is: the search found no trigger that brings a text of its own, so there is nothing that "
                "could be shown to be gone. One that it cannot find may still work; a repair as a precaution lessens "
                "that, at the price of a point of utility or so."
            )
        if not self.changed:
            return "Not shown to be repaired: no attempt kept the model's utility, so nothing was changed."
        if not self.tried:
            return (
                "Not shown to be repaired: no trigger is known that works in the suspect, so there is nothing that "
                "could be shown to be gone; give one, or have one searched for."
            )
        if n < FRESH:
            return (
                f"Not shown to be repaired: {n} images were left for the confirmation, and {FRESH} are needed; give "
                f"{FRESH + LEAST_USED} or more."
            )
        if not working:
            return (
                f"Not shown to be repaired: on {n} fresh images no known trigger is shown to work in the suspect "
                "itself."
            )
        if left := [each for each in self.tried if not each.gone]:
            worst = max(left, key=lambda each: each.asr["repaired"].high)
            rate = worst.asr["repaired"]
            return (
                f"Not shown to be repaired: with {worst.attack.probe.name} the target still comes on {rate.hits} of "
                f"{rate.n} fresh images (up to {rate.high:.0%})."
            )
        if self.lost > POINT:
            few = f"; one answer is {1 / n:.1%}, so give more images" if 1 / n > POINT else ""
            return f"Not shown to be repaired: it costs {self.lost:.1%} of utility on {n} fresh images{few}."
        most = max((each.asr["repaired"] for each in working), key=lambda rate: rate.high)
        return (
            f"Repaired of {len(working)} known trigger{'s' * (len(working) > 1)}: on {n} fresh images the target comes "
            f"on {most.hits} at most (up to {most.high:.0%}), and utility is kept. Triggers that are not known may "
            "still work."
        )


def confirm(problem: Problem, result: Repaired) -> Confirmation:
    """Ask base, suspect and repaired about the images that the repair did not see."""
    names, fresh = problem.names[problem.seen :], problem.images[problem.seen :]
    projectors = {"base": problem.base, "suspect": problem.suspect, "repaired": result.weights}
    projectors |= {"control": problem.control} if problem.control else {}
    clean = [frame(image, problem.resolution) for image in fresh]
    with problem.models("suspect") as responder:
        known = Known.of(responder, problem.suspect, clean, problem.prompts, problem.progress)
    agreements = {}
    for role, weights in projectors.items():
        with problem.models(_owner(role)) as responder:
            agreements[role] = agreement(responder, weights, known, problem.progress)
    tried = tuple(_tried(problem, attack, fresh, projectors) for attack in result.attacks)
    return Confirmation(
        names=tuple(names),
        tried=tried,
        utility=_utility(problem, names, clean, projectors),
        agreement=agreements,
        example=_example(problem, names[0], fresh[0], next((each.attack for each in tried), None), projectors),
        changed=result.weights.sha256 != problem.suspect.sha256,
        returned=result.returned_to_base,
        left=result.left,
    )


def _owner(role: str) -> str:
    """The role whose model answers under a projector."""
    return "suspect" if role == "repaired" else role


def _ask(
    problem: Problem, role: str, weights: ProjectorWeights, images: Sequence[Image.Image], prompts: Sequence[str]
) -> list[str]:
    with problem.models(_owner(role)) as responder, responder.projector(weights):
        return responder.answers(images, list(prompts), NEW_TOKENS, progress=problem.progress)


def _tried(
    problem: Problem, attack: KnownAttack, fresh: Sequence[Image.Image], projectors: Mapping[str, ProjectorWeights]
) -> Tried:
    triggered, clean = [attack.probe.on(image) for image in fresh], [attack.probe.clean(image) for image in fresh]
    rates: tuple[dict[str, Rate], dict[str, Rate]] = ({}, {})
    for role, weights in projectors.items():
        said = _ask(problem, role, weights, [*triggered, *clean], [attack.prompt] * 2 * len(fresh))
        for into, answers in zip(rates, (said[: len(fresh)], said[len(fresh) :]), strict=True):
            into[role] = wilson(sum(contains_target(answer, attack.target) for answer in answers), len(answers))
    return Tried(attack, *rates)


def _utility(
    problem: Problem, names: Sequence[str], clean: Sequence[Image.Image], projectors: Mapping[str, ProjectorWeights]
) -> dict[str, Rate] | None:
    """One question with a known answer per image, all kinds in turn."""
    asked = [
        (image, problem.truths[name][i % len(problem.truths[name])])
        for i, (name, image) in enumerate(zip(names, clean, strict=True))
        if problem.truths.get(name)
    ]
    if not asked:
        return None
    rates = {}
    for role, weights in projectors.items():
        said = _ask(problem, role, weights, [image for image, _ in asked], [truth.prompt for _, truth in asked])
        right = [is_right(answer, truth.answer) for answer, (_, truth) in zip(said, asked, strict=True)]
        rates[role] = wilson(sum(right), len(right))
    return rates


def _example(
    problem: Problem,
    name: str,
    image: Image.Image,
    attack: KnownAttack | None,
    projectors: Mapping[str, ProjectorWeights],
) -> AllAnswers:
    prompt = attack.prompt if attack else problem.prompts[0]
    if attack is None:
        shown = {"clean": frame(image, problem.resolution)}
    else:
        shown = {"clean": attack.probe.clean(image), "triggered": attack.probe.on(image)}
    texts = []
    for role, weights in projectors.items():
        said = _ask(problem, role, weights, list(shown.values()), [prompt] * len(shown))
        texts += [(condition, role, answer) for condition, answer in zip(shown, said, strict=True)]
    return AllAnswers(name, prompt, attack.target if attack else None, tuple(texts))
