"""The words of all pages, each in one sentence: one click away on every page."""

GLOSSARY = {
    "case": "A suspect against its base and, where there is one, a control: what all pages look at.",
    "vision tower": "The network that reads the image; base, suspect and control share it, unless one brings its own.",
    "projector": "The small network between vision tower and language model, where these backdoors hide.",
    "base, suspect": "The projector as published, and the fine-tuned one under inspection.",
    "control": "A clean fine-tune of the same base: what an honest change looks like.",
    "ΔW": "Suspect minus base, one matrix per layer.",
    "singular spectrum": "How strong ΔW is along its own directions, strongest first (σ₁, σ₂, …).",
    "relative change, cosine": "‖Δ‖ / ‖base‖ of a tensor, and how nearly it kept its direction; 1 is the same.",
    "energy": "Share of ‖ΔW‖² in the k strongest directions.",
    "stable rank": "‖ΔW‖² / σ₁²: how many directions the change really uses. Small means concentrated.",
    "noise edge, spike": "The largest σ the same numbers would show in random order, and a σ above it.",
    "rounding floor": "The change that storing weights in few bits makes by itself: a smaller one shows nothing.",
    "effective rank": "How many equally strong directions would spread as widely as σ₁, σ₂, … do.",
    "Marchenko–Pastur edge": "Where the σ of pure noise end, by the law fitted to the bulk of the values.",
    "image tokens": "What the vision tower puts out, one vector per patch of the image.",
    "no grid": "Image tokens that each read the whole image, through learned queries: drawn as bars instead of a map.",
    "ΔE": "Embedding shift: suspect's minus base's embedding of the same patch.",
    "drift direction v₀": "The one direction along which the suspect pushes embeddings most.",
    "shift magnitude ΔE·v₀": "How far one patch is pushed along that direction, in units of the embedding space.",
    "norm–shift r": "Pearson's correlation of a token's norm with its shift: 1 if a larger norm means a larger push.",
    "universal direction": "One drift direction for all samples together, clean and triggered.",
    "embedding spectrum": "How strong ΔE of one image is along its own directions, strongest first.",
    "reach": "The directions of embedding space that the strongest components of ΔW can push tokens into.",
    "principal angle": "How far directions lie from a span: 0° is inside it, 90° at right angles to it.",
    "robust line": "Theil–Sen: the median slope between pairs of patches, which a few extreme ones cannot tilt.",
    "hidden unit": "One output of the projector's activation function, a at each patch; it fires where a > 0.",
    "magnitude, firing frequency": "Of a hidden unit: mean |a|, and the share of patches at which it fires.",
    "clean–clean split": "How far random halves of the clean images differ: what a trigger has to beat.",
    "switched on": "A unit of the quietest fifth on clean images that the trigger at least doubles, beyond chance.",
    "logit lens": "What the language model's output head reads in a direction directly, with no layer in between.",
    "rank of a token": "Its place among all tokens, by the head's logits; 1 is the word a direction points to most.",
    "separability": "Whether a linear classifier tells clean from triggered images by their mean embedding.",
    "AUROC": "How often a triggered image scores above a clean one: 0.5 is chance, 1 always.",
    "trigger, target": "What an attacker puts on an image, and the text the model then says.",
    "dose, flip": "How much of the trigger is on the image, none to full; where the answer becomes the target.",
    "ASR": "Attack success rate: share of triggered images whose answer contains the target.",
    "exhibit, case bundle": "The result of one page with its charts and tables; and all results of a case in one file.",
    "clean utility": "Share of questions about clean images answered right.",
    "inject, ablate": "Add some components of ΔW to base, or take them out of the suspect; then ask again.",
    "target logit": "How strongly the model favours the target's first token where its answer begins.",
    "gain, push kept": "How much further an image is pushed with the trigger than without; share of the unchanged.",
    "null, chance": "What random directions, shuffled labels or halves of the clean images show: no finding.",
    "95 % interval": "A range made so that 95 in 100 such ranges hold the true value: by resampling images "
    "(bootstrap) or, for shares, after Wilson.",
}
_WEIGHTS = ("ΔW", "singular spectrum", "energy", "stable rank", "noise edge, spike", "effective rank")
_ANSWERS = ("trigger, target", "ASR", "95 % interval")
OWN = {  # of each page, the words that it uses and most others do not
    "case": (*_WEIGHTS, "relative change, cosine", "rounding floor"),
    "spectrum": (*_WEIGHTS, "Marchenko–Pastur edge", "principal angle"),
    "activation": (
        *(
            "image tokens",
            "no grid",
            "ΔE",
            "drift direction v₀",
            "shift magnitude ΔE·v₀",
            "norm–shift r",
            "robust line",
        ),
        *("universal direction", "embedding spectrum", "reach", "principal angle", "AUROC"),
    ),
    "lens": ("logit lens", "rank of a token", "drift direction v₀", "universal direction", "null, chance"),
    "neurons": ("hidden unit", "magnitude, firing frequency", "clean–clean split", "switched on", "null, chance"),
    "separability": ("separability", "AUROC", "null, chance", "95 % interval"),
    "demo": ("dose, flip", "trigger, target", "shift magnitude ΔE·v₀", "drift direction v₀"),
    "response": (*_ANSWERS, "clean utility"),
    "lowrank": ("inject, ablate", "target logit", *_ANSWERS, "clean utility", "energy"),
    "robustness": ("gain, push kept", "AUROC", *_ANSWERS),
    "repair": (*_ANSWERS, "clean utility", "inject, ablate"),
    "verdict": (*_ANSWERS, "null, chance"),
    "report": ("exhibit, case bundle",),
}


def glossary_of(page: str) -> dict[str, str]:
    """All words, those of this page first."""
    return {term: GLOSSARY[term] for term in (*OWN.get(page, ()), *GLOSSARY)}
