import copy
import json

import numpy as np
import pytest

from darksieve.errors import InputError
from darksieve.evaluation.limits.histfactory import Likelihood, background_under_signal
from darksieve.evaluation.limits.histfactory_kernel import negative_log_likelihood, value_and_gradient
from darksieve.evaluation.limits.interpolation import parse_interpolation
from darksieve.evaluation.limits.patches import patched
from darksieve.evaluation.limits.toy_limits import toy_cls
from darksieve.evaluation.limits.workspace import Workspace
from darksieve.evaluation.limits.workspace_asymptotics import asymptotic_answer
from darksieve.evaluation.limits.workspace_toys import WorkspaceToys

MU = {"name": "mu", "type": "normfactor", "data": None}
OLD = parse_interpolation("normsys=code1,histosys=code0")


def shapesys(*errors, name="u"):
    return {"name": name, "type": "shapesys", "data": list(errors)}


def workspace(channels, parameters=()):
    """A workspace from (name, signal or None, modifiers of it, background, modifiers of it, data)."""
    made, observations = [], []
    for name, signal, with_signal, background, modifiers, data in channels:
        samples = [{"name": "b", "data": background, "modifiers": modifiers}]
        if signal is not None:
            samples.insert(0, {"name": "s", "data": signal, "modifiers": [MU, *with_signal]})
        made.append({"name": name, "samples": samples})
        observations.append({"name": name, "data": data})
    config = {"poi": "mu", "parameters": list(parameters)}
    return {
        "channels": made,
        "observations": observations,
        "measurements": [{"name": "m", "config": config}],
        "version": "1.0.0",
    }


LUMI = {"name": "lumi", "auxdata": [1.0], "sigmas": [0.1], "bounds": [[0, 10]], "inits": [1.0]}
HISTOSYS = {"name": "h", "type": "histosys", "data": {"hi_data": [102.0, 190.0], "lo_data": [98.0, 100.0]}}
# pyhf tests/test_validation.py (ROOT's HistFactory): μ = 1, q, codes 1 and 0; CLs observed and at −2 … +2 σ
VALIDATION = {
    "shapesys": (
        workspace([("c", [10.0], [], [50.0], [shapesys(7.0)], [55.0])]),
        (0.454188929, 0.0637201, 0.1509687, 0.3279657, 0.6046136, 0.8662652),
    ),
    "lumi": (
        workspace(
            [("c", [20.0], [], [100.0], [{"name": "lumi", "type": "lumi", "data": None}], [55.0])], [LUMI]
        ),
        (0.0104731, 0.0106040, 0.0402245, 0.1361463, 0.3707899, 0.7110469),
    ),
    "histosys": (
        workspace([("c", [30.0, 95.0], [], [100.0, 150.0], [HISTOSYS], [120.0, 180.0])]),
        (0.1001463, 7.1339e-6, 1.25471e-4, 1.880011e-3, 0.0207896, 0.1369249),
    ),
    "two channels": (
        workspace(
            [
                ("SR", [10.0, 35.0], [], [100.0, 150.0], [shapesys(10.0, 10.0)], [110.0, 155.0]),
                ("CR", None, [], [200.0, 350.0], [shapesys(5.0, 10.0, name="v")], [205.0, 345.0]),
            ]
        ),
        (0.0563328, 4.34923e-4, 3.42236e-3, 0.0233745, 0.1218665, 0.4038227),
    ),
}


@pytest.mark.parametrize("name", VALIDATION)
def test_cls_is_that_of_roots_histfactory(name):
    document, reference = VALIDATION[name]
    answer = asymptotic_answer(Workspace.parse(document, interpolation=OLD), cls_at=1.0, test_statistic="q")
    assert (answer.cls_observed, *answer.cls_expected) == pytest.approx(reference, rel=1e-4)
    assert answer.status == "converged"


