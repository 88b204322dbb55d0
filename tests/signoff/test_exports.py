"""The model-card section and the ML-BOM say what was measured, with intervals, and are valid."""

from __future__ import annotations

import json
from pathlib import Path

import evidence_bundle
import jsonschema
import pytest
from referencing import Registry, Resource

from safety_eval.core.errors import UserError
from safety_eval.export import cyclonedx, model_card


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return evidence_bundle.make(tmp_path_factory.mktemp("exports"))[0]


def _validator() -> jsonschema.Draft7Validator:
    lib = pytest.importorskip("cyclonedx.schema")
    folder = Path(lib.__file__).parent / "_res"
    names = ("bom-1.6.SNAPSHOT", "spdx.SNAPSHOT", "jsf-0.82.SNAPSHOT")
    schemas = [json.loads((folder / f"{name}.schema.json").read_text()) for name in names]
    named = [
        (f"http://cyclonedx.org/schema/{n}.schema.json", Resource.from_contents(s))
        for n, s in zip(names, schemas, strict=True)
    ]
    return jsonschema.Draft7Validator(schemas[0], registry=Registry().with_resources(named))


def test_the_ml_bom_is_valid_and_has_every_slice_with_its_interval(run: Path) -> None:
    made = cyclonedx.fragment(run)
    _validator().validate(made)
    card = made["components"][0]["modelCard"]
    slices = {m["slice"]: m for m in card["quantitativeAnalysis"]["performanceMetrics"] if "negative" in m["type"]}
    assert {"all", "macro: macro", "team: red", "team: green", "team: blue"} <= set(slices)
    assert float(slices["team: red"]["value"]) == pytest.approx(0.2)
    assert float(slices["team: red"]["confidenceInterval"]["lowerBound"]) < 0.2
    assert {"name": "safety-eval:decision", "value": "approved with waivers"} in card["properties"]
    assert made == cyclonedx.fragment(run)


def test_the_schema_refuses_a_fragment_with_numbers_where_strings_are_wanted(run: Path) -> None:
    made = cyclonedx.fragment(run)
    made["components"][0]["modelCard"]["quantitativeAnalysis"]["performanceMetrics"][0]["value"] = 0.2
    with pytest.raises(jsonschema.ValidationError):
        _validator().validate(made)


def test_the_model_card_section_has_decision_headlines_groups_and_escapes(run: Path) -> None:
    text = model_card.section(run)
    assert "**Release decision: approved with waivers**" in text and "waived by A. Person" in text
    assert "negative rate, red | 20.00% \\[" in text and "| 40 |" in text
    assert "<" not in text.replace("&lt;", "")
    assert model_card._md("<b>|x") == "&lt;b&gt;\\|x"


def test_a_run_without_results_is_refused(run: Path, tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text((run / "run.json").read_text())
    with pytest.raises(UserError, match="nothing was measured"):
        model_card.section(tmp_path)
