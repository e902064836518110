"""What the server asks of other machines: the one connection to an MQTT broker, and requests to URLs that the owner named."""
