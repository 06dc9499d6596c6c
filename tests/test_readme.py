"""What the README shows can be run."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()


def test_the_example_in_python_prints_what_it_says():
    (code,) = re.findall(r"```python\n(.*?)```", README, re.S)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    # exact CLs of n = 6 on 5.5 known background: closed form, 7.013499
    assert float(done.stdout) == pytest.approx(7.013499, abs=1e-4)


def test_every_command_shown_is_one_that_exists():
    from darksieve.cli import app

    known = {command.callback.__name__ for command in app.registered_commands}
    blocks = "\n".join(re.findall(r"```\n(.*?)```", README, re.S))
    shown = set(re.findall(r"^darksieve (\w+)", blocks, re.M))
    assert shown
    assert shown <= known


def test_every_file_it_links_to_is_there():
    links = [link for link in re.findall(r"\]\(([^)#]+)\)", README) if "://" not in link]
    assert links
    assert [link for link in links if not (ROOT / link).exists()] == []


def test_both_commands_are_shown_and_ci_runs_the_second():
    assert "make demo" in README
    assert "make test" in README
    assert "make test" in (ROOT / ".ci" / "run").read_text()
