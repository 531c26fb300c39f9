"""Scripts from a chat endpoint: a server on this machine plays the model, well and badly behaved."""

import copy
import json
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given
from hypothesis import strategies as st
from protocol_server import ProtocolServer, Reply, completion, error, in_turn, rate_limit

from speechprune.builder.chat_writer import ChatOptions, ChatWriter, WriterError, plan_dialogues
from speechprune.builder.script import RecordingPlan

KEY = "sk-very-secret-0123456789"
DAYS = ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"]


@pytest.fixture(autouse=True)
def key(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


def make_plan(**changes) -> RecordingPlan:
    defaults = {
        "recording_id": "garden-7",
        "seed": 7,
        "scenario": "conversation",
        "topic": "home",
        "subtopic": "garden",
        "seconds": 40.0,
        "letters": ("C",),
        "positions": (0.5,),
        "fact_group": "training",
        "voice_group": "training",
    }
    return RecordingPlan(**(defaults | changes))


def write_dialogue(request: dict) -> dict:
    """A valid dialogue for a request of the writer, read out of its words as a model would.

    Sentences of eight words; the key sentence of each question stands where it is asked for.
    """
    prompt = request["messages"][1]["content"]
    num_words = int(prompt.split("Length: about ")[1].split()[0])
    near = [int(text.split(".")[0]) for text in prompt.split("near word ")[1:]]
    if "by exactly these names: " in prompt:
        cast = prompt.split("by exactly these names: ")[1].split(". List")[0].split(", ")
        speakers = [dict(zip(("name", "gender"), entry[:-1].split(" ("), strict=True)) for entry in cast[:2]]
    else:
        genders = prompt.split("of these genders: ")[1].split(".")[0].split(", ")
        speakers = [{"name": f"Person {n}", "gender": gender} for n, gender in enumerate(genders)]
    sentences = [
        f"Well I think {DAYS[n % 3]} is for {'abcdefghij'[n // 10 % 10]} {'abcdefghij'[n % 10]}."
        for n in range(num_words // 8)
    ]
    questions = []
    for number, word in enumerate(near):
        key_sentence = f"Uh so the plumber comes on {DAYS[3 + number]} then."
        sentences[min(word // 8, len(sentences) - 1)] = key_sentence
        questions.append(
            {
                "question": f"When does plumber {number} come?",
                "key_sentence": key_sentence,
                "right": DAYS[3 + number],
                "wrong": DAYS[:3],
            }
        )
    turns = [
        {"speaker": speakers[n % len(speakers)]["name"], "sentences": [sentence]}
        for n, sentence in enumerate(sentences)
    ]
    return {
        "speakers": speakers,
        "turns": turns,
        "questions": questions,
        "summary": f"Seed {request['seed']}.",
    }


def good(request) -> Reply:
    return completion(json.dumps(write_dialogue(request.body)))


def then_good(*replies: Reply):
    """The replies given, then good ones."""
    left = iter(replies)
    return lambda request: next(left, None) or good(request)


def make_writer(server: ProtocolServer, **changes) -> ChatWriter:
    defaults = {
        "model": "tiny-chat",
        "base_url": server.base_url,
        "backoff_seconds": 0.001,
        "max_attempts": 3,
    }
    return ChatWriter(ChatOptions(**(defaults | changes)))


def test_a_plan_becomes_a_script():
    plan = make_plan(letters=("C", "A"), positions=(0.25, 0.75), seconds=60.0)
    with ProtocolServer(good).running() as server:
        script = make_writer(server, temperature=0.5).write(plan)
    assert (script.scenario, script.topic, script.subtopic) == ("conversation", "home", "garden")
    assert [question.answer for question in script.questions] == ["C", "A"]
    first, second = script.questions
    assert (first.choices[2], second.choices[0]) == ("Thursday", "Friday")
    assert set(first.choices) == {"Monday", "Tuesday", "Wednesday", "Thursday"}
    assert script.key_sentence(first) == "Uh so the plumber comes on Thursday then."
    assert script.key_sentence(second) == "Uh so the plumber comes on Friday then."
    (request,) = server.requests
    assert request.path == "/v1/chat/completions"
    assert request.headers["Authorization"] == f"Bearer {KEY}"
    assert request.body["model"] == "tiny-chat"
    assert request.body["seed"] == 7
    assert request.body["temperature"] == 0.5
    schema = request.body["response_format"]["json_schema"]
    assert schema["strict"] is True
    for model in (schema["schema"], *schema["schema"]["$defs"].values()):  # what strict servers insist on
        assert model["additionalProperties"] is False
        assert set(model["required"]) == set(model["properties"])
    said = " ".join(message["content"] for message in request.body["messages"])
    for needed in ("conversation", "home", "garden", "150 words", "25%", "75%", "uh, um", "female", "male"):
        assert needed in said


def test_the_same_plan_gives_the_same_script_and_another_seed_other_wrong_places():
    with ProtocolServer(good).running() as server:
        writer = make_writer(server)
        script = writer.write(make_plan())
        assert writer.write(make_plan()) == script
        orders = {writer.write(make_plan(seed=seed)).questions[0].choices for seed in range(12)}
    assert len(orders) > 3
    assert {choices[2] for choices in orders} == {"Thursday"}


def test_a_server_without_key_gets_none(monkeypatch):
    monkeypatch.delenv("OPENAI_API_KEY")
    with ProtocolServer(good).running() as server:
        make_writer(server).write(make_plan())
    assert "Authorization" not in server.requests[0].headers
    assert "temperature" not in server.requests[0].body


FAULTS = {
    "rate limit": rate_limit(),
    "server error": error(500, "oops"),
    "time-out": Reply(fault="hang"),
    "connection reset": Reply(fault="reset"),
    "truncated": Reply(b'{"choices": []}' * 100, fault="cut"),
    "no JSON": Reply(b"<html>a proxy's page</html>" * 1000),
    "no completion": Reply(b'{"choices": []}'),
}


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
def test_a_fault_is_followed_by_the_same_request(fault):
    patience = {"timeout_seconds": 0.5} if fault.fault == "hang" else {}
    with ProtocolServer(then_good(fault)).running() as server:
        script = make_writer(server, **patience).write(make_plan())
    assert script.questions[0].choices[2] == "Thursday"
    first, second = server.requests
    assert first.body == second.body


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
def test_a_spent_budget_is_a_clear_error(fault):
    with ProtocolServer(in_turn(fault, fault)).running() as server:
        writer = make_writer(server, timeout_seconds=0.1, max_attempts=2)
        with pytest.raises(
            WriterError, match=r"garden-7 .* in 2 attempts; the last problem: .+; .+"
        ) as raised:
            writer.write(make_plan())
    assert len(server.requests) == 2
    assert KEY not in str(raised.value)
    assert len(str(raised.value)) < 800


def test_the_server_names_the_wait(monkeypatch):
    waits = []
    monkeypatch.setattr(time, "sleep", waits.append)
    replies = [
        error(429, "slow down", {"Retry-After": "0.02"}),
        error(503, "later", {"Retry-After": "Wed, 21 Oct 2015 07:28:00 GMT"}),
        error(503, "later", {"Retry-After": "soon"}),
        error(503, "later"),
    ]
    with ProtocolServer(then_good(*replies)).running() as server:
        make_writer(server, max_attempts=5, backoff_seconds=4.0).write(make_plan())
    assert waits[:2] == [0.02, 0.0]
    assert 12 <= waits[2] <= 20  # 4 s doubled twice, give or take a quarter
    assert 24 <= waits[3] <= 40


def test_nobody_waits_for_nothing(monkeypatch):
    """A server that is well but wrote nonsense is asked at once, and the last attempt is the end."""
    waits = []
    monkeypatch.setattr(time, "sleep", waits.append)
    replies = [completion("nonsense"), error(429, "slow down", {"Retry-After": "0.5"}), rate_limit()]
    with ProtocolServer(in_turn(*replies)).running() as server, pytest.raises(WriterError):
        make_writer(server).write(make_plan())
    assert waits == [0.0, 0.5]


@pytest.mark.parametrize(
    ("reply", "advice"),
    [
        (error(401, f"Incorrect API key provided: {KEY}"), "check the key in $OPENAI_API_KEY"),
        (error(404, "no such model"), "check base_url and that the endpoint serves 'tiny-chat'"),
        (
            error(400, "response_format is not supported"),
            "response_format is not supported; check the options",
        ),
    ],
)
def test_a_refusal_is_final_and_keeps_the_secret(reply, advice):
    with ProtocolServer(in_turn(reply)).running() as server, pytest.raises(WriterError) as raised:
        make_writer(server).write(make_plan())
    assert advice in str(raised.value)
    assert len(server.requests) == 1
    everything = [str(raised.value), *(str(e) for e in (raised.value.__cause__, raised.value.__context__))]
    assert not any(KEY in text for text in everything)


def test_a_missing_key_is_named(monkeypatch):
    monkeypatch.delenv("OPENAI_API_KEY")
    told = r"no key is set: put one into \$OPENAI_API_KEY"
    with (
        ProtocolServer(in_turn(error(401, "who are you?"))).running() as server,
        pytest.raises(WriterError, match=told),
    ):
        make_writer(server).write(make_plan())


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


def test_all_problems_share_one_budget_and_only_the_last_reply_is_sent_back():
    replies = [completion("first nonsense"), rate_limit(), completion("second nonsense"), completion("third")]
    told = r"in 4 attempts.*Invalid JSON.*a more capable model"
    with ProtocolServer(in_turn(*replies)).running() as server, pytest.raises(WriterError, match=told):
        make_writer(server, max_attempts=4).write(make_plan())
    sent_back = [
        [message["content"] for message in request.body["messages"][2:3]] for request in server.requests
    ]
    assert sent_back == [[], ["first nonsense"], ["first nonsense"], ["second nonsense"]]


def test_many_at_once_lose_nothing_and_double_nothing():
    """Every recording meets a rate limit and an invalid reply before it is written; each gets its own."""
    seen = Counter()
    lock = threading.Lock()

    def reply_to(request):
        with lock:
            seed = request.body["seed"]
            seen[seed] += 1
            number = seen[seed]
        if number == 1:
            return rate_limit()
        if number == 2:
            return completion("{}")
        dialogue = write_dialogue(request.body)
        dialogue["questions"][0]["question"] = f"What of {seed}?"
        return completion(json.dumps(dialogue))

    plans = [make_plan(recording_id=f"r{seed}", seed=seed) for seed in range(24)]
    with ProtocolServer(reply_to).running() as server, ThreadPoolExecutor(8) as threads:
        scripts = list(threads.map(make_writer(server).write, plans))
    assert [script.questions[0].question for script in scripts] == [f"What of {seed}?" for seed in range(24)]
    assert seen == dict.fromkeys(range(24), 3)


def test_a_long_recording_is_several_dialogues_with_one_cast():
    plan = make_plan(scenario="meeting", seconds=600.0, letters=("B", "D"), positions=(0.3, 0.9))
    with ProtocolServer(good).running() as server:
        script = make_writer(server).write(plan)
    assert len(server.requests) == 4  # of 150 s
    prompts = [request.body["messages"][1]["content"] for request in server.requests]
    assert [prompt.split("This is ")[1][:11] for prompt in prompts] == [
        "part 2 of 4",  # those with questions first
        "part 4 of 4",
        "part 1 of 4",
        "part 3 of 4",
    ]
    assert ["Questions: 1." in prompt for prompt in prompts] == [True, True, False, False]
    assert "plumber" not in prompts[0]
    for prompt in prompts[2:]:
        assert (
            prompt.count("Uh so the plumber comes on Thursday then.") == 2
        )  # of both parts: not to be contradicted
        assert "Seed 8." in prompt
        assert "Seed 10." in prompt
    assert [request.body["seed"] for request in server.requests] == [8, 10, 7, 9]
    assert len(script.speakers) > 2  # some parts have two of them only
    assert {turn.speaker for turn in script.turns} == {speaker.name for speaker in script.speakers}
    num_words = [sum(len(sentence.split()) for sentence in turn.sentences) for turn in script.turns]
    assert sum(num_words) == pytest.approx(1500, rel=0.05)
    for question, position in zip(script.questions, plan.positions, strict=True):
        assert sum(num_words[: question.turn]) / sum(num_words) == pytest.approx(position, abs=0.02)
    assert [question.answer for question in script.questions] == ["B", "D"]


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


def test_the_error_names_the_part():
    told = r"garden-7 .*\(part 2 of 2\).*status 500: gone"
    with ProtocolServer(in_turn(error(500, "gone"))).running() as server:
        writer = make_writer(server, max_attempts=1)
        with pytest.raises(WriterError, match=told):
            writer.write(make_plan(seconds=300.0, positions=(0.6,)))


@given(
    seconds=st.floats(20, 7200),
    positions=st.lists(st.floats(0, 1, exclude_max=True), min_size=1, max_size=5).map(sorted),
)
def test_dialogues_cover_the_recording_and_hold_every_fact_at_its_place(seconds, positions):
    plan = make_plan(seconds=seconds, positions=tuple(positions), letters=("A",) * len(positions))
    requests = plan_dialogues(plan)
    assert sum(request.seconds for request in requests) == pytest.approx(seconds)
    assert max(request.seconds for request in requests) <= 180
    placed = [
        (request.part + position) / len(requests) for request in requests for position in request.positions
    ]
    assert placed == pytest.approx(positions)
    for request in requests:
        assert request.genders == requests[0].genders
        assert abs(request.genders.count("female") - request.genders.count("male")) <= 1


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"model": ""}, "model"),
        ({"base_url": "localhost:8000"}, "http://localhost"),
        ({"base_url": "http://user:secret@localhost/v1"}, "environment"),
        ({"base_url": "http://localhost:port/v1"}, "http://localhost"),
        ({"max_attempts": 0}, "max_attempts"),
        ({"timeout_seconds": 0}, "timeout_seconds"),
        ({"backoff_seconds": -1}, "backoff_seconds"),
    ],
)
def test_options_are_checked(changes, told):
    with pytest.raises(ValueError, match=told) as raised:
        ChatOptions(**({"model": "tiny-chat"} | changes))
    assert "secret" not in str(raised.value)


def test_a_key_that_is_none_is_refused_unseen(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "secret\nline")
    with pytest.raises(RuntimeError, match="OPENAI_API_KEY") as raised:
        ChatWriter(ChatOptions(model="tiny-chat"))
    assert "secret" not in str(raised.value)
