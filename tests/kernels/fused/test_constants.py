from __future__ import annotations

import ast
from pathlib import Path

import triton.language as tl

from wsa_kernels.fused import constants


def test_constants_are_those_of_the_definitions() -> None:
    named = {name for name in vars(constants) if name.isupper()}
    assert all(isinstance(getattr(constants, name), tl.constexpr) for name in named)
    fields = (constants.PLACED_FIELDS, constants.ORDER_FIELDS, constants.NORM_FIELDS)
    assert [each.value for each in fields] == [71, 20, 70]


def test_no_kernel_repeats_the_size_of_a_record() -> None:
    sizes = {71, 70, 24, 20}
    for path in Path(str(constants.__file__)).parent.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.BinOp) and isinstance(node.right, ast.Constant):
                assert node.right.value not in sizes, path.name
