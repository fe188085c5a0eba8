"""The model that this process serves, and the one way to its answers."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from functools import partial

from anyio import to_thread

from fankui.engine import Tagger, usable_cores
from fankui.errors import FankuiError
from fankui.tags import Tags, Untaggable
from service.scheduler import OnCall, Scheduler
from service.settings import Settings

log = logging.getLogger(__name__)

_MOST_CORES_A_CALL = 4
"""A single text has no work for more."""
_WARM_UP = "说好三天到货,十天了还没发,问客服也没人理"


class NotReadyError(FankuiError):
    """There is no model to answer with: it is still loading, or loading failed."""


class TooSlowError(FankuiError):
    """The answer took longer than a request may take."""


class Inference:
    """Loads the model, swaps it for another while requests go on, and answers through the scheduler."""

    def __init__(self, settings: Settings, on_call: OnCall = lambda *_: None) -> None:
        self._settings = settings
        self._tagger: Tagger | None = None
        self._why_not = "The model is still being loaded; try again in a moment."
        self._tokens_before = 0
        self._loading = asyncio.Lock()
        self.scheduler = Scheduler(
            self._tag,
            threads=settings.threads or usable_cores(),
            max_texts=settings.max_queue_texts,
            max_wait_seconds=settings.max_wait_seconds,
            on_call=on_call,
        )

    async def load(self) -> None:
        """Load the model at the start. A failure is logged and remembered, not raised: the service stays up."""
        try:
            await self.reload()
        except FankuiError as error:
            self._why_not = f"The model could not be loaded: {error}"
        except Exception:
            self._why_not = "The model could not be loaded because of an unexpected error; the service's log has it."
            log.exception("The model could not be loaded.")

    async def reload(self) -> str:
        """Load the model that the settings name now, then let it answer; returns its version.

        Until then, and when it cannot be loaded, the former one answers. Raises BundleError.
        """
        async with self._loading:
            try:
                tagger = await to_thread.run_sync(partial(_load, self._settings), abandon_on_cancel=True)
            except FankuiError as error:
                log.error("The model could not be loaded: %s", error)
                raise
            self._tokens_before = self.tokens
            self._tagger = tagger
        version = tagger.bundle.manifest.version
        log.info("Serving model %s.", version)
        return version

    @property
    def tagger(self) -> Tagger:
        """The loaded model. Raises NotReadyError with the reason."""
        if self._tagger is None:
            raise NotReadyError(self._why_not)
        return self._tagger

    async def tag(
        self, texts: Sequence[str], ids: Sequence[str | None], *, admitted: bool = False
    ) -> list[Tags | Untaggable]:
        """One result a text, in order. `admitted`: by the scheduler already, as expected.

        Raises NotReadyError, OverloadedError, or TooSlowError after `request_timeout_seconds`.
        """
        _ = self.tagger  # No model: say so at once.
        try:
            async with asyncio.timeout(self._settings.request_timeout_seconds):
                return await self.scheduler.tag(texts, ids, admitted=admitted)
        except TimeoutError:
            raise TooSlowError(
                f"The answer was not ready within {self._settings.request_timeout_seconds:g} seconds; "
                "try again later or send fewer texts at once."
            ) from None

    @property
    def version(self) -> str | None:
        """Version of the model that answers, if one does."""
        return self._tagger.bundle.manifest.version if self._tagger else None

    @property
    def tokens(self) -> int:
        """Tokens that models of this process have read, padding left out."""
        return self._tokens_before + (self._tagger.tokens if self._tagger else 0)

    def _tag(self, texts: Sequence[str], ids: Sequence[str | None], *, alone: bool) -> list[Tags | Untaggable]:
        return self.tagger.tag(texts, ids=ids, alone=alone)


def _load(settings: Settings) -> Tagger:
    cores = settings.threads or usable_cores()
    # The scheduler's threads are enough for many requests; one that is alone gets all cores.
    tagger = Tagger.load(settings.model, threads=1, alone_threads=min(cores, _MOST_CORES_A_CALL))
    for alone in (False, True):
        tagger.tag([_WARM_UP], alone=alone)
    return tagger
