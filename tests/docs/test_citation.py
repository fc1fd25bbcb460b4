"""CITATION.cff: what a reader of the format must find, of this version, and the papers as README links them."""

from ruamel.yaml import YAML

import padray
from tests.docs.pages import README, ROOT, text


def test_it_cites_this_version_and_the_papers():
    cited = YAML(typ="safe").load(text(ROOT / "CITATION.cff"))
    assert {"cff-version", "message", "title", "authors"} <= cited.keys() and cited["cff-version"] == "1.2.0"
    assert cited["version"] == padray.__version__ and cited["license"] == "Apache-2.0"
    assert cited["authors"] == [{"name": "The padray authors"}]
    assert [each["notes"][:4].strip(";") for each in cited["references"]] == ["PAD", "IADD", "DATM"]
    for paper in cited["references"]:
        assert paper["url"] in text(README) and paper["title"] and paper["year"] in (2023, 2024)
        assert all(author["given-names"] and author["family-names"] for author in paper["authors"])
