"""Where the bytes are: a folder, or S3. Nobody but this file asks which.

Keys are made here, of the service, the tenant and chance. Nothing of them comes from a request.
"""

import asyncio
import hashlib
import logging
import os
from collections.abc import AsyncGenerator, AsyncIterable, Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import obstore
from obstore.exceptions import BaseError
from obstore.store import LocalStore, from_url

from chassis.attachments.kinds import HEAD
from chassis.errors import Exhausted, Precondition, Unavailable

log = logging.getLogger(__name__)

_BUFFER = 5 * 1024 * 1024
"""Bytes that are gathered before they go out: the least that S3 takes for a part."""
PIECE = 256 * 1024
"""Bytes of a part on the way out."""
LOST = ("FILE_MISSING", "FILE_DAMAGED", "NOT_FOUND")
"""Why a file cannot be had from another service, now or later: what is lost there stops nobody who wants all there is."""


class FileTooLarge(Precondition):
    """More bytes than a file may have."""

    reason = "FILE_TOO_LARGE"

    def __init__(self, most: int) -> None:
        super().__init__(
            f"The file is larger than the {most:,} bytes that are allowed here.",
            metadata={"mostBytes": str(most)},
        )


class FileMissing(Precondition):
    """Its row is there, and its bytes are not."""

    reason = "FILE_MISSING"

    def __init__(self) -> None:
        super().__init__(
            "The bytes of this file are not there: the operator has to restore the folder of files."
        )


class FileDamaged(Precondition):
    """Its bytes are others than those that were taken in."""

    reason = "FILE_DAMAGED"

    def __init__(self) -> None:
        super().__init__("The bytes of this file are not those that were taken in: it has to be restored.")


@dataclass(frozen=True, slots=True)
class Taken:
    """What was taken in."""

    size: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Stored:
    """What lies there under a key."""

    key: str
    size: int
    changed_at: datetime


def new_key(service: str, tenant_id: UUID) -> str:
    """A key for a new file."""
    return f"{prefix_of(service, tenant_id)}/{uuid4().hex}"


def prefix_of(service: str, tenant_id: UUID) -> str:
    """What the keys of a service's files of one tenant begin with."""
    return f"{service}/{tenant_id}"


class Files:
    """The store at one address: a folder, `file:///…`, or what obstore knows by its URL, as `s3://bucket/prefix`.

    Raises Unavailable when the folder can neither be made nor be read.
    """

    def __init__(self, url: str) -> None:
        self._folder: Path | None = None
        if "://" in url and not url.startswith("file://"):
            self._store: Any = from_url(url)
            return
        self._folder = Path(url.removeprefix("file://")).absolute()
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._store = LocalStore(self._folder)
        except OSError as error:
            raise _away(error) from error

    async def take(
        self, key: str, parts: AsyncIterable[bytes], most: int, check: Callable[[bytes], None]
    ) -> Taken:
        """Keeps the bytes under that key; it is there as a whole or not at all. `check` is given the first bytes, before
        anything behind them is read, and may raise.

        Raises FileTooLarge, and Unavailable when the store cannot be written.
        """
        size, digest, head, checked = 0, hashlib.sha256(), b"", False
        try:
            async with obstore.open_writer_async(
                self._store, key, buffer_size=_BUFFER, max_concurrency=1
            ) as writer:
                async for part in parts:
                    size += len(part)
                    if size > most:
                        raise FileTooLarge(most)
                    digest.update(part)
                    if not checked:
                        head = (head + part)[:HEAD]
                        if len(head) == HEAD:
                            check(head)
                            checked = True
                    await writer.write(part)
                if not checked:
                    check(head)
        except (BaseError, OSError) as error:
            raise _away(error) from error
        if self._folder is not None:
            await asyncio.to_thread(_flush, self._folder / key)
        return Taken(size, digest.hexdigest())

    async def look(self, key: str) -> Stored | None:
        """What lies there; None when nothing does. Raises Unavailable."""
        try:
            found = await obstore.head_async(self._store, key)
        except FileNotFoundError:
            return None
        except (BaseError, OSError) as error:
            raise _away(error) from error
        return Stored(key, found["size"], found["last_modified"])

    async def send(self, key: str, size: int, sha256: str) -> AsyncGenerator[bytes]:
        """The bytes under that key, part by part; the last one only when all of them are those that were taken in.

        Raises FileMissing, FileDamaged, Unavailable.
        """
        try:
            found = await obstore.get_async(self._store, key)
            if found.meta["size"] != size:
                raise FileDamaged
            sent, digest, last = 0, hashlib.sha256(), b""
            async for piece in found.stream(min_chunk_size=PIECE):
                part = bytes(piece)
                digest.update(part)
                sent += len(part)
                if last:
                    yield last
                last = part
            if sent != size or digest.hexdigest() != sha256:
                raise FileDamaged
            yield last
        except FileNotFoundError:
            raise FileMissing from None
        except (BaseError, OSError) as error:
            raise _away(error) from error

    async def forget(self, key: str) -> None:
        """Leaves nothing under that key, not even a half of a file whose writer has died. Raises Unavailable."""
        try:
            with suppress(FileNotFoundError):
                await obstore.delete_async(self._store, key)
        except (BaseError, OSError) as error:
            raise _away(error) from error
        if self._folder is not None:
            await asyncio.to_thread(_forget_halves, self._folder / key)

    async def all(self, prefix: str) -> AsyncGenerator[list[Stored]]:
        """All that lies under a prefix, many at a time. Raises Unavailable."""
        try:
            async for page in obstore.list(self._store, prefix=prefix):
                yield [Stored(one["path"], one["size"], one["last_modified"]) for one in page]
        except (BaseError, OSError) as error:
            raise _away(error) from error


@lru_cache(maxsize=8)
def files_at(url: str) -> Files:
    """The store at that address; one a process."""
    return Files(url)


def _flush(path: Path) -> None:
    """Has the file and its name on the disk before the row says that it is there."""
    for one in (path, path.parent, path.parent.parent):
        file = os.open(one, os.O_RDONLY)
        try:
            os.fsync(file)
        finally:
            os.close(file)


def _forget_halves(path: Path) -> None:
    # Until it is whole, a file is written under its name and a number.
    for half in path.parent.glob(f"{path.name}#*"):
        half.unlink(missing_ok=True)


def _away(error: BaseException) -> Exception:
    if isinstance(error, OSError) and error.errno == 28:
        log.critical("there is no room left for files")
        return Exhausted("There is no room left for files.", reason="FILES_FULL", retry_after=60.0)
    # The store's own words name addresses and folders: they are for the log.
    log.error("the store of files: %s: %s", type(error).__name__, str(error)[:500])
    return Unavailable("Files cannot be kept or read now.", reason="FILES_UNAVAILABLE", retry_after=2.0)
