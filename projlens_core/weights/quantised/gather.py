"""Find the tensors that a checkpoint stores quantised, by the names of their parts and what its config says of them."""

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from projlens_core.weights.quantised.bitsandbytes import EightBit, FourBit
from projlens_core.weights.quantised.packed import Awq, Gptq, Mlx, Packed
from projlens_core.weights.quantised.scaled import CODES, Scaled
from projlens_core.weights.quantised.tensor import Format, Quantised, Stored, Unread
from projlens_core.weights.stored import FLOATS, TensorInfo

Tensors = Mapping[str, TensorInfo]
_STATE = re.compile(r"(.+)\.quant_state\.bitsandbytes__(nf4|fp4)")
# A name that only one format has → what it is called, and which of its tensors are the codes: whole numbers, or bits.
_UNREAD = json.loads(Path(__file__).with_name("unread.json").read_text(encoding="utf-8"))
# What formats keep beside the parts: how inputs are quantised, which is no part of the weights.
_BESIDE = ("input_scale", "input_zero_point", "input_global_scale", "output_scale", "output_zero_point",
           "activation_scale", "weight_g_idx", "weight_shape", "weight_format")  # fmt: skip
_SCALES = {"weight_scale_inv": True, "weight_scale": False}  # {name: whether in blocks, 128 × 128 unless said}


def gather(tensors: Tensors, config: dict | None) -> dict[str, Stored]:
    """The tensors of a checkpoint, each quantised one under its own name in place of its parts.

    What the config says is taken for what it is worth: parts that do not fit it are an error when they are read.
    """
    found: dict[str, Quantised] = {}
    gone: dict[str, str] = {}  # {part: the tensor it belongs to}
    settings = QuantisationSettings(config or {})
    for name, parts, form in _groups(tensors, settings):
        if name in found:
            continue
        if name in tensors and all(part.name != name for part in parts.values()):
            form = Unread(f"{form.name}, and holds another {name[:80]!r} besides")
        found[name] = Quantised(name, parts, form)
        gone |= {part.name: name for part in parts.values()}
    if not found:
        return dict(tensors)
    result: dict[str, Stored] = {}
    for name, info in tensors.items():
        owner = name if name in found else gone.get(name) or _owner(name, found)
        result.setdefault(owner or name, found[owner] if owner else info)
    return result


class QuantisationSettings:
    """What a config says about quantisation, wherever it says it."""

    def __init__(self, config: dict):
        text = config.get("text_config")
        places = (config, text if isinstance(text, dict) else {})
        keys = ("quantization_config", "compression_config", "quantization")
        said = [place[key] for place in places for key in keys if isinstance(place.get(key), dict)]
        self.all = said[0] if said else {}
        self.method = str(self.all.get("quant_method", ""))[:40].lower()

    def number(self, key: str) -> int | None:
        """A whole number above 0, else None."""
        value = self.all.get(key)
        return value if type(value) is int and value > 0 else None

    def for_module(self, module: str) -> dict:
        """MLX's settings of one module: its own, else those of all."""
        own = self.all.get(module)
        return own if isinstance(own, dict) else self.all

    def weights(self) -> list[dict]:
        """What compressed-tensors' groups say of weights."""
        groups = self.all.get("config_groups")
        groups = groups.values() if isinstance(groups, dict) else ()
        return [g["weights"] for g in groups if isinstance(g, dict) and isinstance(g.get("weights"), dict)]

    @property
    def block(self) -> tuple[int, int] | None:
        """(rows, columns) that share a scale."""
        given = [self.all.get("weight_block_size"), *(each.get("block_structure") for each in self.weights())]
        for pair in given:
            if isinstance(pair, list) and len(pair) == 2 and all(type(n) is int and 0 < n < 2**31 for n in pair):
                return pair[0], pair[1]
        return None

    @property
    def rotated(self) -> bool:
        """Whether weights are stored turned by a transform, which undoing the quantisation does not undo."""
        transform = self.all.get("transform_config")
        return isinstance(transform, dict) and bool(transform.get("config_groups"))


