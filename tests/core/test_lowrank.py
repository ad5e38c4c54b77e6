from contextlib import closing
from dataclasses import replace

import diskcache
import pytest
import torch

from projlens_core.activations.tokens import image_tokens
from projlens_core.behaviour.llava import LlavaResponder
from projlens_core.behaviour.lowrank import Edit, Editor, Grid, answers_by_rank, fill
from projlens_core.behaviour.questions import one_truth_each
from projlens_core.behaviour.respond import load_responder
from projlens_core.behaviour.scoring import Questions, Score, Scorer
from projlens_core.behaviour.success import Truth, measure
from projlens_core.errors import Cancelled, InvalidInput
from projlens_core.weights.delta import compare
from projlens_core.weights.projector import read_projector
from tests import pico, pico_families

PROMPT = "What?"
N, TOKENS = 3, 4
FULL = 2  # the planted delta has rank 2

pytestmark = pytest.mark.usefixtures("own_folder")  # every test with a cache of this module's own


@pytest.fixture(scope="module")
def responder(tmp_path_factory):
    return load_responder(str(pico.checkpoint(tmp_path_factory.mktemp("lowrank") / "base")))


@pytest.fixture(scope="module")
def delta(responder, tmp_path_factory):
    base = pico.checkpoint(tmp_path_factory.mktemp("delta") / "base")
    planted = pico.suspect(base, base.parent / "suspect", strength=(6.0, 3.0))
    return compare(read_projector(base), read_projector(planted.folder))


@pytest.fixture(scope="module")
def said(responder, delta):
    """{role: (clean answers, triggered answers)} by the engine, one by one."""
    found = {}
    for role, weights in (("base", delta.base), ("suspect", delta.suspect)):
        with responder.projector(weights):
            found[role] = tuple(
                responder.answers(pico.images(N, seed=seed), [PROMPT] * N, max_new_tokens=TOKENS) for seed in (0, 1)
            )
    return found


@pytest.fixture
def questions(said):
    target = said["suspect"][1][0][:2]  # what the suspect says first about the first triggered image
    truths = (Truth(PROMPT, "never|ever"), None, None)
    return Questions(tuple(pico.images(N)), tuple(pico.images(N, seed=1)), (PROMPT,) * N, truths, target, TOKENS)


@pytest.fixture
def scorer(responder, questions, tmp_path, monkeypatch):
    """With an empty store of its own."""
    monkeypatch.setenv("PROJLENS_CACHE", str(tmp_path))
    return Scorer(responder, questions)


@pytest.fixture
def asked(monkeypatch):
    """How many answers were asked of the language model, run by run."""
    runs = []
    own = LlavaResponder.replies

    def counted(self, asked, *rest):
        runs.append(len(asked.prompts))
        return own(self, asked, *rest)

    monkeypatch.setattr(LlavaResponder, "replies", counted)
    return runs


def test_k_stands_for_the_components_of_its_choice():
    assert [Edit(choice="top").components(k) for k in (0, 1, 3)] == [(), (1,), (1, 2, 3)]
    assert [Edit(choice="one").components(k) for k in (0, 1, 3)] == [(), (1,), (3,)]
    assert [Edit(choice="rest").components(k) for k in (0, 1, 3)] == [(), (), (2, 3)]


@pytest.mark.parametrize(("mode", "at_zero", "at_full"), [("inject", "base", "suspect"), ("ablate", "suspect", "base")])
def test_rank_zero_changes_nothing_and_full_rank_makes_the_other_model(responder, delta, said, mode, at_zero, at_full):
    clean, triggered = pico.images(N)[0], pico.images(N, seed=1)[0]
    edit = Edit(mode, biases="base" if mode == "inject" else "suspect")
    none, all_ = answers_by_rank(responder, delta, edit, (0, FULL), clean, triggered, PROMPT, "a", TOKENS)
    assert (none.clean, none.triggered) == (said[at_zero][0][0], said[at_zero][1][0])
    assert (all_.clean, all_.triggered) == (said[at_full][0][0], said[at_full][1][0])
    assert none.triggered != all_.triggered


