"""What an operator says to a service on its command line."""

import json

from kehu_local.processes import run
from kehu_local.suite import SignIn, Suite


def said(suite: Suite, domain: str, *arguments: str) -> str:
    """What the service's command prints; of a service under a rig, the command is under it, too.

    Raises CalledProcessError when it fails.
    """
    return run(suite.services[domain].process, *arguments)


def founded(suite: Suite, tenant: str) -> SignIn:
    """Founds a tenant of that name; how its first administrator signs in."""
    asked = ["first-admin", "--tenant", tenant, "--email", f"boss@{tenant}.example", "--keep-password"]
    made: dict[str, str] = json.loads(said(suite, "identity", *asked))
    return SignIn(made["tenant"], made["email"], made["password"])
