"""Names of time zones."""

from __future__ import annotations

import re
import zoneinfo
from datetime import tzinfo
from typing import Any

from seq2seq.errors import UsageError

_OFFSET = r"UTC[+-]\d\d:\d\d(:\d\d)?"  # the name of a fixed offset


def zone_of(zone: tzinfo, where: str) -> str:
    """The name of a zone, by which pandas finds it again: "Europe/Berlin", "UTC", or an offset,
    "UTC+09:00", whatever name of its own a fixed offset has.

    Raises UsageError, which begins with ``where``, for a zone that has neither.
    """
    for name in (getattr(zone, "key", None), getattr(zone, "zone", None)):  # zoneinfo, pytz
        if isinstance(name, str) and is_zone(name):
            return name
    offset = zone.utcoffset(None)  # None where it changes with the season
    if offset is None:
        raise UsageError(
            f"{where}: the time zone {zone} has no name by which it is found again; convert the "
            "times to one that has, such as dt.tz_convert('Europe/Berlin')"
        )
    seconds = int(offset.total_seconds())
    if not seconds:
        return "UTC"
    sign, seconds = "-" if seconds < 0 else "+", abs(seconds)
    shown = f"UTC{sign}{seconds // 3600:02}:{seconds // 60 % 60:02}"
    return shown + (f":{seconds % 60:02}" if seconds % 60 else "")


def is_zone(name: Any) -> bool:
    """Whether there is a zone of this name, or a fixed offset is written so."""
    if re.fullmatch(_OFFSET, str(name)):
        return True
    try:
        zoneinfo.ZoneInfo(str(name))
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
        return False
    return True
