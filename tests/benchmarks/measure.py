"""Starts brokers and workers: one measurement each."""

import json
import os
import resource
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter_ns
from typing import Any

from tests.benchmarks.clients import CACHE, HERE, Client, Environments
from tests.benchmarks.scenarios import IDLE, Scenario
from tests.support.certificates import Certificates, make_certificates
from tests.support.mosquitto import Mosquitto

WINDOW = 100
"""Messages that every client may have unacknowledged, or on their way."""
SECONDS = 0.2
"""How long a measurement should take, as far as the limits of the scenario allow it."""
TIMEOUT = 30
IMPORTS = 3
"""How many times a module is imported for one figure."""

Result = dict[str, Any]


@dataclass
class Bench:
    """What all measurements share: where they run."""

    environments: Environments
    mqttlite: Path
    seconds: float = SECONDS

    @cached_property
    def cpus(self) -> tuple[int | None, int | None]:
        """One CPU for the client and one for the broker, if there are two."""
        available = sorted(os.sched_getaffinity(0))
        return (available[0], available[1]) if len(available) > 1 else (None, None)

    @cached_property
    def ideal_broker(self) -> Path:
        """The compiled broker."""
        program = CACHE / "ideal_broker"
        CACHE.mkdir(exist_ok=True)
        compiler = os.environ.get("CC", "cc")
        subprocess.run(
            [compiler, "-O2", "-Wall", "-o", program, HERE / "ideal_broker.c"], check=True
        )
        return program

    @cached_property
    def certificates(self) -> Certificates:
        """What TLS needs."""
        return make_certificates(CACHE / "certificates")

    @contextmanager
    def broker(self, scenario: Scenario) -> Iterator[dict[str, Any]]:
        """Run the broker of a scenario, and yield how it is reached."""
        cpu = self.cpus[1]
        if scenario.broker == "ideal":
            _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
            resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
            command = [str(self.ideal_broker), *([] if cpu is None else [str(cpu)])]
            with subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE
            ) as process:
                assert process.stdout is not None
                try:
                    port, control = map(int, process.stdout.readline().split())
                    yield {"port": port, "control": control, "ca_file": None}
                finally:
                    process.terminate()
            return
        certificates = self.certificates
        with TemporaryDirectory() as name:
            mosquitto = Mosquitto(
                Path(name),
                tls=certificates,
                # A line of log for each packet would be measured as well; it says when it runs.
                extra=[
                    "log_type none",
                    "log_type information",
                    "set_tcp_nodelay true",
                    f"max_inflight_messages {WINDOW}",
                    "max_queued_messages 0",
                ],
            )
            with mosquitto:
                if cpu is not None:
                    assert mosquitto._process is not None
                    os.sched_setaffinity(mosquitto._process.pid, {cpu})
                with_tls = scenario.broker == "mosquitto-tls"
                yield {
                    "port": mosquitto.tls_port if with_tls else mosquitto.port,
                    "control": 0,
                    "ca_file": str(certificates.ca_file) if with_tls else None,
                }

    def measure(self, client: Client, scenario: Scenario) -> Result:
        """Measure a client once."""
        if scenario.function == "import":
            return self.measure_import(client)
        if scenario.function != "idle":
            return self.measure_in_worker(client, scenario, scenario.least, scenario.most)
        few = self.measure_in_worker(client, scenario, IDLE, IDLE)
        many = self.measure_in_worker(client, scenario, scenario.least, scenario.most)
        if "memory" in few and "memory" in many:
            many["memory"] = (many["memory"] - few["memory"]) / (scenario.most - IDLE)
        return many

    def measure_in_worker(
        self, client: Client, scenario: Scenario, least: int, most: int
    ) -> Result:
        """Run a worker and its broker."""
        with self.broker(scenario) as broker:
            task = {
                "adapter": client.name,
                "function": scenario.function,
                "control": broker["control"],
                "cpu": self.cpus[0],
                "warm_up": scenario.warm_up,
                "least": least,
                "most": most,
                "seconds": self.seconds,
                "timeout": TIMEOUT,
                "run": {
                    "host": "localhost" if broker["ca_file"] else "127.0.0.1",
                    "port": broker["port"],
                    "ca_file": broker["ca_file"],
                    "qos": scenario.qos,
                    "size": scenario.size,
                    "window": WINDOW,
                    "subscriptions": scenario.subscriptions,
                },
            }
            command = [
                str(self.environments.interpreter(client)),
                f"{HERE}/worker.py",
                json.dumps(task),
            ]
            try:
                done = subprocess.run(
                    command,
                    env=self.environment(client),
                    cwd=CACHE,
                    capture_output=True,
                    text=True,
                    timeout=TIMEOUT + 10,
                    check=False,
                )
            except subprocess.TimeoutExpired:
                return {"problem": "time-out"}
        lines = done.stdout.splitlines()
        if done.returncode or not lines:
            return {"problem": f"crashed ({done.returncode})", "errors": done.stderr[-2000:]}
        result: Result = json.loads(lines[-1])
        if "problem" in result:
            result["errors"] = done.stderr[-2000:]
        return result

    def measure_import(self, client: Client) -> Result:
        """Time what ``import`` adds to an interpreter that does nothing."""
        python = str(self.environments.interpreter(client))
        code = f"import {client.module}"
        self.time_python(client, python, code)  # the compiled modules are there from now on
        walls, cpus = [], []
        for _ in range(IMPORTS):
            nothing = self.time_python(client, python, "pass")
            something = self.time_python(client, python, code)
            walls.append(something[0] - nothing[0])
            cpus.append(something[1] - nothing[1])
        return {"count": 1, "wall": sorted(walls)[IMPORTS // 2], "cpu": sorted(cpus)[IMPORTS // 2]}

    def time_python(self, client: Client, python: str, code: str) -> tuple[int, int]:
        """Return the wall and CPU time of a process, in ns."""
        started = perf_counter_ns()
        pid = os.posix_spawn(python, [python, "-c", code], self.environment(client))
        _, status, usage = os.wait4(pid, 0)
        wall = perf_counter_ns() - started
        if status:
            raise RuntimeError(f"{python} -c '{code}' failed")
        return wall, round((usage.ru_utime + usage.ru_stime) * 1e9)

    def environment(self, client: Client) -> dict[str, str]:
        """Return the environment variables of a worker."""
        environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": ""}
        environment.pop("PYTHONPATH", None)
        if client.peer == "mqttlite":
            environment["PYTHONPATH"] = str(self.mqttlite)
        return environment
