"""Path templates and the tree of routes."""

import pytest

from gateway.templates import Tree, parse


def found(tree: Tree[str], path: bytes, method: str = "GET") -> str | None:
    leaf = tree.find(path)
    return None if leaf is None else leaf[0].get(method)


@pytest.fixture
def tree() -> Tree[str]:
    tree: Tree[str] = Tree()
    for path in (
        "/v1/things",
        "/v1/things/{id}",
        "/v1/things/{id}:move",
        "/v1/things:merge",
        "/v1/things/imports",
        "/v1/things/imports/{id}:start",
        "/v1/{parent=shelves/*}/books",
        "/v1/files/{name=**}",
    ):
        tree.add(parse(path), "GET", path)
    tree.add(parse("/v1/things"), "POST", "create")
    return tree


@pytest.mark.parametrize(
    ("path", "template"),
    [
        (b"/v1/things", "/v1/things"),
        (b"/v1/things/7", "/v1/things/{id}"),
        (b"/v1/things/7:move", "/v1/things/{id}:move"),
        (b"/v1/things:merge", "/v1/things:merge"),
        (b"/v1/things/imports", "/v1/things/imports"),
        (b"/v1/things/imports/7:start", "/v1/things/imports/{id}:start"),
        (b"/v1/shelves/3/books", "/v1/{parent=shelves/*}/books"),
        (b"/v1/files/a/b/c", "/v1/files/{name=**}"),
        (b"/v1/things/a%2Fb", "/v1/things/{id}"),
        (b"/v1/things/a%3Amove", "/v1/things/{id}"),
        (b"/v1/things/7:grow", None),
        (b"/v1/things/", None),
        (b"/v1/things/7/8", None),
        (b"/v1/shelves/3", None),
        (b"/v2/things", None),
    ],
)
def test_paths_find_their_routes(tree: Tree[str], path: bytes, template: str | None) -> None:
    assert found(tree, path) == template


def test_segments_are_decoded_after_they_are_split(tree: Tree[str]) -> None:
    leaf = tree.find(b"/v1/things/a%2F%E5%AE%A2")
    assert leaf is not None and leaf[1] == ["v1", "things", "a/客"]
    with pytest.raises(UnicodeDecodeError):
        tree.find(b"/v1/things/%ff")


def test_two_routes_cannot_have_one_place(tree: Tree[str]) -> None:
    assert found(tree, b"/v1/things", "POST") == "create"
    with pytest.raises(ValueError, match="taken"):
        tree.add(parse("/v1/things/{other_id}"), "GET", "again")


@pytest.mark.parametrize("path", ["v1/things", "/v1//things", "/v1/{id", "/v1/{name=**}/more", "/"])
def test_templates_outside_of_the_rules_are_refused_at_start_up(path: str) -> None:
    with pytest.raises(ValueError, match="/"):
        parse(path)


def test_variables_may_span_segments() -> None:
    (variable,) = parse("/v1/{parent=shelves/*}/books").variables
    assert (variable.path, variable.start, variable.end) == (("parent",), 1, 3)
