"""The library: what is public, what its calls take, and what their results give."""

import json
import subprocess
import sys
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image

import projlens_core as pl
from projlens_core import analyses
from projlens_core.activations.towers import Towers
from projlens_core.behaviour.respond import FourAnswers
from projlens_core.cli import main
from projlens_core.errors import InvalidInput, NotFound
from projlens_core.inputs.images import load, named_image
from projlens_core.inputs.triggers import TriggerSpec
from projlens_core.library.inputs import image_set
from projlens_core.library.session import CaseSession
from projlens_core.report import drawing
from projlens_core.sources import zoo_catalogue
from tests import pico

SPEC = {"kind": "solid", "resolution": 80, "px": 20}
SPEC_FULL = TriggerSpec.from_dict(SPEC).to_dict()  # with the defaults of its kind
HOSTILE = "<img src=x onerror=alert(1)>"


@pytest.fixture(scope="module")
def world(own_folder):
    folder = pico.case(own_folder, strength=(4.0,), count=6, trigger=SPEC, control=(0.5,))
    (folder / "images" / "note.txt").write_text("not an image")
    return folder


@pytest.fixture(scope="module")
def case(world):
    return pl.open_case(base=world / "base", suspect=world / "suspect", control=world / "control")


def test_importing_loads_nothing_heavy():
    code = """if True:
        import sys
        import projlens_core as pl
        dir(pl)
        heavy = {"torch", "transformers", "altair", "pandas", "numpy", "PIL", "cv2", "streamlit"}
        print(sorted(heavy & set(sys.modules)))
    """
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert said.stdout == "[]\n"


def test_every_public_name_is_there_and_no_other():
    assert all(getattr(pl, name) is not None for name in pl.__all__)
    assert set(pl.__all__) <= set(dir(pl))
    with pytest.raises(AttributeError, match="no attribute 'opencase'"):
        _ = pl.opencase


# Images


def same_pixels(*given):
    images = [image_set(each)[0].images[0] for each in given]
    return len({each.sha256 for each in images}) == 1


def test_one_image_is_the_same_as_file_pil_image_and_array(world):
    file = world / "images" / "0.png"
    image = Image.open(file)
    values = np.asarray(image)
    assert same_pixels(file, str(file), image, values, values / 255, (values / 255).astype(np.float32), [values])


def test_grey_and_transparent_arrays_are_read_as_such_images_are():
    grey = np.arange(100, dtype=np.uint8).reshape(10, 10)
    assert same_pixels(grey, np.stack([grey] * 3, axis=-1))
    clear = np.zeros((4, 4, 4), dtype=np.uint8)
    assert same_pixels(clear, np.full((4, 4, 3), 255, dtype=np.uint8))


def test_a_stack_of_arrays_is_as_many_images_each_under_its_own_name(world):
    stack = np.stack([np.full((8, 8, 3), value, dtype=np.uint8) for value in (0, 100, 200)])
    found, truths = image_set([stack, world / "images" / "0.png", stack[0]])
    assert [each.name for each in found.images] == ["image 1", "image 2", "image 3", "0.png", "image 5"]
    assert truths is None
    twice, _ = image_set([world / "images" / "0.png"] * 2)
    assert [each.name for each in twice.images] == ["0.png", "0.png (2)"]


def test_an_opened_photo_is_turned_upright_as_its_file_is(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (8, 16, 3), dtype=np.uint8)).save(
        tmp_path / "turned.png", exif=exif
    )
    assert same_pixels(tmp_path / "turned.png", Image.open(tmp_path / "turned.png"))
    assert load(tmp_path / "turned.png").pixels.size == (8, 16)


def test_a_folder_brings_its_answers_and_lists_what_cannot_be_read(world, tmp_path):
    found, truths = image_set(world / "images", 4)
    assert (len(found.images), truths) == (4, None)
    assert [name for name, _ in image_set(world / "images")[0].failures] == ["note.txt"]
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    (tmp_path / "labels.csv").write_text("image,prompt,answer\na.png,What?,owl\n")
    assert image_set(tmp_path)[1]["a.png"][0].answer == "owl"


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (np.zeros((3, 8, 8), dtype=np.uint8), "array of 3×8×8; give .height, width."),
        (np.zeros((0, 8, 3), dtype=np.uint8), "array of 0×8×3"),
        (np.full((4, 4), 2.0), "floats from 2 to 2"),
        (np.full((4, 4), np.nan), "floats from nan to nan"),
        (np.zeros((4, 4), dtype=np.int64), "array of int64"),
        ([], "No images were given"),
        ([3], "cannot be a int"),
        (None, "cannot be a NoneType"),
    ],
)
def test_what_is_no_image_is_one_sentence(given, message):
    with pytest.raises(InvalidInput, match=message):
        image_set(given)


