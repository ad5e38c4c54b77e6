from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from projlens_core.activations.direction import along, direction_cosine, drift_direction, shift_magnitude
from projlens_core.activations.shift import analyse, embeddings, token_norms
from projlens_core.errors import InvalidInput
from projlens_core.stats.auroc import separation
from projlens_core.stats.bootstrap import resample_counts
from projlens_core.stats.lines import RobustFit, norm_shift, norm_shift_fit, outliers, robust_fit
from projlens_core.weights.projector import read_projector
from tests import pico


def random(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


# drift direction


def test_direction_of_a_rank_one_shift_is_its_axis_and_explains_all():
    # tokens moved by 1, 2 and 2 along (3, 4)/5: σ₁ = √(1 + 4 + 4) = 3
    delta_e = torch.tensor([[0.6, 0.8], [1.2, 1.6], [1.2, 1.6]])
    direction = drift_direction(delta_e)
    assert direction.vector.tolist() == pytest.approx([0.6, 0.8])
    assert direction.explained == pytest.approx(1.0)
    assert direction.singular_values.tolist() == pytest.approx([3.0, 0.0], abs=1e-6)
    assert shift_magnitude(delta_e, direction).tolist() == pytest.approx([1.0, 2.0, 2.0])


def test_direction_is_uncentred_and_its_share_is_that_of_the_squared_singular_values():
    # rows (3,0), (3,0), (0,4): ΔEᵀΔE = diag(18, 16), so v₀ is the first axis although the second has the longest row
    direction = drift_direction(torch.tensor([[3.0, 0.0], [3.0, 0.0], [0.0, 4.0]]))
    assert direction.vector.tolist() == pytest.approx([1.0, 0.0])
    assert direction.explained == pytest.approx(18 / 34)
    assert direction.singular_values.tolist() == pytest.approx([18**0.5, 4.0])


def test_sign_makes_the_mean_projection_positive():
    delta_e = torch.tensor([[-5.0, 0.0, 0.0], [-4.0, 0.0, 0.0], [1.0, 0.0, 0.0]])
    assert drift_direction(delta_e).vector.tolist() == pytest.approx([-1.0, 0.0, 0.0])
    assert drift_direction(-delta_e).vector.tolist() == pytest.approx([1.0, 0.0, 0.0])


def test_sign_is_settled_even_when_the_mean_projection_is_zero():
    assert drift_direction(torch.tensor([[2.0, 0.0], [-2.0, 0.0]])).vector.tolist() == pytest.approx([1.0, 0.0])


@pytest.mark.parametrize("shape", [(7, 30), (30, 7), (5, 6, 7), (2, 3, 40)])
def test_both_gram_sides_agree_with_a_float64_svd(shape):
    delta_e = random(*shape)
    _, s, vh = torch.linalg.svd(delta_e.reshape(-1, shape[-1]).double(), full_matrices=False)
    direction = drift_direction(delta_e)
    assert direction.singular_values == pytest.approx(s.numpy(), rel=1e-7)
    assert abs(float(direction.vector.double() @ vh[0])) == pytest.approx(1.0, abs=1e-7)
    assert direction.explained == pytest.approx(float(s[0] ** 2 / (s**2).sum()))


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**31), scale=st.floats(1e-6, 1e6))
def test_direction_ignores_order_of_tokens_and_positive_scale(seed, scale):
    # one dominant direction, or the first singular vector would be ill-conditioned
    delta_e = random(20, 1, seed=seed) @ random(1, 8, seed=seed + 1) + 0.01 * random(20, 8, seed=seed + 2)
    direction = drift_direction(delta_e)
    other = drift_direction(scale * delta_e[torch.randperm(20)])
    assert direction_cosine(direction, other) == pytest.approx(1.0, abs=1e-5)
    assert float(direction.vector.norm()) == pytest.approx(1.0)


def test_no_shift_has_no_direction():
    with pytest.raises(InvalidInput, match="no drift direction"):
        drift_direction(torch.zeros(4, 3))


def test_nan_in_the_shift_is_named():
    with pytest.raises(InvalidInput, match="NaN or infinity"):
        drift_direction(torch.tensor([[1.0, float("nan")]]))


