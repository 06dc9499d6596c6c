"""B → h X with X invisible end to end: time, memory, and five channels together beside what each adds.

python -m benchmarks.invisible_search
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.b_searches import entries_of

COMMAND = "python -m benchmarks.invisible_search"


def measure() -> list[dict[str, Any]]:
    """The preset b_to_h_invisible."""
    with tempfile.TemporaryDirectory() as folder:
        return entries_of("b_to_h_invisible", COMMAND, Path(folder))


if __name__ == "__main__":
    print(json.dumps(measure(), indent=1))
