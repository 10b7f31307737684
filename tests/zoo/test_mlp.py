from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import datasets
import numpy as np
import pytest
import torch

from wsa.errors import WsaError
from wsa.population.source import open_population
from wsa.zoo import NAMED, MlpRecipe, make
from wsa.zoo.classifiers import draw_knobs, load_digits

TINY = MlpRecipe(n=130, steps=40)


@pytest.fixture(scope="module")
def zoo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make(TINY, tmp_path_factory.mktemp("zoo") / "mlp")


def test_a_network_is_six_dense_matrices_biases_one_row_each(zoo: Path) -> None:
    population = open_population(str(zoo))
    layers = {layer.name: (layer.rows, layer.cols) for layer in population.catalogue.factors}
    assert layers == {
        "layers.0": (16, 64),
        "layers.0.bias": (1, 16),
        "layers.1": (16, 16),
        "layers.1.bias": (1, 16),
        "layers.2": (10, 16),
        "layers.2.bias": (1, 10),
    }
    assert population.layout.parameters == 64 * 16 + 16 + 16 * 16 + 16 + 160 + 10


def test_stored_weights_classify_as_the_labels_say(zoo: Path) -> None:
    rows, digits = datasets.load_from_disk(zoo), load_digits()
    for row in (0, 7, 129):
        values = digits.test[0].numpy()
        for layer in range(3):
            weight, bias = (
                np.array(rows[row][f"layers.{layer}.{part}"]) for part in ("weight", "bias")
            )
            values = values @ weight.T + bias
            if layer < 2:
                tanh = rows[row]["activation"] == "tanh"
                values = np.tanh(values) if tanh else np.maximum(values, 0)
        accuracy = (values.argmax(1) == digits.test[1].numpy()).mean()
        assert rows[row]["test_accuracy"] == pytest.approx(accuracy, abs=2 / 599)


def test_networks_differ_in_what_they_learn_and_all_are_numbers(zoo: Path) -> None:
    rows = datasets.load_from_disk(zoo)
    accuracy = np.array(rows["test_accuracy"])
    assert accuracy.max() > 0.5
    assert accuracy.min() < 0.2
    population = open_population(str(zoo))
    assert torch.isfinite(population.read(0, 130).flat).all()
    assert set(rows["activation"]) == {"relu", "tanh"}
    assert set(np.round(rows["train_fraction"], 2)) == {0.1, 0.25, 0.5, 1.0}


def test_the_same_recipe_gives_the_same_bytes_on_any_number_of_cores(
    zoo: Path, tmp_path: Path
) -> None:
    torch.set_num_threads(2)
    again = make(TINY, tmp_path / "again")
    name = "data-00000-of-00001.arrow"
    assert (again / name).read_bytes() == (zoo / name).read_bytes()


def test_a_smaller_zoo_has_the_knobs_of_the_first_networks_of_a_larger_one() -> None:
    small, large = draw_knobs(TINY), draw_knobs(replace(TINY, n=200))
    assert torch.equal(small.learning_rate, large.learning_rate[:130])
    assert small.learning_rate.min() >= 10**-2.5
    assert small.steps.min() >= 20
    assert small.steps.max() <= 40


def test_no_training_image_is_tested_on() -> None:
    digits = load_digits()
    train, test = ({tuple(row) for row in part[0].tolist()} for part in (digits.train, digits.test))
    assert not train & test
    assert len(digits.test[1]) == 599


def test_mlp_is_a_zoo_made_on_first_use() -> None:
    assert NAMED["mlp"].n == 3000
    with pytest.raises(WsaError, match="--n needs at least 1; got 0"):
        MlpRecipe(n=0)
