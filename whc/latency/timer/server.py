"""The timer on a device: takes files and times them, one session at a time, for those who have its token."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import os
import queue
import shutil
import socket
import tempfile
import threading
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import Future
from contextlib import suppress
from pathlib import Path

from pydantic import ValidationError
from starlette.applications import Starlette
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from whc import http_server
from whc.errors import RuntimeUnavailable, UsageError, WhcError
from whc.latency import first_pass, reference
from whc.latency.bench import refused
from whc.latency.timer import TimingPlace, place_of
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
from whc.latency.watch import collect
from whc.plugins import Choice
from whc.runtimes import reads

LITERT_MARK = b"TFL3"  # after the first four bytes of a .tflite file
MAX_STORE_BYTES = 4 * MAX_FILE_BYTES
MAX_JOB_BYTES = 2**20
UPLOAD_TIMEOUT_S = 300.0
BEAT_S = 2.0  # between signs of life, while a job waits or runs


def serve(
    address: tuple[str, int], runtime: Choice, wait_s: float, token: str, announce: Callable[[str, TimingPlace], None]
) -> None:
    """Serve a timer until Ctrl-C.

    Args:
        address: host and port to listen on; port 0 is a free one.
        runtime: what runs the files.
        wait_s: seconds that a file's first pass may take on a CPU.
        token: what every request must have.
        announce: called with the URL and what times there, when clients can connect.

    Raises:
        UsageError: the address cannot be used, or the runtime does not work on this machine.
    """
    with (
        suppress(KeyboardInterrupt),
        tempfile.TemporaryDirectory(prefix="whc-timer-") as folder,
        _listening(*address) as listener,
    ):
        first_pass.check(reference.write(Path(folder) / reference.FILE_NAME), runtime, wait_s)
        # The reference network is an ONNX file, which need not be what this runtime reads.
        first_pass.check(reference.write_empty(Path(folder) / f"empty{reads(runtime.name)}"), runtime, wait_s)
        timer = TimerApp(runtime, wait_s, Path(folder))
        host, port = listener.getsockname()[:2]
        announce(f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}", timer.place)
        http_server.run(timer.guarded(token), listener)


def _listening(host: str, port: int) -> socket.socket:
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        return socket.create_server((host, port), family=family)
    except (OSError, UnicodeError) as error:
        code = getattr(error, "errno", None) or 0
        reason = os.strerror(code) if code > 0 else getattr(error, "strerror", None) or str(error)
        next_step = "close what listens there, or choose another with --host and --port"
        raise UsageError(
            f"{host}:{port}: must be a free address of this machine, got: {reason}; {next_step}"
        ) from error


class FileStore:
    """Uploaded files, each under the SHA-256 of its content; of too many, the least recently used are deleted."""

    def __init__(self, folder: Path, max_bytes: int = MAX_STORE_BYTES) -> None:
        self._folder, self._max_bytes = folder, max_bytes
        folder.mkdir()

    def missing(self, digests: Sequence[str]) -> list[str]:
        """Those of the files that are not here."""
        return [digest for digest in digests if not (self._folder / digest).is_file()]

    def copy(self, digest: str, folder: Path) -> Path:
        """Copy a file into another folder, where it stays when it is deleted here."""
        os.utime(self._folder / digest)
        source = self._folder / digest
        with source.open("rb") as file:
            suffix = ".tflite" if file.read(8)[4:] == LITERT_MARK else ".onnx"
        return Path(shutil.copyfile(source, folder / f"{digest}{suffix}"))

    async def keep(self, chunks: AsyncIterator[bytes]) -> str:
        """Store a file; returns its digest."""
        descriptor, name = tempfile.mkstemp(prefix="upload-", dir=self._folder)
        digest = hashlib.sha256()
        try:
            with os.fdopen(descriptor, "wb") as file:
                async for chunk in chunks:
                    digest.update(chunk)
                    file.write(chunk)
            Path(name).replace(self._folder / digest.hexdigest())
        finally:
            Path(name).unlink(missing_ok=True)
        self._delete_oldest()
        return digest.hexdigest()

    def _delete_oldest(self) -> None:
        files = sorted(self._folder.iterdir(), key=lambda path: path.stat().st_mtime_ns, reverse=True)
        total = 0
        for path in files:
            total += path.stat().st_size
            if total > self._max_bytes:
                path.unlink()


class TimerApp:
    """The routes of a timer; whoever guards them checks the token."""

    def __init__(self, runtime: Choice, wait_s: float, folder: Path) -> None:
        self.place = place_of(runtime, None)  # once: a governor that changes later is no other place
        self._runtime, self._wait_s, self._folder = runtime, wait_s, folder
        self._files = FileStore(folder / "files")
        self._uploading = asyncio.Lock()
        self._jobs: queue.SimpleQueue[tuple[TimingJob, Future[TimingAnswer]]] = queue.SimpleQueue()
        # A daemon: the process may end while a job runs, and the job's own process ends with it.
        threading.Thread(target=self._work, daemon=True).start()

    def guarded(self, token: str) -> ASGIApp:
        """The application; it answers requests with the token alone."""
        routes = [
            Route("/", self._greet),
            Route(FILES_PATH, self._take_file, methods=["PUT"]),
            Route(JOBS_PATH, self._take_job, methods=["POST"]),
        ]
        return _TokenGuard(Starlette(routes=routes), token)

    async def _greet(self, request: Request) -> Response:
        del request
        return JSONResponse(Greeting(timer_version=TIMER_VERSION, place=self.place).model_dump(mode="json"))

    async def _take_file(self, request: Request) -> Response:
        try:
            async with self._uploading, asyncio.timeout(UPLOAD_TIMEOUT_S):
                digest = await self._files.keep(_limited(request, MAX_FILE_BYTES))
        except TimeoutError as error:
            raise HTTPException(408, f"must come within {UPLOAD_TIMEOUT_S:.0f} s") from error
        return JSONResponse({"sha256": digest})

    async def _take_job(self, request: Request) -> Response:
        content = b"".join([chunk async for chunk in _limited(request, MAX_JOB_BYTES)])
        try:
            job = TimingJob.model_validate_json(content)
        except ValidationError as error:
            first_error = error.errors()[0]
            where = ".".join(map(str, first_error["loc"]))
            return PlainTextResponse(f"{where}: {first_error['msg']}", 422)
        if missing := self._files.missing(job.files):
            return JSONResponse(MissingFiles(missing=missing).model_dump(mode="json"), 409)
        return StreamingResponse(self._answer(job), media_type="application/json")

    async def _answer(self, job: TimingJob) -> AsyncIterator[bytes]:
        """The answer as JSON, after line ends that tell the client, and what lies between, that this is alive."""
        future: Future[TimingAnswer] = Future()
        self._jobs.put((job, future))
        answer = asyncio.wrap_future(future)
        try:
            while not (await asyncio.wait({answer}, timeout=BEAT_S))[0]:
                yield b"\n"
            yield answer.result().model_dump_json().encode()
        finally:
            answer.cancel()  # of a client that has gone: if its turn has not come, it is left out

    def _work(self) -> None:
        while True:
            job, future = self._jobs.get()
            if future.set_running_or_notify_cancel():
                try:
                    future.set_result(self._time(job))
                except Exception as error:  # noqa: BLE001 (a bug: the client gets status 500, and the traceback is printed)
                    future.set_exception(error)

    def _time(self, job: TimingJob) -> TimingAnswer:
        with tempfile.TemporaryDirectory(prefix="whc-timer-job-", dir=self._folder) as scratch:
            try:
                paths = {digest: self._files.copy(digest, Path(scratch)) for digest in job.files}
                return self._session(paths, job)
            except RuntimeUnavailable as error:
                return TimingAnswer(place=self.place, unavailable=str(error))
            except (WhcError, OSError) as error:
                return TimingAnswer(place=self.place, error=str(error))

    def _session(self, paths: dict[str, Path], job: TimingJob) -> TimingAnswer:
        failed = refused(paths, self._runtime, self._wait_s)
        answer = TimingAnswer(place=self.place)
        if len(failed) < len(paths) or not paths:
            fit = {digest: path for digest, path in paths.items() if digest not in failed}
            series, more = collect(fit, self._runtime, job.protocol, job.ram_of)
            failed |= more
            times = {name: times.tolist() for name, times in series.times_ms.items()}
            measured = {"times_ms": times, "interrupted": series.interrupted, "ram_bytes": series.ram_bytes}
            answer = answer.model_copy(update=measured)
        # The client knows a file by its digest; where it lies here is nobody's business.
        reasons = {digest: reason.replace(str(paths[digest]), digest) for digest, reason in failed.items()}
        return answer.model_copy(update={"failed": reasons})


class _TokenGuard:
    """Answers requests without the token, whatever they ask for; others go to the application."""

    def __init__(self, app: ASGIApp, token: str) -> None:
        self._app, self._expected = app, f"Bearer {token}".encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        given = Headers(scope=scope).get("authorization", "")
        if hmac.compare_digest(given.encode(), self._expected):
            await self._app(scope, receive, send)
        else:
            refusal = PlainTextResponse("the token is missing or another", 401, {"WWW-Authenticate": "Bearer"})
            await refusal(scope, receive, send)


async def _limited(request: Request, max_bytes: int) -> AsyncIterator[bytes]:
    """The content of a request, counted while it comes."""
    size = 0
    try:
        async for chunk in request.stream():
            size += len(chunk)
            if size > max_bytes:
                raise HTTPException(413, f"must be at most {max_bytes} bytes")
            yield chunk
    except ClientDisconnect as error:
        raise HTTPException(400, "the content ended early") from error
