"""Document files into Croissant 1.0 (https://docs.mlcommons.org/croissant/docs/croissant-spec.html).

A file object a Parquet file, a file set and a record set a source, a field a text column. The context is the
one that the specification prints. Cost: none to speak of.
"""

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from smolmix.card import File

_FIELDS: Final = {
    "id": "stable identifier, unique in the source",
    "text": "the document",
    "source": "source name",
    "url": "where it was published",
    "path": "the file it was read from",
    "language": "FineWeb2 code or programming language",
    "license": "SPDX identifier where known",
    "metadata": "a JSON object: everything else the source gives",
}
CONTEXT: Final[dict[str, Any]] = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "citeAs": "cr:citeAs",
    "column": "cr:column",
    "conformsTo": "dct:conformsTo",
    "cr": "http://mlcommons.org/croissant/",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataBiases": "cr:dataBiases",
    "dataCollection": "cr:dataCollection",
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "dct": "http://purl.org/dc/terms/",
    "equivalentProperty": "cr:equivalentProperty",
    "examples": {"@id": "cr:examples", "@type": "@json"},
    "extract": "cr:extract",
    "field": "cr:field",
    "fileObject": "cr:fileObject",
    "fileProperty": "cr:fileProperty",
    "fileSet": "cr:fileSet",
    "format": "cr:format",
    "includes": "cr:includes",
    "isLiveDataset": "cr:isLiveDataset",
    "jsonPath": "cr:jsonPath",
    "key": "cr:key",
    "md5": "cr:md5",
    "parentField": "cr:parentField",
    "path": "cr:path",
    "personalSensitiveInformation": "cr:personalSensitiveInformation",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "recordSet": "cr:recordSet",
    "references": "cr:references",
    "regex": "cr:regex",
    "repeated": "cr:repeated",
    "replace": "cr:replace",
    "samplingRate": "cr:samplingRate",
    "sc": "https://schema.org/",
    "separator": "cr:separator",
    "source": "cr:source",
    "subField": "cr:subField",
    "transform": "cr:transform",
}


def describe(
    title: str,
    about: str,
    lock: str,
    licences: Sequence[str],
    sources: Sequence[tuple[str, Sequence["File"]]],
) -> dict[str, Any]:
    """Return the JSON-LD; ``sources`` are names and files, each with path, bytes and sha256."""
    return {
        "@context": CONTEXT,
        "@type": "sc:Dataset",
        "conformsTo": "http://mlcommons.org/croissant/1.0",
        "name": re.sub(r"[^A-Za-z0-9]+", "-", title).strip("-"),
        "description": about,
        "identifier": f"lock:{lock}",
        "license": list(licences),
        "distribution": [item for name, files in sources for item in _distribution(name, files)],
        "recordSet": [_record_set(name, files) for name, files in sources],
    }


def _distribution(name: str, files: Sequence["File"]) -> list[dict[str, Any]]:
    objects = [
        {
            "@type": "cr:FileObject",
            "@id": file.path,
            "name": file.path,
            "contentUrl": file.path,
            "contentSize": f"{file.bytes} B",
            "encodingFormat": "application/x-parquet",
            "sha256": file.sha256,
        }
        for file in files
    ]
    if len(files) == 1:
        return objects
    together = {
        "@type": "cr:FileSet",
        "@id": f"files/{name}",
        "name": f"files/{name}",
        "encodingFormat": "application/x-parquet",
        # By name: the manifest lies in the same folder.
        "includes": [file.path for file in files],
    }
    return [*objects, together]


def _record_set(name: str, files: Sequence["File"]) -> dict[str, Any]:
    origin = (
        {"fileObject": {"@id": files[0].path}} if len(files) == 1 else {"fileSet": {"@id": f"files/{name}"}}
    )
    fields = [
        {
            "@type": "cr:Field",
            "@id": f"{name}/{column}",
            "name": f"{name}/{column}",
            "description": about,
            "dataType": "sc:Text",
            "source": {**origin, "extract": {"column": column}},
        }
        for column, about in _FIELDS.items()
    ]
    return {"@type": "cr:RecordSet", "@id": name, "name": name, "key": {"@id": f"{name}/id"}, "field": fields}
