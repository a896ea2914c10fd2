"""The parts behind `MultimodalChroma`.

add:    pictures, ingest ──► embedder ──► vectorstores ──► Chroma
search: searching ──► search ──► embedder, backgrounds ──► ranking
        chroma: filters, metadata and rows as Chroma has them
"""