def _groups(tensors: Tensors, settings: QuantisationSettings) -> Iterator[tuple[str, dict[str, TensorInfo], Format]]:
    """(name of the tensor, its parts by what they are, its format), the most telling names first."""
    for name, info in tensors.items():
        if ".quant_state." in name and (hit := _STATE.fullmatch(name)):
            beside = ("absmax", "quant_map", "nested_absmax", "nested_quant_map")
            names = {"weight": f"{hit[1]}", "state": name} | {key: f"{hit[1]}.{key}" for key in beside}
            parts = _present(tensors, names)
            whole = {"weight", "absmax", "quant_map"} <= parts.keys() and (
                ("nested_absmax" in parts) == ("nested_quant_map" in parts)
            )
            yield hit[1], parts, FourBit(hit[2]) if whole else Unread(f"bitsandbytes {hit[2]}, in part")
            continue
        module, _, leaf = name.rpartition(".")
        if not module:
            continue
        weight = f"{module}.weight"
        codes = tensors.get(weight)
        match leaf:
            case "SCB" if codes is not None:
                names = {"weight": weight, "SCB": name, "format": f"{module}.weight_format"}
                yield weight, _present(tensors, names), EightBit()
            case "weight_scale" | "weight_scale_inv" if codes is not None and codes.dtype in CODES:
                parts = _present(tensors, {"weight": weight, "scale": name, "zero": f"{module}.weight_zero_point"})
                yield weight, parts, _scaled(codes.dtype, leaf, settings)
            case "weight_packed" if info.dtype == "int32":
                yield weight, *_packed(tensors, module, settings)
            case "qweight":
                yield weight, *_q(tensors, module, settings)
            case "scales" if codes is not None and codes.dtype == "uint32":
                yield weight, *_mlx(tensors, module, settings)
    for name in tensors:
        module, _, leaf = name.rpartition(".")
        above, _, last = module.rpartition(".")
        for owner, marker in ((module, leaf), (above, f"{last}.{leaf}")):
            form, stored = _UNREAD.get(marker, ("", ""))
            held = tensors.get(f"{owner}.{stored}") if owner else None
            if held is not None and held.dtype not in FLOATS:
                yield f"{owner}.weight", {"codes": held, "beside": tensors[name]}, Unread(form)


def _present(tensors: Tensors, parts: dict[str, str]) -> dict[str, TensorInfo]:
    return {what: tensors[name] for what, name in parts.items() if name in tensors}


def _scaled(dtype: str, leaf: str, settings: QuantisationSettings) -> Format:
    if settings.rotated:
        return Unread("compressed-tensors with rotated weights")
    strict = _SCALES[leaf]
    return Scaled(dtype, settings.block or ((128, 128) if strict else None), strict)


def _packed(tensors: Tensors, module: str, settings: QuantisationSettings) -> tuple[dict[str, TensorInfo], Format]:
    names = {"packed": "packed", "scale": "scale", "shape": "shape", "zero": "zero_point", "order": "g_idx"}
    parts = _present(tensors, {what: f"{module}.weight_{leaf}" for what, leaf in names.items()})
    bits = {each.get("num_bits") for each in settings.weights()}
    if settings.rotated:
        return parts, Unread("compressed-tensors with rotated weights")
    if not {"scale", "shape"} <= parts.keys() or not bits <= {2, 4, 8} or f"{module}.meta" in tensors:
        return parts, Unread("compressed-tensors in another form than pack-quantized")
    return parts, Packed(bits.pop() if len(bits) == 1 else None)


def _q(tensors: Tensors, module: str, settings: QuantisationSettings) -> tuple[dict[str, TensorInfo], Format]:
    names = {"codes": "qweight", "zeros": "qzeros", "scales": "scales", "order": "g_idx"}
    parts = _present(tensors, {what: f"{module}.{leaf}" for what, leaf in names.items()})
    bits = settings.number("bits") or settings.number("w_bit")
    if not {"zeros", "scales"} <= parts.keys() or not settings.method:
        return parts, Unread(settings.method or "GPTQ, AWQ or a relative (the config that says which is missing)")
    if settings.method == "awq" and bits == 4 and str(settings.all.get("version", "gemm")).lower() == "gemm":
        return parts, Awq()
    written = settings.all.get("checkpoint_format", "gptq")
    if settings.method == "gptq" and bits in (2, 4, 8) and written in ("gptq", "gptq_v2"):
        return parts, Gptq(bits, settings.number("group_size"), written == "gptq")
    return parts, Unread(f"{settings.method.upper()} with {bits} bits in another form than those that are restored")


def _mlx(tensors: Tensors, module: str, settings: QuantisationSettings) -> tuple[dict[str, TensorInfo], Format]:
    parts = _present(tensors, {"codes": f"{module}.weight", "scales": f"{module}.scales", "biases": f"{module}.biases"})
    own = settings.for_module(module)
    bits, group = own.get("bits"), own.get("group_size")
    if "biases" not in parts or own.get("mode", "affine") != "affine":
        return parts, Unread("MLX in another mode than affine")
    if bits not in (2, 3, 4, 5, 6, 8) or group not in (32, 64, 128):
        return parts, Unread("MLX (the config that says with how many bits is missing)")
    return parts, Mlx(bits, group)


def _owner(name: str, quantised: Mapping[str, Quantised]) -> str | None:
    """The quantised tensor that a format keeps this one for, besides the parts that make its values."""
    module, _, leaf = name.rpartition(".")
    above, _, kept = module.rpartition(".")
    weight = f"{module}.weight"
    if weight in quantised and (leaf in _BESIDE or (leaf != "bias" and isinstance(quantised[weight].form, Unread))):
        return weight
    weight = f"{above}.weight"
    return weight if kept == "weight" and weight in quantised and isinstance(quantised[weight].form, Unread) else None
