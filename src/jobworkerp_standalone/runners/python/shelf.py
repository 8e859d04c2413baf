"""The environments on disk. Everything here blocks: it is called in threads.

::

    environments/KEY/           one environment, whole from the moment it is there
    environments/KEY/.in-use    shared lock: somebody uses it; changed when it was last taken
    building/KEY-RANDOM/        one that is being built; its lock is held by the builder and by what it started
    building/KEY.lock           who builds this key, of all processes
    jobs/PID-RANDOM/            the folders of running jobs of one process, which holds its lock
    .gate                       held while a folder with a lock is made, or looked at by who removes abandoned ones
"""

from __future__ import annotations

import errno
import fcntl
import json
import logging
import os
import shutil
import stat
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from jobworkerp_standalone.runners.python.locks import try_lock, unlock_and_remove

_log = logging.getLogger(__name__)
_IN_USE: Final = ".in-use"
_ABOUT: Final = ".about.json"
_LOCK: Final = ".lock"
_TOUCH_SEC: Final = 30.0
"""How exact the time of last use is."""
_BLOCK_BYTES: Final = 512
_TRIES: Final = 3


@dataclass(slots=True)
class Held:
    """An environment in use: it stays where it is until it is released."""

    folder: Path
    _fd: int

    @property
    def python(self) -> str:
        """Path of its interpreter."""
        return f"{self.folder}/bin/python"

    @property
    def there(self) -> bool:
        """Whether nobody removed it in spite of its being in use."""
        return self._fd >= 0 and os.fstat(self._fd).st_nlink > 0

    def release(self) -> None:
        """Let it be evicted. May be called again."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


@dataclass(slots=True)
class Site:
    """A place where an environment is being built."""

    key: str
    folder: Path
    """Where it is built."""
    lock_fd: int
    """Held by whoever writes there, child processes included."""


@dataclass(frozen=True, slots=True)
class Limits:
    """How much is kept."""

    environments: int
    size_bytes: int


class Shelf:
    """Takes, places and evicts environments, together with other processes on the same folder."""

    def __init__(self, top: Path, limits: Limits) -> None:
        self._limits = limits
        self._gate = top / ".gate"
        self._environments = top / "environments"
        self._building = top / "building"
        self._jobs = top / "jobs"
        self._own_jobs: tuple[Path, int] | None = None
        self._opening = threading.Lock()

    @property
    def jobs(self) -> Path | None:
        """The folder for this process's jobs, unless it is not there yet or not any more."""
        own = self._own_jobs
        return own[0] if own and os.fstat(own[1]).st_nlink else None

    def open(self) -> Path:
        """Make the folders if they are not there, and return the one for this process's jobs.

        What dead processes left behind is removed on the way.

        Raises:
            OSError: the folders cannot be made.
        """
        with self._opening:
            for folder in (self._environments, self._building, self._jobs):
                folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            if (jobs := self.jobs) is None:
                self._forget_jobs()
                self._sweep()
                self._own_jobs = self._new_folder(self._jobs, str(os.getpid()))
                jobs = self._own_jobs[0]
            return jobs

    def close(self) -> None:
        """Remove the folder for this process's jobs."""
        if self._own_jobs:
            remove_tree(self._own_jobs[0])
            self._forget_jobs()

    def take(self, key: str) -> Held | None:
        """Return the environment, in use from now on; None if it is not there or not sound.

        Raises:
            OSError: the folders cannot be used.
        """
        self.open()
        folder = self._environments / key
        fd = try_lock(folder / _IN_USE, shared=True, create=False)
        if fd is None:
            return None
        held = Held(folder, fd)
        if not os.access(held.python, os.X_OK):  # the interpreter that it was made from is gone
            held.release()
            self._remove(folder)
            return None
        if time.time() - os.fstat(fd).st_mtime > _TOUCH_SEC:
            os.utime(fd)
        return held

    def lock_key(self, key: str) -> int | None:
        """Become the one that builds ``key``; None while another process is."""
        return try_lock(self._building / f"{key}.lock")

    def unlock_key(self, key: str, fd: int) -> None:
        """Let others build ``key``."""
        unlock_and_remove(self._building / f"{key}.lock", fd)

    def begin(self, key: str) -> Site:
        """Return a new place to build in."""
        folder, fd = self._new_folder(self._building, key)
        return Site(key, folder / "environment", fd)

    def place(self, site: Site, title: str) -> None:
        """Make a finished environment available."""
        size = _size(site.folder)
        about = {"title": title, "bytes": size}
        (site.folder / _ABOUT).write_text(json.dumps(about))
        (site.folder / _IN_USE).touch(mode=0o600)
        target = self._environments / site.key
        for _ in range(_TRIES):
            try:
                os.rename(site.folder, target)
                return
            except OSError as error:
                if error.errno not in (errno.EEXIST, errno.ENOTEMPTY):
                    raise
            if (other := self.take(site.key)) is not None:  # somebody else placed the same
                other.release()
                return
            self._remove(target)  # a part of one

    def discard(self, site: Site) -> None:
        """Remove what is left of a place."""
        remove_tree(site.folder.parent)
        os.close(site.lock_fd)

    def evict(self, newest: str) -> None:
        """Remove what was not used for longest until the limits are kept, but neither ``newest`` nor what is in use."""
        found = sorted(self._listing())
        count, total = len(found), sum(size for _used, size, _folder in found)
        for _used, size, folder in found:
            if count <= self._limits.environments and total <= self._limits.size_bytes:
                return
            if folder.name != newest and self._remove(folder):
                _log.info("evicted the Python environment %s (%d bytes)", folder.name, size)
                count -= 1
                total -= size

    def _listing(self) -> Iterator[tuple[float, int, Path]]:
        for folder in self._environments.iterdir():
            with suppress(OSError):
                mark = folder / _IN_USE
                used = (mark if mark.exists() else folder).stat().st_mtime
                yield used, _noted_size(folder), folder

    def _remove(self, folder: Path) -> bool:
        """Remove an environment unless it is in use."""
        try:
            fd = try_lock(folder / _IN_USE)
        except OSError:  # it is gone, or no folder at all
            return False
        if fd is None:
            return False
        trash, trash_fd = self._new_folder(self._building, "evicted")
        try:
            os.rename(folder, trash / folder.name)
            os.unlink(trash / folder.name / _IN_USE)
        except OSError as error:
            _log.warning("the Python environment %s could not be evicted: %s", folder.name, error)
            return False
        finally:
            os.close(fd)
            remove_tree(trash)
            os.close(trash_fd)
        return True

    def _forget_jobs(self) -> None:
        if self._own_jobs:
            os.close(self._own_jobs[1])
            self._own_jobs = None

    def _new_folder(self, parent: Path, name: str) -> tuple[Path, int]:
        """Make a folder and hold its lock."""
        with self._passing_gate(fcntl.LOCK_SH):
            folder = Path(tempfile.mkdtemp(prefix=f"{name}-", dir=parent))
            fd = try_lock(folder / _LOCK)
        assert fd is not None, "nobody else knows this folder"
        return folder, fd

    def _sweep(self) -> None:
        """Remove folders whose lock nobody holds."""
        abandoned: list[tuple[Path, int]] = []
        with self._passing_gate(fcntl.LOCK_EX):
            for parent in (self._building, self._jobs):
                folders = [each for each in parent.iterdir() if each.is_dir()]
                abandoned += [(each, fd) for each in folders if (fd := try_lock(each / _LOCK)) is not None]
        for folder, fd in abandoned:
            remove_tree(folder)
            os.close(fd)

    @contextmanager
    def _passing_gate(self, mode: int) -> Iterator[None]:
        fd = os.open(self._gate, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(fd, mode)
            yield
        finally:
            os.close(fd)


def remove_tree(folder: Path) -> None:
    """Remove a folder with all that is in it, write-protected or not. What cannot be removed is logged."""
    try:
        shutil.rmtree(folder)
    except FileNotFoundError:
        return
    except OSError:
        _make_writable(folder)
        shutil.rmtree(folder, ignore_errors=True)
        if folder.exists():
            _log.warning("the folder %s could not be removed", folder)


def _make_writable(folder: Path) -> None:
    for place, _folders, _files in os.walk(folder):
        with suppress(OSError):
            os.chmod(place, stat.S_IRWXU)


def _size(folder: Path) -> int:
    total = 0
    for place, _folders, files in os.walk(folder):
        for name in files:
            with suppress(OSError):
                total += os.lstat(os.path.join(place, name)).st_blocks * _BLOCK_BYTES
    return total


def _noted_size(folder: Path) -> int:
    try:
        return int(json.loads((folder / _ABOUT).read_text())["bytes"])
    except (OSError, ValueError, KeyError, TypeError):
        return _size(folder)
