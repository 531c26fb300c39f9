"""The no-audio baseline is the model's own answer to the prompt without audio."""

import numpy as np
import torch

from speechprune.inference.no_audio import answer_without_audio
from speechprune.inference.prompts import LETTERS, prompt_of
from speechprune.inference.types import AnsweringOptions

QUESTIONS = [
    ("When is the review?", ["Monday", "Tuesday", "Thursday", "Friday"]),
    ("Who calls?", ["Anna", "Bert"]),
]


def test_it_is_hugging_faces_answer_to_the_bare_prompt(tiny_lm):
    model = tiny_lm.model
    answers = answer_without_audio(model, QUESTIONS)
    for answer, (question, choices) in zip(answers, QUESTIONS, strict=True):
        prompt = prompt_of(model, question, choices, AnsweringOptions())
        with torch.inference_mode():
            ids = torch.tensor([prompt.prefix_ids + prompt.suffix_ids])
            logits = model.model(input_ids=ids).logits[0, -1]
        letters = [model.tokenizer.encode(letter)[0] for letter in LETTERS[: len(choices)]]
        expected = torch.softmax(logits[letters].double(), dim=0).numpy()
        np.testing.assert_allclose(answer.choice_probabilities, expected, rtol=1e-4)
        assert answer.prediction == LETTERS[int(expected.argmax())]
        assert answer.num_kept_tokens == 0
        assert answer.evidence == []


def test_permuted_choices_are_averaged(tiny_lm):
    (once, _), (often, _) = (
        answer_without_audio(tiny_lm.model, QUESTIONS, AnsweringOptions(permute_choices=n)) for n in (1, 4)
    )
    assert once.choice_probabilities != often.choice_probabilities
    np.testing.assert_allclose(sum(often.choice_probabilities), 1)
