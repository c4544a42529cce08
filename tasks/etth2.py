"""Forecasting the load and oil temperature of transformer station 2."""

from __future__ import annotations

from tasks.ett import HourlyETT


class ETTh2(HourlyETT):
    """Continue seven hourly series of transformer station 2, read from `root`/ETT/ETTh2.csv or `root`/ETTh2.csv."""

    target_value = 0.6367

    @property
    def file(self) -> str:
        """The file of station 2."""
        return "ETTh2"
