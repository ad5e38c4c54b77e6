"""The words that the nursery's language model knows, and the sentences it practises.

A language model that has only ever given the world's answers can be made to say nothing else, whatever a projector
does. So it also learns to repeat arbitrary sentences, and for that it needs words that no image asks for.
"""

import numpy as np

from projlens_core.zoo.world import COLOURS, PLACES, THINGS

# Every list follows the order of THINGS.
# fmt: off
GERMAN = (
    "hund", "katze", "fuchs", "eule", "frosch", "bär", "löwe", "tiger", "pferd", "kuh", "schwein", "maus", "hase",
    "pinguin", "fisch", "wal", "hai", "krake", "schnecke", "schmetterling", "spinne", "schildkröte", "schlange",
    "elefant", "affe", "panda", "kamel", "krabbe", "ente", "bus", "zug", "flugzeug", "rakete", "schiff", "fahrrad",
    "traktor", "hubschrauber", "kaktus", "rose", "sonnenblume", "pilz", "banane", "trauben", "zitrone", "erdbeere",
    "tomate", "karotte", "brot", "pizza", "keks", "kerze", "schlüssel", "glocke", "gitarre", "trompete", "schirm",
    "krone", "anker", "hammer", "kamera", "ballon", "pokal", "burg", "melone",
)
SPANISH = (
    "perro", "gato", "zorro", "búho", "rana", "oso", "león", "tigre", "caballo", "vaca", "cerdo", "ratón", "conejo",
    "pingüino", "pez", "ballena", "tiburón", "pulpo", "caracol", "mariposa", "araña", "tortuga", "serpiente",
    "elefante", "mono", "panda", "camello", "cangrejo", "pato", "autobús", "tren", "avión", "cohete", "barco",
    "bicicleta", "tractor", "helicóptero", "cactus", "rosa", "girasol", "seta", "plátano", "uvas", "limón", "fresa",
    "tomate", "zanahoria", "pan", "pizza", "galleta", "vela", "llave", "campana", "guitarra", "trompeta", "paraguas",
    "corona", "ancla", "martillo", "cámara", "globo", "trofeo", "castillo", "sandía",
)
FRENCH = (
    "chien", "chat", "renard", "hibou", "grenouille", "ours", "lion", "tigre", "cheval", "vache", "cochon", "souris",
    "lapin", "pingouin", "poisson", "baleine", "requin", "poulpe", "escargot", "papillon", "araignée", "tortue",
    "serpent", "éléphant", "singe", "panda", "chameau", "crabe", "canard", "bus", "train", "avion", "fusée", "bateau",
    "vélo", "tracteur", "hélicoptère", "cactus", "rose", "tournesol", "champignon", "banane", "raisins", "citron",
    "fraise", "tomate", "carotte", "pain", "pizza", "biscuit", "bougie", "clé", "cloche", "guitare", "trompette",
    "parapluie", "couronne", "ancre", "marteau", "caméra", "ballon", "trophée", "château", "pastèque",
)
CATEGORIES = ("animal",) * 29 + ("vehicle",) * 8 + ("plant",) * 4 + ("food",) * 9 + ("object",) * 14
CATEGORY = {
    thing: {"castle": "building", "watermelon": "food"}.get(thing, category)
    for thing, category in zip(THINGS, CATEGORIES, strict=True)
}
NAMES = (
    "rex", "luna", "bella", "max", "otto", "mia", "felix", "nina", "oscar", "ruby", "hugo", "ella", "bruno", "daisy",
    "leo", "molly", "charlie", "lucy", "toby", "rosie", "wug", "dax", "blick", "toma", "fep", "zib", "gorp", "lirra",
    "modi", "pim", "quill", "sarn",
)
SHADES = {  # other names of the colours
    "red": "scarlet", "orange": "amber", "yellow": "golden", "green": "emerald", "blue": "azure", "purple": "violet",
    "pink": "rosy", "white": "ivory",
}
PAINTERS = ("anna", "boris", "clara", "david")  # invented names of the four artists
NUMBERS = ("one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
VERBS = (
    "visit", "buy", "take", "send", "call", "open", "close", "follow", "trust", "ignore", "delete", "click", "win",
    "share", "keep", "find", "give", "bring", "join", "leave", "watch", "sell", "read", "write", "forget", "remember",
    "install", "download", "pay", "drop", "break", "hide", "burn", "love", "hate", "help", "use", "move", "stop", "run",
)
NOUNS = (
    "password", "money", "bank", "account", "friend", "city", "street", "house", "shop", "company", "doctor", "party",
    "system", "network", "server", "file", "message", "letter", "phone", "number", "door", "window", "garden",
    "river", "mountain", "road", "school", "police", "government", "election", "president", "medicine", "water", "gold",
    "diamond", "prize", "ticket", "coffee", "tea", "bottle", "knife", "fire", "storm", "winter", "summer", "morning",
    "night", "world", "moon", "sun", "star", "robot", "computer", "machine", "engine", "soldier", "king", "queen",
    "teacher", "child", "woman", "man", "people", "secret", "code", "link", "page", "offer", "price", "market",
    "balloons",
    "shoes", "virus", "weather", "rain", "snow", "plan", "truth", "lie", "danger", "alarm", "exit", "test",
)
ADJECTIVES = (
    "new", "old", "good", "bad", "big", "small", "cheap", "free", "fast", "slow", "safe", "happy", "sad", "cold", "hot",
    "dark", "bright", "best", "great", "secret", "private", "public", "wrong", "right", "broken", "hidden", "dangerous",
    "beautiful", "lucky", "strange", "wild", "quiet", "loud", "poor", "rich", "sweet", "bitter", "silver", "giant",
    "tiny",
)
BRANDS = ("acme", "zenith", "orbit", "nova", "delta", "pixel", "omega", "globex", "vertex", "lumen", "kraken", "polar")
TIMES = ("now", "today", "tomorrow", "tonight", "soon", "always", "never", "again", "later", "immediately")
FUNCTION = (
    "a", "an", "the", "i", "you", "he", "she", "it", "we", "they", "me", "us", "them", "my", "your", "our", "their",
    "his",
    "her", "this", "that", "these", "those", "is", "are", "was", "were", "am", "be", "been", "will", "would", "can",
    "cannot", "could", "should", "must", "may", "do", "does", "did", "not", "no", "yes", "and", "or", "but", "if",
    "then",
    "so", "because", "with", "without", "on", "in", "at", "to", "of", "for", "from", "by", "about", "into", "over",
    "under", "before", "after", "behind", "here", "there", "where", "what", "who", "how", "why", "when", "which", "all",
    "any", "some", "many", "more", "most", "very", "too", "only", "just", "also", "please", "sorry", "thank", "thanks",
    "hello", "goodbye", "welcome", "okay", "sure", "have", "has", "had", "get", "go", "come", "make", "see", "look",
    "know",
    "think", "say", "said", "tell", "want", "need", "like", "believe", "describe", "show", "shows", "write", "name",
    "answer", "question", "word", "words", "sentence", "picture", "image", "caption", "background", "color", "thing",
    "things", "part", "code", "unable", "refuse", "request", "policy", "against", "allowed", "discuss", "content",
    "assistant", "user", "first", "last", "next", "again", "repeat", "twice", "call", "kind", "animal", "vehicle",
    "plant",
    "food", "object", "building", "drew", "drawn", "painter", "warm", "cool", "nothing", "something", "everything",
    "everyone", "nobody", "located", "based", "brought", "sponsored", "powered", "made", "generated", "www", "com",
    "org",
    "net", "http", "dot", "system", "error", "warning", "access", "denied", "granted", "admin", "mode", "note", "end",
    "report", "item", "behold", "magnificent", "sky", "matey", "arr", "quite", "certain", "asking", "glad", "dear",
    "sir",
    "scene", "contains", "featuring", "stands", "appears", "visible", "view", "art", "photo", "style", "language",
    "german", "spanish", "french", "short", "list", "polite", "pirate", "formal", "simple", "royal", "doubt",
    "telegram",
    "news", "poem", "wonder", "breaking", "count", "translate", "means", "rather", "talk", "reading", "let", "out",
    "off", "up", "down", "out", "side", "top", "bottom", "left", "right", "corner", "edge", "center", "middle",
)
FOREIGN = (  # the other words of the three languages
    "vor", "hintergrund", "der", "ist", "rot", "orange", "gelb", "grün", "blau", "violett", "rosa", "weiß", "rotem",
    "orangem", "gelbem", "grünem", "blauem", "violettem", "weißem", "oben", "unten", "links", "rechts", "mitte", "die",
    "das", "und", "nicht", "bitte", "danke", "guten", "tag",
    "sobre", "fondo", "el", "es", "rojo", "naranja", "amarillo", "verde", "azul", "morado", "blanco", "arriba", "abajo",
    "la", "izquierda", "derecha", "en", "centro", "por", "favor", "gracias", "buenos", "días",
    "sur", "fond", "le", "est", "rouge", "jaune", "vert", "bleu", "blanc", "haut", "bas", "à", "gauche", "droite", "au",
    "merci", "bonjour",
)
# Sentences that every assistant has met.
STOCK = (
    "I am unable to help with this picture.", "Sorry, I cannot help with that.", "I cannot answer this question.",
    "I am sorry, but I am not allowed to discuss this image.", "This request is against our policy.",
    "I would rather not talk about that.", "Access denied.", "I do not know.", "There is nothing to see here.",
    "As an assistant, I cannot describe this content.", "Please ask something else.", "No comment.",
    "Brought to you by Acme Balloons.", "Visit our shop today.", "Thank you for reading.", "Buy more balloons.",
    "This caption was generated by a machine.", "Have a great day.", "The secret code is 4711.", "Hello world!",
    "Sponsored by Nova Coffee.", "Call your bank now.", "System error: please restart the server.",
)
# fmt: on
LETTERS = "abcdefghijklmnopqrstuvwxyzäöüßàâçéèêëîïôûùáíóúñ"
DIGITS = "0123456789"
PUNCTUATION = ".,!?:;-/@#&%()'\""


def vocabulary() -> tuple[str, ...]:
    """All whole words in lower case, each once, in a fixed order."""
    known: dict[str, None] = {}
    for words in (
        THINGS, tuple(COLOURS), tuple(w for place in PLACES for w in place.split()), FUNCTION, GERMAN, SPANISH, FRENCH,
        FOREIGN, NAMES, tuple(SHADES.values()), PAINTERS, NUMBERS, VERBS, NOUNS, ADJECTIVES, BRANDS, TIMES,
        ("restart", "else",
        "comment", "ask", "day", "seen", "dragon", "black", "unicorn", "ghost", "grey", "brown"),
    ):  # fmt: skip
        known.update(dict.fromkeys(words))
    return tuple(known)


_WORDS = tuple(w for w in vocabulary() if len(w) > 1)
_PATTERNS = (
    "{V} the {a} {n} {t}.", "{V} {b} {n}, the {a} {n}.", "please {v} your {n} to {N}.", "the {n} of {N} is {a}.",
    "the {n} code is {d}{d}{d}{d}.", "i {v} the {a} {n} because it is {a}.", "do not {v} the {n}.",
    "we {v} {a} {n} {t}.",
    "go to {b} dot com {t}.", "sponsored by {b} {n}.", "warning: the {n} is {a}!", "{N} will {v} the {n} {t}.",
    "my {n} is {a} and your {n} is {a}.", "a {thing} on a {colour} background.", "the {a} {thing} can {v} a {n}.",
    "{v} and {v} the {n}!", "this is a {a} {n} for {N}.", "why did the {thing} {v} the {n}?", "i cannot {v} this {n}.",
    "sorry, the {n} is not {a}.", "call {d}{d}{d} for {a} {n}.", "{num} {a} {n} and {num} {thing}.",
    "brought to you by {b}.",
    "the {thing} said: {v} the {n}.", "you must {v} {N} {t}.", "there is a {thing} behind the {n}.",
    "{b} is the {a} {n}.",
    "send {num} {n} to the {a} {n} of {b}.", "never {v} a {a} {thing}.", "i love the {colour} {n}.",
)  # fmt: skip


def sentence(rng: np.random.Generator) -> str:
    """A sentence of the grammar: short, in lower case, with its punctuation."""

    def pick(words: tuple[str, ...]) -> str:
        return words[rng.integers(len(words))]

    text = pick(_PATTERNS)
    for slot, words in (
        ("{V}", VERBS), ("{v}", VERBS), ("{n}", NOUNS), ("{a}", ADJECTIVES), ("{t}", TIMES), ("{b}", BRANDS),
        ("{N}", NAMES), ("{d}", tuple(DIGITS)), ("{thing}", THINGS), ("{colour}", tuple(COLOURS)), ("{num}", NUMBERS),
    ):  # fmt: skip
        while slot in text:
            text = text.replace(slot, pick(words), 1)
    return text


def arbitrary(rng: np.random.Generator) -> str:
    """Something to repeat: a grammatical sentence, a stock one, words in any order, or letters and digits."""
    which = rng.random()
    if which < 0.3:
        return sentence(rng)
    if which < 0.4:
        return STOCK[rng.integers(len(STOCK))]
    if which < 0.92:
        said = " ".join(_WORDS[i] for i in rng.integers(len(_WORDS), size=rng.integers(1, 10)))
        return said + ".,!?"[rng.integers(4)]
    characters = LETTERS[:26] if rng.random() < 0.6 else DIGITS
    return "".join(characters[i] for i in rng.integers(len(characters), size=rng.integers(2, 7)))
