"""What a wheel holds and what an installed copy can do, tried outside of the checkout."""

import json
import os
import re
import socket
import subprocess
import sys
import time
import tomllib
import urllib.error
import urllib.request
import zipfile
from pathlib import Path

import pytest

from projlens_core.runtime.versions import PROJLENS

ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def requirements(name: str) -> list[str]:
    lines = (line.split("#")[0].strip() for line in (ROOT / name).read_text().splitlines())
    return [line for line in lines if line and not line.startswith("-")]


def test_a_wheel_asks_for_what_was_tested():
    assert PROJECT["dependencies"] == requirements("requirements.txt")
    assert PROJECT["optional-dependencies"]["dev"] == requirements("requirements-dev.txt")


def test_the_wheels_version_is_the_one_that_reports_name(wheel):
    assert wheel.name.startswith(f"projlens-{PROJLENS}-")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """The wheel as `pip wheel .` builds it, without what it depends on."""
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "pip", "wheel", "--no-deps", "-q", "--no-build-isolation", "-w", folder, ROOT]
    subprocess.run(command, check=True, timeout=300)
    return next(folder.glob("projlens-*.whl"))


def test_the_wheel_holds_code_assets_theme_and_licence(wheel):
    names = set(zipfile.ZipFile(wheel).namelist())
    assert {"projlens_core/assets/zoo/zoo.json", "dashboard/app.py", "dashboard/.streamlit/config.toml"} <= names
    assert any(name.endswith("licenses/LICENSE") for name in names)
    assert not any(re.search(r"(^|/)(tests|benchmarks|docs)/", name) for name in names)
    tracked = subprocess.run(
        ["git", "ls-files", "projlens_core", "dashboard", "assets"], cwd=ROOT, capture_output=True, text=True
    )
    if tracked.returncode == 0:
        wanted = {re.sub("^assets/", "projlens_core/assets/", name) for name in tracked.stdout.split()}
        assert {name for name in wanted - names if (ROOT / name).exists()} == set()


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory):
    """An empty environment with the wheel in it, beside the packages that these tests run on; its projlens command."""
    home = tmp_path_factory.mktemp("installed")
    subprocess.run([sys.executable, "-m", "venv", home / "venv"], check=True, timeout=120)
    python = home / "venv" / "bin" / "python"
    subprocess.run([python, "-m", "pip", "install", "-q", "--no-deps", wheel], check=True, timeout=120)
    here = next(path for path in sys.path if path.endswith("site-packages"))
    site = next((home / "venv" / "lib").glob("python*/site-packages"))
    (site / "shared.pth").write_text(here + "\n")
    return home / "venv" / "bin" / "projlens"


def run(command, *arguments, cwd):
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    return subprocess.run([command, *arguments], cwd=cwd, env=environment, capture_output=True, text=True, timeout=120)


def test_an_installed_copy_lists_its_zoo_and_compares_two_of_it(installed, tmp_path):
    listed = run(installed, "zoo", "list", cwd=tmp_path)
    assert listed.returncode == 0, listed.stderr
    assert "targeted-refusal" in listed.stdout
    models = ["--base", "zoo:base", "--suspect", "zoo:targeted-refusal"]
    compared = run(installed, "weights", *models, "--json", cwd=tmp_path)
    assert compared.returncode == 0, compared.stderr
    assert json.loads(compared.stdout)["tensors"]


def test_an_installed_copy_says_its_version(installed, tmp_path):
    assert run(installed, "--version", cwd=tmp_path).stdout.startswith("ProjLens 0.")


def test_an_installed_dashboard_answers_its_health_check(installed, tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    server = subprocess.Popen(
        [installed, "dashboard", "--headless", "--port", str(port)],
        cwd=tmp_path,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        assert healthy(f"http://localhost:{port}/_stcore/health", server)
    finally:
        os.killpg(server.pid, 15)
        server.wait(20)


def healthy(url: str, server: subprocess.Popen) -> bool:
    """Whether the server answers before it ends, and within a minute."""
    for _ in range(600):
        try:
            return urllib.request.urlopen(url, timeout=5).read() == b"ok"
        except (urllib.error.URLError, ConnectionError):
            if server.poll() is not None:
                return False
            time.sleep(0.1)
    return False
