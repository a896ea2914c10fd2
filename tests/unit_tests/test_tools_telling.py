"""What models and clients are told of sources: names and addresses, no path of this machine, no credential."""

import pytest
from langchain_core.documents import Document

from langchain_mmrag.tools.telling import told_metadata, told_source, web_link


@pytest.mark.parametrize(
    ("source", "told"),
    [
        ("trip/a.png", "trip/a.png"),
        ("/home/me/my trip/a.png", "a.png"),
        ("file:///home/me/my%20a.png", "my a.png"),
        (r"C:\Users\me\a.png", "a.png"),
        (r"\\server\share\a.png", "a.png"),
        ("//server/share/a.png", "a.png"),
        ("https://me:pw@example.org/a.png?page=2#top", "https://example.org/a.png?page=2#top"),
        ("https://example.org/a.png?b=1&X-Amz-Signature=abc", "https://example.org/a.png"),
        ("https://example.org/a.png?b=" + "1" * 300 + "&token=abc", "https://example.org/a.png"),
        ("https://example.org/a.png#access_token=abc", "https://example.org/a.png"),
        ("s3://me:pw@bucket/a.png", "s3://bucket/a.png"),
    ],
)
def test_sources_are_told_without_folders_and_credentials(source, told):
    assert told_source(source) == told
    link = web_link(Document("", metadata={"source": source}))
    assert link == (told if told.startswith("https:") else None)


def test_metadata_is_told_by_the_same_rules_and_texts_as_they_are():
    metadata = {
        "caption": "/etc is written on it",
        "thumbnail": ["/home/me/1.png", "2.png"],
        "payload": "data:image/png;base64," + "A" * 400,
        "page": 3,
    }
    told = told_metadata(metadata)
    assert told["payload"].startswith("data-URI (")
    assert {**told, "payload": ""} == {
        "caption": "/etc is written on it",
        "thumbnail": ["1.png", "2.png"],
        "payload": "",
        "page": 3,
    }
