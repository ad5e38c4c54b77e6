"""What of the suspect equals its base outside the projector: counts by part, and every finding."""

from dataclasses import asdict

import pandas as pd

from projlens_core.analyses.exhibit import Exhibit, Metric, Table
from projlens_core.cases.case import Case
from projlens_core.weights.proof import CHANGED, NOT_COMPARED, SAME, Proof

TITLE = "The rest of the model"
QUESTION = "Is the projector all that was changed?"
_ORDER = (CHANGED, NOT_COMPARED, SAME)


def proof(proof: Proof, case: Case) -> Exhibit:
    """Headline counts, a table by part, and a table of all findings, what changed first."""
    rows = sorted(proof.findings, key=lambda finding: _ORDER.index(finding.status))
    total = len(proof.findings)
    counts = [{"part": part} | by_status for part, by_status in proof.counts.items()]
    return Exhibit(
        key="proof",
        title=TITLE,
        question=QUESTION,
        metrics=tuple(
            Metric(s.capitalize(), f"{len(proof.of(s)):,} of {total:,}") for s in (SAME, CHANGED, NOT_COMPARED)
        ),
        tables=(
            Table(
                "rest-by-part", pd.DataFrame(counts), "Tensors and files outside the projector, by what they belong to."
            ),
            Table(
                "rest",
                pd.DataFrame([asdict(finding) for finding in rows], columns=["name", "part", "status", "reason"]),
                "How to read this: a change outside the projector is one that its spectra do not show.",
                {"reason": "how it was compared, how far it moved, or why it was not compared"},
            ),
        ),
        data={
            "settings": case.to_params(),
            "bytes_read": proof.bytes_read,
            "counts": proof.counts,
            "findings": [asdict(finding) for finding in proof.findings],
        },
        notes=(
            f"{proof.bytes_read:,} bytes were read for this. "
            "Same means equal to the base; whether the base is harmless is another question.",
        ),
    )
