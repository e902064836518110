"""What others are told of the station's health. How lies in `status`."""

from cupola.config.base import Block, Int, key


class Monitoring(Block):
    """Watching the station from afar."""

    prometheus: bool = key(True, "Prometheus", "Answer /metrics, to those with a login or a token; false: 404.")
    status_host: str = key(
        "127.0.0.1",
        "Address of the status server",
        "Where the service's status server listens: 127.0.0.1 for this machine only; elsewhere it needs a token. For `cupola service install`.",
        rule="an IP address",
        pattern=r"^[0-9A-Za-z.:_-]{1,253}$",
    )
    status_port: Int = key(8080, "Port of the status server", "TCP port of the service's status server.", ge=1, le=65535)
