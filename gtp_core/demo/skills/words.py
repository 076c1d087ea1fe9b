"""The small vocabulary that every skill shares, so that a tiny model can learn it."""


def words(text: str) -> tuple[str, ...]:
    """The words of a text, so that a vocabulary can be written, and read, as one line."""
    return tuple(text.split())


NAMES = words(
    "Anna Ben Carla David Emma Felix Grace Hugo Iris Jack "
    "Lena Max Nora Omar Paul Rosa Sam Tara Zoë José"
)
ITEMS = words("apple pear pen book cup egg stamp coin card shell candle plate")
GOODS = words("lamp chair desk clock mug rug stool vase bowl fan kettle mirror")
CITIES = words("Rome Paris Oslo Lima Cairo Berlin Madrid Delhi Tokyo Boston")
DAYS = words("Monday Tuesday Wednesday Thursday Friday Saturday Sunday")
MONTHS = words(
    "January February March April May June July August September October November December"
)
COLORS = words("red blue green black white yellow pink grey")
ADJECTIVES = words(
    "big small old new warm cold quick slow happy quiet soft clean bright heavy sweet"
)
NOUNS = words(
    "sun sea tree bird road hill boat door king farm milk rain star fish wolf ship "
    "snow wind leaf lake bell rose gate horse river stone bread cloud table house"
)
VERBS = words(
    "jump walk sing read play swim cook draw talk work rest sleep dance climb laugh write"
)
WORDS = NOUNS + VERBS + ADJECTIVES + COLORS + ITEMS + GOODS


def plural(noun: str) -> str:
    """More than one of it; the vocabulary holds regular nouns only."""
    return noun + "s"


def counted(count: int, noun: str) -> str:
    """A count with its noun in the right number.

    >>> counted(1, "pen"), counted(3, "pen")
    ('1 pen', '3 pens')
    """
    return f"{count} {noun if count == 1 else plural(noun)}"
