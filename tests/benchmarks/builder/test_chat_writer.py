"""Scripts from a chat endpoint: what is asked of a model on this machine's server, and what comes of it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from speechprune.benchmarks.builder.chat_writer import ChatOptions, ChatWriter, WriterError, plan_dialogues
from tests.helpers.chat_server import KEY, good, make_plan, make_writer
from tests.helpers.protocol_server import ProtocolServer, error, in_turn

pytestmark = pytest.mark.usefixtures("chat_key")


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
