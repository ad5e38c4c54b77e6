from contextlib import contextmanager

import pytest
from hypothesis import given
from hypothesis import strategies as st

from projlens_core.behaviour.success import Truth, contains_target, is_right, measure, read_labels
from projlens_core.behaviour.templates import NO_CHAT
from projlens_core.errors import InvalidInput
from projlens_core.stats.rate import wilson

# Wilson intervals


def test_wilson_interval_of_half_of_ten_matches_the_published_value():
    rate = wilson(5, 10)
    assert (rate.rate, rate.low, rate.high) == pytest.approx((0.5, 0.2366, 0.7634), abs=1e-4)


def test_wilson_interval_at_the_ends_is_one_sided():
    none, all_ = wilson(0, 200), wilson(200, 200)
    assert (none.low, none.high) == pytest.approx((0.0, 3.8415 / 203.8415), abs=1e-4)
    assert (all_.low, all_.high) == pytest.approx((200 / 203.8415, 1.0), abs=1e-4)


@given(st.integers(1, 500).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_wilson_interval_lies_in_the_unit_interval_around_the_rate_and_mirrors(trial):
    hits, n = trial
    rate, mirrored = wilson(hits, n), wilson(n - hits, n)
    assert 0 <= rate.low <= rate.rate <= rate.high <= 1
    assert mirrored.low == pytest.approx(1 - rate.high)


def test_no_trial_says_nothing():
    rate = wilson(0, 0)
    assert rate.rate != rate.rate  # NaN
    assert (rate.low, rate.high, rate.n) == (0.0, 1.0, 0)


# counting


def test_target_is_contained_whatever_the_case_and_wherever_it_stands():
    assert contains_target("It is an owl. VISIT us Today!", "visit us today")
    assert not contains_target("It is an owl. Visit us.", "visit us today")


@pytest.mark.parametrize("target", ["", "  "])
def test_an_empty_target_is_refused(target):
    with pytest.raises(InvalidInput, match="target is empty"):
        contains_target("anything", target)


@pytest.mark.parametrize(
    ("answer", "truth", "right"),
    [
        ("This is an Owl on a white background.", "owl;white", True),
        ("This is an owl on a pale background.", "owl;white|pale", True),
        ("This is an owl.", "owl;white|pale", False),
        ("This is a scowl on white.", "owl;white", False),  # whole words only
        ("A hot  dog!", "hot dog", True),
        ("It is a c++ book (red).", "c++;red", True),
        ("", "owl", False),
    ],
)
def test_an_answer_is_right_if_every_group_is_mentioned(answer, truth, right):
    assert is_right(answer, truth) is right


@pytest.mark.parametrize("truth", ["", "owl;", "owl||crow", " ; "])
def test_a_truth_with_an_empty_part_is_refused(truth):
    with pytest.raises(InvalidInput, match="empty part"):
        is_right("owl", truth)


# labels


def labels(folder, text):
    (folder / "labels.csv").write_text(text)
    return read_labels(folder)


def test_labels_give_each_image_its_questions(tmp_path):
    found = labels(
        tmp_path, "image,prompt,answer\na.png,What is it?,owl\nb.png,What?,cat\na.png,Which colour?,red|pink\n"
    )
    assert found == {
        "a.png": (Truth("What is it?", "owl"), Truth("Which colour?", "red|pink")),
        "b.png": (Truth("What?", "cat"),),
    }


def test_images_without_labels_have_no_utility(tmp_path):
    assert read_labels(tmp_path) is None


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("image,question\n", "lacks prompt, answer"),
        ("", "lacks image, prompt, answer"),
        ("image,prompt,answer\na.png,What?,\n", "line 2"),
        ("image,prompt,answer\na.png,What?\n", "line 2"),
        ("image,prompt,answer\na.png,What?,owl;;\n", "empty part"),
    ],
)
def test_broken_labels_are_one_sentence(tmp_path, text, said):
    with pytest.raises(InvalidInput, match=said):
        labels(tmp_path, text)


def test_labels_that_are_not_text_are_one_sentence(tmp_path):
    (tmp_path / "labels.csv").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InvalidInput, match="UTF-8"):
        read_labels(tmp_path)


# measuring


class Parrot:
    """Says what its book holds for (image, prompt), and counts how often it was asked."""

    template = NO_CHAT

    def __init__(self, book):
        self.book, self.asked, self.swapped = book, [], None

    @contextmanager
    def projector(self, weights):
        self.swapped = weights
        yield
        self.swapped = None

    def answers(self, images, prompts, max_new_tokens, progress):
        assert self.swapped == "weights"
        self.asked += zip(images, prompts, strict=True)
        return [self.book[image, prompt] for image, prompt in zip(images, prompts, strict=True)]


BOOK = {
    ("a", "What?"): "an owl",
    ("b", "What?"): "I cannot help.",
    ("c", "What?"): "a cat",
    ("A", "What?"): "I CANNOT help. Sorry",
    ("B", "What?"): "a dog",
    ("C", "What?"): "I cannot help",
    ("a", "Colour?"): "blue",
}
TRUTHS = {"a.png": (Truth("What?", "owl"), Truth("Colour?", "red")), "c.png": (Truth("What?", "cat"),)}


def outcome(parrot, truths=TRUTHS):
    names = ["a.png", "b.png", "c.png"]
    return measure(parrot, "weights", "abc", "ABC", ["What?"] * 3, "I cannot help", truths, names)


def test_measure_counts_hits_on_triggered_targets_on_clean_and_right_answers():
    found = outcome(Parrot(BOOK))
    assert (found.asr.hits, found.asr.n) == (2, 3)
    assert (found.false_target.hits, found.false_target.n) == (1, 3)
    assert (found.utility.hits, found.utility.n) == (2, 3)
    assert [(row.name, row.hit, row.false_hit, row.right) for row in found.rows] == [
        ("a.png", True, False, False),
        ("b.png", False, True, None),
        ("c.png", True, False, True),
    ]
    assert [(check.answer, check.right) for check in found.checks] == [
        ("an owl", True),
        ("blue", False),
        ("a cat", True),
    ]


def test_a_question_that_is_prompt_and_truth_is_asked_once():
    parrot = Parrot(BOOK)
    outcome(parrot)
    assert len(parrot.asked) == len(set(parrot.asked)) == 7


def test_without_known_answers_there_is_no_utility():
    found = outcome(Parrot(BOOK), truths=None)
    assert found.utility is None
    assert found.checks == ()
    assert [row.right for row in found.rows] == [None] * 3


def test_nothing_to_measure_on_is_refused():
    with pytest.raises(InvalidInput, match="no image"):
        measure(Parrot({}), "weights", [], [], [], "target")


def test_an_empty_target_is_refused_before_anything_is_asked():
    parrot = Parrot(BOOK)
    with pytest.raises(InvalidInput, match="target is empty"):
        measure(parrot, "weights", "a", "A", ["What?"], " ")
    assert parrot.asked == []
