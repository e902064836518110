"""Series of stills: who wants them, how far they are, and how they get into the catalogue."""
