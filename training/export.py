"""From the fine-tuned classifier to an int8 ONNX bundle: export, fuse, quantise, check against torch."""

from __future__ import annotations

import json
import logging
import shutil
import subprocess
import tempfile
import warnings
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import helper, numpy_helper
from onnxruntime.quantization import QuantType, quantize_dynamic
from onnxruntime.transformers.fusion_options import FusionOptions
from onnxruntime.transformers.optimizer import optimize_model
from tokenizers import Tokenizer

from fankui.bundle import MODEL, TAXONOMY, TOKENIZER, Manifest, write_manifest
from fankui.decisions import neutral_calibration
from fankui.taxonomy import Taxonomy
from training.model import MultiHeadClassifier

OPSET = 17
OVERLAP_TOKENS = 32
LARGE_TABLE = 1000
"""Rows from which an embedding table is kept in 8 bits."""

log = logging.getLogger(__name__)


def export_onnx(classifier: MultiHeadClassifier, path: Path) -> None:
    """Write the classifier as float32 ONNX: input_ids, attention_mask (batch, tokens) → logits, evidence."""
    classifier.eval()
    classifier.encoder.set_attn_implementation("eager")  # the form that ONNX Runtime recognises as attention
    ids = torch.ones((2, 16), dtype=torch.long)
    tokens = {0: "batch", 1: "tokens"}
    with warnings.catch_warnings(), torch.inference_mode():
        warnings.simplefilter("ignore")
        # The TorchScript exporter: the newer one's graphs are not fused by ONNX Runtime 1.32 (no Attention node).
        torch.onnx.export(
            classifier,
            (ids, ids),
            str(path),
            input_names=["input_ids", "attention_mask"],
            output_names=["logits", "evidence"],
            dynamic_axes={"input_ids": tokens, "attention_mask": tokens, "logits": {0: "batch"}, "evidence": tokens},
            opset_version=OPSET,
            dynamo=False,
        )


def fuse(source: Path, target: Path, *, attention_heads: int, hidden: int) -> dict[str, int]:
    """ONNX Runtime's transformer fusions; returns how often each was found.

    The embeddings stay a plain look-up, because that can be kept in 8 bits with a scale per row.
    """
    logging.getLogger("onnxruntime.transformers").setLevel(logging.ERROR)
    options = FusionOptions("bert")
    options.enable_embed_layer_norm = False
    model = optimize_model(
        str(source),
        model_type="bert",
        num_heads=attention_heads,
        hidden_size=hidden,
        opt_level=0,
        optimization_options=options,
    )
    model.save_model_to_file(str(target))
    return {name: count for name, count in model.get_fused_operator_statistics().items() if count}


def quantise(source: Path, target: Path, *, keep_float: Sequence[str]) -> None:
    """8-bit weights with a scale per output channel, activations rounded at run time; embeddings per row."""
    quantize_dynamic(
        str(source),
        str(target),
        weight_type=QuantType.QInt8,
        per_channel=True,
        op_types_to_quantize=["MatMul", "Attention"],
        nodes_to_exclude=list(keep_float),
        # Shapes are not inferred through the fused operators, whose results are all float.
        extra_options={"DefaultTensorType": onnx.TensorProto.FLOAT},
    )
    model = onnx.load(str(target))
    quantise_embeddings(model.graph)
    split_layer_norms(model.graph)
    onnx.save(model, str(target))


def quantise_embeddings(graph: onnx.GraphProto) -> None:
    """Replace each look-up in a large float table, in place, by one in an int8 table with a scale per row."""
    tables = {tensor.name: tensor for tensor in graph.initializer}
    for node in list(graph.node):
        if node.op_type != "Gather" or node.input[0] not in tables:
            continue
        table = numpy_helper.to_array(tables[node.input[0]])
        if table.ndim != 2 or table.dtype != np.float32 or len(table) < LARGE_TABLE:
            continue
        scale = np.abs(table).max(1, keepdims=True) / 127
        scale[scale == 0] = 1
        name, (rows, result) = node.input[0], (node.input[1], node.output[0])
        whole = np.round(table / scale).astype(np.int8)
        graph.initializer.remove(tables[name])
        graph.initializer.extend(
            [
                numpy_helper.from_array(whole, f"{name}.int8"),
                numpy_helper.from_array(scale.astype(np.float32), f"{name}.scale"),
            ]
        )
        position = list(graph.node).index(node)
        graph.node.remove(node)
        steps = [
            helper.make_node("Gather", [f"{name}.int8", rows], [f"{name}.row"]),
            helper.make_node("Cast", [f"{name}.row"], [f"{name}.float"], to=onnx.TensorProto.FLOAT),
            helper.make_node("Gather", [f"{name}.scale", rows], [f"{name}.row_scale"]),
            helper.make_node("Mul", [f"{name}.float", f"{name}.row_scale"], [result]),
        ]
        for offset, step in enumerate(steps):
            graph.node.insert(position + offset, step)


