"""What statistics of weights tell of a network's accuracy, as Unterthiner et al. 2020 publish."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.conftest import InstallPlugin

from wsa import RunConfig, experiment
from wsa.zoo import MlpRecipe, make

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

NORM = "fields = [v.flatten(2).norm(dim=2) for _, _, v in batch.matrices()]"
# in the order of tiles, not of layers: which is which does not matter here
NORMS = f"{NORM}; return torch.cat(fields, 1).float()"
WHOLE = (
    "f = torch.cat([v.flatten(1) for _, _, v in batch.matrices()], 1).float(); "
    "q = torch.quantile(f, torch.tensor([0.0, 0.25, 0.5, 0.75, 1.0]), dim=1).T; "
    "s = torch.cat([f.mean(1)[:, None], f.var(1)[:, None], q], 1); "
    "return torch.cat([s, s.new_zeros(len(f), len(batch.layers))], 1)[:, :len(batch.layers)]"
)


def test_statistics_of_layers_beat_norms_which_beat_global_statistics(
    install_plugin: InstallPlugin, tmp_path: Path
) -> None:
    zoo = make(MlpRecipe(), tmp_path / "mlp")
    install_plugin("norms", body=NORMS)
    install_plugin("whole", body=WHOLE)
    config = RunConfig(
        dataset=str(zoo),
        label="test_accuracy",
        plugins=("unterthiner", "norms", "whole"),
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
