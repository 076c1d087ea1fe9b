"""Skills about the calendar, and about which of two things comes first."""

from datetime import date, timedelta
from random import Random

from gtp_core.demo.skills.example import Draft, Skill, choice_of, numeric, say
from gtp_core.demo.skills.words import DAYS, GOODS, MONTHS

_YEAR = 2023  # not a leap year, so February has 28 days

_WEEKDAY = (
    "Today is {day}. Which weekday is it {when}?",
    "If today is {day}, what day of the week is it {when}?",
    "It is {day} today. Name the weekday {when}.",
    "The calendar shows {day}. Which weekday is it {when}?",
)
_NEXT_DATE = (
    "Which date comes right after {given}? The year has 365 days.",
    "Today is {given}, not in a leap year. What is tomorrow's date?",
    "Write the date of the day after {given} (no leap year).",
    "The calendar page says {given}. Which date is on the next page? It is not a leap year.",
)
_BETWEEN = (
    "How many days are there from {month} {a} to {month} {b}?",
    "A trip starts on {month} {a} and ends on {month} {b}. How many days later is that?",
    "Count the days from {month} {a} until {month} {b}, without the first day.",
    "It is {month} {a}. In how many days is it {month} {b}?",
)


def _weekday(rng: Random) -> Draft:
    day, shift = rng.randrange(7), rng.randint(1, 14)
    back = rng.random() < 0.3
    days = "1 day" if shift == 1 else f"{shift} days"
    right = DAYS[(day - shift if back else day + shift) % 7]
    when = f"{days} ago" if back else f"in {days}"
    phrasings = say(_WEEKDAY, day=DAYS[day], when=when)
    if back:
        phrasings = tuple(p.replace(f"is it {when}", f"was it {when}") for p in phrasings)
    return choice_of(phrasings, right, DAYS)


def _next_date(rng: Random) -> Draft:
    given = date(_YEAR, 1, 1) + timedelta(rng.randrange(365))
    if rng.random() < 0.3:  # month ends are the hard part: show more of them
        given = date(_YEAR, given.month, 1) - timedelta(1)
    shown = [_spoken(given + timedelta(shift)) for shift in (0, 1, 2, 3, -1)]
    return choice_of(say(_NEXT_DATE, given=shown[0]), shown[1], tuple(shown))


def _days_between(rng: Random) -> Draft:
    a = rng.randint(1, 25)
    b = rng.randint(a + 1, 28)
    return numeric(say(_BETWEEN, month=rng.choice(MONTHS), a=a, b=b), b - a)


def _spoken(day: date) -> str:
    return f"{MONTHS[day.month - 1]} {day.day}"


_LARGER = (
    "Which number is larger, {a} or {b}?",
    "Compare {a} and {b}. Write down the larger number.",
    "Pick the bigger one of these two numbers: {a}, {b}",
    "Two tickets show {a} and {b}. Which number is higher?",
)
_EARLIER = (
    "Which date is earlier in the year: {a} or {b}?",
    "Compare the dates {a} and {b}. Which one comes first in the year?",
    "One letter is from {a}, one from {b} of the same year. Which date is earlier?",
)
_CHEAPER = (
    "The {a} costs {x} dollars and the {b} costs {y} dollars. Which one is cheaper?",
    "In the shop, the {a} is {x} dollars, the {b} is {y} dollars. Which one costs less?",
    "Prices today: {a} {x} dollars, {b} {y} dollars. Name the cheaper one.",
)


def _larger_number(rng: Random) -> Draft:
    a, b = rng.sample(range(10, 200), 2)
    return choice_of(say(_LARGER, a=a, b=b), str(max(a, b)), (str(a), str(b)))


def _earlier_date(rng: Random) -> Draft:
    pair = [date(_YEAR, 1, 1) + timedelta(n) for n in rng.sample(range(365), 2)]
    a, b = map(_spoken, pair)
    return choice_of(say(_EARLIER, a=a, b=b), _spoken(min(pair)), (a, b))


def _cheaper_item(rng: Random) -> Draft:
    (a, b), (x, y) = rng.sample(GOODS, 2), rng.sample(range(2, 60), 2)
    return choice_of(say(_CHEAPER, a=a, b=b, x=x, y=y), a if x < y else b, (a, b))


DATE_SKILLS = (
    Skill(
        "dates",
        "Weekdays before and after, the next date, and days between two dates.",
        {"weekday": _weekday, "next-date": _next_date, "days-between": _days_between},
    ),
    Skill(
        "comparison",
        "Which of two numbers, dates or prices is larger, earlier or lower.",
        {
            "larger-number": _larger_number,
            "earlier-date": _earlier_date,
            "cheaper-item": _cheaper_item,
        },
    ),
)
