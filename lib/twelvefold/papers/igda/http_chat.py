"""Chat models behind any endpoint that speaks the chat-completions form of OpenAI (also vLLM, llama.cpp, Ollama).

The key is read from an environment variable when it is needed. It is in no attribute, record, log or error text. What
is spent is capped before each request. What may pass (too many requests, server errors, timeouts, bodies that are cut
off or no JSON) is tried again; everything else is an error that says what to do.
"""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import urlsplit

import httpx
from tenacity import RetryCallState, Retrying, retry_if_exception_type, stop_after_attempt

from twelvefold.papers.igda.chat_backends import ChatBackend, ChatError, Question, Sampling, same_conversation

_LARGEST = 2**24  # bytes of one answer
_LONGEST_WAIT = 60.0  # seconds between two tries, whatever the server asks for
_PASSING = {408, 425, 429}  # and every 5xx
_BOUNDS = ("max_tokens", "max_completion_tokens")
_OVERHEAD = 16  # tokens that a chat template adds to one message, at most


class SpendCapReached(ChatError):
    """The next request could spend more than was allowed, and was not sent."""


@dataclass
class SpendCap:
    """How much may be spent, and how much was; shared by all threads.

    A request is counted when it is sent, with the most tokens it can cost (a token is at least one byte of the prompt;
    the answer has at most `max_tokens`). The server's own count replaces that when it comes.

    Attributes:
        requests, tokens: most of each. made, used: requests sent and tokens counted so far.
    """

    requests: int = 2_000
    tokens: int = 1_000_000
    made: int = 0
    used: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock, init=False, repr=False, compare=False)

    def reserve(self, tokens: int) -> None:
        """Count a request before it is sent.

        Raises:
            SpendCapReached: it does not fit; nothing is counted.
        """
        with self._lock:
            if self.made + 1 > self.requests or self.used + tokens > self.tokens:
                raise SpendCapReached(
                    f"the next request could cost {tokens} tokens; {self.made} of {self.requests} requests and "
                    f"{self.used} of {self.tokens} tokens are spent. Raise SpendCap(requests=..., tokens=...), or ask "
                    "about fewer pairs or samples"
                )
            self.made, self.used = self.made + 1, self.used + tokens

    def settle(self, reserved: int, used: int) -> None:
        """Replace what was reserved for a request by what it used."""
        with self._lock:
            self.used += used - reserved


class _Passing(Exception):
    """A failure that may pass; `wait`: seconds that the server asked to wait, if it did."""

    def __init__(self, reason: str, wait: float | None = None) -> None:
        super().__init__(reason)
        self.wait = wait


