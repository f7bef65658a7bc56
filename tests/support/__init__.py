"""Brokers, certificates and a misbehaving network for the tests; independent of mqttlite."""
