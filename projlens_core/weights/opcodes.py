"""A pickle read without running it: whether its opcodes make tensors and settings, no more than the file can hold.

torch's own reader with weights_only refuses strange functions, but calls those that it knows with whatever arguments
the file gives: `bytearray(5_000_000_000)` is sixty bytes, and so are tuples of tuples that take for ever to hash. So
every opcode is gone through first, on a stack that holds no values but what is known of them.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NoReturn

from projlens_core.errors import InvalidInput, Unsupported
from projlens_core.runtime.text import printable
from projlens_core.weights.standins import STAND_INS

MAX_OPCODES = 4_000_000  # a tensor takes about thirty
MAX_NESTED = 10_000  # values in a tuple, those in its tuples counted
MAX_DEPTH = 20  # of tuples in tuples
MAX_STACK = 1_000_000
_REBUILT = {
    f"torch._utils.{name}"
    for name in ("_rebuild_tensor", "_rebuild_tensor_v2", "_rebuild_tensor_v3", "_rebuild_sparse_tensor")
}
_WRAPPED = {"torch._utils._rebuild_parameter", "torch._utils._rebuild_parameter_with_state"}
_TYPED = "torch._tensor._rebuild_from_type_v2"  # calls the first of its arguments
_QUANTISED = "torch._utils._rebuild_qtensor"
_CONTAINERS = {"collections.OrderedDict", "collections.Counter", "builtins.set"}
_VALUES = {"torch.Size", "torch.device", "builtins.complex", "torch.serialization._get_layout"}
_ENCODE, _ENCODINGS = "_codecs.encode", ("latin1", "latin-1", "utf-8", "utf8", "ascii")
_CALLED = _REBUILT | _WRAPPED | {_TYPED, _ENCODE} | _CONTAINERS | _VALUES
_INERT = frozenset(STAND_INS)  # whose place empty classes take, which keep nothing of what they are given
_OLD = "__builtin__."
_STOP, _WORD = ord("."), 100  # bytes of a text that is looked at
# Opcode → the step that it asks for, and what the step is told: how many bytes to read, or values to take.
_STEPS: dict[int, tuple[str, list[int]]] = {
    ord(opcode): (f"_{name}", told)
    for opcodes, name, *told in (
        ("q", "put", 1), ("r", "put", 4), ("h", "get", 1), ("j", "get", 4), ("(", "mark"), ("G", "value", 8),
        ("N\x88\x89]}\x8f", "value", 0), ("K", "whole", 1), ("M", "whole", 2), ("J", "signed", 4), ("\x8a", "signed"),
        ("X", "text", 4), ("U", "text", 1), ("t", "tuple"), (")", "tuple", 0), ("\x85", "tuple", 1),
        ("\x86", "tuple", 2), ("\x87", "tuple", 3), ("c", "named"), ("R", "call"), ("Q", "store"), ("b", "build"),
        ("a", "drop", 1), ("s", "drop", 2), ("eu\x90", "to_mark"), ("\x80", "take", 1), ("\x92io", "object"),
        ("\x81", "instance"),
    )
    for opcode in opcodes
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class _Tuple:
    items: tuple
    nested: int
    depth: int


@dataclass(frozen=True, slots=True)
class _Global:
    name: str


@dataclass(frozen=True, slots=True)
class _Made:
    """What a function gave."""

    by: str


class _Malformed(ValueError):
    """Not a pickle as torch writes it."""


def check_pickle(data: bytes, name: str, most: int, begin: int = 0) -> int:
    """Where the pickle that begins at `begin` ends; InvalidInput unless it makes tensors and plain settings only.

    name: the file, for the sentence. most: values that one storage may claim to have. Unsupported if it holds tensors
    that are quantised.
    """
    reader = _Reader(data, name, most, begin)
    try:
        return reader.end()
    except (_Malformed, LookupError, UnicodeDecodeError) as error:
        if reader.foreign is not None:
            raise reader.called(reader.foreign) from error
        raise InvalidInput(
            f"{name} is not a whole file of tensors as torch.save writes them; fetch it again."
        ) from error


class _Reader:
    def __init__(self, data: bytes, name: str, most: int, at: int):
        self._data, self._name, self._most, self._at = data, name, most, at
        self._stack: list[object] = []
        self._marks: list[int] = []
        self._memo: dict[int, object] = {}
        self._claimed: dict[str, int] = {}  # values of each storage, by its key
        self._total = 0
        self.foreign: str | None = None  # a function that it names and no file of tensors does

    def end(self) -> int:
        steps = {opcode: (getattr(self, name), told) for opcode, (name, told) in _STEPS.items()}
        for number in range(MAX_OPCODES):
            opcode = self._data[self._at]
            self._at += 1
            if opcode == _STOP:
                return self._at
            if opcode not in steps:
                raise _Malformed(f"opcode {opcode}")
            step, told = steps[opcode]
            step(*told)
            if not number % 1_000 and len(self._stack) + len(self._marks) > MAX_STACK:
                raise self._refusal(f"keeps more than {MAX_STACK:,} values at once")
        raise self._refusal(f"describes its tensors in more than {MAX_OPCODES:,} steps")

    def _put(self, size: int) -> None:
        self._memo[self._number(size)] = self._stack[-1]

    def _get(self, size: int) -> None:
        self._stack.append(self._memo[self._number(size)])

    def _value(self, size: int) -> None:
        self._take(size)
        self._stack.append(None)  # which one does not matter

    def _whole(self, size: int) -> None:
        self._stack.append(self._number(size))

    def _signed(self, size: int | None = None) -> None:
        size = self._number(1) if size is None else size
        self._stack.append(int.from_bytes(self._take(size), "little", signed=True))

    def _text(self, size: int) -> None:
        text = self._take(self._number(size))
        self._stack.append(text.decode("utf-8", "surrogatepass") if len(text) <= _WORD else None)

    def _mark(self) -> None:
        self._marks.append(len(self._stack))

    def _to_mark(self) -> list[object]:
        return self._last(len(self._stack) - self._marks.pop())

    def _tuple(self, count: int | None = None) -> None:
        items = self._to_mark() if count is None else self._last(count)
        self._stack.append(self._tupled(items))

    def _last(self, count: int) -> list[object]:
        begin = len(self._stack) - count
        if begin < 0:
            raise _Malformed("too few values")
        items = self._stack[begin:]
        del self._stack[begin:]
        return items

    def _drop(self, count: int) -> None:
        self._last(count)

    def _named(self) -> None:
        name = ".".join(self._line() for _ in range(2))
        name = f"builtins.{name.removeprefix(_OLD)}" if name.startswith(_OLD) else name
        if name not in _CALLED | _INERT and not name.startswith("torch."):
            self.foreign = name
        self._stack.append(_Global(name))

    def _call(self) -> None:
        arguments = self._stack.pop()
        self._stack[-1] = self._called(self._stack[-1], arguments)

    def _store(self) -> None:
        self._stack[-1] = self._stored(self._stack[-1])

    def _instance(self) -> None:
        self._stack.pop()
        made = self._stack[-1]
        if not (isinstance(made, _Global) and made.name in _INERT):
            self._object()
        self._stack[-1] = _Made(made.name)

    def _build(self) -> None:
        self._stack.pop()
        if not (isinstance(self._stack[-1], _Made) and self._stack[-1].by in _CONTAINERS | _INERT):
            raise self._refusal("changes a value after it was made, which no tensor needs")

    def _object(self) -> NoReturn:
        raise self._refusal("asks its loader to make an object of a class, which no tensor needs")

    def _called(self, function: object, arguments: object) -> _Made:
        """What calling it gives; refused for all but the few functions that tensors and settings are made of."""
        name = function.name if isinstance(function, _Global) else "what is no function"
        given = arguments.items if isinstance(arguments, _Tuple) else None
        if name == _QUANTISED:
            raise Unsupported(f"{self._name} holds tensors that are quantised; save them as plain floats.")
        if name not in _CALLED | _INERT or given is None:
            raise self.called(name)
        calls = given[0] if given else None
        if name == _TYPED and not (isinstance(calls, _Global) and calls.name in _REBUILT | _WRAPPED):
            raise self._refusal(f"asks its loader to call {name!r} with what no tensor needs")
        if name == _ENCODE and not (len(given) == 2 and given[1] in _ENCODINGS):
            raise self._refusal("asks its loader for a strange encoding, which no tensor needs")
        return _Made(name)

    def _stored(self, operands: object) -> _Made:
        """A storage: ("storage", type, key, place, how many values)."""
        items = operands.items if isinstance(operands, _Tuple) else ()
        if len(items) < 5 or items[0] != "storage" or not isinstance(items[4], int):
            raise _Malformed("a storage that is none")
        key = str(items[2])
        self._total += max(0, items[4] - self._claimed.get(key, 0))
        self._claimed[key] = max(items[4], self._claimed.get(key, 0))
        if items[4] < 0 or self._total > self._most:
            raise self._refusal(f"claims a storage of {items[4]:,} values, more than the file can hold")
        return _Made("storage")

    def _tupled(self, items: Sequence[object]) -> _Tuple:
        tuples = [item for item in items if isinstance(item, _Tuple)]
        nested = 1 + len(items) + sum(item.nested for item in tuples)
        depth = 1 + max((item.depth for item in tuples), default=0)
        if nested > MAX_NESTED or depth > MAX_DEPTH:
            raise self._refusal("holds values in values without end")
        return _Tuple(tuple(items), nested, depth)

    def _line(self) -> str:
        end = self._data.find(b"\n", self._at, self._at + 200)
        if end < 0:
            raise _Malformed("a name without end")
        line = self._data[self._at : end].decode("utf-8")
        self._at = end + 1
        return line

    def _number(self, size: int) -> int:
        return int.from_bytes(self._take(size), "little")

    def _take(self, count: int) -> bytes:
        part = self._data[self._at : self._at + count]
        if len(part) < count:
            raise _Malformed("cut")
        self._at += count
        return part

    def called(self, name: str) -> InvalidInput:
        """What to say of a function that is asked for."""
        return self._refusal(f"asks its loader to call {printable(name)[:80]!r}, which no tensor needs")

    def _refusal(self, what: str) -> InvalidInput:
        return InvalidInput(
            f"{self._name} {what}; nothing of it was run. Have its tensors saved alone, or as safetensors."
        )
