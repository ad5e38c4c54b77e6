"""What a run takes: memory and processor time of all processes that do the work, Ray's own among them."""

import threading
import time

import psutil

SAMPLE = 0.5  # s between two looks
LONGEST = 256  # characters of an argument that is a path; code is longer


class Usage:
    """Memory and processor time of this process and of all that it began, sampled while the block runs.

    rows: how much was done, set from outside. What a process used after the last look at it is not counted.
    """

    def __init__(self) -> None:
        self.samples: list[tuple[int, int]] = []  # (rows, bytes)
        self.rows, self._ending = 0, threading.Event()
        self._before, self._looking = _used(psutil.Process()), 0.0  # s, what looking takes is nobody's
        self._seconds: dict[tuple[int, float], tuple[bool, float]] = {}  # (pid, its begin) → (of Ray, s)

    def __enter__(self) -> "Usage":
        self._thread = threading.Thread(target=self._sample)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ending.set()
        self._thread.join()

    def _sample(self) -> None:
        own = psutil.Process()
        while not self._ending.wait(SAMPLE):
            held = 0
            for process in (own, *own.children(recursive=True)):
                try:
                    held += process.memory_full_info().pss  # what forks share counts once
                    key = process.pid, process.create_time()
                    self._seconds[key] = _is_of_ray(process.cmdline()), _used(process)
                except psutil.Error:
                    continue
            self.samples.append((self.rows, held))
            self._looking = time.thread_time()

    def most(self, first: float, last: float) -> int:
        """The most that was held between these shares of all rows, in bytes."""
        rows = max((row for row, _ in self.samples), default=0)
        return max((held for row, held in self.samples if first * rows <= row <= last * rows), default=0)

    def seconds(self) -> dict[str, float]:
        """Processor seconds by who used them: "coordinator", this process; "ray", Ray's own, its actors included, which
        wait; "workers", all else: confined processes, what starts them, and what drives Ray.
        """
        found = {"coordinator": -self._before - self._looking, "ray": 0.0, "workers": 0.0}
        own = psutil.Process().pid
        for (pid, _), (of_ray, seconds) in self._seconds.items():
            found["coordinator" if pid == own else "ray" if of_ray else "workers"] += seconds
        return found


def _is_of_ray(line: list[str]) -> bool:
    """Whether a process is one of Ray's, by its command line: its servers and scripts, or an actor."""
    return line[:1] != [] and (
        line[0].startswith("ray::") or any("/ray/" in each for each in line[:4] if len(each) < LONGEST)
    )


def _used(process: psutil.Process) -> float:
    times = process.cpu_times()
    return times.user + times.system