def test_a_bin_without_uncertainty_has_no_parameter_in_roots_nuisance_filter():
    document = workspace([("c", [20.0, 10.0], [], [100.0, 10.0], [shapesys(10.0, 0.0)], [100.0, 10.0])])
    parsed = Workspace.parse(document)
    assert parsed.free.tolist() == [True, True, False]
    answer = asymptotic_answer(parsed, cls_at=1.0)
    reference = (0.0043606344, 2.7022e-5, 3.70999e-4, 4.360634e-3, 0.0381503, 0.2020303)
    assert (answer.cls_observed, *answer.cls_expected) == pytest.approx(reference, rel=1e-4)


def random_workspace(rng):
    """One or two channels with every kind of modifier, drawn at random."""
    channels = []
    for c in range(int(rng.integers(1, 3))):
        n = int(rng.integers(1, 4))
        b = rng.uniform(20, 150, n)
        s = rng.uniform(3, 20, n)
        kinds = rng.random(7) < 0.5
        modifiers, on_signal = [], []
        if kinds[0]:
            modifiers.append(shapesys(*(b * rng.uniform(0.03, 0.2, n)), name=f"shape{c}"))
        if kinds[1]:
            data = {"lo": float(rng.uniform(0.8, 0.99)), "hi": float(rng.uniform(1.01, 1.2))}
            modifiers.append({"name": "norm", "type": "normsys", "data": data})
            on_signal.append({"name": "norm", "type": "normsys", "data": {"lo": 0.95, "hi": 1.04}})
        if kinds[2]:
            tilt = rng.uniform(-0.15, 0.15, n)
            data = {
                "hi_data": list(b * (1 + tilt)),
                "lo_data": list(b * (1 - tilt + rng.uniform(-0.02, 0.02))),
            }
            modifiers.append({"name": "tilt", "type": "histosys", "data": data})
        if kinds[3]:
            modifiers.append(
                {"name": f"stat{c}", "type": "staterror", "data": list(b * rng.uniform(0.02, 0.1, n))}
            )
            on_signal.append({"name": f"stat{c}", "type": "staterror", "data": list(s * 0.1)})
        if kinds[4]:
            modifiers.append({"name": "lumi", "type": "lumi", "data": None})
            on_signal.append({"name": "lumi", "type": "lumi", "data": None})
        if kinds[5]:
            on_signal.append({"name": "norm2", "type": "normsys", "data": {"lo": 0.9, "hi": 1.1}})
        data = [float(x) for x in rng.poisson(b + 0.3 * s)]
        channels.append((f"c{c}", list(s), on_signal, list(b), modifiers, data))
    if rng.random() < 0.3:  # a control region whose shape is free
        free = {"name": "free", "type": "shapefactor", "data": None}
        channels.append(("cr", None, [], [50.0] * 2, [free], [61.0, 44.0]))
    return workspace(channels, [LUMI])


def pyhf_answer(document, tested, codes):
    pyhf = pytest.importorskip("pyhf")
    spec = pyhf.Workspace(document)
    settings = {name: {"interpcode": code} for name, code in codes.items()}
    model = spec.model(modifier_settings=settings)

    def ask(optimizer):
        pyhf.set_backend("numpy", optimizer)
        return pyhf.infer.hypotest(
            tested, spec.data(model), model, test_stat="qtilde", return_expected_set=True
        )

    try:
        observed, expected = ask(pyhf.optimize.minuit_optimizer(tolerance=1e-3, strategy=1))
    except pyhf.exceptions.FailedMinimization:  # MIGRAD at the kink of code 0
        observed, expected = ask(pyhf.optimize.scipy_optimizer(tolerance=1e-9))
    return float(observed), [float(x) for x in expected]


@pytest.mark.parametrize("seed", range(16))
def test_cls_agrees_with_pyhf_on_random_workspaces(seed):
    document = random_workspace(np.random.default_rng(seed))
    codes = {"normsys": ("code4", "code1")[seed % 2], "histosys": ("code4p", "code0")[seed % 2]}
    parsed = Workspace.parse(document, interpolation=codes)
    limit = asymptotic_answer(parsed)
    tested = limit.expected[2]
    answer = asymptotic_answer(parsed, cls_at=tested)
    observed, expected = pyhf_answer(document, tested, codes)
    # d ln CLs / d ln μ is about 3 to 6 at the limit: 1e-3 in CLs is less than 3e-4 in the limit
    assert answer.cls_observed == pytest.approx(observed, rel=1e-3)
    assert answer.cls_expected == pytest.approx(expected, rel=1e-3)


