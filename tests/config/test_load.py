"""Where the configuration comes from: files, `.env`, the environment, the built-in demo."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from cupola.config.load import check, demo_settings, find, load, readable_by_all
from cupola.config.model import Settings
from cupola.config.problems import ConfigNotFound, ConfigProblems

CAMERA = "cameras:\n  - name: sky\n    driver: simulator\n"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty current folder."""
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    return here


def write(file: Path, text: str) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text, "utf-8")
    return file


def test_the_given_file_comes_first_then_the_variable_then_here_then_the_users_own(folder: Path, tmp_path: Path) -> None:
    env = {"XDG_CONFIG_HOME": str(tmp_path / "xdg")}
    with pytest.raises(ConfigNotFound, match="cupola init"):
        find(env=env)
    own = write(tmp_path / "xdg" / "cupola" / "cupola.yaml", "")
    assert find(env=env) == own
    write(folder / "cupola.yaml", "")
    assert find(env=env) == Path("cupola.yaml")
    assert find(env={**env, "CUPOLA_CONFIG": "named.yaml"}) == Path("named.yaml")
    assert find("given.yaml", {**env, "CUPOLA_CONFIG": "named.yaml"}) == Path("given.yaml")


def test_a_named_file_that_does_not_exist_is_a_problem_and_not_the_demo(folder: Path) -> None:
    (problem,) = check(env={"CUPOLA_CONFIG": "gone.yaml"})
    assert str(problem) == "gone.yaml: there is no such file; make one with cupola init, or name another with --config"


def test_a_folder_a_huge_file_and_a_file_in_another_encoding_are_refused(folder: Path) -> None:
    assert [str(p) for p in check(folder, {})] == [f"{folder}: is a folder; name the file in it, such as cupola.yaml"]
    write(folder / "huge.yaml", "#" * 1_000_001)
    assert [str(p) for p in check("huge.yaml", {})] == ["huge.yaml: is larger than 1 MB; is this the right file?"]
    (folder / "latin.yaml").write_bytes(b"station:\n  name: Z\xfcrich\n")
    assert [str(p) for p in check("latin.yaml", {})] == ["latin.yaml:2: is not UTF-8 text; save it as UTF-8"]


def test_an_empty_file_and_empty_groups_mean_the_defaults(folder: Path) -> None:
    write(folder / "cupola.yaml", "station:\nstorage:\ncameras:\nweb:\nlogging:\n")
    settings = load(env={})
    assert settings.source == folder / "cupola.yaml"
    assert settings.cameras == []
    assert settings.station.name == "cupola"
    assert (settings.web.host, settings.web.port, settings.web.max_viewers) == ("127.0.0.1", 8000, 5)
    assert settings.storage.root == folder / "cupola-data"
    assert settings.storage.state_folder == folder / "cupola-data" / ".cupola"
    assert settings.logging.folder == folder / "logs"


def test_relative_paths_count_from_the_folder_of_the_file(folder: Path) -> None:
    text = """storage: {root: images, state: /var/lib/cupola}
logging: {folder: ~/logs}
cameras:
  - {name: a, driver: replay, replay: {path: ../night}}
  - {name: b, driver: simulator, simulator: {truth: truth}}
  - {name: c, driver: video, video: {source: ./clip.mp4, record: /dev/video0}}
"""
    write(folder / "sub" / "c.yaml", text)
    settings = load("sub/c.yaml", {})
    assert settings.storage.root == folder / "sub" / "images"
    assert settings.storage.state_folder == Path("/var/lib/cupola")
    assert settings.logging.folder == Path.home() / "logs"
    replay, simulator, video = (settings.driver_options(camera) for camera in settings.cameras)
    assert replay == {"path": str(folder / "sub" / "../night"), "rate_fps": None, "loop": True}
    assert simulator["truth"] == str(folder / "sub" / "truth")
    assert (video["source"], video["record"]) == (str(folder / "sub" / "clip.mp4"), "/dev/video0")


def test_a_drivers_options_are_plain_values_with_defaults_and_the_real_password(folder: Path) -> None:
    write(folder / "cupola.yaml", "cameras:\n  - {name: a, driver: video, video: {source: 'rtsp://u:${PW}@h/x'}}\n")
    settings = load(env={"PW": "hunter2"})
    (camera,) = settings.cameras
    assert settings.driver_class_path(camera) == "cupola.drivers.video:Video"
    assert settings.driver_options(camera) == {
        "source": "rtsp://u:hunter2@h/x",
        "record": None,
        "input_format": None,
        "width": None,
        "height": None,
        "fps": None,
        "dynamic_frame_rate": False,
        "white_balance_k": None,
        "focus": None,
        "power_line_hz": None,
        "timeout_s": 10.0,
        "transport": "tcp",
    }
    assert "hunter2" not in repr(settings) + str(settings) + settings.model_dump_json()


