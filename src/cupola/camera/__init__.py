"""One camera: its process (`process` and what it is made of) and the server's handle on it (`supervisor`)."""
