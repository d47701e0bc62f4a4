"""What an operator says to a service on its command line."""

from kehu_local.processes import run
from kehu_local.suite import Suite


def said(suite: Suite, domain: str, *arguments: str) -> str:
    """What the service's command prints; of a service under a rig, the command is under it, too.

    Raises CalledProcessError when it fails.
    """
    return run(suite.services[domain].process, *arguments)
