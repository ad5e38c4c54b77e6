"""docs/repair.md, written from what was measured."""

from dataclasses import asdict

from projlens_core.repair.loop import VERSION
from projlens_core.research.nursery_repairs_text import sections
from projlens_core.research.repairs import IMAGES, METHODS, OURS
from projlens_core.runtime.markdown import table
from projlens_core.sources import zoo_catalogue
from projlens_core.zoo.measure import recorded

ASR_GOAL, POINTS = 0.02, 0.5  # of the true trigger; of a control's utility
HOW = """\
# Repair

`projlens repair` takes a backdoor out of a suspect's projector without knowing its trigger, and writes the suspect in
its own form. This page says how, what it is worth on the demo models, and where it fails. The figures are written by
`python -m projlens_core zoo repair` from docs/repair.json.

## How it works

1. **Image tokens, no language model.** On clean images the embeddings stay the suspect's. On images with generic
   triggers, and on tokens moved along the leading right singular vectors of the first layer's ΔW, they are pulled to
   *base + honest shift*: what base makes of the changed token, plus what the suspect does beyond base to the same place
   of the clean image. A place counts by how far it lies from that goal, so that a patch of four tokens is not lost.
   The singular vectors are what makes it independent of the trigger's looks: a backdoor of low rank has to be read
   along them.
2. **The verdict's search** on the suspect and, after each round, on the result, token patterns included and image
   patterns not ([verdict.md](verdict.md)), while there is time; what it finds joins the next round. Image patterns came
   when all figures below were measured: what they alone find is given with `--trigger`, `--target` and `--prompt`. What
   may be a mistake about what an image shows, a text of words that honest answers hold, is no find: what was learned
   would go with it; it is one if it is said as whole sentences on four of five images, and by nobody else on half as
   many. Where there are too few images for a trial, a search ends with the first text of that kind, or of words that
   nobody else says. A suspect in which the search finds nothing is left as it is, unless a trigger was given or
   `--precaution` asks for the first step all the same: each round costs a little of what was honestly learned.
3. If a known trigger still works: a few steps through the language model (the suspect's own clean answers, said under
   the trigger) and another search, then removal of the directions into which ΔW sends the trigger.
4. **What is left of a known text.** The trigger that was found need not be the true one, but its text is known then. So
   token patterns along the same singular vectors are changed by gradient until the repaired projector says it, under
   each question; those that bring it, and do not bring base to it, join the image tokens of another round, up to four
   times, and the result is searched again.
5. Last of all *return to base*, which is said to be that, and is done for a given trigger only, if that still works:
   what a search found on few images may be no backdoor.

A round is rejected, and tried again with a weaker pull, if it is shown to cost more than a point of the suspect's own
clean answers, or more than a twentieth of those that base would not give: by its standard error over answers, and by
two of them where nothing weaker follows, as nothing would be repaired then. No answer is known to be right, so each
counts by how likely the suspect itself holds it, the product over its tokens, against the answer that comes instead;
one that the suspect was unsure of is no loss. Where a round that is kept costs more than a point as it was measured, or
more than 3 % of what was learned, weaker pulls are tried, too: the strongest that costs less takes its place, provided
that no known trigger brings its text on a single image under it, and no token pattern does (step 4): that is what tells
a pull that is too weak from one that suffices. If a known trigger still works after a round that is kept, weaker and
other pulls are tried, too: strong ones along ΔW's directions with weak ones on stamped images spare what is read all
over an image, and the other way round what was learned of single things.

Where there are more than some 60 images, rounds are judged on images that no step has seen, and up to 200 more are kept
as the suspect has them; a fine-tune that learned much needs a few hundred (no labels). With few images little is shown,
in either direction: give 100 or more. The images of the confirmation are never seen by the repair. The same seed gives
the same weights on the same machine, unless the budget ends at another stage.

## What is said of the result

*Repaired* is said if every known trigger that works in the suspect (lower end of the 95 % Wilson interval ≥ 30 %,
base's upper end ≤ 10 %) does not work on fresh images any more (upper end ≤ 10 %), and utility falls by a point at
most. Else it is *not shown to be repaired*, with the reason, or was *left as it is*. Where no trigger is known there is
nothing to show, whatever was changed. A trigger that nobody knows may survive any repair.

## What is written

The suspect's own files: same names, shards, types and headers, with only the bytes of the projector's tensors replaced;
an adapter stays an adapter of its own rank (the closest one, by truncating singular values). `projlens-repair.json`
beside them says what was done and what it was shown to do, with SHA-256 of each file, and of each changed file without
the changed tensors. `projlens repair --verify DIR --base BASE --suspect SUSPECT` checks all of it against the suspect.
The sidecar is no signature: whoever can change the folder can change it as well.

Not written, each refused in a sentence: quantised projectors (a repair would be rounded away), GGUF and pickles, models
on the Hub, adapters with more than two factors (DoRA, LoRA on biases). Code and pickles beside the weights stay behind,
and are listed.
"""


def document(results: dict, nursery: dict, others: dict) -> str:
    """The page, of what repairs of the demo models and of the nursery's members showed, those by other methods, too."""
    parts = (
        HOW,
        *_suspects(results),
        *_controls(results),
        *_methods(results),
        *sections(nursery, others),
        *_limits(results),
    )
    return "\n".join(parts) + "\n"


