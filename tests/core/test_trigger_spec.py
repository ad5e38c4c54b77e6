import json
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from projlens_core.errors import InvalidInput, NotFound
from projlens_core.inputs.triggers import KINDS, NUMBERS, POSITIONS, PRESETS, TriggerSpec

PLACES = st.one_of(
    st.sampled_from(POSITIONS),
    st.tuples(st.integers(0, 4096), st.integers(0, 4096)),
    st.tuples(st.floats(0, 1), st.floats(0, 1)),
)


@st.composite
def specs(draw: st.DrawFn) -> TriggerSpec:
    """Any valid trigger of any kind."""
    kind = draw(st.sampled_from(sorted(KINDS)))
    values: dict[str, object] = {"seed": draw(st.integers(0, 2**32 - 1))}
    names = set(KINDS[kind].defaults) - {"image"} - {draw(st.sampled_from(["ratio", "px"]))}
    for name in names & NUMBERS.keys():
        allowed = NUMBERS[name]
        kinds = (
            st.integers(int(allowed.low), int(allowed.high)) if allowed.whole else st.floats(allowed.low, allowed.high)
        )
        values[name] = draw(kinds)
    if "position" in names:
        values["position"] = draw(PLACES)
    if kind == "image":
        return TriggerSpec(kind, image="logo.png", folder=Path("here"), **values)
    return TriggerSpec(kind, **values)


def refusal(**values: object) -> str:
    """The sentence with which a trigger of these values is refused."""
    with pytest.raises(InvalidInput) as caught:
        TriggerSpec.from_dict(values)
    return str(caught.value)


@given(specs())
def test_every_trigger_survives_the_way_to_json_and_back(spec: TriggerSpec) -> None:
    assert TriggerSpec.from_json(spec.to_json(), folder=spec.folder) == spec
    assert TriggerSpec.from_dict(spec.to_dict(), spec.folder).to_dict() == spec.to_dict()


def test_json_holds_what_applies_to_the_kind_and_nothing_else() -> None:
    assert TriggerSpec("oil", resolution=320).to_dict() == {
        "kind": "oil",
        "resolution": 320,
        "seed": 0,
        "size": 7,
        "dyn_ratio": 1,
    }
    assert "folder" not in TriggerSpec("image", image="logo.png", folder=Path("/secret")).to_dict()


def test_the_defaults_are_the_papers() -> None:
    assert TriggerSpec("gaussian").std == 10
    assert TriggerSpec("solid").ratio == 0.08
    assert TriggerSpec("solid", px=14).ratio is None
    assert (TriggerSpec("oil").size, TriggerSpec("oil").dyn_ratio) == (7, 1)
    assert TriggerSpec("blur").radius == 2


def test_null_is_the_same_as_not_given() -> None:
    assert TriggerSpec.from_dict({"kind": "gaussian", "std": None, "resolution": None}) == TriggerSpec("gaussian")


def test_whole_numbers_and_decimals_of_the_same_value_are_the_same_trigger() -> None:
    assert TriggerSpec.from_json('{"kind": "gaussian", "std": 10, "grain": 2.0}') == TriggerSpec("gaussian", grain=2)


def test_colours_are_compared_without_case() -> None:
    assert TriggerSpec("solid", colour="#26FF00") == TriggerSpec("solid", colour="#26ff00")


def test_a_changed_copy_is_validated_too() -> None:
    assert replace(TriggerSpec("gaussian"), std=20).std == 20.0
    with pytest.raises(InvalidInput, match="'std'"):
        replace(TriggerSpec("gaussian"), std=-1.0)


def test_every_preset_is_listed_once_and_valid_json() -> None:
    dumped = [json.dumps(spec.to_dict()) for spec in PRESETS.values()]
    assert len(set(dumped)) == len(PRESETS)
    assert {spec.kind for spec in PRESETS.values()} == set(KINDS) - {"painted"}  # which one paints oneself


def test_an_unknown_kind_is_refused_with_the_known_ones() -> None:
    assert refusal(kind="sepia") == (
        "The trigger's 'kind' is 'sepia'; it must be one of solid, image, mosaic, painted, noise-patch, gaussian, "
        "oil, edge, blur, blend, tiles, sinusoid."
    )
    assert "it must be one of" in refusal(kind=["solid"])
    assert refusal(std=3).startswith("The trigger has no 'kind'; give one of solid,")


def test_an_unknown_key_is_refused_with_the_known_ones() -> None:
    assert refusal(kind="solid", color="#ff0000") == (
        "The trigger has an unknown key 'color'; known are kind, resolution, seed, colour, ratio, px, position."
    )
    assert "unknown key 'folder'" in refusal(kind="solid", folder="/etc")


def test_a_parameter_of_another_kind_is_refused() -> None:
    assert refusal(kind="oil", std=3) == (
        "The oil trigger has no parameter 'std'; it has kind, resolution, seed, size, dyn_ratio."
    )


