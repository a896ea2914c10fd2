"""The parts behind `MultimodalChroma`.

add:    pictures, ingest ──► embedder ──► record ──► vectorstores ──► Chroma
search: searching ──► search ──► embedder, record, backgrounds ──► ranking
        chroma: filters, metadata and rows as Chroma has them
"""
