"""Lets hatch generate the code before it builds, for wheels and editable installs alike."""

import importlib.util
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class GenerateHook(BuildHookInterface[Any]):
    """Runs generate.py, which does nothing when the contracts have not changed."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Called before each build; raises what protoc has to say about a faulty contract."""
        script = Path(self.root) / "generate.py"
        spec = importlib.util.spec_from_file_location("kehu_proto_generate", script)
        assert spec is not None and spec.loader is not None
        generate = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(generate)
        generate.generate(Path(self.root))
