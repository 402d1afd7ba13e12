"""Load a text encoder, and prove that it is whole: no weight drawn at random, a tokenizer that knows words and can pad."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from recsys.errors import EncoderError
from recsys.models.encoders.folder import check_tokenizer, encoder_files
from recsys.models.encoders.prepare import prepared, prompts_of

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

_UNLIMITED = 10**6
"""A limit of so many tokens is none: tokenizers without one say 10^30."""


def first_line(error: BaseException) -> str:
    """The first line of an error that says something, cut where it is long."""
    return next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)[:300]


def load_encoder(folder: Path, device: str = "cpu") -> SentenceTransformer:
    """An encoder in evaluation mode, from Hugging Face or sentence-transformers layout; in float32 on a CPU.

    Its ``prompts`` are those of :func:`recsys.models.encoders.prepare.prompts_of`, under ``query`` and ``document``.

    Raises
    ------
    EncoderError
        It cannot be loaded, or lacks weights, a tokenizer or a padding token.
    """
    from sentence_transformers import SentenceTransformer  # noqa: PLC0415

    folder = prepared(folder)
    query, document = prompts_of(folder)
    try:
        with _quiet():
            model = SentenceTransformer(
                str(folder),
                device=device,
                local_files_only=True,
                prompts={"query": query, "document": document},
                model_kwargs={"use_safetensors": True},
            ).eval()
    except Exception as error:
        raise EncoderError(f"the encoder in {folder} cannot be loaded: {first_line(error)}") from error
    model.default_prompt_name = None
    model.model_card_data.model = None  # a circle, which would keep the encoder in memory after its last use
    if device == "cpu":
        model.float()  # half precision is slow there, and has not every operation
    _check_weights(model, folder)
    _check_tokens(model, folder)
    return model


@contextmanager
def _quiet() -> Iterator[None]:
    """No bar over the 0.1 s of reading weights, and no table of weights: what is missing is found and refused here."""
    from transformers.utils import logging  # noqa: PLC0415

    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    before = logging.get_verbosity()
    logging.set_verbosity(50)  # critical
    try:
        yield
    finally:
        logging.set_verbosity(before)


def _check_weights(model: SentenceTransformer, folder: Path) -> None:
    """Refuse a transformer if its files lack a weight, which each process would draw at random."""
    places = sorted({file.parent for name, file in encoder_files(folder).items() if Path(name).name == "config.json"})
    for module in model.modules():
        backbone: Any = getattr(module, "auto_model", None)
        if not hasattr(type(backbone), "from_pretrained"):
            continue
        lacking = []
        for place in places:
            try:
                with _quiet():
                    _, found = type(backbone).from_pretrained(
                        str(place),
                        config=backbone.config,
                        device_map="meta",  # names and shapes alone
                        output_loading_info=True,
                        local_files_only=True,
                        use_safetensors=True,
                    )
            except (OSError, ValueError, RuntimeError):
                continue  # the folder of another module
            pooled = getattr(module, "module_output_name", None) == "sentence_embedding"
            lacking.append(sorted(name for name in found["missing_keys"] if pooled or not name.startswith("pooler.")))
        if lacking and (least := min(lacking, key=len)):
            raise EncoderError(
                f"the weights in {folder} are not whole: {len(least)} are missing, such as {least[0]}, and would be "
                "random; copy or download the encoder again"
            )


def _check_tokens(model: SentenceTransformer, folder: Path) -> None:
    """Refuse a tokenizer that knows no words, or cannot pad; keep texts within the positions that there are."""
    from transformers import PreTrainedTokenizerBase  # noqa: PLC0415

    tokenizer: Any = model.tokenizer
    if not isinstance(tokenizer, PreTrainedTokenizerBase):
        return
    check_tokenizer(folder)
    if len(tokenizer) <= len(tokenizer.all_special_ids):
        raise EncoderError(f"the tokenizer in {folder} knows no words; copy its files from where the encoder came from")
    if tokenizer.pad_token is None:
        raise EncoderError(
            f"the tokenizer in {folder} has no padding token; add one to tokenizer_config.json, such as "
            f'"pad_token": {str(tokenizer.eos_token or tokenizer.unk_token or "[PAD]")!r}'.replace("'", '"')
        )
    limit = positions_of(model)
    if limit is not None and (model.max_seq_length or _UNLIMITED) > limit:
        model.max_seq_length = limit


def positions_of(model: SentenceTransformer) -> int | None:
    """Tokens for which a transformer has learned positions; None where it needs none."""
    import torch  # noqa: PLC0415

    found = [
        module.num_embeddings
        - (0 if module.padding_idx is None else module.padding_idx + 1)  # those of RoBERTa begin later
        for name, module in model.named_modules()
        if isinstance(module, torch.nn.Embedding)
        and name.rpartition(".")[2] in ("position_embedding", "position_embeddings", "wpe")
        and "vision" not in name
    ]
    return min(found, default=None)


def count_cut(model: SentenceTransformer, texts: list[str], most: int | None = None) -> int:
    """How many texts have more tokens than an encoder reads, or than ``most``."""
    limit, tokenizer = model.max_seq_length if most is None else most, model.tokenizer
    if limit is None or limit >= _UNLIMITED or not callable(tokenizer):
        return 0
    cut = 0
    for start in range(0, len(texts), 4096):
        found = tokenizer(texts[start : start + 4096], verbose=False)["input_ids"]
        cut += sum(len(tokens) > limit for tokens in found)
    return cut
