"""The ways out: notifications and the sign of life, and Redis."""

from __future__ import annotations

import asyncio
from urllib.parse import urlsplit

from cupola.config.notify import Hook
from cupola.doctor.finding import Told
from cupola.doctor.patient import Patient
from cupola.net.outgoing import Refused, Unreachable, addresses

REACH_S = 8.0
TRY = "When that is mended, try it: cupola doctor notify"


def notify(patient: Patient, told: Told) -> None:
    """What the server says of each channel, and whether webhooks can be reached. Messages are sent when that was asked for, and only then."""
    if patient.settings is None:
        told.saw("not looked at: the configuration names the channels")
        return
    channels, heartbeat = patient.settings.notify.channels, patient.settings.notify.heartbeat
    told.saw(f"{len(channels)} channels" if channels else "no channels: nobody is told when something is wrong")
    if patient.send:
        _send(patient, told)
        return
    known = patient.facts.get("notify") or {"channels": [], "heartbeat_problem": None}
    problems = {one["name"]: one["problem"] for one in known["channels"] if one["problem"]}
    for channel in channels:
        why = problems.get(channel.name)
        if why is None and channel.webhook is not None:
            why = asyncio.run(_unreachable(channel.webhook, channel.loopback))
        if why is not None:
            told.error(f"Notifications to {channel.name} do not get out: {why.rstrip('.')}.", f"Check its address and the network. {TRY}")
    for one in known["channels"]:
        if one["waiting"] and one["name"] not in problems:
            told.note(f"{one['waiting']} messages to {one['name']} wait for the end of the quiet hours, or to be sent.", "Nothing is to be done.")
    if heartbeat is not None:
        why = known["heartbeat_problem"] or asyncio.run(_unreachable(heartbeat.url, heartbeat.loopback))
        if why:
            told.error(f"The sign of life does not get out: {why.rstrip('.')}.", "Check notify.heartbeat.url, and the network.")


def _send(patient: Patient, told: Told) -> None:
    from cupola.watch.channels import check_notify, show_life

    assert patient.settings is not None
    for name, outcome in asyncio.run(check_notify(patient.settings)).items():
        told.saw(f"{name}: {f'took the test message in {outcome.took_s:.1f} s' if outcome.error is None else 'failed'}")
        if outcome.error is not None:
            told.error(f"The test message to {name} did not get out: {outcome.error.rstrip('.')}.", f"Check its address in notify.channels. {TRY}")
    if (heartbeat := patient.settings.notify.heartbeat) is not None and (error := asyncio.run(show_life(heartbeat)).error) is not None:
        told.error(f"The sign of life does not get out: {error.rstrip('.')}.", "Check notify.heartbeat.url, and the network.")


async def _unreachable(hook: Hook, loopback: bool) -> str | None:
    """Why nobody can be connected with there; nothing is sent."""
    parts = urlsplit(hook.get_secret_value())
    host, port = parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)
    try:
        async with asyncio.timeout(REACH_S):
            found = await addresses(host, port, loopback=loopback)
            _, writer = await asyncio.open_connection(found[0], port)
            writer.close()
    except (Refused, Unreachable) as error:
        return str(error)
    except TimeoutError:
        return f"{host}:{port} does not answer within {REACH_S:g} s"
    except OSError as error:
        return f"{host}:{port} cannot be reached ({error.strerror or error})"
    return None


def redis(patient: Patient, told: Told) -> None:
    """As the publisher itself looks at it."""
    if patient.settings is None or patient.settings.redis is None:
        told.saw("not configured")
        return
    from cupola.stream.check import check_redis

    for finding in asyncio.run(check_redis(patient.settings)):
        (told.error if finding.level == "error" else told.warning)(finding.message, finding.fix)
    told.saw("looked at from here, as the publisher does")
