"""The seconds before something happened: a ring of packets a camera, and clips cut out of it."""
