"""Whether the server runs, answers, and is the one that is installed; the status server; the units of systemd."""

from __future__ import annotations

import contextlib
import errno
import json
import socket
import sys
import time
from http.client import HTTPConnection, HTTPException

import psutil

from cupola import __version__
from cupola.core.errors import CupolaError
from cupola.doctor.finding import Told
from cupola.doctor.patient import Patient
from cupola.status import files

OWN = ("disk", "memory", "temperature", "under_voltage")  # alarms of the server's that other checks look at themselves
ANSWER_S = 5.0
LATE = 30  # originals that wait for the darkroom


def server(patient: Patient, told: Told) -> None:
    """Asks the running server, and leaves what it says for the checks after this one."""
    from cupola.web.endpoint import announced

    found = announced()
    if found is None:
        _absent(patient, told)
        return
    try:
        status, notify = patient.ask("/api/status"), patient.ask("/api/notify")
        if not (isinstance(status, dict) and isinstance(notify, dict) and "version" in status):
            raise CupolaError(f"What answers at {found.url} is not Cupola.")
    except CupolaError as error:
        if _is_other_program(found.pid):
            _absent(patient, told)
        else:
            _silent(told, found.pid, str(error))
        return
    told.facts = {"status": status, "notify": notify, "url": found.url}
    if status["version"] != __version__:
        told.warning(f"The server that runs is version {status['version']}; {__version__} is installed.", _again("restart"))
    told.saw(f"runs at {found.url}, version {status['version']}, for {_span(status['uptime_s'])}")
    _older_than_config(patient, told, status["uptime_s"])
    for alarm in status["alarms"]:
        if alarm["what"] not in OWN:
            told.warning(alarm["message"], "See docs/sensors.md, Alarms; what takes the time: cupola logs, and top")
    for trigger in status["triggers"]:
        if trigger["problem"]:
            told.warning(f"The trigger {trigger['name']} does not work: {trigger['problem']}", "Check its address and rights in clips.triggers.")
    if (waiting := status["darkroom"]["waiting"]) > LATE:
        told.warning(
            f"The darkroom is behind: {waiting} images wait to be developed.", "See cupola logs; what this machine can carry says: cupola tune"
        )


def _is_other_program(pid: int) -> bool:
    """After a crash, or a restart of the machine, the number of a server's process may be another program's."""
    with contextlib.suppress(psutil.Error, OSError):
        words = psutil.Process(pid).cmdline()
        return bool(words) and not any("cupola" in word for word in words)
    return False


def _absent(patient: Patient, told: Told) -> None:
    if patient.settings is not None and _taken(patient.settings.web.host, patient.settings.web.port):
        port = patient.settings.web.port
        told.error(
            f"Port {port} (web.port), where Cupola should be, is in use by another program, or by Cupola of another user.",
            f"See which: sudo ss -ltnp 'sport = :{port}'. End it, or change web.port.",
        )
    document = files.read(files.runtime_folder(), files.DOCUMENT)
    start = _again("start")
    if document is None:
        told.error("Cupola does not run, or as another user whose folder this one may not read.", f"{start}; or run doctor as that user (sudo).")
    elif document.get("running"):
        told.error(
            f"Cupola does not run: it was killed or crashed; the last word of it is of {document['updated_at']}.",
            f"{start}; why: cupola logs --recent-errors",
        )
    else:
        told.error(f"Cupola does not run: it was stopped at {document['updated_at']}.", start)


def _taken(host: str, port: int) -> bool:
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        if sys.platform != "win32":  # there, it would be given to us too
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            return error.errno == errno.EADDRINUSE
    return False


def _silent(told: Told, pid: int, error: str) -> None:
    document = files.read(files.runtime_folder(), files.DOCUMENT)
    last = f" The last word of it is of {document['updated_at']}." if document else ""
    state = psutil.Process(pid).status() if psutil.pid_exists(pid) else ""
    if state == psutil.STATUS_STOPPED:
        told.error(f"The server (process {pid}) was paused, and does nothing.{last}", f"kill -CONT {pid}")
    elif state == psutil.STATUS_DISK_SLEEP:
        told.error(f"The server (process {pid}) waits for a disk that does not answer.{last}", "See journalctl -k, and the findings about the disk.")
    else:
        told.error(
            f"The server (process {pid}) hangs or refuses: {error}{last}", f"kill -ABRT {pid} (it says where in the log), then: {_again('restart')}"
        )


