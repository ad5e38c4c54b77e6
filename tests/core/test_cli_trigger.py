from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from projlens_core.cli import main
from projlens_core.inputs.triggers import TriggerSpec, stamp

SPEC = TriggerSpec("solid", resolution=64, px=20)


@pytest.fixture
def case(tmp_path: Path) -> Path:
    """A folder with spec.json and in.png."""
    (tmp_path / "spec.json").write_text(SPEC.to_json())
    Image.new("RGB", (100, 80), "navy").save(tmp_path / "in.png")
    return tmp_path


def run(case: Path, *, spec: str = "spec.json", source: str = "in.png", out: str = "out.png") -> int:
    return main(["trigger", str(case / spec), str(case / source), str(case / out)])


def expected(case: Path) -> np.ndarray:
    return np.asarray(stamp(Image.open(case / "in.png"), SPEC))


@pytest.mark.parametrize("out", ["out.png", "out.webp", "OUT.PNG"])
def test_lossless_formats_hold_the_stamped_image_exactly(case: Path, out: str) -> None:
    assert run(case, out=out) == 0
    written = Image.open(case / out)
    assert written.format == ("WEBP" if out.endswith("webp") else "PNG")
    assert np.array_equal(np.asarray(written), expected(case))


@pytest.mark.parametrize("out", ["out.jpg", "out.jpeg"])
def test_jpeg_keeps_the_patch_and_its_colour(case: Path, out: str) -> None:
    assert run(case, out=out) == 0
    written = Image.open(case / out)
    assert written.format == "JPEG"
    assert np.abs(np.asarray(written).astype(int) - expected(case)).mean() < 2
    assert np.abs(np.array(written.getpixel((32, 32))) - (0x26, 0xFF, 0)).max() < 8


def test_it_says_what_it_wrote(case: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run(case)
    assert capsys.readouterr().out == f"{case / 'out.png'}: Solid patch, 64 × 64 px\n"


def test_the_image_may_be_stamped_in_place_and_nothing_else_is_left(case: Path) -> None:
    wanted = expected(case)
    assert run(case, out="in.png") == 0
    assert np.array_equal(np.asarray(Image.open(case / "in.png")), wanted)
    assert sorted(p.name for p in case.iterdir()) == ["in.png", "spec.json"]


@pytest.mark.parametrize("out", ["out.gif", "out.tiff", "out", "out.png.txt", "out.pdf"])
def test_other_formats_are_refused_in_one_sentence(case: Path, out: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(case, out=out) == 1
    sentence = capsys.readouterr().err
    assert sentence.count("\n") == 1
    assert sentence.endswith("give a file ending in .png, .jpg, .jpeg, .webp.\n")
    assert not (case / out).exists()


@pytest.mark.parametrize(
    ("names", "sentence"),
    [
        ({"spec": "missing.json"}, "missing.json is not a file"),
        ({"source": "missing.png"}, "missing.png is not a file"),
        ({"source": "spec.json"}, "spec.json is not a PNG"),
        ({"spec": "in.png"}, "in.png is not UTF-8 text"),
        ({"out": "missing/out.png"}, "out.png cannot be written (No such file or directory)"),
        ({"out": "folder.png"}, "folder.png cannot be written"),
    ],
)
def test_what_cannot_be_read_or_written_is_one_sentence(
    case: Path, names: dict[str, str], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (case / "folder.png").mkdir()
    assert run(case, **names) == 1
    error = capsys.readouterr().err
    assert sentence in error
    assert error.count("\n") == 1


def test_missing_arguments_are_wrong_use(case: Path) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["trigger", str(case / "spec.json")])
    assert stopped.value.code == 2
