"""The release policy: its file, and when it is decided."""

from safety_eval.policy.file import (
    About,
    Ceilings,
    Conditions,
    Equivalent,
    NonInferior,
    Policy,
    Registration,
    Rule,
    Stop,
    Waiver,
    concealed,
    load,
    parse,
    registration,
    schema,
    schema_text,
    terms,
)
from safety_eval.policy.fit import check
from safety_eval.policy.floor import objections

__all__ = [
    "About",
    "Ceilings",
    "Conditions",
    "Equivalent",
    "NonInferior",
    "Policy",
    "Registration",
    "Rule",
    "Stop",
    "Waiver",
    "check",
    "concealed",
    "load",
    "objections",
    "parse",
    "registration",
    "schema",
    "schema_text",
    "terms",
]