@pytest.mark.slow
def test_limits_agree_with_pyhf_to_3e_4():
    pyhf = pytest.importorskip("pyhf")
    for seed in (20, 21, 24):
        document = random_workspace(np.random.default_rng(seed))
        answer = asymptotic_answer(Workspace.parse(document))
        pyhf.set_backend("numpy", pyhf.optimize.minuit_optimizer(tolerance=1e-4, strategy=2))
        spec = pyhf.Workspace(document)
        model = spec.model()
        bracket = (0.3 * answer.expected[0], min(3 * max(answer.expected[4], answer.observed), 10))
        observed, expected = pyhf.infer.intervals.upper_limits.toms748_scan(
            spec.data(model), model, *bracket, level=0.05, rtol=1e-6
        )
        assert answer.observed == pytest.approx(float(observed), rel=3e-4)
        assert answer.expected == pytest.approx([float(x) for x in expected], rel=3e-4)


@pytest.mark.parametrize("code", ["code0", "code1", "code2", "code4"])
@pytest.mark.parametrize("seed", [0, 3, 5])
def test_the_gradient_is_exact(code, seed):
    shape = {"code0": "code0", "code1": "code0", "code2": "code2", "code4": "code4p"}[code]
    document = random_workspace(np.random.default_rng(seed))
    w = Workspace.parse(document, interpolation={"normsys": code, "histosys": shape})
    rng = np.random.default_rng(1)
    rates = np.empty(w.counts.size)
    for _ in range(5):
        x = w.start + rng.uniform(-0.4, 1.6, w.start.size) * np.where(w.model.scale == 1, 1, 0.3)
        x = np.clip(x, w.lower + 1e-3, w.upper)
        gradient = np.empty(x.size)
        value_and_gradient(w.model, x, w.counts, w.auxiliary, gradient)
        for k in np.flatnonzero(w.free):
            ends = []
            for sign in (1, -1):
                moved = x.copy()
                moved[k] += sign * 1e-6
                ends.append(negative_log_likelihood(w.model, moved, w.counts, w.auxiliary, rates))
            assert gradient[k] == pytest.approx((ends[0] - ends[1]) / 2e-6, rel=1e-4, abs=1e-4)


def test_interpolation_joins_at_one_sigma_and_meets_its_ends():
    for codes in ({"normsys": "code4", "histosys": "code4p"}, {"normsys": "code2", "histosys": "code2"}):
        modifiers = [
            {"name": "n", "type": "normsys", "data": {"lo": 0.8, "hi": 1.3}},
            {"name": "h", "type": "histosys", "data": {"lo_data": [90.0], "hi_data": [115.0]}},
        ]
        w = Workspace.parse(workspace([("c", [1.0], [], [100.0], modifiers, [100.0])]), interpolation=codes)
        data = Likelihood(w)

        def rate(n, h, w=w, data=data):
            x = w.start.copy()
            x[w.poi], x[w.names.index("n")], x[w.names.index("h")] = 0.0, n, h
            return data.rates(x)[0]

        assert rate(1, 0) == pytest.approx(130)
        assert rate(-1, 0) == pytest.approx(80)
        assert rate(0, 1) == pytest.approx(115)
        assert rate(0, -1) == pytest.approx(90)
        for end in (-1, 1):
            assert rate(end * (1 + 1e-9), 0) == pytest.approx(rate(end * (1 - 1e-9), 0), rel=1e-7)
            assert rate(0, end * (1 + 1e-9)) == pytest.approx(rate(0, end * (1 - 1e-9)), rel=1e-7)


