"""`python -m bench.compare before.json after.json`: two runs side by side, ratio by ratio.

Only ratios to the floor are compared, and only those of the same machine mean something; times alone say more of the hour
than of the suite.
"""

import argparse
import json
from pathlib import Path
from typing import Any


def lines(before: dict[str, Any], after: dict[str, Any]) -> list[str]:
    """A line for each measure of either run; `-` where one has none."""
    found = [f"{'measure':<30}{'clients':>8}{'before':>10}{'after':>10}{'change':>10}"]
    old, new = _ratios(before), _ratios(after)
    for key in dict.fromkeys([*old, *new]):
        name, clients = key
        was, now = old.get(key), new.get(key)
        told = [f"{value:.2f} ×" if value is not None else "-" for value in (was, now)]
        change = f"{(now / was - 1) * 100:+.0f} %" if was and now else "-"
        found.append(f"{name:<30}{clients:>8}{told[0]:>10}{told[1]:>10}{change:>10}")
    return found


def _ratios(run: dict[str, Any]) -> dict[tuple[str, int], float]:
    several: dict[tuple[str, int], list[float]] = {}
    for figure in run.get("figures", ()):
        several.setdefault((figure["name"], figure["clients"]), []).append(figure["ratio"])
    return {key: sum(values) / len(values) for key, values in several.items()}


def main() -> None:
    """Reads two files of `python -m bench --json` and prints them side by side."""
    parser = argparse.ArgumentParser(prog="python -m bench.compare", description=__doc__)
    parser.add_argument("before", type=Path)
    parser.add_argument("after", type=Path)
    said = parser.parse_args()
    print("\n".join(lines(json.loads(said.before.read_text()), json.loads(said.after.read_text()))))


if __name__ == "__main__":
    main()
