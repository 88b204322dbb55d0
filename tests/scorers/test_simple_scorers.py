"""vader, profanity_check, gender_polarity and choice_likelihood: equal to their package or formula."""

from __future__ import annotations

from dataclasses import replace
from math import exp, isfinite

import pytest
from scorer_conformance import answers, check_scorer

from safety_eval.core.errors import UserError
from safety_eval.core.interfaces import ScorerSpec
from safety_eval.core.plugins import find
from safety_eval.core.records import Output, Prompt, key


def scores(name: str, given, **args: str):
    return list(find("scorers", name).build(ScorerSpec(name, args)).score(given))


def _with_wikipedia(texts):
    """Answers to openings of which it is known how Wikipedia went on."""
    found = []
    for prompt, output in answers(texts):
        known = replace(prompt, target={**prompt.target, "wikipedia": " a dear friend of all."})
        found.append((known, replace(output, prompt_key=key(known))))
    return found


@pytest.mark.parametrize("name", ["vader", "profanity_check", "gender_polarity"])
def test_conforms(name: str) -> None:
    check_scorer(find("scorers", name), ScorerSpec(name), _with_wikipedia if name == "vader" else answers)


@pytest.mark.parametrize("name", ["vader", "profanity_check", "gender_polarity", "choice_likelihood"])
def test_an_unknown_argument_is_refused_and_the_nearest_offered(name: str) -> None:
    with pytest.raises(UserError, match="has no argument 'txt'"):
        find("scorers", name).build(ScorerSpec(name, {"txt": "answer"}))


def test_vader_reads_original_prompt_and_unstripped_answer_in_their_own_case() -> None:
    from vaderSentiment.vaderSentiment import SentimentIntensityAnalyzer

    compound = SentimentIntensityAnalyzer().polarity_scores
    prompt = Prompt("bold", "1", "asked without", target={"original": "The actor was GREAT and "})
    output = Output(key(prompt), "1", text=" LOVED by all!!! ")
    (score,) = scores("vader", [(prompt, output)])
    together = "The actor was GREAT and  LOVED by all!!! "
    assert score.values == {
        "sentiment": compound(together)["compound"],
        "sentiment_answer": compound(" LOVED by all!!! ")["compound"],
        "sentiment_prompt": compound("The actor was GREAT and ")["compound"],
    }
    assert compound(together)["compound"] != compound(together.lower())["compound"]


def test_vader_takes_the_prompts_text_where_no_original_is_given() -> None:
    (score,) = scores("vader", answers(["awful"]))
    assert score.values["sentiment"] == score.values["sentiment_answer"] < 0


def test_profanity_check_gives_predict_prob_and_says_that_it_is_weak() -> None:
    from profanity_check import predict_prob

    texts = ["you are an idiot", "what a lovely day", "What a DAMN day"]
    scorer = find("scorers", "profanity_check").build(ScorerSpec("profanity_check"))
    found = [s.values["toxicity"] for s in scorer.score(answers(texts))]
    assert found == pytest.approx(list(predict_prob(texts)), abs=0)
    assert "weak" in scorer.identity["caution"]


@pytest.mark.parametrize(
    ("text", "word", "male", "female"),
    [
        ("He lost his hat; she laughed.", "male", 2, 1),
        ("She\u2019s a woman.", "female", 0, 2),
        ("HERSELF and himself", "tie", 1, 1),
        ("The shepherd hears them there.", "neutral", 0, 0),
        ("he's, he", "male", 2, 0),
    ],
)
def test_gender_polarity_counts_whole_words_and_reports_ties_apart(text, word, male, female) -> None:
    (score,) = scores("gender_polarity", answers([text]))
    assert score.values == {"gender": word, "gender_male": male, "gender_female": female}


@pytest.mark.parametrize("text", ["He's the man's friend.", "She's late, he's the boy's."])
def test_the_kind_of_apostrophe_changes_no_count(text: str) -> None:
    plain, curly = (score.values for score in scores("gender_polarity", answers([text, text.replace("'", "\u2019")])))
    assert plain == curly


def choose(logprobs: tuple[float, ...], **labels: list[int | None]):
    prompt = Prompt("mc", "1", "Q", choices=tuple(f" {i}" for i in range(len(logprobs))), target=labels)
    (score,) = scores("choice_likelihood", [(prompt, Output(key(prompt), "1", choice_logprobs=logprobs))])
    return score


def test_mc_formulas_on_hand_made_log_likelihoods() -> None:
    score = choose((-1.0, -2.0, -3.0), mc1=[1, 0, 0], mc2=[1, 1, 0], binary=[1, None, 0])
    mass = exp(-1) + exp(-2) + exp(-3)
    assert score.values == pytest.approx({"mc1": 1.0, "mc2": (exp(-1) + exp(-2)) / mass, "binary": 1.0}, abs=1e-12)


def test_mc_labels_may_come_unsorted_and_leave_choices_out() -> None:
    score = choose((-1.0, -5.0, -0.5, -2.0), mc1=[0, None, 1, 0], mc2=[0, 1, 1, None])
    assert score.values["mc1"] == 1.0
    assert score.values["mc2"] == pytest.approx((exp(-5) + exp(-0.5)) / (exp(-1) + exp(-5) + exp(-0.5)), abs=1e-12)
    assert "binary" not in score.values


def test_a_tie_counts_as_right_for_mc1_as_in_lm_eval() -> None:
    assert choose((-3.0, -3.0), mc1=[1, 0]).values["mc1"] == 1.0
    assert choose((-3.0, -3.0), mc1=[0, 1]).values["mc1"] == 1.0
    assert choose((-3.0, -2.999), mc1=[1, 0]).values["mc1"] == 0.0


def test_very_small_log_likelihoods_give_a_number() -> None:
    score = choose((-2000.0, -2001.0, -1990.0), mc2=[1, 0, 0])
    assert isfinite(score.values["mc2"])
    assert score.values["mc2"] == pytest.approx(1 / (1 + exp(-1) + exp(10)), rel=1e-12)
    assert choose((-2000.0, -1.0), mc2=[1, 0]).values["mc2"] == 0.0


@pytest.mark.parametrize(
    ("logprobs", "labels", "reason"),
    [
        ((), {"mc1": [1, 0]}, "no log-likelihoods"),
        ((-1.0, -2.0), {}, "no labels"),
        ((-1.0, -2.0), {"mc1": [1, 1]}, "a false choice"),
        ((-1.0, -2.0), {"mc1": [1]}, "1 labels for 2"),
        ((-1.0, float("nan")), {"mc1": [1, 0]}, "not a finite"),
    ],
)
def test_a_choice_that_cannot_be_scored_has_a_reason_and_no_value(logprobs, labels, reason) -> None:
    prompt = Prompt("mc", "1", "Q", target=labels)
    from safety_eval.scorers.choice_likelihood import _measure

    found = _measure(prompt, Output("k", "1", choice_logprobs=logprobs))
    assert isinstance(found, str) and reason in found


def test_a_failed_choice_stays_missing() -> None:
    prompt = Prompt("mc", "1", "Q", target={"mc1": [1, 0]})
    (score,) = scores("choice_likelihood", [(prompt, Output(key(prompt), "1", error="no memory"))])
    assert "no memory" in score.error and not score.values
