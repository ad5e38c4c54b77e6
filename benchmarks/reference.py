"""The reference: each job the straightforward way of a research script. Plain on purpose, and never to be made faster.

Both whole models are loaded with transformers' Auto classes. The projector's output is caught by a hook while the
whole language model runs, one image at a time, for each model again. Singular values come from a full SVD with
vectors, and every answer from a generate call of its own. Of ProjLens it takes only what defines the inputs:
triggers, probes and the frame they are stamped on.

Each public function is one side of a job, as benchmarks.worker runs it.
"""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from safetensors.torch import load_file
from transformers import AutoImageProcessor, AutoModelForImageTextToText, AutoProcessor, PreTrainedModel, ProcessorMixin

from benchmarks.setting import (
    NEW_TOKENS,
    QUESTION,
    RANK,
    SIDE,
    asked_probes,
    grid_set,
    image_set,
    many,
    samples,
    target,
    trigger,
    uploads,
)
from projlens_core.inputs.probes import read_bank
from projlens_core.inputs.triggers import TriggerSpec, frame, stamp

TIMED = 8  # images or answers on which a long job is timed, to be scaled to all
LAYERS_7B, CELLS = 32, 25
PROBED, QUESTIONS = 3, 5  # images on which a probe is tried, and what is asked about each
TEXT_TOKENS = 44  # of a prompt, beside the image's

Work = Callable[[int], dict[str, np.ndarray]]


