"""What the Robustness page computes: changes of the trigger by shift, as they come, and answers to chosen ones."""

from collections.abc import Generator, Sequence
from dataclasses import dataclass

import streamlit as st

from dashboard import resources, results
from dashboard.pickers import SetChoice
from projlens_core.behaviour.questions import in_turn
from projlens_core.behaviour.robustness import TriedChange, attack_scores, sweep
from projlens_core.behaviour.scoring import Score
from projlens_core.cases.case import OpenedCase
from projlens_core.cases.whose import BOTH
from projlens_core.inputs.changes import Change
from projlens_core.runtime.cache import content_key
from projlens_core.runtime.progress import Progress

KEPT = 12  # sweeps a session
TRIED, SCORES = "robustness_tried", "robustness_scores"  # session_state: {key: {Change: TriedChange}}, {key: Score}


@dataclass(frozen=True)
class WantedChanges:
    """Which changes are tried, and on which images."""

    choice: SetChoice
    changes: tuple[Change, ...]

    def key(self, opened: OpenedCase) -> str:
        """A hash of all that decides one change's figures: each is kept under it and by itself."""
        hashes = [weights.sha256 for weights in opened.projectors.values()]
        runs = [resources.run_key(opened.case, role) for role in opened.projectors]
        return content_key(hashes, runs, resources.vision(opened.case).key, self.choice.key)


def known(opened: OpenedCase, wanted: WantedChanges) -> tuple[TriedChange, ...]:
    """What this session has tried of them, in their order."""
    done = st.session_state.get(TRIED, {}).get(wanted.key(opened), {})
    return tuple(done[change] for change in wanted.changes if change in done)


def tried(opened: OpenedCase, wanted: WantedChanges, progress: Progress) -> Generator[TriedChange]:
    """The changes not tried before, one after the other; each is kept at once."""
    kept = st.session_state.setdefault(TRIED, {})
    done = kept.setdefault(wanted.key(opened), {})
    while len(kept) > KEPT:
        kept.pop(next(iter(kept)))
    images = [resources.clean_image(p, wanted.choice.spec) for p in wanted.choice.images]
    missing = [change for change in wanted.changes if change not in done]
    tower = resources.vision(opened.case)
    case = (opened.base, opened.suspect, opened.control)
    for one in sweep(*case, tower, images, wanted.choice.trigger, missing, progress):
        done[one.change] = one
        yield one


def scores(
    opened: OpenedCase, wanted: WantedChanges, chosen: Sequence[Change], prompts: Sequence[str], target: str,
    progress: Progress, *, ask: bool,
) -> dict[Change, dict[str, Score]]:  # fmt: skip
    """Attack success of the chosen changes by role; without `ask`, only of those that were asked before."""
    kept = st.session_state.setdefault(SCORES, {})
    images = [resources.clean_image(p, wanted.choice.spec) for p in wanted.choice.images]
    asked = tuple(in_turn(prompts, len(images)))
    roles = {role: weights for role, weights in opened.projectors.items() if role != "base"}
    found = {}
    for change in chosen:
        key = content_key(wanted.key(opened), change, asked, target)
        if ask and key not in kept:
            kept[key] = {}
            for role in resources.whose(opened.case, BOTH, progress).in_turn(roles):
                with results.language_model(opened.case, progress, role) as responder:
                    kept[key] |= attack_scores(
                        responder, {role: roles[role]}, images, wanted.choice.trigger, change, asked, target,
                        progress=progress,
                    )  # fmt: skip
        if key in kept:
            found[change] = kept[key]
    return found
