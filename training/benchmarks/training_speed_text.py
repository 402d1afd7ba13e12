"""The part of ``training_speed.py`` on tuning a text encoder: ours, and the judgement of both sides.

As a script it is one contestant of ours, or the judge of a file of vectors; its only argument is a JSON object.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from cells import RECIPES
from contestants import child, head, load, peak, row

HERE = Path(__file__)
WARM = 3
PAIRS = "amazon-beauty"
RATE = 2e-5
"""What sentence-transformers' own examples train with."""
SMALL = {"training": {"batch_tokens": 1600}}
OURS: dict[str, dict[str, dict[str, Any]]] = {
    "ours, all layers": {"model": {"trainable_layers": 0}},
    "ours, 2 top layers": {"model": {"trainable_layers": 2}},
    "ours, all layers, text alone": {"model": {"trainable_layers": 0, "use_ids": False, "word_features": "off"}},
    "ours, 2 top layers, small steps": SMALL | {"model": {"trainable_layers": 2, "texts_per_step": 128}},
    "ours, frozen encoder, small steps": SMALL | {"model": {"encoder_mode": "frozen"}},
}
MNRL = {f"MNRL, batch {size}": size for size in (64, 128)}
JUDGED = ("ours, 2 top layers", "ours, 2 top layers, small steps", "ours, frozen encoder, small steps", "MNRL, batch 64")


class Enough(Exception):  # noqa: N818 - no error
    """All steps are done."""


def against_mnrl(arguments: argparse.Namespace, folders: dict[str, Path], temporary: Path) -> dict[str, Any]:
    """Speed of tuning the text encoder and, where asked for, what it gives after equal wall time."""
    from recsys.core.device import has_bf16
    from recsys.models.encoders.pretrained import resolve_encoder

    if PAIRS not in folders:
        raise SystemExit(f"the texts are those of {PAIRS}: name its folder, or leave them out: --only rectools")
    data = str(folders[PAIRS])
    split, catalog = load(data)
    histories, texts = split.train.histories, catalog.texts
    pairs = np.stack([histories.rows[:-1], histories.rows[1:]], axis=1)[np.diff(histories.list_index()) == 0]
    pairs = pairs[texts.is_not_null().to_numpy()[pairs].all(axis=1)]
    files = {"texts": f"{temporary}/texts.json", "pairs": f"{temporary}/pairs.npy"}
    Path(files["texts"]).write_text(json.dumps(texts.to_list()))
    np.save(files["pairs"], pairs)
    encoder = str(resolve_encoder("all-MiniLM-L6-v2"))
    common = {"data": data, "encoder": encoder, "threads": arguments.threads, "quick": arguments.quick}
    longest: int | None = None  # ours tells, before MNRL asks

    def run(name: str, steps: int, vectors: str | None) -> dict[str, Any]:
        what, options = f"{name}, {steps} steps", common | {"steps": steps, "vectors": vectors}
        if name in OURS:
            return child(sys.executable, HERE, options | OURS[name] | {"judge": vectors is not None}, what)
        options |= files | {"batch": MNRL[name], "rate": RATE, "bf16": has_bf16("cpu"), "longest": longest}
        return child(arguments.mnrl, HERE.with_name("training_speed_mnrl.py"), options, what)

    runs, judged = {}, {}
    for name in (*OURS, *MNRL):
        runs[name] = run(name, WARM + arguments.steps * (2 if name in MNRL else 1), None)
        longest = runs[name].get("longest", longest)
    if arguments.quality:
        vectors = f"{temporary}/vectors.npy"
        judged["untrained encoder"] = child(sys.executable, HERE, common | {"vectors": None}, "untrained encoder")
        for name in JUDGED:
            judged[name] = run(name, max(WARM + 1, round(arguments.seconds / pace(runs[name])["step"])), vectors)
            if name in MNRL:
                judged[name] |= child(sys.executable, HERE, common | {"vectors": vectors}, f"{name}, judged")
    return {"runs": runs, "judged": judged, "pairs": len(pairs), "longest": longest, "users": len(split.validation)}


