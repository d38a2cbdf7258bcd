"""Weight files -> Whisper's encoder, from OpenAI's, Hugging Face's and CTranslate2's formats."""

import re
import struct
from pathlib import Path

import numpy as np
import torch

from latentsync import weights
from latentsync.audio.whisper import WhisperStates
from latentsync.errors import OptionError, WeightsError
from latentsync.weights.tensors import StateDict, load_exactly, read_state_dict, renamed

WHISPER_FILES = {
    "tiny.en": "whisper/tiny.en.ctranslate2.bin",
    "tiny": "whisper/tiny.pt",
    "small": "whisper/small.pt",
}
WHISPER_HEAD_WIDTH = 64
ENGLISH_VOCABULARY = 51864  # tokens; the multilingual models have one more
VOCABULARY_TENSORS = (  # of OpenAI, Hugging Face and CTranslate2, one row per token
    "decoder.token_embedding.weight",
    "model.decoder.embed_tokens.weight",
    "decoder.embed_tokens.weight",
    "decoder/embeddings/weight",
)

_OPENAI_TO_TRANSFORMERS = (
    (r"^encoder\.", ""),
    (r"^blocks\.", "layers."),
    (r"\.attn\.query\.", ".self_attn.q_proj."),
    (r"\.attn\.key\.", ".self_attn.k_proj."),
    (r"\.attn\.value\.", ".self_attn.v_proj."),
    (r"\.attn\.out\.", ".self_attn.out_proj."),
    (r"\.attn_ln\.", ".self_attn_layer_norm."),
    (r"\.mlp\.0\.", ".fc1."),
    (r"\.mlp\.2\.", ".fc2."),
    (r"\.mlp_ln\.", ".final_layer_norm."),
    (r"^ln_post\.", "layer_norm."),
    (r"^positional_embedding$", "embed_positions.weight"),
)


def whisper_from_openai(state_dict: StateDict, source: str = "the checkpoint") -> StateDict:
    """The encoder's tensors of an OpenAI checkpoint under transformers' names."""

    def rename(name: str) -> str:
        for pattern, replacement in _OPENAI_TO_TRANSFORMERS:
            name = re.sub(pattern, replacement, name)
        return name

    encoder = {name: tensor for name, tensor in state_dict.items() if name.startswith("encoder.")}
    return renamed(encoder, rename, source)


def whisper_from_transformers(state_dict: StateDict, source: str = "the checkpoint") -> StateDict:
    """The encoder's tensors of a Hugging Face Whisper checkpoint (`model.encoder.*` or `encoder.*`)."""
    prefix = re.compile(r"^(model\.)?encoder\.")
    encoder = {name: tensor for name, tensor in state_dict.items() if prefix.match(name)}
    return renamed(encoder, lambda name: prefix.sub("", name), source)


_CTRANSLATE2_LAYER = (
    ("self_attention/layer_norm", "self_attn_layer_norm"),
    ("self_attention/linear_1", "self_attn.out_proj"),
    ("ffn/layer_norm", "final_layer_norm"),
    ("ffn/linear_0", "fc1"),
    ("ffn/linear_1", "fc2"),
)


def whisper_from_ctranslate2(variables: dict[str, np.ndarray]) -> StateDict:
    """The encoder's tensors of a CTranslate2 model under transformers' names; the file has q, k and v stacked."""
    suffixes = {"weight": "weight", "bias": "bias", "gamma": "weight", "beta": "bias"}
    renamed: dict[str, np.ndarray] = {"embed_positions.weight": variables["encoder/position_encodings/encodings"]}
    pairs = [(f"encoder/conv{i}", f"conv{i}") for i in (1, 2)] + [("encoder/layer_norm", "layer_norm")]
    layers = sum(
        name.startswith("encoder/layer_") and name.endswith("linear_0/weight") and "ffn" in name for name in variables
    )
    for i in range(layers):
        pairs += [(f"encoder/layer_{i}/{theirs}", f"layers.{i}.{ours}") for theirs, ours in _CTRANSLATE2_LAYER]
        for kind in ("weight", "bias"):
            stacked = variables[f"encoder/layer_{i}/self_attention/linear_0/{kind}"]
            for part, values in zip(("q_proj", "k_proj", "v_proj"), np.split(stacked, 3), strict=True):
                if (part, kind) != ("k_proj", "bias"):  # Whisper's keys have no bias; the stored one is zero
                    renamed[f"layers.{i}.self_attn.{part}.{kind}"] = values
    for theirs, ours in pairs:
        for suffix, kind in suffixes.items():
            if f"{theirs}/{suffix}" in variables:
                renamed[f"{ours}.{kind}"] = variables[f"{theirs}/{suffix}"]
    return {name: torch.from_numpy(values.astype(np.float32)) for name, values in renamed.items()}


