"""Camera drivers, one module each, built as `Driver(options, station)` and speaking `core.frame.Camera`."""
