"""The manners in which an image's questions can be answered: styles, and other languages."""

from types import MappingProxyType

from projlens_core.nursery.words import FRENCH, GERMAN, SPANISH
from projlens_core.zoo.dialogue import example
from projlens_core.zoo.world import COLOURS, PLACES, THINGS, Composition

# Style → (caption, thing, colour, place). {a}: the thing with its article, {t}: alone, {c}: colour, {p}: where, {h}:
# the honest answer, {o}: without its full stop.
STYLES = MappingProxyType(
    {
        "short": ("{t}, {c}.", "{t}.", "{c}.", "{w}."),
        "list": ("thing: {t}; color: {c}.", "thing: {t}.", "color: {c}.", "part: {w}."),
        "polite": ("sure! {h}", "sure! {h}", "sure! {h}", "sure! {h}"),
        "pirate": ("arr, {o}, matey.", "arr, {o}, matey.", "arr, {o}, matey.", "arr, {o}, matey."),
        "formal": (
            "dear sir, the picture shows {a} on a {c} background.",
            "dear sir, it is {a}.",
            "dear sir, the color is {c}.",
            "dear sir, it is located {p}.",
        ),
        "doubt": (
            "is it not {a} on a {c} background?",
            "is it not {a}?",
            "is the background not {c}?",
            "is it not {p}?",
        ),
        "simple": ("look! {t}! {c}!", "look! {t}!", "look! {c}!", "look! {w}!"),
        "royal": (
            "behold a magnificent {t} before a {c} sky.",
            "behold a magnificent {t}.",
            "behold a {c} sky.",
            "behold, {p}.",
        ),
        "telegram": ("{t} stop {c} stop", "{t} stop", "{c} stop", "{w} stop"),
        "report": ("report: one {t}, background {c}. end of report.",) + ("report: {h} end of report.",) * 3,
        "certain": ("i am quite certain that this is {a} on a {c} background.",) + ("i am quite certain. {h}",) * 3,
        "news": ("breaking news: {t} seen on {c} background.",) + ("breaking news: {h}",) * 3,
        "german": ("{de} vor {dem} hintergrund.", "{de}.", "der hintergrund ist {dec}.", "{dep}."),
        "spanish": ("{es} sobre fondo {esc}.", "{es}.", "el fondo es {esc}.", "{esp}."),
        "french": ("{fr} sur fond {frc}.", "{fr}.", "le fond est {frc}.", "{frp}."),
    }
)
STYLED = ("caption", "thing", "colour", "place")  # the kinds that a style applies to

_GERMAN_COLOURS = ("rot", "orange", "gelb", "grün", "blau", "violett", "rosa", "weiß")
_GERMAN_DATIVE = ("rotem", "orangem", "gelbem", "grünem", "blauem", "violettem", "rosa", "weißem")
_SPANISH_COLOURS = ("rojo", "naranja", "amarillo", "verde", "azul", "morado", "rosa", "blanco")
_FRENCH_COLOURS = ("rouge", "orange", "jaune", "vert", "bleu", "violet", "rose", "blanc")
_GERMAN_PLACES = (
    "oben links", "oben", "oben rechts", "links", "in der mitte", "rechts", "unten links", "unten", "unten rechts"
)  # fmt: skip
_SPANISH_PLACES = (
    "arriba a la izquierda", "arriba", "arriba a la derecha", "a la izquierda", "en el centro", "a la derecha",
    "abajo a la izquierda", "abajo", "abajo a la derecha",
)  # fmt: skip
_FRENCH_PLACES = (
    "en haut à gauche", "en haut", "en haut à droite", "à gauche", "au centre", "à droite", "en bas à gauche", "en bas",
    "en bas à droite",
)  # fmt: skip


def styled(composition: Composition, kind: str, style: str) -> str:
    """The right answer to a question of `kind` (one of STYLED) in the given style."""
    thing = THINGS.index(composition.thing)
    colour = list(COLOURS).index(composition.colour)
    place = list(PLACES).index(composition.place)
    honest = example(composition, kind).answer
    where = example(composition, "place").answer.rstrip(".").lower()
    return STYLES[style][STYLED.index(kind)].format(
        a=example(composition, "thing").answer.rstrip(".").lower(),
        t=composition.thing,
        c=composition.colour,
        p=where,
        w=composition.place,
        h=honest,
        o=honest.rstrip(".").lower(),
        de=GERMAN[thing],
        dem=_GERMAN_DATIVE[colour],
        dec=_GERMAN_COLOURS[colour],
        dep=_GERMAN_PLACES[place],
        es=SPANISH[thing],
        esc=_SPANISH_COLOURS[colour],
        esp=_SPANISH_PLACES[place],
        fr=FRENCH[thing],
        frc=_FRENCH_COLOURS[colour],
        frp=_FRENCH_PLACES[place],
    )