def test_a_dotenv_beside_the_file_fills_variables_and_the_environment_wins(folder: Path) -> None:
    dotenv = """# secrets
export A=plain # a comment
B='single # quoted'
C="double \\"quoted\\""
D=no#comment
E=from file
CUPOLA_WEB__PORT=9001
"""
    write(folder / "sub" / ".env", dotenv)
    sources = "".join(f"  - {{name: {n}, driver: video, video: {{source: '${{{n.upper()}}}'}}}}\n" for n in "abcde")
    write(folder / "sub" / "c.yaml", "cameras:\n" + sources)
    settings = load("sub/c.yaml", {"E": "from environment"})
    read = [settings.driver_options(camera)["source"] for camera in settings.cameras]
    assert read == ["plain", "single # quoted", 'double "quoted"', "no#comment", "from environment"]
    assert settings.web.port == 9001


def test_a_broken_dotenv_is_named_with_its_line_and_not_repeated(folder: Path) -> None:
    write(folder / ".env", "A=1\nhunter2\nB='hunter2\n")
    write(folder / "cupola.yaml", CAMERA)
    lines = [str(problem) for problem in check(env={})]
    assert lines == [f".env:{n}: is not NAME=value; put a value with quotes in it into the other kind of quotes" for n in (2, 3)]


@pytest.mark.skipif(os.name != "posix", reason="rights of files are of POSIX systems")
@pytest.mark.parametrize(
    ("name", "text", "told"),
    [
        ("cupola.yaml", "source: rtsp://me:pass@10.0.0.7/live", True),
        ("cupola.yaml", "source: http://10.0.0.7/live?password=pass", True),
        ("cupola.yaml", "source: rtsp://me:${PASSWORD}@10.0.0.7/live", False),
        ("cupola.yaml", "source: http://10.0.0.7/live?password=${PASSWORD}", False),
        ("cupola.yaml", "source: /dev/v4l/by-id/usb-0:1@2", False),
        (".env", "PASSWORD=pass", True),
    ],
)
def test_a_password_that_everybody_may_read_is_noticed(folder: Path, name: str, text: str, told: bool) -> None:
    source = folder / "cupola.yaml"
    file = write(folder / name, text)
    for mode, expected in ((0o644, [file] if told else []), (0o640, []), (0o600, [])):
        file.chmod(mode)
        assert readable_by_all(source) == expected


def test_variables_override_keys_groups_and_entries_of_lists(folder: Path) -> None:
    write(folder / "cupola.yaml", CAMERA)
    env = {
        "CUPOLA_WEB__PORT": "9000",
        "CUPOLA_STATION": "{name: north, latitude: -3}",
        "CUPOLA_STATION__LONGITUDE": "1e1",
        "CUPOLA_CAMERAS__0__NAME": "south",
        "CUPOLA_CAMERAS__0__CAPTURE__INTERVAL_S": "30",
        "CUPOLA_CAMERAS__0__SIMULATOR__FAULTS__HANG_ON": "[3, 4]",
        "CUPOLA_CAMERAS__0__SIMULATOR__BAYER": "null",
        "CUPOLA_CAMERAS__1": "{name: second, driver: simulator}",
        "CUPOLA_CAMERAS__1__CONNECT": "false",
        "CUPOLA_CAMERAS__2__NAME": '"2"',
        "CUPOLA_CAMERAS__2__DRIVER": "simulator",
        "CUPOLA_STORAGE__ROOT": "else where: #1",
        "CUPOLA_DEBUG": "1",
        "CUPOLA_RUNTIME_DIR": "/run/cupola",
        "OTHER": "x",
    }
    settings = load(env=env)
    assert settings.web.port == 9000
    assert (settings.station.name, settings.station.latitude, settings.station.longitude) == ("north", -3, 10)
    assert [(camera.name, camera.connect) for camera in settings.cameras] == [("south", True), ("second", False), ("2", True)]
    assert settings.cameras[0].capture.interval_s == 30
    options = settings.driver_options(settings.cameras[0])
    assert (options["bayer"], options["faults"]["hang_on"]) == (None, [3, 4])
    assert settings.storage.root == folder / "else where: #1"
    assert settings.logging.debug is True


