"""`mmrag demo`: a folder of pictures and notes, indexed and asked, without a network or a key."""
