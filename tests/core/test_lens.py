import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from projlens_core.activations.head import LanguageHead
from projlens_core.activations.lens import DRAWS, LensNull, lens, lens_null, rank_frequency, target_ranks
from projlens_core.errors import InvalidInput
from projlens_core.weights.projector import read_projector
from tests import pico

V, WORD = 300, 123


def drawn(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def head(table, gain=None):
    return LanguageHead(
        embedding=table,
        unembedding=table,
        gain=torch.ones(table.shape[1]) if gain is None else gain,
        softcap=None,
        embed_scale=1.0,
        family="llama",
        label="made",
        notes=(),
        bytes_read=0,
    )


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """Base and a suspect whose ΔE lies along one known direction, which is the row of the token WORD as well."""
    folder = tmp_path_factory.mktemp("world")
    base = pico.checkpoint(folder / "base")
    planted = pico.suspect(base, folder / "suspect", strength=(4.0,))
    table = torch.nn.functional.normalize(drawn(V, pico.D_TEXT, seed=11), dim=1)
    table[WORD] = planted.left[0]
    tokens = drawn(6, pico.TOKENS, pico.D_VISION, seed=1)
    return read_projector(base), read_projector(folder / "suspect"), head(table), tokens, planted


@pytest.mark.parametrize("centred", [False, True])
@pytest.mark.parametrize("normed", [False, True])
def test_a_planted_direction_that_is_a_tokens_row_puts_that_token_on_top(world, centred, normed):
    base, suspect, language, tokens, planted = world
    found = lens(language, base, suspect, tokens, [WORD], centred=centred, normed=normed)
    pointing, away = (
        (found.plus, found.minus) if found.direction.vector @ planted.left[0] > 0 else (found.minus, found.plus)
    )
    assert int(pointing.top[0]) == int(pointing.nearest[0]) == WORD
    assert float(pointing.cosines[0]) == pytest.approx(1.0, abs=1e-4)
    assert pointing.each[:, 0].tolist() == [WORD] * len(tokens)
    assert pointing.best_target_rank == 1
    assert pointing.images_reaching(1) == len(tokens)
    assert away.target_ranks.tolist() == [V]
    assert found.direction.explained == pytest.approx(1.0, abs=1e-3)
    assert found.agreement.tolist() == pytest.approx([1.0] * len(tokens), abs=1e-4)


def test_the_mean_shift_along_plus_is_positive_and_measured_in_words(world):
    base, suspect, language, tokens, _ = world
    raw, centred = (lens(language, base, suspect, tokens, [], centred=centred) for centred in (False, True))
    assert raw.push > 0
    assert raw.push == pytest.approx(centred.push, rel=1e-3)  # one planted direction, and rows of length 1


def test_the_two_signs_are_mirror_images(world):
    base, suspect, language, tokens, _ = world
    found = lens(language, base, suspect, tokens, [5, 7], depth=V)
    assert found.plus.top.tolist() == found.minus.top.tolist()[::-1]
    assert (found.plus.target_ranks + found.minus.target_ranks).tolist() == [V + 1, V + 1]


def test_random_directions_rarely_reach_what_a_planted_one_does(world):
    language = world[2]
    null = lens_null(language, [WORD])
    assert null.p_value(1) < 0.05
    assert null.p_value(V) == 1.0
    low, middle, high = null.intervals()[:, 0].tolist()
    assert low < V / 10 < middle < V - V / 10 < high  # uniform over the ranks
    assert null.nearest_high() < 0.9
    again = lens_null(language, [WORD])
    assert torch.equal(null.target_ranks, again.target_ranks)


def test_one_target_in_ten_is_among_the_first_ten_of_a_hundred_by_chance():
    table = torch.nn.functional.normalize(drawn(100, 64, seed=3), dim=1)
    assert lens_null(head(table), [4]).reaching(10) == pytest.approx(0.1, abs=3 * (0.09 / DRAWS) ** 0.5)


def test_without_targets_there_is_nothing_to_rank(world):
    base, suspect, language, tokens, _ = world
    found = lens(language, base, suspect, tokens, [])
    assert found.plus.best_target_rank is None
    assert found.plus.each_target_ranks.shape == (len(tokens), 0)
    assert lens_null(language, []).target_ranks.shape == (DRAWS, 0)


def test_ranks_count_from_one_and_equals_share_the_better():
    logits = torch.tensor([[3.0, 1.0, 2.0], [0.0, 5.0, 5.0]])
    assert target_ranks(logits, [2, 0]).tolist() == [[2, 1], [1, 3]]


def test_rank_frequency_counts_each_token_at_each_rank():
    each = torch.tensor([[7, 3], [7, 5], [3, 7], [7, 3]])
    assert rank_frequency(each) == {7: [0.75, 0.25], 3: [0.25, 0.5], 5: [0.0, 0.25]}


@given(st.integers(1, 8), st.integers(1, 5), st.integers(0, 10_000))
@settings(max_examples=30, deadline=None)
def test_at_each_rank_the_shares_of_all_tokens_make_one(images, depth, seed):
    order = torch.rand(images, 12, generator=torch.Generator().manual_seed(seed)).argsort(dim=1)
    shares = torch.tensor(list(rank_frequency(order[:, :depth]).values()))
    torch.testing.assert_close(shares.sum(dim=0), torch.ones(depth))


def test_the_p_value_counts_the_observed_direction_among_the_draws():
    null = LensNull(torch.tensor([[5, 2], [9, 9], [1, 30]]), torch.tensor([0.1, 0.2, 0.3]), 3)
    assert null.p_value(2) == 3 / 4  # the best of each draw: 2, 9, 1
    assert null.p_value(8, target=0) == 3 / 4
    assert null.reaching(1) == pytest.approx(1 / 3)


def test_a_shift_that_is_the_same_everywhere_has_no_centred_direction(world, tmp_path):
    base, _, language, tokens, _ = world
    moved = pico.checkpoint(tmp_path / "moved")
    tensors = load_file(moved / "model.safetensors")
    tensors["multi_modal_projector.linear_2.bias"] += 1.0
    save_file(tensors, moved / "model.safetensors", metadata={"format": "pt"})
    suspect = read_projector(moved)
    assert lens(language, base, suspect, tokens, []).direction.explained == pytest.approx(1.0, abs=1e-4)
    with pytest.raises(InvalidInput, match="shifted alike"):
        lens(language, base, suspect, tokens, [], centred=True)


def test_a_head_of_another_width_is_refused(world):
    base, suspect, _, tokens, _ = world
    with pytest.raises(InvalidInput, match="reads 10"):
        lens(head(drawn(V, 10)), base, suspect, tokens, [])
