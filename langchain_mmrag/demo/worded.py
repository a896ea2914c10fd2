"""Port Merrow's papers with their answers known: what `mmrag eval words` measures on.

Invoices and work orders by their numbers, people, dates, scans with what is written in them, photographs
with captions, with telling file names and with none; beside them passages that are told apart by meaning
alone, and a log whose words say nothing. The firms are called after the things in the photographs, so that
whoever looks for a lemon also finds the word on the bills of Lemon Works.

Everything follows from the seed. Even seeds and odd ones share no thing, person, firm or subject: what was
chosen by the even ones is checked on the odd.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

from PIL import Image

from langchain_mmrag.demo.corpus import THINGS, draw_thing
from langchain_mmrag.demo.labelled import UNRELATED
from langchain_mmrag.evaluation.dataset import EvalDocument, EvalQuery, RetrievalDataset
from langchain_mmrag.training.render.charts import KINDS, draw_chart
from langchain_mmrag.training.render.palette import with_article
from langchain_mmrag.types import OCR_TEXT

SIDE: Final = 128

IDENTIFIER: Final = "identifier"
IDENTIFIER_IN_WORDS: Final = "identifier in words"
NAME: Final = "name"
MISSPELT: Final = "misspelt name"
DATE: Final = "date"
NAME_AND_THING: Final = "name and thing"
FILE_NAME: Final = "file name"
QUESTION: Final = "question"
DESCRIPTION: Final = "description"
COMMON_WORDS: Final = "common words"
TOPIC: Final = "subject"
"""What queries are, as rows of the breakdown."""


def _listed(words: str) -> tuple[str, ...]:
    return tuple(words.split())


_THINGS: Final = 36
_PEOPLE: Final = 12
_INVOICES: Final = 40
_FIRM_COUNT: Final = 5
_SCANS: Final = 16
_POSTERS: Final = 10
_LOGGED: Final = 70
_SUBJECTS: Final = 6
_OF_A_SUBJECT: Final = 10

_FIRST: Final = _listed("""
Ingrid Anselm Beatrix Corvin Dagny Edvard Freya Gustav Hedda Ivar Jorunn Kasper Liv Magnus Nadia Oskar Petra
Quentin Ragna Sigurd Thea Ulrik Vera Wenzel
""")
_LAST: Final = _listed("""
Halvorsen Okonkwo Brandt Castellano Dvorak Eriksen Fontaine Grigorescu Hakimi Ibarra Jankowski Kowalczyk
Lindqvist Moreau Nakamura Olufsen
""")
_MONTHS: Final = _listed(
    "January February March April May June July August September October November December"
)
_FIRMS: Final = ("Works", "Trading", "& Sons", "Supplies", "Brothers", "Company")
_GOODS: Final = ("rope", "paint", "timber", "canvas", "nails", "tar", "glass", "wire", "brass", "felt")
_EVENTS: Final = _listed(
    "regatta jubilee bazaar pageant carnival gala auction concert parade banquet"
    " market masquerade tournament premiere reunion picnic matinee exhibition raffle"
    " procession"
)
_SAID: Final = (
    "The first page of the album is about {}.",
    "My aunt wrote about {} in her letter from the island.",
    "Visitors often ask for {}.",
    "There was a picture of {} on the old postcard.",
)
_QUESTIONS: Final = (
    "What was written about {}?",
    "Which page tells of {}?",
    "Where can I read about {}?",
    "Who asked for {}?",
)
_LOG: Final = (
    "Harbor log of {date}: the wind was {wind} and the old boats stayed in the town.",
    "Harbor log of {date}: a picture for the album, {wind} wind, and a letter to the island.",
    "Harbor log of {date}: visitors on the quay, the wind {wind}, a quiet page in the book.",
)
_COMMON: Final = (
    "a picture of {} in the album of the harbor",
    "the old letter from the island with {}",
    "what is that with {} and who has it",
    "a page about {} in the town log",
)
_WINDS: Final = ("light", "fresh", "strong", "northerly", "westerly", "gentle")
_SUBJECT_WORDS: Final = tuple(
    line.split()
    for line in """
    tariff customs levy excise duty declaration bond broker consignment clearance
    fever physician remedy symptom dosage clinic recovery infection nurse prescription
    verdict tribunal plaintiff statute appeal testimony counsel hearing clause magistrate
    sonata tempo chord melody rehearsal overture conductor cadence octave ensemble
    harvest furrow seed irrigation orchard fertilizer yield plough barley pasture
    dividend ledger creditor audit mortgage interest loan deposit auditor balance
    curriculum lesson pupil grammar examination homework syllabus tutor essay classroom
    mortar beam foundation masonry scaffold joist plaster lintel surveyor brickwork
    simmer broth marinade oven garnish seasoning recipe knead dough stew
    comet orbit nebula eclipse meridian planet azimuth galaxy observatory astronomer
    hull keel rudder rigging caulking bulkhead mast ballast shipwright drydock
    manuscript parchment binding quill archive folio scribe chronicle vellum catalog
    """.strip().split("\n")
)
_ABOUT: Final = (
    "They spoke of {}, {} and {} until noon.",
    "On the desk lay notes on {}, the {} and one {}.",
    "First came the {}, then the {}, at last the {}.",
)


def labelled_papers(folder: Path, seed: int = 0) -> RetrievalDataset:
    """Write the pictures of the collection into `folder`, and ask for what is in it.

    Args:
        folder: Where the pictures go.
        seed: Another one makes another collection.
    """
    return _Papers(folder, seed).dataset()


@dataclass
class _Papers:
    """The collection as it grows."""

    folder: Path
    seed: int
    documents: list[EvalDocument] = field(default_factory=list)
    queries: list[EvalQuery] = field(default_factory=list)
    relevance: dict[str, dict[str, int]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._random = random.Random(f"papers {self.seed}")  # noqa: S311  the same every time is what is wanted
        self._things = self._some(THINGS, _THINGS)
        self._about: dict[str, dict[str, int]] = {thing: {} for thing in self._things}
        first, last = self._some(_FIRST, _PEOPLE), self._some(_LAST, _PEOPLE)
        # Some share a family name.
        self._people = [f"{name} {last[place % len(last)]}" for place, name in enumerate(first)]
        self._named: dict[str, dict[str, int]] = {person: {} for person in self._people}
        self._dated: dict[str, dict[str, int]] = {}

    def _some(self, words: Sequence[Any] | dict[str, str], count: int) -> list[Any]:
        """A choice of those of this half, in an order of its own."""
        half = sorted(words)[self.seed % 2 :: 2]
        return self._random.sample(half, min(count, len(half)))

    def dataset(self) -> RetrievalDataset:
        """Everything."""
        self._photographs()
        self._passages()
        self._invoices()
        self._orders()
        self._scans()
        self._posters()
        self._log()
        self._subjects()
        self._ask_for_people_and_dates()
        self._ask_for_things()
        for name in " ".join(UNRELATED.split()).split(", "):
            self.queries.append(
                EvalQuery(id=f"unrelated: {name}", text=f"the old {name} of the harbor", unrelated=True)
            )
        return RetrievalDataset(f"words {self.seed}", self.queries, self.documents, self.relevance)

    # --- what is there --------------------------------------------------------------------------------------

    def _photographs(self) -> None:
        """Of each thing two without words, named by a camera and by a digest; of some one with a caption."""
        for place, thing in enumerate(self._things):
            for number, file in enumerate([f"IMG_{4000 + 7 * place}", _digest(f"{self.seed} {thing}")]):
                image = draw_thing(thing, seed=f"{self.seed} {number}", side=SIDE)
                self._about[thing][self._picture(f"{thing} {number}", image, file)] = 2
            if place % 3 == 0:
                person, date = self._person(place // 3), self._date()
                caption = f"{person} with {with_article(thing)}, {date}"
                file = _digest(f"{self.seed} {caption}")
                image = draw_thing(thing, seed=f"{self.seed} caption", side=SIDE)
                id_ = self._picture(f"{thing} captioned", image, file, text=caption)
                self._about[thing][id_] = 2
                self._enter(id_, person, date)
                asked = f"{person.split()[0]} with the {thing}"
                self._ask(NAME_AND_THING, asked, {id_: 2})

    def _passages(self) -> None:
        """Of two things in three; the others are only seen."""
        for place, thing in enumerate(self._things):
            if place % 3 != 1:
                said = _SAID[place % len(_SAID)].format(with_article(thing))
                self._about[thing][self._passage(f"album: {thing}", said)] = 2
                asked = _QUESTIONS[place % len(_QUESTIONS)].format(f"the {thing}")
                self._ask(QUESTION, asked, self._about[thing])

    def _invoices(self) -> None:
        start = self._random.randrange(100, 900)
        for number in range(_INVOICES):
            code = f"INV-{2020 + self.seed % 7}-{start + number:04}"
            goods, amount = self._random.choice(_GOODS), self._random.randrange(20, 900)
            date = self._date()
            text = f"Invoice {code} from {self._firm(number)}: {goods}, {amount} crowns, due on {date}."
            id_ = self._passage(f"invoice: {code}", text)
            self._enter(id_, None, date)
            if number % 4 == 1:
                self._ask(IDENTIFIER, code, {id_: 2})
            elif number % 4 == 2:  # noqa: PLR2004
                self._ask(IDENTIFIER_IN_WORDS, f"How many crowns did invoice {code} come to?", {id_: 2})
            elif number % 4 == 3:  # noqa: PLR2004
                self._ask(IDENTIFIER_IN_WORDS, f"please find the paperwork for {code}", {id_: 2})

    def _orders(self) -> None:
        """Who has mended what, and which part it took."""
        for place, thing in enumerate(self._things[::2]):
            person, date = self._person(place), self._date()
            part = f"{self._random.choice('HKMRT')}X-{self._random.randrange(1000, 9999)}-{'ABC'[place % 3]}"
            text = f"On {date} {person} took part {part} and mended the {thing}."
            id_ = self._passage(f"order: {part}", text)
            self._about[thing][id_] = 1
            self._enter(id_, person, date)
            if place % 2:
                self._ask(IDENTIFIER, part, {id_: 2})
            else:
                self._ask(NAME_AND_THING, f"When did {person} mend the {thing}?", {id_: 2})

    def _scans(self) -> None:
        """Charts with what is written in them."""
        for number in range(_SCANS):
            kind, code = KINDS[number % len(KINDS)], f"REP/{self._random.randrange(100, 999)}.{number}"
            person, date = self._person(number), self._date()
            image, _ = draw_chart(self._random, kind, SIDE)
            written = f"Report {code}\n{person}\n{date}\nPage 1 of 4"
            id_ = self._picture(f"scan {number}", image, f"scan_{number:04}", metadata={OCR_TEXT: written})
            self._enter(id_, person, date)
            if number % 2:
                self._ask(IDENTIFIER, code, {id_: 2})
            else:
                self._ask(IDENTIFIER_IN_WORDS, f"the chart in report {code}", {id_: 2})

    def _posters(self) -> None:
        """Pictures of a thing whose files tell what it was for."""
        for number, event in enumerate(self._some(_EVENTS, _POSTERS)):
            thing, year = self._things[2 * number + 1], 1970 + self._random.randrange(50)
            image = draw_thing(thing, seed=f"{self.seed} poster", side=SIDE)
            id_ = self._picture(f"poster {event}", image, f"{event}_poster_{year}")
            self._about[thing][id_] = 2
            asked = f"{event} poster {year}" if number % 2 else f"the poster of the {event}"
            self._ask(FILE_NAME, asked, {id_: 2})

    def _log(self) -> None:
        for number in range(_LOGGED):
            date, wind = self._date(), self._random.choice(_WINDS)
            id_ = self._passage(f"log {number}", _LOG[number % len(_LOG)].format(date=date, wind=wind))
            self._enter(id_, None, date)

    def _subjects(self) -> None:
        """Passages that share a subject, and only some of its words."""
        for subject in self._some(range(len(_SUBJECT_WORDS)), _SUBJECTS):
            words = _SUBJECT_WORDS[subject]
            grades = {}
            for number in range(_OF_A_SUBJECT):
                text = _ABOUT[number % len(_ABOUT)].format(*self._random.sample(words, 3))
                grades[self._passage(f"about {words[0]} {number}", text)] = 1
            for asked in (words[0:2], words[2:4], words[4:6]):
                self._ask(TOPIC, f"anything on {asked[0]} or {asked[1]}", grades)

    # --- what is asked --------------------------------------------------------------------------------------

    def _ask_for_people_and_dates(self) -> None:
        for person, grades in self._named.items():
            if grades:
                self._ask(NAME, person, grades)
                self._ask(MISSPELT, _misspelt(person), grades)
        for date in self._random.sample(sorted(self._dated), 12):
            self._ask(DATE, date, self._dated[date])

    def _ask_for_things(self) -> None:
        for place, (thing, grades) in enumerate(self._about.items()):
            self._ask(DESCRIPTION, with_article(thing), grades)
            self._ask(COMMON_WORDS, _COMMON[place % len(_COMMON)].format(with_article(thing)), grades)

    def _ask(self, kind: str, text: str, grades: dict[str, int]) -> None:
        query = EvalQuery(id=f"{kind}: {text}", text=text, modality=kind)
        self.queries.append(query)
        self.relevance[query.id] = grades

    # --- parts ----------------------------------------------------------------------------------------------

    def _person(self, number: int) -> str:
        return str(self._people[number % len(self._people)])

    def _firm(self, number: int) -> str:
        number %= _FIRM_COUNT
        return f"{self._things[number].title()} {_FIRMS[number % len(_FIRMS)]}"

    def _date(self) -> str:
        month = self._random.choice(_MONTHS)
        return f"{self._random.randrange(1, 29)} {month} {2016 + self._random.randrange(8)}"

    def _enter(self, id_: str, person: str | None, date: str) -> None:
        """Note that a document names someone and a day."""
        self._dated.setdefault(date, {})[id_] = 2
        if person is not None:
            self._named[person][id_] = 2

    def _picture(
        self,
        name: str,
        image: Image.Image,
        file: str,
        *,
        text: str = "",
        metadata: dict[str, Any] | None = None,
    ) -> str:
        path = self.folder / f"{file}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        image.save(path)
        id_ = f"picture: {name}"
        self.documents.append(
            EvalDocument(id=id_, text=text, image=str(path.absolute()), metadata=metadata or {})
        )
        return id_

    def _passage(self, id_: str, text: str) -> str:
        self.documents.append(EvalDocument(id=id_, text=text))
        return id_


def _digest(name: str) -> str:
    """A file name without words."""
    return sha256(name.encode()).hexdigest()[:32]


def _misspelt(person: str) -> str:
    """The third and fourth letter of each name change places, as in typing."""
    return " ".join(f"{name[:2]}{name[3:4]}{name[2:3]}{name[4:]}" for name in person.split())
