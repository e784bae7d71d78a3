"""circuitbook: an interactive textbook on transformer circuits.

Importing the package imports nothing else: each chapter names the files that it uses.
"""

__version__ = "0.1.0"
