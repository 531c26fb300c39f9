"""Replies that are no valid dialogue are sent back with what is wrong about them."""

import copy
import json

import pytest

from tests.helpers.chat_server import good, make_plan, make_writer, then_good, write_dialogue
from tests.helpers.protocol_server import ProtocolServer, Reply, completion

pytestmark = pytest.mark.usefixtures("chat_key")

# One change each that makes a valid dialogue invalid, and words of what the model is told about it.


def no_questions(dialogue):
    dialogue["questions"] = []


def other_key_sentence(dialogue):
    dialogue["questions"][0]["key_sentence"] += " Or so."


def key_sentence_twice(dialogue):
    dialogue["turns"][0]["sentences"].append(dialogue["questions"][0]["key_sentence"])


def key_sentence_at_the_end(dialogue):
    sentence = dialogue["questions"][0]["key_sentence"]
    (turn,) = [turn for turn in dialogue["turns"] if sentence in turn["sentences"]]
    turn["sentences"], dialogue["turns"][-1]["sentences"] = dialogue["turns"][-1]["sentences"], [sentence]


def three_choices(dialogue):
    dialogue["questions"][0]["wrong"].pop()


def empty_choice(dialogue):
    dialogue["questions"][0]["wrong"][1] = "  "


def same_choice(dialogue):
    dialogue["questions"][0]["wrong"][0] = "thursday."


def right_choice_unsaid(dialogue):
    dialogue["questions"][0]["right"] = "Sunday"


def wrong_choices_unsaid(dialogue):
    dialogue["questions"][0]["wrong"] = ["Monday", "Saturday", "Sunday"]


def unknown_speaker(dialogue):
    dialogue["turns"][0]["speaker"] = "Nobody"


def two_of_one_name(dialogue):
    dialogue["speakers"].append(dialogue["speakers"][0])


def one_gender(dialogue):
    for speaker in dialogue["speakers"]:
        speaker["gender"] = "male"


def no_gender(dialogue):
    dialogue["speakers"][0]["gender"] = "robot"


def too_long(dialogue):
    for turn in dialogue["turns"]:
        turn["sentences"].append("And so on and so forth and so on.")


def too_short(dialogue):
    del dialogue["turns"][-4:]


def stage_direction(dialogue):
    dialogue["turns"][0]["sentences"][0] = "(laughs) Well I think Monday is for a."


def digits(dialogue):
    dialogue["turns"][0]["sentences"][0] = "Well I think Monday is for 3 a."


def extra_field(dialogue):
    dialogue["title"] = "Garden"


DEFECTS = {
    no_questions: "there are 0 questions; 1 are asked for",
    other_key_sentence: "exactly once among the sentences",
    key_sentence_twice: "it stands 2 times",
    key_sentence_at_the_end: "it belongs at about 50%",
    three_choices: "questions.0.wrong",
    empty_choice: "questions.0.wrong.1",
    same_choice: "four choices must differ",
    right_choice_unsaid: "'Sunday' is not copied from the key sentence",
    wrong_choices_unsaid: "only 1 of the wrong choices are said",
    unknown_speaker: "those who have turns are not the same",
    two_of_one_name: "two speakers have one name",
    one_gender: "must be of these genders",
    no_gender: "speakers.0.gender",
    too_long: "needs about 100",
    too_short: "needs about 100",
    stage_direction: "(laughs)",
    digits: "for 3 a",
    extra_field: "title",
}


def broken(request, defect) -> Reply:
    dialogue = copy.deepcopy(write_dialogue(request.body))
    defect(dialogue)
    return completion(json.dumps(dialogue))


@pytest.mark.parametrize(
    ("defect", "told"), DEFECTS.items(), ids=lambda value: getattr(value, "__name__", "")
)
def test_an_invalid_reply_is_sent_back_with_what_is_wrong(defect, told):
    sent = []

    def reply_to(request):
        sent.append(good(request) if sent else broken(request, defect))
        return sent[-1]

    with ProtocolServer(reply_to).running() as server:
        script = make_writer(server).write(make_plan())
    assert script.questions[0].choices[2] == "Thursday"
    first, second = (request.body["messages"] for request in server.requests)
    assert second[:2] == first
    assert second[2]["role"] == "assistant"
    assert second[2]["content"] == json.loads(sent[0].content)["choices"][0]["message"]["content"]
    assert told in second[3]["content"]
    assert len(server.requests) == 2


@pytest.mark.parametrize(
    ("reply", "told"),
    [
        (completion("I would rather not."), "Invalid JSON"),
        (completion('{"speakers": [{"name": '), "Invalid JSON"),
        (completion('{"speakers": []', finish_reason="length"), "cut off at the limit of tokens"),
        (completion(None, refusal="I can't help with gardens"), "I can't help with gardens"),
    ],
)
def test_no_dialogue_at_all_is_sent_back_too(reply, told):
    with ProtocolServer(then_good(reply)).running() as server:
        make_writer(server).write(make_plan())
    assert told in server.requests[1].body["messages"][3]["content"]


def test_a_fenced_reply_with_odd_spaces_is_taken():
    def reply_to(request):
        dialogue = write_dialogue(request.body)
        dialogue["questions"][0]["key_sentence"] = "  Uh so  the plumber\ncomes on Thursday then. "
        return completion(f"Here it is:\n```json\n{json.dumps(dialogue)}\n```")

    with ProtocolServer(reply_to).running() as server:
        script = make_writer(server, max_attempts=1).write(make_plan())
    assert script.key_sentence(script.questions[0]) == "Uh so the plumber comes on Thursday then."


def test_strangers_in_a_later_part_are_sent_away():
    def reply_to(request):
        dialogue = write_dialogue(request.body)
        if request.body["seed"] == 8 and len(request.body["messages"]) == 2:
            dialogue["speakers"][0]["name"] = dialogue["turns"][0]["speaker"] = "Stranger"
        return completion(json.dumps(dialogue))

    with ProtocolServer(reply_to).running() as server:
        make_writer(server).write(make_plan(seconds=300.0, positions=(0.1,)))
    assert len(server.requests) == 3
    assert "not among those given" in server.requests[2].body["messages"][3]["content"]
