"""Cost: compiled code says the same, memory stays bounded, and time is told against `stats`."""

from __future__ import annotations

import time
import warnings

import torch

from wsa import registry
from wsa.conformance.breach import NothingToCheck, refuse, refuse_difference
from wsa.conformance.growth import HALF, KIBIBYTES_A_CALL, growth
from wsa.conformance.memory import peak_bytes
from wsa.conformance.probe import Probe, drawn
from wsa.conformance.subject import Subject
from wsa.errors import PluginFailure
from wsa.representation import Representation
from wsa_kernels.compilation import compiler_exists

COMPILED_TOLERANCE = 1e-4
FEW = {"attn1.to_q": (24, 24), "attn2.to_k": (24, 16)}
LEAST = {"attn1.to_q": (6, 5)}
# an update of these is 64 times as large as its factors: nobody can form all of them unseen
WIDE = {"attn1.to_q": (128, 128)}
# three tiles of 1 MiB are full with so many: what a tile takes is then no growth
MEMORY_ADAPTERS = 20
MEMORY_GROWTH = 24.0
TIMED_ADAPTERS = 32
TIMES_STATS = 200.0
ROUNDS = 3


def compiled_equals_eager(subject: Subject) -> str:
    """With torch.compile the features are the same, to rounding."""
    if not compiler_exists(subject.device.type):
        raise NothingToCheck("nothing can be compiled here")
    probe = drawn(FEW, adapters=3, blocks=1)
    eager = subject.features(probe, None, "reference")
    with warnings.catch_warnings():
        # torch warns of itself while it compiles, and a test session may take that for an error
        warnings.simplefilter("ignore")
        compiled = subject.features(probe, None, "compiled")
    columns = subject.columns(probe)
    refuse_difference(compiled, eager, columns, "without torch.compile", COMPILED_TOLERANCE)
    return ""


def memory_is_bounded(subject: Subject) -> str:
    """What an adapter more takes is its weights and features a few times, nothing larger."""
    small, large = (drawn(WIDE, n * MEMORY_ADAPTERS, 1) for n in (1, 2))
    # the first call pays for what stays: tables, compiled code
    _peak(subject, small)
    grown = max(0, _peak(subject, large) - _peak(subject, small)) / MEMORY_ADAPTERS
    own = 4 * (large.layout.parameters + len(subject.columns(large)))
    told = f"{grown / own:.1f} times an adapter's weights and features"
    refuse(grown > MEMORY_GROWTH * own, f"at most {MEMORY_GROWTH:.0f} times", told)
    return told


def memory_does_not_grow(subject: Subject) -> str:
    """Of calls on a small batch, fifty and fifty again, two fifties on end keep nothing."""
    probe = drawn(LEAST, adapters=2, rank=2, blocks=1)

    def call() -> None:
        # a batch each, as shards are: what a representation remembers by its batch grows, too
        subject.representation.extract(probe.batch(subject.view, subject.device))

    found = growth(call, subject.device)
    refuse(
        found.is_leak,
        f"nothing kept by {HALF} calls once {HALF} have warmed up, at most "
        f"{KIBIBYTES_A_CALL:.0f} KiB a call by the process",
        f"{found.blocks:.1f} objects and {found.kibibytes:.0f} KiB a call, up to call "
        f"{found.calls}",
    )
    return f"{found.calls} calls"


def time_is_told_against_stats(subject: Subject) -> str:
    """An adapter takes at most a few hundred times as long as by `stats`."""
    probe = drawn(adapters=TIMED_ADAPTERS)
    taken = _seconds(subject, probe)
    told = f"{1e3 * taken / TIMED_ADAPTERS:.3g} ms an adapter"
    stats = _stats(subject)
    if stats is None:
        return told
    times = taken / _seconds(stats, probe)
    told = f"{told}, {times:.2g} times stats"
    refuse(times > TIMES_STATS, f"at most {TIMES_STATS:.0f} times the time of stats", told)
    return told


def _peak(subject: Subject, probe: Probe) -> int:
    batch = probe.batch(subject.view, subject.device)
    return peak_bytes(lambda: subject.representation.extract(batch), subject.device)


def _seconds(subject: Subject, probe: Probe) -> float:
    rounds = []
    for _ in range(ROUNDS + 1):
        batch = probe.batch(subject.view, subject.device)
        started = time.perf_counter()
        subject.representation.extract(batch)
        if subject.device.type == "cuda":
            torch.cuda.synchronize()
        rounds.append(time.perf_counter() - started)
    # the first warms up; of the others the least: a busy machine only ever adds
    return min(rounds[1:])


def _stats(subject: Subject) -> Subject | None:
    """Return `stats` in the subject's place, None where it may not be loaded."""
    plugins = [each for each in registry.installed() if each.name == "stats"]
    try:
        found = [offer.representation for each in plugins for offer in registry.load(each)]
    except PluginFailure:
        return None
    if not found or not isinstance(found[0], Representation):
        return None
    return Subject(found[0], subject.view, subject.device, subject.probe)
