"""What stations and groups of receivers may be called. Apart from `format`, so that the command line need not load that to tell of its options."""

from __future__ import annotations

import re

GROUP = "archive"  # the consumer group of receivers, if nobody names another
STATION = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,62}[A-Za-z0-9_-])?", re.ASCII)
