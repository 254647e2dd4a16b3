"""Files that a timer keeps: each once, under its hash, and not too many."""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from whc.latency.timer.address import is_loopback
from whc.latency.timer.server import FileStore


async def chunks(*content: bytes) -> AsyncIterator[bytes]:
    for chunk in content:
        yield chunk


def keep(store: FileStore, *content: bytes) -> str:
    return asyncio.run(store.keep(chunks(*content)))


def test_a_file_is_kept_under_its_hash(tmp_path: Path) -> None:
    store = FileStore(tmp_path / "files")
    digest = keep(store, b"net", b"work")
    assert digest == hashlib.sha256(b"network").hexdigest() == keep(store, b"network")
    assert store.missing([digest, 64 * "0"]) == [64 * "0"]
    assert store.copy(digest, tmp_path).read_bytes() == b"network"
    assert len(list((tmp_path / "files").iterdir())) == 1


@pytest.mark.parametrize(("content", "suffix"), [(b"\x1c\0\0\0TFL3 more", ".tflite"), (b"\x08\x0aTFL3", ".onnx")])
def test_a_file_says_itself_of_what_kind_it_is(tmp_path: Path, content: bytes, suffix: str) -> None:
    store = FileStore(tmp_path / "files")
    assert store.copy(keep(store, content), tmp_path).suffix == suffix


def test_the_one_not_used_for_longest_goes_first(tmp_path: Path) -> None:
    store = FileStore(tmp_path / "files", max_bytes=10)
    digests = [keep(store, letter * 5) for letter in (b"a", b"b")]
    for age, digest in enumerate(digests):
        os.utime(tmp_path / "files" / digest, (age, age))
    store.copy(digests[0], tmp_path)
    digests.append(keep(store, b"c" * 5))
    assert store.missing(digests) == [digests[1]]


def test_a_file_that_breaks_off_leaves_nothing(tmp_path: Path) -> None:
    async def broken() -> AsyncIterator[bytes]:
        yield b"half"
        raise ConnectionError

    store = FileStore(tmp_path / "files")
    with pytest.raises(ConnectionError):
        asyncio.run(store.keep(broken()))
    assert not list((tmp_path / "files").iterdir())


@pytest.mark.parametrize(
    ("address", "is_safe"),
    [
        ("127.0.0.1", True),
        ("127.3.2.1", True),
        ("::1", True),
        ("localhost", True),
        ("0.0.0.0", False),
        ("device", False),
    ],
)
def test_who_reaches_an_address(address: str, is_safe: bool) -> None:
    assert is_loopback(address) is is_safe
