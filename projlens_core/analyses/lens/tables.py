"""The logit lens of a case as tables and JSON, with its tokens as labels."""

from collections import Counter
from collections.abc import Mapping, Sequence

import pandas as pd
import torch

from projlens_core.activations.lens import Lens, LensNull, Reading, rank_frequency
from projlens_core.activations.vocabulary import Vocabulary
from projlens_core.analyses.exhibit import Table

SIGNS = {"plus": "+v₀", "minus": "−v₀"}

Roles = Mapping[str, Lens]  # "suspect" and perhaps "control"


class Labels:
    """A text for every token that the lens names; tokens that would look alike have their number added."""

    def __init__(self, vocabulary: Vocabulary, by_role: Roles, targets: Sequence[int]):
        readings = [getattr(one, sign) for one in by_role.values() for sign in SIGNS]
        named = [torch.cat([r.each.flatten(), r.top, r.nearest]) for r in readings]
        ids = sorted({*torch.cat(named).tolist(), *targets})
        texts = vocabulary.shown(ids)
        often = Counter(texts)
        self._text = {i: text if often[text] == 1 else f"{text} ({i})" for i, text in zip(ids, texts, strict=True)}
        self._targets = set(targets)
        self.vocabulary = vocabulary.size

    def __call__(self, token: int) -> str:
        """The token's text."""
        return self._text[token]

    def marked(self, token: int) -> str:
        """The token's text, after ◆ if it is a word of the target: for charts, which have no column that says so."""
        return f"◆ {self._text[token]}" if token in self._targets else self._text[token]


def tables(by_role: Roles, null: LensNull, label: Labels, targets: Sequence[int]) -> tuple[Table, ...]:
    """All that the lens shows: rank frequencies, the target's words where there are some, nearest embeddings."""
    looked_for = (_targets(by_role, null, label, targets),) if targets else ()
    return (_frequencies(by_role, label, targets), *looked_for, _nearest(by_role, null, label))


def as_data(found: Roles, null: LensNull, label: Labels, targets: Sequence[int]) -> dict:
    """The same and the figures behind it, JSON-ready."""
    low, median, high = null.intervals().tolist() if targets else ([], [], [])
    by_role = {
        role: {
            "explained": one.direction.explained,
            "agreement": float(one.agreement.mean()),
            "push": one.push,
            "plus": _reading(one.plus, null, label),
            "minus": _reading(one.minus, null, label),
        }
        for role, one in found.items()
    }
    chance = {
        "draws": null.draws,
        "best_target_rank": null.best_interval() if targets else None,
        "target_ranks": [{"low": lo, "median": m, "high": h} for lo, m, h in zip(low, median, high, strict=True)],
        "reaching": null.reaching(found["suspect"].plus.each.shape[1]) if targets else None,
        "nearest_high": null.nearest_high(),
    }
    named = [{"token": label(token), "id": token} for token in targets]
    return {"vocabulary": label.vocabulary, "targets": named, **by_role, "chance": chance}


def _reading(one: Reading, null: LensNull, label: Labels) -> dict:
    best = one.best_target_rank
    return {
        "top": [
            {"token": label(token), "id": token, "logit": logit}
            for token, logit in zip(one.top.tolist(), one.logits.tolist(), strict=True)
        ],
        "nearest": [{"token": label(token), "id": token, "cosine": cosine} for token, cosine in _neighbours(one)],
        "target_ranks": one.target_ranks.tolist(),
        "best_target_rank": best,
        "p": None if best is None else null.p_value(best),
        "images_reaching": None if best is None else one.images_reaching(one.each.shape[1]),
        "rank_frequency": [
            {"token": label(token), "id": token, "shares": shares} for token, shares in rank_frequency(one.each).items()
        ],
    }


def _frequencies(by_role: Roles, label: Labels, targets: Sequence[int]) -> Table:
    rows = [
        {"projector": role, "direction": symbol, "token": label(token), "id": token, "target": token in targets}
        | {"any rank": sum(shares)}
        | {f"rank {rank}": share for rank, share in enumerate(shares, 1)}
        for role, one in by_role.items()
        for sign, symbol in SIGNS.items()
        for token, shares in rank_frequency(getattr(one, sign).each).items()
    ]
    return Table(
        "rank frequency",
        pd.DataFrame(rows),
        "How to read this: share of images at which a token stands at each rank, along the image's own direction.",
        {"id": "Number of the token in the vocabulary.", "any rank": "Share of images with the token at these ranks."},
    )


def _targets(by_role: Roles, null: LensNull, label: Labels, targets: Sequence[int]) -> Table:
    low, median, high = null.intervals().tolist()
    rows = []
    for sign, symbol in SIGNS.items():
        for place, token in enumerate(targets):
            ranks = {role: int(getattr(one, sign).target_ranks[place]) for role, one in by_role.items()}
            chance = {"chance, median": median[place], "chance, 2.5 %": low[place], "chance, 97.5 %": high[place]}
            rows.append(
                {"direction": symbol, "token": label(token), "id": token}
                | ranks
                | {name: round(rank) for name, rank in chance.items()}
                | {"p": null.p_value(ranks["suspect"], place)}
            )
    return Table(
        "target words",
        pd.DataFrame(rows),
        "How to read this: ranks of the target's words along the direction of all images, beside those that random "
        "directions give them; p is not corrected for how many words are looked at.",
        {"p": "How often a random direction ranks the word as high as the suspect's direction does."},
    )


def _nearest(by_role: Roles, null: LensNull, label: Labels) -> Table:
    rows = [
        {"projector": role, "direction": symbol, "place": place}
        | {"token": label(token), "id": token, "cosine": cosine}
        for role, one in by_role.items()
        for sign, symbol in SIGNS.items()
        for place, (token, cosine) in enumerate(_neighbours(getattr(one, sign)), 1)
    ]
    return Table(
        "nearest words",
        pd.DataFrame(rows),
        "How to read this: the token embeddings nearest to the direction of all images; of random directions, 97.5 % "
        f"have none nearer than {null.nearest_high():.3f}.",
    )


def _neighbours(reading: Reading) -> list[tuple[int, float]]:
    return list(zip(reading.nearest.tolist(), reading.cosines.tolist(), strict=True))