def test_the_measurements_settings_are_honoured():
    config = [
        {"name": "mu", "bounds": [[0, 0.7]], "inits": [0.2]},
        {"name": "n", "inits": [0.5], "fixed": True},
    ]
    norm = {"name": "n", "type": "normsys", "data": {"lo": 0.9, "hi": 1.1}}
    w = Workspace.parse(workspace([("c", [10.0], [], [50.0], [norm], [90.0])], config))
    best = Likelihood(w).fit()
    assert best.parameters[w.poi] == 0.7
    assert best.parameters[w.names.index("n")] == 0.5


def broken(change):
    document = copy.deepcopy(VALIDATION["two channels"][0])
    change(document)
    return document


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: d["channels"][0]["samples"][0]["modifiers"].append({"name": "x", "type": "normsyss"}),
         r"samples\[0\].modifiers\[1\]: unknown modifier 'normsyss'.*did you mean 'normsys'"),
        (lambda d: d["channels"][0]["samples"][0].update(data=[1.0, float("nan")]), "nan is not a finite"),
        (lambda d: d["channels"][0]["samples"][0].update(data=[1.0]), "the channel has 1 bins|has 2 bins"),
        (lambda d: d["channels"][0].update(samples=[]), "no samples"),
        (lambda d: d["observations"].pop(), "observations: none for channel 'CR'"),
        (lambda d: d["observations"][0].update(data=[1.0, -1.0]), r"data\[1\]: -1.0 is below 0"),
        (lambda d: d["measurements"][0]["config"].update(poi="mo"), "'mo' is no par.*did you mean 'mu'"),
        (lambda d: d["channels"][1]["samples"][0]["modifiers"][0].update(name="u"), "'u' twice"),
        (lambda d: d.pop("measurements"), "'measurements' is missing"),
    ],
)  # fmt: skip
def test_a_broken_workspace_names_its_place(change, message):
    with pytest.raises(InputError, match=message):
        Workspace.parse(broken(change))


def test_an_unknown_interpolation_is_refused():
    with pytest.raises(InputError, match="normsys takes code0, code1, code2, code4"):
        parse_interpolation("normsys=code4p")
    with pytest.raises(InputError, match="no such modifier"):
        parse_interpolation("shapesys=code1")


def test_patches_change_a_copy():
    document = VALIDATION["shapesys"][0]
    before = json.dumps(document)
    operations = [{"op": "replace", "path": "/channels/0/samples/0/data/0", "value": 20.0}]
    patch_set = {"patches": [{"metadata": {"name": "double", "values": [1]}, "patch": operations}]}
    [(name, made)] = patched(document, patch_set)
    assert name == "double"
    assert json.dumps(document) == before
    single, double = (asymptotic_answer(Workspace.parse(d)) for d in (document, made))
    assert double.observed == pytest.approx(single.observed / 2, rel=1e-6)
    with pytest.raises(InputError, match="does not apply"):
        list(patched(document, [{"op": "replace", "path": "/channels/7/name", "value": "x"}]))


def test_a_workspace_without_signal_says_so():
    document = workspace([("c", [0.0], [], [50.0], [shapesys(7.0)], [55.0])])
    assert asymptotic_answer(Workspace.parse(document)).status == "no_signal"


def test_the_background_under_the_signal_is_that_of_its_best_bins():
    document = workspace([("c", [96.0, 4.0], [], [3.0, 1000.0], [], [3.0, 1000.0])])
    assert background_under_signal(Workspace.parse(document)) == pytest.approx(3.0)


def test_toys_of_a_count_meet_the_exact_cls():
    document = workspace([("c", [5.0], [], [5.5], [], [6.0])], [{"name": "mu", "bounds": [[0, 50]]}])
    toys = WorkspaceToys(Workspace.parse(document), seed=np.random.SeedSequence(1))
    found = toy_cls(toys, 1.0, 20_000)
    assert abs(found.observed - 0.148145) < 4 * found.observed_error
    again = toy_cls(WorkspaceToys(Workspace.parse(document), seed=np.random.SeedSequence(1)), 1.0, 20_000)
    assert again == found
