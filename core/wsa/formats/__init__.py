"""Adapter files: what they hold, and which module of the base model each part updates."""
