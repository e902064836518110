"""Cupola as a service of systemd: `unit` writes the unit, `manage` installs and removes it. What the running server tells systemd is `cupola.watchdog`'s."""
