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
    load,
    parse,
    registration,
    schema,
    schema_text,
    terms,
)

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
    "load",
    "parse",
    "registration",
    "schema",
    "schema_text",
    "terms",
]
