"""Triton kernels: one launch for all layers of all adapters, imported only where one runs."""
