"""YAML as Cupola reads it: the values, the lines, and the texts it refuses."""

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cupola.config.document import parse, plain
from cupola.config.load import check, from_text
from cupola.config.model import Settings
from cupola.config.problems import ConfigProblems
from cupola.core.errors import ConfigError


def refusal(text: str, values: dict[str, str] | None = None) -> str:
    """What is said about a text that is not a usable document."""
    try:
        document = parse(text, "c.yaml", {} if values is None else values)
    except ConfigProblems as error:
        return str(error)
    return "\n".join(str(problem) for problem in document.problems)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("off", "off"),
        ("yes", "yes"),
        ("true", True),
        ("1e-3", 0.001),
        (".5", 0.5),
        ("12:30", "12:30"),
        ("2026-11-21T23:15:00Z", "2026-11-21T23:15:00Z"),
        ("0x10", 16),
        ("010", 10),
        ("-.inf", float("-inf")),
        ("~", None),
        ("", None),
        ("'5'", "5"),
        ("!!str 5", "5"),
    ],
)
def test_scalars_follow_the_core_schema_of_yaml_1_2(text: str, value: object) -> None:
    read = parse(f"key: {text}", "c.yaml", {}).data["key"]
    assert read == value
    assert type(read) is type(value)


def test_every_key_and_entry_knows_its_line_and_column() -> None:
    document = parse("web:\n  port: 1\ncameras:\n  - name: a\n  - name: b\n", "c.yaml")
    places = {path: (origin.line, origin.column) for path, origin in document.origins.items()}
    assert places[("web", "port")] == (2, 3)
    assert places[("cameras", 1)] == (5, 5)
    assert places[("cameras", 1, "name")] == (5, 5)


def test_anchors_and_merges_are_followed_and_own_keys_win() -> None:
    document = parse("a: &base {x: 1, y: [2]}\nb:\n  <<: *base\n  x: 3\nc: *base\n", "c.yaml")
    assert document.problems == []
    assert document.data == {"a": {"x": 1, "y": [2]}, "b": {"x": 3, "y": [2]}, "c": {"x": 1, "y": [2]}}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "web:\n\tport: 1\n",
            "c.yaml:2: is not YAML: found character '\\t' that cannot start any token; a tab stands where only spaces may: indent with spaces",
        ),
        (
            "a: b: c\n",
            "c.yaml:1: is not YAML: mapping values are not allowed here; "
            "check the indentation, and put a text that contains a colon and a space into quotes",
        ),
        ("a: 1\nb: 'open\nc: 2\n", "c.yaml:2: is not YAML: a quote is opened here and never closed"),
        ("a: *secret\n", "c.yaml:1: is not YAML: an alias (*) without its anchor (&); put a text that begins with * into quotes"),
        ("a: 1\n---\nb: 2\n", "c.yaml:2: is not YAML: a second document begins here; remove the line ---"),
        ("a: 1\nb: \x07\n", "c.yaml:2: a character that YAML does not allow; save the file as plain UTF-8 text"),
        ("a: 1\nb: 2\na: 3\n", "c.yaml:3: a: is given twice; first in line 1; remove one of the two"),
        ("w:\n  [x]: 1\n", 'c.yaml:2: w: a key must be a word; write "key: value"'),
        (
            "a: !!python/object:os.system {}\n",
            "c.yaml:1: a: has the tag !!python/object:os.system, which is not allowed; remove it; a text that begins with ! needs quotes",
        ),
        ("a: !secret x\n", "c.yaml:1: a: has the tag !secret, which is not allowed; remove it; a text that begins with ! needs quotes"),
        ("a: " + "9" * 5000 + "\n", "c.yaml:1: a: is a number with too many digits"),
        ("b:\n  <<: 5\n", "c.yaml:2: b: << can only merge groups of keys"),
    ],
)
def test_a_text_that_cannot_be_read_is_refused_with_its_line_and_a_hint(text: str, said: str) -> None:
    assert refusal(text) == said


def test_a_document_nested_without_end_is_refused_where_it_becomes_too_deep() -> None:
    assert refusal("a: " + "[" * 5000) == "c.yaml:1: is not YAML: nested more than 32 levels deep"


def test_aliases_that_multiply_are_refused() -> None:
    bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n" + "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]\n" for n in range(1, 12))
    assert "aliases (*name) expand to far more than a configuration needs; write the values out" in refusal(bomb)


def test_merges_that_multiply_are_refused() -> None:
    bomb = "a0: &a0 {x: 1}\n" + "".join(f"a{n}: &a{n} {{<<: [{', '.join([f'*a{n - 1}'] * 10)}]}}\n" for n in range(1, 12))
    assert "aliases (*name) expand to far more than a configuration needs" in refusal(bomb)


@pytest.mark.parametrize("text", ["a: &a [*a]\n", "a: &a {b: *a}\n", "a: &a {<<: *a}\n"])
def test_an_alias_that_contains_itself_is_refused(text: str) -> None:
    assert "c.yaml:1:" in refusal(text)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("${PORT}", 8001),
        ('"${PORT}"', "8001"),
        ("x${PORT}y${WORD}", "x8001yword"),
        ("${NO:-7}", 7),
        ("${EMPTY:-text}", "text"),
        ("${EMPTY}", None),
        ('"$${PORT} $5"', "${PORT} $5"),
        ("${INDIRECT}", "${PORT}"),
    ],
)
def test_variables_are_filled_in_once(text: str, value: object) -> None:
    values = {"PORT": "8001", "WORD": "word", "EMPTY": "", "INDIRECT": "${PORT}"}
    document = parse(f"a: {text}\n", "c.yaml", values)
    assert document.problems == []
    assert document.data == {"a": value}


def test_an_unset_variable_is_named_with_its_line() -> None:
    said = refusal("a: 1\nb:\n  - x\n  - http://u:${PW}@h\n")
    assert said == "c.yaml:4: b[1]: the environment variable PW is not set; set it, put PW=… into .env, or give a default: ${PW:-…}"


def test_a_malformed_variable_is_refused_without_repeating_it() -> None:
    assert refusal("a: 'hunter2${1x}'\n") == "c.yaml:1: a: has a ${ that cannot be read; write ${NAME}, ${NAME:-default}, or $${ for a plain ${"


@given(st.text())
def test_a_plain_scalar_is_always_a_scalar(text: str) -> None:
    assert isinstance(plain(text), str | int | float | bool | None)


KEYS = st.sampled_from(["station", "storage", "cameras", "web", "name", "driver", "simulator", "video", "source", "port", "capture", "<<", "${X}"])
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=12)
    | st.sampled_from(["simulator", "video", "rtsp://u:p@h/", "${X}", "keep"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=4),
    max_leaves=20,
)


@settings(max_examples=200, deadline=None)
@given(st.dictionaries(KEYS, VALUES, max_size=4))
def test_any_tree_is_either_settings_or_problems(tree: dict[str, object]) -> None:
    import yaml

    try:
        assert isinstance(from_text(yaml.safe_dump(tree, allow_unicode=True), "c.yaml", Path()), Settings)
    except ConfigProblems as error:
        assert error.problems  # noqa: PT017 - either outcome is right


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=200) | st.text(alphabet="ab:-[]{}&*!|>'\"#%@`,? \n\t0<~$\\", max_size=60).map(lambda text: text.encode()))
def test_any_bytes_are_either_settings_or_problems(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "cupola.yaml"
    file.write_bytes(content)
    for problem in check(file, {}):
        assert str(problem).isprintable()


def test_every_refusal_is_a_config_error() -> None:
    with pytest.raises(ConfigError):
        from_text("a: [", "c.yaml", Path())
