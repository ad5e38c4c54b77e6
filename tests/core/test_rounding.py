import numpy as np
import pytest
import torch
from gguf import GGMLQuantizationType, quants
from hypothesis import given, settings
from hypothesis import strategies as st

from projlens_core.weights.rounding import rounding_floor

HALF = {"bfloat16": torch.bfloat16, "float16": torch.float16}


def weights(rows=96, columns=160, seed=0, scale=0.02):
    return scale * torch.randn(rows, columns, generator=torch.Generator().manual_seed(seed))


def test_floor_of_equal_values_is_zero():
    w = weights()
    floor = rounding_floor(w, w.clone(), "float32", "float32")
    assert (floor.frobenius, floor.sigma) == (0.0, 0.0)


def test_floor_by_hand_for_numbers_between_one_and_two():
    base, suspect = torch.zeros(2, 2), torch.full((2, 2), 1.5)
    suspect += torch.tensor([[0.0, 2**-7], [0.0, 0.0]])
    # bfloat16 keeps 8 bits: from 1 to 2 its numbers lie 2⁻⁷ apart, so each of the four is off by 2⁻⁷/√12.
    floor = rounding_floor(base, suspect, "bfloat16", "bfloat16")
    step = 2**-7 / 12**0.5
    assert floor.frobenius == pytest.approx(2 * step, rel=1e-6)
    assert floor.sigma == pytest.approx(2 * 2**0.5 * step, rel=1e-6)  # √2 the longest row, √2 the longest column
    assert not floor.upper


@settings(max_examples=25, deadline=None)
@given(st.sampled_from(sorted(HALF)), st.floats(1e-4, 10), st.integers(0, 1000))
def test_floor_is_what_rounding_a_fine_tune_leaves(dtype, scale, seed):
    exact = weights(seed=seed, scale=scale)
    rounded = exact.to(HALF[dtype]).float()
    noise = rounded - exact
    floor = rounding_floor(exact, rounded, "float32", dtype)
    assert floor.frobenius == pytest.approx(noise.norm().item(), rel=0.05)
    measured = torch.linalg.matrix_norm(noise, 2).item()
    assert 0.97 * measured < floor.sigma < 1.35 * measured
    assert floor.upper


def test_two_roundings_of_one_original_add_up():
    exact = weights()
    base, suspect = exact.bfloat16().float(), exact.half().float()
    floor = rounding_floor(base, suspect, "bfloat16", "float16")
    assert floor.frobenius == pytest.approx((suspect - base).norm().item(), rel=0.05)
    assert floor.cause == "suspect's to float16 and base's to bfloat16"


def test_float32_that_was_bfloat16_once_counts_as_bfloat16():
    base = weights().bfloat16().float()
    suspect = (base + weights(seed=1)).bfloat16().float()
    floor = rounding_floor(base, suspect, "float32", "bfloat16")
    assert floor.cause == "suspect's to bfloat16"
    assert not floor.upper


def test_an_adapter_is_exact_on_a_coarse_base():
    base = weights().bfloat16().float()
    floor = rounding_floor(base, base + weights(seed=1), "bfloat16", "adapter")
    assert floor.frobenius < 1e-6 * base.norm().item()


@pytest.mark.parametrize("kind", ["Q8_0", "Q4_0", "Q4_1", "Q5_0", "Q5_1"])
def test_floor_of_quantised_blocks_is_what_quantising_leaves(kind):
    exact = weights()
    quant = GGMLQuantizationType[kind]
    rounded = torch.from_numpy(quants.dequantize(quants.quantize(exact.numpy(), quant), quant).astype(np.float32))
    floor = rounding_floor(rounded, exact, kind, "float32")
    assert floor.frobenius == pytest.approx((rounded - exact).norm().item(), rel=0.15)
    measured = torch.linalg.matrix_norm(rounded - exact, 2).item()
    assert 0.9 * measured < floor.sigma < 1.5 * measured


def test_types_without_a_regular_grid_have_no_known_floor():
    w = weights(rows=2, columns=256)
    assert rounding_floor(w, w + 1, "IQ4_XS", "float16") is None


def test_subnormal_halves_have_a_fixed_step():
    exact = weights(scale=1e-6)
    rounded = exact.half().float()
    floor = rounding_floor(exact, rounded, "float32", "float16")
    assert floor.frobenius == pytest.approx((rounded - exact).norm().item(), rel=0.1)
