"""YAML as plain data that still knows on which line each key stands.

YAML 1.2 core types only (`off` is a word, `1e-3` a number), no tags, no duplicate keys, nothing that can
explode. What the keys mean is `model`'s business.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, cast

import yaml

from cupola.config.problems import ConfigProblems, KeyPath, Problem, key_text, printable

_TAG = "tag:yaml.org,2002:"
_MERGE = _TAG + "merge"
_MAX_NODES = 20_000
_MAX_DEPTH = 32


def _whole(text: str) -> int:
    return int(text, 0) if text[:2] in ("0x", "0o") else int(text)


_PLAIN: list[tuple[str, re.Pattern[str], Callable[[str], object]]] = [
    ("null", re.compile(r"(?:|~|null|Null|NULL)\Z"), lambda _: None),
    ("bool", re.compile(r"(?:true|True|TRUE|false|False|FALSE)\Z"), lambda text: text.lower() == "true"),
    ("int", re.compile(r"(?:[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+)\Z"), _whole),
    (
        "float",
        re.compile(r"(?:[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))\Z"),
        lambda text: float(re.sub(r"\.(?=[iInN])", "", text)),
    ),
]
_SUBSTITUTE = re.compile(r"\$(?P<literal>\$\{)|\$\{(?P<name>[A-Za-z_][A-Za-z0-9_]*)(?::-(?P<default>[^}]*))?\}|\$\{")


def plain(text: str) -> Any:
    """An unquoted scalar's value by YAML 1.2's core schema: null, true/false, a number, or the text itself."""
    for _, pattern, convert in _PLAIN:
        if pattern.match(text):
            return convert(text)
    return text


class _Loader(yaml.SafeLoader):
    """Composes nodes; never constructs objects. Depth is limited, so no input exhausts the stack."""

    yaml_implicit_resolvers: ClassVar[dict[Any, Any]] = {  # pyright: ignore[reportIncompatibleVariableOverride]
        None: [(_TAG + name, pattern) for name, pattern, _ in _PLAIN],
        "<": [(_MERGE, re.compile(r"<<\Z"))],
    }
    depth = 0

    def compose_node(self, parent: Any, index: Any) -> Any:
        self.depth += 1
        if self.depth > _MAX_DEPTH:
            mark = cast(Any, self).peek_event().start_mark
            raise yaml.MarkedYAMLError(problem=f"nested more than {_MAX_DEPTH} levels deep", problem_mark=mark)
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a key stands; `line` and `column` count from 1 and are None in an environment variable."""

    file: str
    line: int | None = None
    column: int | None = None


@dataclass(slots=True)
class Document:
    """Plain data with the origin of each key.

    `filled` are the paths whose value came from the environment (never repeated in a message),
    `failed` those that already have a problem.
    """

    file: str
    data: Any = None
    origins: dict[KeyPath, Origin] = field(default_factory=dict[KeyPath, Origin])
    filled: set[KeyPath] = field(default_factory=set[KeyPath])
    failed: set[KeyPath] = field(default_factory=set[KeyPath])
    problems: list[Problem] = field(default_factory=list[Problem])

    def origin(self, path: KeyPath) -> Origin:
        """Where `path` stands, or the nearest key above it."""
        for length in range(len(path), 0, -1):
            if path[:length] in self.origins:
                return self.origins[path[:length]]
        return Origin(self.file, 1, 1)

    def report(self, path: KeyPath, message: str, hint: str = "", origin: Origin | None = None) -> None:
        at = origin or self.origin(path)
        self.failed.add(path)
        self.problems.append(Problem(at.file, at.line, at.column, key_text(path), message, hint))


def parse(text: str, file: str, values: Mapping[str, str] | None = None) -> Document:
    """Read one YAML document (an empty one is an empty group); fill `${NAME}` from `values` (not at all when None).

    Problems with single values are collected in the document; raises ConfigProblems when the text
    is not YAML, is nested too deeply or expands too far.
    """
    document = Document(file)
    try:
        loader = _Loader(text)
        try:
            node = loader.get_single_node()
        finally:
            loader.dispose()  # pyright: ignore[reportUnknownMemberType]
    except yaml.YAMLError as error:
        raise ConfigProblems([_syntax_problem(error, file, text)]) from None
    document.data = cast(Any, {}) if node is None else _Reader(document, values).read(node, ())
    return document


