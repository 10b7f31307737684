"""What statistics of weights tell of a network's accuracy, as Unterthiner et al. 2020 publish."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.conftest import InstallPlugin

from wsa import RunConfig, experiment
from wsa.zoo import MlpRecipe, make

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

PUBLISHED = """
import torch
from wsa import Column, LayerwiseRepresentation, hookimpl

class Norms(LayerwiseRepresentation):
    name, version, feature_names = "norms", 1, ("l2",)

    def features(self, matrices):
        return matrices.flatten(1).norm(dim=1)[:, None]

class Whole:
    name, version = "whole", 1

    def columns(self, layers):
        return [Column(layers[0].name, f"global_{i}") for i in range(7)]

    def extract(self, batch):
        places = zip(batch.layout.offsets, batch.layout.shapes)
        entries = torch.cat([torch.arange(at, at + rows * cols) for at, (rows, cols) in places])
        values = batch.flat[:, entries].float()
        quantiles = torch.quantile(values, torch.linspace(0, 1, 5), dim=1).T
        return torch.cat([values.mean(1)[:, None], values.var(1)[:, None], quantiles], 1)

@hookimpl
def wsa_representations():
    return [Norms(), Whole()]
"""


def test_statistics_of_layers_beat_norms_which_beat_global_statistics(
    install_plugin: InstallPlugin, tmp_path: Path
) -> None:
    install_plugin("published", source=PUBLISHED)
    config = RunConfig(
        dataset=str(make(MlpRecipe(), tmp_path / "mlp")),
        label="test_accuracy",
        plugins=("unterthiner", "published"),
        layer_sets=("all",),
        heads=("gbm",),
        num_runs=3,
        output_dir=tmp_path / "out",
        cache_dir=tmp_path / "cache",
    )
    rows = experiment.run(config).results["overall"]
    found = {row["representation"]: row["test"]["mean"] for row in rows}
    assert found["unterthiner"] >= 0.90
    assert found["unterthiner"] > found["norms"] > found["whole"]
