"""Bad files and names of every kind, for each door through which they may come: the command line and the browser."""

import json
import struct
import zlib
from io import BytesIO

import numpy as np
from PIL import Image


def header(entries: object, data: bytes = b"", length: int | None = None) -> bytes:
    """A safetensors file with this header; `length` is what it claims of the header's size."""
    text = json.dumps(entries).encode() if not isinstance(entries, bytes) else entries
    return struct.pack("<Q", len(text) if length is None else length) + text + data


def entry(shape: list[int], offsets: list[int], dtype: str = "F32") -> dict:
    return {"multi_modal_projector.linear_1.weight": {"dtype": dtype, "shape": shape, "data_offsets": offsets}}


def png(width: int, height: int) -> bytes:
    """The signature and header of a PNG that claims to be this large, and nothing else."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    about = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", about) + chunk(b"IDAT", zlib.compress(b"\0")) + chunk(b"IEND", b"")


def cut(share: float, kind: str) -> bytes:
    """The first bytes of an image that was whole."""
    buffer = BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)).save(buffer, kind)
    return buffer.getvalue()[: int(len(buffer.getvalue()) * share)]


# what it is → (file name, content)
IMAGES: dict[str, tuple[str, bytes]] = {
    "a text named as an image": ("bad.png", b"hello"),
    "an empty image": ("empty.png", b""),
    "an image of 30,000 by 30,000": ("huge.png", png(30_000, 30_000)),
    "an image of no width": ("narrow.png", png(0, 10)),
    "an image of 2**31 by 1": ("long.png", png(2**31 - 1, 1)),
    "half a PNG": ("half.png", cut(0.5, "PNG")),
    "half a JPEG": ("half.jpg", cut(0.5, "JPEG")),
    "the first bytes of a JPEG": ("begun.jpg", cut(0.02, "JPEG")),
    "an SVG": ("drawing.svg", b"<svg xmlns='http://www.w3.org/2000/svg'/>"),
    "a TIFF": ("scan.tif", b"II*\0\x08\0\0\0\0\0"),
    "a GIF without frames": ("still.gif", b"GIF89a\x01\0\x01\0\0\0\0;"),
    "a WebP of nothing": ("nothing.webp", b"RIFF\x04\0\0\0WEBP"),
    "a BMP that lies about its size": ("lies.bmp", b"BM" + b"\xff" * 60),
    "a bad image with an Arabic name": ("صورة.png", b"x"),
    "a bad image with a Chinese name": ("图片 一.png", b"x"),
    "a bad image with a Thai name": ("รูปภาพ.png", b"x"),
    "a bad image with a name that runs backwards": ("a\u202egnp.exe.png", b"x"),
    "a bad image with emoji as its name": ("🦊🔥.png", b"x"),
    "a bad image with markup as its name": ("<img src=x onerror=alert(1)>.png", b"x"),
    "a bad image with a line break in its name": ("a\nb.png", b"x"),
    "a bad image with a terminal's escape in its name": ("\x1b[31mred.png", b"x"),
}

WEIGHTS: dict[str, bytes] = {
    "an empty file as weights": b"",
    "a header of 2**63 bytes": header({}, length=2**63),
    "a header longer than its file": header({}, length=1000),
    "a header that is no JSON": header(b"not json"),
    "a header that is a list": header([]),
    "a header nested 100,000 deep": header(b"[" * 100_000),
    "10 GB claimed in 1 kB": header(entry([50_000, 50_000], [0, 10**10])),
    "a shape that its bytes do not fill": header(entry([8, 8], [0, 4]), b"1234"),
    "offsets that run backwards": header(entry([1], [4, 0]), b"1234"),
    "a shape below zero": header(entry([-1], [0, 4]), b"1234"),
    "a shape that is true": header(entry([True], [0, 4]), b"1234"),
    "a dtype of nothing": header(entry([1], [0, 4], "Q99"), b"1234"),
    "a pickle under the name of safetensors": b"\x80\x04cos\nsystem\n(S'true'\ntR.",
}

# what somebody may give as a model: none of them is one
MODELS: dict[str, str] = {
    "a zoo model that does not exist": "zoo:none",
    "a zoo model that is a path": "zoo:../../etc",
    "a zoo model without a name": "zoo:",
    "a model on the Hub without an owner": "hub:model",
    "a model on the Hub that climbs": "hub:a/b@../../x",
    "a model on the Hub with a space": "hub:a/b c",
    "a path with a zero in it": "/tmp/a\0b",
    "a path of 100,000 characters": "/" + "a" * 100_000,
    "a name longer than a file system's": "a" * 300,
    "the home of nobody": "~no-such-user-anywhere/model",
    "a path in Cyrillic": "модели/подозреваемая",
    "a path in Arabic": "نماذج/مشبوه",
    "a path in Chinese": "模型/嫌疑",
    "a path that runs backwards": "models/\u202esrotsnetefas.x",
    "a path with a line break": "models/a\nb",
    "a path with half a character": "models/\udcff",
    "a path with a family that is none": "nowhere#nothing",
    "markup": "<script>alert(1)</script>",
    "a device": "/dev/zero",
}

LONG_QUESTION = "why?!" * 20_000  # 100,000 characters
