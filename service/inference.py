"""The model that this process serves, and the one way to its answers."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from functools import partial

import anyio
from anyio import CapacityLimiter, to_thread

from fankui.engine import Tagger
from fankui.errors import FankuiError
from fankui.tags import Tags, Untaggable
from service.settings import Settings

log = logging.getLogger(__name__)

# What one call of the engine may hold: two or three seconds of work. Between two calls other requests get their turn
# and a request that ran out of time stops.
_PORTION_CHARACTERS = 16_000


class NotReadyError(FankuiError):
    """There is no model to answer with: it is still loading, or loading failed."""


class TooSlowError(FankuiError):
    """The answer took longer than a request may take."""


class Inference:
    """Loads the model once and runs it outside the event loop, one call at a time (a call uses all cores)."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._tagger: Tagger | None = None
        self._why_not = "The model is still being loaded; try again in a moment."
        self._turn = CapacityLimiter(1)

    async def load(self) -> None:
        """Load the model in a thread. A failure is logged and remembered, not raised: the service stays up."""
        load = partial(Tagger.load, self._settings.model, threads=self._settings.threads)
        try:
            self._tagger = await to_thread.run_sync(load, abandon_on_cancel=True)
        except FankuiError as error:
            self._why_not = f"The model could not be loaded: {error}"
            log.error(self._why_not)
        except Exception:
            self._why_not = "The model could not be loaded because of an unexpected error; the service's log has it."
            log.exception("The model could not be loaded.")
        else:
            log.info("Serving model %s.", self._tagger.bundle.manifest.version)

    @property
    def tagger(self) -> Tagger:
        """The loaded model. Raises NotReadyError with the reason."""
        if self._tagger is None:
            raise NotReadyError(self._why_not)
        return self._tagger

    async def tag(self, texts: Sequence[str], ids: Sequence[str | None]) -> list[Tags | Untaggable]:
        """One result a text, in order. Raises NotReadyError, or TooSlowError after `request_timeout_seconds`."""
        tagger = self.tagger
        results: list[Tags | Untaggable] = []
        try:
            with anyio.fail_after(self._settings.request_timeout_seconds):
                for portion in _portions(texts):
                    call = partial(tagger.tag, texts[portion], ids=ids[portion])
                    results += await to_thread.run_sync(call, limiter=self._turn)
        except TimeoutError:
            raise TooSlowError(
                f"The answer was not ready within {self._settings.request_timeout_seconds:g} seconds; "
                "try again later or send fewer texts at once."
            ) from None
        return results


def _portions(texts: Sequence[str]) -> Iterator[slice]:
    """Consecutive slices of at most `_PORTION_CHARACTERS` characters or, where one text alone has more, one text."""
    start = characters = 0
    for position, text in enumerate(texts):
        if position > start and characters + len(text) > _PORTION_CHARACTERS:
            yield slice(start, position)
            start, characters = position, 0
        characters += len(text)
    yield slice(start, len(texts))
