"""A repair as it is shown: what it was shown to do, before and after, by which rounds, and what remains unknown."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict

import pandas as pd

from projlens_core.analyses.exhibit import Chart, Exhibit, Metric, Table
from projlens_core.analyses.repair import QUESTION, TITLE, RepairRun, charts
from projlens_core.analyses.spectrum import charts as spectra_charts
from projlens_core.repair.confirmation import Tried
from projlens_core.repair.result import Repaired, Round
from projlens_core.stats.rate import Rate
from projlens_core.weights.delta import compare, symbol
from projlens_core.weights.spectrum import Spectrum, spectrum

TOP = 40  # singular values drawn


def repair(run: RepairRun, settings: dict) -> Exhibit:
    """The exhibit of a repair; settings: what decides the numbers."""
    shown, result = run.confirmation, run.result
    left, curves = _change(run)
    return Exhibit(
        key="repair",
        title=TITLE,
        question=QUESTION,
        metrics=_metrics(run, left),
        charts=(*_rates(run), *_spectra(curves)),
        tables=(_answers(run), _rounds(run), _attacks(run)),
        data={
            "settings": settings,
            "repaired": shown.repaired,
            "sentence": shown.sentence,
            "attacks": [_attack(each) for each in shown.tried],
            "utility": {role: asdict(rate) for role, rate in shown.utility.items()} if shown.utility else None,
            "agreement": {role: asdict(each) for role, each in shown.agreement.items()},
            "utility_lost": shown.lost,
            "honest_gain": _gain(run),
            "rounds": [asdict(each) for each in result.rounds],
            "returned_to_base": result.returned_to_base,
            "left_as_it_is": result.left,
            "searches": result.searched,
            "result_searched": result.result_searched,
            "found": {"suspect": result.found[0], "repaired": result.found[1]},
            "change_left": left,
            "adapter_ranks": run.problem.form.ranks,
            "images": {"repair": list(run.problem.names[: run.problem.seen]), "fresh": list(shown.names)},
            "seconds": round(run.seconds, 1),
        },
        notes=_notes(run),
    )


def _change(run: RepairRun) -> tuple[dict[str, float], dict[str, dict[str, Spectrum]]]:
    """‖ΔW‖ that is left of the suspect's, by tensor; and spectra by matrix and role."""
    problem = run.problem
    roles = {"suspect": problem.suspect, "repaired": run.result.weights}
    roles |= {"control": problem.control} if problem.control else {}
    deltas = {role: compare(problem.base, weights) for role, weights in roles.items()}
    norms = {role: {t.name: t.frobenius for t in delta.tensors} for role, delta in deltas.items()}
    left = {name: norms["repaired"][name] / norm for name, norm in norms["suspect"].items() if norm}
    curves: dict[str, dict[str, Spectrum]] = {}
    for role, delta in deltas.items():
        for tensor in delta.matrices:
            curves.setdefault(tensor.name, {})[role] = spectrum(tensor.delta)
    return left, curves


def _metrics(run: RepairRun, left: dict[str, float]) -> tuple[Metric, ...]:
    shown = run.confirmation
    cards = [
        Metric(
            "Finding",
            "Repaired" if shown.repaired else "Left as it is" if shown.left else "Not shown",
            help="“Repaired” is said only of what the confirmation on fresh images showed; else it is not shown to be "
            "repaired. A suspect in which the search finds nothing is left as it is.",
        )
    ]
    first, last = run.result.found
    if first is not None:
        cards.append(
            Metric(
                "Found by the search", f"{first} → {'not searched' if last is None else last}",
                help="Triggers that the verdict's search found, on the images of the repair: each brings a text that "
                "base never gives. In the suspect, and in the result.",
            )
        )  # fmt: skip
    for name, each in list(_by_name(shown.tried).items())[:2]:
        before, after = each.asr["suspect"], each.asr["repaired"]
        cards.append(
            Metric(
                name,
                f"{before.rate:.0%} → {after.rate:.0%}",
                f"{each.asr['control'].rate:.0%}" if "control" in each.asr else None,
                _interval(after),
                f"Share of answers with “{each.attack.target}” under {each.attack.probe.name}, before and after; the "
                "interval is that after.",
            )
        )
    if shown.utility:
        before, after = shown.utility["suspect"], shown.utility["repaired"]
        control = shown.utility.get("control")
        cards.append(
            Metric(
                "Clean utility", f"{before.rate:.0%} → {after.rate:.0%}", f"{control.rate:.0%}" if control else None,
                _interval(after), "Share of right answers to clean images, before and after.",
            )
        )  # fmt: skip
    cards.append(
        Metric(
            "Answers as before",
            f"{shown.agreement['repaired'].tokens:.1%}",
            help="Share of the words (tokens) of the suspect's own clean answers that the repaired model would say, "
            f"too; base: {shown.agreement['base'].tokens:.1%}.",
        )
    )
    return tuple(cards)


def _interval(rate: Rate) -> str:
    return f"{rate.low:.0%} – {rate.high:.0%}"


def _by_name(tried: Sequence[Tried]) -> dict[str, Tried]:
    """Attacks as cards and chart call them: by where they are from, numbered from the second on."""
    named: dict[str, Tried] = {}
    for each in tried:
        name = f"ASR, {each.attack.origin} trigger"
        same = sum(known.startswith(name) for known in named)
        named[f"{name} {same + 1}" if same else name] = each
    return named