@dataclass(frozen=True)
class HTTPChat(ChatBackend):
    """A chat model behind an HTTP endpoint.

    Attributes:
        base_url: what precedes "/chat/completions", e.g. "https://api.openai.com/v1" or "http://localhost:8000/v1".
        model: its name at the endpoint; answers are recorded under it.
        key_env: environment variable that holds the key; None: the endpoint needs none.
        cap: what may be spent.
        concurrency: requests at a time. samples_per_request: samples of a conversation asked for at once; above 1 the
            prompt is paid for once, where the endpoint knows the parameter n.
        seconds: longest time of one request. tries: of each request. sleep: waits between them.
        extra: further fields of the body; None leaves one out, e.g. {"max_tokens": None, "max_completion_tokens": 900}.
    """

    base_url: str
    model: str
    key_env: str | None = None
    cap: SpendCap = field(default_factory=SpendCap)
    concurrency: int = 8
    samples_per_request: int = 1
    seconds: float = 120.0
    tries: int = 6
    extra: Mapping[str, Any] = field(default_factory=dict)
    sleep: Callable[[float], None] = field(default=time.sleep, repr=False)

    def __post_init__(self) -> None:
        parts = urlsplit(self.base_url)
        if parts.scheme not in ("http", "https") or not parts.hostname or "@" in parts.netloc or parts.query:
            raise ValueError(f"base_url must be http(s)://host/..., without user, password or query (got the scheme "
                             f"{parts.scheme!r} and the host {parts.hostname!r})")  # fmt: skip
        if not self.model or min(self.concurrency, self.samples_per_request, self.tries) < 1 or not self.seconds > 0:
            raise ValueError(f"model = {self.model!r}, concurrency = {self.concurrency}, samples_per_request = "
                             f"{self.samples_per_request}, tries = {self.tries}, seconds = {self.seconds}; a name, "
                             "whole numbers of at least 1 and a positive time are needed")  # fmt: skip
        if taken := {*self.extra} & {"model", "messages", "n", "stream"}:
            raise ValueError(f"extra holds {sorted(taken)}, which this class sets itself")
        if "max_tokens" in self.extra and not any(self.extra.get(name) for name in _BOUNDS):
            raise ValueError(f"extra = {dict(self.extra)!r}; spending can be capped only with one of {_BOUNDS}")

    @property
    def identity(self) -> Mapping[str, Any]:
        return {"model": self.model, **self.extra}

    def answers(self, questions: Sequence[Question], sampling: Sampling) -> Iterator[tuple[int, str]]:
        headers = {"Authorization": f"Bearer {self._key()}"} if self.key_env else {}
        with httpx.Client(headers=headers, timeout=self.seconds) as client:
            pool = ThreadPoolExecutor(self.concurrency)
            try:
                yield from self._as_they_come(pool, client, questions, sampling)
            finally:
                pool.shutdown(wait=False)

    def _as_they_come(
        self, pool: ThreadPoolExecutor, client: httpx.Client, questions: Sequence[Question], sampling: Sampling
    ) -> Iterator[tuple[int, str]]:
        """Answers of all requests. A new one is sent when an answer has been taken, so that only what is under way can
        be lost; after a failure none is sent, but what is under way is waited for and given."""
        waiting = iter(same_conversation(questions, self.samples_per_request))
        running: dict[Future[list[str]], list[int]] = {}
        failure: BaseException | None = None
        while True:
            while failure is None and len(running) < self.concurrency and (places := next(waiting, None)):
                running[pool.submit(self._ask, client, [questions[p] for p in places], sampling)] = places
            if not running:
                break
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                places, raised = running.pop(future), future.exception()
                failure = failure or raised
                if raised is None:
                    yield from zip(places, future.result(), strict=True)
        if failure is not None:
            raise failure

    def _key(self) -> str:
        key = os.environ.get(self.key_env or "", "").strip()
        if not key or not (key.isascii() and key.isprintable()):
            held = "an unusable key" if key else "no key"
            raise ChatError(f"the environment variable {self.key_env} holds {held}; set it to the key of the endpoint, "
                            "or give key_env=None if it needs none")  # fmt: skip
        return key

    def _ask(self, client: httpx.Client, questions: Sequence[Question], sampling: Sampling) -> list[str]:
        """Texts of one group of questions, after as many tries as it takes."""
        first = questions[0]
        body: dict[str, Any] = {"model": self.model, "messages": [dict(m) for m in first.messages], "seed": first.seed,
                                "temperature": sampling.temperature, "max_tokens": sampling.max_tokens}  # fmt: skip
        if len(questions) > 1:
            body["n"] = len(questions)
        body = {name: value for name, value in (body | dict(self.extra)).items() if value is not None}
        longest = max(sampling.max_tokens, *(int(body.get(name, 0)) for name in _BOUNDS))
        prompt = sum(len(m["content"].encode(errors="replace")) + _OVERHEAD for m in first.messages)
        most = (prompt + longest) * len(questions)
        tries = Retrying(retry=retry_if_exception_type(_Passing), stop=stop_after_attempt(self.tries), wait=_pause,
                         sleep=self.sleep, reraise=True)  # fmt: skip
        try:
            return tries(self._try, client, body, len(questions), most)
        except _Passing as failure:
            raise ChatError(f"{self._url} ({self.model}): {failure}, after {self.tries} tries") from None

    @property
    def _url(self) -> str:
        return f"{self.base_url.rstrip('/')}/chat/completions"

    def _try(self, client: httpx.Client, body: Mapping[str, Any], n: int, most: int) -> list[str]:
        self.cap.reserve(most)
        used = most  # unless it turns out otherwise: a request without an answer may have been paid for
        try:
            status, headers, content = _received(client, self._url, body, self.seconds)
            if status != 200:
                used = 0
                raise self._refused(status, headers, content)
            texts, used = _read(content, n, most)
            return texts
        except httpx.RequestError as error:
            used = 0 if isinstance(error, httpx.ConnectError | httpx.ConnectTimeout) else most
            raise _Passing(self._clean(f"{type(error).__name__}: {error}")) from None
        except ChatError as error:
            raise type(error)(self._clean(f"{self._url} ({self.model}): {error}")) from None
        finally:
            self.cap.settle(most, used)

    def _refused(self, status: int, headers: Mapping[str, str], content: bytes) -> Exception:
        """What an answer other than 200 means."""
        said = self._clean(_said(content))
        if status in _PASSING or status >= 500:
            return _Passing(f"status {status}: {said}", _retry_after(headers.get("retry-after")))
        if status in (401, 403):  # the body may show parts of the key
            held = f"the key in the environment variable {self.key_env}" if self.key_env else "a request without a key"
            return ChatError(f"status {status}: the endpoint refuses {held}; give a valid one through key_env")
        if status == 404:
            return ChatError("status 404: no such address or model; check base_url (it often ends in /v1) and model. "
                             f"{said}")  # fmt: skip
        if 300 <= status < 400:
            return ChatError(f"status {status}: it sends to another address, which is not followed; correct base_url")
        return ChatError(f"status {status}: {said}")

    def _clean(self, text: str) -> str:
        """A text of others without the key, cut to a length that can be read."""
        key = os.environ.get(self.key_env, "").strip() if self.key_env else ""
        return (text.replace(key, "[key]") if key else text)[:300]


