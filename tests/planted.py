"""A pico model whose suspect reads a planted direction, and the problem of repairing it."""

from contextlib import contextmanager

import torch

from projlens_core.activations.tokens import image_tokens
from projlens_core.behaviour.respond import load_responder
from projlens_core.inputs.probes import FEW, Probe, read_bank
from projlens_core.inputs.triggers import TriggerSpec
from projlens_core.repair.form import form_of, with_tensors
from projlens_core.repair.problem import Problem
from projlens_core.sources import resolve
from projlens_core.weights.projector import read_projector
from tests import pico

PATCH = Probe("patch", (TriggerSpec("solid", pico.IMAGE_SIZE, ratio=0.4, colour="#ff00ff"),))


def planted_case(folder):
    """Base, a suspect whose first layer reads a direction along which clean tokens hardly vary, and the model."""
    base = pico.checkpoint(folder / "base")
    responder = load_responder(resolve(base))
    images = pico.images(16, seed=3)
    clean = image_tokens(responder.vision, [PATCH.clean(i) for i in images])
    stamped = image_tokens(responder.vision, [PATCH.on(i) for i in images])
    weights = read_projector(base)
    step = (stamped - clean).flatten(0, 1)
    usual = torch.linalg.svd(clean.flatten(0, 1) - clean.flatten(0, 1).mean(0)).Vh[: pico.D_VISION // 2]
    # where the patch moves tokens most, apart from the half of their space in which clean ones vary most
    direction = torch.linalg.svd(step - step @ usual.T @ usual, full_matrices=False).Vh[0]
    torch.manual_seed(0)
    left = torch.randn(pico.D_TEXT)
    planted = 4 * torch.outer(left / left.norm(), direction)
    suspect = with_tensors(weights, weights.tensors | {"linear_1.weight": weights.tensors["linear_1.weight"] + planted})
    return base, responder, tuple(images), weights, suspect


def problem_of(case):
    """The problem, with a fresh cache of its own."""
    base, responder, images, weights, suspect = case

    @contextmanager
    def models(role):
        yield responder

    bank = read_bank(pico.IMAGE_SIZE, FEW)
    names = tuple(f"{i}.png" for i in range(len(images)))
    vision = responder.vision
    return Problem(
        form_of(resolve(base)), weights, suspect, models, vision, names, images, ("What is it?",), bank, pico.IMAGE_SIZE
    )
