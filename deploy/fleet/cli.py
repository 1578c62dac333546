"""The command ``bookserve fleet``: servers on many machines, with Ray as control plane."""

from __future__ import annotations

from pathlib import Path

import click
import msgspec

from bookserve.cli.terminal import json_option, next_command, print_json, print_table
from fleet.spec import Fleet, read_fleet, write_file

fleet_option = click.option(
    "--fleet",
    "path",
    type=click.Path(dir_okay=False, path_type=Path),
    default=Path("fleet.json"),
    show_default=True,
    help="File that says what the fleet is.",
)
ready_option = click.option(
    "--ready-timeout", type=float, default=120.0, show_default=True, help="Seconds in which a server must be ready."
)


@click.group()
def fleet() -> None:
    """Serve from many machines, with Ray as control plane.

    Ray starts and watches the servers; requests go to the servers themselves. Start Ray first: `ray start --head
    --node-ip-address=ADDRESS --num-cpus=0` on one machine, and `ray start --address=ADDRESS:6379` on the others.
    """


@fleet.command()
@click.option("--models", required=True, help="Directory or bucket of the bundles, as every machine reaches it.")
@click.option("--nodes", default="", help="Names or addresses of the machines, with commas; all if none are named.")
@click.option("--servers", type=click.IntRange(1), default=1, show_default=True, help="Servers of the whole fleet.")
@click.option("--min", "minimum", type=click.IntRange(1), help="Fewest servers that autoscaling may leave.")
@click.option("--max", "maximum", type=click.IntRange(1), help="Most servers that autoscaling may start.")
@click.option("--port", default=8501, show_default=True, help="HTTP port of the first server of each machine.")
@click.option("--state", default=Fleet(models="").state, show_default=True, help="Directory on each machine.")
@click.option("--ray", default="auto", show_default=True, help="Address of Ray's head, HOST:PORT.")
@click.option("--allow-public", is_flag=True, help="Run although Ray's ports are open on public addresses.")
@click.option("--option", "options", multiple=True, help="Option of `bookserve serve`, as --option=--poll=5; repeat.")
@fleet_option
@ready_option
def up(
    models: str,
    nodes: str,
    servers: int,
    minimum: int | None,
    maximum: int | None,
    port: int,
    state: str,
    ray: str,
    allow_public: bool,
    options: tuple[str, ...],
    path: Path,
    ready_timeout: float,
) -> None:
    """Start a fleet, or adopt one that runs."""
    from fleet import cluster, control

    known = read_fleet(path) if path.exists() else None
    wanted = Fleet(
        models=models,
        # The same models are the same release: servers that run are adopted.
        release=known.release + (known.models != models) if known else 1,
        nodes=tuple(filter(None, nodes.split(","))),
        servers=servers,
        minimum=minimum or servers,
        maximum=maximum or max(servers, minimum or 1),
        port=port,
        state=state,
        options=options,
        ray=ray,
        allow_public=allow_public,
    )
    cluster.connect(wanted)
    control.up(wanted, cluster.members(wanted), ready_timeout)
    write_file(path, wanted)
    _print(control.read_status(cluster.members(wanted)), as_json=False)
    _say_next(path, "balance --config haproxy.cfg", "scale 3", "down")


@fleet.command()
@fleet_option
@json_option
def status(path: Path, as_json: bool) -> None:
    """List the servers of a fleet."""
    from fleet import cluster, control

    found = read_fleet(path)
    cluster.connect(found)
    _print(control.read_status(cluster.members(found)), as_json)
    if not as_json:
        _say_next(path, "watch", "roll MODELS")


@fleet.command()
@click.argument("servers", type=click.IntRange(1))
@fleet_option
def scale(servers: int, path: Path) -> None:
    """Change the number of servers of the whole fleet. Those that are too many finish what they accepted."""
    from fleet import cluster, control

    old = read_fleet(path)
    new = msgspec.structs.replace(
        old, servers=servers, minimum=min(old.minimum, servers), maximum=max(old.maximum, servers)
    )
    cluster.connect(new)
    control.scale(new, cluster.members(new))
    write_file(path, new)
    _say_next(path, "status")


