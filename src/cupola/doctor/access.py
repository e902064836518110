"""Who may read what is secret, and how long the certificate lasts."""

from __future__ import annotations

import stat
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cupola.config.load import readable_by_all
from cupola.core.errors import CupolaError
from cupola.doctor.finding import Told
from cupola.doctor.patient import Patient

SOON = timedelta(days=21)


def secrets(patient: Patient, told: Told) -> None:
    """The configuration, the folder of secrets, the database of logins, keys; and who may write among the images."""
    settings = patient.settings
    if sys.platform == "win32":
        told.saw("rights of Windows are not looked at")
        return
    if patient.file is not None and patient.file.is_file():
        try:
            for file in readable_by_all(patient.file):
                told.error(f"{file} holds passwords, and everybody on this machine may read it.", f"chmod o-rwx {file}")
        except CupolaError as error:
            told.saw(str(error))
        if _mode(patient.file) & 0o022:
            told.error(f"Others may write {patient.file}, and so decide what Cupola runs.", f"chmod go-w {patient.file}")
    if settings is None:
        return
    state = settings.storage.state_folder
    private = [state / "secrets", state / "access.sqlite", *_inside(state / "secrets")]
    if settings.web.tls.key is not None:
        private.append(settings.web.tls.key)
    looked = 0
    for path in private:
        mode = _mode(path)
        looked += mode != 0
        if mode & 0o077:
            told.error(f"{path} is secret, but others than its owner may use it ({stat.filemode(mode)}).", f"chmod go-rwx {path}")
    for folder in (settings.storage.root, state, settings.logging.folder):
        if _mode(folder) & 0o002 and not _mode(folder) & stat.S_ISVTX:
            told.warning(f"Everybody on this machine may write in {folder}.", f"chmod o-w {folder}")
    told.saw(f"{looked} secret files and folders are their owner's only" if looked else "no secrets yet")


def _inside(folder: Path) -> list[Path]:
    """None where we may not look: it is its owner's only, then."""
    try:
        return sorted(folder.iterdir())
    except OSError:
        return []


def _mode(path: Path) -> int:
    """0 where there is nothing, or nothing that we may look at."""
    try:
        return path.stat().st_mode
    except OSError:
        return 0


def certificate(patient: Patient, told: Told) -> None:
    """From the file, whether the server runs or not. A chain's first certificate is the server's."""
    settings = patient.settings
    if settings is None or settings.web.tls.mode == "off":
        told.saw("off" if settings is not None else "not looked at")
        return
    tls, own = settings.web.tls, settings.web.tls.mode == "self_signed"
    path = settings.storage.state_folder / "secrets" / "certificate.pem" if own else tls.certificate
    assert path is not None
    renew = f"Delete {path} and restart Cupola: it makes another one." if own else f"Renew it (certbot renew), then restart Cupola. It is {path}."
    from cryptography import x509

    try:
        found = x509.load_pem_x509_certificates(path.read_bytes())[0]
    except (FileNotFoundError, PermissionError) as error:
        if own:
            told.saw("made at the first start" if isinstance(error, FileNotFoundError) else f"not looked at: this user may not read {path}")
        else:
            told.error(f"The certificate {path} cannot be read: {error.strerror}.", renew)
        return
    except (OSError, ValueError, IndexError) as error:
        told.error(f"The certificate {path} cannot be read: {error}.", "It has to be PEM. " + renew)
        return
    now, until = datetime.now(UTC), found.not_valid_after_utc
    told.saw(f"{path.name} lasts until {until:%Y-%m-%d}")
    if until <= now:
        told.error(f"The certificate expired on {until:%Y-%m-%d}: browsers refuse the page.", renew)
    elif found.not_valid_before_utc > now:
        told.error(
            f"The certificate is valid from {found.not_valid_before_utc:%Y-%m-%d %H:%M} UTC on only, or the clock is wrong.",
            "timedatectl; then: " + renew,
        )
    elif until - now < SOON and not own:
        told.warning(f"The certificate expires on {until:%Y-%m-%d}.", renew)
