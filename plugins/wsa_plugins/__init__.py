"""Representations that ship with wsa, registered like a stranger's."""
