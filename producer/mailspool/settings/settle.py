"""What to do where settings from two sources meet: one password, and either `relay_url` or `relays`.

Called by model.py between gathering and validating. The higher source wins; within one source a contradiction is a
problem in words. The rules exist because a test's `MAILSPOOL_RELAY_URL` must neither carry the real relay's password to
another host nor leave half of the mail to the real relay.
"""

from __future__ import annotations

from dataclasses import replace

from mailspool.settings.sources import RELAYS, Gathered
from mailspool.settings.urls import split_relay_url, url_password, without_password

_RELAY_URL = ("relay_url",)
_RELAY_PASSWORD = ("relay_password",)
_REDIS_URL = ("redis_url",)
_REDIS_PASSWORD = ("redis_password",)


def settle_passwords(found: Gathered) -> None:
    """At most one password is left for each server."""
    for url_key, password_key in ((_REDIS_URL, _REDIS_PASSWORD), (_RELAY_URL, _RELAY_PASSWORD)):
        url, password = found.given.get(url_key), found.given.get(password_key)
        if url is None or password is None or not isinstance(url.value, str) or password.value is None:
            continue
        if not url_password(url.value):
            continue
        if url.layer == password.layer:
            words = f"{url_key[0]} holds a password, and {password_key[0]} is set too: keep one."
            found.problems.append(password.prefix + words)
        elif password.layer < url.layer:
            found.given[url_key] = replace(url, value=without_password(url.value))
        else:
            del found.given[password_key]
    _drop_foreign_password(found)


def _drop_foreign_password(found: Gathered) -> None:
    """A URL that names no user does not want the password of a lower source: it belongs to another URL there."""
    url, password = found.given.get(_RELAY_URL), found.given.get(_RELAY_PASSWORD)
    if url is None or password is None or not isinstance(url.value, str) or password.layer <= url.layer:
        return
    try:
        parts = split_relay_url(url.value)
    except ValueError:
        return  # the relay's own check says it better
    if parts.user is None and (parts.provider is None or parts.provider.user is None):
        del found.given[_RELAY_PASSWORD]
        found.warnings.append(f"relay_password ({password.where}) is not used: relay_url names no user.")


def settle_relays(found: Gathered) -> None:
    """`relay_url` is the only relay where it is set; relays given nearer to the user than it would be lost unseen."""
    url = found.given.get(_RELAY_URL)
    if url is None or url.value is None:
        if ("relay_url",) in found.unread:
            return
        _password_without_url(found)
        return
    others = {key: given for key, given in found.given.items() if key[0] == RELAYS}
    nearer = [given for given in others.values() if given.layer < url.layer]
    if nearer:
        relays = ", ".join(sorted({key[1] for key, given in others.items() if given.layer < url.layer}))
        source = nearer[0].where or "an argument"
        found.problems.append(
            f"relay_url ({url.where}) is the only relay where it is set, so relays.{relays} ({source}) would not be "
            "used: take one of them away."
        )
    elif others and url.layer == next(iter(others.values())).layer:
        found.warnings.append("relay_url is the only relay where it is set: the [relays] beside it are not used.")
    found.unread = {key: words for key, words in found.unread.items() if key[0] != RELAYS}


def _password_without_url(found: Gathered) -> None:
    password = found.given.get(_RELAY_PASSWORD)
    if password is None or password.value is None:
        return
    found.warnings.append(f"relay_password ({password.where or 'argument'}) is not used: relay_url is not set.")
