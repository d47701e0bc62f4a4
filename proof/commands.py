"""What an operator says to a service on its command line."""

import subprocess

from kehu_local.suite import Suite


def said(suite: Suite, domain: str, *arguments: str) -> str:
    """What the service's command prints; of a service under a rig, the command is under it, too.

    Raises CalledProcessError when it fails.
    """
    process = suite.services[domain].process
    done = subprocess.run(
        [*process.command, *arguments],
        env=dict(process.environment), capture_output=True, text=True, check=True, timeout=120,
    )  # fmt: skip
    return done.stdout