def _pause(state: RetryCallState) -> float:
    """Seconds to wait: what the server asks for, else 1, 2, 4, ...; at most a minute."""
    failure = state.outcome.exception() if state.outcome else None
    asked = failure.wait if isinstance(failure, _Passing) else None
    return min(_LONGEST_WAIT, 2.0 ** (state.attempt_number - 1) if asked is None else asked)


def _retry_after(value: str | None) -> float | None:
    """Seconds from a Retry-After header, a number or a date; None where it says nothing that can be read."""
    if value is None:
        return None
    try:
        seconds = float(value)
    except ValueError:
        try:
            when = parsedate_to_datetime(value)
        except (ValueError, OverflowError):
            return None
        seconds = (when - datetime.now(UTC if when.tzinfo else None)).total_seconds()
    return max(0.0, seconds) if seconds < float("inf") else None


def _received(
    client: httpx.Client, url: str, body: Mapping[str, Any], seconds: float
) -> tuple[int, Mapping[str, str], bytes]:
    """Status, headers and content of an answer that is neither endless nor slow without end."""
    end, content = time.monotonic() + seconds, bytearray()
    with client.stream("POST", url, json=body) as response:
        for part in response.iter_bytes():
            content += part
            if len(content) > _LARGEST:
                raise ChatError(f"an answer of more than {_LARGEST} bytes")
            if time.monotonic() > end:
                raise httpx.ReadTimeout(f"the answer was not complete after {seconds} seconds")
    return response.status_code, response.headers, bytes(content)


def _read(content: bytes, n: int, most: int) -> tuple[list[str], int]:
    """Texts, and tokens used (`most` where the server does not count)."""
    try:
        found = json.loads(content)
    except (ValueError, RecursionError):
        raise _Passing(f"the answer is no whole JSON ({len(content)} bytes)") from None
    choices = found.get("choices") if isinstance(found, dict) else None
    if not isinstance(choices, list):
        what = f"an object with {sorted(found)[:9]}" if isinstance(found, dict) else f"a {type(found).__name__}"
        raise ChatError(f"the answer is {what}; an object with a list 'choices' is needed")
    if len(choices) != n:
        raise ChatError(f"the answer has {len(choices)} choices where {n} were asked for; give samples_per_request=1")
    usage = found.get("usage")
    used = usage.get("total_tokens") if isinstance(usage, dict) else None
    return [_text(choice) for choice in choices], used if type(used) is int and used >= 0 else most


def _said(content: bytes) -> str:
    """What an error of the endpoint says: the message in it, or the text as it is."""
    text = content.decode(errors="replace")
    try:
        error = json.loads(text)["error"]
        return str(error["message"] if isinstance(error, dict) else error)
    except (ValueError, RecursionError, KeyError, TypeError):
        return text


def _text(choice: Any) -> str:
    """Text of one choice; an empty one where the model was cut off before it wrote any (content null)."""
    message = choice.get("message") if isinstance(choice, dict) else None
    if not isinstance(message, dict) or "content" not in message:
        raise ChatError("a choice of the answer has no field 'message' with a field 'content'")
    content = message["content"]
    if content is not None and not isinstance(content, str):
        raise ChatError(f"'content' of the answer is a {type(content).__name__}; a text is needed")
    return content or ""