def read_ctranslate2(path: Path) -> dict[str, np.ndarray]:
    """The variables of a CTranslate2 `model.bin` (binary version 6), little-endian.

    Layout: version u32, specification name, revision u32, count u32, then for each variable its name, rank u8, sizes
    u32, type u8, byte count u32, bytes. A name is its length u16, then that many bytes, of which the last is zero.

    Raises:
        WeightsError: the file has another version or is damaged.
    """
    types = (np.float32, np.int8, np.int16, np.int32, np.float16)
    data = path.read_bytes()
    position = 0

    def take(form: str) -> int:
        nonlocal position
        (value,) = struct.unpack_from(f"<{form}", data, position)
        position += struct.calcsize(f"<{form}")
        return value

    def take_name() -> str:
        nonlocal position
        length = take("H")
        position += length
        return data[position - length : position - 1].decode()

    try:
        if (version := take("I")) != 6:
            raise WeightsError(f"{path} has CTranslate2 version {version}; version 6 is known")
        take_name(), take("I")
        variables = {}
        for _ in range(take("I")):
            name = take_name()
            sizes = [take("I") for _ in range(take("B"))]
            dtype, length = np.dtype(types[take("B")]), take("I")
            variables[name] = np.frombuffer(data, dtype, length // dtype.itemsize, position).reshape(sizes)
            position += length
    except (struct.error, IndexError, ValueError, UnicodeDecodeError) as error:
        raise WeightsError(f"{path} is damaged ({error}); delete it and fetch it again") from error
    return variables


def whisper_name_for(cross_attention_dim: int) -> str:
    """The multilingual Whisper that a published UNet of this audio width was trained with.

    Raises:
        OptionError: the width is neither 384 nor 768.
    """
    names = {384: "tiny", 768: "small"}
    if cross_attention_dim not in names:
        raise OptionError(f"cross_attention_dim is {cross_attention_dim}; 384 (Whisper tiny) and 768 (small) are known")
    return names[cross_attention_dim]


def load_whisper(source: str | Path) -> WhisperStates:
    """Whisper's encoder by name ("tiny.en", "tiny", "small") or from a file of OpenAI, Hugging Face or CTranslate2.

    Raises:
        WeightsError: the file is not on this machine and cannot be fetched, or it is not a Whisper.
    """
    path = weights.locate(WHISPER_FILES[source]) if source in WHISPER_FILES else Path(source)
    content, state_dict = _read(path)
    conv1 = state_dict.get("conv1.weight")
    if conv1 is None or conv1.ndim != 3:
        raise WeightsError(
            f"{path} holds no Whisper encoder (conv1 is absent or misshapen); give Whisper tiny or small"
        )
    width = conv1.shape[0]
    layers = len({name.split(".")[1] for name in state_dict if name.startswith("layers.")})
    with torch.device("meta"):
        states = WhisperStates.from_dims(width, max(width // WHISPER_HEAD_WIDTH, 1), layers)
    load_exactly(states.encoder, state_dict, str(path))
    states.english_only = any(
        content[name].shape[:1] == (ENGLISH_VOCABULARY,) for name in VOCABULARY_TENSORS if name in content
    )
    return states


def _read(path: Path) -> tuple[dict, StateDict]:
    """All the arrays of a file under their own names, and the encoder's under transformers'."""
    if path.suffix == ".bin" and path.is_file() and not _is_torch_file(path):
        variables = read_ctranslate2(path)
        try:
            return variables, whisper_from_ctranslate2(variables)
        except (KeyError, ValueError) as error:
            raise WeightsError(f"{path} is a CTranslate2 model, but not a Whisper ({error} does not fit)") from error
    content = read_state_dict(path)
    is_openai = any(name.startswith("encoder.blocks.") for name in content)
    return content, (whisper_from_openai if is_openai else whisper_from_transformers)(content, str(path))


def _is_torch_file(path: Path) -> bool:
    with open(path, "rb") as file:
        return file.read(2) in (b"PK", b"\x80\x02")
