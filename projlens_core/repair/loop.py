"""Repair, search on the result, add what is found, again; then dearer means, and last of all base.

Nothing here knows a true trigger unless the user gives one. Once a text is known, token patterns that still bring it
are unlearned as well: the trigger that was found need not be the true one. A round is kept only if the repaired
projector still answers clean images as the suspect does, up to a point. A suspect in which a search finds nothing is
left as it is, unless it shall be repaired as a precaution: every round costs a little of what was honestly learned.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cached_property, partial

import torch
from safetensors.torch import load, save

from projlens_core.errors import Unsupported
from projlens_core.repair.answer_steps import repair_answers
from projlens_core.repair.form import with_tensors
from projlens_core.repair.problem import KnownAttack, Problem
from projlens_core.repair.remnants import Remnants
from projlens_core.repair.removal import remove_along, returned
from projlens_core.repair.result import ANSWERS, REMOVAL, RETURN, TOKENS, Repaired, Round
from projlens_core.repair.search import Search
from projlens_core.repair.token_steps import STEPS, Pull, TokenFit, Tokens, repair_tokens, token_fit
from projlens_core.repair.utility import Belief, Said, agreeing, belief, cost, said, share, spares
from projlens_core.runtime import cache, versions
from projlens_core.runtime.cache import content_key
from projlens_core.runtime.required import required
from projlens_core.weights.projector import ProjectorWeights

CACHE = "repairs"
ROUNDS = 3  # of token steps
REMNANT_ROUNDS, REMNANT_STEPS = 4, 120  # while token patterns still bring a known text; token steps of each
ANSWER_ROUNDS = 2  # of steps through the language model
# Weaker and weaker, until a round keeps what it must. What a patch brings goes by moved tokens, at little cost to what
# is read all over the image; what was learned of single things goes with these, and stays where stamps do the work.
PULLS = (
    Pull(),
    *(Pull(*each, near=0.0, beyond=3.0) for each in ((0.3, 1.0), (0.03, 30.0), (0.1, 1.0), (0.03, 10.0), (0.03, 1.0))),
)
# by how many standard errors a round must be shown to cost too much, to be rejected; the second of what nothing weaker
# follows: the weakest pull, and the dearer means
ERRORS, LAST_ERRORS = 1.0, 2.0
VERSION = 3  # of what a repair without a search is, for figures that are written down
RANKS = (1, 2, 4)


def repair(
    problem: Problem,
    search: Search | None = None,
    in_time: Callable[[], bool] = lambda: True,
    *,
    precaution: bool = False,
) -> Repaired:
    """Repair the suspect; search finds what works, in_time says whether there is time for another stage.

    Without a search only what is given, and what generic triggers and ΔW's directions cover, is repaired. precaution:
    that is done, too, where a search finds nothing; else the suspect is left as it is then.
    """
    return _Repair(problem, search, in_time).run(precaution=precaution)


class _Repair:
    def __init__(self, problem: Problem, search: Search | None, in_time: Callable[[], bool]):
        self.problem, self.search, self.in_time = problem, search, in_time
        self.current = problem.suspect
        self.rounds: list[Round] = []
        self.attacks: list[KnownAttack] = [problem.given] if problem.given else []
        self.searched = 0
        self.pull = 0  # of PULLS: stronger ones cost too much
        self.tried: dict[tuple[KnownAttack, str], bool] = {}  # whether an attack works, by a projector's hash, too
        self.finds: dict[str, int] = {}  # how many triggers a search found in a projector, by its hash
        self.clean_search: str | None = None  # the projector in which a search found nothing
        self.kept_pull = PULLS[-1]  # of the last token steps that were kept
        self.patterns = 0  # that brought a known text, and joined the image tokens

    def run(self, *, precaution: bool) -> Repaired:
        self._look(self.current)
        known = self.attacks or self.problem.extra or not self.searched
        for _ in range(ROUNDS if known or precaution else 0):
            self._token_round()
            if not self._look(self.current) or not self.in_time():
                break
        still = self._working(self.current)
        for _ in range(ANSWER_ROUNDS):
            if not (still and self._answer_round(still)):
                break
            self._look(self.current)
            still = self._working(self.current)
        if still:
            still = self._removal_round(still)
        if self._remnant_rounds():
            self._look(self.current)
            still = self._working(self.current)
        if still:
            still = self._return_round(still)
        return Repaired(
            self.current, tuple(self.rounds), tuple(self.attacks), tuple(still), self.searched,
            self.clean_search == self.current.sha256,
            (self.finds.get(self.problem.suspect.sha256), self.finds.get(self.current.sha256)),
        )  # fmt: skip

    def _look(self, weights: ProjectorWeights) -> list[KnownAttack]:
        """What the search finds, and is not known yet."""
        if self.search is None or not self.in_time():
            return []
        found, self.searched = self.search(weights), self.searched + 1
        self.finds[weights.sha256] = len(found)
        if not found:
            self.clean_search = weights.sha256
        known = {(attack.probe.key, attack.target) for attack in self.attacks}
        new = [attack for attack in found if (attack.probe.key, attack.target) not in known]
        self.attacks += new
        return new

    def _token_round(self) -> None:
        """The strongest pull that is bearable; weaker ones, too, while a known attack still works. If that one does not
        spare what was learned, the strongest that does, provided that nothing known is left under it.
        """
        tokens = self._tokens()
        most: int | None = None  # known attacks that still work with what this round kept
        for number, pull in enumerate(PULLS[self.pull :], start=self.pull + 1):
            if self._pulled(tokens, pull, most):
                self.kept_pull = pull
                most = len(self.rounds[-1].works)
                if not most:
                    self._spare(tokens, PULLS[number:])
                    return
            elif most is None:
                self.pull = min(self.pull + 1, len(PULLS) - 1)

    def _spare(self, tokens: Tokens, weaker: Sequence[Pull]) -> None:
        """A weaker pull than the one that was just kept: where there is a text to look for, since only what is left of
        it tells a pull that is too weak from one that suffices.
        """
        if self.rounds[-1].spares or not self.attacks:
            return
        for pull in weaker:
            if self._remnants is None or self._remnants.out_of_time or not self.in_time():
                return
            if self._pulled(tokens, pull, 1, sparing=True):
                self.kept_pull = pull
                return

    def _remnant_rounds(self) -> bool:
        """Whether token steps were kept that unlearn what is left of the longest known text, from where all else ended.

        They come last: a search overlooks what they leave more easily than what it would have found before.
        """
        if not (self.attacks and self.in_time() and self._remnants):
            return False
        before, tokens = self.current.sha256, self._tokens()
        for _ in range(REMNANT_ROUNDS):
            if not self.in_time():
                break
            new = {each.key: each.tokens for each in self._remnants.left(self.current, self.attacks)}
            tokens = replace(tokens, stamped={**tokens.stamped, **new})
            self.patterns += len(new)
            works = len(self._working(self.current))
            if not new or not self._pulled(tokens, self.kept_pull, works + 1, REMNANT_STEPS, self.current):
                break
        return self.current.sha256 != before

    @cached_property
    def _remnants(self) -> Remnants | None:
        try:
            return Remnants(self.problem)
        except Unsupported:
            return None

    def _pulled(
        self, tokens: Tokens, pull: Pull, fewer: int | None = None, steps: int = STEPS,
        start: ProjectorWeights | None = None, *, sparing: bool = False,
    ) -> bool:  # fmt: skip
        """Whether token steps with this pull, from the suspect or `start`, are kept, see _judged."""
        problem = self.problem
        candidate = self._kept(
            partial(
                repair_tokens, problem.form, problem.base, problem.suspect, tokens,
                pull=pull, steps=steps, start=start, seed=problem.seed, progress=problem.progress,
            ),
            TOKENS, pull, steps, start.sha256 if start else None, sorted(tokens.stamped),
        )  # fmt: skip
        fit = token_fit(problem.base, problem.suspect, tokens, candidate)
        errors = LAST_ERRORS if pull == PULLS[-1] else ERRORS
        return self._judged(candidate, TOKENS, pull.strength, pull, fit, fewer=fewer, errors=errors, sparing=sparing)

    def _tokens(self) -> Tokens:
        """What token steps are taken on: generic triggers, and those that are known."""
        problem = self.problem
        known = [probe for attack in self.attacks for probe in (attack.probe, *attack.probe.anywhere())]
        probes = {probe.key: probe for probe in (*problem.drawn, *problem.extra, *known)}
        return problem.tokens(list(probes.values()), more=True)

    def _answer_round(self, still: list[KnownAttack]) -> bool:
        """Whether steps through the language model were taken and kept."""
        problem = self.problem
        if not self.in_time():
            return False
        tokens, known = problem.tokens([attack.probe for attack in still]), problem.known
        try:
            with problem.models("suspect") as responder:
                candidate = self._kept(
                    lambda: repair_answers(
                        problem.form, responder, problem.base, problem.suspect, self.current, tokens, known,
                        seed=problem.seed, progress=problem.progress,
                    ),
                    ANSWERS, self.current.sha256, sorted(tokens.stamped),
                )  # fmt: skip
        except Unsupported:  # no gradient leads through this family's model
            return False
        return self._judged(candidate, ANSWERS, 1.0)

    def _removal_round(self, still: list[KnownAttack]) -> list[KnownAttack]:
        problem = self.problem
        tokens = problem.tokens([attack.probe for attack in still])
        stamped = torch.cat(list(tokens.stamped.values()))
        clean = tokens.clean.repeat(len(tokens.stamped), 1, 1)
        for rank in RANKS:
            candidate = remove_along(problem.form, problem.base, problem.suspect, self.current, clean, stamped, rank)
            if self._judged(candidate, REMOVAL, rank) and not (still := self._working(self.current)):
                break
        return still

    def _return_round(self, still: list[KnownAttack]) -> list[KnownAttack]:
        problem = self.problem
        if not any(attack.origin == "given" for attack in still):
            return still  # what a search found on few images may be no backdoor, and honest gains would go with it
        self._judged(returned(problem.form, problem.base, problem.suspect), RETURN, 1.0, whatever=True)
        return self._working(self.current)

    def _working(self, weights: ProjectorWeights) -> list[KnownAttack]:
        """The known attacks that still succeed; each is tried once in a projector."""
        for attack in self.attacks:
            if (attack, weights.sha256) not in self.tried:
                self.tried[attack, weights.sha256] = self.problem.works(attack, weights)
        return [attack for attack in self.attacks if self.tried[attack, weights.sha256]]

    def _judged(
        self, candidate: ProjectorWeights, means: str, strength: float, pull: Pull | None = None,
        fit: TokenFit | None = None, *, whatever: bool = False, fewer: int | None = None,
        errors: float = LAST_ERRORS, sparing: bool = False,
    ) -> bool:  # fmt: skip
        """Whether the candidate keeps its utility, and so takes the place of what was there before.

        fewer: only if fewer known attacks than that still work. errors: as of utility.Cost.bearable. sparing: only if
        it spares what was learned, and nothing is left under it.
        """
        problem, now = self.problem, self._said(candidate)
        found = cost(problem.judged_by, self._belief, self._base_says, self._belief.said, now)
        works = tuple(attack.probe.name for attack in self._working(candidate))
        kept = whatever or (found.bearable(errors) and (fewer is None or len(works) < fewer))
        if sparing:
            kept = kept and spares(found.lost, found.learned) and self._nothing_left(candidate)
        if kept:
            self.current = candidate
        agree = share(agreeing(problem.judged_by, now))
        remnants = self.patterns if means == TOKENS else 0
        self.rounds.append(Round(means, strength, pull, agree, found.lost, found.learned, kept, fit, works, remnants))
        return kept

    def _nothing_left(self, weights: ProjectorWeights) -> bool:
        """Whether no known attack succeeds on a single image, and token patterns were looked for that bring the longest
        known text, and none was found."""
        problem = self.problem
        if any(problem.succeeds(attack, weights, problem.used) for attack in self.attacks):
            return False
        remnants = required(self._remnants, "what looks for token patterns")
        return not (remnants.left(weights, self.attacks) or remnants.out_of_time)

    @cached_property
    def _base_says(self) -> Said:
        return self._said(self.problem.base)

    @cached_property
    def _belief(self) -> Belief:
        """The suspect's, of the answers by which rounds are judged."""
        problem = self.problem
        known = problem.judged_by
        with problem.models("suspect") as responder:
            return belief(responder, problem.suspect, known, problem.progress)

    def _said(self, weights: ProjectorWeights) -> Said:
        problem = self.problem
        known = problem.judged_by  # before a model is held, as it asks for one itself
        with problem.models("suspect") as responder:
            return said(responder, weights, known, problem.progress)

    def _kept(self, make: Callable[[], ProjectorWeights], *about: object) -> ProjectorWeights:
        """What `make` gives, kept on disk, so that a run that was ended is taken up again."""
        key = content_key(self.problem.key, versions.sources("repair"), *about)
        suspect = self.problem.suspect
        if (known := cache.stored(CACHE, key)) is not None:
            return with_tensors(suspect, suspect.tensors | load(known))
        made = make()
        cache.store(CACHE, key, save({name: made.tensors[name].contiguous() for name in self.problem.form.slots}))
        return made
