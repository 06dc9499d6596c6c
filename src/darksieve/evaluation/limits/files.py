"""JSON files of the limit tool, read with a clear error."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from darksieve.errors import InputError


def read_json(path: str | Path) -> Any:
    """Parsed JSON of a file; InputError if it cannot be read or parsed."""
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from None
    except ValueError as error:
        raise InputError(f"{path}: not valid JSON ({error})") from None
