"""The certificate of the server: the owner's, or one made here that lasts ten years and is made anew when the machine's names change."""

from __future__ import annotations

import contextlib
import hashlib
import os
import ssl
from dataclasses import dataclass
from datetime import timedelta
from ipaddress import ip_address
from pathlib import Path

from cupola.config.model import Tls
from cupola.core.clock import utc_now
from cupola.core.errors import ConfigError
from cupola.web.access.address import names_of_this_machine

YEARS = 10


@dataclass(frozen=True, slots=True)
class Certificate:
    """PEM files; `fingerprint` is the SHA-256 (hex) of the certificate itself."""

    certificate: Path
    key: Path
    fingerprint: str


def certificate_for(tls: Tls, secrets: Path, hosts: list[str]) -> Certificate | None:
    """What the configuration asks for; None without TLS. Raises ConfigError for files that cannot be used."""
    if tls.mode == "off":
        return None
    if tls.mode == "files" and tls.certificate is not None and tls.key is not None:
        return _checked(tls.certificate, tls.key)
    certificate, key, names = secrets / "certificate.pem", secrets / "key.pem", secrets / "certificate.names"
    wanted = sorted({*names_of_this_machine(), *hosts, "127.0.0.1", "::1"})
    if not (certificate.is_file() and key.is_file() and names.is_file() and names.read_text().split() == wanted):
        _make(certificate, key, wanted)
        names.write_text("\n".join(wanted))
    return _checked(certificate, key)


def _checked(certificate: Path, key: Path) -> Certificate:
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(certificate, key, password="")
        first = certificate.read_text().partition("-----END CERTIFICATE-----")
        der = ssl.PEM_cert_to_DER_cert(first[0][first[0].index("-----BEGIN") :] + first[1])
    except (OSError, ssl.SSLError, ValueError) as error:
        raise ConfigError(f"web.tls: {certificate} and {key} cannot be used ({error}). Both have to be PEM, without a password.") from None
    return Certificate(certificate, key, hashlib.sha256(der).hexdigest())


def _make(certificate: Path, key: Path, names: list[str]) -> None:
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import NameOID

    private = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Cupola")])
    now = utc_now()
    alternatives: list[x509.GeneralName] = []
    for name in names:
        try:
            alternatives.append(x509.IPAddress(ip_address(name)))
        except ValueError:
            with contextlib.suppress(ValueError):  # a machine may have a name that is no ASCII, which no browser asks for
                alternatives.append(x509.DNSName(name))
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(private.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=365 * YEARS))
        .add_extension(x509.SubjectAlternativeName(alternatives), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .sign(private, hashes.SHA256())
    )
    pem = private.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    for path, data in ((key, pem), (certificate, made.public_bytes(serialization.Encoding.PEM))):
        new = path.with_suffix(".tmp")
        new.unlink(missing_ok=True)
        with open(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(data)
        new.replace(path)
