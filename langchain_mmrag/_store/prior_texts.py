"""Passages of many kinds and topics, to learn what a model makes of writing in general."""

from typing import Final

TEXTS: Final = tuple(
    line.strip()
    for line in """
A man in a blue jacket walks his dog along the beach.
How long does the battery last on a single charge?
The committee met on Tuesday and approved the budget for next year.
Product: desk lamp; color: black; price: 39.90; in stock: yes.
Chop the onions finely and fry them in butter until golden.
A photo of a mountain lake with snow on the peaks.
Error 404: the page you are looking for could not be found.
The patient was given two tablets a day for a week.
Two children play football in a park.
Sales rose by 12 percent in the third quarter.
What is the capital of the country with the longest coast?
A close-up of a bee on a yellow flower.
The treaty was signed in 1848 and ended the war.
def area(radius): return 3.14159 * radius ** 2
Dear Anna, thank you for your letter; we are all well.
A red bus drives past an old brick building.
2019: 340 units; 2020: 410 units
The cell wall protects the plant from drying out.
A bowl of soup with bread on a wooden table.
Please sign both copies and return one of them by post.
Which of the pictures shows a bicycle?
Light rain in the morning, sunny and dry later, 18 degrees.
A woman reads a newspaper at the window of a train.
The function returns an empty list if nothing was found.
Figure 3. Temperature of the water over twelve hours.
The band played until midnight and the crowd sang along.
A drawing of a house with a red roof and a tree.
Open the cover, take out the filter and rinse it under water.
The old castle above the river is open from April to October.
Interest is paid at the end of each month.
A group of people sit around a table in an office.
He closed the door quietly and waited for her to speak.
""".strip().splitlines()
)
"""Short enough for every text tower; kinds and topics take turns."""
