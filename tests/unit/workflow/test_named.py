"""Workflows that are found by their name in files."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from jobworkerp_standalone.workflow.errors import WorkflowError
from jobworkerp_standalone.workflow.named import Identity, document_named, precedence


def write(path: Path, version: str, name: str = "orders", more: str = "") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"document: {{dsl: 1.0.3, namespace: shop, name: {name}, version: {version}}}\ndo: []\n{more}")
    return path


async def text_of(version: str, *roots: Path) -> str:
    nobody = SimpleNamespace(workers=lambda: iter(()))
    tools: Any = SimpleNamespace(children=nobody, roots=roots)
    return (await document_named(tools, Identity("shop", "orders", version))).text


async def test_files_are_found_by_what_they_call_themselves(tmp_path: Path) -> None:
    write(tmp_path / "a" / "one.yml", "1.2.0")
    write(tmp_path / "b" / "deep" / "two.yaml", "1.10.0")
    write(tmp_path / "b" / "three.json", "1.10.1-rc.1")
    write(tmp_path / "other.yml", "9.0.0", "order")
    write(tmp_path / "text.txt", "9.0.0")
    write(tmp_path / ".git" / "hidden.yml", "9.0.0")
    (tmp_path / "bad.yml").write_text("document: [orders")
    (tmp_path / "list.yml").write_text("- orders")
    assert "1.2.0" in await text_of("1.2.0", tmp_path)
    assert "1.10.1-rc.1" in await text_of("1.10.1-rc.1", tmp_path)
    assert "version: 1.10.0}" in await text_of("latest", tmp_path)
    write(tmp_path / "b" / "four.yml", "1.10.1")
    assert "version: 1.10.1}" in await text_of("latest", tmp_path)
    with pytest.raises(WorkflowError, match=r"shop/orders of version 9\.0\.0 is neither"):
        await text_of("9.0.0", tmp_path)


async def test_the_latest_is_a_pre_release_only_where_there_is_nothing_else(tmp_path: Path) -> None:
    write(tmp_path / "rc.yml", "2.0.0-rc.1")
    write(tmp_path / "rc2.yml", "2.0.0-rc.2")
    assert "2.0.0-rc.2" in await text_of("latest", tmp_path)
    write(tmp_path / "old.yml", "1.9.0")
    write(tmp_path / "older.yml", "1.10.0")
    assert "version: 1.10.0}" in await text_of("latest", tmp_path)


async def test_a_file_that_changed_is_read_again(tmp_path: Path) -> None:
    path = write(tmp_path / "flow.yml", "1.0.0")
    assert "1.0.0" in await text_of("latest", tmp_path)
    write(path, "2.0.0", more="# changed\n")
    assert "2.0.0" in await text_of("latest", tmp_path)
    path.unlink()
    with pytest.raises(WorkflowError, match="There is no such workflow"):
        await text_of("latest", tmp_path)


async def test_a_link_leads_nowhere_outside(tmp_path: Path) -> None:
    outside = write(tmp_path / "outside.yml", "1.0.0")
    root = tmp_path / "root"
    root.mkdir()
    (root / "link.yml").symlink_to(outside)
    (root / "loop").symlink_to(root)
    with pytest.raises(WorkflowError, match="There is no such workflow"):
        await text_of("latest", root, tmp_path / "not there")
    (root / "real.yml").write_text(outside.read_text())
    (root / "inside.yml").symlink_to(root / "real.yml")
    assert "1.0.0" in await text_of("latest", root)


def test_versions_are_ordered_as_semantic_versions_are() -> None:
    order = ["0.9.0", "1.0.0-alpha", "1.0.0-alpha.1", "1.0.0-alpha.beta", "1.0.0-beta.2", "1.0.0-beta.11", "1.0.0-rc.1"]
    order += ["1.0.0", "1.2.0", "1.10.0", "10.0.0", "20261126171500123456.0.0-1", f"1{'0' * 5_000}.0.0"]
    assert all(precedence(lower) < precedence(higher) for lower, higher in pairwise(order))
    assert precedence("1.0.0+a") == precedence("1.0.0+b")
