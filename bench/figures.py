# ruff: noqa: T201 - a command that prints
"""Write the figures of a saved soak into ``docs/reliability.md``, between its two markers.

python bench/figures.py FILE.json [DOCUMENT]
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from comparison import table

from trainers.results import insert_table

DOCUMENT = Path(__file__).parent.parent / "docs/reliability.md"
#: Kinds of clients, as the document names their requests.
REQUESTS = {
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


def figures(run: dict[str, Any]) -> str:
    """How the soak was run, the table of answers, what was done to the server, and the table of sizes."""
    options = f" `{' '.join(run['options'])}`," if run["options"] else ""
    chaos, versions = run["chaos"], run["versions"]
    left = sum(count for name, count in chaos.items() if name.startswith("left "))
    refused = sum(chaos.values()) - left - chaos["slow"]
    answers = [
        {
            "requests": requests,
            "answered correctly": f"{run['answered'].get(kind, 0):,}",
            "sent again after a kill": run["sent again after a kill"].get(kind, 0),
            "refused after SIGTERM": run["refused while stopping"].get(kind, 0),
        }
        for kind, requests in REQUESTS.items()
    ]
    sizes = [
        {" ": name, **dict(zip(("second quarter", "middle", "last quarter"), run["sizes"][key], strict=True))}
        for key, name in SIZES.items()
    ]
    return f"""{run["date"]}, {run["seconds"]:g} seconds, {run["workers"]} workers,{options} on {run["machine"]}; \
load average {run["load average"]} before, {run["load average after"]} after.

{table(answers)}

Lost: {len(run["lost"])}. Wrong: {len(run["wrong"])}. Other faults: {len(run["faults"])}. In all \
{sum(run["answered"].values()):,} answers. {run["kills"]} workers were killed and replaced.
{versions["whole"]} whole versions and {versions["broken"]} broken ones were published; {versions["answered"]} of the \
whole ones answered, no broken one did.
{chaos["slow"]:,} slow requests were answered, {left:,} clients disconnected, {refused:,} malformed requests were \
refused with the right code.
The server ended {run["seconds to end"]:.2f} s after SIGTERM.

{table(sizes)}"""


def main() -> None:
    """Write the figures of a saved soak into the document; a run with faults is refused."""
    saved, document = Path(sys.argv[1]), Path(sys.argv[2]) if len(sys.argv) > 2 else DOCUMENT
    run = json.loads(saved.read_text("utf-8"))
    if faults := [*run["lost"], *run["wrong"], *run["faults"]]:
        sys.exit(f"{len(faults)} faults in {saved}, the first: {faults[0]}. Record a run without faults.")
    document.write_text(insert_table(document.read_text("utf-8"), figures(run)), "utf-8")
    print(document)


if __name__ == "__main__":
    if len(sys.argv) not in (2, 3):
        sys.exit(__doc__)
    main()
