"""A chat endpoint that fails: what is tried again, how long it is waited for, what is final."""

import json
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import pytest

from speechprune.benchmarks.builder.chat_writer import WriterError
from tests.helpers.chat_server import KEY, make_plan, make_writer, then_good, write_dialogue
from tests.helpers.protocol_server import ProtocolServer, Reply, completion, error, in_turn, rate_limit

pytestmark = pytest.mark.usefixtures("chat_key")

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
