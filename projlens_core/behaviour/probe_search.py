"""The stage of a search that asks by how much further a suspect's own answers drop under probes than base's."""

from collections.abc import Sequence

import numpy as np
from PIL import Image

from projlens_core.behaviour.disturbance import excess
from projlens_core.behaviour.readings import Readings
from projlens_core.behaviour.search import TriedProbe
from projlens_core.behaviour.stage_clock import StageClock
from projlens_core.inputs.probes import Probe


def tried(
    readings: Readings,
    roles: Sequence[str],
    probes: Sequence[Probe],
    clean: Sequence[Image.Image],
    prompts: Sequence[str],
    clock: StageClock,
) -> list[TriedProbe]:
    """The probes on these clean images, framed as a probe finds them; as many of them as there is time for base.

    roles: base is the first.
    """
    drops: dict[str, list[np.ndarray]] = {role: [] for role in roles}
    stamped = [[probe.on(image) for image in clean] for probe in probes]
    done = 0
    for role, taken in drops.items():  # role by role, since each may have a model of its own
        for changed in stamped if role == "base" else stamped[: len(drops["base"])]:
            if role == "base" and clock.spent:
                break
            clock.progress(f"probes, {role}", done, len(probes) * len(drops))
            taken.append(readings.drops(role, clean, changed, prompts))
            done += 1
    return [
        TriedProbe(
            probes[n],
            tuple(float(v) for v in np.median(base, axis=0)),
            {role: tuple(float(v) for v in excess(drops[role][n], base)) for role in drops if role != "base"},
        )
        for n, base in enumerate(drops["base"])
    ]
