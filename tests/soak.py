"""Kill a run with SIGKILL at random moments, go on, and compare every byte with a whole run's.

python tests/soak.py POINTS [--compile] [--amp]: a process that has everything imported is forked
for every sitting, so that a sitting takes what the run takes and no start-up.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import datasets
import numpy as np
import torch

from wsa import experiment
from wsa.experiment import RunConfig

FILES = ("results.json", "metrics.csv", "split.json")


def population(folder: Path) -> str:
    """Write 80 adapters of two modules whose class shows a little."""
    draw = np.random.default_rng(0)
    label = np.arange(80) % 4
    centres = draw.normal(size=(4, 6, 1))
    columns = {"category_label": label.tolist()}
    for module in ("blocks.0.attn1.to_q", "blocks.0.attn2.to_k"):
        up = draw.normal(size=(80, 6, 1)) + 0.5 * centres[label]
        columns[f"{module}.lora.up.weight"] = up.astype("float32").tolist()
        down = draw.normal(size=(80, 1, 5)).astype("float32")
        columns[f"{module}.lora.down.weight"] = down.tolist()
    datasets.disable_progress_bars()
    datasets.Dataset.from_dict(columns).save_to_disk(folder)
    return str(folder)


def sitting(config: RunConfig) -> int:
    """Fork a process that runs, and return its number."""
    child = os.fork()
    if child:
        return child
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    try:
        experiment.run(config)
    except BaseException:
        os._exit(1)
    os._exit(0)


def finish(config: RunConfig) -> tuple[float, list[bytes]]:
    """Run to the end; return how long it took and what it left."""
    started = time.monotonic()
    _, status = os.waitpid(sitting(config), 0)
    if status:
        sys.exit("a run that nobody killed failed")
    assert config.output_dir is not None
    return time.monotonic() - started, [(config.output_dir / name).read_bytes() for name in FILES]


@contextmanager
def small_run(compiled: bool, amp: bool) -> Iterator[RunConfig]:
    """Configure a run of a few tasks in a directory of its own; checkpoints at every epoch."""
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        yield RunConfig(
            dataset=population(root / "population"),
            plugins=("stats",),
            layer_sets=("all",),
            heads=("mlp", "knn"),
            num_runs=2,
            hidden_dim=16,
            batch_size=16,
            max_epochs=40,
            patience=4,
            compile=compiled or None,
            amp=amp or None,
            num_workers=1,
            cache_dir=root / "cache",
            output_dir=root / "whole",
        )


def main() -> None:
    """Kill as often as asked and exit 1 at the first byte that differs."""
    parser = argparse.ArgumentParser()
    parser.add_argument("points", type=int)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--amp", action="store_true")
    given = parser.parse_args()
    torch.set_num_threads(1)
    draw = random.Random(given.seed)
    with small_run(given.compile, given.amp) as config:
        experiment.run(config)  # here, so that every sitting finds everything imported
        whole = replace(config, output_dir=config.folder().with_name("again"))
        seconds, wanted = finish(whole)
        for point in range(given.points):
            kill_once(config, f"killed-{point}", draw.random() * seconds, wanted)
    print(f"{given.points} of {given.points} killed runs ended in the same bytes")


def kill_once(config: RunConfig, name: str, after: float, wanted: list[bytes]) -> None:
    """Kill one run after so many seconds, go on, and hold it to the bytes of the whole one."""
    mine = replace(config, output_dir=config.folder().with_name(name))
    child = sitting(mine)
    time.sleep(after)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    _, found = finish(mine)
    if found != wanted:
        sys.exit(f"killed after {after:.3f} s: other bytes than an uninterrupted run's")


if __name__ == "__main__":
    # every epoch leaves a checkpoint to go on from, and no wait for the disk
    import wsa.experiment.preparation as preparation
    from wsa.train import TrainConfig

    usual = preparation.train_config

    def often(config: RunConfig) -> TrainConfig:
        """Return the usual knobs with a checkpoint after every epoch."""
        return replace(usual(config), checkpoint_seconds=0.0)

    preparation.train_config = often
    for module in ("wsa.experiment.training", "wsa.experiment.tasks"):
        setattr(sys.modules[module], "train_config", often)  # noqa: B010
    setattr(os, "fsync", lambda handle: None)  # noqa: B010
    main()
