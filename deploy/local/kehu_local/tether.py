"""Started as a script in front of a server: ties its life to its parent's, lets go of root, and becomes the server.

Arguments: the signal to receive when the parent dies, a user's name or `-`, a umask in octal, and the command. It runs in
isolated mode and imports nothing of ours, so that it costs a few milliseconds. Doing this here rather than between fork and
exec keeps the parent, which may have threads, out of danger.
"""

import ctypes
import os
import sys
import warnings

_PR_SET_PDEATHSIG = 1
_NEEDED = warnings
"""execvp asks for this module, when the account may no longer reach the standard library."""


def tethered(death_signal: int, user: str | None = None, umask: int = 0o022) -> list[str]:
    """What stands before a command so that it gets that signal when the thread that makes it ends."""
    return [sys.executable, "-I", "-S", __file__, str(int(death_signal)), user or "-", f"{umask:o}"]


def tie(death_signal: int, parent: int) -> None:
    """This process gets that signal when its parent dies, and ends when it has died already."""
    if sys.platform == "linux":  # elsewhere a killed supervisor leaves servers to the next start
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, death_signal)
        if os.getppid() != parent:
            sys.exit("the parent has died meanwhile")


def main() -> None:
    """Never returns: the process becomes the command, or ends."""
    death_signal, user, mask, *command = sys.argv[1:]
    parent = os.getppid()
    if user != "-":
        import pwd

        account = pwd.getpwnam(user)
        os.setgroups([])
        os.setgid(account.pw_gid)
        os.setuid(account.pw_uid)
    tie(int(death_signal), parent)  # after the change of user, which would undo it
    os.umask(int(mask, 8))
    os.execvp(command[0], command)


if __name__ == "__main__":
    main()
