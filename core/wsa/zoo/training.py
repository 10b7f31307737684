"""Training: a whole zoo, chunk by chunk on all cores, the same bytes on any number of them."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch

from wsa.progress import progress
from wsa.zoo.adapters import Trained, train

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from wsa.zoo.denoiser import Denoiser
    from wsa.zoo.images import Images
    from wsa.zoo.plan import Plan
    from wsa.zoo.recipe import Recipe

# Adapters trained together: 0.65 ms of one core per adapter and image at 20, 0.71 at 10, 0.55 at
# 40, which needs twice the memory and leaves cores idle at the end.
CHUNK = 20
MAX_WORKERS = 8


@contextmanager
def one_thread_each() -> Iterator[int]:
    """Give every torch operation one thread for a while, and tell how many there were.

    The zoo's matrices are small: threads inside an operation wait for each other most of the time,
    on a busy machine nearly all of it, and their number changes the order of sums.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield threads
    finally:
        torch.set_num_threads(threads)


def train_all(
    net: Denoiser, images: Images, plans: Sequence[Plan], recipe: Recipe, workers: int
) -> Trained:
    """Train every planned adapter, in chunks side by side."""
    start = recipe.seed if recipe.shared_init else None

    def work(chunk: Sequence[Plan]) -> Trained:
        return train(net, images, chunk, recipe.rank, recipe.steps, start)

    chunks = [plans[row : row + CHUNK] for row in range(0, len(plans), CHUNK)]
    pool = ThreadPoolExecutor(min(workers, len(chunks), MAX_WORKERS))
    done = []
    try:
        with progress("adapters", len(plans), "adapters") as report:
            for part in pool.map(work, chunks):
                done.append(part)
                report.advance(len(part.losses), f"error {part.losses[:, -1].mean():.3f}")
    finally:
        pool.shutdown(cancel_futures=True)
    return _joined(done)


def _joined(parts: Sequence[Trained]) -> Trained:
    weights = {name: torch.cat([part.weights[name] for part in parts]) for name in parts[0].weights}
    return Trained(weights, torch.cat([part.losses for part in parts]))
