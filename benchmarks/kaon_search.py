"""B → K(*) a(→ γγ) end to end: time, memory, and four modes together beside what each of them adds.

python -m benchmarks.kaon_search
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.b_searches import entries_of

COMMAND = "python -m benchmarks.kaon_search"


def measure() -> list[dict[str, Any]]:
    """The preset b_to_k_alp."""
    with tempfile.TemporaryDirectory() as folder:
        return entries_of("b_to_k_alp", COMMAND, Path(folder))


if __name__ == "__main__":
    print(json.dumps(measure(), indent=1))
