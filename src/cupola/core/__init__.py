"""Plain types shared by every process: frames, packets, events, the hub, errors. No I/O here."""
