"""What the package index shows: hatchling asks for it when it builds the package."""

import runpy
from pathlib import Path
from typing import Any

from hatchling.metadata.plugin.interface import MetadataHookInterface


class Readme(MetadataHookInterface):
    """Gives the README as it stands alone, since the package has no address yet."""

    def update(self, metadata: dict[str, Any]) -> None:
        root = Path(self.root)
        alone = runpy.run_path(str(root / "tools" / "readme.py"))["alone"]
        text = alone((root / "README.md").read_text("utf-8"))
        metadata["readme"] = {"content-type": "text/markdown", "text": text}
