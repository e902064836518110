"""Find the configuration, fill in the environment, check it, and say everything that is wrong at once.

Which keys there are is `model`'s business, how YAML is read `document`'s, how an old file becomes one of today `version`'s, how a problem is put
into words `explain`'s.
"""

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

from pydantic import ValidationError

from cupola.config.document import Document, Origin, parse, plain
from cupola.config.explain import explain
from cupola.config.model import Settings
from cupola.config.problems import ConfigNotFound, ConfigProblems, KeyPath, Problem
from cupola.config.version import bring_up

MAX_BYTES = 1_000_000
_PREFIX = "CUPOLA_"
_ALIASES = {"CUPOLA_DEBUG": "CUPOLA_LOGGING__DEBUG"}
_NOT_KEYS = frozenset({"CUPOLA_CONFIG", "CUPOLA_RUNTIME_DIR", "CUPOLA_RECEIVE_REDIS"})
_DEMO = Path(__file__).with_name("demo.yaml")
_MOST_DIGITS_OF_AN_INDEX = 4
_ENV_LINE = re.compile(r"\s*(?:export\s+)?([A-Za-z_][A-Za-z0-9_]*)\s*=(.*)\Z")
_QUOTED = re.compile(r"""(?:'([^']*)'|"((?:[^"\\]|\\.)*)")\s*(?:#.*)?\Z""")
_VARIABLE = re.compile(r"\$\{[^}]*\}")
_PASSWORD = re.compile(r"""://[^\s"'/@:]*:[^\s"'/@]+@|(?i:passw(?:or)?d|pwd|token|secret)=[^\s"'&]""")  # in a URL
_COMMENT = re.compile(r"(?:^|\s)#.*")


def load(path: Path | str | None = None, env: Mapping[str, str] | None = None) -> Settings:
    """Read the configuration: `path`, else the first file `find` finds; relative paths in it count from its folder.

    Raises ConfigProblems with everything that is wrong, ConfigNotFound when there is no file at all.
    `env` is the environment (default: that of this process); a `.env` beside the file adds to it.
    """
    env = os.environ if env is None else env
    file = find(path, env)
    text = read_text(file)
    folder = file.absolute().parent
    settings = _build(text, str(file), folder, {**_read_dotenv(file.with_name(".env")), **env})
    settings.read_from(file.absolute())
    return settings


def find(path: Path | str | None = None, env: Mapping[str, str] | None = None) -> Path:
    """The configuration file: the one given, else CUPOLA_CONFIG, else ./cupola.yaml, else the user's own.

    A file that was named is returned whether it exists or not; raises ConfigNotFound when none was named and none exists.
    """
    env = os.environ if env is None else env
    if named := path or env.get("CUPOLA_CONFIG"):
        return Path(named)
    usual = [Path("cupola.yaml"), user_file(env)]
    for candidate in usual:
        if os.path.exists(candidate):  # not Path's: a folder above that this user may not look into is no reason to end
            return candidate
    raise ConfigNotFound(f"no configuration: neither {usual[0]} here nor {usual[1]} exists. Make one with cupola init, or try cupola run --demo")


def user_file(env: Mapping[str, str]) -> Path:
    """The configuration in the user's config folder, by the XDG base directory specification (%APPDATA% on Windows)."""
    own = env.get("XDG_CONFIG_HOME") or (env.get("APPDATA") if os.name == "nt" else None)
    return (Path(own) if own else Path(os.path.expanduser("~"), ".config")) / "cupola" / "cupola.yaml"


def demo_settings(base: Path, env: Mapping[str, str] | None = None) -> Settings:
    """The built-in demo station, its data below `base`; CUPOLA_… variables change it as they change a file."""
    return _build(_DEMO.read_text("utf-8"), "demo.yaml", base.absolute(), os.environ if env is None else env)


def check(path: Path | str | None = None, env: Mapping[str, str] | None = None) -> list[Problem]:
    """Everything that is wrong with a configuration; empty when it can be used. Raises ConfigNotFound."""
    try:
        load(path, env)
    except ConfigProblems as error:
        return error.problems
    return []


def from_text(text: str, name: str, base: Path, values: Mapping[str, str] | None = None) -> Settings:
    """Settings from YAML text alone; `name` stands in for the file in messages, `values` for the environment."""
    return _build(text, name, base, values or {})


def readable_by_all(source: Path) -> list[Path]:
    """Of a configuration file and the `.env` beside it, those that hold a password and that every user of this machine may read."""
    found: list[Path] = []
    for file in (source, source.with_name(".env")):
        try:
            if os.name == "posix" and file.stat().st_mode & 0o004 and (file.name == ".env" or _PASSWORD.search(_VARIABLE.sub("", read_text(file)))):
                found.append(file)
        except FileNotFoundError:
            pass
    return found


def _build(text: str, name: str, base: Path, values: Mapping[str, str]) -> Settings:
    document = parse(text, name, values)
    if not _is_group(document.data):
        document.report((), "a configuration is a group of keys", "begin with station: or cameras:")
        raise ConfigProblems(document.problems)
    bring_up(document)
    _override(document, values)
    settings: Settings | None = None
    try:
        settings = Settings.model_validate(document.data, context={"base": base})
    except ValidationError as error:
        explain(error, document)
    if document.problems or settings is None:
        raise ConfigProblems(document.problems)
    return settings


