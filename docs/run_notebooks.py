"""Execute the notebooks and keep what they show: SAFETY_EVAL_RUN=RUN python docs/run_notebooks.py [NAME ...]."""

from __future__ import annotations

import base64
import io
import sys
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from PIL import Image

NOTEBOOKS = Path(__file__).parents[1] / "notebooks"
COLOURS = 64


def smaller(picture: str) -> str:
    """A chart in few colours: a third of the bytes, the same to the eye."""
    small = io.BytesIO()
    with Image.open(io.BytesIO(base64.b64decode(picture))) as shown:
        shown.convert("RGB").quantize(COLOURS).save(small, "PNG", optimize=True)
    return base64.b64encode(small.getvalue()).decode()


def keep(path: Path) -> None:
    """Execute a notebook in its place; progress and machine are left out of what is kept."""
    notebook = nbformat.read(path, as_version=4)
    NotebookClient(notebook, timeout=None, resources={"metadata": {"path": str(path.parent)}}).execute()
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)
        if cell.cell_type == "code":
            cell.outputs = [o for o in cell.outputs if not _of_the_moment(o)]
            for output in cell.outputs:
                if "image/png" in output.get("data", {}):
                    output["data"]["image/png"] = smaller(output["data"]["image/png"])
    notebook.metadata["language_info"] = {"name": "python"}
    nbformat.write(notebook, path)


def _of_the_moment(output: nbformat.NotebookNode) -> bool:
    """Whether it says how the run went, or where it lay: bars, warnings of the kernel, what was being loaded."""
    stream = output.get("name") == "stderr" or str(output.get("text", "")).startswith("loading ")
    return stream or "widget" in str(output.get("data"))


if __name__ == "__main__":
    for chosen in sys.argv[1:] or sorted(p.stem for p in NOTEBOOKS.glob("*.ipynb")):
        keep(NOTEBOOKS / f"{chosen}.ipynb")
