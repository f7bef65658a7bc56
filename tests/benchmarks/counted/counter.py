"""Counts the bytecode instructions and the calls of C functions that a program executes."""

import collections
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import BuiltinFunctionType, CodeType, FrameType, MethodDescriptorType
from typing import Any

_HARNESS = str(Path(__file__).resolve().parents[1])
"""What stands here is not counted: it plays the program, the network and the server."""

_C_FUNCTIONS = (BuiltinFunctionType, MethodDescriptorType)


@dataclass
class Counter:
    """What all threads have executed since ``install()``, but for the harness."""

    instructions: int = 0
    calls: int = 0
    """Calls of C functions from bytecode; those of types are not among them."""
    functions: collections.Counter[str] | None = None
    """The instructions of each function, if somebody wants to know; from Python 3.12 on."""

    def install(self) -> None:
        """Begin to count, in this thread and those that are started from now on."""
        if sys.version_info >= (3, 12):
            self._install_monitoring()
        else:
            self._install_tracing()

    def uninstall(self) -> None:
        """Count no more, in this thread."""
        if sys.version_info >= (3, 12):
            monitoring = _monitoring()
            monitoring.set_events(monitoring.PROFILER_ID, 0)
            monitoring.free_tool_id(monitoring.PROFILER_ID)
        else:
            sys.settrace(None)
            sys.setprofile(None)
            threading.settrace(None)
            threading.setprofile(None)

    def _install_monitoring(self) -> None:
        """Python 3.12 and later.

        There ``sys.settrace()`` stands upon ``sys.monitoring``, and sees fewer instructions
        while the code is still being prepared for it.
        """
        monitoring = _monitoring()
        disable = monitoring.DISABLE
        is_counted = _counted()

        def on_instruction(code: CodeType, _offset: int) -> Any:
            if not is_counted(code):
                return disable
            self.instructions += 1
            if self.functions is not None:
                self.functions[f"{code.co_qualname} ({Path(code.co_filename).name})"] += 1
            return None

        def on_call(code: CodeType, _offset: int, function: object, _argument: object) -> Any:
            if not is_counted(code):
                return disable
            if isinstance(function, _C_FUNCTIONS):
                self.calls += 1
            return None

        tool, events = monitoring.PROFILER_ID, monitoring.events
        monitoring.use_tool_id(tool, "mqttlite work")
        monitoring.register_callback(tool, events.INSTRUCTION, on_instruction)
        monitoring.register_callback(tool, events.CALL, on_call)
        monitoring.set_events(tool, events.INSTRUCTION | events.CALL)

    def _install_tracing(self) -> None:
        is_counted = _counted()

        def trace_opcodes(_frame: FrameType, event: str, _argument: object) -> Any:
            if event == "opcode":
                self.instructions += 1
            return trace_opcodes

        def trace(frame: FrameType, _event: str, _argument: object) -> Any:
            if not is_counted(frame.f_code):
                return None
            frame.f_trace_opcodes = True
            frame.f_trace_lines = False
            return trace_opcodes

        def profile(frame: FrameType, event: str, _argument: object) -> None:
            if event == "c_call" and is_counted(frame.f_code):
                self.calls += 1

        threading.settrace(trace)
        threading.setprofile(profile)
        sys.setprofile(profile)
        sys.settrace(trace)


def _monitoring() -> Any:
    """Return ``sys.monitoring``, which Python 3.11 does not have."""
    return vars(sys)["monitoring"]


def _counted() -> Callable[[CodeType], bool]:
    """Return a function that tells, and remembers, whether code is no part of the harness."""
    known: dict[str, bool] = {}

    def is_counted(code: CodeType) -> bool:
        name = code.co_filename
        answer = known.get(name)
        if answer is None:
            answer = known[name] = not name.startswith(_HARNESS)
        return answer

    return is_counted