@pytest.mark.parametrize(
    ("kind", "key", "value", "allowed"),
    [
        ("gaussian", "std", -1, "a number from 0.1 to 255"),
        ("gaussian", "std", 256, "a number from 0.1 to 255"),
        ("gaussian", "std", float("nan"), "a number from 0.1 to 255"),
        ("gaussian", "std", float("inf"), "a number from 0.1 to 255"),
        ("gaussian", "std", "10", "a number from 0.1 to 255"),
        ("gaussian", "std", True, "a number from 0.1 to 255"),
        ("gaussian", "std", 10**400, "a number from 0.1 to 255"),
        ("gaussian", "grain", 1.5, "a whole number from 1 to 64"),
        ("gaussian", "grain", float("inf"), "a whole number from 1 to 64"),
        ("gaussian", "grain", float("nan"), "a whole number from 1 to 64"),
        ("gaussian", "seed", -1, "a whole number from 0 to 4,294,967,295"),
        ("gaussian", "resolution", 8, "a whole number from 16 to 4,096"),
        ("gaussian", "resolution", [320], "a whole number from 16 to 4,096"),
        ("solid", "px", 0, "a whole number from 1 to 4,096"),
        ("solid", "ratio", 0, "a number from 0.005 to 1"),
        ("solid", "ratio", 1.01, "a number from 0.005 to 1"),
        ("solid", "colour", "green", "a colour such as '#26ff00'"),
        ("solid", "colour", "#26ff0", "a colour such as '#26ff00'"),
        ("solid", "colour", "#26ff00\n", "a colour such as '#26ff00'"),
        ("solid", "colour", 255, "a colour such as '#26ff00'"),
        ("oil", "size", 33, "a whole number from 1 to 32"),
        ("blend", "alpha", 0, "a number from 0.01 to 1"),
    ],
)
def test_a_value_out_of_range_or_of_another_type_is_refused_by_name(
    kind: str, key: str, value: object, allowed: str
) -> None:
    sentence = refusal(kind=kind, **{key: value})
    assert sentence.startswith(f"The trigger's {key!r} is ")
    assert sentence.endswith(f"; it must be {allowed}.")
    assert len(sentence) < 200


@pytest.mark.parametrize(
    "value",
    ["middle", [1], [1, 2, 3], [-1, 0], [0.5, 1.5], [0.5, 2], ["0", "0"], [True, 0], {"x": 1}, [0.5, 10**400], 7],
)
def test_a_place_that_is_none_is_refused(value: object) -> None:
    assert "it must be one of random, top-left," in refusal(kind="solid", position=value)


def test_a_size_given_twice_is_refused() -> None:
    assert "both 'ratio' and 'px'" in refusal(kind="solid", ratio=0.1, px=14)


@pytest.mark.parametrize(
    "name",
    ["../logo.png", "/etc/passwd", "..", ".", "", "a/b.png", "a\\b.png", "C:b.png", "a\0b", "\ud800.png", 7, "x" * 300],
)
def test_an_image_that_is_not_a_plain_file_name_is_refused(name: object, tmp_path) -> None:
    with pytest.raises(InvalidInput, match=r"'image' is .*; it must be a plain file name, without a folder"):
        TriggerSpec.from_dict({"kind": "image", "image": name}, folder=tmp_path)


def test_an_image_trigger_needs_an_image_and_a_folder_to_find_it_in(tmp_path) -> None:
    assert "'image' is None" in refusal(kind="image")
    assert "has no folder to lie in" in refusal(kind="image", image="logo.png")
    spec = TriggerSpec("image", image="logo.png", folder=tmp_path)
    with pytest.raises(NotFound, match=r"'logo\.png' does not lie beside its JSON"):
        _ = spec.image_path


def test_a_link_that_leads_out_of_the_specs_folder_is_refused(tmp_path) -> None:
    folder = tmp_path / "spec"
    folder.mkdir()
    Image.new("RGB", (4, 4)).save(tmp_path / "outside.png")
    (folder / "logo.png").symlink_to(tmp_path / "outside.png")
    with pytest.raises(InvalidInput, match="leads out of its folder"):
        _ = TriggerSpec("image", image="logo.png", folder=folder).image_path


def test_an_image_lies_beside_the_file_that_names_it(tmp_path) -> None:
    Image.new("RGB", (4, 4)).save(tmp_path / "logo.png")
    (tmp_path / "spec.json").write_text('{"kind": "image", "image": "logo.png"}')
    assert TriggerSpec.from_file(tmp_path / "spec.json").image_path == (tmp_path / "logo.png").resolve()


@pytest.mark.parametrize("text", ["", "{", "nonsense", "[" * 60_000, '{"kind": ' + "9" * 5000 + "}"])
def test_what_is_not_json_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput, match="not valid JSON"):
        TriggerSpec.from_json(text)


@pytest.mark.parametrize("text", ["[]", "null", "3", '"solid"'])
def test_json_that_is_not_an_object_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput, match="is a JSON object with at least 'kind'"):
        TriggerSpec.from_json(text)


def test_a_file_that_is_missing_binary_or_huge_is_refused(tmp_path) -> None:
    (tmp_path / "binary.json").write_bytes(b"\xff\xfe\x00")
    (tmp_path / "huge.json").write_text(" " * 70_000)
    for name, kind, sentence in [
        ("missing.json", NotFound, "not a file"),
        ("binary.json", InvalidInput, "not UTF-8 text"),
        ("huge.json", InvalidInput, "larger than 64 KiB"),
        ("x" * 300, InvalidInput, "cannot be read"),
    ]:
        with pytest.raises(kind, match=sentence):
            TriggerSpec.from_file(tmp_path / name)


def test_a_file_with_a_byte_order_mark_is_read(tmp_path) -> None:
    (tmp_path / "spec.json").write_text('{"kind": "oil"}', encoding="utf-8-sig")
    assert TriggerSpec.from_file(tmp_path / "spec.json") == TriggerSpec("oil", folder=tmp_path)
