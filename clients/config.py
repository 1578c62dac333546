"""Command ``bookserve config``: keep addresses and keys of servers in a file (``bookserve/client/profiles.py``)."""

from __future__ import annotations

import sys
from typing import Any

import click

from bookserve.cli.terminal import json_option, print_json, print_table
from bookserve.client.profiles import (
    DEFAULT,
    KEYS,
    check_entry,
    profile_file,
    read_profiles,
    write_profiles,
)
from bookserve.client.settings import parse_headers
from bookserve.errors import InvalidInput, NotFound

profile_option = click.option(
    "--profile", default=DEFAULT, show_default=True, metavar="NAME", help="Profile to change."
)
key_argument = click.argument("entry", metavar="ENTRY", type=click.Choice(KEYS))


@click.group()
def config() -> None:
    """Keep addresses and keys of servers in a file.

    A profile holds what connects to a server: its address, API key, certificates and so on. Options and environment
    variables come before it. The profile "default" is used where no other is named (--profile, BOOKSERVE_PROFILE), and
    only with its own address. Only you can read the file.
    """


@config.command("set")
@key_argument
@click.argument("value", required=False)
@profile_option
def set_entry(entry: str, value: str | None, profile: str) -> None:
    """Set an entry of a profile.

    ENTRY is url, api_key, headers, ca, cert, key, timeout, retries, bundles or device. A header is written as
    'Name: value' and added to those there are. Without VALUE it is read from the terminal, unseen, or from standard
    input: so an API key stands in no history of commands.
    """
    if value is None:
        terminal = sys.stdin.isatty()
        value = click.prompt(entry, hide_input=entry in ("api_key", "headers")) if terminal else sys.stdin.readline()
    path = profile_file()
    profiles = read_profiles(path)
    found = profiles.setdefault(profile, {})
    parsed = _parse(entry, value.strip())
    check_entry(entry, parsed, "a profile")
    found[entry] = {**found.get(entry, {}), **parsed} if entry == "headers" else parsed
    write_profiles(path, profiles)
    click.echo(f"profile '{profile}': {entry} is set in {path}", err=True)


@config.command()
@click.argument("entry", metavar="[ENTRY]", type=click.Choice(KEYS), required=False)
@profile_option
def unset(entry: str | None, profile: str) -> None:
    """Remove an entry of a profile, or without ENTRY the whole profile."""
    path = profile_file()
    profiles = read_profiles(path)
    if profile not in profiles or (entry and entry not in profiles[profile]):
        what = f"entry '{entry}' in profile '{profile}'" if profile in profiles else f"profile '{profile}'"
        raise NotFound(f"there is no {what}.", "See: bookserve config show")
    if entry:
        del profiles[profile][entry]
    if not entry or not profiles[profile]:
        del profiles[profile]
    write_profiles(path, profiles)
    click.echo(f"profile '{profile}': {entry or 'the whole profile'} is removed from {path}", err=True)


@config.command()
@json_option
def show(as_json: bool) -> None:
    """Show all profiles, without the keys."""
    path = profile_file()
    profiles = {
        name: {key: _hidden(key, value) for key, value in profile.items()}
        for name, profile in read_profiles(path).items()
    }
    if as_json:
        print_json({"file": str(path), "profiles": profiles})
        return
    if not profiles:
        click.echo(f"There are no profiles in {path}. Write one with: bookserve config set url ADDRESS")
        return
    click.echo(str(path))
    rows = [[name, key, str(value)] for name, profile in profiles.items() for key, value in profile.items()]
    print_table(("profile", "entry", "value"), rows)


def _hidden(key: str, value: Any) -> Any:
    if key == "api_key":
        return "…"
    return dict.fromkeys(value, "…") if key == "headers" else value


def _parse(entry: str, text: str) -> Any:
    if not text:
        raise InvalidInput(f"'{entry}' is empty.", f"Remove it with: bookserve config unset {entry}")
    if entry == "headers":
        return parse_headers([text])
    if entry in ("timeout", "retries"):
        try:
            return int(text) if entry == "retries" else float(text)
        except ValueError as error:
            raise InvalidInput(f"{entry} is '{text}'; expected a number.") from error
    return text
