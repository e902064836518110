"""The drivers: one module each, touched by one thread of one camera process. Which exist is told by `config.drivers`."""
