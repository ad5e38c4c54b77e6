"""Whatever a stranger's file does to the process that reads it, its end is one sentence and nothing of it remains."""

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from projlens_core.errors import InvalidInput, NotFound, Shortage, Unsupported
from projlens_core.runtime import child, helper
from projlens_core.runtime.framing import pack, unpack

SECONDS, MEMORY, OUTPUT = 0.3, 128 * 2**20, 2 * 2**20
PLENTY = 10.0  # s, where time is not what ends it: a busy machine must not change the sentence
LATE = "longer than any sound one"
ENDS = {
    "aborts": "ends the program that reads it (SIGABRT)",
    "reads_null": "ends the program that reads it (SIGSEGV)",
    "loops": LATE,
    "sleeps": LATE,
    "ignores_signals": LATE,
    "stops": LATE,
    "closes_all": "without a result",
    "fills_memory": "needs more than 128 MB",
    "fills_memory_slowly": "needs more than 128 MB",
    "fills_memory_natively": "ends the program that reads it (SIGABRT)",
    "multiplies_text": "needs more than 128 MB",
    "prints_forever": LATE,
    "answers_long": "grows to more than 2 MB",
    "answers_forever": "grows to more than 2 MB",
    "answers_nonsense": "answer nonsense",
    "exits": "without a result",
    "leaves": "it tries to end the program",
    "interrupts": "KeyboardInterrupt",
    "panics": "PanicException: called `Option::unwrap()`",
    "fails": "KeyError: 'chat_template'",
    "fails_without_words": "ArithmeticError",
    "recurses": "RecursionError",
    "recurses_natively": "(SIGSEGV)",
    "forks": "PermissionError",
    "runs_program": "PermissionError",
    "becomes_program": "PermissionError",
    "leaves_grandchild": "PermissionError",
    "asks": "EOFError",
    "kills_all": "PermissionError",
    "not_json": "TypeError",
    "nothing": "",
}


def bounds(seconds: float = PLENTY) -> dict:
    return {"what": "The file", "memory": MEMORY, "seconds": seconds, "output": OUTPUT}


def run(name: str, within: float = PLENTY, **payload: object) -> dict:
    return child.run_in_child(f"tests.hostile:{name}", payload, **bounds(within))


def helper_pid() -> int:
    return run("process")["helper"]


def descendants(pid: int) -> list[str]:
    return Path(f"/proc/{pid}/task/{pid}/children").read_text().split()


@pytest.fixture(autouse=True)
def _nothing_remains():
    yield
    assert descendants(helper_pid()) == []


@pytest.mark.parametrize("name", ENDS)
def test_every_end_is_one_sentence(name: str):
    with pytest.raises(InvalidInput) as caught:
        run(name, SECONDS if ENDS[name] == LATE else PLENTY)
    said = str(caught.value)
    assert said.startswith("The file ")
    assert ENDS[name] in said
    assert said.isprintable()
    assert len(said) < 400


def test_values_and_bytes_come_back_as_they_went():
    values = {"text": "ü\ud800\0", "list": [1, None, {"a": 1.5}], "bytes": b"\0\xff" * 1000, "none": b""}
    assert run("echo", **values) == values
    assert unpack(pack(values)) == values


@pytest.mark.parametrize("cut", [0, 7, 15, 16, 20, -1])
def test_a_cut_message_is_none(cut: int):
    with pytest.raises(ValueError, match="not a message"):
        unpack(pack({"a": 1, "b": b"xyz"})[:cut])


def test_what_may_be_taken_is_beyond_what_the_helper_holds():
    assert run("fills_memory", bytes=MEMORY // 2) == {"length": MEMORY // 2}


def test_our_own_errors_keep_their_kind_and_words():
    with pytest.raises(NotFound, match=r"^There is no such template; there are a and b\.$"):
        run("finds_nothing")
    with pytest.raises(Unsupported, match=r"^This is not read\.\\x1b\[31m$"):
        run("refuses")


def test_a_child_that_is_asked_again_remembers_until_it_ends():
    with child.Child("tests.hostile:counts", **bounds()) as asked:
        first = asked.ask({"text": "x" * 1_000_000})
        assert (first["count"], first["length"]) == (1, 1_000_000)
        assert asked.ask({}) == {"count": 2, "length": 0, "pid": first["pid"]}
        with pytest.raises(InvalidInput, match="KeyError"):
            asked.ask({"fails": True})
        assert asked.ask({})["count"] == 3
        with pytest.raises(InvalidInput, match="SIGABRT"):
            asked.ask({"aborts": True})
        assert asked.ask({})["count"] == 1


@pytest.mark.parametrize("which", ["pid", "helper"])
def test_a_child_that_was_ended_while_nobody_asked_is_begun_anew(which: str):
    with child.Child("tests.hostile:process", **bounds()) as asked:
        before = asked.ask({})
        os.kill(before[which], signal.SIGKILL)
        end = time.monotonic() + 5
        while not asked._running.gone() and time.monotonic() < end:
            time.sleep(0.01)
        assert asked.ask({})[which] != before[which]


def test_each_question_has_its_own_time():
    with child.Child("tests.hostile:works", **bounds(SECONDS)) as asked:
        for _ in range(3):
            asked.ask({"seconds": 0.6 * SECONDS})
        with pytest.raises(InvalidInput, match=LATE):
            asked.ask({"seconds": 1.5 * SECONDS})


def test_threads_work():
    assert run("has_threads") == {"said": [7]}


def test_nothing_of_the_owner_is_in_it(monkeypatch: pytest.MonkeyPatch):
    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "secret")
    helper.close_all()
    helper._helper.clear()
    seen = run("surroundings")
    assert "secret" not in seen["variables"].values()
    assert seen["variables"]["HOME"] == os.devnull
    assert (seen["input"], seen["in"]) == ("", "")
    assert len(seen["files"]) <= 5  # the three standard ones, the result's, and the one that lists them


