"""A project folder as people have it: one file of every kind, made by the tools that make them."""

import csv
import json
import sqlite3

import av
import docx
import numpy as np
import openpyxl
import pptx
import pyarrow as pa
import pyarrow.parquet
from PIL import Image, ImageDraw, ImageFont
from pptx.util import Inches
from reportlab.lib.utils import ImageReader
from reportlab.pdfgen import canvas

from langchain_mmrag.demo.corpus import draw_scene, draw_thing

FPS = 8
FILM = (("tram", 0, 5), ("rooster", 5, 10), ("whale", 10, 15))
"""What the film shows, and its seconds."""


def make_folder(folder):
    """Fill `folder`; returns it."""
    for make in (_pdf, _slides, _letter, _sheets, _shop, _boats, _log, _database, _page, _notes, _pictures):
        make(folder)
    _scan(folder)
    _film(folder)
    _broken(folder)
    return folder


def _pdf(folder):
    page = canvas.Canvas(str(folder / "report.pdf"), pagesize=(400, 560))
    page.setTitle("Harbor report")
    page.drawString(40, 500, "The harbor of Port Merrow had a good year.")
    page.showPage()
    page.drawString(40, 500, "The mooring fee is twelve crowns a night.")
    page.showPage()
    page.drawString(40, 500, "The new lantern was a gift of the guild.")
    page.drawImage(ImageReader(draw_thing("anchor")), 60, 200, 200, 200)
    page.drawString(60, 180, "Figure 1: Raised in May")
    page.showPage()
    page.save()


def _slides(folder):
    deck = pptx.Presentation()
    for title, text, thing in (
        ("Welcome", "Plans of the council", None),
        ("Budget", "The pier roof costs forty thousand crowns", "castle"),
    ):
        slide = deck.slides.add_slide(deck.slide_layouts[5])
        slide.shapes.title.text = title
        slide.shapes.add_textbox(Inches(1), Inches(2), Inches(4), Inches(1)).text_frame.text = text
        if thing:
            draw_thing(thing).save(folder.parent / f"{thing}.png")
            slide.shapes.add_picture(str(folder.parent / f"{thing}.png"), Inches(5), Inches(3))
    deck.save(folder / "council.pptx")


def _letter(folder):
    letter = docx.Document()
    letter.add_heading("Minutes of March", 1)
    letter.add_paragraph("The choir asked for a heated rehearsal room.")
    draw_thing("violin").save(folder.parent / "violin.png")
    letter.add_picture(str(folder.parent / "violin.png"))
    letter.save(folder / "minutes.docx")


def _sheets(folder):
    book = openpyxl.Workbook()
    book.active.title = "Q2"
    book.active.append(["item", "price", "sold"])
    book.active.append(["rope", 12.5, 30])
    sheet = book.create_sheet("Q3")
    sheet.append(["item", "price", "sold"])
    for number in range(20):
        item = "brass compass" if number == 15 else f"screw type {number}"
        sheet.append([item, 89.0 if number == 15 else 0.5 + number, number])
    book.save(folder / "sales.xlsx")


def _shop(folder):
    draw_thing("umbrella").save(folder / "umbrella.png")
    with (folder / "shop.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["article", "price", "photo"])
        rows.writerow(["parasol", 25, "umbrella.png"])
        rows.writerow(["bucket", 75, ""])


def _boats(folder):
    table = pa.table({"boat": ["Adelheid", "Brunhild"], "berth": [4, 17], "length_m": [9.5, 14.25]})
    pyarrow.parquet.write_table(table, folder / "boats.parquet")


def _log(folder):
    entries = [
        {"time": "2024-05-01T06:00:00", "level": "info", "message": "gate opened"},
        {"time": "2024-05-01T07:30:00", "level": "error", "message": "bilge pump jammed"},
    ]
    (folder / "harbor.jsonl").write_text("".join(json.dumps(entry) + "\n" for entry in entries))


def _database(folder):
    with sqlite3.connect(folder / "members.sqlite") as base:
        base.execute("CREATE TABLE members (name TEXT, role TEXT, since INTEGER)")
        base.executemany(
            "INSERT INTO members VALUES (?, ?, ?)",
            [("Mrs. Okonkwo", "treasurer", 2011), ("Mr. Lindqvist", "lamplighter", 1998)],
        )
    base.close()


def _page(folder):
    (folder / "tides.html").write_text(
        """<html><head><title>Tides</title><script>alert("evil")</script></head><body>
        <h1>Tides of the week</h1><p>Spring tide comes on Thursday.</p>
        <table><caption>High water</caption><tr><th>day</th><th>height</th></tr>
        <tr><td>Wednesday</td><td>4.1</td></tr><tr><td>Thursday</td><td>5.9</td></tr></table>
        </body></html>"""
    )


def _notes(folder):
    draw_thing("owl").save(folder / "owl.png")
    (folder / "notes.md").write_text(
        "# Attic\n\nSomething lives above the granary.\n\n![our night guard](owl.png)\n\n"
        "# Cellar\n\nThe quince jelly is on the lowest shelf.\n"
    )
    (folder / "todo.txt").write_text("Repaint the weathercock before winter.\n")


def _pictures(folder):
    draw_scene("sailboat", "rainbow", "sea").save(folder / "IMG_0001.jpg", quality=92)
    (folder / "IMG_0001.txt").write_text("Grandfather's last regatta")
    draw_thing("crab").save(folder / "IMG_0002.webp")
    draw_thing("telescope").save(folder / "mislabelled.txt", "PNG")


def _scan(folder):
    pages = []
    for line in ("Receipt of the cooper", "Three barrels tarred"):
        page = Image.new("RGB", (900, 400), "white")
        ImageDraw.Draw(page).text((60, 150), line, "black", font=ImageFont.load_default(size=52))
        pages.append(page)
    pages[0].save(folder / "receipt.tiff", save_all=True, append_images=pages[1:])


def _film(folder):
    with av.open(str(folder / "morning.mp4"), "w") as film:
        stream = film.add_stream("mpeg4", rate=FPS)
        stream.width = stream.height = 192
        stream.pix_fmt, stream.bit_rate, stream.gop_size = "yuv420p", 1_500_000, FPS
        for thing, start, end in FILM:
            pixels = np.asarray(draw_thing(thing, seed="film", side=192).convert("RGB"))
            for _ in range((end - start) * FPS):
                film.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        film.mux(stream.encode())
    (folder / "morning.srt").write_text(
        "1\n00:00:01,000 --> 00:00:04,000\nGood morning from Port Merrow.\n\n"
        "2\n00:00:11,000 --> 00:00:14,000\nThere she blows, next to the quay!\n"
    )


def _broken(folder):
    (folder / "empty.pdf").write_bytes(b"")
    (folder / "torn.pdf").write_bytes((folder / "report.pdf").read_bytes()[:300])
    (folder / "torn.mp4").write_bytes((folder / "morning.mp4").read_bytes()[:2000])
    (folder / "not_a_zip.docx").write_bytes(b"PK\x03\x04" + bytes(200))
    (folder / "no\nname.csv").write_text("a,b\n1,2\n")
    (folder / "loop").symlink_to(folder, target_is_directory=True)
