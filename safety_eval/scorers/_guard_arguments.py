"""What `risk_judge` takes, before a guard is opened."""

from __future__ import annotations

from safety_eval.core.errors import UserError

ARGUMENTS = (
    "recipe",
    "model",
    "revision",
    "template",
    "guidelines",
    "risk_name",
    "strict",
    "context",
    "batch_tokens",
    "probe",
)
ELSE = (
    "Give a local guard (--scorer-args risk_judge:recipe=NAME,model=DIR), or choose the weak offline instrument by "
    "name (--scorer red_team=risk_words)."
)


def no_template(recipe: str) -> UserError:
    return UserError(
        f"risk_judge: recipe={recipe} needs template=FILE; the model's tokenizer carries none",
        "Copy the template from the model's card, with {question} and {answer} in it.",
    )
