"""What watches the station, and what tells its owner."""
