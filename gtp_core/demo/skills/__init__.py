"""Fifteen skills a curator recognises at a glance, each drawn from a seeded generator.

>>> from random import Random
>>> example = SKILLS["arithmetic"].generate(Random(0), "addition")
>>> example.answer == answer_of(example.completion)
True
"""

from gtp_core.demo.skills.dates import DATE_SKILLS
from gtp_core.demo.skills.example import Draft, Example, Skill, answer_of
from gtp_core.demo.skills.language import LANGUAGE_SKILLS
from gtp_core.demo.skills.numbers import NUMBER_SKILLS
from gtp_core.demo.skills.reasoning import REASONING_SKILLS
from gtp_core.demo.skills.records import RECORD_SKILLS

SKILLS: dict[str, Skill] = {
    skill.name: skill
    for skill in (
        *NUMBER_SKILLS,
        *DATE_SKILLS,
        *RECORD_SKILLS,
        *LANGUAGE_SKILLS,
        *REASONING_SKILLS,
    )
}

__all__ = ["SKILLS", "Draft", "Example", "Skill", "answer_of"]
