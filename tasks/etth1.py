"""Forecasting the load and oil temperature of transformer station 1."""

from __future__ import annotations

from tasks.ett import HourlyETT


class ETTh1(HourlyETT):
    """Continue seven hourly series of transformer station 1, read from `root`/ETT/ETTh1.csv or `root`/ETTh1.csv."""

    target_value = 0.8887

    @property
    def file(self) -> str:
        """The file of station 1."""
        return "ETTh1"
