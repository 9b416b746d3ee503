"""Fit the evidence reader on reading-comprehension articles; writes ``reader.safetensors``.

python -m xingyue_adapters.document_qa.fit_reader DATA TRUNK TOKENIZER OUT
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.numpy import save_file

from xingyue_adapters.document_qa.datasets import Question, QuestionSet, Source, reading_sets
from xingyue_adapters.document_qa.split import FIT
from xingyue_models.documents.evidence import FEATURES, sentence_features
from xingyue_models.documents.extracted import DocumentLimits
from xingyue_models.documents.index import DocumentIndex, PassageColumn, build_index, merge_indexes
from xingyue_models.documents.passages import Chunking, split
from xingyue_models.documents.reading import read
from xingyue_models.documents.search import score, top
from xingyue_models.text_embedding.encoder import Encoder

_HIDDEN = 24
_EPOCHS = 60
_PASSAGES = 5
_WEIGHT_DECAY = 1e-3

Examples = tuple[NDArray[np.float32], NDArray[np.float32]]
"""Features (N x FEATURES) and labels (N)."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("data", "trunk", "tokenizer", "out"):
        parser.add_argument(name, type=Path)
    given = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    encoder = Encoder(given.trunk, given.tokenizer, 1)
    parts = [examples(s.of(FIT), encoder) for s in reading_sets(given.data)]
    features = np.concatenate([part[0] for part in parts])
    labels = np.concatenate([part[1] for part in parts])
    save_file(fit(features, labels), given.out)


def local_index(sources: Sequence[Source], encoder: Encoder) -> DocumentIndex:
    indexes = []
    for source in sources:
        document = read(source.data, source.filename, None, DocumentLimits())
        passages = split(document, Chunking())
        texts = [s.of(document.text) for passage in passages for s in passage.sentences]
        index = build_index(
            document,
            passages,
            encoder.encode(texts),
            file_id=source.id,
            filename=source.filename,
        )
        indexes.append(index.to_bytes())
    return DocumentIndex.from_bytes(merge_indexes(indexes))


def examples(questions: QuestionSet, encoder: Encoder) -> Examples:
    """Sentences of the passages that each question finds, labelled by whether they answer it."""
    index = local_index(questions.sources, encoder)
    queries = encoder.encode([q.text for q in questions.questions])
    features, labels = [], []
    for question, embedding in zip(questions.questions, queries, strict=True):
        scores = score(index, question.text, embedding)
        found = [int(p) for p in top(scores, _PASSAGES, None)]
        table, rows = sentence_features(index, question.text, scores, found)
        truth = np.array([holds(index, row, question) for row in rows], np.float32)
        if truth.any():
            features.append(table)
            labels.append(truth)
    return np.concatenate(features), np.concatenate(labels)


def holds(index: DocumentIndex, row: int, question: Question) -> bool:
    """Whether the sentence is of the right document and shares the words of an answer."""
    passage, start, end = (int(value) for value in index.sentences[row])
    about = index.files[index.passages[passage, PassageColumn.FILE]]
    if about["file_id"] != question.document_id:
        return False
    sentence = index.words(passage)[start:end]
    return any(
        answer in sentence or (len(sentence) > 20 and sentence in answer)
        for answer in question.answers
    )


def fit(
    features: NDArray[np.float32], labels: NDArray[np.float32]
) -> dict[str, NDArray[np.float32]]:
    """Weights by name, as ``Reader`` takes them."""
    mean, scale = features.mean(0), features.std(0) + 1e-3
    inputs = torch.from_numpy((features - mean) / scale)
    truth = torch.from_numpy(labels)
    network = torch.nn.Sequential(
        torch.nn.Linear(FEATURES, _HIDDEN), torch.nn.ReLU(), torch.nn.Linear(_HIDDEN, 1)
    )
    optimiser = torch.optim.AdamW(network.parameters(), 3e-3, weight_decay=_WEIGHT_DECAY)
    loss_of = torch.nn.BCEWithLogitsLoss()
    for _ in range(_EPOCHS):
        for batch in torch.split(torch.randperm(len(inputs)), 512):
            loss = loss_of(network(inputs[batch]).squeeze(1), truth[batch])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
    hidden, output = network[0], network[2]
    assert isinstance(hidden, torch.nn.Linear)
    assert isinstance(output, torch.nn.Linear)
    return {
        "mean": mean.astype(np.float32),
        "scale": scale.astype(np.float32),
        "hidden": hidden.weight.detach().numpy().T.copy(),
        "hidden_bias": hidden.bias.detach().numpy().copy(),
        "output": output.weight.detach().numpy()[0].copy(),
        "output_bias": output.bias.detach().numpy().copy(),
    }


if __name__ == "__main__":
    main()