def tune(options: dict[str, Any]) -> dict[str, Any]:
    """Train the towers with their text encoder for some steps."""
    import torch

    import recsys
    from recsys.evaluation.evaluate import evaluate
    from recsys.models.towers import TwoTowerModel
    from recsys.training.loop import Run
    from recsys.training.optimizer import warmup_cosine
    from recsys.training.prepare import prepare
    from recsys.training.trainer import make_batches, make_fabric, make_loss

    torch.use_deterministic_algorithms(True)  # as in every training of ours
    split, catalog = load(options["data"])
    begun, few = time.perf_counter(), options["quick"]
    recipe = recsys.Recipe.read(
        RECIPES / f"{Path(options['data']).name}.toml",
        model={"encoder": options["encoder"], "encoder_mode": "full", "texts_per_step": 512, "ensemble_size": 1}
        | options["model"]
        | ({"texts_per_step": 32} if few else {}),
        objective={"loss": "sampled"},
        training={"epochs": 10**6, "batch_tokens": 8192, "device": "cpu"}
        | options.get("training", {})
        | ({"batch_tokens": 512} if few else {}),
    )
    config = recipe.training
    inputs = prepare(recipe.model, split.train, catalog, training=config, augment=recipe.augment)
    towers = inputs.towers
    encoder: Any = towers.net.items.encoder
    torch.manual_seed(config.seed)
    fabric = make_fabric(config, "cpu")
    batches = make_batches(inputs, config, recipe.augment)
    loss = make_loss(inputs, config, recipe.objective, "cpu")
    seen: dict[str, list[int]] = {"interactions": [], "texts": []}
    loss.register_forward_pre_hook(lambda _, given: seen["interactions"].append(len(given[0].targets)))
    if encoder is not None:
        encoder.register_forward_pre_hook(lambda _, given: seen["texts"].append(len(given[0])))
    run = Run(fabric, towers, loss, batches, None, replace(config, patience=0), {})
    run.rate = warmup_cosine(options["steps"], 0.1)
    setup, marks = time.perf_counter() - begun, []

    def tick(place: int, epoch: int) -> None:
        marks.append((time.perf_counter(), time.process_time()))
        if len(marks) == options["steps"]:
            raise Enough

    begun = time.perf_counter()
    try:
        run.go(None, None, tick)
    except Enough:
        seconds = time.perf_counter() - begun
    result: dict[str, Any] = seen | {
        "marks": marks,
        "texts": seen["texts"] or [0] * len(marks),
        "setup": setup,
        "seconds": seconds,
        "live": recipe.model.texts_per_step,
        "batch": config.batch_tokens,
        "trained": sum(p.numel() for p in encoder.parameters() if p.requires_grad) if encoder is not None else 0,
        "threads": torch.get_num_threads(),
        "peak MB": peak(),
    }
    if encoder is not None:
        result["longest"] = encoder.longest
    if options["judge"]:
        towers.net.eval()
        towers.net.items.refresh()
        fitted = TwoTowerModel(towers.net, towers.users, towers.items, None, None)
        result["recall@20"] = {"towers": evaluate(fitted, split.validation, 20)["recall@20"]}
        result["recall@20"] |= of_mean(fitted.vectors, towers.items, split)
    return result


def judge(options: dict[str, Any]) -> dict[str, Any]:
    """Recall of the vectors in a file, or of the untrained encoder's."""
    from recsys.models.encoders.pretrained import TextEncoder

    split, catalog = load(options["data"])
    if options["vectors"] is None:
        known = catalog.texts.is_not_null()
        found = TextEncoder(Path(options["encoder"])).encode_cached(catalog.texts.filter(known))
        vectors = np.zeros((len(catalog), found.shape[1]), dtype=np.float32)
        vectors[known.to_numpy()] = found
    else:
        vectors = np.load(options["vectors"])
    return {"recall@20": of_mean(vectors, split.train.items, split)}


def of_mean(vectors: np.ndarray, items: Any, split: Any) -> dict[str, float]:
    """recall@20 of ranking all items by cosine to the mean of a history's last items, or to its last item alone."""
    import torch

    from recsys.baselines.scoring import history_matrix
    from recsys.evaluation.evaluate import evaluate
    from recsys.evaluation.protocol import Traits
    from recsys.models.towers import rank_vectors

    unit = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)

    class Mean:
        """Ranks by the mean of the last items."""

        name, traits, users = "mean of the last items", Traits(), split.train.users

        def __init__(self, last: int) -> None:
            self.items, self.last = items, last

        def recommend_rows(self, histories: Any, k: int, *, exclude: Any = None, eligible: Any = None, **_: Any) -> Any:
            means = np.asarray(history_matrix(histories.tail(self.last), len(unit)) @ unit, dtype=np.float32)
            return rank_vectors(torch.from_numpy(means), torch.from_numpy(unit), k, exclude, eligible)

    return {f"last {n}": evaluate(Mean(n), split.validation, 20)["recall@20"] for n in (10, 1)}


