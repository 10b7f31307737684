"""The experiment: plan the tasks, skip what is done, train the rest, merge the results."""

from __future__ import annotations

from wsa.experiment.comparison import report as compare
from wsa.experiment.config import RunConfig
from wsa.experiment.export import export
from wsa.experiment.features import FeatureTable, extract
from wsa.experiment.forecast import Forecast, forecast
from wsa.experiment.preparation import Prepared, prepare
from wsa.experiment.tasks import Summary, run

__all__ = [
    "FeatureTable",
    "Forecast",
    "Prepared",
    "RunConfig",
    "Summary",
    "compare",
    "export",
    "extract",
    "forecast",
    "prepare",
    "run",
]
