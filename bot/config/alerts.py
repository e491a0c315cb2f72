"""Alerts: how they become incidents and storms, which are not told, who is called and when."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from itertools import pairwise
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field, PlainValidator, model_validator
from pydantic_core import PydanticCustomError

from adapters.port import UsageError
from adapters.words import NOTHING
from bot.config.problems import wrong
from bot.config.values import (
    Count,
    OptionalFolder,
    OptionalSecretRef,
    Seconds,
    Section,
    Span,
    Text,
    Url,
    comma_list,
    some,
)
from runbooks.alerting.muting.hidden import Rules
from runbooks.alerting.muting.inhibition import Inhibition
from runbooks.alerting.muting.intervals import Interval, interval
from runbooks.alerting.muting.matchers import Matcher, parse_one
from runbooks.alerting.muting.places import Place
from runbooks.alerting.muting.routes import Route, Routing
from runbooks.alerting.policy import POLICY, Policy

SECOND, MINUTE = timedelta(seconds=1), timedelta(minutes=1)


def _rising(values: tuple[int, ...]) -> tuple[int, ...]:
    if any(later <= earlier for earlier, later in pairwise(values)):
        raise wrong("应从小到大", "must rise from one to the next")
    return values


def _span(count: float | None, unit: timedelta) -> timedelta | None:
    return None if count is None else count * unit


def _condition(value: object) -> Matcher:
    if not isinstance(value, str):
        raise PydanticCustomError("string_type", "must be text")
    try:
        return parse_one(value)
    except UsageError as error:
        raise wrong(str(error), 'not a condition such as host=~"web-.*"') from None


Condition = Annotated[Matcher, PlainValidator(_condition)]
"""A condition on an alert's labels: `host=~"web-.*"`."""
Conditions = Annotated[tuple[Condition, ...], AfterValidator(some)]


class Escalation(Section):
    """`after_minutes`: when each next level is called, counted from the alert's acceptance."""

    after_minutes: Annotated[
        tuple[Count, ...],
        BeforeValidator(comma_list),
        Field(min_length=1),
        AfterValidator(_rising),
    ] = (5, 15, 30)
    repeat_minutes: Count = 30
    together_seconds: Annotated[int, Field(ge=0, le=300)] = 60
    gateway_url: Url = ""
    """Where calls by telephone and SMS are asked for; empty: at the customer's own webhook."""
    gateway_key: OptionalSecretRef = NOTHING
    """Signs what goes there."""

    @model_validator(mode="after")
    def _signed(self) -> Self:
        if self.gateway_url and not self.gateway_key:
            raise wrong(
                "填写了 gateway_url，还要填写 gateway_key",
                "gateway_url is set, so it needs gateway_key",
            )
        return self


class Inhibit(Section):
    """While a `source` fires, the `target`s with the same values of `equal` are not told. `set_by`
    is who wants it so: without, no critical is hidden."""

    source: Conditions
    target: Conditions
    equal: tuple[Text, ...] = ()
    set_by: str = ""


class Period(Section):
    """Instants, as Alertmanager writes them; several of one name are alternatives."""

    name: Text
    times: tuple[tuple[str, str], ...] = ()
    weekdays: tuple[str, ...] = ()
    days_of_month: tuple[str, ...] = ()
    months: tuple[str, ...] = ()
    years: tuple[str, ...] = ()
    location: str = ""

    @model_validator(mode="after")
    def _readable(self) -> Self:
        try:
            self.interval("UTC")
        except UsageError as error:
            raise wrong(str(error), "not a time, day, month, year or zone") from None
        return self

    def interval(self, zone: str) -> Interval:
        """Return what it means; `zone` is where it is, unless it says so itself."""
        return interval(
            self.times,
            self.weekdays,
            self.days_of_month,
            self.months,
            self.years,
            self.location or zone,
        )


class Receiver(Section):
    """Who is told, under a name that routes use."""

    name: Text
    to: Annotated[
        tuple[Literal["group", "ops", "mail", "webhook"], ...],
        BeforeValidator(comma_list),
        AfterValidator(some),
    ]

    @property
    def places(self) -> frozenset[Place]:
        return frozenset(map(Place, self.to))