def _older_than_config(patient: Patient, told: Told, uptime_s: float) -> None:
    if patient.file is None or not patient.file.is_file():
        return
    if (age_s := time.time() - patient.file.stat().st_mtime) < uptime_s - 1:
        told.note(f"{patient.file} was changed {_span(age_s)} ago, after the server's start.", f"To let it count: {_again('restart')}")


def _again(verb: str) -> str:
    """The command that starts the server, as it is installed."""
    if sys.platform == "linux":
        with contextlib.suppress(CupolaError, ImportError):
            from cupola.service.system import unit_file
            from cupola.service.unit import SERVER

            for own in (False, True):
                if unit_file(own, SERVER).exists():
                    return f"{'systemctl --user' if own else 'sudo systemctl'} {verb} cupola"
    return "end it and start it again: cupola run" if verb == "restart" else "cupola run"


def _span(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.0f} h"


def service(patient: Patient, told: Told) -> None:
    """The units: installed, enabled, running, and as they would be written now."""
    if sys.platform != "linux":
        told.saw("only Linux has systemd")
        return
    from cupola.service import manage, system

    if not patient.is_this_machine or not system.BOOTED.is_dir():
        told.saw("systemd does not run this machine")
        return
    own = not system.unit_file(False, manage.NAME).exists()
    states = manage.look_at_all(own=own)
    if not states[0].installed:
        told.saw("not installed as a service")
        told.note("Cupola does not start with the machine.", "sudo cupola service install, or cupola service install --user")
        return
    user = "--user " if own else ""
    systemctl = "systemctl --user" if own else "sudo systemctl"
    for state in states:
        told.saw(f"{state.name}: {state.state}")
        why = f"why: journalctl {user}-u {state.name} -n 50"
        if not state.installed:
            told.warning(f"{state.name} is not installed, though {manage.NAME} is.", f"cupola service install {user}".strip())
        elif not state.well:
            level = told.error if state.name == manage.NAME else told.warning
            level(f"{state.name} is {state.state} ({state.detail}).", f"{systemctl} start {state.name}; {why}")
        elif not state.enabled and state.name != manage.TEST:
            told.warning(f"{state.name} does not start with the machine.", f"{systemctl} enable {state.name}")
        if state.restarts > 3:
            told.warning(f"systemd has started {state.name} {state.restarts} times anew.", why.capitalize())
    if patient.settings is not None and patient.settings.source is not None:
        with contextlib.suppress(CupolaError, OSError):
            for path, text in manage.printed(patient.settings, own=own):
                if path.is_file() and path.read_text() != text:
                    told.note(f"{path} is not as this version, or this configuration, would write it.", f"cupola service install {user}".strip())


def status_server(patient: Patient, told: Told) -> None:
    """Whether it answers where the configuration says; that it does not is a finding only where its unit is installed, or somebody else answers."""
    if patient.settings is None:
        told.saw("not looked at: the configuration says where it is")
        return
    where = patient.settings.monitoring
    host = "127.0.0.1" if where.status_host in ("0.0.0.0", "::") else where.status_host
    address = f"{host}:{where.status_port}"
    connection = HTTPConnection(host, where.status_port, timeout=ANSWER_S)
    try:
        connection.request("GET", "/health", headers={"Host": address})
        answer = connection.getresponse()
        body = answer.read(65536)
    except (ConnectionRefusedError, socket.gaierror) as error:
        told.saw(f"nobody answers at {address}")
        if _installed():
            told.warning(f"The status server does not answer at {address} ({error.strerror}).", "See why: journalctl -u cupola-status -n 50")
        return
    except (OSError, HTTPException) as error:
        told.warning(f"The status server at {address} does not answer: {error or type(error).__name__}.", "sudo systemctl restart cupola-status")
        return
    finally:
        connection.close()
    try:
        told.saw(f"answers at {address}: {json.loads(body)['status']}" if answer.status != 401 else f"answers at {address}")
    except (ValueError, KeyError, TypeError):
        told.warning(
            f"Another program answers at {address}, where the status server should.", "Change monitoring.status_port, and: cupola service install"
        )


def _installed() -> bool:
    if sys.platform != "linux":
        return False
    from cupola.service import manage, system

    return any(system.unit_file(own, manage.STATUS).exists() for own in (False, True))
