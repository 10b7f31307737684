"""What 100,000 adapters take before the first is read, and that memory does not grow with them."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from tests.core.packed_stores import write_adapters

from wsa.population.packing import pack
from wsa.population.source import open_population
from wsa.zoo.folder import write
from wsa.zoo.table import nested

PLANNED = """
import json, sys, time
from pathlib import Path
import pyarrow as pa
from wsa.cache import Memory
from wsa.experiment import RunConfig
from wsa.experiment.plan import plan_tasks
from wsa.extraction import Extraction, Request
from wsa.population.files import FilePopulation, in_groups
from wsa.population.identity import Identity, IdentityMemo
from wsa.population.manifest import StoredShard, load_manifest
from wsa.population.members import Member
from wsa.population.packing import Packing
from wsa.population.source import open_population
from wsa.registry import installed, load
from wsa.storage import write_json
import torch

COUNT, root = 100_000, Path(sys.argv[1])
forms = [each.form for each in open_population(str(root)).members]
modules = tuple(module.name for module in forms[0].modules)
started = time.perf_counter()

def member(i):
    name, form = f"{i % 97}/{i:06}.safetensors", forms[i % len(forms)]
    return Member(name, f"/nowhere/{name}", 800_000, i, f"{i:032x}", 1000, form, None)

ordered = in_groups([member(i) for i in range(COUNT)], modules)
labels = pa.table({"adapter": [each.name for each in ordered]})
population = FilePopulation(ordered, modules, labels, (), (), 4)
spans = population.ranges()
memo = IdentityMemo(root, population)
assert not any(memo.recall(*span) for span in spans)
plugins = [plugin for plugin in installed() if plugin.name in ("stats", "profile")]
offers = [offer for plugin in plugins for offer in load(plugin)]
requests = [Request("delta", offer) for offer in offers]
extraction = Extraction(population, requests, Memory(), torch.device("cpu"))
for start, stop in spans:
    found = Identity(tuple(f"{row:032x}" for row in range(start, stop)), ())
    extraction.identities[start] = found
    keys = [extraction.key(request, (start, stop), found) for request in requests]
layers = {"delta": population.catalogue.layers("delta")}
tasks = plan_tasks(requests, layers, RunConfig(view=("delta",)))
packing = Packing(population, "nowhere", root)
stored = [StoredShard(packing._path(span).name, span[1] - span[0], 9, "0" * 32) for span in spans]
write_json(root / "manifest.json", packing._manifest(stored).record())
manifest = load_manifest(root / "manifest.json")
# the peak that getrusage tells has the parent's in it
status = Path("/proc/self/status").read_text().splitlines()
print(json.dumps({
    "seconds": time.perf_counter() - started,
    "bytes": next(1024 * int(line.split()[1]) for line in status if line.startswith("VmHWM")),
    "adapters": manifest.groups[-1].stop,
    "digests": len(set(extraction.digests())),
    "tasks": len(tasks),
    "groups": len(population.groups),
    "manifest": (root / "manifest.json").stat().st_size,
}))
"""


def told_by(script: str, *arguments: object) -> dict[str, Any]:
    command = [sys.executable, "-c", script, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


@pytest.mark.slow
def test_a_hundred_thousand_adapters_are_planned_in_seconds_and_500_mb(tmp_path: Path) -> None:
    write_adapters(tmp_path, 1)
    write_adapters(tmp_path, 1, rank=4, prefix="b")
    told = told_by(PLANNED, tmp_path)
    assert (told["adapters"], told["digests"], told["groups"]) == (100_000, 100_000, 2)
    assert told["tasks"] >= 4
    # 4 s and 416 MB on two busy cores, 250 MB of imports among them
    assert told["seconds"] < 30
    assert told["bytes"] < 500e6, told
    assert told["manifest"] < 1 << 20


# What a process holds beside mapped files: those of Arrow are the system's to take back.
EXTRACTED = """
import json, sys, threading, time
from pathlib import Path
import torch
from wsa.cache import Cache
from wsa.extraction import Extraction, Request
from wsa.population import population as shards
from wsa.population.source import open_population
from wsa.registry import installed, load

shards.SHARD_BYTES = 2 << 20
peak, ended = 0, threading.Event()

def held():
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(1024 * int(line.split()[1]) for line in lines if line.startswith("RssAnon"))

def watch():
    global peak
    while not ended.wait(0.002):
        peak = max(peak, held())

def extracted(path, cache):
    global peak
    peak = 0
    population = open_population(path)
    (plugin,) = [plugin for plugin in installed() if plugin.name == "simple_stats"]
    request = Request("factors", load(plugin)[0])
    Extraction(population, [request], Cache(Path(cache)), torch.device("cpu")).ensure()
    return peak

torch.set_num_threads(1)
watcher = threading.Thread(target=watch)
watcher.start()
few, many, cache = sys.argv[1:]
extracted(few, cache + "/warm")
# the lesser of two: a kept weight is there both times, what an allocator keeps under load is not
many = min(extracted(many, f"{cache}/{turn}") for turn in range(2))
told = {"few": extracted(few, cache + "/few"), "many": many}
ended.set()
watcher.join()
print(json.dumps(told))
"""
FEW, TIMES = 40, 8


def few_and_many(kind: str, root: Path) -> list[Path]:
    made = {"files": files, "packed": packed, "table": table}[kind]
    return [made(root / str(count), count) for count in (FEW, TIMES * FEW)]


def files(root: Path, count: int) -> Path:
    return write_adapters(root, count, rank=160, dtype=torch.float32)


def packed(root: Path, count: int) -> Path:
    source = files(root / "source", count)
    pack(open_population(str(source)), str(source), root / "store")
    return root / "store"


def table(root: Path, count: int) -> Path:
    draw = np.random.default_rng(count)
    columns = {
        f"layer {i}": nested(draw.normal(size=(count, 160, 192)).astype("float32"))
        for i in range(2)
    }
    write(pa.table(columns), {}, root)
    return root


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["files", "packed", "table"])
def test_eight_times_as_many_adapters_take_no_more_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    monkeypatch.setattr("wsa.population.population.SHARD_BYTES", 2 << 20)
    few, many = few_and_many(kind, tmp_path)
    told = told_by(EXTRACTED, few, many, tmp_path / "cache")
    # 10 and 80 MB of weights, three shards of 2 to 4 MB at a time
    assert told["many"] - told["few"] < 24e6, told
