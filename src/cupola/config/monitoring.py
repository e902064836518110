"""What others are told of the station's health. How lies in `status`."""

from cupola.config.base import Block, key


class Monitoring(Block):
    """Watching the station from afar."""

    prometheus: bool = key(True, "Prometheus", "Answer /metrics, to those with a login or a token; false: 404.")
