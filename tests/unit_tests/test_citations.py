"""Citations in answers: what counts as one, what becomes of it, and that it is the same when streamed."""

import random

import pytest
from langchain_core.documents import Document

from langchain_mmrag.citations import (
    CitationChecker,
    check_citations,
    citations_of,
    pieces_of,
)
from tests.unit_tests.answering import note

DOCUMENTS = 3

# what a model wrote, what becomes of it, the numbers it cites, what was taken out
WRITTEN = {
    "plain": ("At Cape Ann [2].", "At Cape Ann [2].", [2], []),
    "several": ("At Cape Ann [1, 3].", "At Cape Ann [1, 3].", [1, 3], []),
    "side by side": ("At Cape Ann [1][2].", "At Cape Ann [1][2].", [1, 2], []),
    "range": ("At Cape Ann [1-3].", "At Cape Ann [1-3].", [1, 2, 3], []),
    "range with a dash": ("At Cape Ann [1\u20133].", "At Cape Ann [1\u20133].", [1, 2, 3], []),
    "footnote": ("At Cape Ann[^2].", "At Cape Ann[2].", [2], []),
    "lenticular": ("At Cape Ann \u30102\u3011.", "At Cape Ann [2].", [2], []),
    "full width": ("At Cape Ann \uff3b2\uff3d.", "At Cape Ann [2].", [2], []),
    "double": ("At Cape Ann [[2]].", "At Cape Ann [2].", [2], []),
    "named": ("At Cape Ann [Source 2].", "At Cape Ann [2].", [2], []),
    "named with colon": ("At Cape Ann [source: 2].", "At Cape Ann [2].", [2], []),
    "named several": ("At Cape Ann [docs 1 and 3].", "At Cape Ann [1, 3].", [1, 3], []),
    "dagger": ("At Cape Ann [2\u2020source].", "At Cape Ann [2].", [2], []),
    "dagger lenticular": ("At Cape Ann\u30102\u2020L1-L4\u3011.", "At Cape Ann[2].", [2], []),
    "spaced": ("At Cape Ann [ 2 ].", "At Cape Ann [2].", [2], []),
    "out of context": ("At Cape Ann [9].", "At Cape Ann.", [], ["[9]"]),
    "attached": ("At Cape Ann[9].", "At Cape Ann.", [], ["[9]"]),
    "in part": ("At Cape Ann [1, 9].", "At Cape Ann [1].", [1], ["[9]"]),
    "range beyond": ("At Cape Ann [2-7].", "At Cape Ann [2-3].", [2, 3], ["[4-7]"]),
    "side by side in part": ("At Cape Ann [9][2].", "At Cape Ann[2].", [2], ["[9]"]),
    "zero": ("At Cape Ann [0].", "At Cape Ann.", [], ["[0]"]),
    "twice": ("Here [9], there [9].", "Here, there.", [], ["[9]"]),
    "in between": ("A red [9] lighthouse.", "A red lighthouse.", [], ["[9]"]),
    "at the start": ("[9] A lighthouse.\n[8] Red.", "A lighthouse.\nRed.", [], ["[9]", "[8]"]),
    "in a list": ("- [9] red\n- [1] tall", "- red\n- [1] tall", [1], ["[9]"]),
    "at the very end": ("At Cape Ann [9]", "At Cape Ann", [], ["[9]"]),
    "emphasised": ("**At Cape Ann [9]**", "**At Cape Ann**", [], ["[9]"]),
    "link": ("See [9](https://a.b) and [2](notes.md).",) * 2 + ([2], []),
    "link of words": ("See [the notes](notes.md) and [text] [x] [ ].",) * 2 + ([], []),
    "definition": ("Red [1].\n\n[9]: https://a.b",) * 2 + ([1], []),
    "index": ("Take a[0], row[1][0] and f(x)[0].",) * 2 + ([1], []),
    "inline code": ("Take `a[9]` or ``b`[9]``.",) * 2 + ([], []),
    "fence": ("Run:\n```py\na[9] = b[7]\n```\nRed [1].",) * 2 + ([1], []),
    "fence of tildes": ("~~~\na[9]\n```\nb[8]\n~~~~\nRed [1].",) * 2 + ([1], []),
    "fence in a list": ("1. ```\n   a[9]\n   ```\nRed [1].",) * 2 + ([1], []),
    "formula": (r"\( x[9] \) and \[ y[8] \] and $$z[7]$$, [1].",) * 2 + ([1], []),
    "root": (r"A \sqrt[9]{x} [1].",) * 2 + ([1], []),
    "escaped": (r"Not \[9\] one.",) * 2 + ([], []),
    "year": ("Built (Smith [2024]) in [1871].",) * 2 + ([], []),
    "decimal": ("Between [0.5] and [-1].",) * 2 + ([], []),
    "figure": ("See [Figure 9] and [p. 9].",) * 2 + ([], []),
    "backwards": ("At Cape Ann [3-1].",) * 2 + ([], []),
    "unclosed": ("At Cape Ann [2",) * 2 + ([], []),
    "unclosed and on": ("At Cape Ann [2 and [1].",) * 2 + ([1], []),
    "broken by a line": ("At Cape Ann [\n2].",) * 2 + ([], []),
    "in brackets": ("At Cape Ann [see [2]].",) * 2 + ([2], []),
    "backtick left open": (
        "Reads `open [9]. Next [1].\nRed [8].",
        "Reads `open. Next [1].\nRed.",
        [1],
        ["[9]", "[8]"],
    ),
    "backtick left open at the end": ("Reads `open [9]", "Reads `open", [], ["[9]"]),
    "backtick among code": ("A ``b [9] and `c[8]` [1].", "A ``b and `c[8]` [1].", [1], ["[9]"]),
    "apostrophes": ("It`s [9] the keeper`s [1].", "It`s the keeper`s [1].", [1], ["[9]"]),
    "code after a word": ("As in the`s[9]` [1].",) * 2 + ([1], []),
    "code closed too late": (f"A `b [9] {'c' * 1000}` d.", f"A `b {'c' * 1000}` d.", [], ["[9]"]),
    "code just closed": (f"A `[9]{'c' * 997}` d.",) * 2 + ([], []),
    "fence on one line": ("```a[9]``` is red [8].", "```a[9]``` is red.", [], ["[8]"]),
    "fence left open": ("Run:\n```\na[9]\n\nb[8]",) * 2 + ([], []),
    "formula left open": ("Costs $$ [9]\n\nRed [9].", "Costs $$\n\nRed.", [], ["[9]"]),
    "formula left open at the end": (
        r"Costs \( 5 [9] and $$ [8].",
        r"Costs \( 5 and $$.",
        [],
        ["[9]", "[8]"],
    ),
    "formula closed too late": (f"A $$b [9] {'c' * 1000}$$ d", f"A $$b {'c' * 1000}$$ d", [], ["[9]"]),
    "formula of some lines": ("So $$\nx[9]\n+ y[8]\n$$ [1].",) * 2 + ([1], []),
    "bracket escaped": (r"Not \[9] one, [9].", r"Not \[9] one,.", [], ["[9]"]),
    "index of a formula": ("Take $x_{[9]}$ and [1].",) * 2 + ([1], []),
    "address": ("At http://x/[9]/y and http://x/?a=[9] [1].",) * 2 + ([1], []),
    "after an address": ("At http://x/y[9].", "At http://x/y.", [], ["[9]"]),
    "picture": ("![1](a.png) and ![9](b.png)",) * 2 + ([], []),
    "named each": ("Red [Document 1, Document 9].", "Red [1].", [1], ["[9]"]),
    "named each and known": ("Red [Source 1, Source 2].", "Red [1, 2].", [1, 2], []),
    "named picture": (
        "Red [Image 2] [Picture 9] [image 8] [table 3].",
        "Red [2] [3].",
        [2, 3],
        ["[9]", "[8]"],
    ),
    "comma left over": ("Red [1,2,].", "Red [1, 2].", [1, 2], []),
    "page": ("Red [1, p. 3].",) * 2 + ([1], []),
    "page of nothing": (
        "Red [9, p. 3], tall [2, pp. 3-4; 9, p. 1].",
        "Red, tall [2, pp. 3-4].",
        [2],
        ["[9]"],
    ),
    "second": ("Red [2, 0:12-0:15].",) * 2 + ([2], []),
    "range of brackets": ("Red [1]-[3].",) * 2 + ([1, 2, 3], []),
    "range of brackets beyond": ("Red [1]-[9].", "Red [1-3].", [1, 2, 3], ["[4-9]"]),
    "range of brackets of nothing": ("Red [8]\u2013[9].", "Red.", [], ["[8-9]"]),
    "dash after a citation": ("Red [1]- tall [9]-x [2]-[x].", "Red [1]- tall-x [2]-[x].", [1, 2], ["[9]"]),
    "listed": ("Red [1], [9] and [2], and [8].", "Red [1] and [2].", [1, 2], ["[9]", "[8]"]),
    "clauses": ("Red [1], and tall [2]; androgynous [3].",) * 2 + ([1, 2, 3], []),
    "parentheses": ("Red ([9]), tall (see [8], [9]).", "Red, tall.", [], ["[9]", "[8]"]),
    "parentheses in part": ("Red (see [1], [9]), tall ([2]).", "Red (see [1]), tall ([2]).", [1, 2], ["[9]"]),
    "parentheses with more": ("Red (see the map [9]).", "Red (see the map).", [], ["[9]"]),
    "parentheses of a link": ("See [9](a) and f(x)[1].",) * 2 + ([1], []),
    "sources": (
        "Red [1].\n\n**Sources:**\n- [1] notes.md\n- [9] invented.md\n[8]: b.md\n1. [2] c.md\n10. [7] d",
        "Red [1].\n\n**Sources:**\n- [1] notes.md\n1. [2] c.md\n",
        [1, 2],
        ["[9]", "[8]", "[7]"],
    ),
    "after sources": (
        "Sources:\n[1] a\n\nAll else.\n[9] Red.",
        "Sources:\n[1] a\n\nAll else.\nRed.",
        [1],
        ["[9]"],
    ),
    "dollars": ("Costs $5 [9] or $6 [1].", "Costs $5 or $6 [1].", [1], ["[9]"]),
    "too long": (f"At [{', '.join('1' * 40)}].",) * 2 + ([], []),
    "many spaces": ("a" + " " * 30 + "[9]b", "a" + " " * 22 + "b", [], ["[9]"]),
    "trailing space": ("At Cape Ann  ", "At Cape Ann  ", [], []),
    "nothing": ("", "", [], []),
}


