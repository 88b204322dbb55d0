"""Suites: spelled out as tasks with their settings; what a person asks for wins."""

from __future__ import annotations

import pytest

from safety_eval.core import plugins
from safety_eval.runs.config import run_config
from safety_eval.runs.suites import SUITES, spelled_out


@pytest.mark.parametrize("name", SUITES)
def test_a_suite_names_tasks_versions_and_scorers_that_exist(name: str) -> None:
    suite = SUITES[name]
    assert suite.about.endswith(".") and len(set(suite.tasks)) == len(suite.tasks)
    for task in suite.tasks:
        plugins.find("tasks", task)
    for task, version in suite.versions.items():
        assert version in plugins.find("tasks", task).versions
    assert set(suite.scorers) <= set(suite.tasks)
    assert set(suite.scorers.values()) <= set(plugins.names("scorers"))
    run_config(spelled_out({"model": "m", "tasks": name}))


def test_only_our_own_small_prompts_change_an_instrument() -> None:
    """A task has one instrument, whether it is asked by its name or in a suite."""
    assert [name for name, suite in SUITES.items() if suite.scorers] == ["quickstart"]


def test_code_llama_decodes_as_the_papers_do() -> None:
    for name in SUITES["code-llama"].tasks:
        task = plugins.find("tasks", name)
        assert (task.settings["temperature"], task.settings["top_p"], task.samples) == (0.1, 0.9, 1)


def test_suites_and_tasks_mix_without_repetition_and_own_choices_win() -> None:
    values = {
        "tasks": "quickstart, toxigen,cyber_frr",
        "scorers": {"toxigen": "detoxify"},
        "data_version": {"bold": "all"},
    }
    found = spelled_out(values)
    assert found["tasks"].count("toxigen") == 1 and found["tasks"][-1] == "cyber_frr"
    assert found["scorers"] == {
        "toxigen": "detoxify",
        "truthfulqa_generation": "truth_similarity",
        "red_team": "risk_words",
    }
    assert found["data_version"]["bold"] == "all" and found["data_version"]["toxigen"] == "quickstart"
    assert spelled_out({"tasks": ["bold"]})["tasks"] == ["bold"]


def test_a_version_for_every_task_is_not_overruled_by_the_suite() -> None:
    assert spelled_out({"tasks": "quickstart", "data_version": {"": "v1"}})["data_version"] == {"": "v1"}
