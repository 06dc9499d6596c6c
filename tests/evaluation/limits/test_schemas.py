import json
from importlib import resources

import pytest

from darksieve.evaluation.limits.curve import LimitCurve, LimitPoint
from darksieve.evaluation.limits.schemas import document_schemas


@pytest.mark.parametrize("name", document_schemas())
def test_the_packaged_schemas_are_those_of_the_models(name):
    text = (resources.files("darksieve.configs") / name).read_text(encoding="utf-8")
    assert json.loads(text) == document_schemas()[name], "write them anew: write_schemas in limits/schemas.py"


def test_what_is_written_fits_the_published_schema():
    jsonschema = pytest.importorskip("jsonschema")
    points = (LimitPoint(label="a", status="converged", observed=1.0, expected={"0": 1.0}),)
    curve = LimitCurve(confidence_level=0.9, asimov="postfit", points=points)
    jsonschema.validate(curve.to_json(), document_schemas()["limits.schema.json"])
