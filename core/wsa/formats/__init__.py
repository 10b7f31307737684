"""Formats: adapter files as the ecosystem writes them, read by their headers, never guessed."""
