"""What a notebook calls to work on exercises; each chapter's own are in `chNN.py`."""

from circuitbook.exercises.engine import answer, check, hint, solution
from circuitbook.exercises.overview import progress
from circuitbook.exercises.quizzes import quiz

__all__ = ["answer", "check", "hint", "progress", "quiz", "solution"]
