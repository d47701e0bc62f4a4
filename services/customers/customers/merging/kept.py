"""What rows were before a merge, kept as the chassis keeps it."""

from chassis.kept import Before, Kept, put_back

__all__ = ["Before", "Kept", "put_back"]
