from __future__ import annotations

from wsa.train.stopping import Stopping


def follow(losses: list[float], patience: int = 3) -> Stopping:
    stopping = Stopping(1, patience)
    for loss in losses:
        if stopping.active:
            stopping.record({0: loss})
    return stopping


def test_a_run_stops_after_its_patience_and_remembers_its_best() -> None:
    stopping = follow([3.0, 2.0, 2.5, 2.5, 2.5, 1.0])
    assert (stopping.active, stopping.epochs, stopping.best_epoch) == ([], [5], [2])
    assert stopping.best_loss == [2.0]


def test_crumbs_are_kept_but_do_not_buy_patience() -> None:
    stopping = follow([1.0, 0.999, 0.998, 0.997, 0.996])
    assert (stopping.active, stopping.epochs, stopping.best_epoch) == ([], [4], [4])


def test_crumbs_that_add_up_are_a_gain() -> None:
    assert follow([1.0, 0.996, 0.992, 0.988, 0.984, 0.98]).active == [0]


def test_an_equal_loss_is_no_improvement() -> None:
    assert follow([1.0, 1.0, 1.0]).best_epoch == [1]


def test_a_loss_that_is_not_a_number_improves_nothing() -> None:
    stopping = follow([float("nan")] * 5)
    assert (stopping.active, stopping.best_epoch, stopping.epochs) == ([], [0], [1])
    assert stopping.failed == [1]


def test_runs_stop_one_by_one() -> None:
    stopping = Stopping(3, patience=2)
    for epoch in range(4):
        stopping.record({0: 1.0, 1: -float(epoch), 2: 1.0 if epoch else 2.0})
    assert stopping.active == [1]
    assert stopping.epochs == [3, 4, 4]


def test_counters_go_on_where_they_were() -> None:
    stopping, other = follow([3.0, 2.0, 2.5]), Stopping(1, patience=3)
    other.restore(stopping.state())
    assert other.record({0: 1.5}) == stopping.record({0: 1.5}) == [0]
    assert other.state() == stopping.state()
