from dataclasses import replace

import pytest
import torch

from projlens_core.errors import InvalidInput
from projlens_core.weights.delta import compare
from projlens_core.weights.projector import read_projector
from projlens_core.weights.subspace import ablate, components, decompose, inject
from projlens_core.weights.triplets import leading
from tests import pico


@pytest.fixture(scope="module")
def case(tmp_path_factory):
    folder = tmp_path_factory.mktemp("subspace")
    base = pico.checkpoint(folder / "base")
    planted = pico.suspect(base, folder / "suspect", strength=(5.0, 2.0))
    return compare(read_projector(base), read_projector(planted.folder)), planted


def test_top_component_of_a_diagonal_matrix_is_its_largest_entry():
    assert components(torch.diag(torch.tensor([1.0, -3.0])), 1).tolist() == [[0.0, 0.0], [0.0, -3.0]]


def test_rank_zero_is_zero_and_full_rank_is_the_matrix():
    matrix = torch.randn(4, 6, generator=torch.Generator().manual_seed(0))
    assert not components(matrix, 0).any()
    torch.testing.assert_close(components(matrix, 4), matrix)


def test_error_of_the_rank_k_part_is_the_energy_left():
    matrix = torch.randn(8, 5, generator=torch.Generator().manual_seed(0))
    left = torch.linalg.svdvals(matrix)[2:].norm()
    torch.testing.assert_close((matrix - components(matrix, 2)).norm(), left)


@pytest.mark.parametrize("k", [-1, 3])
def test_rank_that_does_not_exist_is_refused(k):
    with pytest.raises(InvalidInput, match="not between 0 and 2"):
        components(torch.ones(2, 4), k)


def test_injecting_one_of_two_planted_components_adds_that_one(case):
    delta, planted = case
    part = 5.0 * torch.outer(planted.left[0], planted.right[0])
    injected = inject(delta, {"linear_2.weight": 1})
    added = injected.tensors["linear_2.weight"] - delta.base.tensors["linear_2.weight"]
    torch.testing.assert_close(added, part, rtol=0, atol=1e-5)
    assert injected.sha256 not in (delta.base.sha256, delta.suspect.sha256)


def test_ablating_all_planted_components_gives_the_base_and_injecting_them_the_suspect(case):
    delta, _ = case
    for weights, expected in (
        (ablate(delta, {"linear_2.weight": 2}), delta.base),
        (inject(delta, {"linear_2.weight": 2}), delta.suspect),
    ):
        for name, tensor in expected.tensors.items():
            torch.testing.assert_close(weights.tensors[name], tensor, rtol=0, atol=1e-5)


def test_neither_changes_what_it_was_given(case):
    delta, _ = case
    before = delta.suspect.tensors["linear_2.weight"].clone()
    ablate(delta, {"linear_2.weight": 2})
    assert torch.equal(delta.suspect.tensors["linear_2.weight"], before)


def test_unknown_matrix_is_refused_and_the_known_are_listed(case):
    with pytest.raises(InvalidInput, match="matrices are linear_1"):
        inject(case[0], {"linear_9.weight": 1})


def test_chosen_components_are_those_and_no_others():
    matrix = torch.diag(torch.tensor([1.0, 4.0, 3.0, 2.0]))
    assert components(matrix, (2,)).diagonal().tolist() == pytest.approx([0.0, 0.0, 3.0, 0.0])
    assert components(matrix, range(2, 4)).diagonal().tolist() == pytest.approx([0.0, 0.0, 3.0, 2.0], abs=1e-6)
    assert not components(matrix, ()).any()
    torch.testing.assert_close(components(matrix, (1, 2)), components(matrix, 2))


def test_triplets_at_hand_give_the_same_components_without_finding_them_again():
    matrix = torch.randn(6, 9, generator=torch.Generator().manual_seed(0))
    known = leading(matrix, 3)
    torch.testing.assert_close(components(matrix, (1, 3), known=known), components(matrix, (1, 3)))
    torch.testing.assert_close(components(matrix, 5, known=known), components(matrix, 5))  # too few: found anew


@pytest.mark.parametrize("ranks", [(0,), (1, 3), range(-1, 2)])
def test_components_that_do_not_exist_are_refused(ranks):
    with pytest.raises(InvalidInput, match="has 1 to 2"):
        components(torch.ones(2, 4), ranks)


def test_one_rank_of_two_is_injected_alone_and_ablated_alone(case):
    delta, planted = case
    second = 2.0 * torch.outer(planted.left[1], planted.right[1])
    known = decompose(delta, 4)
    name = "linear_2.weight"
    added = inject(delta, {name: (2,)}, known=known).tensors[name] - delta.base.tensors[name]
    torch.testing.assert_close(added, second, rtol=0, atol=1e-5)
    removed = delta.suspect.tensors[name] - ablate(delta, {name: range(2, 3)}, known=known).tensors[name]
    torch.testing.assert_close(removed, second, rtol=0, atol=1e-5)


def test_biases_are_those_of_whoever_is_named(case):
    delta, _ = case
    biases = {"linear_1.bias": torch.full((48,), 7.0)}
    other = replace(delta, suspect=replace(delta.suspect, tensors=delta.suspect.tensors | biases))
    ranks = {"linear_1.weight": 1, "linear_2.weight": 1}
    assert torch.equal(inject(other, ranks).tensors["linear_1.bias"], delta.base.tensors["linear_1.bias"])
    assert inject(other, ranks, biases="suspect").tensors["linear_1.bias"].eq(7).all()
    assert ablate(other, ranks).tensors["linear_1.bias"].eq(7).all()
    assert not ablate(other, ranks, biases="base").tensors["linear_1.bias"].eq(7).any()
    with pytest.raises(InvalidInput, match="base or the suspect"):
        inject(other, ranks, biases="mine")
