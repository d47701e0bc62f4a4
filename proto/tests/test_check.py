"""A change that would break those who build against the contracts is found; one that adds is let through."""

import importlib.util
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

PROTO = Path(__file__).parents[1]
CONTRACT = "kehu/customers/v1/contact_service.proto"


@pytest.fixture(scope="module")
def check(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """The check, at work on a copy of the contracts in a repository of its own."""
    copy = tmp_path_factory.mktemp("proto")
    shutil.copytree(PROTO / "kehu", copy / "kehu")
    shutil.copytree(PROTO / "gen" / "google-protos", copy / "gen" / "google-protos")
    shutil.copy(PROTO / "buf.yaml", copy)
    who = ["-c", "user.name=nobody", "-c", "user.email=nobody@example.com"]
    for said in (["init", "-q"], ["add", "kehu", "buf.yaml"], [*who, "commit", "-q", "-m", "before"]):
        subprocess.run(["git", *said], cwd=copy, check=True)
    sys.path.insert(0, str(PROTO))  # it imports its neighbour
    try:
        spec = importlib.util.spec_from_file_location("proto_check", PROTO / "check.py")
        assert spec is not None and spec.loader is not None
        module: Any = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
    finally:
        sys.path.remove(str(PROTO))
    module.HERE = copy
    yield module


@pytest.mark.parametrize(
    ("before", "after", "sound"),
    [
        ("message GetContactRequest {", "message Fresh {}\n\nmessage GetContactRequest {", True),
        ("rpc GetContact(", "rpc FetchContact(", False),
        ("string query = 5", "string words = 5", False),
        ("string query = 5", "bytes query = 5", False),
    ],
)
def test_what_breaks_others_is_found(check: Any, before: str, after: str, sound: bool) -> None:
    file = check.HERE / CONTRACT
    text = file.read_text()
    assert before in text
    file.write_text(text.replace(before, after))
    try:
        assert check.breaks_nothing("HEAD") is sound
    finally:
        file.write_text(text)