@fleet.command()
@click.argument("models")
@click.option("--canary", type=float, default=10.0, show_default=True, help="Seconds to watch the first new server.")
@fleet_option
@ready_option
def roll(models: str, canary: float, path: Path, ready_timeout: float) -> None:
    """Replace the servers one by one by servers of MODELS, a directory or bucket; go back if one fails."""
    from fleet import cluster, control

    old = read_fleet(path)
    cluster.connect(old)
    new = control.roll(old, cluster.members(old), models, ready_timeout, canary, click.echo)
    write_file(path, new)
    _say_next(path, "status")


@fleet.command()
@fleet_option
@click.option("--timeout", type=float, default=90.0, show_default=True, help="Seconds in which all must have ended.")
def down(path: Path, timeout: float) -> None:
    """Stop a fleet: every server finishes what it accepted."""
    from fleet import cluster, control

    found = read_fleet(path)
    cluster.connect(found)
    members = cluster.members(found)
    control.down(members, timeout)
    cluster.stop_agents(members)
    _say_next(path, "up --models MODELS")


@fleet.command()
@fleet_option
@json_option
@click.option("--period", type=float, default=1.0, show_default=True, help="Seconds between two reports.")
@click.option("--autoscale", type=float, default=0.0, help="Seconds between two decisions about the number of servers.")
def watch(path: Path, as_json: bool, period: float, autoscale: float) -> None:
    """Report the servers again and again, restore agents, and follow the load if asked to."""
    from fleet.watch import watch as reports

    for report in reports(path, period, autoscale):
        if as_json:
            click.echo(msgspec.json.encode(report).decode())
        else:
            ready = sum(server.state == "ready" for server in report.servers)
            click.echo(f"{ready} of {len(report.servers)} servers are ready on {len(report.hosts)} machines")


@fleet.command()
@fleet_option
@click.option("--config", type=click.Path(path_type=Path), required=True, help="haproxy.cfg, which is written.")
@click.option("--socket", default="/run/haproxy/fleet.sock", show_default=True, help="HAProxy's runtime socket.")
@click.option("--http", default=":8080", show_default=True, help="Where HAProxy listens for HTTP.")
@click.option("--grpc", default=":8090", show_default=True, help="Where HAProxy listens for gRPC.")
@click.option("--slots", type=click.IntRange(1, 4096), default=64, show_default=True, help="Most servers.")
@click.option("--hot", type=click.IntRange(0), default=10, show_default=True, help="Models that every server holds.")
@click.option("--autoscale", type=float, default=0.0, help="Seconds between two decisions about the number of servers.")
def balance(
    path: Path, config: Path, socket: str, http: str, grpc: str, slots: int, hot: int, autoscale: float
) -> None:
    """Keep HAProxy's list of servers as the fleet is. Runs beside HAProxy; without Ray the list stays."""
    from fleet.balance import Balance, run
    from fleet.haproxy import Balancer

    balancer = Balancer(
        http=http, grpc=grpc, socket=socket, hot_map=str(config.with_name("hot.map").absolute()), slots=slots
    )
    run(path, Balance(config, balancer, hot), autoscale)


def _say_next(path: Path, *commands: str) -> None:
    """What to type next, for the same fleet."""
    named = f" --fleet {path}" if path != Path("fleet.json") else ""
    next_command(*(f"bookserve fleet {command}{named}" for command in commands))


def _print(found: object, as_json: bool) -> None:
    states = msgspec.to_builtins(found)
    if as_json:
        print_json(states)
        return
    rows = [server for servers in states.values() for server in servers]
    names = ("host", "port", "release", "state", "pid", "starts")
    print_table(names, [[str(row[name]) for name in names] for row in rows])
