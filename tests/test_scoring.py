"""What the selections of the channels leave of the samples."""

import json
import logging
from types import SimpleNamespace

import numpy as np
import pytest
import uproot

from darksieve.config_loading import load_config, validate
from darksieve.errors import InputError
from darksieve.workflow.chain import run_chain
from darksieve.workflow.scoring import score_candidates


def _write(path, n, first, x, signal=False):
    gen = np.linspace(1, 3, n)
    columns = {
        "__event__": (first + np.arange(n)).astype(np.uint32),
        "M": gen,
        "x": np.full(n, float(x)),
        **({"genM": gen} if signal else {}),
    }
    with uproot.recreate(path) as file:
        file.mktree("ntuple", {name: values.dtype for name, values in columns.items()})
        file["ntuple"].extend(columns)


def _config(folder, **values_of_x):
    samples = {}
    for i, (name, x) in enumerate(values_of_x.items()):
        _write(folder / f"{name}.root", 200, 1000 * i, x, signal=name == "signal")
        samples[name] = {"role": "background", "files": [str(folder / f"{name}.root")], "luminosity_fb": 1}
    samples["signal"] |= {"role": "signal", "mass": "genM", "n_generated": 200, "mass_range": [1, 3]}
    del samples["signal"]["luminosity_fb"]
    return validate(
        {
            "search": "selections",
            "luminosity_fb": 1,
            "samples": samples,
            "channels": {"only": {"select": "x > 0"}},
            "scan": {"observable": "M", "range": [1.5, 2.5], "masses": [2.0]},
            "tracking": {"enabled": False},
        }
    )


def test_a_background_of_which_nothing_is_left_is_said_and_counts_as_none(tmp_path, caplog, monkeypatch):
    monkeypatch.setenv("DARKSIEVE_CACHE", "off")
    with caplog.at_level(logging.WARNING, logger="darksieve"):
        run_chain(_config(tmp_path, common=1, rare=-1, signal=1), tmp_path / "run", "train")
    assert "sample rare: no candidate passes the selection of any channel" in caplog.text
    flow = json.loads((tmp_path / "run" / "cut_flow.json").read_text())["rare"]
    assert flow[-1]["n_after"] == 0


@pytest.mark.parametrize(
    ("values_of_x", "name"),
    [({"common": 1, "signal": -1}, "signal"), ({"common": -1, "signal": 1}, "common")],
)
def test_a_search_without_signal_or_any_background_is_refused(tmp_path, values_of_x, name, monkeypatch):
    monkeypatch.setenv("DARKSIEVE_CACHE", "off")
    with pytest.raises(InputError, match=f"sample {name}: no candidate passes"):
        run_chain(_config(tmp_path, **values_of_x), tmp_path / "run", "train")


def test_candidates_are_written_anew_where_other_variables_are_to_be_cut_on():
    def identity(*overrides):
        found = []
        context = SimpleNamespace(
            config=load_config("b_to_k_alp", list(overrides)),
            key=lambda *names: list(names),
            stage=lambda name, depends_on, work: found.append((name, depends_on)),
        )
        score_candidates(context, SimpleNamespace(identity="events"))
        return found

    assert identity() == identity()
    assert identity() != identity("working_points.rectangular=[R2]")
    assert identity() != identity("working_points.preselection={cosTheta_B: {keep: below}}")