def test_it_connects_to_nobody():
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0.1)
        with pytest.raises(InvalidInput, match="PermissionError"):
            run("connects", port=server.getsockname()[1])
        with pytest.raises(TimeoutError):
            server.accept()


def test_it_writes_no_file(tmp_path: Path):
    with pytest.raises(InvalidInput, match="OSError"):
        run("writes", path=str(tmp_path / "file"))
    assert (tmp_path / "file").read_text() == ""


def test_it_ends_no_other_process():
    with pytest.raises(InvalidInput, match="PermissionError"):
        run("kills_others", pid=os.getpid())


def test_helper_has_one_thread():
    run("echo")
    status = Path(f"/proc/{helper_pid()}/status").read_text()
    assert "Threads:\t1\n" in status


def test_many_threads_at_once_each_get_their_own():
    results: dict[int, object] = {}

    def work(number: int) -> None:
        try:
            results[number] = run(*(("loops", SECONDS) if number % 4 == 0 else ("echo",)), number=number)
        except InvalidInput as error:
            results[number] = type(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == {n: child.Stopped if n % 4 == 0 else {"number": n} for n in range(12)}


def test_a_helper_that_was_ended_is_begun_anew():
    before = helper_pid()
    os.kill(before, signal.SIGKILL)
    assert helper_pid() != before


def test_a_helper_that_ends_during_the_work_is_a_shortage():
    pid = helper_pid()
    timer = threading.Timer(0.2, os.kill, (pid, signal.SIGKILL))
    timer.start()
    with pytest.raises(Shortage, match="ended from outside"):
        run("sleeps")
    timer.join()


def test_a_defect_of_ours_is_no_sentence():
    with pytest.raises(RuntimeError, match="no_such_function"):
        run("no_such_function")


def test_a_fork_of_this_process_has_a_helper_of_its_own():
    own = helper_pid()
    reading, writing = os.pipe()
    if not (pid := os.fork()):
        try:
            os.write(writing, str(helper_pid()).encode())
            helper.close_all()
        finally:
            os._exit(0)
    os.close(writing)
    os.waitpid(pid, 0)
    with os.fdopen(reading) as file:
        assert int(file.read()) != own
    assert helper_pid() == own


def test_nothing_goes_on_when_its_owner_is_killed():
    code = "from tests.core.test_child import *; print(helper_pid(), flush=True); run('sleeps')"
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as owner:
        helper = int(owner.stdout.readline())
        owner.kill()
    end = time.monotonic() + 5
    while Path(f"/proc/{helper}").exists() and time.monotonic() < end:
        time.sleep(0.01)
    assert not Path(f"/proc/{helper}").exists()


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="other systems bound no writable memory")
@pytest.mark.parametrize(
    ("size", "said"), [(2**20, "length"), (2**29, "Shortage: The file cannot be read: this machine")]
)
def test_the_owners_own_limits_are_kept_and_no_fault_of_the_file(size: int, said: str):
    script = f"""
import resource
resource.setrlimit(resource.RLIMIT_DATA, (2**29, 2**29))
resource.setrlimit(resource.RLIMIT_CPU, (60, 60))
from projlens_core.runtime.child import run_in_child
try:
    bounds = {{"memory": 2**31, "seconds": 90, "output": 99}}
    print(run_in_child("tests.hostile:fills_memory", {{"bytes": {size}}}, what="The file", **bounds))
except Exception as error:
    print(f"{{type(error).__name__}}: {{error}}")
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=Path(__file__).parents[2])
    assert said in done.stdout, done