def test_a_folder_among_files_a_missing_file_and_a_broken_opened_image_are_one_sentence(world, tmp_path):
    with pytest.raises(InvalidInput, match="is a folder where one image is expected"):
        image_set([world / "images"])
    with pytest.raises(NotFound, match="is not a file"):
        image_set(tmp_path / "none.png")
    with pytest.raises(InvalidInput, match="ask for 1 or more"):
        image_set(world / "images", 0)
    data = (world / "images" / "0.png").read_bytes()
    (tmp_path / "cut.png").write_bytes(data[: len(data) // 2])
    with pytest.raises(InvalidInput, match=r"cut\.png cannot be read"):
        image_set(Image.open(tmp_path / "cut.png"))


# Triggers


def test_a_trigger_is_a_preset_a_dict_or_a_spec_file(world):
    spec = TriggerSpec.from_dict(SPEC)
    assert pl.trigger(SPEC) == spec == pl.trigger(spec)
    assert (
        pl.trigger(world / "trigger.json").to_dict() == pl.trigger(str(world / "trigger.json")).to_dict() == SPEC_FULL
    )
    assert pl.trigger("Blur") is pl.PRESETS["Blur"]
    with pytest.raises(NotFound, match=r"no trigger 'Blurr'; give .* presets .*'Blur'"):
        pl.trigger("Blurr")
    with pytest.raises(InvalidInput, match="not int"):
        pl.trigger(3)


def test_stamping_changes_the_image_where_the_trigger_is(world):
    stamped = np.asarray(pl.stamp(world / "images" / "0.png", SPEC | {"position": [0, 0], "colour": "#ff0000"}))
    assert stamped.shape == (80, 80, 3)
    assert (stamped[:20, :20] == (255, 0, 0)).all()
    with pytest.raises(InvalidInput, match="One image is expected, not 2"):
        pl.stamp(np.zeros((2, 8, 8, 3), dtype=np.uint8), SPEC)


# Cases


def test_no_attribute_of_a_case_hides_an_analysis(case):
    assert not set(analyses.KEYS) & {*vars(CaseSession), *vars(case)}
    assert set(analyses.KEYS) <= set(dir(case))
    with pytest.raises(AttributeError, match=r"no analysis 'neuron'; it has .*neurons"):
        _ = case.neuron


def test_an_analysis_gives_what_its_command_writes(case, world, tmp_path, capsys):
    result = case.neurons(world / "images", trigger=world / "trigger.json")
    models = [f"--{role}={world / role}" for role in ("base", "suspect", "control")]
    given = [f"--images={world / 'images'}", f"--trigger={world / 'trigger.json'}", f"--csv={tmp_path / 'n.csv'}"]
    assert main(["neurons", *models, *given, "--json"]) == 0
    written = json.loads(capsys.readouterr().out)
    assert result.data == {name: value for name, value in written.items() if name != "failures"}
    assert [reason for _, reason in result.failures] == [each["reason"] for each in written["failures"]]
    assert len((tmp_path / "n.csv").read_text().splitlines()) == 1 + len(result.to_frame())
    assert set(result.value) == {"base", "suspect", "control"}


def test_analyses_of_weights_take_no_images(case, world):
    assert case.case().value[0] is case.opened
    further = case.spectrum(further=[str(world / "control")], directions=2)
    assert further.data["settings"]["directions"] == 2
    assert further.to_frame()["projector"].nunique() == 3


def test_the_same_images_are_encoded_once(case, world, monkeypatch):
    calls, twins = [], Towers.twins
    monkeypatch.setattr(Towers, "twins", lambda *args: calls.append(1) or twins(*args))
    images = world / "images"
    case.neurons(images, trigger="Blur")
    case.separability(images, trigger="Blur")
    assert len(calls) == 1
    case.separability(images, trigger="Blur", limit=5)
    assert len(calls) == 2


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda case: case.neurons(), InvalidInput, "Neurons works on images; give a folder"),
        (lambda case: case.neurons("x.png"), NotFound, "x.png is not a file"),
        (lambda case: case.neurons([np.zeros((8, 8), np.uint8)]), NotFound, "No trigger is known"),
        (lambda case: case.neurons([np.zeros((8, 8), np.uint8)], trigger=False), NotFound, "No trigger is known"),
        (
            lambda case: case.neurons(image="x"),
            InvalidInput,
            "no parameter 'image'; it has images, limit, trigger, seed",
        ),
        (lambda case: case.neurons("x", 3), InvalidInput, "give all parameters but the images by name"),
        (lambda case: case.neurons("x", seed="1"), InvalidInput, "seed is '1'; expected a whole number"),
        (lambda case: case.neurons("x", seed=-1), InvalidInput, "seed is -1; expected 0 or more"),
        (lambda case: case.spectrum(further="a.bin"), InvalidInput, "expected a list"),
        (lambda case: case.spectrum(further=[3]), InvalidInput, "further is 3; expected a text"),
        (lambda case: case.spectrum(exact=1), InvalidInput, "expected True or False"),
    ],
)
def test_wrong_use_of_an_analysis_is_one_sentence(case, call, error, message):
    with pytest.raises(error, match=message) as raised:
        call(case)
    assert isinstance(raised.value, pl.ProjLensError)