def split_layer_norms(graph: onnx.GraphProto) -> None:
    """Replace each SkipLayerNormalization, in place, by the sum and the LayerNormalization that it stands for.

    ONNX Runtime 1.32 computes the fused one without vector instructions on a CPU, five times slower than its parts; it
    took 28 % of the time. The fusions of attention need it, so it goes after them; fankui.engine keeps it out.
    """
    nodes = []
    for node in graph.node:
        if node.op_type != "SkipLayerNormalization":
            nodes.append(node)
            continue
        summand, skipped, weight, bias, *offset = node.input
        (result,) = filter(None, node.output)
        if offset:
            nodes.append(helper.make_node("Add", [summand, *offset], [f"{result}.offset"], name=f"{node.name}_offset"))
            summand = f"{result}.offset"
        epsilon = next(attribute.f for attribute in node.attribute if attribute.name == "epsilon")
        norm = {"name": f"{node.name}_norm", "axis": -1, "epsilon": epsilon}
        nodes.append(helper.make_node("Add", [summand, skipped], [f"{result}.sum"], name=f"{node.name}_sum"))
        nodes.append(helper.make_node("LayerNormalization", [f"{result}.sum", weight, bias], [result], **norm))
    del graph.node[:]
    graph.node.extend(nodes)


def head_nodes(path: Path) -> list[str]:
    """Names of the matrix products after the last layer norm: small, and the place where precision shows."""
    graph = onnx.load(str(path)).graph
    last = max(
        i for i, node in enumerate(graph.node) if node.op_type in ("SkipLayerNormalization", "LayerNormalization")
    )
    return [node.name for node in graph.node[last:] if node.op_type in ("MatMul", "Gemm")]


def git_commit() -> str | None:
    """The commit the pipeline's code is at, or None outside a repository."""
    answer = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=False)
    return answer.stdout.strip() or None if answer.returncode == 0 else None


def write_bundle(
    classifier: MultiHeadClassifier,
    tokenizer: Tokenizer,
    taxonomy_file: Path,
    folder: Path,
    *,
    version: str,
    max_tokens: int,
    pad_id: int,
    data: dict[str, object],
) -> None:
    """Write a loadable bundle with a neutral calibration into `folder` (replaced if it exists)."""
    if folder.exists():
        shutil.rmtree(folder)
    folder.mkdir(parents=True)
    config = classifier.encoder.config
    with tempfile.TemporaryDirectory() as name:
        plain, fused = Path(name) / "plain.onnx", Path(name) / "fused.onnx"
        export_onnx(classifier, plain)
        fusions = fuse(plain, fused, attention_heads=config.num_attention_heads, hidden=config.hidden_size)
        log.info("fusions: %s", json.dumps(fusions))
        quantise(fused, folder / MODEL, keep_float=head_nodes(fused))
    tokenizer.no_padding()
    tokenizer.no_truncation()
    tokenizer.save(str(folder / TOKENIZER), pretty=False)
    shutil.copy(taxonomy_file, folder / TAXONOMY)
    taxonomy = Taxonomy.load(taxonomy_file)
    write_manifest(
        folder,
        Manifest(
            version=version,
            created=datetime.now(UTC).replace(microsecond=0),
            git_commit=git_commit(),
            files={},
            taxonomy_sha256=taxonomy.sha256,
            max_tokens=max_tokens,
            overlap_tokens=min(OVERLAP_TOKENS, max_tokens // 4),
            pad_id=pad_id,
            calibration=neutral_calibration(taxonomy),
            review={},
            data=data,
        ),
    )


def parity(reference: NDArray[np.bool_], answer: NDArray[np.bool_]) -> float:
    """Share of rows whose decisions are all equal."""
    return float((reference == answer).all(1).mean())
