"""Sections of a config about what a run uses: tracking, memory, cache."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from darksieve.config.fields import Positive, Section


class TrackingConfig(Section):
    """MLflow: ``MLFLOW_TRACKING_URI`` or a SQLite file ``mlflow.db`` in the current folder."""

    enabled: bool = True
    uri: str | None = None


class MemoryConfig(Section):
    """Of more candidates than these, all samples together, the columns stay on disk while the run works.

    Trees are then fitted from blocks of rows, which changes the last digits of their scores.
    """

    max_candidates: Annotated[int, Field(ge=1000)] = 5_000_000


class CacheConfig(Section):
    """What was read or simulated is kept in ``folder``, ``DARKSIEVE_CACHE``, or the user's cache folder.

    ``DARKSIEVE_CACHE=off`` switches it off.
    """

    enabled: bool = True
    folder: str | None = None
    max_gb: Positive = 20.0
