"""Every figure that darksieve holds itself to: measured anew, written to figures.json, shown as a table.

    python -m benchmarks.figures                 all of them (some two hours on two quiet cores)
    python -m benchmarks.figures networks chain  some of them

Each benchmark runs in a process of its own, so that one that fails, or needs much memory, spoils no other.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

MODULES = (
    "simulation",
    "bfactory",
    "invisible",
    "datasets",
    "cache",
    "features",
    "stream",
    "chunked_training",
    "continuum",
    "kaon_search",
    "invisible_search",
    "networks",
    "losses",
    "working_points",
    "choices",
    "limits",
    "look_elsewhere",
    "limit_checks",
    "injection",
    "published",
    "chain",
)
OUTPUT = Path("figures.json")
KEYS = ("area", "name", "value", "bar", "peer", "ratio", "command", "passed")


def measured(module: str) -> list[dict[str, Any]]:
    """The entries of one benchmark, from a fresh process; a failed one gives one entry that says so."""
    code = (
        "import importlib, json, sys\n"
        f"entries = importlib.import_module('benchmarks.{module}').measure()\n"
        "print('\\n@@' + json.dumps(entries, default=float))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    lines = [line for line in done.stdout.splitlines() if line.startswith("@@")]
    if done.returncode or not lines:
        reason = (done.stderr.strip().splitlines() or ["no output"])[-1]
        print(f"benchmarks.{module} failed: {reason}", file=sys.stderr)
        command = f"python -m benchmarks.{module}"
        failed = {"area": module, "name": f"benchmark {module} runs", "command": command, "passed": False}
        return [dict.fromkeys(KEYS) | failed]
    entries: list[dict[str, Any]] = json.loads(lines[-1].removeprefix("@@"))
    return [dict.fromkeys(KEYS) | entry for entry in entries]


def shown(value: Any) -> str:
    """A number, text or nothing as a cell."""
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "NO"
    if isinstance(value, int | float):
        return f"{value:.4g}"
    return str(value)


def table(entries: list[dict[str, Any]]) -> str:
    """The entries as aligned text."""
    columns = ("area", "name", "value", "bar", "ratio", "passed")
    rows = [columns, *([shown(entry[c]) for c in columns] for entry in entries)]
    widths = [max(len(row[i]) for row in rows) for i in range(len(columns))]
    return "\n".join("  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)) for row in rows)


def main() -> None:
    """Measure, write and show; entries of benchmarks that were not asked for are kept."""
    wanted = sys.argv[1:] or list(MODULES)
    unknown = [name for name in wanted if name not in MODULES]
    if unknown:
        raise SystemExit(f"no benchmark {unknown[0]!r}; there are {', '.join(MODULES)}")
    kept: dict[str, list[dict[str, Any]]] = {}
    if OUTPUT.exists():
        kept = {entry["module"]: [] for entry in json.loads(OUTPUT.read_text())}
        for entry in json.loads(OUTPUT.read_text()):
            kept[entry["module"]].append(entry)
    for name in wanted:
        print(f"benchmarks.{name} …", flush=True)
        kept[name] = [{**entry, "module": name} for entry in measured(name)]
        print(table(kept[name]), flush=True)
        ordered = [entry for module in MODULES for entry in kept.get(module, [])]
        OUTPUT.write_text(json.dumps(ordered, indent=1) + "\n")
    print(f"\n{table(ordered)}\n\n{OUTPUT}: {len(ordered)} figures")


if __name__ == "__main__":
    main()
