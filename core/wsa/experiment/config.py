"""Configuration of a run: every knob, as one value that is stored beside the results."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, fields
from functools import cache
from pathlib import Path
from typing import Any, get_type_hints

from wsa.errors import need
from wsa.experiment.knobs import flag, settled
from wsa.layers import VIEWS
from wsa.population.reading import Reading
from wsa.storage import canonical_digest

QUICK_RUNS = 3
# Beyond what anybody waits for; a slip of the keyboard is told, not begun.
MOST_RUNS, MOST_SPLITS = 10_000, 1_000
# What may differ between a run and its resumption: where things lie, how fast it goes, and the
# conditions, which every task records for itself.
_FREE = {"output_dir", "cache_dir", "cache_features", "num_workers", "restart"}
_FREE |= {"device", "amp", "compile", "verify", "strict_plugins", "plugin_timeout"}


@dataclass(frozen=True, slots=True)
class RunConfig:
    """Every knob of `wsa run`; the flags of the command line have the same names.

    Where several names are declared, one text with commas does too; a path may be text. Raises
    WsaError for a value of another kind or out of range.
    """

    dataset: str = "digits"
    plugins: tuple[str, ...] = ("all",)
    layer_sets: tuple[str, ...] = ("all", "visual")
    view: tuple[str, ...] = ("factors",)
    num_runs: int = 10
    quick: bool = False
    sample_layers: float = 1.0
    limit: int | None = None
    label: str = "category_label"  # one column, or several with commas
    task: str | None = None
    heads: tuple[str, ...] = ("mlp",)
    splits: int = 1
    label_from: str | None = None
    allow_partial: bool = False
    common_modules: bool = False
    skip_bad: bool = False
    allow_pickle: bool = False
    split_fused: bool = True
    dedupe: bool = False
    verify: bool = False
    batch_size: int = 256
    hidden_dim: int = 512
    dropout: float = 0.5
    weight_decay: float = 1e-4
    learning_rate: float = 3e-3
    max_epochs: int = 200
    patience: int = 15
    amp: bool | None = None
    compile: bool | None = None
    device: str = "auto"
    num_workers: int = 4
    output_dir: Path | None = field(default=None, compare=False)
    cache_dir: Path | None = field(default=None, compare=False)
    cache_features: bool = True
    restart: bool = False
    strict_plugins: bool = False
    plugin_timeout: float | None = None

    def __post_init__(self) -> None:
        for name, kind in _kinds().items():
            object.__setattr__(self, name, settled(name, getattr(self, name), kind))
        _need(
            bool(self.view) and set(self.view) <= set(VIEWS),
            "view",
            ",".join(self.view),
            " or ".join(VIEWS),
        )
        _need(1 <= self.num_runs <= MOST_RUNS, "num_runs", self.num_runs, f"1 to {MOST_RUNS}")
        _need(0 < self.sample_layers <= 1, "sample_layers", self.sample_layers, "in (0, 1]")
        _need(self.limit is None or self.limit >= 1, "limit", self.limit, "at least 1")
        _need(self.num_workers >= 1, "num_workers", self.num_workers, "at least 1")
        sound = self.plugin_timeout is None or self.plugin_timeout > 0
        _need(sound, "plugin_timeout", self.plugin_timeout, "seconds above 0")
        _need(bool(self.layer_sets), "layer_sets", self.layer_sets, "at least one name")
        _need(1 <= self.splits <= MOST_SPLITS, "splits", self.splits, f"1 to {MOST_SPLITS}")
        _need(bool(self.heads), "heads", self.heads, "at least one name")
        _need(bool(self.labels), "label", repr(self.label), "at least one column")
        tasks = ("classes", "regression", "ordinal")
        _need(self.task is None or self.task in tasks, "task", self.task, ", ".join(tasks))
        devices = ("auto", "cpu", "cuda")
        _need(self.device in devices, "device", self.device, ", ".join(devices))

    @property
    def reading(self) -> Reading:
        """Return what decides which adapters and labels are read."""
        knobs = {each.name: getattr(self, each.name) for each in fields(Reading)}
        return Reading(**knobs | {"label": self.labels[0]})

    @property
    def runs(self) -> int:
        """S: how many seeds are trained in each task."""
        return min(self.num_runs, QUICK_RUNS) if self.quick else self.num_runs

    @property
    def labels(self) -> tuple[str, ...]:
        """Return the label columns, each once."""
        words = (word.strip() for word in self.label.split(","))
        return tuple(dict.fromkeys(word for word in words if word))

    def decisive(self) -> dict[str, Any]:
        """Return what the results depend on, as JSON."""
        knobs = {name: value for name, value in asdict(self).items() if name not in _FREE}
        return {name: list(v) if isinstance(v, tuple) else v for name, v in knobs.items()}

    @classmethod
    def from_json(cls, stored: dict[str, Any]) -> RunConfig:
        """Return the configuration that `decisive` was written from."""
        names = [each.name for each in fields(cls) if each.name in stored]
        values: dict[str, Any] = {}
        for name in names:
            value = stored[name]
            values[name] = tuple(value) if isinstance(value, list) else value
        return cls(**values)

    def folder(self) -> Path:
        """Return the run folder: the one asked for, or one named after what is asked."""
        if self.output_dir is not None:
            return self.output_dir
        return Path("wsa-runs") / canonical_digest(self.decisive())[:12]


@cache
def _kinds() -> dict[str, Any]:
    return get_type_hints(RunConfig)


def _need(holds: bool, name: str, found: object, needed: str) -> None:
    need(holds, flag(name), needed, found)
