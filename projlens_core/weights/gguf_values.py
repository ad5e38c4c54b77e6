"""The values that GGUF's quantised blocks stand for."""

import numpy as np
import torch
from gguf import GGML_QUANT_SIZES, GGMLQuantizationType, quants

from projlens_core.errors import Unsupported


def dequantised(data: bytearray, kind: str) -> torch.Tensor:
    """The float32 values (n,) of whole blocks of the GGUF type `kind`; Unsupported if the library cannot restore it."""
    if not data:
        return torch.empty(0)
    quant = GGMLQuantizationType[kind]
    blocks = np.frombuffer(data, dtype=np.uint8).reshape(-1, GGML_QUANT_SIZES[quant][1])
    try:
        with np.errstate(all="ignore"):  # a hostile scale overflows to infinity, which is found as such
            values = quants.dequantize(blocks, quant)
    except NotImplementedError as error:
        raise Unsupported(f"Values stored as {kind} cannot be restored; give the model before quantisation.") from error
    return torch.from_numpy(np.ascontiguousarray(values, dtype=np.float32)).reshape(-1)
