"""The HTTP backend against a server of this process that answers well, slowly, wrongly, or half."""

from __future__ import annotations

import http.server
import json
import logging
import threading
import traceback
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from twelvefold.papers.igda import http_chat
from twelvefold.papers.igda.chat_backends import ChatError, Question, Sampling, seed_of
from twelvefold.papers.igda.http_chat import HTTPChat, SpendCap, SpendCapReached
from twelvefold.papers.igda.prompts import Messages
from twelvefold.papers.igda.replay import RecordReplay, read_records

KEY, KEY_ENV = "sk-very/secret-0123456789abcdefghijklmnop", "TWELVEFOLD_TEST_KEY"
HELLO: Messages = ({"role": "user", "content": "hello"},)
MOST = len("hello") + 16 + 150  # tokens that one request of it can cost, by default
Action = Callable[["Handler", dict[str, Any]], None]


def conversation(number: int) -> Messages:
    return ({"role": "system", "content": "Be brief."}, {"role": "user", "content": f"question {number}"})


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.script: list[Action] = []  # what is done with the first requests; later ones are answered well
        self.bodies: list[dict[str, Any]] = []
        self.seen: list[tuple[str, dict[str, str]]] = []
        self.lock, self.release = threading.Lock(), threading.Event()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that hung up is no matter."""


class Handler(http.server.BaseHTTPRequestHandler):
    server: Server
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with self.server.lock:
            self.server.bodies.append(body)
            self.server.seen.append((self.path, {name.lower(): value for name, value in self.headers.items()}))
            action = self.server.script.pop(0) if self.server.script else well
        action(self, body)

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing is printed."""

    def send(self, status: int, content: bytes, headers: dict[str, str] | None = None, cut: int = 0) -> None:
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content[: len(content) - cut])
        self.close_connection = bool(cut)


def payload(body: dict[str, Any], **more: Any) -> dict[str, Any]:
    """A good answer: what was asked, and the seed of the sample."""
    said = body["messages"][-1]["content"]
    choices = [{"message": {"role": "assistant", "content": f"{said} / {body.get('seed')} / {k}"}}
               for k in range(body.get("n", 1))]  # fmt: skip
    return {"choices": choices, "usage": {"total_tokens": 7}} | more


def well(handler: Handler, body: dict[str, Any]) -> None:
    handler.send(200, json.dumps(payload(body)).encode())


def says(value: Any, status: int = 200, headers: dict[str, str] | None = None) -> Action:
    content = value if isinstance(value, bytes) else json.dumps(value).encode()
    return lambda handler, body: handler.send(status, content, headers)


def truncated(handler: Handler, body: dict[str, Any]) -> None:
    handler.send(200, json.dumps(payload(body)).encode(), cut=9)


def silent(handler: Handler, body: dict[str, Any]) -> None:
    handler.server.release.wait(30)
    handler.close_connection = True


def hanging_up(handler: Handler, body: dict[str, Any]) -> None:
    handler.close_connection = True


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv(KEY_ENV, KEY)
    running = Server()
    thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield running
    running.release.set()
    running.shutdown()
    thread.join()
    running.server_close()


@pytest.fixture
def slept() -> list[float]:
    return []


@pytest.fixture
def chat(server: Server, slept: list[float]) -> Callable[..., HTTPChat]:
    def make(**options: Any) -> HTTPChat:
        settings = {"key_env": KEY_ENV, "concurrency": 1, "tries": 4, "sleep": slept.append, "seconds": 20.0}
        return HTTPChat(f"http://127.0.0.1:{server.server_port}/v1/", "a-model", **settings | options)

    return make


Make = Callable[..., HTTPChat]


