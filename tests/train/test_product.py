from __future__ import annotations

import pytest
import torch
from torch import Tensor

from wsa.train import product as products

SHAPES = [(2, 3, 5, 4), (1, 1, 7, 3), (3, 65, 257, 63), (2, 140, 300, 64), (1, 33, 501, 129)]


def factors(shape: tuple[int, int, int, int]) -> tuple[Tensor, Tensor, Tensor]:
    seeds, rows, inside, outside = shape
    source = torch.Generator().manual_seed(0)
    left = torch.randn(seeds, rows, inside, generator=source)
    right = torch.randn(seeds, inside, outside, generator=source)
    return left, right, torch.randn(seeds, rows, outside, generator=source)


def differentiate(left: Tensor, right: Tensor, out: Tensor, exact: bool) -> list[Tensor]:
    left, right = left.clone().requires_grad_(), right.clone().requires_grad_()
    result = torch.bmm(left.double(), right.double()) if exact else products.product(left, right)
    return [result, *torch.autograd.grad(result, (left, right), out.to(result.dtype))]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("least", [0, products.WORTH_ONEDNN], ids=["onednn", "by size"])
def test_product_and_its_gradients_are_those_of_bmm(
    shape: tuple[int, int, int, int], least: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(products, "WORTH_ONEDNN", least)
    found = differentiate(*factors(shape), exact=False)
    for one, other in zip(found, differentiate(*factors(shape), exact=True), strict=True):
        torch.testing.assert_close(one, other.float(), rtol=1e-4, atol=1e-4)


def test_strided_factors_and_gradients_are_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(products, "WORTH_ONEDNN", 0)
    left, right, out = factors((2, 9, 11, 8))
    shared = left[:1].expand(2, -1, -1)
    strided = out.transpose(0, 1).contiguous().transpose(0, 1)
    found = differentiate(shared, right, strided, exact=False)
    for one, other in zip(found, differentiate(shared, right, out, exact=True), strict=True):
        torch.testing.assert_close(one, other.float(), rtol=1e-4, atol=1e-4)


def test_features_that_need_no_gradient_cost_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(products, "WORTH_ONEDNN", 0)
    left, right, _ = factors((2, 9, 11, 8))
    right.requires_grad_()
    products.product(left, right).sum().backward()  # type: ignore[no-untyped-call]
    assert left.grad is None
    torch.testing.assert_close(right.grad, left.sum(1)[:, :, None].expand(-1, -1, 8))