class RouteTo(Section):
    """How the alerts that match are told: the first route counts, unless it says `continue`."""

    matchers: tuple[Condition, ...] = ()
    go_on: bool = Field(default=False, alias="continue")
    group_by: Annotated[tuple[Text, ...] | None, AfterValidator(some)] = None
    wait_seconds: Span | None = None
    interval_seconds: Span | None = None
    repeat_minutes: Span | None = None
    mute: tuple[Text, ...] = ()
    active: tuple[Text, ...] = ()
    set_by: str = ""
    receiver: str = ""
    routes: tuple[RouteTo, ...] = ()

    @property
    def route(self) -> Route:
        """Return it with all that is below it."""
        return Route(
            receiver=self.receiver,
            matchers=self.matchers,
            go_on=self.go_on,
            routes=tuple(one.route for one in self.routes),
            group_by=self.group_by,
            wait=_span(self.wait_seconds, SECOND),
            interval=_span(self.interval_seconds, SECOND),
            repeat=_span(self.repeat_minutes, MINUTE),
            mute=self.mute,
            active=self.active,
            set_by=self.set_by,
        )

    def below(self, path: str) -> Iterator[tuple[str, RouteTo]]:
        """Yield this route and those below it, each with its path."""
        yield path, self
        for number, one in enumerate(self.routes):
            yield from one.below(f"{path}.routes[{number}]")


class Alerts(Section):
    """How alerts become incidents and storms; which are not told, and who wants it so."""

    group_by: Annotated[tuple[Text, ...], BeforeValidator(comma_list)] = POLICY.group_by
    wait_seconds: Seconds = POLICY.wait.total_seconds()
    interval_seconds: Span = POLICY.interval.total_seconds()
    repeat_minutes: Span = POLICY.repeat / MINUTE
    reopen_minutes: Seconds = POLICY.reopen / MINUTE
    flaps: Count = POLICY.flaps
    flap_minutes: Seconds = POLICY.flap_window / MINUTE
    storm_incidents: Count = POLICY.storm_incidents
    storm_alerts: Count = POLICY.storm_alerts
    storm_factor: Seconds = POLICY.storm_factor
    calm_minutes: Seconds = POLICY.calm / MINUTE
    drain_minutes: Seconds = POLICY.drain / MINUTE
    gather_seconds: Seconds = POLICY.gather.total_seconds()
    maintenance_notice_minutes: Count = 60
    runbooks: OptionalFolder = None
    hook_grace_hours: Annotated[int, Field(ge=1, le=720)] = 24
    inhibit: tuple[Inhibit, ...] = ()
    periods: tuple[Period, ...] = ()
    receivers: tuple[Receiver, ...] = ()
    routes: tuple[RouteTo, ...] = ()

    @model_validator(mode="after")
    def _named(self) -> Self:
        there = {period.name for period in self.periods}
        told = [receiver.name for receiver in self.receivers]
        if len(set(told)) != len(told):
            raise wrong("receivers 里有重名的", "two receivers have one name")
        for path, route in self._all_routes():
            for name in (*route.mute, *route.active):
                if name not in there:
                    raise wrong(
                        f"{path} 提到的时段「{name}」不在 periods 里",
                        f"{path} names the period {name!r}, and there is none in periods",
                    )
            if route.receiver and route.receiver not in told:
                raise wrong(
                    f"{path}.receiver 提到的「{route.receiver}」不在 receivers 里",
                    f"{path}.receiver names {route.receiver!r}, and there is none in receivers",
                )
        return self

    def _all_routes(self) -> Iterator[tuple[str, RouteTo]]:
        for number, one in enumerate(self.routes):
            yield from one.below(f"routes[{number}]")

    @property
    def policy(self) -> Policy:
        """How alerts are grouped, and when they are a storm."""
        return Policy(
            group_by=self.group_by,
            wait=timedelta(seconds=self.wait_seconds),
            interval=timedelta(seconds=self.interval_seconds),
            repeat=self.repeat_minutes * MINUTE,
            reopen=self.reopen_minutes * MINUTE,
            flaps=self.flaps,
            flap_window=self.flap_minutes * MINUTE,
            storm_incidents=self.storm_incidents,
            storm_alerts=self.storm_alerts,
            storm_factor=self.storm_factor,
            calm=self.calm_minutes * MINUTE,
            drain=self.drain_minutes * MINUTE,
            gather=timedelta(seconds=self.gather_seconds),
        )

    def rules(self, zone: str) -> Rules:
        """Return what they mean; a period without a location is in `zone`."""
        periods: dict[str, tuple[Interval, ...]] = {}
        for period in self.periods:
            there = periods.get(period.name, ())
            periods[period.name] = (*there, period.interval(zone))
        return Rules(
            tuple(Inhibition(i.source, i.target, i.equal, i.set_by) for i in self.inhibit),
            Routing(Route(routes=tuple(one.route for one in self.routes)), periods),
            timedelta(minutes=self.maintenance_notice_minutes),
            {receiver.name: receiver.places for receiver in self.receivers},
        )
