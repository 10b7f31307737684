"""Divergence: seeds whose loss became no number, which of them count, and how that is told."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from wsa.train import CURE

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence


def trained(run: dict[str, Any]) -> bool:
    """Tell whether a run counts: without an epoch of finite validation loss it is untrained.

    A head that has no epochs has None for its best one.
    """
    return bool(run["best_epoch"] != 0)


def counted(runs: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the runs that count."""
    return [run for run in runs if trained(run)]


def counts(task: dict[str, Any]) -> bool:
    """Tell whether any seed of a task, or of any probe of a layer map, counts."""
    if "probes" in task:
        return any(probe["val"]["mean"] is not None for probe in task["probes"])
    return bool(counted(task["runs"]))


def diverged(tasks: Sequence[dict[str, Any]]) -> dict[str, str]:
    """Name the tasks that no seed trained, each with its cause."""
    return {each["task"]: f"no seed trained: {told(each)}" for each in tasks if not counts(each)}


def told(task: dict[str, Any]) -> str | None:
    """Say which seeds of a task failed, when, and whether they count; None where none did."""
    if "probes" in task:
        return _of_probes(task["probes"])
    fates: dict[str, list[str]] = {}
    for run in [*task["runs"], *task["shuffled"]]:
        if fate := _fate(run):
            name = "the shuffled control" if run["shuffled"] else str(run["seed"])
            fates.setdefault(fate, []).append(name)
    lines = [f"{_named(names)} {fate}" for fate, names in fates.items()]
    return "; ".join([*lines, CURE]) if lines else None


def _fate(run: dict[str, Any]) -> str | None:
    epoch, left_out = run["failed_epoch"], not trained(run)
    if epoch is not None:
        how = "left out" if left_out else "measured at the best epoch before"
        return f"failed at epoch {epoch}, {how}"
    return "never had a finite validation loss, left out" if left_out else None


def _named(names: Sequence[str]) -> str:
    seeds = [name for name in names if name.isdigit()]
    numbered = [f"seed{'s' if len(seeds) > 1 else ''} {', '.join(seeds)}"] if seeds else []
    return " and ".join([*numbered, *(name for name in names if not name.isdigit())])


def _of_probes(probes: Sequence[dict[str, Any]]) -> str | None:
    """Count what failed: a layer map has thousands of seeds."""
    # a map that an earlier wsa committed has none, and its folder goes on all the same
    epochs = [each for probe in probes for each in probe.get("failed_epochs", ())]
    failed = [each for each in epochs if each is not None]
    left_out = sum(each is None for probe in probes for each in probe["per_seed"])
    seeds = sum(len(probe["per_seed"]) for probe in probes)
    if not failed and not left_out:
        return None
    when = f", the first at epoch {min(failed)}" if failed else ""
    return f"of {seeds} seeds of its probes {len(failed)} failed{when}, {left_out} left out; {CURE}"
