"""Each door of the API is a function that makes a ``Call``, ``Stream`` or ``Flow``, written once.

As an attribute of a ``Group`` it becomes a method with the function's own parameters: of a sync
sender it returns the result, of an async one something to await (or to iterate with ``async for``).
"""

from __future__ import annotations

import functools
from collections.abc import AsyncIterator, Callable, Coroutine, Generator, Iterator
from typing import TYPE_CHECKING, Any, Generic, ParamSpec, Self, TypeVar, overload

from xingyue_client.answer import Call
from xingyue_client.retries import Sleep
from xingyue_client.streams import Stream

if TYPE_CHECKING:
    from xingyue_client.async_sender import AsyncSender
    from xingyue_client.sync_sender import SyncSender

P = ParamSpec("P")
T = TypeVar("T")
S = TypeVar("S")
"""``SyncSender`` or ``AsyncSender``."""

Flow = Generator[Call[Any] | Sleep, Any, T]
"""Calls one after another, and waits between them; each call's result is sent back in."""


def sent(call: Call[T]) -> Generator[Call[Any], Any, T]:
    """A call within a flow, its result typed: ``page = yield from sent(...)``."""
    found: T = yield call
    return found


class Group(Generic[S]):
    """Doors that belong together."""

    def __init__(self, sender: S) -> None:
        self._sender = sender


class _Door(Generic[P]):
    def __init__(self, build: Callable[P, Any]) -> None:
        self._build = build
        self.__doc__ = build.__doc__

    def _method(self, send: Callable[[Any], Any]) -> Any:
        @functools.wraps(self._build)
        def method(*args: P.args, **kwargs: P.kwargs) -> Any:
            return send(self._build(*args, **kwargs))

        return method


class Endpoint(_Door[P], Generic[P, T]):
    """One call."""

    def __init__(self, build: Callable[P, Call[T]]) -> None:
        super().__init__(build)

    @overload
    def __get__(self, group: None, owner: Any) -> Self: ...
    @overload
    def __get__(self, group: Group[SyncSender], owner: Any) -> Callable[P, T]: ...
    @overload
    def __get__(
        self, group: Group[AsyncSender], owner: Any
    ) -> Callable[P, Coroutine[Any, Any, T]]: ...
    def __get__(self, group: Any, owner: Any) -> Any:
        return self if group is None else self._method(group._sender.send)


class Steps(_Door[P], Generic[P, T]):
    """A flow of calls."""

    def __init__(self, build: Callable[P, Flow[T]]) -> None:
        super().__init__(build)

    @overload
    def __get__(self, group: None, owner: Any) -> Self: ...
    @overload
    def __get__(self, group: Group[SyncSender], owner: Any) -> Callable[P, T]: ...
    @overload
    def __get__(
        self, group: Group[AsyncSender], owner: Any
    ) -> Callable[P, Coroutine[Any, Any, T]]: ...
    def __get__(self, group: Any, owner: Any) -> Any:
        return self if group is None else self._method(group._sender.run)


class Events(_Door[P], Generic[P, T]):
    """A stream of events."""

    def __init__(self, build: Callable[P, Stream[T]]) -> None:
        super().__init__(build)

    @overload
    def __get__(self, group: None, owner: Any) -> Self: ...
    @overload
    def __get__(self, group: Group[SyncSender], owner: Any) -> Callable[P, Iterator[T]]: ...
    @overload
    def __get__(self, group: Group[AsyncSender], owner: Any) -> Callable[P, AsyncIterator[T]]: ...
    def __get__(self, group: Any, owner: Any) -> Any:
        return self if group is None else self._method(group._sender.stream)
