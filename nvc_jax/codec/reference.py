"""The rules of the reference buffer, the same on both sides (spec 9)."""

from jax import Array

from nvc_jax.codec.frame import FrameCodec
from nvc_jax.models.state import Reference, Synthesis
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
            picture = self._inter.reconstruct(Synthesis(self._reference.value), self._qp)
            self._reference = Reference(picture, "picture")
        return self._reference

    def needs_picture(self, kind: FrameKind) -> bool:
        """Whether a frame of this kind leaves its picture behind, not its feature."""
        return kind == "I" or self._inter.motion

    def keep(self, kind: FrameKind, feature: Array, picture: Array | None, qp: float) -> None:
        """After a frame; its qp is that of a later refresh, its picture may be missing if it is not needed."""
        self._qp = qp
        if self.needs_picture(kind):
            assert picture is not None
            self._reference = Reference(picture, "picture")
        else:
            self._reference = Reference(feature, "feature")