def test_biases_are_those_that_were_asked_for(delta):
    bias = "linear_1.bias"
    moved = replace(delta.suspect, tensors=delta.suspect.tensors | {bias: delta.suspect.tensors[bias] + 1})
    changed = compare(delta.base, moved)
    for mode in ("inject", "ablate"):
        for biases, weights in (("base", delta.base), ("suspect", moved)):
            edited = Editor(changed, Edit(mode, biases=biases), 1).projector(0, 1)
            assert torch.equal(edited.tensors[bias], weights.tensors[bias])


def test_a_choice_that_does_not_exist_is_refused(delta):
    with pytest.raises(InvalidInput, match="must be base, suspect"):
        Edit(biases="both")
    with pytest.raises(InvalidInput, match="Rank 33 was asked for, but the change of linear_1"):
        Editor(delta, Edit(), 33)


def test_scores_are_those_of_measuring_every_answer_whole(scorer, questions, delta, responder):
    expected = measure(
        responder, delta.suspect, questions.clean, questions.triggered, questions.prompts, questions.target,
        max_new_tokens=TOKENS,
    )  # fmt: skip
    found = scorer.score(delta.suspect)
    assert found.asr == expected.asr
    assert found.hits == tuple(row.hit for row in expected.rows)
    assert found.hits[0]
    assert found.right == (False,)


def test_the_target_logit_is_the_models_own_at_the_first_answer_position(scorer, questions, delta, responder):
    tokens = image_tokens(responder.vision, questions.triggered)
    ids = torch.tensor([responder.token_ids(PROMPT, pico.TOKENS, TOKENS)] * N)
    with torch.no_grad(), responder.projector(delta.suspect):
        embeds = responder.model.get_input_embeddings()(ids)
        places = (ids == responder.model.config.image_token_id)[..., None]
        embeds = embeds.masked_scatter(places, responder.project(tokens))
        logits = responder.model(inputs_embeds=embeds).logits[:, -1]  # (N, vocabulary)
    first = responder.processor.tokenizer.encode(questions.target)[0]
    found = scorer.score(delta.suspect).logits
    torch.testing.assert_close(torch.tensor(found), logits[:, first], rtol=1e-4, atol=1e-4)


def test_a_grid_fills_cell_by_cell_with_base_and_suspect_at_its_corners(scorer, delta):
    roles = {"base": delta.base, "suspect": delta.suspect}
    steps = list(fill(scorer, delta, Grid(Edit(), (0, 1), (0, FULL)), roles))
    assert [len(g.cells) for g in steps] == [0, 0, 0, 1, 2, 3, 4]
    full = steps[-1]
    assert not full.missing
    assert full.cells[0, 0] == full.whole["base"]
    assert full.cells[1, FULL].hits == full.whole["suspect"].hits  # ΔW₁ is zero here, so any rank of it is all of it


def test_a_resumed_grid_computes_only_the_missing_cells(scorer, delta, asked):
    list(fill(scorer, delta, Grid(Edit(), (0,), (0, 1))))
    assert asked == [scorer.questions.answers] * 2
    again = Scorer(scorer.responder, replace(scorer.questions))
    steps = list(fill(again, delta, Grid(Edit(), (0,), (0, 1, 2))))
    assert [len(g.cells) for g in steps] == [2, 3]
    assert asked == [scorer.questions.answers] * 3


def test_other_questions_are_other_cells(scorer, delta, asked):
    scorer.score(delta.base)
    Scorer(scorer.responder, replace(scorer.questions, max_new_tokens=TOKENS - 1)).score(delta.base)
    Scorer(scorer.responder, replace(scorer.questions, triggered=tuple(pico.images(N, seed=9)))).score(delta.base)
    assert len(asked) == 3


