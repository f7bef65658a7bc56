"""One measurement of one client, in a process and a virtual environment of its own.

Its only argument is a JSON object (see ``Task`` in ``measure.py``); its last line of output is
another: the result, or the ``problem`` which there was instead. Standard library only.
"""

import asyncio
import gc
import json
import os
import resource
import signal
import socket
import sys
import traceback
from importlib import import_module
from inspect import iscoroutinefunction
from pathlib import Path
from time import monotonic, process_time
from types import FrameType, ModuleType
from typing import Any, NoReturn

# Clients bring packages that are called "tests", too; and PYTHONPATH may name another mqttlite than
# the one of this repository. So its root is there for this import only, which suffices.
sys.path[0] = str(Path(__file__).resolve().parents[2])

from tests.benchmarks.adapters.run import Run  # noqa: E402 - the path is needed for it

del sys.path[0]

MODES = {"receive": "receive", "dispatch": "receive", "round_trips": "echo", "bursts": "echo"}
"""What the ideal broker does in a scenario; in the others it only counts ("publish")."""

STALLED = 5
"""Seconds without CPU time, after which a client waits for something that will not come."""
IDLE_CPU = 0.005


class Worker:
    """Runs the two parts of a measurement: a small one that warms up, and the one that counts."""

    run: Run

    def __init__(self, task: dict[str, Any]) -> None:
        self.task = task
        self.function = task["function"]
        self.started = monotonic()
        self.cpu: list[float] = []  # in the last seconds

    def make_run(self, count: int) -> Run:
        """Tell the ideal broker, and a new ``Run``, what will be measured."""
        task = self.task
        run = Run(**task["run"], count=count)
        if task["control"]:
            topics = run.subscriptions if self.function == "dispatch" else 0
            mode = MODES.get(self.function, "publish")
            run.control = socket.create_connection(("127.0.0.1", task["control"]))
            words = ("s", mode, count, run.qos, run.size, run.window, topics, run.topic)
            run.control.sendall(" ".join(map(str, words)).encode() + b"\n")
            assert run.control.recv(1) == b"s"
        return run

    def work(self, count: int) -> None:
        """Let the adapter do so many messages."""
        gc.collect()
        self.run = self.make_run(count)
        module = adapter(self.task["adapter"])
        function = getattr(module, self.function, None)
        if function is None:
            reasons = getattr(module, "CANNOT", {})
            reason = reasons if isinstance(reasons, str) else reasons.get(self.function, "")
            raise NotImplementedError(reason)
        if iscoroutinefunction(function):
            asyncio.run(function(self.run))
        else:
            function(self.run)

    def measure(self) -> dict[str, Any]:
        """Warm up, choose how many messages to measure with, and measure."""
        least, most, warm_up = (self.task[key] for key in ("least", "most", "warm_up"))
        count = most
        if warm_up:
            self.work(warm_up)
            problem = self.problem()
            if problem:
                return {"problem": problem}
            if least < most:
                count = round(self.task["seconds"] * warm_up / (self.run.wall / 1e9))
                count = max(least, min(count, most))
        self.work(count)
        return self.result()

    def result(self) -> dict[str, Any]:
        """Return what has been measured."""
        run = self.run
        problem = self.problem()
        if problem:
            return {"problem": problem}
        messages = run.count * (run.burst if self.function == "bursts" else 1)
        latencies = sorted(run.latencies)
        return {
            "count": messages,
            "cpu": run.cpu / messages,
            "wall": run.wall / messages,
            "latencies": [latencies[int(len(latencies) * q)] for q in (0.5, 0.99, 0.999)]
            if latencies
            else [],
            "memory": run.memory,
            "broker": self.report(),
        }

    def problem(self) -> str:
        """Compare what was to be done with what both ends have counted."""
        run = self.run
        report = self.report()
        done = wanted = run.count
        if self.function in {"publish", "drain"} and report:
            done = report["flows"]
            if done == wanted and report["bytes"] != run.count * run.size:
                return "payloads damaged"
        elif self.function in {"receive", "dispatch", "echo"}:
            done = run.received
            if run.qos and report and report["acks"] < run.count - run.window:
                return "messages not acknowledged"
        elif self.function in {"connects", "idle"}:
            done = report["connects"] if report else wanted
        elif self.function in {"round_trips", "bursts"}:
            wanted *= run.burst if self.function == "bursts" else 1
            done = len(run.latencies)
        if done > wanted:
            return f"{done - wanted} of {wanted} messages twice"
        if done < wanted:
            return f"lost {100 * (1 - done / wanted):.3g} %"
        return "" if run.stopped else "did not end"

    def report(self) -> dict[str, Any]:
        """Ask the ideal broker what it has counted."""
        control = self.run.control
        if control is None:
            return {}
        control.settimeout(5)
        control.sendall(b"r")
        data = b""
        while not data.endswith(b"\n"):
            data += control.recv(4096)
        report: dict[str, Any] = json.loads(data[data.index(b"{") :])
        return report

    def tick(self, _signal: int, _frame: FrameType | None) -> None:
        """Each second: end this process if it takes too long, or does not do anything any more."""
        self.cpu.append(process_time())
        stalled = self.cpu[-1] - self.cpu[-STALLED:][0] < IDLE_CPU and len(self.cpu) >= STALLED
        if stalled or monotonic() - self.started > self.task["timeout"]:
            problem = self.problem()
            if not stalled:
                problem = f"time-out ({problem})"
            finish({"problem": problem})


def adapter(name: str) -> ModuleType:
    """Import an adapter."""
    return import_module(f"tests.benchmarks.adapters.{name}")


def finish(result: dict[str, Any]) -> NoReturn:
    """Print the result and end at once, whatever threads there are and whatever they do."""
    print("\n" + json.dumps(result), flush=True)
    os._exit(0)


def main() -> None:
    """Measure."""
    task = json.loads(sys.argv[1])
    if task["cpu"] is not None:
        os.sched_setaffinity(0, {task["cpu"]})
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    worker = Worker(task)
    try:
        signal.signal(signal.SIGALRM, worker.tick)
        signal.setitimer(signal.ITIMER_REAL, 1, 1)
        finish(worker.measure())
    except NotImplementedError as error:
        finish({"cannot": str(error)})
    except TimeoutError:
        finish({"problem": worker.problem()})
    except BaseException as error:
        traceback.print_exc()
        finish({"problem": f"{type(error).__name__}: {error}"})


if __name__ == "__main__":
    main()
