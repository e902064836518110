"""Who may do what: people, sessions, tokens, the lease of a camera, and the gate that asks before every request and message."""
