"""At which time the simulated sky stands when the camera opens. Where things stand then is `core.ephemeris`'s."""

from datetime import UTC, datetime

from cupola.core.ephemeris import sun


def night_begins(sky_s: float, latitude_deg: float, longitude_deg: float, below_deg: float = -18.0) -> float:
    """The next moment (or `sky_s` itself) at which the sun is below `below_deg`; in a white night, its lowest point of the next day."""

    def altitude(moment: float) -> float:
        return sun(moment, latitude_deg, longitude_deg).altitude_deg

    moments = [sky_s + 120.0 * step for step in range(721)]
    for moment in moments:
        if altitude(moment) < below_deg:
            return moment
    return min(moments, key=altitude)


def parse_sky_time(text: str, now_s: float, latitude_deg: float, longitude_deg: float) -> float:
    """The sky's clock at opening for `now`, `night` or an ISO time (UTC unless it says otherwise). Raises ValueError."""
    if text == "now":
        return now_s
    if text == "night":
        return night_begins(now_s, latitude_deg, longitude_deg)
    moment = datetime.fromisoformat(text)
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
