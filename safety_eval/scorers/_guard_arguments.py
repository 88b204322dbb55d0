"""What `risk_judge` takes, before a guard is opened."""

from __future__ import annotations

from collections.abc import Mapping

from safety_eval.core.errors import UserError
from safety_eval.scorers._arguments import choice
from safety_eval.scorers._guards import RECIPES
from safety_eval.scorers._judge_engine import Through, through

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


def way_to(args: Mapping[str, str]) -> Through | None:
    """The engine that the guard is asked through; None = it is loaded here.

    Raises:
        UserError: an unknown recipe or argument, or a guard that no engine can be asked for.
    """
    recipe = RECIPES[choice(args, "recipe", RECIPES, "qwen3guard")]
    way = through("risk_judge", args, ARGUMENTS, args.get("model", recipe.model), always=False)
    if way is not None and recipe.cost:
        raise UserError(f"recipe={args['recipe']} reads a score head, which no engine gives", "Leave out engine=.")
    return way


def files_of(args: Mapping[str, str], way: Through | None) -> str:
    """Where the guard's tokenizer is, and its weights unless an engine has them."""
    own = args.get("model", RECIPES[args.get("recipe", "qwen3guard")].model)
    return own if way is None else way.args.get("tokenizer", way.model)
