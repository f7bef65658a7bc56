"""Writes the tables and the plot of the documentation: ``python -m tests.benchmarks report``."""

import json
from html import escape
from math import floor, log10
from pathlib import Path
from typing import Any

from tests.benchmarks.clients import ROOT
from tests.benchmarks.measure import SECONDS, WINDOW
from tests.benchmarks.scenarios import SCENARIOS, Scenario

PAGE = ROOT / "docs" / "reference" / "benchmarks.md"
PLOT = PAGE.with_suffix(".svg")

Results = dict[str, Any]

NOTHING = "-"

METHOD = """\
# Benchmarks

How much CPU time mqttlite and other MQTT clients for Python need, and how fast they are. Everything
on this page but its text was written by `python -m tests.benchmarks report`.

![CPU time per message of 64 bytes, for all clients](benchmarks.svg)

## How it is measured

* Each client does the same work, in the way its documentation recommends for many messages. What
  that is stands in [tests/benchmarks/adapters](../../tests/benchmarks/adapters/). Where there are
  several ways, each has its row.
* The other end is an [ideal broker](../../tests/benchmarks/ideal_broker.c) in C, which counts and
  acknowledges and does nothing else, in a process and on a CPU of its own. [How busy it
  is](#the-broker-is-not-the-limit) was measured as well. "Through Mosquitto" means the real broker.
* Each client runs in a virtual environment of its own; each measurement is a process of its own,
  pinned to another CPU than the broker. A small run warms it up. Then as many messages as take
  about {seconds} s, within limits, are measured. The garbage collector is left as it is.
* All clients are measured in turn, {rounds} times. Figures are medians.
* CPU time is that of the client's process with all its threads, in user and kernel mode. It tells
  more than the messages per second, in which waiting for the other process is included.
* At most {window} messages are unacknowledged, or on their way, at any time.
* Of few round trips, as slow clients make, the 99.9 % are the longest one.
* Every message is counted at the other end. A client that loses messages gets the share which it
  lost instead of a time; one that does not end, `time-out`; one that cannot do it, a dash.
* With TLS, clients that take an `ssl.SSLContext` get one for all connections of the process;
  mqttlite keeps its own.
* The rows called "raw" are floors, not clients: system calls with bytes that were computed before,
  nothing is validated, kept or handed to a program.

Do not expect these figures in your program. Messages come in long bursts here, at which a client
that does several of them at once saves most; with one message at a time (see the round trips) all
clients do the same system calls, and differ less. On another machine, all of it is different.

## Repeat it

```sh
python3 -m tests.benchmarks  # some clients or scenarios, quickly: see --help
python3 -m tests.benchmarks report
```

It needs a C compiler, Mosquitto, and the network to install the other clients. A client is added
with a module in `tests/benchmarks/adapters/`, a scenario with a line in
`tests/benchmarks/scenarios.py`.
"""


def number(value: float) -> str:
    """Return two or three significant digits."""
    if value >= 99.5:
        return f"{value:,.0f}"
    return f"{value:.{max(0, 1 - floor(log10(max(value, 0.01))))}f}"


def rate(per_second: float) -> str:
    """Return so many a second, in thousands if they are many."""
    if per_second >= 1e6:
        return f"{number(per_second / 1e6)} M/s"
    return f"{number(per_second / 1e3)} k/s" if per_second >= 1e3 else f"{number(per_second)} /s"


def value_of(scenario: Scenario, result: Results) -> float | None:
    """Return what the clients are compared by; less is better."""
    if "count" not in result:
        return None
    if scenario.unit == "latency":
        return float(result["latencies"][0])
    key = {"KiB": "memory", "us a message": "cpu"}.get(scenario.unit, "wall")
    return float(result[key])


def cell(scenario: Scenario, result: Results) -> str:
    """Return what stands in the table."""
    if "cannot" in result:
        return NOTHING
    if "problem" in result:
        return str(result["problem"]).partition(":")[0]
    cpu, per_second = number(result["cpu"] / 1e3), rate(1e9 / result["wall"])
    if scenario.unit == "latency":
        return " / ".join(number(value / 1e3) for value in result["latencies"])
    if scenario.unit == "a second":
        return f"{cpu} ({per_second})"
    if scenario.unit == "KiB":
        return number(max(0, result["memory"]) / 1024)
    if scenario.unit == "ms":
        return f"{number(result['cpu'] / 1e6)} ({number(result['wall'] / 1e6)})"
    return f"{cpu} ({per_second})"


