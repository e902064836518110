"""HTTP and WebSocket: the only door into a running Cupola."""
