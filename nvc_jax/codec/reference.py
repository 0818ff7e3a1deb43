"""The rules of the reference buffer, the same on both sides (spec 9)."""

from jax import Array

from nvc_jax.codec.frame import FrameCodec
from nvc_jax.models.state import Reference
from nvc_jax.spec import FrameKind


class ReferenceBuffer:
    """Holds what the next inter frame is predicted from."""

    def __init__(self, inter: FrameCodec) -> None:
        self._inter = inter
        self._reference: Reference | None = None
        self._qp = 0.0

    @property
    def empty(self) -> bool:
        """Whether no frame has been coded yet."""
        return self._reference is None

    def reference(self, kind: FrameKind, refresh: bool) -> Reference | None:
        """The reference of the next frame.

        A refresh replaces the feature of the last frame by the picture that was reconstructed from it.
        """
        if kind == "I":
            return None
        if refresh and self._reference is not None and self._reference.kind == "feature":
            picture = self._inter.reconstruct(self._reference.value, self._qp)
            self._reference = Reference(picture, "picture")
        return self._reference

    def keep_picture(self, picture: Array) -> None:
        """After an intra frame."""
        self._reference = Reference(picture, "picture")

    def keep_feature(self, feature: Array, qp: float) -> None:
        """After an inter frame; its qp is that of a later refresh."""
        self._reference, self._qp = Reference(feature, "feature"), qp
