"""Populations: sources of trained adapters, read in shards onto a device."""
