"""Dictionaries as bytes between processes, of which one may have been taken over: JSON, and bytes as they are.

Nothing is unpickled. A message is 8 bytes of length, 8 bytes of the JSON's length, the JSON, then the values that are
bytes, whose names and lengths stand in the JSON.
"""

import json
from typing import Any

HEAD = 16  # bytes before the JSON


def pack(values: dict[str, Any]) -> bytes:
    """The message; TypeError for what is neither JSON nor bytes at the top."""
    blobs = {name: bytes(value) for name, value in values.items() if isinstance(value, bytes | bytearray)}
    plain = {name: value for name, value in values.items() if name not in blobs}
    text = json.dumps([plain, {name: len(blob) for name, blob in blobs.items()}]).encode()
    body = b"".join((text, *blobs.values()))
    return len(body).to_bytes(8, "little") + len(text).to_bytes(8, "little") + body


def length(head: bytes | bytearray) -> int:
    """Bytes of the whole message that begins like this."""
    return HEAD + int.from_bytes(head[:8], "little")


def unpack(message: bytes) -> dict[str, Any]:
    """What was packed; ValueError for anything else."""
    try:
        end = HEAD + int.from_bytes(message[8:HEAD], "little")
        values, blobs = json.loads(message[HEAD:end])
        for name, size in blobs.items():
            values[name] = message[end : end + size]
            end += size
    except (ValueError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError("not a message") from error
    if end != len(message) or not isinstance(values, dict):
        raise ValueError("not a message")
    return values
