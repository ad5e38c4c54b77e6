"""One suspect through one stage as data: what a worker is given, and the row that comes of it."""

import os
from dataclasses import asdict, dataclass, field
from typing import Any

from projlens_core.runtime.cache import content_key
from projlens_core.runtime.confine import ANYTHING, CONNECT, NOTHING
from projlens_core.runtime.device import VARIABLE
from projlens_core.runtime.roots import ROOTS
from projlens_core.sources import HUB_PREFIX

DONE, FAILED, STOPPED = "done", "failed", "stopped"  # how a task ends, see TaskResult
PASSED_ON = (VARIABLE, ROOTS)  # of the environment, to the process that does the work
# The same where a model of the Hub is read: of the machine that reads it, and sent to no other.
HUB = (
    "HF_ENDPOINT", "HF_TOKEN", "HTTPS_PROXY", "HTTP_PROXY", "NO_PROXY", "https_proxy", "http_proxy", "no_proxy",
    "SSL_CERT_FILE", "SSL_CERT_DIR",
)  # fmt: skip


def passed_on(*more: str) -> dict[str, str]:
    """Of this process's variables those that decide the work, wherever it is done, and those called so."""
    return {name: os.environ[name] for name in (*PASSED_ON, *more) if name in os.environ}


@dataclass(frozen=True)
class ScreenTask:
    """suspect, base: pinned specs; identity, base_identity: hashes of what they hold. version: of the code. images: a
    folder, images_identity a hash of it; both None where the stage looks at none.
    """

    stage: str
    module: str
    suspect: str
    identity: str
    base: str
    base_identity: str
    version: str
    images: str | None = None
    images_identity: str | None = None
    options: dict[str, Any] = field(default_factory=dict)

    @property
    def key(self) -> str:
        """A hash of all that decides the result; names of suspect and base are not among it."""
        return content_key(
            self.stage, self.identity, self.base_identity, self.images_identity, self.options, self.version
        )

    @property
    def is_remote(self) -> bool:
        """Whether suspect or base has to be fetched."""
        return any(spec.startswith(HUB_PREFIX) for spec in (self.suspect, self.base))

    @property
    def may(self) -> str:
        """What the process that does it may do besides computing and reading: one that runs models does what their
        commands do, which start confined processes themselves.
        """
        return ANYTHING if self.images is not None else CONNECT if self.is_remote else NOTHING

    def payload(self) -> dict[str, Any]:
        """What work.perform takes."""
        return asdict(self) | {"environment": self.environment(), "remote": self.is_remote}

    def environment(self) -> dict[str, str]:
        """Of this process's variables those that decide the work."""
        found = passed_on(*(HUB if self.is_remote else ()))
        if self.is_remote and ROOTS not in os.environ and "HF_TOKEN" not in found:
            from huggingface_hub import get_token  # only here: its client takes a second

            found |= {"HF_TOKEN": token} if (token := get_token()) else {}
        return found


@dataclass(frozen=True)
class TaskResult:
    """What came of a task. status: "done", "failed" (the suspect is not what it must be: so it stays) or "stopped" (a
    limit or a crash). scores, result: JSON text. seconds: that it took, in the worker.
    """

    key: str
    stage: str
    suspect: str
    status: str
    sentence: str
    scores: str
    result: str
    seconds: float
