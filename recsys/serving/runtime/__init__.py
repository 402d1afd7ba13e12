"""Answers from an exported bundle, without PyTorch: numpy, polars and onnxruntime alone, and FAISS for large catalogues."""

from recsys.serving.runtime.retriever import Runtime, load

__all__ = ["Runtime", "load"]
