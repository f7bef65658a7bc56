"""Numbers that the MQTT specification fixes, and the defaults that mqttlite chooses."""

from typing import Final

MAXIMUM_STRING_LENGTH: Final = 65_535
"""Bytes of a UTF-8 string or of binary data on the wire (MQTT 5.0 section 1.5.4)."""

MAXIMUM_VARIABLE_BYTE_INTEGER: Final = 268_435_455
"""The largest Remaining Length, property length and Subscription Identifier (section 1.5.5)."""

MAXIMUM_PACKET_SIZE: Final = MAXIMUM_VARIABLE_BYTE_INTEGER + 5
"""Bytes of the largest packet that can be written at all: the body and its fixed header."""

MAXIMUM_PACKET_ID: Final = 65_535

MAXIMUM_TWO_BYTE_INTEGER: Final = 65_535

MAXIMUM_FOUR_BYTE_INTEGER: Final = 4_294_967_295

NEVER_EXPIRES: Final = MAXIMUM_FOUR_BYTE_INTEGER
"""A Session Expiry Interval of this value means that the session does not expire."""

MAXIMUM_3_1_CLIENT_ID_LENGTH: Final = 23
"""Characters of a client identifier in MQTT 3.1 (its section 3.1)."""
