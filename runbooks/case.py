"""What an onboarding knows: saved after every line of the table. No secret is ever in it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from adapters.words import Chat, Person
from storage.records import Tier


class Way(StrEnum):
    """How the monitor is deployed, in the SOP's words."""

    CUSTOMER = "a"
    """On the customer's own server."""
    MANAGED = "b"
    """On our server, one instance and one block of ports per customer."""
    STANDING = "c"
    """An instance that already stands at a URL."""


@dataclass(frozen=True, slots=True)
class Contact:
    """Somebody at the customer's."""

    name: str
    role: str = ""
    phone: str = ""
    email: str = ""


@dataclass(frozen=True, slots=True)
class Approver:
    """Who signs the acceptance, and who may in their place. Ids are empty until they are known in
    the customer's chat; whoever cannot join it signs through a one-time link."""

    name: str
    id: str = ""
    deputy: str = ""
    deputy_id: str = ""


@dataclass(frozen=True, slots=True)
class Invitation:
    """An engineer asked for a signing link for an approver, to pass it on outside the group."""

    approver: str
    asked_by: Person


@dataclass(frozen=True, slots=True)
class Onboarding:
    """The intake form's answers, and what the lines have found since."""

    customer: int
    company: str
    contacts: tuple[Contact, ...]
    servers: tuple[str, ...]
    """Names of the servers, whose rows are in storage."""
    tier: Tier = Tier.BASIC
    location: str = ""
    """Cloud vendor, own machine room, or mixed."""
    systems: tuple[str, ...] = ()
    monitoring: str = ""
    channels: tuple[str, ...] = ()
    domain: str = ""
    way: Way = Way.MANAGED
    url: str = ""
    """Of the instance: given in way C, found in the others."""
    group: Chat | None = None
    contract: str = ""
    """The contract's number, once it is drawn up."""
    console: str = ""
    """The address at which the customer signs in to the monitor."""
    channel: int = 0
    """Id of the monitor's one channel, which is ours."""
    on_call: tuple[Contact, ...] = ()
    """Who is rung, in this order, when an alert is not acknowledged."""
    escalate_after: tuple[int, ...] = ()
    """Minutes until each level of the escalation policy."""
    approvers: tuple[Approver, ...] = ()
    need: int = 0
    """How many of the approvers have to sign."""
    evidence: str = ""
    """SHA-256 of the evidence that the approvers see; empty until the checklist is drawn up."""
    round: int = 1
    """Counts up with each refusal: what is tested again is a new deed."""
    invitations: tuple[Invitation, ...] = ()
    """Signing links that were asked for, oldest first: the place of each names its deed."""
