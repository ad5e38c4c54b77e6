"""The logit lens of a case: the words its drift direction points to, beside the control and random directions."""

from collections.abc import Sequence

import pandas as pd

from projlens_core.activations.lens import Lens, LensNull, Reading, rank_frequency
from projlens_core.activations.vocabulary import Vocabulary
from projlens_core.analyses.exhibit import Chart, Exhibit, Metric
from projlens_core.analyses.lens import ANALYSIS, charts, tables
from projlens_core.analyses.lens.tables import SIGNS, Labels, Roles

ROWS = 12  # tokens in a heatmap; the table has all
LEVEL = 0.05 / len(SIGNS)  # two signs are looked at
BEST = "best of them"
NO_HIGHER = "The suspect's direction ranks the target's words no higher than random directions do"


def lens(
    by_role: Roles,
    null: LensNull,
    vocabulary: Vocabulary,
    targets: Sequence[int],
    settings: dict,
    notes: Sequence[str] = (),
) -> Exhibit:
    """Everything the lens shows. targets are the tokens looked for, perhaps none; settings decide the numbers.

    notes are what the head says of itself. Texts of tokens stand in charts, tables and data only: what a metric holds
    may be read as Markdown.
    """
    label = Labels(vocabulary, by_role, targets)
    return ANALYSIS.exhibit(
        metrics=_metrics(by_role, null, targets, vocabulary.size),
        charts=tuple(_charts(by_role, null, label, targets)),
        tables=tables.tables(by_role, null, label, targets),
        data={"settings": settings} | tables.as_data(by_role, null, label, targets),
        notes=(*_notes(by_role, null, targets), *notes),
    )


def at_chance(shown: Exhibit) -> bool:
    """Whether the lens found none of the words that were looked for, so that the words on top mean nothing."""
    return any(note.startswith(NO_HIGHER) for note in shown.notes)


def _metrics(by_role: Roles, null: LensNull, targets: Sequence[int], vocabulary: int) -> tuple[Metric, ...]:
    suspect, control = by_role["suspect"], by_role.get("control")
    cards = []
    if targets:
        low, high = null.best_interval()
        for sign, symbol in SIGNS.items():
            own, theirs = getattr(suspect, sign), getattr(control, sign, None)
            cards.append(
                Metric(
                    f"Best word, {symbol}",
                    f"rank {own.best_target_rank:,}",
                    f"{theirs.best_target_rank:,}" if theirs else None,
                    f"p = {null.p_value(own.best_target_rank):.2g}",
                    f"Rank of the target's highest token of {vocabulary:,} along {symbol}. p: how often a random "
                    f"direction ranks one of them as high; 95 % of random directions: {low:,} to {high:,}.",
                )
            )
        depth = suspect.plus.each.shape[1]
        cards.append(
            Metric(
                f"In top {depth}, ±v₀",
                " / ".join(f"{_reaching(suspect, sign, depth):.0%}" for sign in SIGNS),
                " / ".join(f"{_reaching(control, sign, depth):.0%}" for sign in SIGNS) if control else None,
                help=f"+v₀ / −v₀: share of images whose own direction has a word of the target in its first {depth}; "
                f"{null.reaching(depth):.1%} of random directions have. Images share much of their direction, so these "
                "are not independent hits.",
            )
        )
    cards.append(
        Metric(
            "Nearest word",
            f"{suspect.plus.cosines[0]:.2f}",
            f"{control.plus.cosines[0]:.2f}" if control else None,
            f"chance {null.nearest_high():.2f}",
            "Largest cosine of +v₀ with a token embedding; chance: what 97.5 % of random directions stay below.",
        )
    )
    if not targets:
        cards.append(
            Metric(
                "Agreement of images",
                f"{suspect.agreement.mean():.2f}",
                f"{control.agreement.mean():.2f}" if control else None,
                help="Mean cosine of each image's own direction with the direction of all images; 1 is the same.",
            )
        )
    return tuple(cards)


