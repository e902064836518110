"""Child processes: how they are started and ended, and how messages pass to and from them."""
