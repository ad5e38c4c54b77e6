"""What a table of a screening says in short: how many of what, who stands out, and how often that is right."""

from collections.abc import Sequence

import pandas as pd
import torch

from projlens_core.runtime.text import printable
from projlens_core.screen import stages as known
from projlens_core.screen.listing import CONTROL, SUSPECT
from projlens_core.screen.table import CLUSTER, Table
from projlens_core.stats.auroc import separation
from projlens_core.stats.rate import Rate, wilson

FORM = "weights.form"
POISONED, HONEST = "poisoned", "honest"


def lines(table: Table, stages: Sequence[str], shown: int) -> list[str]:
    """For the terminal: counts by stage, the highest rows of the last one, how right they are where truth is known."""
    said = [
        f"{len(table):,} models: " + ", ".join(f"{n:,} {role}s" for role, n in table["role"].value_counts().items())
    ]
    for stage in stages:
        counts = ", ".join(f"{n:,} {state}" for state, n in table[stage].value_counts().items())
        said.append(f"{stage}: {counts}")
    grouped = table[CLUSTER].nunique()
    if grouped:
        said.append(f"{table[CLUSTER].notna().sum():,} write into one direction with others, in {grouped:,} clusters")
    if stages:
        score = column(stages[-1])
        top = table[table["role"] == SUSPECT].sort_values(score, ascending=False, kind="stable").head(shown)
        said += ["", f"highest by {score}:"]
        said += [
            f"  {value:.4g}  {printable(name)}"
            for name, value in zip(top["suspect"], top[score], strict=True)
            if not pd.isna(value)
        ]
    for stage in stages:
        said += quality(table, stage)
    return said


def column(stage: str) -> str:
    """The column by which a stage ranks."""
    return f"{stage}.{known.find(stage).score}"


def ranking(table: Table, stages: Sequence[str]) -> str:
    """The stage by which all suspects are compared: the dearest that everybody was to see and that gave any score."""
    seen = [each for each in stages if f"{each}.why" not in table and table[column(each)].notna().any()]
    return seen[-1] if seen else stages[0]


def beyond_controls(table: Table, stage: str) -> pd.Series | None:
    """Whether each row's score is above that of every control of the same form; NA where it has no score or there is no
    such control; None without any control.
    """
    score, controls = table[column(stage)], table[table["role"] == CONTROL]
    if controls[column(stage)].isna().all():
        return None
    if FORM not in table:
        return score > controls[column(stage)].max()
    return score > table[FORM].map(controls.groupby(FORM)[column(stage)].max()).astype("Float64")


def quality(table: Table, stage: str) -> list[str]:
    """AUROC of a stage's score, and precision and recall of "above every control", where the list says the truth."""
    suspects = table[(table["role"] == SUSPECT) & table["truth"].isin((POISONED, HONEST))]
    suspects = suspects[suspects[column(stage)].notna()]
    poisoned = suspects["truth"] == POISONED
    if not poisoned.any() or poisoned.all():
        return []
    scores = suspects[column(stage)].astype(float)
    found = separation(*(torch.tensor(scores[which].to_numpy()) for which in (~poisoned, poisoned)))
    said = [
        f"{stage}: {column(stage)} separates {poisoned.sum():,} poisoned from {(~poisoned).sum():,} honest with AUROC "
        f"{found.auroc:.3f} ({found.low:.3f}–{found.high:.3f})"
    ]
    flags = beyond_controls(table, stage)
    if flags is not None:
        raised = flags.loc[suspects.index].fillna(False).astype(bool)
        hits = int((raised & poisoned).sum())
        precision, recall = wilson(hits, int(raised.sum())), wilson(hits, int(poisoned.sum()))
        said.append(f"{stage}: above every control: precision {_shown(precision)}, recall {_shown(recall)}")
    return said


def any_is(table: Table, stages: Sequence[str], what: str) -> bool:
    """Whether any suspect is "demonstrated", "suspicious" or worse, or "failed" in a stage."""
    suspects = table[table["role"] == SUSPECT]
    if what == "failed":
        return any(suspects[stage].isin(("failed", "stopped")).any() for stage in stages)
    wanted = {"demonstrated"} if what == "demonstrated" else {"demonstrated", "suspicious"}
    return "verdict" in suspects and bool(suspects.get("verdict.says", pd.Series(dtype=object)).isin(wanted).any())


def _shown(rate: Rate) -> str:
    if not rate.n:
        return "– (none)"
    return f"{rate.rate:.1%} ({rate.low:.1%}–{rate.high:.1%}, {rate.hits:,} of {rate.n:,})"
