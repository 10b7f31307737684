"""The operations' page: what `batch.once` can be asked for, and the fields of each answer."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from typing import Any, get_type_hints

import wsa_kernels
from wsa_kernels.operation import Operation

HEAD = """\
# The operations

What `batch.once(operation)` computes for all layers of all adapters at once, at most once per
shard, however many representations ask. Each answer is a named tuple of tensors, `[N, L]` or
`[N, L, F]`, layers in natural order. This page is made from the code.
"""


def operations_page() -> str:
    """Return the page."""
    return "\n".join([HEAD, *(_section(each) for each in operations())])


def operations() -> list[Operation[Any]]:
    """Return every operation of `wsa_kernels`, by the name its module has too."""
    names = [each.name for each in pkgutil.iter_modules(wsa_kernels.__path__) if not each.ispkg]
    found = [getattr(importlib.import_module(f"wsa_kernels.{name}"), name, None) for name in names]
    return [each for each in found if isinstance(each, Operation)]


def _section(operation: Operation[Any]) -> str:
    module = importlib.import_module(f"wsa_kernels.{operation.name}")
    answer = get_type_hints(operation.reference)["return"]
    head = f"## `{operation.name}`\n\n`from wsa_kernels.{operation.name} import {operation.name}`\n"
    fields = ", ".join(f"`{name}`" for name in answer._fields)
    told = " ".join((inspect.getdoc(answer) or "").split())
    definition = f"```text\n{inspect.getdoc(module)}\n```\n"
    return f"{head}\n{definition}\nIt answers `{answer.__name__}`: {fields}. {told}\n"
