"""Environments on disk: locks, taking, placing, evicting, and what dead processes leave."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from jobworkerp_standalone.runners.python.locks import try_lock, unlock_and_remove
from jobworkerp_standalone.runners.python.shelf import Held, Limits, Shelf

_HOLD = """
import fcntl, os, sys
fcntl.flock(os.open(sys.argv[1], os.O_RDWR), fcntl.LOCK_EX)
print(1, flush=True)
sys.stdin.read()
"""


@pytest.fixture
def shelf(tmp_path: Path) -> Iterator[Shelf]:
    shelf = Shelf(tmp_path / "top", Limits(2, 1 << 30))
    shelf.open()
    yield shelf
    shelf.close()


def place(shelf: Shelf, key: str, size: int = 10) -> None:
    site = shelf.begin(key)
    (site.folder / "bin").mkdir(parents=True)
    (site.folder / "bin" / "python").symlink_to(sys.executable)
    (site.folder / "data").write_bytes(b"x" * size)
    shelf.place(site, key)
    shelf.discard(site)


def take(shelf: Shelf, key: str) -> Held:
    held = shelf.take(key)
    assert held is not None
    return held


def used(top: Path, key: str, at: float) -> None:
    os.utime(top / "environments" / key / ".in-use", (at, at))


def environments(shelf_top: Path) -> set[str]:
    return {path.name for path in (shelf_top / "environments").iterdir()}


def test_a_lock_is_shared_or_alone(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    assert try_lock(path, create=False) is None
    first = try_lock(path, shared=True)
    second = try_lock(path, shared=True)
    assert first is not None
    assert second is not None
    assert try_lock(path) is None
    os.close(first)
    assert try_lock(path) is None
    os.close(second)
    alone = try_lock(path)
    assert alone is not None
    assert try_lock(path, shared=True) is None
    unlock_and_remove(path, alone)
    assert not path.exists()


def test_a_lock_on_a_file_that_was_removed_meanwhile_is_not_given(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    held = try_lock(path)
    assert held is not None
    path.unlink()
    new = try_lock(path)
    assert new is not None
    assert os.fstat(new).st_ino == path.stat().st_ino
    os.close(held)
    os.close(new)


def test_a_lock_ends_with_its_process(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    path.touch()
    with subprocess.Popen(
        [sys.executable, "-c", _HOLD, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"1\n"
        assert try_lock(path) is None
        holder.kill()
        holder.wait()
    fd = try_lock(path)
    assert fd is not None
    os.close(fd)


def test_what_was_not_used_for_longest_goes_first_and_what_is_in_use_stays(shelf: Shelf, tmp_path: Path) -> None:
    top = tmp_path / "top"
    for number, key in enumerate("abcd"):
        place(shelf, key)
        used(top, key, 1000 + number)
    held = take(shelf, "a")
    used(top, "a", 1)
    shelf.evict("d")
    assert environments(top) == {"a", "d"}
    assert held.there
    held.release()
    place(shelf, "e")
    shelf.evict("e")
    assert environments(top) == {"d", "e"}


def test_taking_one_makes_it_the_last_to_go(shelf: Shelf, tmp_path: Path) -> None:
    top = tmp_path / "top"
    for number, key in enumerate("abc"):
        place(shelf, key)
        used(top, key, 1000 + number)
    take(shelf, "a").release()
    shelf.evict("c")
    assert environments(top) == {"a", "c"}


def test_one_that_is_removed_in_spite_of_its_use_is_noticed(shelf: Shelf, tmp_path: Path) -> None:
    place(shelf, "a")
    held = take(shelf, "a")
    (tmp_path / "top" / "environments" / "a" / ".in-use").unlink()
    assert not held.there
    held.release()
    assert shelf.take("a") is None


def test_a_part_of_an_environment_makes_way_for_a_whole_one(shelf: Shelf, tmp_path: Path) -> None:
    part = tmp_path / "top" / "environments" / "a"
    (part / "lib").mkdir(parents=True)
    assert shelf.take("a") is None
    place(shelf, "a")
    held = take(shelf, "a")
    assert not (part / "lib").exists()
    assert os.access(held.python, os.X_OK)
    held.release()


def test_of_two_that_place_the_same_the_first_one_stays(shelf: Shelf, tmp_path: Path) -> None:
    place(shelf, "a", size=1)
    held = take(shelf, "a")
    place(shelf, "a", size=2)
    assert held.there
    assert (tmp_path / "top" / "environments" / "a" / "data").stat().st_size == 1
    held.release()


def test_parts_and_strangers_do_not_hinder_the_eviction(shelf: Shelf, tmp_path: Path) -> None:
    top = tmp_path / "top"
    (top / "environments" / "part").mkdir()
    os.utime(top / "environments" / "part", (1, 1))
    (top / "environments" / "a-file").write_text("x")
    for key in "ab":
        place(shelf, key)
    shelf.evict("b")
    assert "part" not in environments(top)
    assert "b" in environments(top)


def test_a_new_process_removes_what_dead_ones_left_and_nothing_else(shelf: Shelf, tmp_path: Path) -> None:
    top = tmp_path / "top"
    dead_build, dead_job = top / "building" / "a-dead", top / "jobs" / "1-dead" / "7"
    for folder in (dead_build, dead_job):
        folder.mkdir(parents=True)
    site = shelf.begin("live")
    other = Shelf(top, Limits(2, 1 << 30))
    other.open()
    assert not dead_build.exists()
    assert not dead_job.exists()
    assert site.folder.parent.exists()
    assert shelf.jobs is not None
    assert shelf.jobs.exists()
    other.close()
    shelf.discard(site)
    assert list((top / "building").iterdir()) == []
