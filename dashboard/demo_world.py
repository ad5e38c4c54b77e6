"""What the demo models know, in words: read from the description of the world that they were trained on."""

from functools import cache

from projlens_core.zoo.world import COLOURS, PLACES, THINGS

NAMED = 4  # things that are named as examples


@cache
def world_in_words() -> str:
    """What these models have seen, and what that means for any other image."""
    return (
        f"The demo models have seen one drawn thing at a time ({len(THINGS)} of them: {', '.join(THINGS[:NAMED])}, …) "
        f"on one of {len(COLOURS)} coloured backgrounds, in one of {len(PLACES)} places, and nothing else. About "
        "another image, such as a photograph, base itself says something wrong: read the suspect's answer beside "
        "base's, not beside what you see."
    )
