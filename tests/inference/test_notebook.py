"""What a notebook shows of an encoded recording and of an answer."""

from speechprune import AnsweringOptions


def test_an_encoded_recording_shows_its_length_and_tokens(tiny_lm, speech):
    audio = tiny_lm.encode_many([speech(40.0)])[0]
    assert repr(audio) == "EncodedAudio(40.0 s, 1,000 audio tokens of 64)"
    assert "40.0 s, 1,000 audio tokens" in audio._repr_html_()


def test_an_answer_shows_what_it_is_and_what_it_cost(tiny_lm, speech):
    audio = tiny_lm.encode_many([speech(40.0)])[0]
    answer = tiny_lm.answer(audio, "Who?", ["<b>Anna</b>", "Bert"])
    assert repr(answer).startswith(f"Answer('{answer.prediction}': '{answer.prediction_text}', 600 of 1,000")
    shown = answer._repr_html_()
    assert "<b>Anna" not in shown
    assert "600 of 1,000" in shown
    assert f"{answer.evidence[0].start:.1f}" in shown


def test_an_open_answer_shows_no_choices(tiny_lm, speech):
    audio = tiny_lm.encode_many([speech(5.0)])[0]
    answer = tiny_lm.answer(audio, "Who?", options=AnsweringOptions(max_new_tokens=2))
    assert "choices" not in answer._repr_html_()
