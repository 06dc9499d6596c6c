"""The small search B → K(*) a of the guide, from its simulation to its limits, through the command line."""

import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml

from darksieve.config_loading import load_config
from darksieve.datasets.simulation.bfactory.rates import Rates
from darksieve.errors import InputError
from darksieve.workflow.checks import check_search

GUIDE = Path(__file__).resolve().parents[1] / "docs" / "simulation.md"
ENTRY = "from darksieve.cli import main; main()"


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    blocks = re.findall(r"```yaml\n(.*?)```", GUIDE.read_text(encoding="utf-8"), re.DOTALL)
    text = next(block for block in blocks if block.startswith("search:"))
    path = tmp_path_factory.mktemp("kaon") / "search.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def test_the_search_of_the_guide_passes_the_check(config):
    lines = check_search(load_config(config))
    assert any("simulated (b_to_kstarplus_alp)" in line for line in lines)


def test_its_secondary_fractions_are_those_of_the_rates(config):
    channels = yaml.safe_load(config.read_text(encoding="utf-8"))["channels"]
    for mode, channel in channels.items():
        assert channel.get("secondary_fraction", 1.0) == pytest.approx(sum(Rates().submodes(mode)), abs=6e-4)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("samples.kplus.settings.mass_range=[0.8, 5.0]", r"5\.0 GeV; it lies in 0 to 4\.786 GeV"),
        ("samples.kplus.settings.tracking={eficiency: 1}", r"tracking\.eficiency: unknown key"),
        ("samples.continuum.settings={n_candidates: 0}", "n_candidates is 0"),
        ("samples.continuum.settings={n_events: 5, n_candidates: 5}", "either n_events, luminosity_fb or"),
        ("samples.kplus.settings={masses: {1.0: 5}, n_candidates: 5}", "leave n_candidates out"),
        ("samples.continuum.settings.detector={}", "settings.detector: unknown key"),
        ("beams={electron_gev: 5, positron_gev: 5, crossing_mrad: 0}", r"the Υ\(4S\) is at 10\.58 GeV"),
        ("classifiers.0.features=[R2, isSignal]", "isSignal"),
        ("classifiers.0.features=[R2, cosTBT]", "has no branch 'cosTBT'"),
    ],
)
def test_what_is_wrong_with_it_is_said_before_any_event(config, override, message):
    with pytest.raises(InputError, match=message):
        check_search(load_config(config, [override]))


@pytest.mark.slow
def test_the_search_of_the_guide_simulates_and_runs(config):
    def darksieve(*arguments):
        return subprocess.run(
            [sys.executable, "-c", ENTRY, *arguments],
            cwd=config.parent,
            capture_output=True,
            text=True,
            check=False,
        )

    done = darksieve("simulate", "search.yaml", "-o", "run")
    assert done.returncode == 0, done.stderr
    run = config.parent / "run"
    assert {path.stem for path in (run / "samples").glob("*.root")} == {
        "continuum", "kplus", "kshort", "kstarplus", "kstarzero",
    }  # fmt: skip
    record = json.loads((run / "samples" / "continuum.json").read_text())
    assert record["n_selected"] >= 2000
    assert record["luminosity_fb"] == pytest.approx(record["n_generated"] / 3.69e6)
    done = darksieve("run", "search.yaml", "-o", "run")
    assert done.returncode == 0, done.stderr
    points = json.loads((run / "limits.json").read_text())["points"]
    assert [point["mass"] for point in points] == [1.2, 2.0, 2.8]
    assert all(point["status"] == "converged" for point in points)
    working_points = json.loads((run / "working_points.json").read_text())["points"]
    efficiency = dict.fromkeys(("kplus", "kshort", "kstarplus", "kstarzero"), 0.0)
    for point in working_points:
        if point["mass"] == 2.0:
            efficiency[point["channel"]] += point["signal_efficiency"]
    # loose toy selection, tracks of 0.96 each, photons of 0.95 each, K_S far out, soft π0: K+ most, K*+ least
    assert 0.35 < efficiency["kplus"] < 0.8
    assert all(0.1 < efficiency[mode] < efficiency["kplus"] for mode in ("kshort", "kstarplus", "kstarzero"))
    assert (run / "report.html").is_file()
    document = json.loads((run / "working_points.json").read_text())
    # channels are chosen for their fit: that is where the order of choices is judged
    assert [(o["simpler"], o["better"]) for o in document["comparison_together"]["orders"]] == [
        ("global_threshold", "threshold"),
        ("threshold", "categories"),
    ]
    assert all(entry["orders"] == [] for entry in document["comparison"].values())
    together = np.array(document["comparison_together"]["limits"]["categories"], float)
    alone = np.array([entry["limits"]["categories"] for entry in document["comparison"].values()], float)
    # where no background of a channel is simulated nothing is said of the fit
    known = np.isfinite(alone).all(axis=0)
    assert np.array_equal(np.isfinite(together), known)
    assert (together[known] < alone[:, known].min(axis=0)).all()
    assert (
        "all channels together: categories no worse than threshold by mass" in (run / "log.txt").read_text()
    )
