"""The peer's side of ``training_speed.py`` on texts: sentence-transformers' own trainer, multiple-negatives ranking loss.

Needs ``pip install "sentence-transformers[train]"`` and nothing of recsys. Its only argument is a JSON object, see
``main``; the last line that it prints is one too.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from datasets import Dataset
from sentence_transformers import SentenceTransformer, SentenceTransformerTrainer, SentenceTransformerTrainingArguments
from sentence_transformers.losses import MultipleNegativesRankingLoss
from transformers import TrainerCallback


class Clock(TrainerCallback):
    """Wall and CPU seconds at the end of each step."""

    def __init__(self) -> None:
        self.marks: list[tuple[float, float]] = []

    def on_step_end(self, *args: Any, **kwargs: Any) -> None:
        self.marks.append((time.perf_counter(), time.process_time()))


def main() -> None:
    options = argparse.Namespace(**json.loads(sys.argv[1]))
    torch.set_num_threads(options.threads)
    begun = time.perf_counter()
    texts = json.loads(Path(options.texts).read_text())
    pairs = np.load(options.pairs)
    model = SentenceTransformer(options.encoder, device="cpu", local_files_only=True)
    model.max_seq_length = options.longest
    clock = Clock()
    with tempfile.TemporaryDirectory() as folder:
        trainer = SentenceTransformerTrainer(
            model=model,
            args=SentenceTransformerTrainingArguments(
                folder, max_steps=options.steps, per_device_train_batch_size=options.batch, learning_rate=options.rate,
                warmup_steps=options.steps // 10, bf16=options.bf16, use_cpu=True, save_strategy="no",
                logging_strategy="no", report_to="none", disable_tqdm=True, dataloader_pin_memory=False,
                dataloader_drop_last=True, seed=0,
            ),
            train_dataset=Dataset.from_dict(
                {"anchor": [texts[i] for i in pairs[:, 0]], "positive": [texts[i] for i in pairs[:, 1]]}
            ),
            loss=MultipleNegativesRankingLoss(model),
            callbacks=[clock],
        )  # fmt: skip
        setup = time.perf_counter() - begun
        begun = time.perf_counter()
        trainer.train()
        seconds = time.perf_counter() - begun
    if options.vectors:
        written = {text: place for place, text in enumerate(dict.fromkeys(text for text in texts if text is not None))}
        found = model.encode(list(written), batch_size=128, show_progress_bar=False, normalize_embeddings=True)
        blank = np.zeros(found.shape[1], dtype=np.float32)
        np.save(options.vectors, np.stack([blank if text is None else found[written[text]] for text in texts]))
    result = {
        "marks": clock.marks,
        "interactions": [options.batch] * len(clock.marks),
        "texts": [2 * options.batch] * len(clock.marks),
        "setup": setup,
        "seconds": seconds,
        "trained": sum(p.numel() for p in model.parameters() if p.requires_grad),
        "threads": torch.get_num_threads(),
        "peak MB": int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0]) / 1024,
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
