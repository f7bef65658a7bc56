"""The test-suite of mqttlite."""
