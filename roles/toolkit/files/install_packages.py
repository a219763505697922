# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""install_packages.py VENV REQUIREMENTS [ARGUMENTS OF PIP]: a virtual environment with exactly these packages.

One at a time on a host: two controllers would install into each other's half. The mark in the environment is taken
away before anything changes and comes back when all of it succeeded, so one without it was cut off, and is made anew.
Prints ``changed`` or ``unchanged``.
"""

import fcntl
import os
import shlex
import subprocess
import sys

MARK = ".baileys-resilience-installed"


def read(path):
    try:
        with open(path, "rb") as stream:
            return stream.read()
    except FileNotFoundError:
        return None


def install(venv, requirements, arguments):
    mark, wanted = os.path.join(venv, MARK), read(requirements)
    installed = read(mark)
    if installed == wanted:
        return "unchanged"
    if installed is not None:
        os.remove(mark)
    anew = [] if installed is not None else ["--clear"]
    subprocess.run([sys.executable, "-m", "venv", *anew, venv], check=True)
    pip = [os.path.join(venv, "bin", "python"), "-m", "pip", "install", "--disable-pip-version-check"]
    subprocess.run([*pip, *arguments, "--requirement", requirements], check=True)
    with open(mark + ".new", "wb") as stream:
        stream.write(wanted)
        stream.flush()
        os.fsync(stream.fileno())
    os.chmod(mark + ".new", 0o644)
    os.replace(mark + ".new", mark)
    return "changed"


def main():
    venv, requirements, *arguments = sys.argv[1:]
    lock = os.open(os.path.dirname(requirements), os.O_RDONLY)
    fcntl.flock(lock, fcntl.LOCK_EX)
    try:
        print(install(venv, requirements, [word for line in arguments for word in shlex.split(line)]))
    except subprocess.CalledProcessError as exc:
        return exc.returncode or 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
