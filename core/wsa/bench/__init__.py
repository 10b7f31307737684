"""Bench: contenders for one computation, held to the truth and then timed."""
