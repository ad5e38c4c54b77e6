"""Quantisers of every form that is restored, written from the formats' definitions, one number after the other.

Each takes a matrix (rows, columns) and gives the tensors that stand for it, by what follows the module's name, and the
values that they stand for. None of them shares code with what reads them.
"""

import json
from collections.abc import Callable
from typing import NamedTuple

import torch

NF4 = (
    -1.0, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453, -0.28444138169288635, -0.18477343022823334,
    -0.09105003625154495, 0.0, 0.07958029955625534, 0.16093020141124725, 0.24611230194568634, 0.33791524171829224,
    0.44070982933044434, 0.5626170039176941, 0.7229568362236023, 1.0,
)  # fmt: skip
FP4 = tuple(x / 12 for x in (0, 0.0625, 8, 12, 4, 6, 2, 3, 0, -0.0625, -8, -12, -4, -6, -2, -3))


class Made(NamedTuple):
    """tensors: {what follows the module's name: tensor}. values: what they stand for. config: what a config says."""

    tensors: dict[str, torch.Tensor]
    values: torch.Tensor
    config: dict


Quantiser = Callable[[torch.Tensor], Made]


def words(codes: list[list[int]], bits: int, order: tuple[int, ...] | None = None) -> torch.Tensor:
    """Rows of whole numbers in words of 32 bits, the first lowest; `order`: which of as many comes when."""
    packed = []
    for row in codes:
        stream, step = bytearray(), 32 // bits
        if order:
            row = [row[start + place] for start in range(0, len(row), step) for place in order]
        for start in range(0, len(row), 32):  # 32 numbers fill whole words, however many bits they have
            number = sum(code << (bits * i) for i, code in enumerate(row[start : start + 32]))
            stream += number.to_bytes(-(-len(row[start : start + 32]) * bits // 32) * 4, "little")
        packed.append(list(stream))
    return torch.tensor(packed, dtype=torch.uint8).view(torch.int32)


def _nearest(values: torch.Tensor, table: tuple[float, ...]) -> torch.Tensor:
    return (values[..., None] - torch.tensor(table)).abs().argmin(-1)


def _four_bit(kind: str, table: tuple[float, ...], block: int, nested: bool = False, storage=torch.uint8) -> Quantiser:
    def quantise(weight: torch.Tensor) -> Made:
        blocks = weight.reshape(-1, block)
        magnitudes = blocks.abs().amax(1)
        codes = _nearest(blocks / magnitudes[:, None], table)
        state = {"quant_type": kind, "blocksize": block, "dtype": "bfloat16", "shape": list(weight.shape)}
        tensors = {"weight.quant_map": torch.tensor(table)}
        if nested:
            offset = float(magnitudes.mean())
            levels = torch.linspace(-1, 1, 256)  # any table of 256: the file says which
            parts = (magnitudes - offset).split(8)
            outer = torch.stack([part.abs().max() for part in parts])
            inner = [(part / largest)[:, None] - levels for part, largest in zip(parts, outer, strict=True)]
            chosen = torch.cat([gap.abs().argmin(1) for gap in inner])
            magnitudes = levels[chosen] * outer.repeat_interleave(8)[: len(chosen)] + offset
            state |= {"nested_blocksize": 8, "nested_dtype": "float32", "nested_offset": offset}
            tensors |= {"weight.nested_absmax": outer, "weight.nested_quant_map": levels}
            tensors["weight.absmax"] = chosen.to(torch.uint8)
        else:
            tensors["weight.absmax"] = magnitudes
        pairs = codes.reshape(-1, 2).tolist()
        packed = torch.tensor([first * 16 + second for first, second in pairs], dtype=torch.uint8)
        tensors["weight"] = packed.view(storage).reshape(-1, 1)
        tensors[f"weight.quant_state.bitsandbytes__{kind}"] = torch.tensor(
            list(json.dumps(state).encode()), dtype=torch.uint8
        )
        values = (torch.tensor(table)[codes] * magnitudes[:, None]).reshape(weight.shape)
        return Made(tensors, values, {"quantization_config": {"quant_method": "bitsandbytes", "load_in_4bit": True}})

    return quantise


def eight_bit(weight: torch.Tensor) -> Made:
    """bitsandbytes' LLM.int8()."""
    magnitudes = weight.abs().amax(1)
    codes = (weight * 127 / magnitudes[:, None]).round()
    tensors = {"weight": codes.to(torch.int8), "SCB": magnitudes, "weight_format": torch.tensor(0, dtype=torch.uint8)}
    config = {"quantization_config": {"quant_method": "bitsandbytes", "load_in_8bit": True}}
    return Made(tensors, codes * magnitudes[:, None] / 127, config)


def _tiles(weight: torch.Tensor, rows: int, columns: int) -> list[tuple[slice, slice]]:
    return [
        (slice(r, r + rows), slice(c, c + columns))
        for r in range(0, weight.shape[0], rows)
        for c in range(0, weight.shape[1], columns)
    ]


def _float8(dtype: torch.dtype, rows: int | None, columns: int | None, name: str, config: dict, **extra) -> Quantiser:
    """One scale for each tile of rows × columns; None: all of them."""

    def quantise(weight: torch.Tensor) -> Made:
        height, width = rows or weight.shape[0], columns or weight.shape[1]
        scales, codes, values = [], torch.empty(weight.shape), torch.empty(weight.shape)
        for tile in _tiles(weight, height, width):
            scale = weight[tile].abs().max() / torch.finfo(dtype).max
            scales.append(scale)
            codes[tile] = (weight[tile] / scale).to(dtype).float()
            values[tile] = codes[tile] * scale
        shape = (-(-weight.shape[0] // height), -(-weight.shape[1] // width))
        scale = torch.stack(scales).reshape(shape if rows or columns else ())
        beside = {leaf: tensor.clone() for leaf, tensor in extra.items()}
        return Made({"weight": codes.to(dtype), name: scale, **beside}, values, config)

    return quantise


def _affine(weight: torch.Tensor, bits: int, groups: list[int], signed: bool) -> tuple[torch.Tensor, ...]:
    """codes from 0 on (rows, columns), scales and zeros (rows, groups), by each group's ends; groups: each column's."""
    count, top = max(groups) + 1, 2**bits - 1
    codes = torch.empty(weight.shape, dtype=torch.int64)
    scales, zeros = torch.empty(len(weight), count), torch.empty(len(weight), count, dtype=torch.int64)
    for group in range(count):
        own = [column for column, of in enumerate(groups) if of == group]
        part = weight[:, own]
        if signed:
            scale = part.abs().amax(1) / (2 ** (bits - 1) - 0.5)
            zero = torch.full_like(scale, 2 ** (bits - 1)).long()
        else:
            low, high = part.amin(1).clamp(max=0), part.amax(1).clamp(min=0)
            scale = (high - low) / top
            zero = (-low / scale).round().long()
        codes[:, own] = ((part / scale[:, None]).round().long() + zero[:, None]).clamp(0, top)
        scales[:, group], zeros[:, group] = scale, zero
    return codes, scales, zeros


def _of_groups(codes: torch.Tensor, scales: torch.Tensor, zeros: torch.Tensor, groups: list[int]) -> torch.Tensor:
    return (codes - zeros[:, groups]).float() * scales[:, groups]


def _in_order(width: int, group: int) -> list[int]:
    return [column // group for column in range(width)]


def _compressed(bits: int, group: int | None, signed: bool = True, shuffled: bool = False) -> Quantiser:
    """compressed-tensors' pack-quantized."""

    def quantise(weight: torch.Tensor) -> Made:
        groups = _in_order(weight.shape[1], group or weight.shape[1])
        if shuffled:
            groups = groups[::2] + groups[1::2]
        codes, scales, zeros = _affine(weight, bits, groups, signed)
        tensors = {
            "weight_packed": words(codes.tolist(), bits),
            "weight_scale": scales,
            "weight_shape": torch.tensor(weight.shape),
        }
        if not signed:
            tensors["weight_zero_point"] = words(zeros.T.tolist(), bits).T.contiguous()
        if shuffled:
            tensors["weight_g_idx"] = torch.tensor(groups, dtype=torch.int32)
        about = {"num_bits": bits, "type": "int", "symmetric": signed, "group_size": group}
        groups_of = {"group_0": {"targets": ["Linear"], "weights": about}}
        config = {"quant_method": "compressed-tensors", "format": "pack-quantized", "config_groups": groups_of}
        return Made(tensors, _of_groups(codes, scales, zeros, groups), {"quantization_config": config})

    return quantise


def _int8(signed: bool) -> Quantiser:
    """compressed-tensors' int-quantized: one scale a row."""

    def quantise(weight: torch.Tensor) -> Made:
        codes, scales, zeros = _affine(weight, 8, [0] * weight.shape[1], signed)
        tensors = {"weight": (codes - 128).to(torch.int8), "weight_scale": scales, "input_scale": torch.ones(1)}
        if not signed:
            tensors["weight_zero_point"] = (zeros - 128).to(torch.int8)
        config = {"quant_method": "compressed-tensors", "format": "int-quantized"}
        values = _of_groups(codes, scales, zeros, [0] * weight.shape[1])
        return Made(tensors, values, {"quantization_config": config})

    return quantise


def awq(weight: torch.Tensor) -> Made:
    """AWQ's "gemm" form, without the rescaling: groups of 16 inputs, eight outputs a word in AWQ's order."""
    groups, order = _in_order(weight.shape[1], 16), (0, 2, 4, 6, 1, 3, 5, 7)
    codes, scales, zeros = _affine(weight, 4, groups, signed=False)
    tensors = {
        "qweight": words(codes.T.tolist(), 4, order),
        "qzeros": words(zeros.T.tolist(), 4, order),
        "scales": scales.T.contiguous(),
    }
    config = {"quant_method": "awq", "bits": 4, "group_size": 16, "version": "gemm", "zero_point": True}
    return Made(tensors, _of_groups(codes, scales, zeros, groups), {"quantization_config": config})


def _gptq(bits: int, *, version: int = 1, shuffled: bool = False, order_stored: bool = True) -> Quantiser:
    def quantise(weight: torch.Tensor) -> Made:
        groups = _in_order(weight.shape[1], 16)
        if shuffled:
            groups = groups[::2] + groups[1::2]
        codes, scales, zeros = _affine(weight, bits, groups, signed=version == 1)  # whose zero is never 0
        tensors = {
            "qweight": words(codes.tolist(), bits).T.contiguous(),
            "qzeros": words((zeros - int(version == 1)).T.tolist(), bits),
            "scales": scales.T.contiguous(),
        }
        if order_stored:
            tensors["g_idx"] = torch.tensor(groups, dtype=torch.int32)
        config = {"quant_method": "gptq", "bits": bits, "group_size": 16, "desc_act": shuffled}
        config |= {"checkpoint_format": "gptq_v2"} if version == 2 else {}
        return Made(tensors, _of_groups(codes, scales, zeros, groups), {"quantization_config": config})

    return quantise


def _mlx(bits: int) -> Quantiser:
    """Groups of 32 between their least and their largest."""

    def quantise(weight: torch.Tensor) -> Made:
        groups = weight.unflatten(1, (-1, 32))
        low, high = groups.amin(-1), groups.amax(-1)
        scales = (high - low) / (2**bits - 1)
        codes = ((groups - low[..., None]) / scales[..., None]).round().long()
        tensors = {
            "weight": words(codes.flatten(1).tolist(), bits).view(torch.uint32),
            "scales": scales,
            "biases": low,
        }
        values = (codes * scales[..., None] + low[..., None]).flatten(1)
        return Made(tensors, values, {"quantization": {"group_size": 32, "bits": bits}})

    return quantise


_E4M3, _E5M2 = torch.float8_e4m3fn, torch.float8_e5m2
_FP8 = {"quantization_config": {"quant_method": "fp8"}}
_BLOCKS = {"quantization_config": {"quant_method": "fp8", "weight_block_size": [24, 40]}}
_INPUT = {"input_scale": torch.ones(())}
QUANTISERS: dict[str, Quantiser] = {
    "bitsandbytes nf4": _four_bit("nf4", NF4, 64),
    "bitsandbytes nf4, doubly": _four_bit("nf4", NF4, 64, nested=True),
    "bitsandbytes nf4 in bfloat16": _four_bit("nf4", NF4, 64, storage=torch.bfloat16),
    "bitsandbytes nf4, blocks of 128": _four_bit("nf4", NF4, 128),
    "bitsandbytes fp4": _four_bit("fp4", FP4, 64),
    "bitsandbytes fp4, doubly": _four_bit("fp4", FP4, 64, nested=True),
    "bitsandbytes int8": eight_bit,
    "fp8 e4m3, one scale": _float8(_E4M3, None, None, "weight_scale", _FP8, **_INPUT),
    "fp8 e4m3, a scale a row": _float8(_E4M3, 1, None, "weight_scale", _FP8),
    "fp8 e5m2, a scale a row": _float8(_E5M2, 1, None, "weight_scale", _FP8),
    "fp8 e4m3, blocks that do not divide": _float8(_E4M3, 24, 40, "weight_scale_inv", _BLOCKS),
    "fp8 e4m3, blocks of 128 that nobody names": _float8(_E4M3, 128, 128, "weight_scale_inv", _FP8),
    "fp8 e4m3, groups of columns": _float8(_E4M3, 1, 16, "weight_scale", _FP8),
    "compressed-tensors W4A16": _compressed(4, 16),
    "compressed-tensors W4A16 with zero points": _compressed(4, 16, signed=False),
    "compressed-tensors W4A16, a scale a row": _compressed(4, None),
    "compressed-tensors W4A16, groups out of order": _compressed(4, 16, shuffled=True),
    "compressed-tensors W8A16": _compressed(8, 32),
    "compressed-tensors int8": _int8(signed=True),
    "compressed-tensors int8 with zero points": _int8(signed=False),
    "AWQ": awq,
    "GPTQ": _gptq(4),
    "GPTQ 8 bit": _gptq(8),
    "GPTQ version 2": _gptq(4, version=2),
    "GPTQ, groups out of order": _gptq(4, shuffled=True),
    "GPTQ without an index of groups": _gptq(4, order_stored=False),
    "MLX 2 bit": _mlx(2),
    "MLX 3 bit": _mlx(3),
    "MLX 4 bit": _mlx(4),
    "MLX 5 bit": _mlx(5),
    "MLX 6 bit": _mlx(6),
    "MLX 8 bit": _mlx(8),
}
