"""Compare mqttlite with other clients: ``python -m tests.benchmarks``.

It needs a C compiler, Mosquitto for some scenarios, and the network the first time, when it
installs each client into a virtual environment of its own. ``python -m tests.benchmarks report``
writes the tables and the plot of the documentation from the results of the last run.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
from datetime import UTC, datetime
from fnmatch import fnmatch
from pathlib import Path
from re import search
from statistics import median
from time import monotonic
from typing import Any

from tests.benchmarks import report
from tests.benchmarks.clients import CACHE, ROOT, Client, Environments, find_clients
from tests.benchmarks.measure import SECONDS, Bench, Result
from tests.benchmarks.scenarios import SCENARIOS, Scenario

RESULTS = CACHE / "results.json"
MOST_PROBLEMS = 2
"""After so many failures a client is not measured again in a scenario."""


def chosen(names: list[str], patterns: list[str], what: str) -> list[str]:
    """Return the names that match one of the patterns."""
    for pattern in patterns:
        if not any(fnmatch(name, pattern) for name in names):
            sys.exit(f"no {what} is called {pattern}; there are {', '.join(names)}")
    return [name for name in names if any(fnmatch(name, pattern) for pattern in patterns)]


def summarize(results: list[Result]) -> Result:
    """Take the medians, or what went wrong, if it did more often than not."""
    good = [result for result in results if "count" in result]
    bad = [result for result in results if "count" not in result]
    if len(bad) >= MOST_PROBLEMS or not good:
        return next((b for b in bad if "cannot" in b), bad[0])
    summary: Result = {
        key: median(result[key] for result in good)
        for key in ("count", "cpu", "wall", "memory")
        if key in good[0]
    }
    times = [result["cpu"] for result in good]
    summary["spread"] = (max(times) - min(times)) / max(median(times), 1)
    summary["rounds"] = len(good)
    if good[0].get("latencies"):
        summary["latencies"] = [
            median(v) for v in zip(*(g["latencies"] for g in good), strict=True)
        ]
    broker = good[0].get("broker")
    if broker:
        summary["version"] = broker["version"]
        summary["broker_cpu"] = median(g["broker"]["cpu"] / g["count"] for g in good)
        summary["broker_busy"] = median(g["broker"]["cpu"] / (g["count"] * g["wall"]) for g in good)
    if bad:
        summary["problems"] = [b.get("problem", "") for b in bad]
    return summary


def figure(scenario: Scenario, result: Result) -> str:
    """Return a result in a few words."""
    if "cannot" in result:
        return f"cannot: {result['cannot']}"
    if "problem" in result:
        return f"{result['problem']}"
    cpu = f"{result['cpu'] / 1e3:.2f} us CPU"
    if scenario.unit == "latency":
        return " ".join(f"{v / 1e3:.0f}" for v in result["latencies"]) + f" us, {cpu}"
    if scenario.unit == "a second":
        return f"{1e9 / result['wall']:,.0f} a second, {cpu}"
    if scenario.unit == "KiB":
        return f"{result['memory'] / 1024:.1f} KiB"
    if scenario.unit == "ms":
        return f"{result['wall'] / 1e6:.1f} ms, {result['cpu'] / 1e6:.1f} ms CPU"
    busy = f", broker {result['broker_busy']:.0%}" if "broker_busy" in result else ""
    return f"{cpu}, {1e9 / result['wall']:,.0f} messages/s{busy}"


def run_scenario(
    bench: Bench, scenario: Scenario, clients: list[Client], rounds: int
) -> dict[str, list[Result]]:
    """Measure all clients in turn, again and again."""
    results: dict[str, list[Result]] = {client.name: [] for client in clients}
    for number in range(rounds):
        first = number % len(clients)  # nobody always comes after the same one
        for client in clients[first:] + clients[:first]:
            so_far = results[client.name]
            bad = [result for result in so_far if "count" not in result]
            hopeless = any("cannot" in b or "time-out" in b["problem"] for b in bad)
            if hopeless or len(bad) >= MOST_PROBLEMS:
                continue
            so_far.append(bench.measure(client, scenario))
    return results


def machine() -> dict[str, Any]:
    """Describe where it is measured."""
    model = platform.processor()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        lines = cpuinfo.read_text().splitlines()
        model = next((x.partition(": ")[2] for x in lines if x.startswith("model name")), model)
    return {
        "cpu": model,
        "cpus": len(os.sched_getaffinity(0)),
        "system": f"{platform.system()} {platform.release().partition('-')[0]}",
    }


def describe_checkout(path: Path) -> dict[str, str]:
    """Say which mqttlite it is."""
    found = search(r'__version__ = "(.*)"', (path / "mqttlite" / "__init__.py").read_text())
    git = ["git", "-C", str(path), "describe", "--always", "--dirty"]
    commit = subprocess.run(git, capture_output=True, text=True, check=False).stdout.strip()
    return {"mqttlite": f"{found[1] if found else ''} ({commit or 'no commit'})"}


def main() -> None:
    """Measure, print, and write down."""
    clients = find_clients()
    parser = argparse.ArgumentParser("python -m tests.benchmarks", description=__doc__)
    parser.add_argument("--peers", nargs="+", default=["*"], help="names of adapters, or patterns")
    parser.add_argument("--scenarios", nargs="+", default=["*"], help="names or patterns")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--quick", action="store_true", help="one short round")
    parser.add_argument("--python", default=sys.executable, help="the interpreter to measure with")
    parser.add_argument("--mqttlite", type=Path, default=ROOT, help="measure this checkout")
    parser.add_argument("--output", type=Path, default=RESULTS)
    parser.add_argument("--list", action="store_true", help="print what there is")
    parser.add_argument("command", nargs="?", choices=["run", "report"], default="run")
    arguments = parser.parse_args()
    if arguments.command == "report":
        report.write(arguments.output)
        return
    names = [scenario.name for scenario in SCENARIOS]
    if arguments.list:
        print("peers:", *(client.name for client in clients))
        print("scenarios:", *names)
        return
    wanted = chosen([client.name for client in clients], arguments.peers, "peer")
    clients = [client for client in clients if client.name in wanted]
    names = chosen(names, arguments.scenarios, "scenario")
    scenarios = [scenario for scenario in SCENARIOS if scenario.name in names]
    rounds = 1 if arguments.quick else arguments.rounds
    bench = Bench(
        Environments(arguments.python),
        arguments.mqttlite.resolve(),
        0.1 if arguments.quick else SECONDS,
    )
    usable: list[Client] = []
    missing: dict[str, str] = {}
    for client in clients:
        try:
            bench.environments.interpreter(client)
            usable.append(client)
        except Exception as error:
            print(f"{client.name} cannot be installed: {error}", flush=True)
            missing[client.name] = "could not be installed"
    if bench.cpus[0] is None:
        print("There is one CPU only: client and broker compete for it.")
    everything: dict[str, Any] = {
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
        "python": bench.environments.version,
        "machine": machine(),
        "rounds": rounds,
        "clients": {
            client.name: {"label": client.label, "floor": client.is_floor} for client in clients
        },
        "installed": {
            client.peer: (describe_checkout(bench.mqttlite) if client.peer == "mqttlite" else {})
            | bench.environments.installed(client)
            for client in usable
        },
        "missing": missing,
        "results": {},
    }
    for scenario in scenarios:
        started = monotonic()
        print(f"\n{scenario.name}: {scenario.group}, {scenario.title}", flush=True)
        measured = run_scenario(bench, scenario, usable, rounds)
        summaries = {name: summarize(results) for name, results in measured.items()}
        for client in usable:
            print(f"  {client.label:40} {figure(scenario, summaries[client.name])}", flush=True)
        everything["results"][scenario.name] = summaries
        print(f"  ({monotonic() - started:.0f} s)", flush=True)
        arguments.output.write_text(json.dumps(everything, indent=1) + "\n")
    print("\nHow busy the ideal broker was:\n", *report.proof(everything), sep="\n")
