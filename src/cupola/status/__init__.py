"""What the station tells of itself to others that watch it: the status file, the status server, the metrics.

The server fills the two files (`document`, `counting`, `writer`). `files`, `metrics`, `answers` and `server` are standard library only and
import nothing else of ours: they run in the status server, which lives while everything else is dead.
"""

HOST, PORT = "127.0.0.1", 8080  # of the status server, if nobody says otherwise