@pytest.mark.parametrize(
    ("variable", "value", "line"),
    [
        (
            "CUPOLA_WEB__PROT",
            "1",
            'CUPOLA_WEB__PROT: web.prot: unknown key; did you mean "port"? Allowed: host, port, max_viewers, session_minutes, hosts, trusted_proxies, tls',
        ),
        ("CUPOLA_WEB__PORT", "70000", "CUPOLA_WEB__PORT: web.port: must be from 1 to 65535"),
        ("CUPOLA_WEB__PORT", "9" * 5000, "CUPOLA_WEB__PORT: web.port: is a number with too many digits"),
        (
            "CUPOLA_STORAGE__ORIGINALS",
            "hunter2",
            "CUPOLA_STORAGE__ORIGINALS: storage.originals: must be one of its values, not text; Allowed: keep, off",
        ),
        ("CUPOLA_CAMERAS__0__DRIVER__X", "1", "CUPOLA_CAMERAS__0__DRIVER__X: cameras[0].driver: has no place x; only groups and lists hold others"),
        ("CUPOLA_CAMERAS__5__NAME", "x", "CUPOLA_CAMERAS__5__NAME: cameras: has no place 5; the entries are counted from 0, the next new one is 1"),
        (
            "CUPOLA_CAMERAS__FIRST__NAME",
            "x",
            "CUPOLA_CAMERAS__FIRST__NAME: cameras: has no place first; the entries are counted from 0, the next new one is 1",
        ),
        ("CUPOLA_CAMERAS__1__NAME", "x", "CUPOLA_CAMERAS__1__NAME: cameras[1].driver: is missing; "),
        ("CUPOLA_STATION", "{name: [", "CUPOLA_STATION: station: is not valid YAML; check brackets and quotes"),
        ("CUPOLA_STATION", "{nam: x}", 'CUPOLA_STATION: station.nam: unknown key; did you mean "name"? '),
        ("CUPOLA_STATION", "{name: a, name: b}", "CUPOLA_STATION: name: is given twice; "),
        ("CUPOLA_DEBUG", "perhaps", "CUPOLA_DEBUG: logging.debug: must be true or false, not text"),
    ],
)
def test_a_variable_that_cannot_be_used_is_named(folder: Path, variable: str, value: str, line: str) -> None:
    write(folder / "cupola.yaml", CAMERA)
    said = [str(problem) for problem in check(env={variable: value})]
    assert len(said) == 1
    assert said[0].startswith(line)
    if line[-1] != " ":
        assert said[0] == line


def test_a_value_from_the_environment_is_not_repeated_in_a_message(folder: Path) -> None:
    write(folder / "cupola.yaml", "storage: {originals: '${SECRET}'}\nweb: {port: '${NUMBER}'}\n")
    said = "\n".join(str(problem) for problem in check(env={"SECRET": "hunter2", "NUMBER": "4711"}))
    assert said.count("cupola.yaml:") == 2
    assert "hunter2" not in said
    assert "4711" not in said


def test_an_unset_variable_is_one_problem_and_the_others_are_reported_too(folder: Path) -> None:
    write(folder / "cupola.yaml", "web:\n  port: ${PORT}\n  max_viewers: 0\n")
    said = [str(problem) for problem in check(env={})]
    assert said == [
        "cupola.yaml:2: web.port: the environment variable PORT is not set; set it, put PORT=… into .env, or give a default: ${PORT:-…}",
        "cupola.yaml:3: web.max_viewers: must be from 1 to 1000, not 0",
    ]


def test_the_demo_is_a_night_sky_that_captures_by_itself_and_obeys_variables(tmp_path: Path) -> None:
    settings = demo_settings(tmp_path, {"CUPOLA_WEB__PORT": "9000"})
    (camera,) = settings.cameras
    options = settings.driver_options(camera)
    assert (camera.name, camera.driver, options["sky_time"], options["width"], options["height"]) == ("sky", "simulator", "night", 1920, 1080)
    assert (camera.night.window, camera.night.interval_s, camera.exposure.exposure_s, camera.live.exposure_s) == ("always", 10, 4, 1)
    assert settings.storage.root == tmp_path / "cupola-data"
    assert settings.web.port == 9000
    assert settings.source is None


def test_settings_cannot_be_changed_by_those_who_read_them(tmp_path: Path) -> None:
    settings = demo_settings(tmp_path, {})
    with pytest.raises(ValueError, match="frozen"):
        settings.web.port = 1


def test_problems_of_a_direct_build_are_pydantics_own() -> None:
    with pytest.raises(ValueError, match="belongs to the driver"):
        Settings.model_validate({"cameras": [{"name": "a", "driver": "simulator", "video": {"source": "x"}}]})


def test_loading_imports_pydantic_and_yaml_and_nothing_heavier() -> None:
    script = (
        "import sys, cupola.config.load\n"
        "heavy = {'numpy', 'fastapi', 'loguru', 'click', 'rich', 'cv2', 'av', 'asyncio', 'httpx'} & set(sys.modules)\n"
        "print(sorted(heavy), any(name.startswith('cupola.drivers') for name in sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, env={**os.environ}, timeout=60, check=True)
    assert done.stdout.strip() == "[] False"


def test_a_file_that_may_not_be_read_is_refused(folder: Path) -> None:
    file = write(folder / "cupola.yaml", "")
    file.unlink()
    file.symlink_to(file.name)  # a loop: nobody can open it, root neither
    with pytest.raises(ConfigProblems, match=r"cannot be read: .*; check its owner and rights"):
        load("cupola.yaml", {})