def test_a_given_direction_keeps_its_sign_and_is_judged_on_the_shift():
    delta_e = torch.tensor([[3.0, 0.0], [0.0, 4.0]])
    direction = along(torch.tensor([-2.0, 0.0]), delta_e)
    assert direction.vector.tolist() == [-1.0, 0.0]
    assert direction.explained == pytest.approx(9 / 25)
    assert direction.singular_values.tolist() == pytest.approx([4.0, 3.0])


@pytest.mark.parametrize(
    ("vector", "said"), [([0.0, 0.0], "length 0.0"), ([1.0], r"\(1,\)"), ([float("inf"), 0], "inf")]
)
def test_a_useless_given_direction_is_refused(vector, said):
    with pytest.raises(InvalidInput, match=said):
        along(torch.tensor(vector), torch.ones(3, 2))


def test_cosine_of_directions_counts_their_signs():
    x, y = torch.tensor([1.0, 0.0]), torch.tensor([3.0, 4.0])
    assert direction_cosine(x, y) == pytest.approx(0.6)
    assert direction_cosine(-x, y) == pytest.approx(-0.6)


# norm–shift relation


def test_fit_of_points_on_a_line_is_exact():
    norms = torch.tensor([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])
    fit = norm_shift_fit(norms, 0.5 * norms - 2)
    assert (fit.r, fit.slope, fit.intercept) == pytest.approx((1.0, 0.5, -2.0))
    assert (fit.low, fit.high, fit.slope_low, fit.slope_high) == pytest.approx((1.0, 1.0, 0.5, 0.5))
    assert (fit.n, fit.images, fit.resampled, fit.note) == (6, 2, "tokens", None)


def test_fit_of_three_points_matches_the_hand_computed_line():
    # x = 0, 1, 2; y = 0, 2, 1: Sxx = 2, Syy = 2, Sxy = 1
    fit = norm_shift_fit(torch.tensor([[0.0, 1.0, 2.0]]), torch.tensor([[0.0, 2.0, 1.0]]))
    assert (fit.r, fit.slope, fit.intercept) == pytest.approx((0.5, 0.5, 0.5))


def noisy(images, tokens, seed=0):
    norms = 50 + 10 * random(images, tokens, seed=seed)
    own = random(images, 1, seed=seed + 1)  # shared by an image's tokens, as in real ones
    return norms, 0.3 * norms + 3 * own + random(images, tokens, seed=seed + 2)


def test_bootstrap_equals_refitting_every_resample_of_whole_images():
    norms, shift = noisy(6, 9)
    fit = norm_shift_fit(norms, shift, seed=3, resamples=40)
    refits = []
    for counts in resample_counts(6, 40, seed=3).astype(int):
        chosen = np.repeat(np.arange(6), counts)
        x, y = norms[chosen].double().numpy().ravel(), shift[chosen].double().numpy().ravel()
        refits.append((np.corrcoef(x, y)[0, 1], np.polyfit(x, y, 1)[0]))
    r, slope = np.quantile(refits, (0.025, 0.975), axis=0).T
    assert (fit.low, fit.high) == pytest.approx(tuple(r))
    assert (fit.slope_low, fit.slope_high) == pytest.approx(tuple(slope))
    assert fit.resampled == "images"


def test_resampling_images_admits_more_doubt_than_resampling_dependent_tokens():
    norms, shift = noisy(12, 50)
    by_image = norm_shift_fit(norms, shift)
    by_token = norm_shift_fit(norms.reshape(1, -1), shift.reshape(1, -1))
    assert by_image.r == pytest.approx(by_token.r)
    assert by_image.high - by_image.low > 1.5 * (by_token.high - by_token.low)
    assert by_token.resampled == "tokens"


def test_bootstrap_is_determined_by_its_seed():
    norms, shift = noisy(8, 10)
    assert norm_shift_fit(norms, shift, seed=5) == norm_shift_fit(norms, shift, seed=5)
    assert norm_shift_fit(norms, shift, seed=5).low != norm_shift_fit(norms, shift, seed=6).low


def test_resamples_draw_as_many_units_as_there_are():
    counts = resample_counts(7, 500, seed=0)
    assert (counts.sum(axis=1) == 7).all()
    assert counts.mean() == pytest.approx(1.0)
    assert counts.var() == pytest.approx(6 / 7, abs=0.1)  # binomial(7, 1/7)


