"""Clean and triggered images matched by their names."""

from PIL import Image

from projlens_core.inputs.images import NamedImage, named_image
from projlens_core.inputs.pairs import paired


def images(*names: str) -> list[NamedImage]:
    return [named_image(Image.new("RGB", (2, 2), (number, 0, 0)), name) for number, name in enumerate(names)]


def matched(*names: str) -> list[tuple[str, str]]:
    return [(clean.name, triggered.name) for clean, triggered in paired(images(*names)).pairs]


def test_names_that_differ_in_one_word_are_a_pair_whatever_their_order_case_and_extension():
    assert matched("dog-triggered.png", "cat.png", "Cat_Triggered.JPG", "dog_clean.webp") == [
        ("dog_clean.webp", "dog-triggered.png"),
        ("cat.png", "Cat_Triggered.JPG"),
    ]
    assert matched("clean 001.png", "poisoned 001.png") == [("clean 001.png", "poisoned 001.png")]


def test_an_image_under_several_names_is_matched_by_each_of_them():
    assert matched("001.jpg = cat-clean.jpg", "002.jpg = cat-triggered.jpg") == [
        ("001.jpg = cat-clean.jpg", "002.jpg = cat-triggered.jpg")
    ]


def test_what_has_no_partner_or_several_is_left_alone_and_named():
    found = paired(images("cat.png", "cat-triggered.png", "cat-poisoned.png", "dog.png", "owl-stamped.png"))
    assert found.pairs == ()
    assert found.alone == ("cat.png", "cat-triggered.png", "cat-poisoned.png", "dog.png", "owl-stamped.png")
    assert paired([]).pairs == ()


def test_a_word_within_a_word_is_no_mark():
    assert matched("unclean.png", "un.png") == []
    assert matched("cleaner.png", "cleaner-triggered.png") == [("cleaner.png", "cleaner-triggered.png")]