def _override(document: Document, values: Mapping[str, str]) -> None:
    """Set what CUPOLA_A__B variables say, outer keys before inner ones."""
    wanted: list[tuple[list[str], str]] = []
    for variable in values:
        spelled = _ALIASES.get(variable, variable)
        alias_is_empty = variable in _ALIASES and not values[variable].strip()
        if spelled.startswith(_PREFIX) and variable not in _NOT_KEYS and not alias_is_empty:
            wanted.append((spelled.removeprefix(_PREFIX).lower().split("__"), variable))
    for parts, variable in sorted(wanted, key=lambda entry: [(part.isdigit(), part.zfill(9)) for part in entry[0]]):
        _set(document, parts, variable, values[variable])


def _set(document: Document, parts: list[str], variable: str, text: str) -> None:
    """Put a variable's value where its name says; groups and entries on the way are made."""
    holder: Any = document.data
    path: KeyPath = ()
    for position, part in enumerate(parts):
        step = _step(holder, part)
        if step is None:
            return document.report(path, f"has no place {part}", _places(holder), Origin(variable))
        path = (*path, step)
        if position == len(parts) - 1:
            document.origins[path] = Origin(variable)
            document.filled.add(path)
            holder[step] = _value(document, text, variable, path)
            return None
        document.origins.setdefault(path, Origin(variable))
        below = _below(holder, step)
        if below is None:
            below = holder[step] = cast(Any, [] if parts[position + 1].isdecimal() else {})
        holder = below
    return None


def _step(holder: Any, part: str) -> Any:
    """The key in a group, or the index in a list (a new entry is added at its end); None when there is no such place."""
    if _is_group(holder):
        return part
    if not isinstance(holder, list):
        return None
    entries = cast(list[Any], holder)
    if not (part.isascii() and part.isdecimal() and len(part) <= _MOST_DIGITS_OF_AN_INDEX) or int(part) > len(entries):
        return None
    if int(part) == len(entries):
        entries.append(None)
    return int(part)


def _places(holder: Any) -> str:
    if not isinstance(holder, list):
        return "only groups and lists hold others"
    return f"the entries are counted from 0, the next new one is {len(cast(list[Any], holder))}"


def _below(holder: Any, step: Any) -> Any:
    return holder.get(step) if _is_group(holder) else holder[step]


def _is_group(value: object) -> bool:
    return isinstance(value, dict)


def _value(document: Document, text: str, variable: str, path: KeyPath) -> Any:
    """A variable's text as a value: a number, true/false, null or text; [..], {..} and quotes as in YAML."""
    if text.lstrip()[:1] not in tuple("[{\"'"):
        try:
            return plain(text.strip())
        except ValueError:
            return document.report(path, "is a number with too many digits", origin=Origin(variable))
    try:
        value = parse(text, variable)
    except ConfigProblems:
        return document.report(path, "is not valid YAML", "check brackets and quotes", Origin(variable))
    document.problems += [Problem(variable, None, None, problem.key_path, problem.message, problem.hint) for problem in value.problems]
    for below in value.origins:
        document.origins[path + below] = Origin(variable)
        document.filled.add(path + below)
    return value.data


def read_text(file: Path) -> str:
    """Of a file that somebody named. Raises ConfigProblems that say why it cannot be read."""

    def refuse(message: str, hint: str = "", line: int | None = None) -> ConfigProblems:
        return ConfigProblems([Problem(str(file), line, None, "", message, hint)])

    try:
        with file.open("rb") as stream:
            content = stream.read(MAX_BYTES + 1)
    except FileNotFoundError:
        raise refuse("there is no such file", "make one with cupola init, or name another with --config") from None
    except IsADirectoryError:
        raise refuse("is a folder", "name the file in it, such as cupola.yaml") from None
    except (OSError, ValueError) as error:
        raise refuse(f"cannot be read: {getattr(error, 'strerror', None) or error}", "check its owner and rights") from None
    if len(content) > MAX_BYTES:
        raise refuse(f"is larger than {MAX_BYTES // 1_000_000} MB", "is this the right file?")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise refuse("is not UTF-8 text", "save it as UTF-8", content[: error.start].count(b"\n") + 1) from None


def _read_dotenv(file: Path) -> dict[str, str]:
    """`NAME=value` lines, with optional `export`, quotes and comments; nothing if there is no such file."""
    if not file.is_file():
        return {}
    values: dict[str, str] = {}
    problems: list[Problem] = []
    for number, line in enumerate(read_text(file).splitlines(), start=1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        found = _ENV_LINE.match(line)
        text = found[2].strip() if found else ""
        quoted = _QUOTED.match(text)
        if found is None or (text[:1] in ("'", '"') and quoted is None):
            problems.append(Problem(str(file), number, 1, "", "is not NAME=value", "put a value with quotes in it into the other kind of quotes"))
        elif quoted is None:
            values[found[1]] = _COMMENT.sub("", text)
        else:
            values[found[1]] = quoted[1] if quoted[1] is not None else re.sub(r"\\(.)", r"\1", quoted[2])
    if problems:
        raise ConfigProblems(problems)
    return values