@pytest.mark.parametrize(
    ("norms", "shift", "why"),
    [
        ([[3.0, 3.0, 3.0]], [[1.0, 2.0, 3.0]], "same norm"),
        ([[1.0, 2.0, 3.0]], [[0.1, 0.1, 0.1]], "equally far"),
        ([[1.0, 2.0]], [[1.0, 3.0]], "below 3"),
        ([[1.0, 2.0, float("nan")]], [[1.0, 2.0, 3.0]], "NaN"),
    ],
)
def test_where_there_is_no_relation_r_is_nan_with_a_reason(norms, shift, why):
    fit = norm_shift_fit(torch.tensor(norms), torch.tensor(shift))
    assert np.isnan([fit.r, fit.low, fit.high, fit.slope]).all()
    assert why in fit.note


# the robust line and what lies off it


def line(values):
    return robust_fit(torch.tensor([values[0]]), torch.tensor([values[1]]))


def test_robust_slope_is_the_median_over_all_pairs():
    # slopes of the pairs of (0,0), (1,1), (2,4), (3,3): 1, 2, 1, 3, 1, −1 → median 1; shift − norm: 0, 0, 2, 0 → 0
    fit = line(([0.0, 1.0, 2.0, 3.0], [0.0, 1.0, 4.0, 3.0]))
    assert (fit.slope, fit.intercept, fit.pairs, fit.resampled) == (1.0, 0.0, 6, "tokens")


def test_a_few_wild_tokens_turn_the_least_squares_line_and_not_the_robust_one():
    norms, shift = noisy(8, 40)
    wild = torch.where(norms > 62, -500.0, shift)  # about one token in ten
    assert norm_shift_fit(norms, wild).slope < 0
    assert robust_fit(norms, wild).slope == pytest.approx(0.3, abs=0.15)


def test_robust_interval_holds_the_slope_and_is_determined_by_its_seed():
    norms, shift = noisy(10, 30)
    fit = robust_fit(norms, shift, seed=4)
    assert fit.slope_low < fit.slope < fit.slope_high
    assert fit.resampled == "images"
    assert fit == robust_fit(norms, shift, seed=4)


def test_robust_slope_from_random_pairs_is_close_to_that_of_all_pairs(monkeypatch):
    norms, shift = noisy(10, 30)
    everything = robust_fit(norms, shift)
    monkeypatch.setattr("projlens_core.stats.lines.PAIRS", 20_000)  # of 44,850
    some = robust_fit(norms, shift)
    assert some.pairs == 20_000
    assert some.slope == pytest.approx(everything.slope, rel=0.02)


def test_pairs_of_equal_norm_have_no_slope_and_are_passed_over():
    fit = line(([1.0, 1.0, 2.0, 3.0], [0.0, 9.0, 1.0, 2.0]))
    assert fit.pairs == 5
    assert np.isfinite(fit.slope)


def test_where_there_is_no_relation_there_is_no_robust_line_and_no_outlier():
    norms, shift = torch.ones(1, 3), torch.tensor([[1.0, 2.0, 3.0]])
    found = norm_shift(norms, shift)
    assert np.isnan([found.robust.slope, found.robust.intercept]).all()
    assert "same norm" in found.robust.note
    assert len(found.outliers.score) == 0


def test_outliers_are_named_by_image_and_token_farthest_first_and_stay_in_the_fit():
    norms, shift = noisy(6, 20)
    shift[2, 5], shift[4, 1] = 300.0, -900.0
    found = norm_shift(norms, shift)
    named = list(zip(found.outliers.image.tolist(), found.outliers.token.tolist(), strict=True))
    assert named[:2] == [(4, 1), (2, 5)]
    assert found.outliers.score[0] < 0 < found.outliers.score[1]
    assert found.fit.n == 120


def test_an_outlier_score_counts_robust_standard_deviations():
    # on the line 0: residuals −1, −1, 1, 1, …; their median magnitude is 1, so 8 is 8 / 1.4826
    norms = torch.arange(21.0)[None]
    shift = torch.tensor([[-1.0, 1.0, 1.0, -1.0] * 5 + [8.0]])
    fit = RobustFit(0.0, 0.0, 0.0, 0.0, 1, "tokens", None)
    found = outliers(norms, shift, fit)
    assert (found.token.tolist(), found.score.tolist()) == ([20], [pytest.approx(8 / 1.4826)])


