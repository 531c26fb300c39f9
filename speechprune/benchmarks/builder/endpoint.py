"""Requests to an endpoint of OpenAI's protocol, with a bounded number of retries."""

from __future__ import annotations

import email.utils
import os
import random
import time
import urllib.parse
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    import httpx2

MAX_BACKOFF_SECONDS = 60.0
MAX_RETRY_AFTER_SECONDS = 600.0  # a server may ask for an hour; then it is asked again before that
MAX_SHOWN_CHARACTERS = 400  # of a server's own words in an error
TRIED_AGAIN = {408, 409, 425, 429}  # time-out, conflict, too early, rate limit; and all from 500

ReplyT = TypeVar("ReplyT")


class EndpointError(RuntimeError):
    """No usable reply; the message names the endpoint, the last problem and what to do."""


class AttemptFailed(Exception):
    """An attempt without a usable result, after which another may succeed.

    Parameters
    ----------
    problem
        What went wrong.
    advice
        What the user can do if retries fail too.
    retry_after_seconds
        Wait that the server asked for; default: exponential back-off.
    next_body
        Body to send next without a wait: the server works, only its reply must change.
    """

    def __init__(
        self,
        problem: str,
        *,
        advice: str = "check the server, or raise max_attempts",
        retry_after_seconds: float | None = None,
        next_body: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(problem)
        self.advice = advice
        self.retry_after_seconds = retry_after_seconds
        self.next_body = next_body


@dataclass(frozen=True, kw_only=True)
class EndpointOptions:
    """Address of a served model, and limits of its requests.

    Parameters
    ----------
    model
        Name of the model on the server.
    base_url
        Address of OpenAI or any server of its protocol (vLLM, llama.cpp, Ollama, ...), with the version:
        ``http://localhost:8000/v1``.
    api_key_variable
        Environment variable that holds the key; a server that wants none needs none.
    timeout_seconds
        Time without a byte from the server after which an attempt fails.
    max_attempts
        Number of requests for one reply.
    backoff_seconds
        Wait before the second attempt, doubled for each further one, unless the server names a wait.
    """

    model: str
    base_url: str = "https://api.openai.com/v1"
    api_key_variable: str = "OPENAI_API_KEY"
    timeout_seconds: float = 300.0
    max_attempts: int = 6
    backoff_seconds: float = 1.0

    def __post_init__(self) -> None:
        if not self.model:
            raise ValueError("model is empty: name a model that the endpoint serves")
        _check_url(self.base_url)
        if self.max_attempts < 1:
            raise ValueError(f"max_attempts is {self.max_attempts}: give at least 1")
        if not self.timeout_seconds > 0:
            raise ValueError(f"timeout_seconds is {self.timeout_seconds}: give more than 0")
        if not self.backoff_seconds >= 0:
            raise ValueError(f"backoff_seconds is {self.backoff_seconds}: give 0 or more")


def _check_url(base_url: str) -> None:
    try:
        parts = urllib.parse.urlsplit(base_url)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:  # a port that is no number
        usable = False
    if not usable:
        raise ValueError("base_url is no address: give one such as http://localhost:8000/v1")
    if parts.username or parts.password:
        raise ValueError("base_url holds a password: give the key in the environment instead")


class Endpoint:
    """A connection to one endpoint; threads may share it."""

    def __init__(self, options: EndpointOptions) -> None:
        try:
            import httpx2
        except ImportError as error:
            raise EndpointError("httpx2 is not installed: pip install httpx2") from error
        self._options = options
        self._key = os.environ.get(options.api_key_variable, "").strip()
        if not (self._key.isascii() and self._key.isprintable()):
            raise EndpointError(f"${options.api_key_variable} holds characters that no key has: set it again")
        self._client = httpx2.Client(
            base_url=options.base_url,
            headers={"Authorization": f"Bearer {self._key}"} if self._key else {},
            timeout=options.timeout_seconds,
        )

    def post(self, path: str, body: dict[str, Any], read: Callable[[bytes], ReplyT]) -> ReplyT:
        """Post JSON until a reply can be read.

        Parameters
        ----------
        path
            Path below ``base_url``.
        body
            Sent as JSON.
        read
            Makes the result of a successful reply's bytes, or raises ``AttemptFailed``.

        Raises
        ------
        EndpointError
            The server refuses the request, or ``max_attempts`` are spent.
        """
        for attempt in range(1, self._options.max_attempts + 1):
            try:
                return read(self._send(path, body))
            except AttemptFailed as error:
                failure = error
            if attempt < self._options.max_attempts:
                time.sleep(self._wait_seconds(failure, attempt))
            body = failure.next_body or body
        raise EndpointError(
            f"{self._options.base_url}{path} gave no usable reply in {self._options.max_attempts} attempts; "
            f"the last problem: {self._shown(str(failure))}; {failure.advice}"
        )

    def _send(self, path: str, body: dict[str, Any]) -> bytes:
        import httpx2

        try:
            response = self._client.post(path, json=body)
        except httpx2.TimeoutException:
            raise AttemptFailed(
                f"no answer within {self._options.timeout_seconds:g} s",
                advice="raise timeout_seconds or max_attempts, or ask a faster server",
            ) from None
        except httpx2.RequestError as error:
            reason = str(error) or type(error).__name__
            raise AttemptFailed(f"the connection failed ({reason})") from None
        if response.is_success:
            return response.content
        problem = f"status {response.status_code}: {_server_message(response)}"
        if response.status_code in TRIED_AGAIN or response.status_code >= 500:
            raise AttemptFailed(problem, retry_after_seconds=_retry_after_seconds(response))
        raise EndpointError(
            f"{self._options.base_url}{path} refuses the request with {self._shown(problem)}; "
            f"{self._advice_on_refusal(response.status_code)}"
        )

    def _wait_seconds(self, failure: AttemptFailed, attempt: int) -> float:
        if failure.next_body is not None:
            return 0.0
        if failure.retry_after_seconds is not None:
            return min(failure.retry_after_seconds, MAX_RETRY_AFTER_SECONDS)
        backoff = min(self._options.backoff_seconds * 2 ** (attempt - 1), MAX_BACKOFF_SECONDS)
        return backoff * random.uniform(0.75, 1.25)  # so that workers that failed together don't return so

    def _advice_on_refusal(self, status: int) -> str:
        if status in (401, 403):
            state = "check the key in" if self._key else "no key is set: put one into"
            return f"{state} ${self._options.api_key_variable}"
        if status == 404:
            return f"check base_url and that the endpoint serves {self._options.model!r}"
        return "check the options: does this model take such requests?"

    def _shown(self, text: str) -> str:
        """Shorten a text to one line, without the key, which some servers repeat."""
        text = " ".join(text.split())
        if self._key:
            text = text.replace(self._key, "[key]")
        return text if len(text) <= MAX_SHOWN_CHARACTERS else text[:MAX_SHOWN_CHARACTERS] + " ..."


def _server_message(response: httpx2.Response) -> str:
    """Return the server's error message: ``{"error": {"message": ...}}``, or the whole body."""
    try:
        return str(response.json()["error"]["message"])
    except (ValueError, KeyError, TypeError):
        return response.text or response.reason_phrase


def _retry_after_seconds(response: httpx2.Response) -> float | None:
    """The Retry-After header: seconds, or a date."""
    value = response.headers.get("retry-after", "")
    try:
        return max(0.0, float(value))
    except ValueError:
        date = email.utils.parsedate_tz(value)
        return None if date is None else max(0.0, email.utils.mktime_tz(date) - time.time())
