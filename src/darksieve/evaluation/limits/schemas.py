"""The published JSON schemas of the limit tool's two documents, generated from their models."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from darksieve.atomic import write_json
from darksieve.evaluation.limits.curve import LimitCurve
from darksieve.evaluation.limits.document import SearchModel


def document_schemas() -> dict[str, dict[str, Any]]:
    """File name -> JSON schema, as packaged in ``darksieve.configs``."""
    return {
        "search-document.schema.json": _schema(SearchModel, "darksieve-search/1"),
        "limits.schema.json": _schema(LimitCurve, "darksieve-limits/1"),
    }


def _schema(model: type[SearchModel] | type[LimitCurve], title: str) -> dict[str, Any]:
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **model.model_json_schema(by_alias=True),
        "title": title,
    }


def write_schemas(folder: str | Path) -> None:
    """Write the schemas anew, after a change of the models."""
    for name, schema in document_schemas().items():
        write_json(Path(folder) / name, schema)
