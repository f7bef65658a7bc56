"""A server that says what a script says, byte by byte."""

import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Self

from mqttlite.packets.wire import *  # noqa: F403