@pytest.mark.parametrize("name", WRITTEN)
def test_citations_that_point_at_nothing_are_taken_out_and_others_brought_into_one_form(name):
    written, *expected = WRITTEN[name]
    assert list(check_citations(written, DOCUMENTS)) == expected


@pytest.mark.parametrize("name", WRITTEN)
def test_however_an_answer_is_cut_into_pieces_the_same_comes_out(name):
    written, *expected = WRITTEN[name]
    for seed in range(60):
        pieces = random.Random(seed)
        checker, shown, start = CitationChecker(DOCUMENTS), "", 0
        while start < len(written):
            end = start + pieces.randint(1, 1 if seed == 0 else 6)
            shown += checker.feed(written[start:end])
            start = end
        shown += checker.finish()
        assert [shown, checker.numbers, checker.removed] == expected


MARKS = [
    *(
        "[1]",
        "[9]",
        "[2, 9]",
        "[",
        "]",
        "1",
        "9",
        "(",
        ")",
        " ",
        ",",
        ";",
        "-",
        "and ",
        "see ",
        "Image ",
        ":",
    ),
    *("`", "``", "```", "~~~", "$$", "$", "\\(", "\\)", "\\[", "\\]", "{", "}", "It`s ", "http://x/", "p. 3"),
    *("\n", "\n\n", "Sources:\n", "- ", "1. ", "\u30109\u3011", "word"),
]