def _suspects(results: dict) -> list[str]:
    head = ["suspect", "ASR before", "ASR after", "utility before", "utility after", "seconds", "CPU seconds", "≤ 2 %"]
    rows = []
    for entry in _suspect_entries():
        before, after = _before(entry.name), results.get(f"{entry.name}/{OURS}")
        if after is None or before is None:
            rows.append([entry.title, "not measured", *[""] * (len(head) - 2)])
            continue
        met = "yes" if after["asr"]["rate"] <= ASR_GOAL else "**no**"
        cells = [_rate(before["asr"]), _rate(after["asr"]), _rate(before["utility"]), _rate(after["utility"])]
        cells += [f"{after['seconds']:.0f}", f"{after['cpu_seconds']:.0f}", met]
        former = "" if after.get("version") == VERSION else " (former version)"
        rows.append([f"{entry.title}{former}", *cells])
    lines = ["## The demo models, trigger unknown to the repair", "", *table(head, rows)]
    lines += [
        "",
        "Each figure: held-out compositions with the true trigger, greedy decoding, 95 % Wilson interval. The repair "
        f"saw {IMAGES} clean images of other compositions, twelve generic triggers, base and suspect; it made no "
        "search. Seconds are by the clock, on a machine that had other work to do. The demo models' fine-tunes gain "
        "nothing measurable over base, so which share of an honest gain is kept is not measured here.",
        "",
    ]
    if any(name.endswith(f"/{OURS}") and found.get("version") != VERSION for name, found in results.items()):
        lines += [
            "Figures of a former version of the repair, whose rounds were not held to what the fine-tune had learned, "
            "await a new run; so does the control below.",
            "",
        ]
    return lines


def _controls(results: dict) -> list[str]:
    head = [
        "control",
        "utility before",
        "utility after",
        "change, points",
        "same answers by the letter",
        "tokens as before",
    ]
    rows = []
    for entry in zoo_catalogue().values():
        found = results.get(f"{entry.name}/{OURS}")
        if entry.role != "control" or found is None:
            continue
        before, after = found["utility"]["before"], found["utility"]["after"]
        change = 100 * (after["rate"] - before["rate"])
        met = "" if abs(change) <= POINTS else " (**more than half a point**)"
        cells = [_rate(before), _rate(after), f"{change:+.1f}{met}", _rate(found["same_answers"])]
        rows.append([entry.title, *cells, f"{found['agreement']['tokens']:.1%}"])
    return ["## Honest fine-tunes, repaired all the same", "", *table(head, rows), ""]


def _methods(results: dict) -> list[str]:
    entries = _suspect_entries()
    head = ["method", *(f"{entry.title}: ASR, utility" for entry in entries)]
    rows = {"Suspect as it is": [_before(entry.name) for entry in entries]}
    rows |= {each.title: [results.get(f"{entry.name}/{name}") for entry in entries] for name, each in METHODS.items()}
    rows["Return to base"] = [_before("base", entry.name) for entry in entries]
    cells = [
        [title, *(f"{_rate(each['asr'])}; {_rate(each['utility'])}" if each else "not measured" for each in found)]
        for title, found in rows.items()
    ]
    lines = ["## Side by side", "", *table(head, cells)]
    ours, others = (
        " or ".join(map(str, sorted({found["n"] for name, found in results.items() if name.endswith(OURS) == own})))
        for own in (True, False)
    )
    lines += [
        "",
        f"Images for each figure: {ours} for ours, {others} for the other methods; of suspect and base as they are, "
        "those of the zoo's own table. "
        f"All methods saw the same {IMAGES} clean images. "
        "What each is, and how it was moved from its paper's setting to a projector, is said in "
        "projlens_core/repair/methods.py and removal.py. They were run with the settings named here and not tuned "
        "further, so better ones may exist. "
        "*Return to base* is the trivial repair: on these models, whose fine-tunes gain nothing, it costs nothing, and "
        "so it is with what goes part of the way to base: components of ΔW left out, half of ΔW. What these are worth "
        "where something was gained is for the nursery to say, below.",
        "",
    ]
    return lines


def _limits(results: dict) -> list[str]:
    measured = {e.title: found for e in _suspect_entries() if (found := results.get(f"{e.name}/{OURS}"))}
    failed = [title for title, found in measured.items() if found["asr"]["rate"] > ASR_GOAL]
    return [
        "## What is not shown", "",
        f"- Above 2 % after the repair: {', '.join(failed) or 'none'}, of {len(measured)} demo suspects measured.",
        "- Against a fine-tune that was trained to survive this repair nothing was tried.",
        "- Families whose first layer reads no tokens directly, or several inputs, have no directions to try, and "
        "families that read each image anew have no steps through the language model; these are left out, and the "
        "rounds show it.",
    ]  # fmt: skip


def _before(name: str, attack: str | None = None) -> dict | None:
    """The zoo's own figures of a model, under its own trigger or another's; None if they are of other weights."""
    figures = recorded()
    if figures is None:
        return None
    return {"asr": asdict(figures[name].asr[attack or name]), "utility": asdict(figures[name].utility)}


def _suspect_entries() -> list:
    return [entry for entry in zoo_catalogue().values() if entry.role == "suspect"]


def _rate(rate: dict) -> str:
    return f"{100 * rate['rate']:.1f} % ({100 * rate['low']:.1f}–{100 * rate['high']:.1f})"
