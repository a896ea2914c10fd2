"""What is asked of this package, and how much is measured to tell."""

from dataclasses import dataclass


@dataclass
class Size:
    """How much is measured."""

    small: int = 32
    large: int = 8
    captions: int = 1000
    questions: int = 40
    rounds: int = 5
    starts: int = 3
    photos: int = 500
    rival_photos: tuple[int, int] = (16, 32)
    rows: int = 1000


QUICK = Size(
    small=16, large=4, captions=250, questions=15, rounds=2, starts=1, photos=64, rival_photos=(8, 16)
)


@dataclass
class Bar:
    """A line of the last table: factors by which this package does better, and what they should be."""

    work: str
    against_baseline: float | None = None
    baseline_bar: float | None = None
    against_best: float | None = None
    best_bar: float | None = None
    best: str = ""
    note: str = ""

    def line(self) -> list[str]:
        return [
            self.work,
            told(self.against_baseline, self.baseline_bar) or self.note,
            told(self.against_best, self.best_bar) or self.note,
            self.best,
        ]


def told(figure: float | None, bar: float | None) -> str:
    """A factor, its bar and whether it is reached."""
    if figure is None:
        return ""
    if bar is None:
        return f"{figure:.2f}x"
    return f"{figure:.2f}x of {bar:g}x: {'reached' if figure >= bar else 'NOT reached'}"
