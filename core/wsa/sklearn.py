"""A scikit-learn transformer: weights in, features out, to stand first in a pipeline."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils.validation import check_is_fitted, validate_data

from wsa import registry
from wsa.contract import held_to_contract, named_columns
from wsa.errors import WsaError
from wsa.layers import FACTORS, Catalogue, catalogue
from wsa.population.batch import Batch
from wsa.provenance import Given, listed, offer_of
from wsa.registry import Offer
from wsa.representation import Composite, Representation
from wsa_kernels.layout import Layout

Shapes = Mapping[str, tuple[int, int]]
WHOLE_ROW = "weights"


class WeightFeatures(TransformerMixin, BaseEstimator):  # type: ignore[misc]
    """Map weights to the features of representations, given by name or as objects.

    X is [n, P], the entries of every matrix in the order of `layers` (name -> (rows, cols)), or a
    list of n dictionaries of matrices by name. Without `layers` a row of X is one matrix, 1 x P.
    Names as in an adapter's file (`....lora.up.weight`) make pairs, which view `delta` needs.
    Nothing is learnt but the number and the names of the columns.
    """

    def __init__(
        self,
        representations: Given | Sequence[Given] = ("stats",),
        layers: Shapes | None = None,
        view: str = FACTORS,
        device: str = "cpu",
    ) -> None:
        self.representations = representations
        self.layers = layers
        self.view = view
        self.device = device

    def fit(self, X: Any, y: Any = None) -> WeightFeatures:
        """Learn how many entries a row has, and what its features are called."""
        if _is_stored(X):
            self.layers_: Shapes = {key: _shape(value) for key, value in X[0].items()}
            # what scikit-learn's own check would learn of an array
            self.n_features_in_ = sum(rows * cols for rows, cols in self.layers_.values())
        else:
            rows = validate_data(self, X, dtype=np.float32)
            self.layers_ = dict(self.layers or {WHOLE_ROW: (1, rows.shape[1])})
        self._refuse_another_size()
        self._offers()
        return self

    def transform(self, X: Any) -> np.ndarray:
        """Return features [n, C] float32."""
        check_is_fitted(self)
        if _is_stored(X):
            X = np.stack([_row(each, self.layers_) for each in X])
        rows = validate_data(self, X, reset=False, dtype=np.float32)
        batch = self._batch(rows)
        found = [held_to_contract(each.representation, batch).cpu() for each in self._offers()]
        features: np.ndarray = torch.cat(found, 1).numpy()
        return features

    def get_feature_names_out(self, input_features: Any = None) -> np.ndarray:
        """Name the columns, `<layer>/<feature>`, as `wsa extract` does."""
        check_is_fitted(self)
        offers, layers = self._offers(), self._catalogue().layers(self.view)
        names = []
        for offer in offers:
            prefix = f"{offer.name}." if len(offers) > 1 else ""
            assert isinstance(offer.representation, Representation)
            for column in named_columns(offer.representation, layers):
                names.append(f"{column.layer}/{prefix}{column.feature}")
        return np.array(names, dtype=object)

    def __sklearn_tags__(self) -> Any:
        """Say that features are float32, whatever comes in."""
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = ["float32"]
        return tags

    def _offers(self) -> list[Offer]:
        found: list[Offer] = []
        for each in listed(self.representations):
            if isinstance(each, str):
                plugins = registry.named([each])
                found += [offer for plugin in plugins for offer in registry.load(plugin)]
            else:
                found.append(offer_of(each))
        for offer in found:
            if isinstance(offer.representation, Composite):
                parts = ", ".join(offer.representation.parts)
                raise WsaError(f"{offer.name!r} is put together; name its parts: {parts}")
        return found

    def _catalogue(self) -> Catalogue:
        return catalogue(self.layers_)

    def _refuse_another_size(self) -> None:
        size = sum(rows * cols for rows, cols in self.layers_.values())
        if size != self.n_features_in_:
            raise ValueError(f"layers needs {size} entries a row; X has {self.n_features_in_}")

    def _batch(self, rows: np.ndarray) -> Batch:
        """Lay the rows [n, P] out as a batch."""
        found = self._catalogue()
        shapes = [(layer.rows, layer.cols) for layer in found.factors]
        layout = Layout.plan(shapes, found.pairs)
        flat = torch.zeros(len(rows), layout.size)
        offsets, start = dict(zip(found.keys, layout.offsets, strict=True)), 0
        for key, (height, width) in self.layers_.items():
            values = rows[:, start : start + height * width]
            flat[:, offsets[key] : offsets[key] + height * width] = torch.tensor(values)
            start += height * width
        scale = torch.ones(len(rows), len(found.pairs))
        device = torch.device(self.device)
        return Batch(flat.to(device), layout, found.layers(self.view), scale.to(device))


def _is_stored(X: Any) -> bool:
    return isinstance(X, list | tuple) and len(X) > 0 and isinstance(X[0], Mapping)


def _shape(matrix: Any) -> tuple[int, int]:
    shape = np.shape(matrix)
    if len(shape) != 2:
        raise ValueError(f"a matrix needs two axes; got {list(shape)}")
    return int(shape[0]), int(shape[1])


def _row(stored: Mapping[str, Any], layers: Shapes) -> np.ndarray:
    """Put the matrices of one adapter into a row; raises ValueError where one is not as fitted."""
    if stored.keys() != layers.keys():
        odd = sorted(stored.keys() ^ layers.keys())
        raise ValueError(f"every adapter needs the matrices of the first; differing: {odd[:3]}")
    for key, shape in layers.items():
        if _shape(stored[key]) != tuple(shape):
            raise ValueError(f"{key} needs shape {tuple(shape)}; got {_shape(stored[key])}")
    return np.concatenate([np.asarray(stored[key], np.float32).ravel() for key in layers])
