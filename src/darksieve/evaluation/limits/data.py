"""Data of a channel of a search document: values, a histogram, a count, or a branch of a file."""

from __future__ import annotations

from typing import Annotated, Any, Self

from pydantic import Discriminator, Tag, model_validator

from darksieve.evaluation.limits.faults import fault
from darksieve.evaluation.limits.parts import NonNegatives, Part, Reals, check_edges, check_histogram


class UnbinnedData(Part):
    """Observed values of the scanned observable, one per event."""

    values: Reals


class BinnedData(Part):
    """A histogram of the scanned observable; without ``counts`` it is the binning of a blind document."""

    edges: Reals
    counts: NonNegatives | None = None

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.counts is None:
            check_edges(self.edges, "edges")
        else:
            check_histogram(self.edges, self.counts, "counts")
        return self


class CountingData(Part):
    """One number: the events that pass a selection."""

    counts: NonNegatives

    @model_validator(mode="after")
    def _check(self) -> Self:
        if len(self.counts) != 1:
            raise fault(
                f"{len(self.counts)} counts without edges; give 'edges' too, or one channel for each count",
                "counts",
            )
        return self


class FileData(Part):
    """Values in a branch of a ROOT or Parquet file; relative paths start at the document's folder."""

    file: str
    tree: str | None = None
    branch: str
    select: str | None = None


def _data_tag(data: Any) -> str:
    keys = set(data) if isinstance(data, dict) else set(getattr(data, "model_fields_set", ()))
    if "file" in keys or "branch" in keys:
        return "file"
    if "edges" in keys:
        return "binned"
    return "counting" if "counts" in keys else "unbinned"


Data = Annotated[
    Annotated[UnbinnedData, Tag("unbinned")]
    | Annotated[BinnedData, Tag("binned")]
    | Annotated[CountingData, Tag("counting")]
    | Annotated[FileData, Tag("file")],
    Discriminator(_data_tag),
]
