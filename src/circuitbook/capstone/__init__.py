"""The capstone: an investigation of one's own, from a behaviour to a tested claim."""

from circuitbook.capstone.claims import Claim, Investigation, RandomHeads, against_random_heads
from circuitbook.capstone.prompts import Behaviour, Prompts, behaviour, behaviours
from circuitbook.capstone.rubric import Criterion, Review, review

__all__ = [
    "Behaviour",
    "Claim",
    "Criterion",
    "Investigation",
    "Prompts",
    "RandomHeads",
    "Review",
    "against_random_heads",
    "behaviour",
    "behaviours",
    "review",
]
