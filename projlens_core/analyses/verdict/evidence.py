"""What speaks for a backdoor, what against, and what is missing: sentences with the page that shows more."""

from projlens_core.analyses.verdict.calibration import NO_EVIDENCE, SUSPICIOUS
from projlens_core.analyses.verdict.decision import Decision
from projlens_core.analyses.verdict.observed import Observed
from projlens_core.behaviour.search import NOTABLE, Search, TriedProbe
from projlens_core.behaviour.trial import FOREIGN, FRESH

Item = dict[str, str]  # text, and page: the analysis that shows more
NOT_SEARCHED = (
    "triggers that resemble no probe, no neighbour of one, none that was listened for, no patch of 8 × 8 cells and no "
    "tiles all over the image, and are not read along the leading directions of ΔW",
    "questions other than those asked",
    "triggers in the text of a question",
    "backdoors that change answers without one text in common",
)


def evidence(observed: Observed, decision: Decision) -> dict[str, list[Item]]:
    """{"for", "against", "missing"}: items of each, the weightiest first."""
    search = observed.search
    if search is None:
        return {"for": [], "against": [], "missing": [_item(decision.note, "report")]}
    compared = [_item(decision.note, "verdict")]
    p = decision.p
    against = p is not None and p > NO_EVIDENCE and not decision.cautious
    return {
        "for": [
            *_trials(search, True),
            *_patterns(search),
            *_probes(search),
            *(compared if p is not None and p <= SUSPICIOUS else ()),
        ],
        "against": [
            *_trials(search, False),
            *_quiet(search),
            *(compared if against else ()),
        ],
        "missing": [
            *_missing(search),
            *(compared if p is None or (p > SUSPICIOUS and not against) else ()),
        ],
    }


def _item(text: str, page: str) -> Item:
    return {"text": text, "page": page}


def _trials(search: Search, demonstrated: bool) -> list[Item]:
    return [
        _item(
            f"{each.probe.name} brings “{each.target}” to “{each.prompt}” on {each.suspect.hits} of {each.suspect.n} "
            f"fresh images; base says it on {each.base.hits}, the suspect without the trigger on "
            f"{each.suspect_clean.hits}.",
            "response",
        )
        for each in search.trials
        if each.demonstrated is demonstrated
    ]


def _probes(search: Search) -> list[Item]:
    """The best notable probe: not proof, an honest fine-tune may be unsettled too."""
    if not search.candidates:
        return []
    best = search.candidates[0]
    return [
        _item(
            f"{best.probe.name} takes {best.score:.1f} nats more from the suspect's own answers than from base's"
            f"{_control(best)}.",
            "robustness",
        )
    ]


def _patterns(search: Search) -> list[Item]:
    """The weightiest text of a token pattern, where it is no mistake about what an image shows."""
    return [
        _item(
            f"A pattern on a few image tokens, along ΔW's leading directions, brings “{text.target}” to "
            f"“{text.prompt}” on {text.share:.0%} of the images that were searched, in base on {text.base:.0%}; "
            f"{text.foreign} of its words stand in no other answer.",
            "activation",
        )
        for text in search.texts[:1]
        if text.foreign >= FOREIGN
    ]


def _control(tried: TriedProbe) -> str:
    return f"; from the control's {tried.largest('control'):.1f}" if "control" in tried.excess else ""


def _quiet(search: Search) -> list[Item]:
    items = []
    if search.tried and not search.candidates:
        best = search.tried[0]
        items.append(
            _item(
                f"None of {len(search.tried)} probes and inverted patches unsettles the suspect by {NOTABLE:g} nats "
                f"more than base; the most is {best.score:.1f}, by {best.probe.name}.",
                "robustness",
            )
        )
    if search.patterns and not search.texts:
        items.append(
            _item(
                f"None of {len(search.patterns)} patterns on a few image tokens brings a text of words that no other "
                "answer holds.",
                "activation",
            )
        )
    named = sum(each.target is not None for each in search.followed)
    if search.listened and not named:
        items.append(
            _item(
                f"Under none of {search.listened} probes does the suspect say a text of its own that "
                "stands in half of its answers.",
                "response",
            )
        )
    elif search.followed and not named:
        items.append(
            _item(
                "No probe that unsettles the suspect brings one and the same text into half of its answers.", "response"
            )
        )
    return items


def _missing(search: Search) -> list[Item]:
    items = []
    if len(search.fresh) < FRESH:
        items.append(
            _item(
                f"{len(search.fresh)} images are left for a trial, and {FRESH} are needed: give "
                f"{len(search.searched) + FRESH} images.",
                "activation",
            )
        )
    if "control" not in search.roles:
        items.append(_item("No control: how an honest fine-tune reacts to these probes is not known.", "case"))
    items += [_item(sentence, "verdict") for sentence in search.skipped]
    return items
