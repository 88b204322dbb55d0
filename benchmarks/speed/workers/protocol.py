"""How a worker talks to run.py: a job file, then one round for each line on standard input.

A worker loads its model once, says "ready", and for each line answers with one line of JSON: seconds of the
round (model load excluded), processor seconds, peak memory, and what it computed. Standard library only: workers run in
environments of their own and know nothing of safety-eval.
"""

from __future__ import annotations

import json
import os
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

Job = dict[str, Any]
Round = Callable[[], dict[str, Any]]


def serve(prepare: Callable[[Job], Round]) -> None:
    """Run a worker. `prepare` loads the model; the function that it returns is timed once for each line read."""
    # Libraries print; only our lines may reach the other side.
    out = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    job = json.loads(Path(sys.argv[1]).read_text())
    run = prepare(job)
    print(json.dumps({"ready": True}), file=out)
    for _ in sys.stdin:
        start, work = time.perf_counter(), time.process_time()
        result = run()
        seconds = time.perf_counter() - start
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        spent = {"seconds": seconds, "cpu_seconds": time.process_time() - work, "peak_bytes": peak}
        print(json.dumps({**spent, **result}), file=out)
