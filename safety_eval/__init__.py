"""safety-eval: may this language model be released? See README.md for the two commands."""

__version__ = "0.1.0"
