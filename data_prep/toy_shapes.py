"""The parts of the built-in videos: scenes, things and motions, as functions of place and time."""

import numpy as np


def soft(distance: np.ndarray, width: float) -> np.ndarray:
    """1 inside (distance < 0), 0 outside, with an edge `width` wide, so that nothing flickers when it moves."""
    return 1 / (1 + np.exp(np.clip(distance / width, -30, 30)))


def waves(phase: np.ndarray, sharp: float = 3.0) -> np.ndarray:
    """0..1 with period 2 pi; the larger `sharp`, the flatter at both ends."""
    return 0.5 + 0.5 * np.tanh(sharp * np.sin(phase))


def scene(kind: str, y: np.ndarray, x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Brightness 0..1 of the background at (y, x), in pixels."""
    angle, (a, b), pitch = rng.uniform(-0.4, 0.4), rng.uniform(0, 6.28, 2), 6.28 / rng.uniform(11, 16)
    u, v = np.cos(angle) * x + np.sin(angle) * y, np.cos(angle) * y - np.sin(angle) * x
    match kind:
        case "waves":
            return 0.5 + 0.5 * np.sin(pitch * u + a + 1.5 * np.sin(v / 6 + b))
        case "checks":
            return abs(waves(pitch * u + a) + waves(pitch * v + b) - 1)
        case "stripes":
            return waves(0.7 * pitch * (u + v) + a) * (0.6 + 0.4 * np.sin(pitch * v + b))
        case "ripples":
            return waves(pitch * np.hypot(y - 30 - 25 * np.sin(a), x - 40 - 40 * np.sin(b)), 1.5)
        case "bricks":
            row = np.floor(pitch * v / 6.28 + b)
            joint = soft(0.75 - abs(np.sin(0.5 * pitch * v + 3.14 * b)), 0.1)
            return 0.4 * joint + 0.6 * waves(0.7 * pitch * u + a + 3.14 * (row % 2))
    fields = rng.normal(0, 0.2, (6, 2))  # clouds: a few waves of random direction
    phases = rng.uniform(0, 6.28, 6)
    return 0.5 + 0.18 * sum(np.sin(fy * y + fx * x + p) for (fy, fx), p in zip(fields, phases, strict=True))


def thing(look: str, y: np.ndarray, x: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Coverage and brightness (each 0..1) of the thing in its own coordinates, in which its radius is 1 to 2."""
    pitch, phase = rng.uniform(4.5, 6.5), rng.uniform(0, 6.28)

    def box(y: np.ndarray, x: np.ndarray, height: float, width: float) -> np.ndarray:
        return np.maximum(abs(y) / height, abs(x) / width) - 1  # negative inside

    match look:
        case "ball":
            outline, pattern = np.hypot(y, x) - 1, waves(pitch * x + phase) * waves(pitch * y + phase)
        case "bar":
            outline, pattern = box(y, x, 0.5, 1.7), waves(pitch * x + phase)
        case "corner":
            foot, leg = box(y - 0.85, x, 0.42, 1.3), box(y, x + 0.9, 1.27, 0.42)
            outline, pattern = np.minimum(foot, leg), waves(pitch * (x - y) + phase)
        case "pole":
            outline, pattern = box(y, x, 1.5, 0.45), waves(pitch * (x + y) + phase)
        case "pair":
            radius = np.hypot(y, abs(x) - 1.4)  # of the nearer one
            outline, pattern = radius - 0.7, waves(2 * pitch * radius + phase)
        case "cross":
            arms = np.minimum(abs(x), abs(y)) / 0.34
            outline, pattern = np.maximum(arms, np.hypot(y, x) / 1.65) - 1, waves(pitch * (abs(x) + abs(y)) + phase)
    return soft(outline, 0.06), pattern


def swing(angle: np.ndarray, way: int) -> np.ndarray:
    """To and fro, -1..1, with the period 2 pi: smoothly, with rests at both ends, or at an even pace."""
    wave = np.sin(angle)
    return (wave, np.tanh(2.2 * wave) / np.tanh(2.2), np.arcsin(0.99 * wave) / 1.57)[way]


def trajectory(motion: str, t: np.ndarray, way: int, rng: np.random.Generator) -> tuple[np.ndarray, ...]:
    """Offset y and x in pixels, turn in radians and size factor of the thing over time t (frames)."""
    rate, phase, still = 6.28 / rng.uniform(14, 22), rng.uniform(0, 6.28), np.zeros_like(t)
    hand, far, tilt, much = rng.choice([-1, 1]), rng.uniform(7, 11), rng.uniform(-0.2, 0.2), rng.uniform()
    there = swing(rate * t + phase, way)
    y, x, turn, size = still, still, tilt + still, still + 1
    match motion:
        case "slide":
            x = 1.2 * far * there
        case "bounce":
            y = far * there
        case "spin":  # evenly, in jerks, or to and fro
            course = (t, t + 0.9 * there / rate, 9 * swing(0.5 * rate * t + phase, way))[way]
            turn = phase + hand * (0.18 + 0.12 * much) * course
        case "pulse":
            size = 1 + (0.28 + 0.12 * much) * there
        case "circle":
            y, x = far * there, hand * far * swing(rate * t + phase + 1.57, way)
        case "diagonal":
            y, x = 0.8 * far * there, 0.9 * hand * far * there
    return y, x, turn, size
