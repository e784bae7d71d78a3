"""What a notebook calls to work on exercises; each chapter's own are in `chNN.py`."""

from circuitbook.exercises.engine import answer, check, hint, progress, quiz, solution

__all__ = ["answer", "check", "hint", "progress", "quiz", "solution"]
