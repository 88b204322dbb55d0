"""A process that has imported the package once and forks for every command: the same entry point, without the imports.

Half a second of work stands behind two seconds of imports in most commands, and a walk runs hundreds of them. What is
imported here would be hidden from the walk if it were forgotten in the package; so the shortest suite's walk
(`test_suite_journeys.COLD`) and every command of test_command_journeys.py start the installed script itself.

It reads one JSON object a line ({argv, cwd, environment, out, err}) and answers {"pid": ...}, then {"code": ...}.
"""

from __future__ import annotations

import json
import os
import sys
import traceback
from collections.abc import Mapping
from importlib import import_module
from importlib.metadata import entry_points
from typing import Any, NoReturn

HEAVY = (
    "safety_eval.api",
    "safety_eval.report.page",
    "safety_eval.compare.difference_chart",
    "sklearn.svm",
    "rouge_score.rouge_scorer",
    "sacrebleu.metrics",
)
"""None of them imports torch, whose threads would not outlive a fork."""


def serve() -> None:
    """Answer until the input ends. A child that a signal ended has the code -signal, as subprocess gives it."""
    script = next(e for e in entry_points(group="console_scripts") if e.name == "safety-eval").load()
    for heavy in HEAVY:
        import_module(heavy)

    for line in sys.stdin:
        wanted = json.loads(line)
        if (pid := os.fork()) == 0:
            _child(script, wanted)
        _say({"pid": pid})
        _, status = os.waitpid(pid, 0)
        _say({"code": os.waitstatus_to_exitcode(status)})


def _say(what: Mapping[str, int]) -> None:
    sys.stdout.write(json.dumps(what) + "\n")
    sys.stdout.flush()


def _child(script: Any, wanted: Mapping[str, Any]) -> NoReturn:
    """Become the command: its folder, environment, arguments, empty input, and files for what it says."""
    os.chdir(wanted["cwd"])
    os.environ.clear()
    os.environ.update(wanted["environment"])
    files = (os.open(os.devnull, os.O_RDONLY), _opened(wanted["out"]), _opened(wanted["err"]))
    for number, file in enumerate(files):
        os.dup2(file, number)
    sys.argv = ["safety-eval", *wanted["argv"]]
    code = 0
    try:
        script()
    except SystemExit as ended:
        code = ended.code if isinstance(ended.code, int) else int(ended.code is not None)
    except BaseException:
        traceback.print_exc()
        code = 1
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def _opened(path: str) -> int:
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)


if __name__ == "__main__":
    serve()
