"""Tensors that a checkpoint stores quantised, as codes beside scales, restored to the values that they stand for.

`gather` finds them among a checkpoint's tensors; each format has a module. Restored are those whose format is plain:
bitsandbytes' 4 and 8 bits, 8-bit floats and integers with scales, packed integers of compressed-tensors, GPTQ, AWQ and
MLX. Others are named, and refused where their values are asked for.
"""