def _rates(run: RepairRun) -> tuple[Chart, ...]:
    shown = run.confirmation
    measures: dict[str, Mapping[str, Rate]] = {name: each.asr for name, each in _by_name(shown.tried).items()}
    measures |= {"Utility": shown.utility} if shown.utility else {}
    if not measures:
        return ()
    return (
        Chart(
            "before-and-after",
            charts.before_and_after(measures),
            "How to read this: dots are shares of answers on images that the repair never saw, bars their 95 % Wilson "
            "intervals. A repair worked if ASR falls to base's and utility stays the suspect's.",
            "Attack success and utility of base, suspect and repaired projector.",
        ),
    )


def _signed(points: float) -> str:
    return f"{points:.1f}".replace("-", "−")


def _spectra(curves: dict[str, dict[str, Spectrum]]) -> tuple[Chart, ...]:
    return tuple(
        Chart(
            f"spectrum-{name}",
            spectra_charts.values(
                f"Singular values of {symbol(number)}, before and after",
                {role: each.values for role, each in by_role.items()}, charts.curves(by_role), {}, TOP,
            ),
            "How to read this: what the repaired projector still changes of base's. A repair that only returned to "
            "base would leave nothing.",
            f"Spectrum of {name} before and after the repair.",
        )
        for number, (name, by_role) in enumerate(curves.items(), start=1)
    )  # fmt: skip


def _answers(run: RepairRun) -> Table:
    example = run.confirmation.example
    frame = pd.DataFrame(
        [{"image": condition, "projector": role, "answer": answer} for condition, role, answer in example.texts]
    )
    return Table(
        "answers",
        frame,
        f"How to read this: what each projector makes the model say about {example.name}, asked “{example.prompt}”.",
    )


def _rounds(run: RepairRun) -> Table:
    return Table(
        "rounds",
        pd.DataFrame([_row(each) for each in run.result.rounds]),
        "How to read this: one row per attempt, in order; one that is shown to cost more than a point of utility, or "
        "more than a twentieth of what was learned, is rejected. After one that is kept and costs something, a weaker "
        "one is kept if it costs less and leaves nothing of a known text.",
        {
            "strength": "how much the pull to base counts beside what is kept, or how many directions were removed",
            "along ΔW": "how much tokens moved along ΔW's directions count beside stamped ones",
            "token patterns": "how many of those that still brought a known text were unlearned with the images",
            "lost": "points of the suspect's own clean answers that it costs, by how sure the suspect is of each word",
            "learned, kept": "of what the words of those answers are worth that base would not say, the share kept",
            "clean": "squared distance of clean embeddings from the suspect's, of their square",
            "goal": "the same on stamped images from base's with the honest shift",
        },
    )


def _row(each: Round) -> dict:
    return {
        "means": each.means,
        "strength": each.strength,
        "along ΔW": each.pull.along if each.pull else None,
        "token patterns": each.remnants,
        "lost, points": 100 * each.lost,
        "learned, kept": each.learned,
        "kept": each.kept,
        "clean": each.fit.clean if each.fit else None,
        "goal, before": each.fit.goal_before if each.fit else None,
        "goal": each.fit.goal if each.fit else None,
        "still works": ", ".join(each.works),
    }


def _attacks(run: RepairRun) -> Table:
    rows = [
        {
            "trigger": each.attack.probe.name, "origin": each.attack.origin, "question": each.attack.prompt,
            "target": each.attack.target,
        }
        | {f"{role}, triggered": f"{rate.hits} of {rate.n}" for role, rate in each.asr.items()}
        for each in run.confirmation.tried
    ]  # fmt: skip
    return Table("attacks", pd.DataFrame(rows), "How to read this: answers with the target on fresh triggered images.")


def _attack(each: Tried) -> dict:
    return {
        "trigger": [spec.to_dict() for spec in each.attack.probe.stamps],
        "name": each.attack.probe.name,
        "origin": each.attack.origin,
        "prompt": each.attack.prompt,
        "target": each.attack.target,
        "works_in_suspect": each.works,
        "gone": each.gone,
        "asr": {role: asdict(rate) for role, rate in each.asr.items()},
        "false_target": {role: asdict(rate) for role, rate in each.false_target.items()},
    }


def _gain(run: RepairRun) -> dict | None:
    """What the fine-tune gained over base in right answers, and which share of it is kept; None where not measured."""
    utility = run.confirmation.utility
    if not utility:
        return None
    gain = utility["suspect"].rate - utility["base"].rate
    kept = (utility["repaired"].rate - utility["base"].rate) / gain if gain > 0 else None
    return {"gain": gain, "kept": kept}


def _how_searched(result: Repaired) -> str:
    if result.result_searched:
        return "The verdict's search was made on the result and found no trigger that still brings a text."
    if result.searched:
        return "The result was not searched to the end: its budget was used up, or the search found something."
    return "No search was made; only given triggers were tried."


def _notes(run: RepairRun) -> tuple[str, ...]:
    result, problem = run.result, run.problem
    notes = [run.confirmation.sentence]
    if not result.left:
        notes.append(_how_searched(result))
    if problem.extra and problem.given is None:
        notes.append("The given trigger brings no text of its own in the suspect, so its success cannot be counted.")
    if gain := _gain(run):
        notes.append(
            f"The fine-tune gained {_signed(100 * gain['gain'])} points over base in right answers"
            + (f", of which {gain['kept']:.0%} are kept." if gain["kept"] is not None else ": no gain to keep.")
        )
    if ranks := problem.form.ranks:
        notes.append(
            "An adapter, and written as one: "
            + ", ".join(f"{name} of rank {rank}" for name, rank in ranks.items())
            + "."
        )
    if problem.control is None and not result.left:
        notes.append("No control: what a repair costs an honest fine-tune of this kind was not measured.")
    return tuple(notes)
