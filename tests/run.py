"""Set up and run everything that is checked: ``python3 tests/run.py``.

Makes a virtual environment in .venv-tests, installs the package and its test tools there, and
Mosquitto with apt where it is missing and that is allowed; two more brokers in .brokers, aedes with
npm and amqtt with pip, where that works. Then formatting, lint, types, and the
test suite with branch coverage. Arguments are passed on to pytest, with which only pytest runs.

It needs nothing but Python 3.11 or later, on Debian with the package python3-venv.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv-tests"
PYTHON = VENV / "bin" / "python"
BROKERS = ROOT / ".brokers"
AEDES = "aedes@2.0.0-beta.1"
"""The first version that speaks MQTT 5.0."""
AMQTT = "amqtt==0.12.1"
PATIENCE = 120
"""Seconds for each command that installs a broker, which the network may hold up."""
CERTIFICATES = Path("/etc/ssl/certs/ca-certificates.crt")

COVERED = [
    "mqttlite/*.py",
    "mqttlite/packets/*.py",
    "mqttlite/protocol/*.py",
    "mqttlite/client/*.py",
    "mqttlite/layers/*.py",
]
"""What is below the shells: there every branch has to be covered."""

OVER_SOCKETS = ["tests/shells"]
OTHERS = [
    *("tests/unit", "tests/protocol", "tests/property", "tests/fuzz", "tests/conformance"),
    *("tests/support", "tests/interop", "tests/test_behaviour_rules.py"),
    "tests/test_documentation.py",
]
"""The two halves of the suite, which run side by side; coverage is measured in this one."""


def run(*command: str | Path) -> None:
    """Run a command; end with its exit code if it fails."""
    print("$", *command, flush=True)
    code = subprocess.run([str(part) for part in command], cwd=ROOT, check=False).returncode
    if code:
        sys.exit(code)


def set_up_python() -> None:
    """Make the virtual environment, for the Python that runs this, and install into it."""
    wanted = f"{sys.version_info.major}.{sys.version_info.minor}"
    configuration = VENV / "pyvenv.cfg"
    if configuration.exists() and f"version = {wanted}." not in configuration.read_text():
        shutil.rmtree(VENV)
    if not PYTHON.exists():
        run(sys.executable, "-m", "venv", VENV)
    # Dependency groups need pip 25.1.
    run(PYTHON, "-m", "pip", "install", "--quiet", "--upgrade", "pip>=25.1")
    run(PYTHON, "-m", "pip", "install", "--quiet", "--group", "dev", "--editable", ".")


def set_up_mosquitto() -> None:
    """Install Mosquitto, the real broker of the tests, or say what is skipped without it."""
    if shutil.which("mosquitto", path=os.defpath + ":/usr/sbin:" + os.environ.get("PATH", "")):
        return
    if shutil.which("apt-get") and os.geteuid() == 0:
        subprocess.run(["apt-get", "update", "-qq"], check=False)
        command = ["apt-get", "install", "-y", "-qq", "--no-install-recommends", "mosquitto"]
        if subprocess.run(command, check=False).returncode == 0:
            return
    print(
        "Mosquitto is not installed and could not be: the tests against it are SKIPPED. "
        "Install it with 'apt-get install mosquitto' to run them.",
        flush=True,
    )


def install_broker(name: str, wanted: str, *commands: list[str | Path]) -> None:
    """Install a broker into its directory if it is not there yet, or say what is skipped."""
    directory = BROKERS / name
    done = directory / "installed.txt"
    if done.exists() and done.read_text() == wanted:
        return
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(parents=True)
    environment = dict(os.environ)
    if CERTIFICATES.exists():  # Node.js brings its own, and does not know those of a proxy
        environment.setdefault("NODE_EXTRA_CA_CERTS", str(CERTIFICATES))
    for command in commands:
        print("$", *command, flush=True)
        try:
            subprocess.run(command, cwd=directory, env=environment, timeout=PATIENCE, check=True)
        except (OSError, subprocess.SubprocessError) as error:
            print(f"{wanted} could not be installed ({type(error).__name__}): ", end="")
            print("the tests against it are SKIPPED.", flush=True)
            return
    done.write_text(wanted)


def set_up_aedes() -> None:
    """Install aedes, a broker of Node.js, with npm."""
    npm = shutil.which("npm")
    if npm is None or shutil.which("node") is None:
        print("There is no Node.js with npm: the tests against aedes are SKIPPED.", flush=True)
        return
    # With --prefix npm does not look for a project in the directories above.
    options = ["--prefix", ".", "--no-audit", "--no-fund", "--engine-strict"]
    install_broker("aedes", AEDES, [npm, "install", *options, AEDES])


def set_up_amqtt() -> None:
    """Install amqtt, a broker of Python, into a virtual environment that is its alone."""
    directory = BROKERS / "amqtt"
    pip = directory / "bin" / "pip"
    python = f"{sys.version_info.major}.{sys.version_info.minor}"
    install_broker(
        "amqtt",
        f"{AMQTT} for Python {python}",
        [sys.executable, "-m", "venv", directory],
        [pip, "install", "--quiet", "--disable-pip-version-check", AMQTT],
    )


def run_suite() -> None:
    """Run both halves of the suite; show what each has to say, one after the other."""
    pytest = ["-m", "pytest", "-q", "-ra", "-p", "no:cacheprovider", "--durations=15"]
    command = [str(PYTHON), "-X", "dev", *pytest, *OVER_SOCKETS]
    with tempfile.TemporaryFile() as output:
        beside = subprocess.Popen(command, cwd=ROOT, stdout=output, stderr=subprocess.STDOUT)
        try:
            run(PYTHON, "-X", "dev", "-m", "coverage", "run", *pytest, *OTHERS)
        finally:
            code = beside.wait()
            output.seek(0)
            print("$", *command)
            print(output.read().decode(errors="replace"), flush=True)
    if code:
        sys.exit(code)


def main() -> None:
    """Do all of it."""
    set_up_python()
    set_up_mosquitto()
    set_up_aedes()
    set_up_amqtt()
    if len(sys.argv) > 1:
        run(PYTHON, "-X", "dev", "-m", "pytest", *sys.argv[1:])
        return
    run(PYTHON, "-m", "ruff", "format", "--check", ".")
    run(PYTHON, "-m", "ruff", "check", ".")
    run(PYTHON, "-m", "mypy")
    run(PYTHON, "-m", "pyright", "--warnings", "--pythonpath", PYTHON)
    run_suite()
    run(PYTHON, "-m", "coverage", "report", f"--include={','.join(COVERED)}", "--fail-under=100")


if __name__ == "__main__":
    main()