class _Reader:
    """Turns composed nodes into plain data."""

    def __init__(self, document: Document, values: Mapping[str, str] | None) -> None:
        self._document = document
        self._values = values
        self._nodes = 0

    def read(self, node: yaml.Node, path: KeyPath) -> Any:
        self._count(node, len(path))
        if isinstance(node, yaml.ScalarNode):
            return self._scalar(node, path)
        if isinstance(node, yaml.SequenceNode) and node.tag == _TAG + "seq":
            for index, item in enumerate(node.value):
                self._document.origins[(*path, index)] = self._origin(item)
            return [self.read(item, (*path, index)) for index, item in enumerate(node.value)]
        if isinstance(node, yaml.MappingNode) and node.tag == _TAG + "map":
            return self._mapping(node, path)
        return self._foreign_tag(node, path)

    def _mapping(self, node: yaml.MappingNode, path: KeyPath) -> dict[str, Any]:
        result: dict[str, Any] = {}
        document = self._document
        for key_node, value_node, merged in self._pairs(node, path, len(path), merged=False):
            if not isinstance(key_node, yaml.ScalarNode):
                document.report(path, "a key must be a word", 'write "key: value"', self._origin(key_node))
                continue
            key: str = key_node.value
            here = (*path, key)
            if key not in result:
                document.origins[here] = self._origin(key_node)
                result[key] = self.read(value_node, here)
            elif not merged:
                first = document.origins[here].line
                at = self._origin(key_node)
                hint = f"first in line {first}; remove one of the two"
                document.problems.append(Problem(at.file, at.line, at.column, key_text(here), "is given twice", hint))
        return result

    def _pairs(self, node: yaml.MappingNode, path: KeyPath, depth: int, *, merged: bool) -> Iterator[tuple[yaml.Node, yaml.Node, bool]]:
        """A mapping's own pairs, then those merged in by `<<`."""
        self._count(node, depth)
        merges: list[yaml.Node] = []
        for key_node, value_node in node.value:
            if key_node.tag == _MERGE:
                merges.append(value_node)
            else:
                yield key_node, value_node, merged
        for merge in merges:
            for source in merge.value if isinstance(merge, yaml.SequenceNode) else [merge]:
                if isinstance(source, yaml.MappingNode):
                    yield from self._pairs(source, path, depth + 1, merged=True)
                else:
                    self._document.report(path, "<< can only merge groups of keys", origin=self._origin(merge))

    def _scalar(self, node: yaml.ScalarNode, path: KeyPath) -> Any:
        text: str = node.value
        name = node.tag.removeprefix(_TAG)
        if name == "str":
            if self._values is None or "${" not in text:
                return text
            text = self._substitute(text, self._values, node, path)
            if node.style is not None or path in self._document.failed:
                return text
            name = "plain"
        elif node.tag == _MERGE:
            return text
        elif name not in (known[0] for known in _PLAIN):
            return self._foreign_tag(node, path)
        try:
            return plain(text) if name == "plain" or node.style is None else text
        except ValueError:
            return self._fail(path, "is a number with too many digits", node)

    def _substitute(self, text: str, values: Mapping[str, str], node: yaml.Node, path: KeyPath) -> str:
        def fill(found: re.Match[str]) -> str:
            if found["literal"]:
                return "${"
            if found["name"] is None:
                self._fail(path, "has a ${ that cannot be read", node, "write ${NAME}, ${NAME:-default}, or $${ for a plain ${")
                return ""
            value = values.get(found["name"])
            if found["default"] is not None:
                return value or found["default"]
            if value is None:
                name = found["name"]
                self._fail(
                    path, f"the environment variable {name} is not set", node, f"set it, put {name}=… into .env, or give a default: ${{{name}:-…}}"
                )
            return value or ""

        self._document.filled.add(path)
        return _SUBSTITUTE.sub(fill, text)

    def _foreign_tag(self, node: yaml.Node, path: KeyPath) -> None:
        tag = printable(node.tag.replace(_TAG, "!!"), 60)
        self._fail(path, f"has the tag {tag}, which is not allowed", node, "remove it; a text that begins with ! needs quotes")

    def _fail(self, path: KeyPath, message: str, node: yaml.Node, hint: str = "") -> None:
        self._document.report(path, message, hint, self._document.origins.get(path) or self._origin(node))

    def _origin(self, node: yaml.Node) -> Origin:
        return Origin(self._document.file, node.start_mark.line + 1, node.start_mark.column + 1)

    def _count(self, node: yaml.Node, depth: int) -> None:
        self._nodes += 1
        if self._nodes <= _MAX_NODES and depth <= _MAX_DEPTH:
            return
        line, column = node.start_mark.line + 1, node.start_mark.column + 1
        message = "aliases (*name) expand to far more than a configuration needs"
        raise ConfigProblems([*self._document.problems, Problem(self._document.file, line, column, "", message, "write the values out")])


_HINTS = (
    ("'\\t'", "a tab stands where only spaces may: indent with spaces"),
    ("mapping values are not allowed", "check the indentation, and put a text that contains a colon and a space into quotes"),
    ("expected <block end>", "check the indentation: keys of one group begin in the same column"),
    ("could not find expected ':'", 'write "key: value", with a space after the colon'),
    ("cannot start any token", "put a text that begins with a special character into quotes"),
    ("expected ',' or", "a [list] or {group} is not closed or misses a comma; inside one, put ${NAME} into quotes"),
    ("unknown escape", "in double quotes a backslash begins an escape: use single quotes"),
)


def _syntax_problem(error: yaml.YAMLError, file: str, text: str) -> Problem:
    """What the YAML reader stumbled over, without repeating the file's text."""
    if isinstance(error, yaml.reader.ReaderError):
        before = text[: error.position]
        line, column = before.count("\n") + 1, error.position - before.rfind("\n")
        return Problem(file, line, column, "", "a character that YAML does not allow", "save the file as plain UTF-8 text")
    if not isinstance(error, yaml.MarkedYAMLError):
        return Problem(file, None, None, "", "is not YAML")
    words = str(error.problem or error.context or "cannot be read")
    mark = error.problem_mark or error.context_mark
    hint = next((hint for part, hint in _HINTS if part in words), "")
    if "undefined alias" in words:
        words, hint = "an alias (*) without its anchor (&)", "put a text that begins with * into quotes"
    elif "another document" in words:
        words, hint = "a second document begins here", "remove the line ---"
    elif "quoted scalar" in str(error.context) and "end of stream" in words:
        words, hint, mark = "a quote is opened here and never closed", "", error.context_mark or mark
    line, column = (mark.line + 1, mark.column + 1) if mark else (None, None)
    return Problem(file, line, column, "", f"is not YAML: {words}", hint)