NOTES = """Encoder: all-MiniLM-L6-v2; texts: {texts} (title, categories), cut at {longest} tokens on both sides. MNRL:
{pairs:,} pairs of consecutive events' texts, each contrasted within its batch, bfloat16 where the processor has it. Ours:
the same events as histories (every event but a user's first is a target, in its context), {batch:,} positions a step
(`small steps`: 1,600 positions, 128 texts), sampled softmax over drawn items and the batch's own; user tower and, save in
`text alone`, vectors of words are trained along. **A step is not the same step**: MNRL encodes both texts of every pair
with a gradient, repeated ones again. Ours encodes each distinct text of a step once and at most {live} of them, drawn at
random; the step's other items keep the vector that they were last given, so that no gradient reaches the encoder through
them; what is encoded is computed twice (activations are made again in the backward pass, so that memory does not grow). An
interaction of ours therefore costs less and teaches the encoder less; texts / s compares the encoders' own pace, and what
equal time gives is judged apart. Timed: all steps but the first {warm}. Set-up: loading, tokenising and, for ours, encoding
all texts once."""
EQUAL_TIME = """recall@20 on {users:,} validation users after about equal wall time of training (set-up aside; steps
planned by the pace above), all items ranked, seen ones filtered. `towers`: user tower over the history. `last 10`,
`last 1`: cosine to the mean of the last ten items' vectors, or to the last one's: text vectors for MNRL and the
untrained encoder, the item tower's for ours."""


def text_page(found: dict[str, Any]) -> list[str]:
    """Tables of the second part."""
    paces = {name: pace(run) for name, run in found["runs"].items()}
    peer = {key: max(paces[name][key] for name in MNRL) for key in ("speed", "cpu speed", "text speed")}
    facts = next(iter(found["runs"].values())) | found | {"texts": PAIRS, "warm": WARM}
    heads = [
        "contestant", "interactions / s", "× best MNRL", "interactions / CPU s", "×", "s / step", "interactions / step",
        "texts encoded / step", "texts / interaction", "texts / s", "×", "trained in the encoder", "set-up s", "peak MB",
    ]  # fmt: skip
    lines = [
        "## Tuning the text encoder, against sentence-transformers' trainer with multiple-negatives ranking (MNRL)",
        "",
    ]
    lines += [NOTES.format(**facts), *head(heads)]
    for name, run in found["runs"].items():
        own = paces[name]
        times = {key: f"{own[key] / peer[key]:,.1f}" for key in peer}
        cells = [
            name, f"{own['speed']:,.0f}", times["speed"], f"{own['cpu speed']:,.0f}", times["cpu speed"],
            f"{own['step']:,.2f}", f"{own['interactions']:,.0f}", f"{own['texts']:,.0f}",
            f"{own['texts'] / own['interactions']:.3f}", f"{own['text speed']:,.0f}", times["text speed"],
            f"{run['trained']:,}", f"{run['setup']:,.0f}", f"{run['peak MB']:,.0f}",
        ]  # fmt: skip
        lines.append(row(cells))
    if found["judged"]:
        lines += ["", EQUAL_TIME.format(**facts)]
        lines += head(["contestant", "s", "steps", "interactions", "towers", "last 10", "last 1"])
        for name, run in found["judged"].items():
            steps = len(run.get("marks", []))
            spent = [f"{run['seconds']:,.0f}", f"{steps:,}", f"{sum(run['interactions'][:steps]):,}"] if steps else [""] * 3
            values = [run["recall@20"].get(key) for key in ("towers", "last 10", "last 1")]
            lines.append(row([name, *spent, *("" if value is None else f"{value:.4f}" for value in values)]))
    return lines


def pace(run: dict[str, Any]) -> dict[str, float]:
    """Interactions and texts per second and per step, without the first steps."""
    seconds, cpu = (float(end - start) for start, end in zip(run["marks"][WARM - 1], run["marks"][-1], strict=True))
    steps = len(run["marks"]) - WARM
    interactions, texts = (sum(run[name][WARM : WARM + steps]) for name in ("interactions", "texts"))
    return {
        "speed": interactions / seconds,
        "cpu speed": interactions / cpu,
        "text speed": texts / seconds,
        "step": seconds / steps,
        "interactions": interactions / steps,
        "texts": texts / steps,
    }


def main() -> None:
    """Be one contestant."""
    import torch

    options = json.loads(sys.argv[1])
    torch.set_num_threads(options["threads"])
    print(json.dumps(tune(options) if "model" in options else judge(options)))


if __name__ == "__main__":
    main()
