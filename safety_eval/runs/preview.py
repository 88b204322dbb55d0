"""What a run would do, told before anything is spent."""

from __future__ import annotations

from typing import Any

from safety_eval.runs import resolve
from safety_eval.runs.before import fits
from safety_eval.runs.config import RunConfig


def preview(config: RunConfig) -> list[dict[str, Any]]:
    """What `run` would do, one row for each task; loads prompts, no model."""
    rows = []
    for plan in resolve.resolve(config):
        found = resolve.load(plan, config.limit)
        rows.append(
            {
                "task": plan.task.name,
                "data_version": found.version,
                "prompts": len(found.prompts),
                "answers": len(found.prompts) * plan.samples,
                "instruments": [c.name for c in plan.scorers],
                "settings": {k: getattr(plan.settings, k) for k in ("temperature", "top_p", "max_new_tokens")},
                "notes": list(found.notes),
                "context": fits(config, plan, found.prompts),
            }
        )
    return rows