def _charts(by_role: Roles, null: LensNull, label: Labels, targets: Sequence[int]) -> list[Chart]:
    shown = []
    depth = by_role["suspect"].plus.each.shape[1]
    by_chance = f", and one of the target's in {null.reaching(depth):.1%} of random directions" if targets else ""
    for sign, symbol in SIGNS.items():
        for role, one in by_role.items():
            frame = _frequency(getattr(one, sign), label, targets)
            kept = list(dict.fromkeys(frame.token))[:ROWS]
            shown.append(
                Chart(
                    f"words-{role}-{sign}",
                    charts.rank_frequency(f"{role.capitalize()}: words along {symbol}", frame[frame.token.isin(kept)]),
                    "How to read this: at which rank each word stands, over all images, when the output head reads the "
                    f"image's own direction; the {ROWS} most frequent words, ◆ and a frame for words of the target. "
                    f"Every direction has words on top, the control's too{by_chance}.",
                    f"Heatmap of how often each token stands at each rank along {symbol}, {role}.",
                )
            )
    if targets:
        low, high = null.best_interval()
        levels = null.intervals().tolist()
        chance = pd.DataFrame(
            {
                "token": [BEST, *map(label.marked, targets)],
                "low": [low, *levels[0]],
                "median": [float(null.target_ranks.amin(dim=1).median()), *levels[1]],
                "high": [high, *levels[2]],
            }
        )
        shown += [_against_chance(by_role, chance, label, targets, sign) for sign in SIGNS]
    return shown


def _against_chance(by_role: Roles, chance: pd.DataFrame, label: Labels, targets: Sequence[int], sign: str) -> Chart:
    ranges = [f"{low:,.0f} to {high:,.0f}" for low, high in zip(chance.low, chance.high, strict=True)]
    frame = pd.concat(
        pd.DataFrame(
            {
                "token": [BEST, *map(label.marked, targets)],
                "projector": role,
                "rank": [getattr(one, sign).best_target_rank, *getattr(one, sign).target_ranks.tolist()],
                "told": ranges,
            }
        )
        for role, one in by_role.items()
    )
    return Chart(
        f"targets-{sign}",
        charts.target_ranks(f"The target's words along {SIGNS[sign]}", frame, chance, label.vocabulary),
        "How to read this: dots are the ranks of the target's words along the direction of all images; the grey bars "
        "hold 95 % of random directions, their tick the median. A word that the direction points to lies left of its "
        "bar, and the control's does not.",
        f"Rank of each word of the target along {SIGNS[sign]}, suspect and control, over the range of chance.",
    )


def _notes(by_role: Roles, null: LensNull, targets: Sequence[int]) -> list[str]:
    notes = []
    if targets:
        p = {symbol: null.p_value(getattr(by_role["suspect"], sign).best_target_rank) for sign, symbol in SIGNS.items()}
        pointed = [symbol for symbol, value in p.items() if value <= LEVEL]
        if pointed:
            notes.append(f"The suspect's {' and '.join(pointed)} ranks a word of the target higher than chance does.")
        else:
            notes.append(
                f"{NO_HIGHER}. That does not clear it: what makes a model say something need not look like the words "
                "it says."
            )
        if "control" in by_role:
            theirs = [s for s in SIGNS if null.p_value(getattr(by_role["control"], s).best_target_rank) <= LEVEL]
            if theirs:
                named = " and ".join(SIGNS[sign] for sign in theirs)
                notes.append(f"The control's {named} ranks one higher than chance does, without any backdoor.")
    else:
        notes.append("No target text was given, so no word was looked for.")
    if "control" not in by_role:
        notes.append("No control: an honest fine-tune's direction points to words as well.")
    return notes


def _frequency(reading: Reading, label: Labels, targets: Sequence[int]) -> pd.DataFrame:
    """Rows (token, rank, share, target) without those of share 0, as the heatmap draws them."""
    rows = [
        {"token": label.marked(token), "rank": rank, "share": share, "target": token in targets}
        for token, shares in rank_frequency(reading.each).items()
        for rank, share in enumerate(shares, 1)
        if share
    ]
    return pd.DataFrame(rows)


def _reaching(one: Lens, sign: str, depth: int) -> float:
    """Share of images with a word of the target among the first `depth`."""
    return getattr(one, sign).images_reaching(depth) / len(one.agreement)
