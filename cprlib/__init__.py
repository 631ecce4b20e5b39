"""Cascade Positive Retrieval: self-supervised video representation learning with two views."""

__version__ = "0.1.0"
__all__ = ["check_environment", "load_encoder"]


def __getattr__(name: str):
    """Import `load_encoder` on first use only, so that `cprlib.cascade` alone is imported quickly."""
    if name != "load_encoder":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from cprlib.evaluation.video_encoder import load_encoder

    return load_encoder


def check_environment() -> str:
    """Say in one line whether torch, torchvision, OpenCV and the video readers fit together.

    Returns:
        The line, e.g. ``"torch 2.15.0, torchvision 0.29.2, OpenCV 5.0.0, decord 0.6.0, PyAV 18.1.0, no GPU"``.

    Raises:
        RuntimeError: names what does not fit, and the command that fixes it.
    """
    import av
    import cv2
    import torch

    try:
        import torchvision
    except (ImportError, RuntimeError) as error:
        raise RuntimeError(
            f"torchvision does not fit torch {torch.__version__} ({error}); install both in one step: "
            "pip install -c constraints.txt torch torchvision"
        ) from error
    if not hasattr(cv2, "optflow"):
        raise RuntimeError(
            f"OpenCV {cv2.__version__} has no optflow module (TV-L1); "
            "pip uninstall opencv-python-headless, then pip install opencv-contrib-python-headless"
        )
    try:
        import decord

        decord_version = f"decord {decord.__version__}"
    except ImportError:
        decord_version = "no decord (PyAV reads every video)"
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else "no GPU"
    return (
        f"torch {torch.__version__}, torchvision {torchvision.__version__}, OpenCV {cv2.__version__}, "
        f"{decord_version}, PyAV {av.__version__}, {gpu}"
    )
