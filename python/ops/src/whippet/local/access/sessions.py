"""The temporary credentials that local AWS has given out.

https://docs.aws.amazon.com/IAM/latest/UserGuide/id_credentials_temp.html
"""

from __future__ import annotations

import base64
import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from moto.sts.models import sts_backends

from whippet.local.records import shelf
from whippet.local.settings import ACCOUNT

#: https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_identifiers.html#identifiers-unique-ids
SESSION_KEY_PREFIX = "ASIA"


@dataclass(frozen=True)
class Session:
    """One session of a role, of a user or of the administrator.

    Attributes:
        access_key: its access key.
        secret: its secret access key.
        token: its session token.
        expires_at: seconds since 1970 by the wall's clock.
        issued_at: the same.
        name: what its maker called it.
        role_arn: the role; empty where it is none's.
        role_id: the role's unique id: a role that is made again under the same name has another.
        user: the name of the user; empty where it is none's.
        policies: the documents of its session policies; None where it has none, which limits nothing.
        tags: its session tags.
        context: condition keys, in lower case, that every call of it has.
    """

    access_key: str
    secret: str = field(repr=False)
    token: str = field(repr=False)
    expires_at: float
    issued_at: float
    name: str
    role_arn: str = ""
    role_id: str = ""
    user: str = ""
    policies: tuple[str, ...] | None = None
    tags: Mapping[str, str] = field(default_factory=dict)
    context: Mapping[str, str] = field(default_factory=dict)


def begin(name: str, seconds: float, **members: Any) -> Session:
    """Makes a session with new credentials.

    Args:
        name: what its maker calls it.
        seconds: how long it lasts by the wall's clock.
        members: the others of `Session`.
    """
    now = time.time()  # the wall's: what is signed with the credentials is dated by the clocks of clients
    session = Session(
        access_key=SESSION_KEY_PREFIX + base64.b32encode(secrets.token_bytes(10)).decode(),
        secret=secrets.token_urlsafe(30),
        token=secrets.token_urlsafe(192),
        expires_at=now + seconds,
        issued_at=now,
        name=name,
        **members,
    )
    sessions = _sessions()
    for known in list(sessions.values()):
        if known.expires_at + FORGOTTEN_AFTER < now:
            sessions.pop(known.access_key, None)
    sessions[session.access_key] = session
    return session


#: Seconds for which a session that has ended is told from one that never was.
FORGOTTEN_AFTER = 3600


def find(access_key: str) -> Session | None:
    """The session of an access key, also one that has ended."""
    return _sessions().get(access_key)


def end(access_key: str) -> None:
    """Forgets a session, as of a process that has ended."""
    _sessions().pop(access_key, None)


def _sessions() -> dict[str, Session]:
    return shelf(sts_backends[ACCOUNT]["aws"], "sessions")
