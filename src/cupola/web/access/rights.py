"""The one table of rights: every route and every message a client may send. What is not in it answers to nobody.

Keys are method and path of a route, `WS` and the path of a socket, `MSG`, path and type of a message on it, and PAGE for
the files of the page. `tests/web/test_rights.py` compares the table with the application.
"""

from __future__ import annotations

from dataclasses import dataclass

from cupola.web.access.who import Role

NONE, OBSERVER, MASTER, ADMIN = Role.NONE, Role.OBSERVER, Role.MASTER, Role.ADMIN
PAGE = "PAGE"


@dataclass(frozen=True, slots=True)
class Rule:
    """`lease`: control of the camera is needed too. `unclaimed`: answers before the station is claimed, too. `owner`: only to the
    owner's shell. `stream`: open, or waiting, for long; ends with its session. `public`: to anybody if the camera's configuration says so.
    """

    least: Role
    lease: bool = False
    unclaimed: bool = False
    owner: bool = False
    stream: bool = False
    public: bool = False


_CAM = "/api/cameras/{cam}"
_CAPTURE = "/api/captures/{number}"
_CONTROL = "/api/control/{cam}"
_NIGHT = "/api/nights/{camera}/{date}"

RULES: dict[str, Rule] = {
    PAGE: Rule(NONE, unclaimed=True),
    "GET /": Rule(NONE, unclaimed=True),
    "GET /viewer": Rule(NONE),  # a page without anything in it: it reads /logs
    "GET /api/health": Rule(NONE, unclaimed=True),
    "GET /api/me": Rule(NONE, unclaimed=True),
    "GET /api/openapi.json": Rule(OBSERVER),
    # in and out
    "POST /api/claim": Rule(NONE, unclaimed=True),
    "POST /api/claim/code": Rule(ADMIN, owner=True),
    "POST /api/claim/lan": Rule(ADMIN, owner=True),
    "POST /api/login": Rule(NONE),
    "POST /api/logout": Rule(OBSERVER),
    "POST /api/passwd": Rule(OBSERVER),
    "GET /api/users": Rule(ADMIN),
    "POST /api/users": Rule(ADMIN),
    "PATCH /api/users/{name}": Rule(ADMIN),
    "DELETE /api/users/{name}": Rule(ADMIN),
    "GET /api/sessions": Rule(OBSERVER),
    "DELETE /api/sessions/{session}": Rule(OBSERVER),
    "GET /api/tokens": Rule(ADMIN),
    "POST /api/tokens": Rule(ADMIN),
    "DELETE /api/tokens/{number}": Rule(ADMIN),
    # control
    "GET /api/control": Rule(OBSERVER),
    f"POST {_CONTROL}/acquire": Rule(MASTER),
    f"POST {_CONTROL}/renew": Rule(MASTER),
    f"POST {_CONTROL}/release": Rule(MASTER),
    f"POST {_CONTROL}/request": Rule(MASTER),
    "POST /api/force-master/{session}": Rule(ADMIN),
    # station and cameras
    "GET /api/status": Rule(OBSERVER),
    "GET /logs": Rule(OBSERVER, stream=True),
    "GET /api/discover": Rule(ADMIN),
    # the same addresses as those of the status server
    "GET /health": Rule(NONE, unclaimed=True),
    "GET /status": Rule(OBSERVER),
    "GET /metrics": Rule(OBSERVER),
    "GET /latest/photo": Rule(OBSERVER),
    "GET /latest/video": Rule(OBSERVER),
    "GET /config": Rule(ADMIN),
    "GET /api/retention": Rule(OBSERVER),
    "POST /api/retention": Rule(ADMIN),
    "GET /api/sensors": Rule(OBSERVER),
    "GET /api/history": Rule(OBSERVER),
    "GET /api/notify": Rule(ADMIN),
    "POST /api/notify/test": Rule(ADMIN),
    "GET /api/cameras": Rule(OBSERVER),
    f"GET {_CAM}": Rule(OBSERVER),
    "POST /api/connect": Rule(MASTER, lease=True),
    f"POST {_CAM}/connect": Rule(MASTER, lease=True),
    f"POST {_CAM}/disconnect": Rule(MASTER, lease=True),
    f"GET {_CAM}/series/{{number}}": Rule(OBSERVER),
    f"POST {_CAM}/start": Rule(MASTER, lease=True),
    f"POST {_CAM}/stop": Rule(MASTER, lease=True),
    f"POST {_CAM}/resume": Rule(MASTER, lease=True),
    f"POST {_CAM}/snap": Rule(MASTER, lease=True),
    f"PATCH {_CAM}/settings": Rule(MASTER, lease=True),
    f"GET {_CAM}/focus": Rule(MASTER, lease=True, stream=True),
    f"GET {_CAM}/live.jpg": Rule(OBSERVER, stream=True),
    f"GET {_CAM}/live.mjpg": Rule(OBSERVER, stream=True),
    f"GET {_CAM}/latest.jpg": Rule(OBSERVER, public=True),
    # clips: a machine that reports a fault waits for nobody's lease
    "POST /trigger": Rule(MASTER),
    f"POST {_CAM}/trigger": Rule(MASTER),
    "GET /api/clips": Rule(OBSERVER),
    "GET /api/clips/{number}": Rule(OBSERVER),
    "GET /api/clips/{number}/video": Rule(OBSERVER),
    "POST /api/clips/{number}/h264": Rule(OBSERVER),  # or they could not see it; each is made once, and one at a time
    "DELETE /api/clips/{number}": Rule(ADMIN),
    # images
    "GET /api/captures": Rule(OBSERVER),
    f"GET {_CAPTURE}": Rule(OBSERVER),
    f"GET {_CAPTURE}/image": Rule(OBSERVER),
    f"GET {_CAPTURE}/raw": Rule(OBSERVER),
    f"GET {_CAPTURE}/thumb": Rule(OBSERVER),
    f"GET {_CAPTURE}/streaks/{{streak}}": Rule(OBSERVER),
    f"GET {_CAPTURE}/preview": Rule(MASTER),  # work for the darkroom, which observers may not give it
    f"GET {_CAM}/darks": Rule(OBSERVER),
    f"POST {_CAM}/darks": Rule(MASTER, lease=True),
    # the schedule and its nights
    "GET /api/schedule": Rule(OBSERVER),
    "GET /api/nights": Rule(OBSERVER),
    "GET /api/nights/{camera}/{date}": Rule(OBSERVER),
    # what grew of a night's images
    f"GET {_NIGHT}/products": Rule(OBSERVER),
    f"GET {_NIGHT}/keogram": Rule(OBSERVER),
    f"GET {_NIGHT}/startrails": Rule(OBSERVER),
    f"GET {_NIGHT}/timelapse": Rule(OBSERVER),
    f"POST {_NIGHT}/render": Rule(MASTER),
    # sockets, and what clients may say on them
    "WS /ws/live/{cam}": Rule(OBSERVER, stream=True),
    "WS /ws/events": Rule(OBSERVER, stream=True),
    "WS /ws/captures/": Rule(OBSERVER, stream=True),
    "MSG /ws/events renew": Rule(MASTER),
    "MSG /ws/events release": Rule(MASTER),
}
