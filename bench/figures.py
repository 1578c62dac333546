# ruff: noqa: T201 - a command that prints
"""Figures: what a soak saved, as the part of ``docs/reliability.md`` between its two markers.

python bench/figures.py FILE.json [DOCUMENT]          replaces that part
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from comparison import table

from trainers.results import insert_table

DOCUMENT = Path(__file__).parent.parent / "docs/reliability.md"
#: Kinds of callers, as the document names what they ask.
ASKED = {
    "http_v1": "HTTP, JSON, `/v1`",
    "http_v2_binary": "HTTP, binary tensors, `/v2`",
    "http_api": "HTTP, JSON, `/api`",
    "grpc_api": "gRPC, `bookserve.v1`",
    "grpc_v2": "gRPC, `inference`",
    "http_stream": "texts over HTTP",
    "grpc_stream": "texts over gRPC",
    "readyz": "`/readyz`",
}
SIZES = {
    "mib": "spared worker, MiB resident",
    "files": "its open files",
    "threads": "its threads",
    "all_mib": "all processes, MiB resident",
}


def figures(told: dict[str, Any]) -> str:
    """How the soak was run, the table of answers, the mischief, the table of sizes."""
    options = f" `{' '.join(told['options'])}`," if told["options"] else ""
    mischief, versions = told["mischief"], told["versions"]
    left = sum(count for name, count in mischief.items() if name.startswith("left "))
    refused = sum(mischief.values()) - left - mischief["slow"]
    answers = [
        {
            "asked": asked,
            "answered rightly": f"{told['answered'].get(kind, 0):,}",
            "sent again after a kill": told["sent again after a kill"].get(kind, 0),
            "refused after SIGTERM": told["refused while stopping"].get(kind, 0),
        }
        for kind, asked in ASKED.items()
    ]
    sizes = [
        {" ": name, **dict(zip(("second quarter", "middle", "last quarter"), told["sizes"][key], strict=True))}
        for key, name in SIZES.items()
    ]
    return f"""{told["date"]}, {told["seconds"]:g} seconds, {told["workers"]} workers,{options} on {told["machine"]}; \
load average {told["load average"]} before, {told["load average after"]} after.

{table(answers)}

Lost: {len(told["lost"])}. Wrong: {len(told["wrong"])}. Other faults: {len(told["faults"])}. In all \
{sum(told["answered"].values()):,} answers. {told["kills"]} workers were killed and replaced.
{versions["whole"]} whole versions and {versions["broken"]} broken ones were published; {versions["answered"]} of the \
whole ones answered, no broken one did.
{mischief["slow"]:,} slow requests were answered, {left:,} clients left, {refused:,} requests that were none were \
refused with the right code.
The server ended {told["seconds to end"]:.2f} s after SIGTERM.

{table(sizes)}"""


def main() -> None:
    """Write the figures of a saved soak into the document; one that was not clean is refused."""
    saved, document = Path(sys.argv[1]), Path(sys.argv[2]) if len(sys.argv) > 2 else DOCUMENT
    told = json.loads(saved.read_text("utf-8"))
    if faults := [*told["lost"], *told["wrong"], *told["faults"]]:
        sys.exit(f"{len(faults)} faults in {saved}, the first: {faults[0]}. Record a run without faults.")
    document.write_text(insert_table(document.read_text("utf-8"), figures(told)), "utf-8")
    print(document)


if __name__ == "__main__":
    if len(sys.argv) not in (2, 3):
        sys.exit(__doc__)
    main()