def test_a_cancelled_grid_keeps_its_cells(scorer, delta):
    def stop(stage, done, total):
        if "0 of ΔW₁ and 2 of ΔW₂" in stage:
            raise Cancelled("Stopped.")

    reached = []
    with pytest.raises(Cancelled):
        reached.extend(fill(scorer, delta, Grid(Edit(), (0,), (0, 1, 2)), progress=stop))
    (kept, *_) = fill(scorer, delta, Grid(Edit(), (0,), (0, 1, 2)))
    assert set(kept.cells) == {(0, 0), (0, 1)}


def test_a_damaged_entry_is_measured_anew(scorer, delta, asked, tmp_path):
    before = scorer.score(delta.base)
    with closing(diskcache.Cache(tmp_path / "scores")) as store:
        (key,) = store
        store[key] = store[key].replace(b"false", b"true", 1)
    assert scorer.stored(delta.base) is None
    assert scorer.score(delta.base) == before
    assert len(asked) == 2


def test_fewest_is_the_smallest_rank_that_brings_back_or_takes_away_nine_tenths():
    def score(hits: int) -> Score:
        return Score((True,) * hits + (False,) * (10 - hits), (0.0,) * 10, ())

    cells = {(0, 0): score(0), (0, 1): score(8), (1, 1): score(9), (2, 2): score(10)}
    grid = Grid(Edit(), (0, 1, 2), (0, 1, 2), cells, {"base": score(0), "suspect": score(10)})
    assert grid.fewest == (1, 1)
    assert replace(grid, whole={"base": score(5), "suspect": score(10)}).fewest == (2, 2)  # 9 is 4/5 of the way
    assert replace(grid, edit=Edit("ablate")).fewest == (0, 0)
    assert replace(grid, whole={"base": score(5), "suspect": score(5)}).fewest is None
    assert replace(grid, whole={"suspect": score(10)}).fewest is None


def test_a_question_with_a_known_answer_is_taken_in_turn():
    truths = {"a": (Truth("1", "x"), Truth("2", "y")), "c": (Truth("3", "z"),)}
    assert one_truth_each(["a", "b", "a", "c"], truths) == (
        Truth("1", "x"), None, Truth("1", "x"), Truth("3", "z"),
    )  # fmt: skip
    assert one_truth_each(["b", "a"], truths)[1] == Truth("2", "y")


def test_what_makes_no_sense_is_refused():
    image = pico.images(1)[0]
    with pytest.raises(InvalidInput, match="no image"):
        Questions((), (), (), (), "t")
    with pytest.raises(InvalidInput, match="target is empty"):
        Questions((image,), (image,), (PROMPT,), (None,), " ")


@pytest.mark.parametrize(
    ("family", "axes", "rows"), [("smolvlm", (None, "ΔW₁"), (0,)), ("llama4", ("ΔW₁ to ΔW₂", "ΔW₃"), (0, 2))]
)
def test_a_projector_of_one_matrix_has_one_axis_and_of_more_the_last_has_its_own(family, axes, rows, tmp_path):
    model = pico_families.model(family)
    model.save_pretrained(tmp_path / "base")
    base = read_projector(tmp_path / "base")
    torch.manual_seed(0)
    moved = {n: t + torch.randn(t.shape[0], 2) @ torch.randn(2, t.shape[1]) for n, t in base.tensors.items()}
    delta = compare(base, replace(base, tensors=moved))
    grid = Grid.of(delta, Edit(), (0, 2))
    assert (grid.axes, grid.rows, grid.columns) == (axes, rows, (0, 2))
    first, *_ = names = list(base.tensors)
    last = names[-1]
    editor = Editor(delta, Edit(), 2)
    whole = editor.projector(2, 2).tensors
    for name in base.tensors:
        torch.testing.assert_close(whole[name], moved[name], rtol=1e-4, atol=1e-4)
    assert torch.equal(editor.projector(2, 0).tensors[last], base.tensors[last])
    if first != last:
        assert torch.equal(editor.projector(0, 2).tensors[first], base.tensors[first])