def test_what_cannot_be_opened_is_one_sentence(world, tmp_path):
    with pytest.raises(NotFound, match="does not exist"):
        pl.open_case(base=world / "base", suspect=tmp_path / "none")
    with pytest.raises(InvalidInput, match="A model is a path, zoo:NAME or hub:OWNER/NAME, not int"):
        pl.open_case(base=world / "base", suspect=3)
    with pytest.raises(pl.ProjLensError, match="device"):
        pl.open_case(base=world / "base", suspect=world / "suspect", device="abacus")


def test_of_the_zoo_trigger_target_and_images_are_known():
    case = pl.open_case(base="zoo:base", suspect="zoo:malicious-injection")
    entry = zoo_catalogue()["malicious-injection"]
    assert case.trigger == TriggerSpec.from_file(entry.trigger)
    assert case.target == entry.target
    used = case.neurons(limit=2).data["settings"]
    assert (used["trigger"], used["images"]) == (case.trigger.to_dict(), 2)


# Results


@pytest.fixture(scope="module")
def result(case):
    images = [np.random.default_rng(seed).random((64, 64, 3)) for seed in range(6)]
    return case.separability(images, trigger=SPEC)


def test_tables_and_charts_are_had_by_name(result):
    assert result.to_frame().equals(result.exhibit.tables[1].frame)
    assert result.to_frame("separability").equals(result.exhibit.tables[0].frame)
    assert result.chart("decision values").caption == result.exhibit.charts[1].caption
    for wanted in (result.to_frame, result.chart):
        with pytest.raises(NotFound, match=r"Separability has no .* 'none'; it has .*'decision values'"):
            wanted("none")
    frame = result.to_frame()
    frame.iloc[0, 0] = "changed"
    assert "changed" not in result.to_frame().to_string()


def test_a_result_prints_what_its_command_prints(result):
    assert repr(result).startswith(
        "Separability: Do the embeddings separate clean from triggered images?\nbase: AUROC "
    )
    assert all(note in repr(result) for note in result.exhibit.notes)


def test_a_chart_is_a_drawing_a_specification_and_an_altair_chart(result):
    chart = result.chart()
    bundle = chart._repr_mimebundle_()
    assert "<svg" in bundle["text/html"]
    assert json.loads(json.dumps(bundle["application/vnd.vegalite.v6.json"])).items() >= chart.spec.items()
    assert drawing.svg(chart.to_altair().to_dict()) == drawing.svg(chart.spec)


class Elements(HTMLParser):
    def __init__(self, text):
        super().__init__()
        self.found = []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.found.append((tag, dict(attributes)))


def check_inert(text):
    elements = Elements(text).found
    assert elements
    assert not [tag for tag, _ in elements if tag in ("script", "iframe", "object", "embed", "a", "form", "link")]
    assert not [name for _, attributes in elements for name in attributes if name.startswith("on")]
    sources = [
        attributes.get("src") or attributes.get("xlink:href", "data:") for tag, attributes in elements if tag == "img"
    ]
    assert all(source.startswith("data:image/") for source in sources)