@dataclass(frozen=True)
class WholeModel:
    """A model as from_pretrained gives it, vision tower, projector and language model together, and its processor."""

    model: PreTrainedModel
    processor: ProcessorMixin

    @classmethod
    def load(cls, folder: Path) -> "WholeModel":
        """Load it in float32, in which a CPU computes."""
        model = AutoModelForImageTextToText.from_pretrained(folder, dtype=torch.float32)
        return cls(model.eval(), AutoProcessor.from_pretrained(folder))

    def embedding(self, image: Image.Image) -> torch.Tensor:
        """The projector's output for one image, (T, d), caught while the whole model runs."""
        with torch.no_grad(), _hooked(self.model.model.multi_modal_projector) as outputs:
            self.model(**self._inputs(image))
        return outputs[0][0]

    def answer(self, image: Image.Image) -> str:
        """The greedy answer to QUESTION."""
        inputs = self._inputs(image)
        with torch.no_grad():
            tokens = self.model.generate(**inputs, max_new_tokens=NEW_TOKENS, do_sample=False)
        return self.processor.decode(tokens[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True).strip()

    def log_probability(self, image: Image.Image, answer: str) -> float:
        """log p in nats of an answer to QUESTION, its end included."""
        inputs = self._inputs(image)
        tokenizer = self.processor.tokenizer
        ids = [*tokenizer(answer, add_special_tokens=False)["input_ids"], self.model.generation_config.eos_token_id]
        said = torch.tensor([ids])
        together = {**inputs, "input_ids": torch.cat([inputs["input_ids"], said], dim=1)}
        together["attention_mask"] = torch.ones_like(together["input_ids"])
        with torch.no_grad():
            logits = self.model(**together).logits[0, -len(ids) - 1 : -1]
        return float(logits.log_softmax(dim=-1)[range(len(ids)), ids].sum())

    def _inputs(self, image: Image.Image) -> dict:
        content = [{"type": "image"}, {"type": "text", "text": QUESTION}]
        text = self.processor.apply_chat_template([{"role": "user", "content": content}], add_generation_prompt=True)
        return self.processor(text=text, images=image, return_tensors="pt")


def weights(folder: Path) -> Work:
    """ΔW of both matrices with singular values, noise edge and spikes."""
    folders = [folder / "seven-b-base", folder / "seven-b-suspect"]

    def work(call: int) -> dict[str, np.ndarray]:
        models = [AutoModelForImageTextToText.from_pretrained(path, dtype=torch.float32) for path in folders]
        base, suspect = (model.model.multi_modal_projector.state_dict() for model in models)
        found = {"bytes_read": np.array(sum(f.stat().st_size for p in folders for f in p.glob("*.safetensors")))}
        for name in ("linear_1", "linear_2"):
            delta = suspect[f"{name}.weight"] - base[f"{name}.weight"]
            _, values, _ = torch.linalg.svd(delta, full_matrices=False)
            edge, spikes = _noise_edge(delta, values)
            found |= {
                f"{name}.values": values.numpy(),
                f"{name}.edge": np.array(edge),
                f"{name}.spikes": np.array(spikes),
            }
        return found

    return work


def heatmaps(folder: Path) -> Work:
    """Shift of each patch of one uploaded image, clean and triggered, along the drift direction of the pair."""
    models, spec, files = _zoo_pair(folder), trigger(), uploads(folder)

    def work(call: int) -> dict[str, np.ndarray]:
        clean, triggered = (delta[None] for delta in _pair_shift(models, files[call], spec))
        return _projected(clean, triggered)

    return work


def answers(folder: Path) -> Work:
    """What base and suspect say about one uploaded image, clean and triggered."""
    models, spec, files = _zoo_pair(folder), trigger(), uploads(folder)

    def work(call: int) -> dict[str, np.ndarray]:
        image = Image.open(files[call]).convert("RGB")
        images = frame(image, spec), stamp(image, spec)
        return {"answers": np.array([model.answer(image) for model in models for image in images])}

    return work


def triplets(folder: Path) -> Work:
    """All singular triplets of ΔW, of which the leading ones are wanted."""
    delta = torch.from_numpy(np.load(folder / "delta.npy"))

    def work(call: int) -> dict[str, np.ndarray]:
        u, values, vh = torch.linalg.svd(delta, full_matrices=False)
        return {"u": u[:, :32].numpy(), "values": values[:32].numpy(), "v": vh[:32].T.numpy()}

    return work


def ranking(folder: Path) -> Work:
    """ΔE of the first TIMED of many images, clean, (n, T, d)."""
    base, suspect = _zoo_pair(folder)
    files = many(folder)

    def work(call: int) -> dict[str, np.ndarray]:
        images = [Image.open(path).convert("RGB") for path in files[:TIMED]]
        delta_e = [suspect.embedding(image) - base.embedding(image) for image in images]
        return {"delta_e": torch.stack(delta_e).numpy(), "scaled_by": np.array(len(files) / len(images))}

    return work


def seven_b_shift(folder: Path) -> Work:
    """ΔE of one image, (1, T, d), at 7B shapes: one forward pass of the suspect is timed, and stands for both models.

    All 32 layers of the language model share the weights of one, to fit in memory; the computation is that of 32.
    """
    model = AutoModelForImageTextToText.from_pretrained(folder / "seven-b", dtype=torch.float32).eval()
    text, projector = model.model.language_model, model.model.multi_modal_projector
    images = image_set(folder)
    pixels = AutoImageProcessor.from_pretrained(folder / "seven-b")(
        images=Image.open(images[0]).convert("RGB"), return_tensors="pt"
    )["pixel_values"]
    vision = model.config.vision_config
    patches = (vision.image_size // vision.patch_size) ** 2
    ids = torch.tensor([[model.config.image_token_id] * patches + [2] * TEXT_TOKENS])

    def embedding(layers: int) -> torch.Tensor:
        text.config.num_hidden_layers = layers
        with torch.no_grad(), _hooked(projector) as outputs:
            model(input_ids=ids, pixel_values=pixels, use_cache=False)
        return outputs[0].reshape(1, patches, -1)

    text.layers = torch.nn.ModuleList([text.layers[0]] * LAYERS_7B)
    base = embedding(layers=0)  # not timed, so what follows the projector is left out
    suspect = load_file(folder / "seven-b-suspect.safetensors")
    projector.load_state_dict({name.partition(".")[2]: values for name, values in suspect.items()})

    def work(call: int) -> dict[str, np.ndarray]:
        delta_e = embedding(LAYERS_7B) - base
        return {"delta_e": delta_e.numpy(), "scaled_by": np.array(2 * len(images))}

    return work


def grid(folder: Path) -> Work:
    """Whether TIMED answers of one cell of a grid hold the target: RANK components of each ΔW put into base."""
    base, suspect = _zoo_pair(folder)
    spec, wanted, files = trigger(), target().casefold(), grid_set(folder)
    with torch.no_grad():
        for layer in ("linear_1", "linear_2"):
            mine, theirs = (getattr(each.model.model.multi_modal_projector, layer).weight for each in (base, suspect))
            u, values, vh = torch.linalg.svd(theirs - mine, full_matrices=False)
            mine += (u[:, :RANK] * values[:RANK]) @ vh[:RANK]

    def work(call: int) -> dict[str, np.ndarray]:
        said = [base.answer(stamp(Image.open(path).convert("RGB"), spec)) for path in files[:TIMED]]
        hits = np.array([wanted in answer.casefold() for answer in said])
        return {"hits": hits, "scaled_by": np.array(CELLS * len(files) / len(said))}

    return work


def stamped(folder: Path) -> Work:
    """‖ΔE‖ of every token of one image under TIMED probes, (TIMED, T)."""
    base, suspect = _zoo_pair(folder)
    image = _sample()

    def work(call: int) -> dict[str, np.ndarray]:
        shown = [probe.on(image) for probe in asked_probes()[:TIMED]]
        lengths = [(suspect.embedding(each) - base.embedding(each)).norm(dim=-1) for each in shown]
        scale = PROBED * (len(read_bank(SIDE)) + 1) / TIMED
        return {"lengths": torch.stack(lengths).numpy(), "scaled_by": np.array(scale)}

    return work


def dropped(folder: Path) -> Work:
    """By how many nats both models' own answers about one image drop under TIMED probes, (TIMED, models)."""
    models, image = _zoo_pair(folder), _sample()
    own = [(model, model.answer(image)) for model in models]
    clean = [model.log_probability(image, answer) for model, answer in own]

    def work(call: int) -> dict[str, np.ndarray]:
        probes = asked_probes()
        shown = [probe.on(image) for probe in probes[:TIMED]]
        there = [[model.log_probability(each, answer) for model, answer in own] for each in shown]
        return {
            "drops": np.array(clean) - np.array(there),
            "scaled_by": np.array(PROBED * QUESTIONS * len(probes) / TIMED),
        }

    return work


def _sample() -> Image.Image:
    """The first image that ships, framed as the tower reads it."""
    return frame(Image.open(sorted(samples().glob("*.jpg"))[0]).convert("RGB"), SIDE)


def _zoo_pair(folder: Path) -> tuple[WholeModel, WholeModel]:
    return WholeModel.load(folder / "zoo-base"), WholeModel.load(folder / "zoo-suspect")


def _pair_shift(
    models: tuple[WholeModel, WholeModel], path: Path, spec: TriggerSpec
) -> tuple[torch.Tensor, torch.Tensor]:
    """ΔE of the clean and of the triggered image, (T, d) each."""
    base, suspect = models
    image = Image.open(path).convert("RGB")
    clean, triggered = (suspect.embedding(i) - base.embedding(i) for i in (frame(image, spec), stamp(image, spec)))
    return clean, triggered


def _projected(clean: torch.Tensor, triggered: torch.Tensor) -> dict[str, np.ndarray]:
    """ΔE·v₀, (n, T), of both conditions' ΔE, (n, T, d), v₀ the first right singular vector of all of it."""
    rows = torch.cat([clean, triggered]).flatten(0, 1)  # (2·n·T, d)
    _, _, vh = torch.linalg.svd(rows, full_matrices=False)
    v0 = vh[0] * torch.sign((rows @ vh[0]).mean())
    return {"clean": (clean @ v0).numpy(), "triggered": (triggered @ v0).numpy()}


def _noise_edge(delta: torch.Tensor, values: torch.Tensor) -> tuple[float, int]:
    """The edge and the number of values above it, as projlens_core.weights.noise.noise_edge defines them.

    σ₁ of the entries in random order plus three standard deviations of the Tracy–Widom law, then scaled to the energy
    left without the values above it, until no further value is.
    """
    shuffled = delta.flatten()[torch.randperm(delta.numel())].reshape(delta.shape)
    _, noise, _ = torch.linalg.svd(shuffled, full_matrices=False)
    rows, cols = (math.sqrt(side) for side in delta.shape)
    deviation = 1.27 * 0.5 * (1 / rows + 1 / cols) ** (1 / 3) / (rows + cols)
    full = noise[0].item() * (1 + 3 * math.sqrt(2) * deviation)
    spikes, edge = 0, full
    while values[spikes] > edge:
        spikes += 1
        edge = full * math.sqrt(values[spikes:].square().sum() / values.square().sum())
    return edge, spikes


@contextmanager
def _hooked(module: torch.nn.Module) -> Iterator[list[torch.Tensor]]:
    """Every output of the module inside the block."""
    outputs: list[torch.Tensor] = []
    handle = module.register_forward_hook(lambda module, inputs, output: outputs.append(output))
    try:
        yield outputs
    finally:
        handle.remove()