def test_marks_in_any_order_cut_anywhere_give_the_same():
    for seed in range(3000):
        chance = random.Random(seed)
        written = "".join(chance.choices(MARKS, k=chance.randint(1, 25)))
        checker, shown, start = CitationChecker(DOCUMENTS), "", 0
        while start < len(written):
            end = start + chance.randint(1, 4)
            shown += checker.feed(written[start:end])
            start = end
        shown += checker.finish()
        assert (shown, checker.numbers, checker.removed) == check_citations(written, DOCUMENTS), written


def test_text_is_held_back_only_while_it_may_become_a_citation():
    checker = CitationChecker(DOCUMENTS)
    assert checker.feed("At Cape ") == "At Cape"
    assert checker.feed("Ann") == " Ann"
    assert checker.feed(" [") == ""
    assert checker.feed("2]") == ""
    assert checker.feed(".") == " [2]."
    assert checker.feed(" [the") == ""
    assert checker.feed(" tower](a.md)") == " [the tower](a.md)"
    assert checker.feed(f"[{'x' * 70}") == ""
    assert checker.feed("x" * 30) == f"[{'x' * 100}"
    assert checker.feed("`cold") == ""
    assert checker.feed(" open [9].") == ""
    assert checker.feed("\n") == "`cold open.\n"


