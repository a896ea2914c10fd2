"""Port Merrow with its answers known: what `mmrag eval demo` measures on.

The collection holds several drawings and passages of each thing, signal cards, charts and scenes of two
things. Questions in words and by a drawing that is not in the collection have many answers, of both kinds;
questions for exactly one picture have one of each; and some ask for what the town does not have. All is drawn
the same every time.
"""

from __future__ import annotations

import random
from pathlib import Path
from typing import Final

from PIL import Image

from langchain_mmrag.demo.corpus import NOTES, SCENES, THINGS, draw_scene, draw_thing
from langchain_mmrag.document_loaders import DirectoryLoader
from langchain_mmrag.evaluation.dataset import EvalDocument, EvalQuery, RetrievalDataset
from langchain_mmrag.training.render.charts import KINDS, draw_chart
from langchain_mmrag.training.render.palette import plural, with_article
from langchain_mmrag.training.render.shapes import ShapeCard, draw_card

SIDE: Final = 128
EXACT: Final = "exact text"
"""Row of the breakdown for questions that one picture and one passage answer."""

_DRAWINGS: Final = 3
_OWN, _PART = 2, 1
"""Grades: shows or tells of it; shows it beside something else."""

_PASSAGES: Final = (
    "The first page of the album is about {}.",
    "My aunt wrote about {} in her letter from the island.",
    "Visitors often ask for {}.",
    "There was a picture of {} on the old postcard.",
)
_COLORS: Final = ("red", "blue", "green", "purple")
_FORMS: Final = ("star", "circle", "square", "triangle")
_COUNTS: Final = (1, 2, 3)
_CHART_COLORS: Final = ("red", "blue", "green")

UNRELATED: Final = """
gorilla, elephant, camel, crocodile, panda, scorpion, spider, pineapple, banana, avocado, eggplant, spaghetti,
sushi, volcano, desert, stadium, factory, satellite, rocket, thermometer, necktie, jeans, kimono, bikini,
handbag, lipstick, loudspeaker, headphone, battery, laptop, printer, television, envelope, scissors, hammer,
dagger, bomb, shield, wrench, pill, syringe, toilet, bathtub, bed
"""
"""Things the embedded model knows and the town does not have."""


def labelled_town(folder: Path) -> RetrievalDataset:
    """Draw the labelled collection into `folder`, and ask for what is in it and what is not."""
    return _Town(folder).dataset()


class _Town:
    """The collection as it grows."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._documents: list[EvalDocument] = []
        self._queries: list[EvalQuery] = []
        self._relevance: dict[str, dict[str, int]] = {}
        self._files = 0
        notes = DirectoryLoader(NOTES).load()
        self._notes = {str(note.metadata.get("heading", "")).lower(): note.page_content for note in notes}

    def dataset(self) -> RetrievalDataset:
        """Everything."""
        answers = self._things()
        self._cards()
        self._charts()
        self._scenes(answers)
        for name, grades in answers.items():
            self._ask(EvalQuery(id=f"words:{name}", text=with_article(name)), grades)
            drawn = self._file(draw_thing(name, seed="asked", side=SIDE))
            self._ask(EvalQuery(id=f"drawing:{name}", image=drawn), grades)
        for name in " ".join(UNRELATED.split()).split(", "):
            self._queries.append(EvalQuery(id=f"unrelated:{name}", text=with_article(name), unrelated=True))
        return RetrievalDataset("demo", self._queries, self._documents, self._relevance)

    def _things(self) -> dict[str, dict[str, int]]:
        """Drawings and passages of each thing; returns what answers for it."""
        answers: dict[str, dict[str, int]] = {}
        for number, name in enumerate(_shown()):
            ids = [
                self._picture(f"{name} {n}", draw_thing(name, seed=str(n), side=SIDE))
                for n in range(_DRAWINGS)
            ]
            said = _PASSAGES[number % len(_PASSAGES)].format(with_article(name))
            passages = [self._passage(f"album: {name}", said), *self._note(name)]
            answers[name] = dict.fromkeys([*ids, *passages], _OWN)
        return answers

    def _cards(self) -> None:
        for color, form in ((color, form) for color in _COLORS for form in _FORMS):
            grades: dict[str, int] = {}
            for count in _COUNTS:
                card = ShapeCard(color, form, count)
                id_ = self._picture(card.text, draw_card(_seeded(card.text), card, SIDE))
                said = self._passage(
                    f"card: {card.text}", f"The card with {card.text} lies in the third drawer."
                )
                self._ask_exactly(card.text, id_, said)
                grades |= {id_: _OWN, said: _OWN}
            many = plural(f"{color} {form}")
            self._ask(EvalQuery(id=f"words:{many}", text=many), grades)

    def _charts(self) -> None:
        for kind in KINDS:
            grades: dict[str, int] = {}
            for color in _CHART_COLORS:
                name = f"{color} {kind}"
                image, _ = draw_chart(_seeded(name), kind, SIDE, color=color)
                grades[self._picture(name, image)] = _OWN
            said = f"On page nine of the report there is {with_article(kind)}."
            passages = [self._passage(f"report: {kind}", said), *self._note(kind)]
            grades |= dict.fromkeys(passages, _OWN)
            self._ask(EvalQuery(id=f"words:{kind}", text=with_article(kind)), grades)
            again, _ = draw_chart(_seeded(f"{kind} asked"), kind, SIDE)
            self._ask(EvalQuery(id=f"drawing:{kind}", image=self._file(again)), grades)

    def _scenes(self, answers: dict[str, dict[str, int]]) -> None:
        for first, second, place in SCENES:
            text = f"{with_article(first)} and {with_article(second)}"
            id_ = self._picture(text, draw_scene(first, second, place, side=SIDE))
            said = self._passage(f"window: {text}", f"In the window of the shop there were {text}.")
            self._ask_exactly(text, id_, said)
            for name in (first, second):
                answers[name] |= {id_: _PART, said: _PART}

    def _ask_exactly(self, text: str, picture: str, passage: str) -> None:
        """One picture and one passage answer."""
        query = EvalQuery(id=f"exact:{text}", text=text, modality=EXACT)
        self._ask(query, {picture: _OWN, passage: _OWN})

    def _ask(self, query: EvalQuery, grades: dict[str, int]) -> None:
        self._queries.append(query)
        self._relevance[query.id] = grades

    def _picture(self, name: str, image: Image.Image) -> str:
        self._documents.append(EvalDocument(id=f"picture: {name}", image=self._file(image)))
        return self._documents[-1].id

    def _passage(self, id_: str, text: str) -> str:
        self._documents.append(EvalDocument(id=id_, text=text))
        return id_

    def _note(self, name: str) -> list[str]:
        """What the notes of the town say of it, if they do."""
        return [self._passage(f"note: {name}", self._notes[name])] if name in self._notes else []

    def _file(self, image: Image.Image) -> str:
        """A new file of a picture; its name is a number, as a search by words would read what it shows."""
        path = self._folder / f"{self._files:04}.png"
        self._files += 1
        path.parent.mkdir(parents=True, exist_ok=True)
        image.save(path)
        return str(path.absolute())


def _shown() -> list[str]:
    """Half of the town's things: those in scenes, and every third of the others."""
    paired = {name for first, second, _ in SCENES for name in (first, second)}
    others = [name for name in THINGS if name not in paired]
    return [*sorted(paired), *others[::3]]


def _seeded(key: str) -> random.Random:
    return random.Random(f"labelled {key}")  # noqa: S311  the same picture every time is what is wanted
