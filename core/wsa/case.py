"""Case: what `wsa bench` compares, as data: inputs, the truth, and those who contend."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor

# The columns of a case's result, by name: each [N, ...], compared one by one.
Answer = Mapping[str, "Tensor"]
Contender = Callable[[Any], Answer]

# The machine's own: a copy of as many bytes, and a matrix product.
COPY, PRODUCT = "copy", "product"
# The two ways that anything can be done without us.
YARDSTICKS = ("loop", "eager")


@dataclass(frozen=True)
class Setting:
    """What a case is run on; one line of the table for each contender."""

    adapters: int  #: N
    rank: int = 1  #: R; 0 where the case has none
    view: str = "factors"  #: factors, the stored matrices, or delta, each module's update
    dtype: str = "fp32"  #: of the weights: fp32, fp16 or bf16
    device: str = "cpu"  #: cpu or cuda: where `inputs` puts its tensors
    seed: int = 0  #: of the random data


@dataclass(frozen=True)
class Target:
    """A ratio that `wsa bench --check` asserts: the fastest of `of`, `times` as fast as `over`.

    `over` is another contender, or "copy": the machine's own copy of as many bytes.
    """

    of: tuple[str, ...]
    over: str
    times: float
    device: str = "cpu"
    view: str = "factors"
    dtype: str = "fp32"
    ranks: tuple[int, ...] = ()  # none: whatever the rank
    adapters: int = 0  # at least so many


@dataclass(frozen=True)
class Case:
    """A computation that several contenders do, and what they must all find.

    A contender is called with the inputs alone, and answers with the reference's names. It is an
    error, and not timed, where a value is further from the truth than `tolerance` allows, and
    where it writes to the inputs: the next contender gets the same. One called `compiled` is left
    out where torch.compile makes nothing of it.
    """

    name: str  #: words of a-z, 0-9 and _; `family/name` runs with its family too
    #: makes random data, never zeros, on the setting's device; outside of every clock
    inputs: Callable[[Setting], Any]
    reference: Contender  #: computes the truth, in float64, from the same inputs
    contenders: Mapping[str, Contender]  #: by backend, in the table's order
    shape: Callable[[Any], str]  #: how the inputs are told in the table
    bytes: Callable[[Any], int]  #: each input read once
    #: operations that the inputs take; 0: the case is told by its bytes alone
    flops: Callable[[Any], float] = field(default=lambda _: 0.0)
    #: how far from the truth, by name of an answer, "" for all others: a share of its greatest
    #: true value
    tolerance: Mapping[str, float] = field(default_factory=lambda: {"": 1e-5})
    views: tuple[str, ...] = ("factors",)  #: unless asked for one of them
    ranks: tuple[int, ...] = (1,)  #: unless asked for others; none: the case has no rank
    #: N by (device, view), unless asked for another
    adapters: Mapping[tuple[str, str], int] = field(default_factory=dict)
    #: how many of those are enough, where that hangs on rank and type of the setting
    enough: Callable[[Setting], int] = field(default=lambda setting: setting.adapters)
    #: takes some adapters, by their rows, out of the inputs; the truth is then computed for a
    #: sample of them
    part: Callable[[Any, Sequence[int]], Any] | None = None
    #: makes less of the inputs; `launches` are then those of a call on that, where a profiler would
    #: not hold what a call on all launches
    brief: Callable[[Any], Any] | None = None
    #: seconds, by contender: with `part`, one that takes longer for all is timed on a few
    scaled: Mapping[str, float] = field(default_factory=lambda: {"loop": 0.2, "eager": 10.0})
    #: backends that need the device "cuda", or a package; the others run everywhere
    needs: Mapping[str, str] = field(default_factory=lambda: {"triton": "cuda"})
    targets: tuple[Target, ...] = ()  #: ratios that `wsa bench --check` asserts
    #: backends that `--fail-if` judges; none: all but `loop` and `eager`
    gated: tuple[str, ...] = ()
    #: names of answers that are one number each: told beside the times, as a contender found them
    told: tuple[str, ...] = ()
    on_request: bool = False  #: runs only where its name, or its family's, is given
