"""Peers: what people use instead, on the same matrices; what is not installed is left out."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import scipy.stats
import torch
from torch import Tensor

from wsa import Case, Setting, Target
from wsa.case import Answer, Contender
from wsa_bench import moments as moments_case
from wsa_bench import populations
from wsa_bench import quantiles as quantiles_case
from wsa_bench import spectrum as spectrum_case
from wsa_bench.contenders import OURS, Array, OfMatrix, ours, truth
from wsa_bench.populations import per_entry, per_stored
from wsa_kernels.matrices import Delta, Factors
from wsa_kernels.moments import Moments, moments
from wsa_kernels.operation import Operation
from wsa_kernels.quantiles import PROBABILITIES, quantiles
from wsa_kernels.spectrum import LEADING, spectrum

WIDTH, RANK = 320, 16
LAYERS, ENTRIES = 128, 1280
ADAPTERS = {("cpu", "delta"): 64, ("cuda", "delta"): 4096, ("cpu", "factors"): 16}


def singular_values(matrices: Delta) -> Answer:
    """Form the updates and take all their singular values."""
    return {"singular_values": torch.linalg.svdvals(formed(matrices))[..., :LEADING]}


def low_rank(matrices: Delta) -> Answer:
    """Form the updates and take the leading values by randomised projection, two iterations."""
    _, found, _ = torch.svd_lowrank(formed(matrices), q=RANK)
    return {"singular_values": found[..., :LEADING]}


def formed(matrices: Delta) -> Tensor:
    """Return the updates themselves, [N, M, rows, cols]."""
    (pairs,) = matrices.pairs()
    return (pairs.up.float() @ pairs.down.float()) * pairs.scale[..., None, None]


def weight_watcher(matrices: Delta) -> Answer:
    """Give the updates to WeightWatcher as the linear layers of a model."""
    import weightwatcher

    layers = [torch.nn.Linear(WIDTH, WIDTH, bias=False) for _ in range(len(matrices.flat))]
    for layer, update in zip(layers, formed(matrices)[:, 0], strict=True):
        layer.weight.data = update.cpu()
    with contextlib.redirect_stdout(io.StringIO()):
        watcher = weightwatcher.WeightWatcher(model=torch.nn.Sequential(*layers))
        found = watcher.analyze(min_evals=1)
    ranks = torch.from_numpy(found["stable_rank"].to_numpy().astype(np.float64))
    return {"stable_rank": ranks[:, None]}


def stable_rank_of_all(matrices: Delta) -> Answer:
    """Take the stable rank from all singular values of the formed updates."""
    energy = torch.linalg.svdvals(formed(matrices)).square()
    return {"stable_rank": energy.sum(-1) / energy[..., 0]}


def scipy_moments(matrices: Factors) -> Answer:
    """Take scipy's moments of all matrices at once, along the last axis."""
    entries = rows(matrices).cpu().numpy()
    found = {
        "mean": entries.mean(-1),
        "std": entries.std(-1, ddof=1),
        "skewness": scipy.stats.skew(entries, axis=-1),
        "kurtosis": scipy.stats.kurtosis(entries, axis=-1, fisher=False),
    }
    return {name: torch.from_numpy(values) for name, values in found.items()}


def torch_quantiles(matrices: Factors) -> Answer:
    """Take torch.quantile of all matrices at once."""
    entries = rows(matrices)
    probabilities = torch.tensor(PROBABILITIES, device=entries.device)
    return {"values": torch.quantile(entries, probabilities, dim=-1).movedim(0, -1)}


def numpy_quantiles(matrices: Factors) -> Answer:
    """Take numpy.quantile of all matrices at once."""
    found = np.quantile(rows(matrices).cpu().numpy(), PROBABILITIES, axis=-1)
    return {"values": torch.from_numpy(np.moveaxis(found, 0, -1).copy())}


def rows(matrices: Factors) -> Tensor:
    """Return equally shaped matrices, [N, L, n] in float32."""
    (tile,) = matrices.layout.classes
    return tile.view(matrices.flat).flatten(2).float()


def cases() -> list[Case]:
    """Return a case for each thing that people take from elsewhere."""
    of_all: dict[str, Contender] = {
        "torch_quantile": torch_quantiles,
        "numpy_quantile": numpy_quantiles,
    }
    return [
        *_spectral_cases(),
        _case(
            "moments", moments, moments_case.of_matrix, Moments._fields, {"scipy": scipy_moments}
        ),
        _case("quantiles", quantiles, quantiles_case.of_matrix, ("values",), of_all),
    ]


def _spectral_cases() -> tuple[Case, Case]:
    decomposed: dict[str, Contender] = {"svdvals": singular_values, "svd_lowrank": low_rank}
    watched: dict[str, Contender] = {"weightwatcher": weight_watcher, "svdvals": stable_rank_of_all}
    targets = (
        Target(OURS, "svdvals", 100, view="delta"),
        Target(OURS, "svd_lowrank", 5, view="delta"),
        Target(OURS, "svdvals", 100, "cuda", "delta"),
    )
    given = (spectrum, spectrum_case.of_matrix)
    values = _case("singular_values", *given, ("singular_values",), decomposed, "delta", targets)
    ranks = _case("stable_rank", *given, ("stable_rank",), watched, "delta")
    return values, replace(ranks, needs={**ranks.needs, "weightwatcher": "weightwatcher"})


def _case(
    name: str,
    operation: Operation[Any],
    of_matrix: OfMatrix,
    fields: Sequence[str],
    peers: Mapping[str, Contender],
    view: str = "factors",
    targets: tuple[Target, ...] = (),
) -> Case:
    def answer(result: Any) -> Answer:
        return {field: getattr(result, field) for field in fields}

    delta = view == "delta"
    return Case(
        name=f"peers/{name}",
        inputs=_products if delta else _uniform,
        reference=truth(_only(fields, of_matrix)),
        contenders={**ours(operation, answer), **peers},
        shape=populations.told,
        bytes=populations.weight_bytes,
        flops=per_stored(2) if delta else per_entry(10),
        tolerance={"": 1e-4},
        views=(view,),
        ranks=(RANK,) if delta else (),
        adapters=ADAPTERS,
        part=populations.part,
        scaled=dict.fromkeys(peers, 0.2),
        gated=OURS,
        targets=targets,
    )


def _only(fields: Sequence[str], of_matrix: OfMatrix) -> OfMatrix:
    def described(w: Array, rank: int | None) -> Mapping[str, Any]:
        found = of_matrix(w, rank)
        return {field: found[field] for field in fields}

    return described


def _products(setting: Setting) -> Delta:
    return populations.products(setting, WIDTH)


def _uniform(setting: Setting) -> Factors:
    return populations.uniform(setting, LAYERS, 1, ENTRIES)