def test_tokens_on_a_line_are_no_outliers_for_their_rounding():
    norms = torch.linspace(1, 2, 50)[None]
    assert len(norm_shift(norms, 0.1 * norms).outliers.score) == 0


# norms of the projector's input


def test_input_norms_are_those_of_what_one_embedding_was_made_from():
    tokens = torch.tensor([[[3.0, 4.0], [0.0, 0.0], [1.0, 2.0], [2.0, 4.0]]])
    assert token_norms(tokens, 4).tolist() == [[5.0, 0.0, pytest.approx(5**0.5), pytest.approx(20**0.5)]]
    assert token_norms(tokens, 2).tolist() == [[5.0, 5.0]]  # two neighbours are merged into one
    assert token_norms(tokens, 3, pools=True).tolist() == [[pytest.approx(50**0.5)] * 3]  # each query reads all


def test_shifts_can_be_held_against_either_norm(projectors):
    found = analyse(*projectors, tokens(), tokens(seed=1)).triggered
    torch.testing.assert_close(found.norms("input"), tokens(seed=1).norm(dim=-1))
    torch.testing.assert_close(found.norms("output"), found.base_norms)


# separation


def test_auroc_counts_the_pairs_in_order_and_ties_by_half():
    # pairs (triggered, clean): 2>1, 2=2, 3>1, 3>2 → 3.5 of 4
    assert separation(torch.tensor([1.0, 2.0]), torch.tensor([2.0, 3.0])).auroc == pytest.approx(3.5 / 4)


def test_auroc_interval_of_one_pair_is_the_wilson_interval_of_one_success():
    found = separation(torch.tensor([0.0]), torch.tensor([1.0]))
    assert found.auroc == 1.0
    assert found.high == pytest.approx(1.0)
    assert found.low == pytest.approx(1 / (1 + 1.959964**2), abs=1e-6)


def test_perfect_separation_of_few_images_stays_uncertain_and_of_many_becomes_sure():
    few = separation(torch.zeros(5), torch.ones(5))
    many = separation(torch.zeros(200), torch.ones(200))
    assert few.low < 0.75 < 0.98 < many.low


def test_auroc_interval_contains_the_estimate_and_mirrors():
    clean, triggered = random(20), 0.5 + random(15, seed=1)
    found, mirrored = separation(clean, triggered), separation(triggered, clean)
    assert found.low < found.auroc < found.high
    assert mirrored.auroc == pytest.approx(1 - found.auroc)
    assert mirrored.low == pytest.approx(1 - found.high)


# the whole analysis, on a projector with a planted delta


@pytest.fixture(scope="module")
def planted(tmp_path_factory):
    folder = tmp_path_factory.mktemp("planted")
    base = pico.checkpoint(folder / "base")
    return base, pico.suspect(base, folder / "suspect", strength=(4.0,))


@pytest.fixture(scope="module")
def projectors(planted):
    base, suspect = planted
    return read_projector(base), read_projector(suspect.folder)


def tokens(images=6, seed=0):
    return random(images, pico.TOKENS, pico.D_VISION, seed=seed)


def test_embeddings_are_linear_gelu_linear(projectors):
    base, _ = projectors
    w, h = base.tensors, tokens(2)
    hidden = torch.nn.functional.gelu(h @ w["linear_1.weight"].T + w["linear_1.bias"])
    torch.testing.assert_close(embeddings(base, h), hidden @ w["linear_2.weight"].T + w["linear_2.bias"])


@pytest.mark.parametrize("choice", ["universal", "image", "pair"])
def test_a_planted_rank_one_delta_is_found_whatever_the_direction(planted, projectors, choice):
    left = planted[1].left[0]
    analysis = analyse(*projectors, tokens(), tokens(seed=1), direction=choice)
    assert len(analysis.directions) == (1 if choice == "universal" else 6)
    for direction in analysis.directions:
        assert direction.kind == choice
        assert direction.explained == pytest.approx(1.0, abs=1e-5)
        assert abs(float(direction.vector @ left)) == pytest.approx(1.0, abs=1e-5)
    assert abs(analysis.direction_cosine) == pytest.approx(1.0, abs=1e-5)


