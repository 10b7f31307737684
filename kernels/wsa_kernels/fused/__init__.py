"""Triton kernels: few launches however many layers and adapters, imported only where one runs."""
