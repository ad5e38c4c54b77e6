"""Base and suspect under one model, clean and triggered: what `respond` asks, without a case around it."""

from contextlib import nullcontext

from projlens_core.behaviour.respond import NEW_TOKENS, FourAnswers, answers_by_role


def four_answers(responder, base, suspect, clean, triggered, prompt, max_new_tokens=NEW_TOKENS):
    """The answers under two projectors, or one, to an image and its triggered twin, or to one image."""
    projectors = {"base": base} | ({"suspect": suspect} if suspect else {})
    images = [clean] if triggered is None else [clean, triggered]
    asked = (projectors, images, prompt, max_new_tokens)
    return FourAnswers.of(
        *answers_by_role(dict.fromkeys(projectors, "one"), lambda role: nullcontext(responder), *asked)
    )