class TestGoodAnswers:
    def test_the_request(self, server: Server, chat: Make) -> None:
        found = chat().complete([conversation(1)], 1, 10_000, Sampling(0.5, 40))
        seed = seed_of(10_000, conversation(1), 0)
        assert found == [[f"question 1 / {seed} / 0"]]
        assert server.bodies == [{"model": "a-model", "messages": [*conversation(1)], "seed": seed, "temperature": 0.5,
                                  "max_tokens": 40}]  # fmt: skip
        path, headers = server.seen[0]
        assert path == "/v1/chat/completions" and headers["authorization"] == f"Bearer {KEY}"

    def test_without_a_key(self, server: Server, chat: Make, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delenv(KEY_ENV)
        chat(key_env=None).complete([HELLO], 1, 0)
        assert "authorization" not in server.seen[0][1]

    @pytest.mark.parametrize("concurrency", [1, 5])
    def test_answers_find_their_places(self, chat: Make, concurrency: int) -> None:
        found = chat(concurrency=concurrency).complete([conversation(k) for k in range(6)], 3, 10_000)
        for number, own in enumerate(found):
            seeds = [seed_of(10_000, conversation(number), k) for k in range(3)]
            assert own == [f"question {number} / {seed} / 0" for seed in seeds]

    def test_no_more_at_once_than_allowed(self, server: Server, chat: Make) -> None:
        lock, together, most = threading.Lock(), [0], [0]
        three, third = threading.Barrier(3), threading.Event()

        def wait_for_others(handler: Handler, body: dict[str, Any]) -> None:
            with lock:
                together[0] += 1
                most[0] = max(most[0], together[0])
            if not third.is_set():
                three.wait(20)  # three are under way at once ...
                third.set()
            with lock:
                together[0] -= 1
            well(handler, body)

        server.script = [wait_for_others] * 12
        chat(concurrency=3).complete([conversation(k) for k in range(12)], 1, 0)
        assert most == [3] and len(server.bodies) == 12  # ... and never a fourth

    def test_many_samples_in_one_request(self, server: Server, chat: Make) -> None:
        found = chat(samples_per_request=3).complete([HELLO, conversation(1)], 5, 10_000)
        assert sorted(body.get("n", 1) for body in server.bodies) == [2, 2, 3, 3]
        assert [text[-1] for text in found[0]] == ["0", "1", "2", "0", "1"]

    def test_further_fields(self, server: Server, chat: Make) -> None:
        backend = chat(extra={"seed": None, "max_tokens": None, "max_completion_tokens": 900, "top_p": 0.9})
        backend.complete([HELLO], 1, 0)
        assert {*server.bodies[0]} == {"model", "messages", "temperature", "max_completion_tokens", "top_p"}
        assert backend.identity["top_p"] == 0.9 and backend.identity["model"] == "a-model"
        with pytest.raises(SpendCapReached, match=f"cost {5 + 16 + 900} tokens"):
            chat(extra=dict(backend.extra), cap=SpendCap(tokens=900)).complete([HELLO], 1, 0)

    def test_what_was_not_taken_is_not_followed(self, chat: Make, monkeypatch: pytest.MonkeyPatch) -> None:
        """Whoever keeps answers can lose no more than those under way."""
        sent: list[Any] = []

        class Pool(ThreadPoolExecutor):
            def submit(self, *args: Any, **more: Any) -> Any:
                sent.append(args)
                return super().submit(*args, **more)

        monkeypatch.setattr(http_chat, "ThreadPoolExecutor", Pool)
        asked = [Question(conversation(k), 0, k) for k in range(20)]
        came = chat(concurrency=2).answers(asked, Sampling())
        for taken in range(1, 6):
            next(came)
            assert len(sent) <= taken + 1
        came.close()  # type: ignore[attr-defined]
        assert len(sent) <= 6

    def test_an_answer_that_was_cut_off_before_its_first_word(self, server: Server, chat: Make) -> None:
        server.script = [says({"choices": [{"message": {"content": None}}]})]
        assert chat().complete([HELLO], 1, 0) == [[""]]


class TestWhatPasses:
    @pytest.mark.parametrize("failure", [
        says({"error": {"message": "overloaded"}}, 500), says(b"<html>", 503), says({}, 429), says({}, 408),
        says(b"{not json"), says(b"\xff\xfe"), says(b"[" * 100_000), says(b""), truncated, hanging_up,
    ])  # fmt: skip
    def test_is_tried_again(self, server: Server, chat: Make, slept: list[float], failure: Action) -> None:
        server.script = [failure, failure]
        backend = chat()
        assert backend.complete([HELLO], 1, 0)[0][0].startswith("hello / ")
        assert len(server.bodies) == 3 == backend.cap.made and slept == [1.0, 2.0]
        assert server.bodies[0] == server.bodies[1] == server.bodies[2]

    def test_slow_answers(self, server: Server, chat: Make) -> None:
        server.script = [silent]
        assert chat(seconds=0.5).complete([HELLO], 1, 0)[0][0].startswith("hello / ")
        assert len(server.bodies) == 2

    def test_answers_that_drip(self, server: Server, chat: Make, monkeypatch: pytest.MonkeyPatch) -> None:
        """No single wait is long, but by this clock the first answer has not ended after 25 of 20 seconds."""
        clock = iter([0.0, 25.0])
        monkeypatch.setattr(http_chat, "time", SimpleNamespace(monotonic=lambda: next(clock, 100.0)))
        assert chat().complete([HELLO], 1, 0)[0][0].startswith("hello / ")
        assert len(server.bodies) == 2

    @pytest.mark.parametrize(("failure", "message"), [
        (says({"error": {"message": "too busy"}}, 503), "status 503: too busy, after 4 tries"),
        (says(b"{"), r"no whole JSON \(1 bytes\), after 4 tries"), (hanging_up, "RemoteProtocolError.*after 4 tries"),
    ])  # fmt: skip
    def test_but_not_for_ever(self, server: Server, chat: Make, slept: list[float], failure: Action,
                              message: str) -> None:  # fmt: skip
        server.script = [failure] * 9
        with pytest.raises(ChatError, match=message):
            chat().complete([HELLO], 1, 0)
        assert len(server.bodies) == 4 and slept == [1.0, 2.0, 4.0]

    def test_nobody_there(self, server: Server, chat: Make) -> None:
        backend = chat(tries=2)
        server.shutdown()
        server.server_close()
        with pytest.raises(ChatError, match="ConnectError.*after 2 tries"):
            backend.complete([HELLO], 1, 0)
        assert (backend.cap.made, backend.cap.used) == (2, 0)

    @pytest.mark.parametrize(("told", "waits"), [("7", 7.0), ("0", 0.0), ("3600", 60.0), ("soon", 1.0), ("-5", 0.0),
                                                 ("Thu, 01 Jan 99999999999 00:00:00 GMT", 1.0),
                                                 ("nan", 1.0), ("inf", 1.0)])  # fmt: skip
    def test_retry_after(self, server: Server, chat: Make, slept: list[float], told: str, waits: float) -> None:
        server.script = [says({}, 429, {"Retry-After": told})]
        chat().complete([HELLO], 1, 0)
        assert slept == [waits]

    def test_retry_after_a_date(self, server: Server, chat: Make, slept: list[float]) -> None:
        past, future = (format_datetime(datetime.now(UTC) + timedelta(days=days)) for days in (-1, 1))
        server.script = [says({}, 429, {"Retry-After": past}), says({}, 503, {"Retry-After": future})]
        chat().complete([HELLO], 1, 0)
        assert slept == [0.0, 60.0]


class TestWhatDoesNotPass:
    @pytest.mark.parametrize(("answer", "message"), [
        (says({}, 401), f"status 401: the endpoint refuses the key in the environment variable {KEY_ENV}"),
        (says({}, 403), "status 403: the endpoint refuses the key"),
        (says({"error": {"message": "no model a-model"}}, 404), r"404.*base_url.*and model\. no model a-model"),
        (says({"error": "n is too large"}, 400), "status 400: n is too large"), (says(b"plain", 422), "422: plain"),
        (says(b"", 302, {"Location": "http://127.0.0.1:9/"}), "status 302: .*not followed; correct base_url"),
        (says([1]), "the answer is a list; an object with a list 'choices'"), (says(7), "is a int"),
        (says({"error": "x"}), r"an object with \['error'\]"), (says({"choices": "many"}), "with a list 'choices'"),
        (says({"choices": []}), "0 choices where 1 were asked for"),
        (says({"choices": [{"text": "x"}]}), "no field 'message' with a field 'content'"),
        (says({"choices": ["x"]}), "no field 'message'"), (says({"choices": [{"message": {}}]}), "field 'content'"),
        (says({"choices": [{"message": {"content": 5}}]}), "'content' of the answer is a int; a text is needed"),
        (says({"choices": [{"message": {"content": ["x"]}}]}), "is a list; a text"),
    ])  # fmt: skip
    def test_is_an_error_at_once(self, server: Server, chat: Make, slept: list[float], answer: Action,
                                 message: str) -> None:  # fmt: skip
        server.script = [answer]
        with pytest.raises(ChatError, match=message):
            chat().complete([HELLO], 1, 0)
        assert len(server.bodies) == 1 and slept == []

    def test_an_endless_answer(self, server: Server, chat: Make, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(http_chat, "_LARGEST", 1000)
        server.script = [says(b" " * 2000)]
        with pytest.raises(ChatError, match="more than 1000 bytes"):
            chat().complete([HELLO], 1, 0)

    def test_fewer_samples_than_asked_for(self, server: Server, chat: Make) -> None:
        server.script = [says({"choices": [{"message": {"content": "x"}}]})]
        with pytest.raises(ChatError, match="1 choices where 4 were asked for; give samples_per_request=1"):
            chat(samples_per_request=4).complete([HELLO], 4, 0)

    def test_after_a_failure_nothing_new_is_sent(self, server: Server, chat: Make) -> None:
        server.script = [well, well, says({}, 401)]
        backend = chat()
        with pytest.raises(ChatError, match="401"):
            backend.complete([conversation(k) for k in range(40)], 1, 0)
        assert len(server.bodies) == 3


class TestTheKey:
    @pytest.mark.parametrize("answer", [
        says({"error": {"message": f"Incorrect key {KEY}."}}, 401), says({"error": {"message": f"bad {KEY}"}}, 400),
        says(json.dumps({"error": {"message": KEY}}).replace("/", "\\/").encode(), 400),
        says(("x" * 280 + KEY).encode(), 500), says(("x" * 280 + KEY).encode(), 404), says({KEY: 1}),
        says(KEY.encode(), 302, {"Location": "/"}), says({"choices": [{KEY: KEY}]}), truncated, hanging_up,
    ])  # fmt: skip
    def test_is_nowhere(self, server: Server, chat: Make, answer: Action, tmp_path: Path,
                        caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]) -> None:  # fmt: skip
        caplog.set_level(logging.DEBUG)
        server.script = [well] + [answer] * 4
        backend = RecordReplay(chat(), tmp_path / "answers.jsonl", "record")
        try:
            backend.complete([conversation(k) for k in range(3)], 1, 0)
            raised = ""
        except ChatError as error:
            raised = "".join(traceback.format_exception(error)) + repr(error)
        written = "".join(file.read_text() for file in tmp_path.iterdir())
        printed = "".join(capsys.readouterr())
        assert len(read_records(tmp_path / "answers.jsonl")) >= 1
        for where in (raised, written, printed, caplog.text, repr(backend), str(backend.identity)):
            assert not any(KEY[start : start + 12] in where for start in range(len(KEY) - 12))

    @pytest.mark.parametrize(("value", "message"), [
        (None, "holds no key"), ("  ", "holds no key"), ("sk-caf\u00e9-0123", "holds an unusable key"),
        ("sk-a\nX-Evil: 1", "holds an unusable key"),
    ])  # fmt: skip
    def test_that_is_none(self, server: Server, chat: Make, monkeypatch: pytest.MonkeyPatch, value: str | None,
                          message: str) -> None:  # fmt: skip
        monkeypatch.delenv(KEY_ENV) if value is None else monkeypatch.setenv(KEY_ENV, value)
        with pytest.raises(ChatError, match=f"{KEY_ENV} {message}") as caught:
            chat().complete([HELLO], 1, 0)
        assert server.bodies == [] and "sk-" not in str(caught.value)

    def test_is_read_when_it_is_needed(self, server: Server, chat: Make, monkeypatch: pytest.MonkeyPatch) -> None:
        backend = chat()
        monkeypatch.setenv(KEY_ENV, " another-key \n")
        backend.complete([HELLO], 1, 0)
        assert server.seen[0][1]["authorization"] == "Bearer another-key"


class TestSpending:
    def test_the_cap_stops_before_the_request(self, server: Server, chat: Make) -> None:
        backend = chat(cap=SpendCap(requests=3))
        with pytest.raises(SpendCapReached, match="3 of 3 requests and 21 of 1000000 tokens are spent. Raise SpendCap"):
            backend.complete([conversation(k) for k in range(9)], 1, 0)
        assert len(server.bodies) == 3 == backend.cap.made and backend.cap.used == 3 * 7

    def test_tokens(self, server: Server, chat: Make) -> None:
        backend = chat(cap=SpendCap(tokens=MOST + 13))  # one that costs 7, another, but not a third
        with pytest.raises(SpendCapReached, match=f"could cost {MOST} tokens"):
            backend.complete([HELLO], 5, 0)
        assert len(server.bodies) == 2 and backend.cap.used == 14

    @pytest.mark.parametrize(("first", "used"), [
        (says({}, 429), 7), (says({}, 500), 7), (truncated, MOST + 7), (says(b"{"), MOST + 7), (hanging_up, MOST + 7),
    ])  # fmt: skip
    def test_tries_count(self, server: Server, chat: Make, first: Action, used: int) -> None:
        """Refused requests cost nothing; those that may have been worked on count with all they can cost."""
        server.script, backend = [first], chat()
        backend.complete([HELLO], 1, 0)
        assert (backend.cap.made, backend.cap.used) == (2, used)

    @pytest.mark.parametrize("usage", [None, 5, {}, {"total_tokens": "7"}, {"total_tokens": True},
                                       {"total_tokens": -1}])  # fmt: skip
    def test_a_server_that_does_not_count(self, server: Server, chat: Make, usage: Any) -> None:
        server.script = [lambda handler, body: says(payload(body, usage=usage))(handler, body)]
        backend = chat()
        backend.complete([HELLO], 1, 0)
        assert backend.cap.used == MOST

    def test_tries_stop_at_the_cap(self, server: Server, chat: Make, slept: list[float]) -> None:
        server.script = [says({}, 500)] * 9
        with pytest.raises(SpendCapReached):
            chat(cap=SpendCap(requests=2)).complete([HELLO], 1, 0)
        assert len(server.bodies) == 2

    def test_many_threads(self, server: Server, chat: Make) -> None:
        backend = chat(cap=SpendCap(requests=11), concurrency=6)
        with pytest.raises(SpendCapReached):
            backend.complete([conversation(k) for k in range(60)], 1, 0)
        assert len(server.bodies) == 11 and backend.cap.used == 77


class TestAfterAFailure:
    def test_what_is_under_way_is_waited_for(self, chat: Make, monkeypatch: pytest.MonkeyPatch) -> None:
        """The first answer comes only when the failure of the second has been dealt with; it is given all the same."""
        waits, dealt_with = [0], threading.Event()

        def asks(self: HTTPChat, client: Any, questions: list[Question], sampling: Sampling) -> list[str]:
            if questions[0].sample == 1:
                raise ChatError("refused")
            dealt_with.wait(60)
            return ["late"]

        def waits_again(*args: Any, **more: Any) -> Any:
            waits[0] += 1
            if waits[0] == 2:
                dealt_with.set()
            return wait(*args, **more)

        monkeypatch.setattr(HTTPChat, "_ask", asks)
        monkeypatch.setattr(http_chat, "wait", waits_again)
        came = chat(concurrency=2).answers([Question(HELLO, k, k) for k in range(3)], Sampling())
        assert next(came) == (0, "late")
        with pytest.raises(ChatError, match="refused"):
            next(came)

    @pytest.mark.parametrize("concurrency", [1, 4])
    def test_nothing_answered_is_asked_again(self, server: Server, chat: Make, tmp_path: Path,
                                             concurrency: int) -> None:  # fmt: skip
        asked, path = [conversation(k) for k in range(10)], tmp_path / "answers.jsonl"
        first = RecordReplay(chat(cap=SpendCap(requests=6), concurrency=concurrency), path, "record")
        with pytest.raises(SpendCapReached):
            first.complete(asked, 2, 10_000)
        assert len(server.bodies) == 6 == len(read_records(path))
        second = RecordReplay(chat(concurrency=concurrency), path, "auto")
        found = second.complete(asked, 2, 10_000)
        assert len(server.bodies) == 20 and len({(str(b["messages"]), b["seed"]) for b in server.bodies}) == 20
        assert found == chat().complete(asked, 2, 10_000)
        assert RecordReplay(chat(), path).complete(asked, 2, 10_000) == found and len(server.bodies) == 40


@pytest.mark.parametrize(("wrong", "message"), [
    ({"base_url": "ftp://host/v1"}, "base_url must be http"), ({"base_url": "localhost:8000/v1"}, "base_url must be"),
    ({"base_url": "https://user:pass@host/v1"}, "without user, password"), ({"base_url": "https:///v1"}, "base_url"),
    ({"base_url": "https://host/v1?key=abc"}, "or query"), ({"model": ""}, "model = ''"),
    ({"concurrency": 0}, "concurrency = 0"), ({"tries": 0}, "tries = 0"), ({"seconds": 0.0}, "seconds = 0.0"),
    ({"samples_per_request": 0}, "samples_per_request = 0"), ({"extra": {"max_tokens": None}}, "capped only with one"),
    ({"extra": {"stream": True}}, r"extra holds \['stream'\]"),
])  # fmt: skip
def test_bad_settings(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        HTTPChat(**{"base_url": "https://host/v1", "model": "m"} | wrong)
    assert "pass@" not in str(caught.value) and "abc" not in str(caught.value)