def test_a_long_answer_is_checked_in_the_time_it_takes_to_read():
    answer = "The lighthouse stands at Cape Ann [1], says a note [9]. " * 2000
    checked = check_citations(answer, DOCUMENTS)
    assert checked.removed == ["[9]"]
    assert len(checked.answer) == len(answer) - 2000 * len(" [9]")


def test_a_citation_names_its_document_its_link_and_its_id():
    documents = [
        note("red", "notes.md"),
        Document("", id="7", metadata={"source": "/town/map.pdf", "page": 3}),
        note("tall", "https://example.org/talk.mp4", start_s=12.0, modality="video"),
    ]
    assert citations_of([3, 2, 3], documents) == [
        {"number": 2, "source": "map.pdf p. 3", "link": "file:///town/map.pdf#page=3", "id": "7"},
        {
            "number": 3,
            "source": "example.org/talk.mp4 0:12",
            "link": "https://example.org/talk.mp4#t=12",
            "id": None,
        },
    ]


@pytest.mark.parametrize("mark", ["`", "$$", "\\(", "(", "[1]-", "[1], ", "(see [", "a`s"])
def test_marks_without_end_are_read_as_they_come(mark):
    checker = CitationChecker(DOCUMENTS)
    written = mark * (6000 // len(mark))
    assert (
        "".join([*map(checker.feed, written), checker.finish()]) == check_citations(written, DOCUMENTS).answer
    )


def test_blanks_without_end_take_no_time_to_speak_of():
    answer = f"a{' ' * 300_000}[1] [9]."
    assert check_citations(answer, 1).answer == f"a{' ' * 300_000}[1]."


@pytest.mark.parametrize(
    ("answer", "cited"),
    [
        ("Red [2].", [("[2]", (2,))]),
        ("Red [1, 3] and so on [1-3].", [("[1, 3]", (1, 3)), ("[1-3]", (1, 2, 3))]),
        ("[1][2]", [("[1]", (1,)), ("[2]", (2,))]),
        ("As 【2†source】 says.", [("【2†source】", (2,))]),
        ("See [2](https://a.test).", [("[2]", (2,))]),
        ("Nothing [9], some of it [2, 9].", [("[9]", ()), ("[2, 9]", (2,))]),
        ("`a[1]` and a[0] and [2024]\n```\n[1]\n```\n[3", []),
        ("", []),
    ],
)
def test_an_answer_comes_apart_into_text_and_citations(answer, cited):
    pieces = pieces_of(answer, 3)
    assert "".join(piece.text for piece in pieces) == answer
    assert [tuple(piece) for piece in pieces if piece.numbers is not None] == cited
    assert {number for _, numbers in cited for number in numbers} == set(check_citations(answer, 3).numbers)


def test_whatever_is_written_its_pieces_make_it_up_and_cite_what_the_check_finds():
    parts = [*"[]()129 ,-`\na", "[1]", "[9]", "[1-3]", "【2】", "and ", "$$", "Sources:\n", "```\n"]
    generator = random.Random(4)
    for _ in range(3000):
        answer = "".join(generator.choices(parts, k=generator.randrange(30)))
        pieces = pieces_of(answer, DOCUMENTS)
        assert "".join(piece.text for piece in pieces) == answer
        cited = {number for piece in pieces for number in piece.numbers or ()}
        assert cited == set(check_citations(answer, DOCUMENTS).numbers)