UNITS = {
    "us a message": "µs of CPU time per message (messages per second)",
    "latency": "µs until the message is back: median / 99 % / 99.9 %",
    "a second": "µs of CPU time per connection (connections per second)",
    "KiB": "KiB of memory for each of 1,000 connections in one process",
    "ms": "ms of CPU time (ms until it is done), beyond those of an empty program",
}


def remarks(client: Results, scenario: Scenario, result: Results) -> list[str]:
    """Return what has to be said below the table."""
    notes = []
    reason = result.get("cannot", "")
    if reason and "the same as" not in reason and not client["floor"]:
        notes.append(f"* {client['label']} cannot do it: {reason}.")
    notes += [
        f"* {client['label']}, {scenario.title}: {problem}, in one of the rounds."
        for problem in result.get("problems", [])
    ]
    return notes


def table(scenarios: list[Scenario], results: Results) -> list[str]:
    """Return the table of a group; the best client is printed bold."""
    lines = [f"\n### {scenarios[0].group}\n", f"{UNITS[scenarios[0].unit]}\n"]
    lines.append("| | " + " | ".join(scenario.title for scenario in scenarios) + " |")
    lines.append("|---|" + "---:|" * len(scenarios))
    best = {}
    for scenario in scenarios:
        values = {
            name: value
            for name, result in results["results"][scenario.name].items()
            if (value := value_of(scenario, result)) is not None
            and not results["clients"][name]["floor"]
        }
        best[scenario.name] = min(values, key=values.__getitem__, default="")
    notes: list[str] = []
    for name, client in results["clients"].items():
        cells = []
        for scenario in scenarios:
            result = results["results"][scenario.name].get(name, {"cannot": ""})
            text = cell(scenario, result)
            cells.append(f"**{text}**" if best[scenario.name] == name else text)
            notes += [note for note in remarks(client, scenario, result) if note not in notes]
        if any(text != NOTHING for text in cells):
            label = f"*{client['label']}*" if client["floor"] else client["label"]
            lines.append(f"| {label} | " + " | ".join(cells) + " |")
    return [*lines, *([""] if notes else []), *notes]


def proof(results: Results) -> list[str]:
    """Return a table of how busy the broker was: beside the floors, and with clients."""
    lines = [
        "| | broker's CPU time | so it could do | busy with the floors | busy with clients |",
        "|---|---:|---:|---:|---:|",
    ]
    for scenario in SCENARIOS:
        measured = {
            name: result
            for name, result in results["results"].get(scenario.name, {}).items()
            if "broker_busy" in result and scenario.unit == "us a message"
        }
        clients, floors = (
            {n: r for n, r in measured.items() if results["clients"][n]["floor"] is is_floor}
            for is_floor in (False, True)
        )
        if not clients:
            continue
        least = min(result["broker_cpu"] for result in measured.values())
        busiest = max(clients, key=lambda name: clients[name]["broker_busy"])
        beside = max((result["broker_busy"] for result in floors.values()), default=None)
        lines.append(
            f"| {scenario.group}, {scenario.title} | {number(least / 1e3)} µs "
            f"| {rate(1e9 / max(least, 1))} | {NOTHING if beside is None else f'{beside:.0%}'} "
            f"| up to {clients[busiest]['broker_busy']:.0%} "
            f"({results['clients'][busiest]['label']}) |"
        )
    return lines


