"""Addresses and keys of servers under short names, in a file: ``bookserve config`` writes it, ``connect`` reads it.

The file is ``bookserve/profiles.toml`` in the user's directory of settings (``XDG_CONFIG_HOME``, ``%APPDATA%``), or
what ``BOOKSERVE_CONFIG`` names. Only its owner may read it, since it may hold keys.

Arguments come first, then the environment, then the profile. The profile ``default`` is used where none is named. Its
key goes to its own address only: with another address, the profile ``default`` is left out as a whole.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bookserve.environment import config_directory, expand_home
from bookserve.errors import InvalidInput, NotFound, did_you_mean

DEFAULT = "default"
#: What a profile may hold: the arguments of ``connect``.
KEYS = ("url", "api_key", "headers", "ca", "cert", "key", "timeout", "retries", "bundles", "device")

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")

Profile = dict[str, Any]


def profile_file(environment: Mapping[str, str] = os.environ) -> Path:
    """The path of the file, which need not exist."""
    if given := environment.get("BOOKSERVE_CONFIG"):
        return expand_home(given)
    return config_directory(environment) / "profiles.toml"


def find_profile(name: str | None, url: str | None, environment: Mapping[str, str] = os.environ) -> Profile:
    """The profile for a connection: that named by the argument or ``BOOKSERVE_PROFILE``, or else the default one.

    ``url`` is the address that was given, by argument or environment, if any. A profile that the argument does not name
    is used with its own address only, so that its key does not go elsewhere.

    Raises:
        NotFound: there is no profile of that name.
        InvalidInput: the file cannot be used.
    """
    chosen = name or environment.get("BOOKSERVE_PROFILE")
    found = read_profiles(profile_file(environment))
    if chosen and chosen not in found:
        hint = did_you_mean(chosen, found) or f"Write one with: bookserve config set --profile {chosen} url ADDRESS"
        raise NotFound(f"there is no profile '{chosen}' in {profile_file(environment)}.", hint.strip())
    profile = found.get(chosen or DEFAULT, {})
    return profile if name or not url or url == profile.get("url") else {}


def read_profiles(path: Path) -> dict[str, Profile]:
    """All profiles of the file by name; none if there is no such file.

    Raises:
        InvalidInput: others may read it, it is not TOML, or a profile has an unknown entry.
    """
    try:
        content = path.read_bytes()
        mode = stat.S_IMODE(path.stat().st_mode)
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise InvalidInput(f"{path} cannot be read: {error.strerror}.") from error
    if content and os.name == "posix" and mode & 0o077:
        raise InvalidInput(f"{path} may hold keys, and others can read it.", f"Type: chmod 600 {path}")
    import tomllib

    try:
        profiles = tomllib.loads(content.decode()).get("profiles", {})
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InvalidInput(f"{path} is not TOML: {error}.") from error
    for name, profile in profiles.items() if isinstance(profiles, dict) else [("", None)]:
        if not isinstance(profile, dict):
            raise InvalidInput(f"{path} is not a file of profiles.", "Each profile is a table [profiles.NAME].")
        for key, value in profile.items():
            check_entry(key, value, f"{path}, profile '{name}'")
    return dict(profiles)


def check_entry(key: str, value: Any, where: str) -> None:
    """Refuse an entry that no profile has.

    Raises:
        InvalidInput: unknown key, or a value of the wrong type.
    """
    if key not in KEYS:
        raise InvalidInput(f"{where}: there is no entry '{key}'.", did_you_mean(key, KEYS) + f"Use: {', '.join(KEYS)}.")
    kinds: Any = {"headers": dict, "timeout": (int, float), "retries": int}.get(key, str)
    if not isinstance(value, kinds) or isinstance(value, bool):
        expected = {"headers": "names with texts", "timeout": "a number", "retries": "a whole number"}.get(key, "text")
        raise InvalidInput(f"{where}: '{key}' must be {expected}.")


def write_profiles(path: Path, profiles: Mapping[str, Profile]) -> None:
    """Replace the file as a whole; only its owner may read it.

    Raises:
        InvalidInput: a profile has an unusable name, or the file cannot be written.
    """
    lines = ["# Written by: bookserve config"]
    for name, profile in profiles.items():
        if not _NAME.fullmatch(name):
            raise InvalidInput(f"'{name}' cannot be the name of a profile.", "Use letters, digits, - and _.")
        tables = {key: value for key, value in profile.items() if isinstance(value, dict)}
        lines += ["", f"[profiles.{name}]"]
        lines += [f"{key} = {_toml(value)}" for key, value in profile.items() if key not in tables]
        for key, table in tables.items():
            lines += [f"[profiles.{name}.{key}]", *(f"{_toml(item)} = {_toml(value)}" for item, value in table.items())]
    partial = path.with_name(f".{path.name}.part")
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        partial.unlink(missing_ok=True)
        with os.fdopen(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
            file.write("\n".join(lines) + "\n")
        partial.replace(path)
    except OSError as error:
        raise InvalidInput(f"{path} cannot be written: {error.strerror}.") from error


def _toml(value: Any) -> str:
    """A text or number as TOML has it: as in JSON, but for the character DEL."""
    import json

    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