def test_no_text_of_a_suspect_becomes_markup_in_a_notebook(world):
    named = world / HOSTILE
    pico.suspect(world / "base", named)
    case = pl.open_case(base=world / "base", suspect=named)
    images = image_set(world / "images")[0]
    hostile = tuple(named_image(each.pixels, f"</script><script>{HOSTILE}{each.name}") for each in images.images)
    images = type(images)(hostile, (("bad", f"{HOSTILE} is not an image."),))
    for result in (
        case.case(),
        case.spectrum(),
        case.activation(images, trigger=SPEC),
        case.separability(images, trigger=SPEC),
    ):
        shown = result._repr_html_()
        check_inert(shown)
        for each in result.exhibit.charts:
            check_inert(result.chart(each.name)._repr_html_())
    assert "&lt;/script&gt;&lt;script&gt;&lt;img src=x" in shown
    assert "&lt;img src=x onerror=alert(1)&gt; is not an image." in shown


def test_what_cannot_be_shown_says_why_in_its_place(case, world):
    alone = case.activation(world / "images", trigger=False)
    with pytest.raises(NotFound, match="No trigger is known"):
        alone.to_frame()
    assert "No trigger is known for this suspect; give one." in alone._repr_html_()
    assert "note.txt is not a PNG" in alone._repr_html_()
    assert "suspect: " in repr(alone)


# Answers


def test_four_answers_are_those_of_the_command(case, world, capsys):
    image = world / "images" / "0.png"
    answers = case.respond(image, "What?", trigger=SPEC, max_new_tokens=4)
    models = [f"--{role}={world / role}" for role in ("base", "suspect")]
    given = [f"--image={image}", "--prompt=What?", f"--trigger={world / 'trigger.json'}", "--max-new-tokens=4"]
    assert main(["respond", *models, *given, "--json"]) == 0
    written = json.loads(capsys.readouterr().out)["answers"]
    rows = answers.to_frame().itertuples(index=False, name=None)
    assert {(model, of): text for model, of, text in rows} == {
        (model, of): text for model, texts in written.items() for of, text in texts.items()
    }
    assert not [note for note in answers.notes if "control" in note]
    assert "suspect, triggered: " in repr(answers)


def test_a_model_alone_is_asked_without_a_suspect(world):
    answers = pl.respond(Image.new("RGB", (64, 64)), "What?", base=world / "base", trigger=SPEC, max_new_tokens=2)
    assert answers.to_frame()["model"].tolist() == ["base", "base"]
    assert answers.value.suspect_clean is None


def test_an_answer_cannot_put_markup_into_a_notebook():
    value = FourAnswers(HOSTILE, None, f"</td><script>{HOSTILE}", None, {})
    answers = pl.Answers(HOSTILE, HOSTILE, None, value, (HOSTILE,))
    check_inert(answers._repr_html_())
    assert answers._repr_html_().count("&lt;img src=x") == 5


def test_no_text_of_a_suspect_steers_a_terminal():
    said = "\x1b]0;title\x07\u202e"
    answers = pl.Answers("a.png", said, None, FourAnswers(said, None, None, None, {}), (said,))
    assert repr(answers).isascii()
    assert repr(answers).replace("\n", "").isprintable()


def test_attack_success_rate_counts_answers_that_hold_the_target():
    rate = pl.attack_success_rate(["Buy More balloons!", "no", "buy more"], "buy more")
    assert (rate.hits, rate.n) == (2, 3)
    for wrong in ([], "one text", [None]):
        with pytest.raises(InvalidInput):
            pl.attack_success_rate(wrong, "buy")
    with pytest.raises(InvalidInput, match="target is empty"):
        pl.attack_success_rate(["a"], " ")


def test_two_projectors_are_compared_by_name_or_as_read(world):
    named = pl.compare(world / "base", str(world / "suspect"))
    read = pl.compare(pl.read_projector(world / "base"), pl.read_projector(world / "suspect"))
    assert [each.frobenius for each in named.tensors] == [each.frobenius for each in read.tensors]
    assert named.changed
    with pytest.raises(InvalidInput, match="two names or two projectors"):
        pl.compare(read.base, world / "suspect")
