"""Reading PDFs in a process of its own.

    reader ── pipes ──► child      document, page, layout, figures, tables
    (this process)      (its own)

A page of a few hundred bytes can keep a PDF library busy for hours, make it take all memory, or crash it, and
nothing inside the same process can stop that. So a small process reads the file: it is stopped when a page
takes too long, has a ceiling of memory, and is kept for the next file. No library of this is shared between
threads, so files are read side by side.
"""