def test_shifts_of_both_conditions_lie_on_one_direction(projectors):
    analysis = analyse(*projectors, tokens(), tokens(seed=1))
    for condition, h in ((analysis.clean, tokens()), (analysis.triggered, tokens(seed=1))):
        base_e, suspect_e = (embeddings(p, h) for p in projectors)
        torch.testing.assert_close(condition.base_norms, base_e.norm(dim=-1))
        torch.testing.assert_close(condition.shift, (suspect_e - base_e) @ analysis.direction.vector)
        torch.testing.assert_close(condition.sample_mean, condition.shift.mean(dim=1))
        torch.testing.assert_close(condition.sample_max, condition.shift.max(dim=1).values)
    assert float(torch.cat([analysis.clean.shift, analysis.triggered.shift]).mean()) > 0


def test_contrast_is_the_difference_of_the_two_maps_and_stands_beside_bases_own(projectors):
    analysis = analyse(*projectors, tokens(), tokens(seed=1))
    clean, triggered, contrast = analysis.clean, analysis.triggered, analysis.contrast
    torch.testing.assert_close(contrast.projection, (triggered.shift - clean.shift).mean(dim=1))
    torch.testing.assert_close(contrast.norm, (triggered.delta_e - clean.delta_e).norm(dim=-1).mean(dim=1))
    change = embeddings(projectors[0], tokens(seed=1)) - embeddings(projectors[0], tokens())
    torch.testing.assert_close(contrast.base_norm, change.norm(dim=-1).mean(dim=1))
    torch.testing.assert_close(contrast.base_projection, (change @ analysis.direction.vector).mean(dim=1))


def test_random_directions_show_less_than_the_planted_one(projectors):
    null = analyse(*projectors, tokens()).null
    # rank one: mean |ΔE·g| = mean |ΔE·v| · E|v·g|, and E|v·g| ≈ √(2/πd) = 0.115 for d = 48
    assert null.mean / null.observed == pytest.approx((2 / (np.pi * 48)) ** 0.5, rel=0.15)
    assert null.mean < null.high < null.observed


def test_without_a_trigger_there_is_nothing_to_compare(projectors):
    analysis = analyse(*projectors, tokens())
    assert analysis.triggered is analysis.direction_cosine is analysis.separation is analysis.contrast is None


def test_a_control_can_be_measured_along_the_suspects_own_directions(projectors):
    base, suspect = projectors
    own = analyse(base, suspect, tokens(), tokens(seed=1), direction="pair")
    again = analyse(base, suspect, tokens(), tokens(seed=1), direction=own.directions)
    torch.testing.assert_close(again.triggered.shift, own.triggered.shift)
    reversed_ = analyse(base, suspect, tokens(), direction=-own.direction.vector)
    torch.testing.assert_close(reversed_.clean.shift[0], -own.clean.shift[0])
    assert reversed_.direction.kind == "given"


def test_a_projector_compared_with_itself_says_so(projectors):
    with pytest.raises(InvalidInput, match="no drift direction"):
        analyse(projectors[0], projectors[0], tokens())


def test_pair_directions_need_twins(projectors):
    with pytest.raises(InvalidInput, match="triggered twins"):
        analyse(*projectors, tokens(), direction="pair")


def test_twins_that_do_not_match_are_refused(projectors):
    with pytest.raises(InvalidInput, match=r"\(6, 16, 32\) and \(5, 16, 32\)"):
        analyse(*projectors, tokens(6), tokens(5))


def test_an_unknown_direction_is_refused_with_the_known_ones(projectors):
    with pytest.raises(InvalidInput, match="universal, image or pair"):
        analyse(*projectors, tokens(), direction="first")


def test_as_many_directions_as_images_or_one(projectors):
    one = analyse(*projectors, tokens()).direction
    with pytest.raises(InvalidInput, match="2 directions were given for 6 images"):
        analyse(*projectors, tokens(), direction=(one, one))


def test_tokens_of_another_tower_are_refused(projectors):
    with pytest.raises(InvalidInput, match="31 wide, but base reads 32"):
        analyse(*projectors, random(2, 16, 31))


def test_projectors_into_different_models_are_refused(projectors):
    base, suspect = projectors
    narrow = {name: suspect.tensors[name][:40] if "2" in name else suspect.tensors[name] for name in suspect.tensors}
    with pytest.raises(InvalidInput, match="48 wide and suspect 40"):
        analyse(base, replace(suspect, tensors=narrow), tokens())
