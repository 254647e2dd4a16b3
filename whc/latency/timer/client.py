"""The client of a timer: it sends files, waits for their times, and while the timer is away, for the timer."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Self, TypeVar
from urllib.parse import urlsplit

import requests
from pydantic import BaseModel, ValidationError

from whc.config import validate
from whc.errors import ArtifactError, RuntimeUnavailable, UsageError, WhcError, problem
from whc.latency.timer import TimingPlace
from whc.latency.timer.address import is_loopback
from whc.latency.timer.messages import (
    FILES_PATH,
    JOBS_PATH,
    MAX_FILE_BYTES,
    TIMER_VERSION,
    Greeting,
    MissingFiles,
    TimingAnswer,
    TimingJob,
)
from whc.latency.timing import REFERENCE_NAME, Protocol, Series
from whc.latency.watch import TWIN_NAME
from whc.plugins import names
from whc.records import sha256

CONNECT_TIMEOUT_S, SILENCE_TIMEOUT_S = 5.0, 30.0  # a timer at work gives a sign of life every two seconds
RETRY_S = 2.0
MAX_UPLOADS = 3  # of one file: other clients' files may take its place before the job begins
SAME_VERSION_ADVICE = "install the same version of whc on both machines"
START_ADVICE = "start it there with `whc bench --serve`"


class TimerLost(WhcError):
    """A timer does not answer, or not as it did before."""


def _say_nothing(reason: str) -> None:
    del reason


@dataclass(frozen=True)
class RemoteTimer:
    """A `whc.latency.timer.Timer` at `address`, HOST:PORT."""

    address: str
    token: str = field(repr=False)
    place: TimingPlace
    on_wait: Callable[[str], None] = field(default=_say_nothing, repr=False, compare=False)

    @property
    def is_local(self) -> bool:
        """Whether only this machine reaches it."""
        return is_loopback(urlsplit(f"//{self.address}").hostname or "")

    def telling(self, on_wait: Callable[[str], None]) -> Self:
        """The same timer; it calls `on_wait` with the reason when it begins to wait, and with "" when that is over."""
        return replace(self, on_wait=on_wait)

    def collect(
        self, files: Mapping[str, Path], protocol: Protocol, ram_of: Collection[str] = ()
    ) -> tuple[Series, dict[str, str]]:
        """Time files there together with the reference network and its twin; waits as long as the timer is away.

        The arguments are those of `whc.latency.watch.collect`.

        Returns:
            The blocks of every file that could be timed, of the reference network and of its twin; and the reason for
            each other file.

        Raises:
            RuntimeUnavailable: the runtime does not work there.
            ArtifactError: no file can be timed.
        """
        waits_for = ""
        while True:
            try:
                answer = self._collect(files, protocol, ram_of)
            except TimerLost as error:
                if waits_for != str(error):
                    waits_for = str(error)
                    self.on_wait(waits_for)
                time.sleep(RETRY_S)
            else:
                if waits_for:
                    self.on_wait("")
                return answer

    def _collect(
        self, files: Mapping[str, Path], protocol: Protocol, ram_of: Collection[str]
    ) -> tuple[Series, dict[str, str]]:
        self._check_place(_greeting(self.address, self.token).place)
        failed = {name: reason for name, path in files.items() if (reason := _too_large(path))}
        digests = {name: sha256(path) for name, path in files.items() if name not in failed}
        answer = self._time(files, digests, protocol, ram_of)
        self._check_place(answer.place)
        if answer.unavailable:
            raise RuntimeUnavailable(f"timer {self.address}: {answer.unavailable}")
        for name, digest in digests.items():
            if digest not in answer.times_ms:
                reason = answer.error or answer.failed.get(digest) or f"{digest}: no times came back"
                failed[name] = reason.replace(digest, str(files[name]))
        if not answer.times_ms:
            raise ArtifactError("\n".join(failed.values()) or f"timer {self.address}: {answer.error or 'no times'}")
        everything = answer.series
        names = {name: name for name in (REFERENCE_NAME, TWIN_NAME)}
        names |= {name: digest for name, digest in digests.items() if name not in failed}
        times = {name: everything.times_ms[digest] for name, digest in names.items()}
        interrupted = {name: everything.interrupted[digest] for name, digest in names.items()}
        ram = {name: size for name in ram_of if (size := everything.ram_bytes.get(names.get(name, ""))) is not None}
        return Series(times, interrupted, ram), failed

    def _time(
        self, files: Mapping[str, Path], digests: Mapping[str, str], protocol: Protocol, ram_of: Collection[str]
    ) -> TimingAnswer:
        """Have files timed; those that the timer lacks are sent."""
        measured = {digests[name] for name in ram_of if name in digests}
        asked = {"files": sorted(set(digests.values())), "protocol": protocol, "ram_of": sorted(measured)}
        job = validate(TimingJob, asked, f"timer {self.address}").model_dump_json()
        paths = {digest: files[name] for name, digest in digests.items()}
        for _ in range(MAX_UPLOADS):
            response = self._request("POST", JOBS_PATH, data=job)
            if response.status_code != requests.codes.conflict:
                return _read(self.address, TimingAnswer, response)
            for digest in _read(self.address, MissingFiles, response).missing:
                with paths[digest].open("rb") as file:
                    self._request("PUT", FILES_PATH, data=file)
        rule, next_step = "must have room for all files of a session", "time fewer or smaller ones"
        raise ArtifactError(problem(f"timer {self.address}", rule, f"{len(paths)} files", next_step))

    def _request(self, method: str, path: str, **content: Any) -> requests.Response:
        return _request(self.address, self.token, method, path, **content)

    def _check_place(self, place: TimingPlace) -> None:
        if place != self.place:
            rule = f"must time as at the beginning ({self.place})"
            raise TimerLost(f"timer {self.address}: {rule}, got {place}; start it as it was")


def connect(address: str, token: str) -> RemoteTimer:
    """The timer at HOST:PORT.

    Raises:
        UsageError: that is no address.
        TimerLost: nothing answers there, or no timer of this version, or it has another token.
    """
    rule, next_step = "must be HOST:PORT", f"write 192.168.0.7:8700, the address of a timer; {START_ADVICE}"
    try:
        parts = urlsplit(f"//{address}")
        is_valid = bool(parts.hostname and parts.port) and parts.netloc == address and "@" not in address
    except ValueError:
        is_valid = False
    if not is_valid or not re.fullmatch(r"[\w.:\[\]-]+", address, re.ASCII):
        raise UsageError(problem("--time-on", rule, address, next_step))
    place = _greeting(address, token).place
    if place.runtime not in (known := names("runtimes")):
        rule = f"must time on one of {', '.join(known)}"
        raise TimerLost(problem(f"timer {address}", rule, place.runtime, SAME_VERSION_ADVICE))
    return RemoteTimer(address, token, place)


def _greeting(address: str, token: str) -> Greeting:
    return _read(address, Greeting, _request(address, token, "GET", "/"))


def _request(address: str, token: str, method: str, path: str, **content: Any) -> requests.Response:
    """Send a request; raises TimerLost without an answer, and for answers that have nothing to do with its content."""
    where = f"timer {address}"
    try:
        with requests.Session() as session:
            session.trust_env = False  # a proxy of the environment cannot reach a device in the room
            response = session.request(
                method,
                f"http://{address}{path}",
                headers={"Authorization": f"Bearer {token}"},
                timeout=(CONNECT_TIMEOUT_S, SILENCE_TIMEOUT_S),
                allow_redirects=False,
                **content,
            )
    except requests.RequestException as error:
        raise TimerLost(f"{where}: must answer, got: {_reason(error)}; {START_ADVICE}") from error
    if response.status_code == requests.codes.unauthorized:
        next_step = "give the one that it printed at its start in WHC_TIMER_TOKEN or with --token-file"
        raise TimerLost(f"{where}: must be asked with its token, got another; {next_step}")
    if response.status_code >= requests.codes.server_error:
        raise TimerLost(problem(where, "must answer", f"status {response.status_code}", "see what it printed"))
    if response.status_code in (requests.codes.request_entity_too_large, requests.codes.unprocessable):
        raise ArtifactError(f"{where}: refuses what it is asked for: {response.text[:200]}")
    return response


AnyMessage = TypeVar("AnyMessage", bound=BaseModel)


def _read(address: str, kind: type[AnyMessage], response: requests.Response) -> AnyMessage:
    """A message of a timer; raises TimerLost where it is none, or of another version."""
    try:
        return kind.model_validate_json(response.content)
    except ValidationError as error:
        version = _version(response)
        if version is not None and version != TIMER_VERSION:
            rule, got, next_step = f"must be of version {TIMER_VERSION}", version, SAME_VERSION_ADVICE
        else:
            rule, got = "must answer as a timer of whc", f"status {response.status_code}: {response.text[:60]}"
            next_step = f"check the address, or {SAME_VERSION_ADVICE}"
        raise TimerLost(problem(f"timer {address}", rule, got, next_step)) from error


def _version(response: requests.Response) -> Any:
    try:
        content = response.json()
    except requests.JSONDecodeError:
        return None
    return content.get("timer_version") if isinstance(content, dict) else None


def _reason(error: requests.RequestException) -> str:
    """The system's reason for a failed connection, without the classes around it."""
    if found := re.search(r"\[Errno -?\d+\] ([^'\")]+)", str(error)):
        return found[1]
    return "nothing in time" if isinstance(error, requests.Timeout) else "a connection that broke"


def _too_large(path: Path) -> str:
    size = path.stat().st_size
    if size <= MAX_FILE_BYTES:
        return ""
    rule = f"must be at most {MAX_FILE_BYTES >> 20} MiB to be timed on a device"
    return problem(str(path), rule, f"{size >> 20} MiB", "time it there with `whc bench`")