def page(results: Results) -> str:
    """Return the page."""
    machine = results["machine"]
    lines = [METHOD.format(seconds=SECONDS, rounds=results["rounds"], window=WINDOW)]
    lines.append("## What was measured\n")
    lines.append(
        f"On {results['date']}, with Python {results['python']}, on {machine['cpus']} CPUs "
        f"({machine['cpu']}), {machine['system']}.\n"
    )
    spreads = sorted(
        result["spread"]
        for measured in results["results"].values()
        for result in measured.values()
        if "spread" in result
    )
    if results["rounds"] > 1:
        middle, most = spreads[len(spreads) // 2], spreads[len(spreads) * 9 // 10]
        lines.append(
            f"Between its rounds the CPU time of a measurement differs by {middle:.0%} in the\n"
            f"middle, and by less than {most:.0%} for nine out of ten measurements.\n"
        )
    lines.append("| | MQTT | with |\n|---|---|---|")
    versions = {
        name: result["version"]
        for measured in results["results"].values()
        for name, result in measured.items()
        if result.get("version")
    }
    for name, client in results["clients"].items():
        version = {4: "3.1.1", 5: "5.0"}.get(versions.get(name, 0), "")
        packages = results["installed"].get(name.partition("_")[0], {})
        installed = ", ".join(f"{package} {number}" for package, number in packages.items())
        lines.append(
            f"| {client['label']} | {version} | {results['missing'].get(name, installed)} |"
        )
    lines.append("\n## Results")
    groups: dict[str, list[Scenario]] = {}
    for scenario in SCENARIOS:
        if scenario.name in results["results"]:
            groups.setdefault(scenario.group, []).append(scenario)
    for scenarios in groups.values():
        lines += table(scenarios, results)
    lines.append("\n## The broker is not the limit\n")
    lines.append(
        "The CPU time of the ideal broker per message, the least that was seen, and its share of\n"
        "the time that the measurement took: for the rest of it the broker waited for the client.\n"
        "At 1 MiB it is the kernel that copies; a client that comes near to 100 % there may be\n"
        "faster than the messages per second say, which does not change its CPU time.\n"
    )
    lines += proof(results)
    return "\n".join(lines) + "\n"


# --- the plot

PLOTTED = [f"{function}-{qos}-64B" for qos in (0, 1, 2) for function in ("publish", "receive")]
PANEL, LABELS, BAR, GAP, TOP = 460, 250, 16, 24, 70
COLOURS = {"floor": "#b0b0b0", "mqttlite": "#1f77b4"}
OTHER = "#d98032"
STYLE = """<style>
text {font: 11px sans-serif; fill: #222}
line {stroke: #ddd}
.heading {font-size: 16px}
.title {font-size: 13px; font-weight: bold}
.name {text-anchor: end}
.tick {text-anchor: middle; fill: #666}
</style>"""


def panel(scenario: Scenario, results: Results, x: float, y: float) -> list[str]:
    """Return the bars of one scenario, the best first; each line is ten times the one before."""
    measured = results["results"][scenario.name]
    values = {n: v / 1e3 for n, r in measured.items() if (v := value_of(scenario, r)) is not None}
    least, most = 0.01, 100.0
    scale = (PANEL - LABELS - 50) / log10(most / least)
    names = sorted(values, key=values.__getitem__)
    lines = [
        f'<text x="{x}" y="{y}" class="title">{escape(scenario.group)}, {scenario.title}</text>'
    ]
    for power in range(-2, 3):
        at = x + LABELS + log10(10**power / least) * scale
        bottom = y + 14 + len(results["clients"]) * BAR
        lines.append(f'<line x1="{at:.0f}" x2="{at:.0f}" y1="{y + 10}" y2="{bottom}"/>')
        lines.append(f'<text x="{at:.0f}" y="{bottom + 12}" class="tick">{10.0**power:g}</text>')
    for row, name in enumerate(names):
        top = y + 12 + row * BAR
        width = max(1.0, log10(max(values[name], least) / least) * scale)
        colour = COLOURS.get(name.partition("_")[0], OTHER)
        label = escape(results["clients"][name]["label"])
        lines.append(f'<text x="{x + LABELS - 6}" y="{top + 11}" class="name">{label}</text>')
        lines.append(
            f'<rect x="{x + LABELS}" y="{top + 2}" width="{width:.1f}" height="{BAR - 4}" '
            f'fill="{colour}"/>'
        )
        lines.append(
            f'<text x="{x + LABELS + width + 4:.1f}" y="{top + 11}">{number(values[name])}</text>'
        )
    return lines


def plot(results: Results) -> str:
    """Return the plot as SVG."""
    scenarios = [s for name in PLOTTED for s in SCENARIOS if s.name == name in results["results"]]
    height = 50 + len(results["clients"]) * BAR + GAP
    rows = (len(scenarios) + 1) // 2
    size = (2 * PANEL + GAP * 3, TOP + rows * height)
    title = "CPU time of the client per message, µs, logarithmic; less is better"
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{size[0]}" height="{size[1]}">',
        STYLE,
        f'<rect width="{size[0]}" height="{size[1]}" fill="white"/>',
        f'<text x="{GAP}" y="28" class="heading">{title} ({results["date"]})</text>',
    ]
    for index, scenario in enumerate(scenarios):
        x = GAP + index % 2 * (PANEL + GAP)
        lines += panel(scenario, results, x, TOP + index // 2 * height)
    return "\n".join([*lines, "</svg>"]) + "\n"


def write(path: Path) -> None:
    """Write both."""
    results = json.loads(path.read_text(encoding="utf-8"))
    PAGE.write_text(page(results), encoding="utf-8")
    PLOT.write_text(plot(results), encoding="utf-8")
    print(f"{PAGE.relative_to(ROOT)} and {PLOT.relative_to(ROOT)} are written")
