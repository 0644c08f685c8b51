"""Stanford's GloVe archives: where they are, and what is in them."""

from dataclasses import dataclass


@dataclass(frozen=True)
class GloveArchive:
    """One of Stanford's GloVe archives: its digest, and its members by vector size."""

    sha256: str
    zip_name: str
    members: dict[int, str]


GLOVE_ARCHIVES = {
    "6B": GloveArchive(
        sha256="617afb2fe6cbd085c235baf7a465b96f4112bd7f7ccb2b2cbd649fed9cbcf2fb",
        zip_name="glove.6B.zip",
        members={size: f"glove.6B.{size}d.txt" for size in (50, 100, 200, 300)},
    ),
    "840B": GloveArchive(
        sha256="c06db255e65095393609f19a4cfca20bf3a71e20cc53e892aafa490347e3849f",
        zip_name="glove.840B.300d.zip",
        members={300: "glove.840B.300d.txt"},
    ),
}
GLOVE_MIRRORS = (
    "https://downloads.cs.stanford.edu/nlp/data",
    "https://nlp.stanford.edu/data",
    "https://huggingface.co/stanfordnlp/glove/resolve/main",
)
