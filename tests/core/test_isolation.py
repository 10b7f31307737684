from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tests.conftest import InstallPlugin, MakeDataset
from tests.core.test_extraction import prepared, request

from wsa.cache import Cache
from wsa.extraction import Extraction
from wsa.isolation import Isolation

TIMEOUT = 2.0


def extracted(folder: Path, cache: Path | None, plugins: str) -> Extraction:
    extraction = replace(prepared(folder, cache, plugins), isolation=Isolation(TIMEOUT))
    extraction.ensure()
    return extraction


@pytest.mark.parametrize(
    ("body", "cause"),
    [
        ("while True: pass", "needed at most 2 s for a shard of 6 adapters"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", "its process died .* SIGKILL"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)", "its process died .* SIGSEGV"),
        ("import os; os._exit(3)", "its process died .*: exit code 3"),
        ("raise ValueError('odd')", "it raised ValueError: odd"),
        ("return batch.flat[:, :3].float()", r"got float32 \[6, 3\]"),
        ("return batch.flat[:, :16] / 0", "needed finite features"),
    ],
    ids=["hang", "kill", "segfault", "exit", "raise", "shape", "nan"],
)
def test_the_culprit_is_named_the_others_finish_and_nothing_of_it_is_cached(
    make_dataset: MakeDataset, tmp_path: Path, install_plugin: InstallPlugin, body: str, cause: str
) -> None:
    install_plugin("culprit", body=body)
    install_plugin("honest")
    extraction = extracted(make_dataset(n=6), tmp_path / "cache", "culprit,stats,honest")
    assert list(extraction.failures) == [request(extraction, "culprit")]
    with pytest.raises(Exception, match=cause):
        extraction.features(request(extraction, "culprit"))
    kept = {record["inputs"]["representation"] for _, record in Cache(tmp_path / "cache").records()}
    assert kept == {"stats", "honest"}
    assert not extraction.isolation.workers


def test_features_of_another_process_are_the_same_bytes(
    make_dataset: MakeDataset, install_plugin: InstallPlugin
) -> None:
    body = "print('noise'); return batch.flat[:, 1:17].float() * batch.scale.sum(1, keepdim=True)"
    install_plugin("honest", body=body)
    folder = make_dataset(n=6)
    here = prepared(folder, None, "honest")
    here.ensure()
    there = extracted(folder, None, "honest")
    one, other = (each.features(request(each, "honest")).values for each in (here, there))
    assert torch.equal(one, other)


def test_a_hang_ends_soon_after_its_time(
    make_dataset: MakeDataset, install_plugin: InstallPlugin
) -> None:
    install_plugin("culprit", body="import time; time.sleep(600)")
    extraction = replace(prepared(make_dataset(n=4), None, "culprit"), isolation=Isolation(0.5))
    started = time.monotonic()
    extraction.ensure()
    # importing torch takes seconds on a busy machine; ten minutes it does not
    assert time.monotonic() - started < 90
    assert "needed at most 0.5 s" in extraction.failures[request(extraction, "culprit")]


def test_wsas_own_plugins_stay_in_this_process(
    make_dataset: MakeDataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("wsa.isolation.Worker", None)
    assert extracted(make_dataset(n=4), None, "stats,profile").failures == {}
