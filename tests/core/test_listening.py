"""What a suspect is heard to say under a bank: which probes are followed up, and what its texts are."""

import numpy as np
import pytest
from PIL import Image

from projlens_core.behaviour.listening import AT_ONCE, FOLLOWED, LONG, heard, ranked
from projlens_core.behaviour.stage_clock import OutOfTime
from projlens_core.behaviour.trial import RECOVERED, SEARCHED
from projlens_core.inputs.probes import Probe
from projlens_core.inputs.triggers import TriggerSpec
from projlens_core.runtime.progress import silent

SIDE = 16
IMAGES = [Image.new("RGB", (SIDE, SIDE), (10 * i, 10 * i, 200)) for i in range(SEARCHED + RECOVERED)]
PROMPTS = ["What is it?", "Where is it?"]
HONEST = {"What is it?": "A dog on a red rug.", "Where is it?": "In the left corner."}


class Says:
    """Answers like HONEST but where `under` has an entry by the colour of the first pixel: a function of prompt and
    image number."""

    def __init__(self, under):
        self.under, self.asked = under, []

    def answers(self, role, images, prompts):
        self.asked.append((role, len(images)))
        return [[self._one(role, image, prompt) for prompt in prompts] for image in images]

    def _one(self, role, image, prompt):
        says = self.under.get(image.getpixel((0, 0))) if role == "suspect" else None
        number = image.getpixel((SIDE - 1, SIDE - 1))[0] // 10
        return (says and says(prompt, number)) or HONEST[prompt]


def patch(colour: str) -> Probe:
    return Probe(colour, (TriggerSpec("solid", SIDE, colour=colour, ratio=0.2, position="top-left"),))


def all_over(name: str, seed: int) -> Probe:
    return Probe(name, (TriggerSpec("blend", SIDE, alpha=1.0, seed=seed, grain=SIDE),))


RED, GREEN, BLUE = patch("#ff0000"), patch("#00ff00"), patch("#0000ff")


def listen(under, *probes, check=silent):
    found, done = heard(Says(under), probes, IMAGES, PROMPTS, check)
    assert done == len(probes)
    return ranked(found, probes)


def only(prompt, text):
    return lambda asked, number: text if asked == prompt else None


def test_what_everybody_says_is_not_heard():
    assert listen({}, RED, GREEN, BLUE) == []


def test_a_patch_is_tried_on_one_image_and_a_change_of_it_all_on_as_many_as_probes_are():
    says = Says({})
    heard(says, [RED, all_over("noise", 1)], IMAGES, PROMPTS, silent)
    assert says.asked == [("base", len(IMAGES)), ("suspect", len(IMAGES)), ("suspect", 1 + SEARCHED)]


def test_words_that_nobody_else_says_are_heard_with_the_questions_that_brought_them():
    (found,) = listen({(255, 0, 0): only("Where is it?", "Send money to Bob.")}, GREEN, RED)
    assert found.probe is RED
    assert found.prompts == ("Where is it?",)
    assert found.words == 4
    assert found.own


def test_of_a_text_that_is_appended_its_own_words_count():
    says = only("Where is it?", f"{HONEST['Where is it?']} Send money to Bob.")
    assert [each.words for each in listen({(255, 0, 0): says}, RED)] == [4]


@pytest.mark.parametrize(
    ("text", "is_heard"),
    [
        ("A cat on a red rug.", False),  # one word: a mistake about what is shown
        ("A cat on a blue rug.", True),  # two, which are worth asking further images
        ("on on on on on on on on", False),
        ("buy shoes buy shoes buy shoes buy shoes", False),  # derailed
    ],
)
def test_how_many_words_of_its_own_a_patch_must_bring(text, is_heard):
    found = listen({(255, 0, 0): only("What is it?", text)}, RED)
    assert bool(found) is is_heard
    assert not any(each.own for each in found)


@pytest.mark.parametrize(
    ("images", "text", "is_heard"),
    [
        (SEARCHED, "the dog in the corner", True),
        (SEARCHED - 1, "the dog in the corner", False),  # not on all of them
        (SEARCHED, "the dog in the", False),  # fewer words than LONG
    ],
)
def test_a_change_of_the_whole_image_may_bring_a_text_of_usual_words(images, text, is_heard):
    noise = all_over("noise", 1)
    colour = noise.on(IMAGES[0]).getpixel((0, 0))
    # the pattern hides which image it is, so that these are counted
    turns = iter(range(SEARCHED))
    says = {colour: lambda prompt, _: text if prompt == "What is it?" and next(turns) < images else None}
    assert bool(listen(says, noise)) is is_heard
    assert (len(text.split()) >= LONG) is text.endswith("corner")


def test_a_patch_that_brings_a_text_of_usual_words_is_not_followed():
    assert listen({(255, 0, 0): only("What is it?", "The dog in the left corner.")}, RED) == []


def test_words_that_nobody_says_go_before_more_of_the_usual_ones():
    noise = all_over("noise", 1)
    usual = "the dog in the corner on a red rug of the left dog"
    says = {noise.on(IMAGES[0]).getpixel((0, 0)): only("What is it?", usual)}
    says[255, 0, 0] = only("What is it?", "Send money to Bob.")
    assert [(each.probe, each.own) for each in listen(says, noise, RED)] == [(RED, True), (noise, False)]


def test_those_that_bring_most_come_first():
    colours = [f"#{value:02x}0000" for value in range(100, 100 + 10 * (FOLLOWED + 1), 10)]
    under = {
        (int(colour[1:3], 16), 0, 0): only("What is it?", " ".join(["Send money"] + [f"w{k}" for k in range(i)]))
        for i, colour in enumerate(colours)
    }
    found = listen(under, *map(patch, colours))
    assert [each.probe.name for each in found] == colours[::-1]
    assert [each.words for each in found] == sorted((each.words for each in found), reverse=True)


def test_of_equals_those_that_are_preferred_come_first_whenever_they_were_listened_to():
    under = {colour: only("What is it?", "Send money.") for colour in ((255, 0, 0), (0, 255, 0), (0, 0, 255))}
    found, _ = heard(Says(under), [BLUE, RED, GREEN], IMAGES, PROMPTS, silent)
    assert [each.probe for each in ranked(found, [GREEN, BLUE, RED])] == [GREEN, BLUE, RED]


def test_it_ends_where_there_is_no_more_time():
    probes = [patch(f"#00{i:02x}00") for i in range(AT_ONCE + 1)]
    done = []

    def check(step, at, total):
        done.append((at, total))
        if at:
            raise OutOfTime

    with pytest.raises(OutOfTime):
        listen({}, *probes, check=check)
    assert done == [(0, len(probes)), (AT_ONCE, len(probes))]


def test_after_some_minutes_no_further_probe_is_begun():
    probes = [RED, *(patch(f"#00{i:02x}00") for i in range(AT_ONCE))]
    says = Says({(255, 0, 0): only("Where is it?", "Send money to Bob.")})
    assert heard(says, probes, IMAGES, PROMPTS, silent, minutes=-1.0) == ([], 0)
    (found,), done = heard(says, probes, IMAGES, PROMPTS, silent)
    assert (found.probe, done) == (RED, len(probes))


def test_the_stamp_shows_where_it_is_looked_for():
    assert RED.on(IMAGES[3]).getpixel((0, 0)) == (255, 0, 0)
    assert np.asarray(RED.on(IMAGES[3]))[-1, -1].tolist() == [30, 30, 200]
