"""Training that survives an interruption: the state is saved now and then, atomically, and taken up again."""

import time
from pathlib import Path

import torch

INTERVAL = 60.0  # seconds between saves


class Resumable:
    """The state_dicts of named parts and the number of finished steps, in FOLDER/state.pt."""

    def __init__(self, folder: Path, **parts):
        folder.mkdir(parents=True, exist_ok=True)
        self.path, self.parts = folder / "state.pt", parts
        self.saved_at = time.monotonic()

    def restore(self) -> int:
        """Load what was saved, if anything; the number of finished steps."""
        if not self.path.is_file():
            return 0
        state = torch.load(self.path, map_location="cpu", weights_only=True)
        for name, part in self.parts.items():
            part.load_state_dict(state[name])
        return state["step"]

    def save(self, step: int) -> None:
        """Save now; a crash in the middle leaves the former state in place."""
        partial = self.path.with_suffix(".partial")
        torch.save({"step": step, **{name: part.state_dict() for name, part in self.parts.items()}}, partial)
        partial.replace(self.path)
        self.saved_at = time.monotonic()

    def save_sometimes(self, step: int) -> None:
        """Save if the last save is more than INTERVAL ago."""
        if time.monotonic() - self.saved_at > INTERVAL:
            self.save(step)

    def clear(self) -> None:
        """Forget the state, once the result itself is stored."""
        self.path.unlink(missing_ok=True)
